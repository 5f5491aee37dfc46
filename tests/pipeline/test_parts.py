"""A build made in parts gives the bytes of a build made at once, and parts keep out of each other's way."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.pipeline.build import build, close
from m3leo_prep.pipeline.follow.watch import Watch
from m3leo_prep.pipeline.parts import Part, share
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.todo import Forecast
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads
from m3leo_prep.store import ledger as ledger_module
from m3leo_prep.store.ledger import BuildLock

from .conftest import LARGE, MINI, Done, area, plan, tree

ALL = frozenset({"position", "degrees", "landcover", "s1"})


def parts(of: int) -> list[Part]:
    return [Part(number, of) for number in range(1, of + 1)]


@pytest.mark.parametrize("text", ["4/3", "0/3", "1/0", "0/0", "a/b", "1", "1/3/2", "-1/3", "", "1.5/3", "1 3"])
def test_part_numbers_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Part.parse(text)
    assert caught.value.hint


def test_a_part_is_read_as_written() -> None:
    assert Part.parse(" 3/8 ") == Part(3, 8)
    assert Part.parse("3/8").writer == "part-3-of-8"


@given(of=st.integers(1, 9))
def test_parts_own_every_unit_once_and_about_as_many_each(of: int) -> None:
    planned = plan(where=area(LARGE))
    owned = [[unit.id for unit in share(planned, ALL, part)] for part in parts(of)]
    assert sorted(unit for units in owned for unit in units) == sorted(u.id for u in planned.units())
    per_layer = [Counter(unit.split("/")[0] for unit in units) for units in owned]
    for layer in ALL:
        sizes = [count[layer] for count in per_layer]
        assert max(sizes) - min(sizes) <= 1


def test_layers_of_one_unit_do_not_all_fall_to_the_first_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3leo_prep.core.layer.SHARD_CHIPS", (64,))
    owned = [len(list(share(plan(), ALL, part))) for part in parts(4)]
    assert owned == [1, 1, 1, 1]


def test_which_part_owns_a_unit_does_not_depend_on_the_layers_built_now() -> None:
    planned = plan(where=area(LARGE))
    whole = [unit.id for unit in share(planned, ALL, Part(2, 3)) if unit.layer == "s1"]
    assert [unit.id for unit in share(planned, frozenset({"s1"}), Part(2, 3))] == whole


def test_parts_and_closing_give_the_bytes_of_a_whole_build(built: Path, tmp_path: Path) -> None:
    for part in reversed(parts(3)):
        result = build(plan(), tmp_path / "d", runner=Threads(1), part=part)
        assert result.built > 0
        assert not (tmp_path / "d" / "manifest.json").exists()
    close(tmp_path / "d")
    assert tree(tmp_path / "d") == tree(built)
    assert verify(tmp_path / "d").ok


def test_a_part_that_ran_builds_nothing_again(tmp_path: Path) -> None:
    first = build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 2))
    again = build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 2))
    assert (again.built, again.skipped) == (0, first.built)


def test_another_number_of_parts_goes_on_where_the_first_stopped(built: Path, tmp_path: Path) -> None:
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 3))
    results = [build(plan(), tmp_path / "d", runner=Threads(1), part=part) for part in parts(2)]
    assert sum(result.skipped for result in results) > 0
    close(tmp_path / "d")
    assert tree(tmp_path / "d") == tree(built)


def test_a_missing_part_is_told_and_nothing_is_closed(built: Path, tmp_path: Path) -> None:
    for part in (Part(1, 3), Part(3, 3)):
        build(plan(), tmp_path / "d", runner=Threads(1), part=part)
    with pytest.raises(StoreError, match=r"not built yet.*s1: 1 of 3") as caught:
        close(tmp_path / "d")
    assert "m3leo-prep status" in caught.value.hint
    assert not (tmp_path / "d" / "manifest.json").exists()
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(2, 3))
    close(tmp_path / "d")
    assert tree(tmp_path / "d") == tree(built)


def test_a_lost_shard_is_told_when_closing(tmp_path: Path) -> None:
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 1))
    shards = (path for path in (tmp_path / "d" / "chips.zarr" / "position" / "position" / "c").rglob("*"))
    next(path for path in shards if path.is_file()).unlink()
    with pytest.raises(StoreError, match="position: 1 of 3"):
        close(tmp_path / "d")


def test_layers_that_nobody_began_are_missing_unless_left_out_by_name(tmp_path: Path) -> None:
    for part in parts(2):
        build(plan(), tmp_path / "d", runner=Threads(1), part=part, layers=["s1"])
    with pytest.raises(StoreError, match="position: 3 of 3") as caught:
        close(tmp_path / "d")
    assert "--layers s1" in caught.value.hint
    close(tmp_path / "d", layers=["s1"])
    manifest = DatasetFolder(tmp_path / "d").manifest
    assert manifest is not None
    assert list(manifest["layers"]) == ["s1"]
    with pytest.raises(ConfigError, match="no layer 's2'"):
        close(tmp_path / "d", layers=["s2"])


def test_a_layer_of_one_shard_is_not_forgotten_with_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its part is the only trace of it."""
    monkeypatch.setattr("m3leo_prep.core.layer.SHARD_CHIPS", (64,))
    for number in (1, 2, 4):
        build(plan(), tmp_path / "d", runner=Threads(1), part=Part(number, 4))
    with pytest.raises(StoreError, match="1 of 1"):
        close(tmp_path / "d")


def test_a_segment_that_another_part_takes_away_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 1))
    ledger = DatasetFolder(tmp_path / "d").ledger
    known = ledger.records()
    gone = ledger.folder / "part-2-of-3-000009.seg"
    monkeypatch.setattr(type(ledger), "_segments", lambda self: [*sorted(self.folder.glob("*.seg")), gone])
    assert ledger.records().keys() == known.keys()


@pytest.mark.parametrize("folder", ["nowhere", "empty", "foreign"])
def test_closing_what_is_no_build(folder: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="no build lies in"):
        close(tmp_path / folder)
    assert (tmp_path / "foreign" / "notes.txt").exists()


def test_the_same_part_twice_at_once_is_refused(tmp_path: Path) -> None:
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 3))
    refused = pytest.raises(StoreError, match=r"part 2 of 3 is being built already: process \d+")
    with BuildLock(tmp_path / "d" / ".m3leo", "2-of-3"), refused:
        build(plan(), tmp_path / "d", runner=Threads(1), part=Part(2, 3))


def test_parts_of_another_count_at_once_are_refused(tmp_path: Path) -> None:
    """Part 2 of 3 and part 2 of 4 own some of the same units."""
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 3))
    with BuildLock(tmp_path / "d" / ".m3leo", "2-of-3"):
        with pytest.raises(StoreError, match="being built in 3 parts"):
            build(plan(), tmp_path / "d", runner=Threads(1), part=Part(2, 4))
        build(plan(), tmp_path / "d", runner=Threads(1), part=Part(3, 3))
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(2, 4))


def test_a_whole_build_and_a_part_keep_out_of_each_others_way(tmp_path: Path) -> None:
    state = tmp_path / "d" / ".m3leo"
    with BuildLock(state, "1-of-2"):
        with pytest.raises(StoreError, match="another build writes this dataset"):
            build(plan(), tmp_path / "d", runner=Threads(1))
        with pytest.raises(StoreError, match="another build writes this dataset"):
            BuildLock(state).__enter__()
    with BuildLock(state), pytest.raises(StoreError, match=r"(another|a whole) build writes this dataset"):
        build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 2))


def test_closing_waits_for_no_part_that_runs(tmp_path: Path) -> None:
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 1))
    with BuildLock(tmp_path / "d" / ".m3leo", "1-of-1"), pytest.raises(StoreError, match="another build"):
        close(tmp_path / "d")


def test_a_part_with_another_plan_is_refused_while_one_runs(tmp_path: Path) -> None:
    """Rows of a grown area, or other settings, would make other units of the same name."""
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 2))
    grown = plan(where=area(LARGE, "more"))
    with BuildLock(tmp_path / "d" / ".m3leo", "2-of-2"):
        before = DatasetFolder(tmp_path / "d").frozen()
        with pytest.raises(StoreError, match="another build writes this dataset"):
            build(grown, tmp_path / "d", runner=Threads(1), part=Part(1, 2))
        after = DatasetFolder(tmp_path / "d").frozen()
    assert before is not None
    assert after is not None
    assert len(before.cells) == len(after.cells)


def test_growth_in_parts_gives_what_growth_at_once_gives(built: Path, tmp_path: Path) -> None:
    for name in ("parts", "whole"):
        shutil.copytree(built, tmp_path / name)
    grown = plan(where=area(LARGE, "more"))
    for part in parts(3):
        build(grown, tmp_path / "parts", runner=Threads(1), part=part)
    close(tmp_path / "parts")
    build(grown, tmp_path / "whole", runner=Threads(1))
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_a_part_leaves_the_half_written_files_of_others_alone(tmp_path: Path) -> None:
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 2))
    other = tmp_path / "d" / "chips.zarr" / ".shard.0123456789abcdef.part"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"half")
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(2, 2))
    assert other.exists()
    close(tmp_path / "d")
    assert not other.exists()


def test_a_ledger_is_read_while_another_part_adds_to_it(tmp_path: Path) -> None:
    """What comes after the size that was seen is no proof that the seen end is damaged."""
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 1))
    segment = next((tmp_path / "d" / ".m3leo" / "ledger").glob("*.seg"))
    data = segment.read_bytes()
    second = data.index(ledger_module.MAGIC, 1)
    assert ledger_module._has_record(segment, 1, len(data))
    assert not ledger_module._has_record(segment, 1, second + 10)


def test_a_stopped_part_is_finished_by_a_whole_build(built: Path, tmp_path: Path) -> None:
    seen: list[object] = []

    def stop(unit: object, _record: object) -> None:
        seen.append(unit)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 2), watch=Done(stop))
    build(plan(), tmp_path / "d", runner=Threads(1))
    assert tree(tmp_path / "d") == tree(built)


def test_forecasts_say_what_stays_what_is_copied_and_what_is_made(tmp_path: Path) -> None:
    """Counted before the first byte; what is then made agrees."""

    class Keep(Watch):
        told: tuple[Forecast, ...] = ()

        def expects(self, forecasts: tuple[Forecast, ...]) -> None:
            self.told = forecasts

    first, second, third = Keep(), Keep(), Keep()
    small = plan(where=area((9.300, 57.100, 9.309, 57.104)))
    n = len(small.cells)
    build(small, tmp_path / "d", runner=Threads(1), watch=first)
    by_layer = {forecast.layer: forecast for forecast in first.told}
    assert by_layer["position"] == Forecast("position", 0, 0, -(-n // 4), 0, n)
    assert by_layer["s1"].chips_made == 2 * n
    grown = plan(where=area(LARGE, "more"))
    m = len(grown.cells)
    assert n % 4, "the last shard must be part-filled for this test"
    build(grown, tmp_path / "d", runner=Threads(1), watch=second)
    assert second.told[0] == Forecast("position", n // 4, 1, -(-m // 4) - n // 4 - 1, n % 4, m - n)
    changed = MINI.replace("resampling: bilinear", "resampling: nearest")
    build(plan(changed, area(LARGE, "more")), tmp_path / "d", runner=Threads(1), watch=third)
    told = {forecast.layer: forecast for forecast in third.told}
    assert told["degrees"] == Forecast("degrees", 0, -(-m // 4), 0, 0, m)
    assert told["position"].done == -(-m // 4)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((3, 1, 0, 4, 2), "s1: 3 shards stay, 1 is rewritten (4 chip slots copied, 2 made)"),
        ((1, 0, 0, 0, 0), "s1: 1 shard stays"),
        ((0, 0, 1, 0, 1), "s1: 1 shard is new (1 chip slot made)"),
        ((0, 2, 1200, 0, 64000), "s1: 2 shards are rewritten, 1,200 are new (64,000 chip slots made)"),
    ],
)
def test_a_forecast_reads_as_a_sentence(numbers: tuple[int, int, int, int, int], text: str) -> None:
    assert str(Forecast("s1", *numbers)) == text

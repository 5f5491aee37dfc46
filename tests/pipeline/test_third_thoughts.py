"""What a review found in builds that go on: each of these went wrong once."""

from __future__ import annotations

import errno
import fcntl
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from m3leo_prep.core.errors import ConfigError, QuotaReached, SourceError, StoreError
from m3leo_prep.pipeline import unit as unit_module
from m3leo_prep.pipeline.build import build, close
from m3leo_prep.pipeline.follow.status import read_status
from m3leo_prep.pipeline.parts import Part
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.todo import task_of
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads

from .conftest import MINI, area, plan, tree

TWO = """
    from dataclasses import dataclass
    from pathlib import Path
    import numpy as np
    from shapely.geometry import box
    from m3leo_prep.core.errors import QuotaReached, TransientError
    from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable


    @dataclass(frozen=True)
    class Two:
        # Two variables; the file `word` says what happens to whoever reads.

        word: str = ""

        def describe(self):
            one, other = (Variable(name, Kind.CONTINUOUS, ("a",)) for name in ("one", "other"))
            return SourceInfo((one, other), version="1", pitch=10.0, is_static=True)

        def find(self, area, slots):
            yield Item("i", box(-180, -90, 180, 90))

        def read(self, items, geobox, slot):
            word = Path(self.word).read_text() if Path(self.word).exists() else ""
            if word == "down":
                raise TransientError("no answer")
            if word == "quota":
                raise QuotaReached("no more today")
            around = geobox.pad(4)
            for name in ("one", "other"):
                data = np.full((1, *around.shape), 2, np.float32)
                yield Raster(data, np.ones(data.shape, bool), around, items[0], name)
    """
RECIPE = """
    name: mini
    grid: {{chip_px: 32, resolution: 10}}
    layers:
      two: {{source: "./my_source.py:Two", word: "{word}"}}
      position: {{source: ramp}}
    """


@pytest.fixture
def word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(unit_module, "PAUSE_SECONDS", 0.0)
    return tmp_path / "word"


@pytest.fixture
def planned(tmp_path: Path, word: Path, write_source: Callable[[str], Path]):
    base = write_source(TWO)
    return lambda: plan(RECIPE.format(word=word), area(), base=base)


def shards(path: Path, variable: str) -> list[Path]:
    return sorted(p for p in (path / "chips.zarr" / "two" / variable / "c").rglob("*") if p.is_file())


def test_a_lost_shard_whose_source_refuses_is_not_listed(planned, word: Path, tmp_path: Path) -> None:
    build(planned(), tmp_path / "d", runner=Threads(1))
    shards(tmp_path / "d", "one")[0].unlink()
    word.write_text("quota")
    with pytest.raises(QuotaReached):
        build(planned(), tmp_path / "d", runner=Threads(1))
    manifest = DatasetFolder(tmp_path / "d").manifest
    assert manifest is not None
    assert list(manifest["layers"]) == ["position"]
    assert verify(tmp_path / "d").ok


def test_half_a_copy_leaves_nothing_under_a_hole(planned, word: Path, tmp_path: Path) -> None:
    """The first variable's shard is sound, the second's was replaced: neither may be copied from."""
    build(planned(), tmp_path / "d", runner=Threads(1))
    damaged = shards(tmp_path / "d", "other")[0]
    data = bytearray(damaged.read_bytes())
    data[5] ^= 1
    damaged.write_bytes(data)
    word.write_text("down")
    folder = DatasetFolder(tmp_path / "d")
    frozen = folder.frozen()
    assert frozen is not None
    unit = next(u for u in frozen.units(frozenset({"two"})) if u.chip_shard == 0)
    prior = replace(folder.ledger.records()[unit.id], digest="")
    made = unit_module.build_unit(task_of(frozen, unit, prior), folder.blobs)
    assert made.retryable > 0
    assert [shard.bytes for shard in made.shards] == [0, 0], "nothing could be read, so nothing is stored"


def test_a_hole_that_was_filled_is_not_told_again(planned, word: Path, tmp_path: Path) -> None:
    word.write_text("down")
    assert "no answer" in str(build(planned(), tmp_path / "d", runner=Threads(1)).damaged)
    word.unlink()
    assert build(planned(), tmp_path / "d", runner=Threads(1)).damaged == ()


def test_status_counts_only_what_the_present_plan_asks_for(tmp_path: Path) -> None:
    changed = MINI.replace("resampling: bilinear", "resampling: nearest")
    build(plan(), tmp_path / "d", runner=Threads(1), part=Part(1, 2))
    build(plan(changed), tmp_path / "d", runner=Threads(1), part=Part(2, 2))
    status = read_status(tmp_path / "d")
    layers = {layer.layer: layer for layer in status.layers}
    assert layers["degrees"].done < layers["degrees"].units
    assert layers["position"].done == layers["position"].units
    assert any("plan has changed" in note for note in status.notes)
    with pytest.raises(StoreError, match="degrees"):
        close(tmp_path / "d")
    build(plan(changed), tmp_path / "d", runner=Threads(1), part=Part(1, 2))
    assert read_status(tmp_path / "d").done == read_status(tmp_path / "d").units
    close(tmp_path / "d")


def test_status_of_a_changed_layer_that_was_not_built_yet(tmp_path: Path) -> None:
    changed = MINI.replace("resampling: bilinear", "resampling: nearest")
    build(plan(), tmp_path / "d", runner=Threads(1))
    build(plan(changed), tmp_path / "d", runner=Threads(1), layers=["position"])
    layers = {layer.layer: layer for layer in read_status(tmp_path / "d").layers}
    assert layers["degrees"].done == 0
    assert layers["position"].done == layers["position"].units


def test_status_refuses_a_newer_format(tmp_path: Path) -> None:
    build(plan(), tmp_path / "d", runner=Threads(1))
    frozen = tmp_path / "d" / ".m3leo" / "plan" / "plan.json"
    document = json.loads(frozen.read_text())
    frozen.write_text(json.dumps(document | {"format_version": "2.0"}))
    with pytest.raises(StoreError, match=r"format 2\.0") as caught:
        read_status(tmp_path / "d")
    assert "upgrade" in caught.value.hint


def test_a_missing_part_of_the_plan_has_a_way_out(tmp_path: Path) -> None:
    build(plan(), tmp_path / "d", runner=Threads(1))
    next((tmp_path / "d" / ".m3leo" / "plan").glob("cells-*.parquet")).unlink()
    with pytest.raises(StoreError, match="a part of the frozen plan is missing") as caught:
        DatasetFolder(tmp_path / "d").frozen()
    assert caught.value.hint


def test_parts_on_a_file_system_without_locks_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    for part in (None, Part(1, 2)):
        with pytest.raises(StoreError, match="this file system cannot lock files"):
            build(plan(), tmp_path / "d", runner=Threads(1), part=part)


def test_a_quota_time_of_another_zone_is_told_in_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    error = QuotaReached("used up", until=datetime(2026, 1, 1, 10, 40, tzinfo=tokyo))
    assert error.until == datetime(2026, 1, 1, 1, 40, tzinfo=UTC)
    assert f"{error.until:%H:%M}" == "01:40"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("footprint=None", "footprint of 'i' is a NoneType"),
        ("footprint=LineString([(9, 57), (10, 58)])", "footprint of 'i' is a LineString"),
        ("version=3", "version of 'i' is 3"),
        ("acquisition=4", "acquisition of 'i' is 4"),
        ("properties=None", "properties of 'i' are None"),
        ("properties={'a': np.float32(1)}", "property 'a' of 'i' is"),
        ("properties={'relative_orbit': 'x12'}", "relative_orbit of 'i' is 'x12'"),
    ],
)
def test_items_that_could_not_be_written_down_are_refused(
    change: str, says: str, word: Path, write_source: Callable[[str], Path]
) -> None:
    body = TWO.replace("box(-180, -90, 180, 90))", f"**dict(footprint=box(-180, -90, 180, 90)) | dict({change}))")
    base = write_source(body.replace("import box", "import LineString, box"))
    with pytest.raises(SourceError, match=says) as caught:
        plan(RECIPE.format(word=word), area(), base=base)
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["float32", "nan"])
def test_classes_that_are_no_integers_stop_the_build(
    kind: str, word: Path, tmp_path: Path, write_source: Callable[[str], Path]
) -> None:
    body = TWO.replace('Kind.CONTINUOUS, ("a",))', 'Kind.CLASSES, ("a",), legend=(LegendClass(2, "two"),))')
    body = body.replace("import Item, Kind,", "import Item, Kind, LegendClass,")
    if kind == "nan":
        body = body.replace("2, np.float32)", "np.nan, np.float32)")
    base = write_source(body)
    with pytest.raises(ConfigError, match="integer"):
        build(plan(RECIPE.format(word=word), area(), base=base), tmp_path / "d", runner=Threads(1))


def test_a_source_that_finds_in_another_order_next_time_changes_nothing(
    tmp_path: Path, write_source: Callable[[str], Path]
) -> None:
    """The order is frozen with the plan."""
    body = """
        from m3leo_prep.sources.ramp import Ramp

        class Shuffled(Ramp):
            turn = 0

            def find(self, area, slots):
                type(self).turn += 1
                found = list(super().find(area, slots))
                return iter(found[::-1] if type(self).turn % 2 else found)
        """
    base = write_source(body)
    recipe = MINI.split("  degrees")[0].replace("{source: ramp}", '{source: "./my_source.py:Shuffled"}')
    build(plan(recipe, base=base), tmp_path / "d", runner=Threads(1))
    before = tree(tmp_path / "d")
    resumed = plan(recipe, base=base, previous=DatasetFolder(tmp_path / "d").frozen())
    assert build(resumed, tmp_path / "d", runner=Threads(1)).built == 0
    assert tree(tmp_path / "d") == before


COUNTS = """
    name: counts
    grid: {chip_px: 32, resolution: 10}
    layers:
      landcover: {role: label, source: synthetic, product: landcover, statistic: count}
      s2: {source: synthetic, product: s2, statistic: count, slots: {periods: [[2020-06-01, 2020-06-20]]}}
    """


def test_counts_are_drawn_exported_and_explained_as_plain_numbers(tmp_path: Path) -> None:
    import rasterio

    from m3leo_prep.pipeline.explain import explain
    from m3leo_prep.pipeline.export import export
    from m3leo_prep.reader.dataset import Dataset

    build(plan(COUNTS), tmp_path / "d", runner=Threads(1))
    dataset = Dataset(tmp_path / "d")
    assert dataset.plot(0) is not None
    assert export(dataset, [0], "png", tmp_path / "png")
    files = export(dataset, [0], "geotiff", tmp_path / "tif", layers=["landcover"])
    assert not any(path.name.endswith(".aux.xml") for path in files)
    with rasterio.open(next(path for path in files if path.suffix == ".tif")) as file:
        assert not [key for key in file.tags(1) if key.startswith("class_")]
        assert (file.read(1) == 1).all()
    told = json.dumps(explain(tmp_path / "d", 0, "landcover", x=3, y=3).to_dict())
    assert "count of 1 scene: 1" in told


def test_codes_that_mean_other_classes_are_not_identical(built: Path, tmp_path: Path) -> None:
    import shutil

    from m3leo_prep.pipeline.diff import diff

    shutil.copytree(built, tmp_path / "other")
    path = tmp_path / "other" / "manifest.json"
    manifest = json.loads(path.read_text())
    legend = manifest["layers"]["landcover"]["arrays"][0]["legend"]
    legend[0]["name"], legend[1]["name"] = legend[1]["name"], legend[0]["name"]
    path.write_text(json.dumps(manifest))
    assert diff(built, built).identical
    assert not diff(built, tmp_path / "other").identical

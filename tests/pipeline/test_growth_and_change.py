"""A dataset that changes: only what must be is made again, and it is said beforehand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from m3leo_prep.core import layer as layer_module
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.follow.watch import Watch
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.todo import Forecast
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads

from .conftest import LARGE, MINI, area, plan

SOURCE = """
    from dataclasses import dataclass
    from datetime import UTC, datetime
    from pathlib import Path
    import numpy as np
    from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable
    from m3leo_prep.sources.ramp import Ramp


    @dataclass(frozen=True)
    class Series(Ramp):
        '''The ramp once a month, plus the month; notes what it is asked for.'''

        notes: str = ""

        def note(self, word):
            with open(self.notes, "a") as file:
                file.write(word + "\\n")

        def describe(self):
            from dataclasses import replace
            return replace(super().describe(), is_static=False)

        def find(self, area, slots):
            self.note("find")
            from dataclasses import replace
            for item in super().find(area, slots):
                for month in range(1, 13):
                    when = datetime(2020, month, 10, tzinfo=UTC)
                    if any(slot.contains(when) for slot in slots):
                        yield replace(item, id=f"{item.id}-{month}", datetime=when, version=self.version_of(month))

                late = datetime(2020, 1, 20, tzinfo=UTC)
                if Path(self.notes).with_name("late").exists() and any(slot.contains(late) for slot in slots):
                    yield replace(item, id=f"{item.id}-late", datetime=late, version="1")

        def version_of(self, month):
            changed = Path(self.notes).with_name("changed")
            return "2" if changed.exists() and str(month) in changed.read_text().split() else "1"

        def read(self, items, geobox, slot):
            for item in items:
                self.note(f"read {item.id.rpartition('-')[2]}")
                for raster in super().read([item], geobox, slot):
                    shifted = raster.data + item.datetime.month
                    yield Raster(shifted, raster.valid, raster.geobox, item, raster.variable)
    """
RECIPE = """
    name: mini
    grid: {{chip_px: 32, resolution: 10}}
    layers:
      series: {{source: "./my_source.py:Series", notes: "{notes}", slots: {{periods: {months}}}}}
    """


def first_months(n: int) -> list[list[str]]:
    return [[f"2020-{month:02d}-01", f"2020-{month:02d}-28"] for month in range(1, n + 1)]


class Keep(Watch):
    """Keeps what is told beforehand."""

    told: tuple[Forecast, ...] = ()

    def expects(self, forecasts: tuple[Forecast, ...]) -> None:
        self.told = forecasts


@pytest.fixture
def series(tmp_path: Path, write_source: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    """Return a function that builds the first months of 2020 and returns the forecast and the months read."""
    monkeypatch.setattr(layer_module, "SERIES_CHUNK_BYTES", 0)  # one chunk a slot, as chips of 448 pixels have
    base = write_source(SOURCE)
    notes = tmp_path / "notes"

    def make(months: int, where: str = "d", *, refresh: bool = False) -> tuple[Forecast, list[str]]:
        notes.write_text("")
        made = plan(RECIPE.format(notes=notes, months=first_months(months)), area(), base=base)
        previous = DatasetFolder(tmp_path / where).frozen()
        if previous is not None:
            made = make_plan(made.recipe, made.area, base=base, previous=previous, refresh=refresh)
        watch = Keep()
        build(made, tmp_path / where, runner=Threads(1), watch=watch)
        return watch.told[0], sorted({line for line in notes.read_text().splitlines() if line.startswith("read")})

    return make


def values(path: Path) -> np.ndarray:
    return xr.open_zarr(path / "chips.zarr", group="series", chunks=None).position.load().values


def test_slots_that_are_added_leave_the_old_ones_as_they_are(series, tmp_path: Path) -> None:
    n = len(plan().cells)
    shards = -(-n // 4)
    series(2)
    forecast, read = series(4)
    assert forecast == Forecast("series", shards, 0, shards, 0, 2 * n)
    assert read == ["read 3", "read 4"]
    series(4, "fresh")
    assert np.array_equal(values(tmp_path / "d"), values(tmp_path / "fresh"))
    assert verify(tmp_path / "d").ok


def test_a_part_filled_shard_of_slots_is_rewritten_and_its_slots_copied(
    series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five slots lie in shards of three and two; the sixth joins the second."""
    monkeypatch.setattr(layer_module, "SHARD_SLOT_BYTES", 3 * 4 * 32 * 32 * 8)
    n = len(plan().cells)
    shards = -(-n // 4)
    series(5)
    assert DatasetFolder(tmp_path / "d").frozen().layers[0].layer.shard_slots == 3
    forecast, read = series(6)
    assert forecast == Forecast("series", shards, shards, 0, 2 * n, n)
    assert read == ["read 6"]
    series(6, "fresh")
    assert np.array_equal(values(tmp_path / "d"), values(tmp_path / "fresh"))
    assert verify(tmp_path / "d").ok


def test_slots_in_one_chunk_are_made_again_and_that_is_told(
    series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small chips keep all their slots in one chunk, which cannot be extended."""
    monkeypatch.setattr(layer_module, "SERIES_CHUNK_BYTES", 2**16)
    n = len(plan().cells)
    series(2)
    forecast, read = series(3)
    assert (forecast.chips_copied, forecast.chips_made) == (0, 3 * n)
    assert len(read) == 3
    series(3, "fresh")
    assert np.array_equal(values(tmp_path / "d"), values(tmp_path / "fresh"))


def test_slots_that_are_taken_away_leave_nothing_behind(series, tmp_path: Path) -> None:
    series(4)
    series(2)
    series(2, "fresh")
    assert np.array_equal(values(tmp_path / "d"), values(tmp_path / "fresh"))
    frozen = DatasetFolder(tmp_path / "d").frozen()
    assert {item.datetime.month for item in frozen.layers[0].items} == {1, 2}
    assert verify(tmp_path / "d").ok


def test_refresh_rebuilds_the_slots_whose_items_changed_and_no_other(series, tmp_path: Path) -> None:
    n = len(plan().cells)
    series(3)
    (tmp_path / "changed").write_text("2")
    forecast, read = series(3)
    assert (forecast.done, forecast.rewritten) == (-(-n // 4), 0), "the catalogue is not asked again"
    assert not read
    forecast, read = series(3, refresh=True)
    assert (forecast.chips_copied, forecast.chips_made) == (2 * n, n)
    assert read == ["read 2"]


def test_added_slots_do_not_bring_changes_of_old_ones(series, tmp_path: Path) -> None:
    """What the catalogue now says of months that are built waits for --refresh."""
    series(2)
    (tmp_path / "changed").write_text("1 2")
    _, read = series(3)
    assert read == ["read 3"]


def test_added_slots_do_not_bring_scenes_that_came_late_to_old_ones(series, tmp_path: Path) -> None:
    series(2)
    (tmp_path / "late").touch()
    _, read = series(3)
    assert read == ["read 3"]
    _, read = series(3, refresh=True)
    assert read == ["read 1", "read late"]


def test_adding_a_layer_leaves_the_others(tmp_path: Path) -> None:
    without = MINI.replace("  landcover: {role: label, source: synthetic, product: landcover}\n", "")
    assert without != MINI
    build(plan(without), tmp_path / "d", runner=Threads(1))
    watch = Keep()
    build(plan(), tmp_path / "d", runner=Threads(1), watch=watch)
    told = {forecast.layer: forecast for forecast in watch.told}
    assert told.pop("landcover").new > 0
    assert all(forecast.rewritten == forecast.new == 0 for forecast in told.values())
    assert verify(tmp_path / "d").ok


def test_growing_and_adding_slots_at_once(series, tmp_path: Path, write_source: Callable[[str], Path]) -> None:
    series(2)
    base, notes = tmp_path, tmp_path / "notes"
    recipe = RECIPE.format(notes=notes, months=first_months(3))
    grown = plan(recipe, area(LARGE, "more"), base=base, previous=DatasetFolder(tmp_path / "d").frozen())
    build(grown, tmp_path / "d", runner=Threads(1))
    build(plan(recipe, area(LARGE, "more"), base=base), tmp_path / "fresh", runner=Threads(1))

    def by_id(path: Path) -> dict[str, bytes]:
        ids = DatasetFolder(path).frozen().cells.ids()
        return {chip: pixels.tobytes() for chip, pixels in zip(ids, values(path), strict=True)}

    assert by_id(tmp_path / "d") == by_id(tmp_path / "fresh")

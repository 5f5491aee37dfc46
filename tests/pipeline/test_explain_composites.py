"""``explain`` where the source composites by itself, and where nothing was acquired."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from m3leo_prep.cli.main import app
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.explain import explain
from m3leo_prep.runners.threads import Threads

from .conftest import plan

SOURCE = """
from dataclasses import dataclass
from datetime import UTC, datetime
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable

WORLD = box(-180, -90, 180, 90)


@dataclass(frozen=True)
class Radar:
    '''Ascending passes: three in January in two slices each, none in February, one in March that sees nothing.

    One descending pass in March.'''

    def describe(self):
        power = Variable("power", Kind.POWER, ("vv_asc", "vv_desc"), kernel="bilinear")
        return SourceInfo((power,), version="1", pitch=10.0, composites=True)

    def find(self, area, slots):
        for day in (4, 16, 28):
            for part in "ab":
                yield self._item(f"jan{day}{part}", 1, day, "ascending", f"jan{day}")
        yield self._item("mar5", 3, 5, "ascending", "")
        yield self._item("mar6", 3, 6, "descending", "")

    def _item(self, name, month, day, way, acquisition):
        about = {"orbit_direction": way, "relative_orbit": 88}
        when = datetime(2020, month, day, 5, 58, tzinfo=UTC)
        return Item(name, WORLD, "v1", when, acquisition, about)

    def read(self, items, geobox, slot):
        data = np.full((2, *geobox.shape), 0.05, np.float32)
        valid = np.zeros(data.shape, bool)
        valid[0] = slot.label == "2020-01"
        yield Raster(data, valid, geobox, items[0], "power")
"""

RECIPE = """
name: passes
grid: {chip_px: 32, resolution: 10}
layers:
  a: {source: "./my_source.py:Radar", slots: {months: 2020}, statistic: mean}
"""
ASCENDING_ONLY = (
    "no descending pass from 2020-01-01 to 2020-01-31 over this chip; ascending has 3: "
    "ask for `orbits: [ascending]` to leave this band out"
)


@pytest.fixture
def path(tmp_path: Path, write_source) -> Path:
    build(plan(RECIPE, base=write_source(SOURCE)), tmp_path / "d", runner=Threads(1))
    return tmp_path / "d"


def whys(path: Path, slot: str) -> dict[str, str]:
    (state,) = explain(path, 0, "a", slot=slot).slots
    return {band.band: band.why for band in state.bands}


def test_a_missing_direction_is_told_with_its_window_and_what_there_is(path: Path) -> None:
    why = whys(path, "2020-01")
    assert why["vv_desc"] == ASCENDING_ONLY
    assert why["vv_asc"] == "every pixel was observed"


def test_a_slot_without_any_pass_names_slots_that_have_some(path: Path) -> None:
    why = whys(path, "2020-02")
    assert (
        why["vv_asc"] == "no ascending pass from 2020-02-01 to 2020-02-29 over this chip; 2020-01 has 3, 2020-03 has 1"
    )
    assert why["vv_desc"] == "no descending pass from 2020-02-01 to 2020-02-29 over this chip; 2020-03 has 1"


def test_a_pass_that_was_there_and_saw_nothing_is_not_said_to_be_absent(path: Path) -> None:
    why = whys(path, "2020-03")
    told = "come{} near this chip from 2020-03-01 to 2020-03-31, but no pixel of it was observed"
    assert why["vv_asc"] == "1 ascending pass " + told.format("s")
    assert why["vv_desc"] == "1 descending pass " + told.format("s")


def test_a_pixel_of_the_sources_composite_names_all_it_was_given(path: Path) -> None:
    band, other = explain(path, 0, "a", x=3, y=4, slot="2020-01").pixel.bands
    origin = band.origin
    assert band.reproduced
    assert [item.id for item in origin.composited] == ["jan4a", "jan4b", "jan16a", "jan16b", "jan28a", "jan28b"]
    assert {item.orbit for item in origin.composited} == {"ascending 88"}
    assert origin.composited[0].time == "2020-01-04T05:58:00+00:00"
    (scene,) = origin.scenes
    assert scene.items == tuple(item.id for item in origin.composited)
    assert (scene.weight, scene.why) == (1.0, "the source's own composite")
    assert scene.kernel == "the source has resampled to the chip's pixels, by bilinear"
    assert (scene.time, scene.acquisition, scene.orbit) == (None, "", "")
    assert origin.elsewhere == 0
    assert origin.steps.startswith("mean of 6 scenes by the source: 0.05")
    assert other.missing == "never observed"
    assert (other.origin.scenes, other.origin.composited, other.reproduced) == ((), (), True)
    assert other.why == ASCENDING_ONLY


def test_a_composite_is_told_in_80_columns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3leo_prep.cli.render.OUT.width", 80, raising=False)
    chip = CliRunner().invoke(app, ["explain", str(path), "0", "a", "--slot", "2020-01"])
    assert chip.exit_code == 0, chip.output
    one = " ".join(chip.output.split())
    assert ASCENDING_ONLY in one
    assert "the source composites by itself" in one
    pixel = CliRunner().invoke(app, ["explain", str(path), "0", "a", "3", "4", "--slot", "2020-01"])
    one = " ".join(pixel.output.split())
    assert "composited by the source, of 6 scenes that reach this chip:" in one
    assert "2020-01-28 05:58:00 jan28b, ascending 88" in one
    assert "what the source made of them weight 1: the source's own composite" in one
    assert "reproduced: the source gives this code now" in one

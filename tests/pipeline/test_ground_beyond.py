"""Sources that see the ground beyond a chip get its heights there, and are told what these are above."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

import m3leo_prep as mp
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.sources._native import NativeGrid, transformer

REACH = 3000.0
RECIPE = """\
name: beyond
grid: {chip_px: 56, resolution: 80}
layers:
  seen: {source: radar, dem: dem}
  dem: {source: strips}
"""


@dataclass(frozen=True)
class Strips:
    """Heights in strips of 0.01 degree from west to east: those of one tile reach a kilometre."""

    def describe(self) -> SourceInfo:
        about = {"vertical_datum": "EGM2008 height", "missing_is_sea": True}
        return SourceInfo((Variable("height", Kind.CONTINUOUS, ("height",), "m", attributes=about),), "1", pitch=80.0)

    def find(self, area: Any, slots: Any) -> Iterator[Item]:
        west, south, east, north = area.bounds
        for k in range(int(west * 100) - 1, int(east * 100) + 2):
            tile = box(k / 100, south - 1, (k + 1) / 100, north + 1)
            if tile.intersects(area):
                yield Item(f"strip{k}", tile, version="1")

    def read(self, items: Any, geobox: Any, slot: Any) -> Iterable[Raster]:
        grid = NativeGrid(str(geobox.crs), 80.0)
        window = grid.window(geobox)
        x, y = np.meshgrid(*grid.centres(window))
        lon, _ = transformer(str(geobox.crs), "EPSG:4326").transform(x, y)
        for item in items:
            west, _, east, _ = item.footprint.bounds
            valid = ((lon >= west) & (lon < east))[None]
            yield Raster(np.full(valid.shape, 7.0, np.float32), valid, grid.geobox(window), item, "height")


@dataclass(frozen=True)
class Radar:
    """1 where the ground is known all around, as far as it says that it looks; else 0."""

    reach: float = REACH

    def describe(self) -> SourceInfo:
        variable = Variable("known", Kind.CONTINUOUS, ("known",), attributes={"seen": "ground"})
        return SourceInfo((variable,), "1", pitch=80.0, on_heights=("known",), ground_reach=self.reach)

    def find(self, area: Any, slots: Any) -> Iterator[Item]:
        yield Item("pass", area.envelope.buffer(1), version="1")

    def read(self, items: Any, geobox: Any, slot: Any) -> Iterable[Raster]:
        raise AssertionError

    def read_on_heights(self, items: Any, geobox: Any, slot: Any, heights: Any) -> Iterable[Raster]:
        assert heights.vertical_datum == "EGM2008 height"
        assert heights.missing_is_sea is True
        pad = int(REACH / 80)
        _, known = heights(geobox.pad(pad))
        grid = NativeGrid(str(geobox.crs), 80.0)
        window = grid.window(geobox)
        shape = (1, window.row1 - window.row0, window.col1 - window.col0)
        data = np.full(shape, float(known.all()), np.float32)
        yield Raster(data, np.ones(shape, bool), grid.geobox(window), items[0], "known")


@pytest.mark.parametrize(("reach", "expected"), [(REACH, 1.0), (0.0, 0.0)])
def test_heights_reach_as_far_as_the_source_says(reach: float, expected: float, tmp_path: Path) -> None:
    sources: dict[str, Any] = {"radar": Radar(reach), "strips": Strips()}
    plan = make_plan(parse_recipe(RECIPE), load_area("6.10,49.60,6.11,49.61"), base=tmp_path, sources=sources)
    dataset = mp.build(plan, tmp_path / "out")
    assert np.unique(mp.open_dataset(dataset.path)["seen"]["known"].to_numpy()).tolist() == [expected]
    frozen = DatasetFolder(tmp_path / "out").frozen()
    assert frozen is not None
    assert [layer.ground_reach for layer in frozen.layers] == [reach, 0.0]


@dataclass(frozen=True)
class Choosy(Radar):
    """Refuses heights above this geoid."""

    def check_datum(self, vertical_datum: str) -> None:
        msg = f"no use for {vertical_datum}"
        raise ConfigError(msg)


def test_a_plan_tells_that_the_heights_are_of_no_use(tmp_path: Path) -> None:
    sources: dict[str, Any] = {"radar": Choosy(), "strips": Strips()}
    with pytest.raises(ConfigError, match="no use for EGM2008 height"):
        make_plan(parse_recipe(RECIPE), load_area("6.10,49.60,6.11,49.61"), base=tmp_path, sources=sources)

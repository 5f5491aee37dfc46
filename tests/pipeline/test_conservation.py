"""What a map holds is what its chips hold: classes by area and amounts by sum, across tiles and a zone's border."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from pyproj import Geod, Proj, Transformer

from m3leo_prep.core.grid import owned_mask
from m3leo_prep.core.plan import Plan
from m3leo_prep.pipeline.build import build
from m3leo_prep.runners.threads import Threads

from .conftest import area, plan

MAPS = """
    from dataclasses import dataclass
    import numpy as np
    from shapely.geometry import box
    from m3leo_prep.core.raster import Item, Kind, LegendClass, Raster, SourceInfo, Variable
    from m3leo_prep.sources._native import NativeGrid

    STEP = 1 / 12000


    @dataclass(frozen=True)
    class Map:
        '''Fields of classes on WorldCover's grid, in tiles that meet at 12 E; or built-up m2 on GHSL's grid.'''

        what: str = "classes"

        def describe(self):
            if self.what == "classes":
                legend = tuple(LegendClass(code, f"class {code}") for code in (10, 20, 30, 40, 50))
                variable, pitch = Variable("v", Kind.CLASSES, ("v",), legend=legend), 9.3
            else:
                variable, pitch = Variable("v", Kind.AMOUNT, ("v",), "m2"), 100.0
            return SourceInfo((variable,), version="1", pitch=pitch, is_static=True)

        def find(self, area, slots):
            for name, west, east in (("west", -180, 12.1), ("east", 11.9, 180)):
                yield Item(name, box(west, -80, east, 84))

        def read(self, items, geobox, slot):
            if self.what == "classes":
                grid = NativeGrid("EPSG:4326", STEP)
                window = grid.window(geobox)
                col, row = np.arange(window.col0, window.col1), np.arange(window.row0, window.row1)
                data = classes(*np.meshgrid(col, row))
                at = 12 * 12000
            else:
                grid = NativeGrid("ESRI:54009", 100.0)
                window = grid.window(geobox)
                col, row = np.arange(window.col0, window.col1), np.arange(window.row0, window.row1)
                data = built(*np.meshgrid(col, row))
                at = AT
            for item in items:
                mine = (col < at) if item.id == "west" else (col >= at)
                valid = np.broadcast_to(mine, data.shape)
                yield Raster(np.where(valid, data, 0)[None], valid[None], grid.geobox(window), item, "v")


    def classes(col, row):
        '''Columns of 37 and rows of 53 source pixels, of five classes.'''
        return (10 + 10 * ((col // 37 + 2 * (row // 53)) % 5)).astype("uint8")


    AT = 8190  # a column of GHSL near 12 E at 57.2 N


    def built(col, row):
        '''Up to 10 000 m2 a cell, in 20 x 20 cells around the border of the zones.'''
        inside = (abs(col - AT) <= 10) & (abs(row + 66053) <= 10)
        return np.where(inside, (col * 7919 + row * 104729) % 10001, 0).astype("float32")
    """
STEP = 1 / 12000
BOX = (11.985, 57.195, 12.015, 57.205)
"""Meets the border of zones 32 and 33 in its middle; a whole number of WorldCover's pixels."""


@pytest.fixture
def base(write_source: Callable[[str], Path]) -> Path:
    return write_source(MAPS)


def made(base: Path, what: str, pitch: int, bounds: tuple[float, float, float, float]) -> tuple[Plan, xr.Dataset]:
    layer = f"{{source: './my_source.py:Map', what: {what}, resolution: {pitch}}}"
    grid = "{chip_px: 64, resolution: 10}"
    one = plan(f"name: m\ngrid: {grid}\nlayers:\n  m: {layer}\n", area(bounds), base)
    build(one, base / "out", runner=Threads(2))
    assert set(one.cells.epsg.tolist()) == {32632, 32633}, "both zones"
    return one, xr.open_zarr(base / "out/chips.zarr", group="m", chunks=None).load()


def owned(one: Plan, chip: int, pitch: float) -> NDArray[np.bool_]:
    cells = one.cells
    return owned_mask(cells.grid, int(cells.epsg[chip]), int(cells.col[chip]), int(cells.row[chip]), pitch)


def lonlat(ds: xr.Dataset, epsg: int, chip: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.meshgrid(float(ds.x0[chip]) + ds.x.values, float(ds.y0[chip]) + ds.y.values)
    lon, lat = Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y)
    return lon, lat


def class_of(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
    col, row = np.floor(lon / STEP), np.floor(-lat / STEP)
    return (10 + 10 * ((col // 37 + 2 * (row // 53)) % 5)).astype(int)


@pytest.mark.parametrize("pitch", [10, 40])
def test_owned_pixels_hold_the_source_area_of_each_class(base: Path, pitch: int) -> None:
    """D16: over a border of zones and of tiles, by geodesic area; nothing lost, counted twice, or called 0."""
    one, ds = made(base, "classes", pitch, BOX)
    assert ds["v"].attrs["kernel"] == ("nearest" if pitch == 10 else "mode")
    got = dict.fromkeys(range(10, 60, 10), 0.0)
    codes = set()
    for chip in range(ds.sizes["chip"]):
        epsg = int(one.cells.epsg[chip])
        lon, lat = lonlat(ds, epsg, chip)
        inside = (lon > BOX[0]) & (lon < BOX[2]) & (lat > BOX[1]) & (lat < BOX[3]) & owned(one, chip, pitch)
        square = pitch**2 / Proj(epsg).get_factors(lon, lat).areal_scale
        stored = ds["v"].values[chip, 0]
        codes |= set(np.unique(stored).tolist())
        for code in got:
            got[code] += float(square[inside & (stored == code)].sum())
    assert codes == set(got), "neither 0 nor no data"
    col, row = (
        np.arange(round(BOX[0] / STEP), round(BOX[2] / STEP)),
        np.arange(round(BOX[1] / STEP), round(BOX[3] / STEP)),
    )
    source = class_of(*np.meshgrid((col + 0.5) * STEP, (row + 0.5) * STEP))
    geod = Geod(ellps="WGS84")
    squares = [
        abs(geod.polygon_area_perimeter([0, STEP, STEP, 0], [a * STEP, a * STEP, (a + 1) * STEP, (a + 1) * STEP])[0])
        for a in row.tolist()
    ]
    for code, found in got.items() if pitch == 10 else ():  # coarse fields are 5 px wide: whole pixels are too rough
        truth = float(((source == code).sum(axis=1) * squares).sum())
        assert found == pytest.approx(truth, rel=0.005), code
    whole = sum(got.values())
    assert whole == pytest.approx(sum(squares) * len(col), rel=0.002 if pitch == 10 else 0.03)


def test_areas_of_chips_against_8_x_8_points_a_pixel(base: Path) -> None:
    """D15: by class over all chips; the codes are those of the legend. Of ``mode``, ``test_warp`` has the same."""
    pitch = 10
    one, ds = made(base, "classes", pitch, BOX)
    parts, size = 8, ds.sizes["x"]
    truth, stored = np.zeros(60), np.zeros(60)
    at = (np.arange(size * parts) + 0.5) * pitch / parts
    for chip in range(ds.sizes["chip"]):
        x, y = np.meshgrid(float(ds.x0[chip]) + at, float(ds.y0[chip]) - at)
        lon, lat = Transformer.from_crs(int(one.cells.epsg[chip]), 4326, always_xy=True).transform(x, y)
        truth += np.bincount(class_of(lon, lat).ravel(), minlength=60) / parts**2
        stored += np.bincount(ds["v"].values[chip, 0].ravel(), minlength=60)
    assert np.flatnonzero(stored).tolist() == [10, 20, 30, 40, 50]
    assert np.abs(stored / np.maximum(truth, 1) - 1)[truth > 0].max() < 0.005


@pytest.mark.parametrize("pitch", [10, 80])
def test_owned_pixels_hold_all_of_an_amount(base: Path, pitch: int) -> None:
    """D22: built-up m2 of Mollweide's 100-m cells, on both sides of a border of zones: the total within 0.5 %."""
    to_lonlat = Transformer.from_crs("ESRI:54009", 4326, always_xy=True)
    col, row = np.meshgrid(np.arange(8180, 8201), np.arange(-66063, -66042))
    total = float(((col * 7919 + row * 104729) % 10001).sum())
    lon, lat = to_lonlat.transform(
        np.array([8178, 8203, 8178, 8203]) * 100.0, np.array([66065, 66065, 66040, 66040]) * 100.0
    )
    one, ds = made(base, "amounts", pitch, (min(lon), min(lat), max(lon), max(lat)))
    got = sum(
        float(ds["v"].values[chip, 0][owned(one, chip, pitch)].sum(dtype=float)) for chip in range(ds.sizes["chip"])
    )
    assert got == pytest.approx(total, rel=0.005)
    assert float(ds["v"].values.sum(dtype=float)) > 1.01 * total, "not owned = the neighbour zone's, counted there"

"""Tiles of one pass, also of neighbouring zones, make one picture: no gap, no seam, nothing counted twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import Absent, Item, Raster, SourceInfo
from m3leo_prep.pipeline.derive import derive, in_groups
from m3leo_prep.sources._sentinel2.choice import Choice, choose
from m3leo_prep.sources._sentinel2.granules import items_of
from m3leo_prep.sources._sentinel2.reading import read_image
from m3leo_prep.sources.remote.access import Access
from tests.sources.sentinel2.conftest import Scene, clear
from tests.sources.sentinel2.test_s2_granules import EVER

CHOICE = choose("2A", bands=["red", "swir1"])
# At 6 degrees east, where zone 31 ends: 1200 m of each tile, which overlap by 400 m.
LON, LAT = 6.0, 50.6


@dataclass(frozen=True)
class Tiles:
    """The product's reading, without a catalogue."""

    choice: Choice

    def describe(self) -> SourceInfo:
        return self.choice.describe(dear_blocks=False, concurrent_reads=1, source="here")

    def find(self, area: Any, slots: Any) -> Iterator[Item]:
        raise NotImplementedError

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: object) -> Iterator[Raster | Absent]:
        for item in items:
            yield from read_image(item, self.choice, Access("here"), geobox)


def layer(source: Tiles, size: int, statistic: str = "median", method: str = "bilinear") -> Layer:
    (variable,) = source.describe().variables
    array = Array(variable, default_encoding(variable), method, statistic, 1)  # type: ignore[arg-type]
    return Layer("s2", "input", 10.0, size, EVER, (array,), 64, 1, 1)


def ground(x: NDArray[np.float64], y: NDArray[np.float64], epsg: int) -> NDArray[np.float64]:
    """Return a smooth reflectance of a place, whatever the zone it is asked in."""
    lon, lat = Transformer.from_crs(f"EPSG:{epsg}", "EPSG:4326", always_xy=True).transform(x, y)
    return np.asarray(0.3 + 0.1 * np.sin((lon - LON) * 1500) * np.cos((lat - LAT) * 1500))


def numbers(corner: tuple[float, float], pitch: float, epsg: int) -> NDArray[np.uint16]:
    n = int(1200 / pitch)
    x, y = np.meshgrid(corner[0] + (np.arange(n) + 0.5) * pitch, corner[1] - (np.arange(n) + 0.5) * pitch)
    return np.rint(ground(x, y, epsg) * 10_000 + 1000).astype(np.uint16)


def corner_near(epsg: int, dx: float) -> tuple[float, float]:
    x, y = Transformer.from_crs("EPSG:4326", f"EPSG:{epsg}", always_xy=True).transform(LON, LAT)
    return x // 60 * 60 + dx, y // 60 * 60 + 600


def tile(scene: Scene, name: str, epsg: int, dx: float, **more: Any) -> Item:
    corner = corner_near(epsg, dx)
    files = {"B04": numbers(corner, 10, epsg), "B11": numbers(corner, 20, epsg), "SCL": more.pop("scl", clear())}
    (item,) = items_of([scene(files, tile=name, epsg=epsg, corner=corner, **more)], CHOICE, EVER)
    return item


def target_in(epsg: int, n: int = 160) -> GeoBox:
    x, y = corner_near(epsg, -800.0)
    return GeoBox((n // 2, n), Affine(10, 0, x, 0, -10, y - 120), f"EPSG:{epsg}")


def error(values: NDArray[Any], target: GeoBox) -> NDArray[Any]:
    rows, cols = target.shape
    a = target.transform
    x, y = np.meshgrid(a.c + (np.arange(cols) + 0.5) * 10, a.f - (np.arange(rows) + 0.5) * 10)
    return np.abs(values - ground(x, y, 32631))


def test_tiles_of_one_zone_are_one_picture(scene: Scene) -> None:
    source = Tiles(CHOICE)
    items = [tile(scene, "31UGS", 32631, -1000), tile(scene, "31UGT", 32631, -200)]
    assert items[0].acquisition == items[1].acquisition
    target = target_in(32631)
    found = derive(source, layer(source, 80), in_groups(items), target, EVER[0]).looks["reflectance"]
    assert found is not None
    assert found.valid.all()
    # On its own pixels nothing is resampled: only the rounding of numbers is left.
    assert error(found.values[0], target).max() < 6e-5


def test_tiles_of_two_zones_have_no_seam(scene: Scene) -> None:
    source = Tiles(CHOICE)
    items = [tile(scene, "31UGS", 32631, -1000), tile(scene, "32ULB", 32632, -200)]
    target = target_in(32631)
    made = derive(source, layer(source, 80), in_groups(items), target, EVER[0])
    found = made.looks["reflectance"]
    assert found is not None
    assert found.valid.all()
    off = error(found.values[0], target)
    own = (target.transform.c + np.arange(160) * 10) < corner_near(32631, 200)[0]
    assert 0 < own.sum() < 160
    assert off[:, own].max() < 6e-5  # own-zone tiles win wherever they have a pixel
    # Beyond them, bilinear interpolation of the other zone's: at most amplitude x (wave number x pitch)^2 / 8 in each
    # direction, of waves of 297 m and 466 m.
    assert off[:, ~own].max() < 0.1 * ((2 * np.pi * 10 / 297) ** 2 + (2 * np.pi * 10 / 466) ** 2) / 8 + 6e-5
    step = np.abs(np.diff(found.values[0], axis=1)).max(axis=0)
    seam = int(own.sum()) - 1
    assert step[seam] < 1.2 * max(step[seam - 5 : seam].max(), step[seam + 1 : seam + 6].max()) + 1e-3
    assert len(made.operations) == 1


def test_one_pass_counts_once(scene: Scene) -> None:
    source = Tiles(CHOICE)
    items = [tile(scene, "31UGS", 32631, -1000), tile(scene, "31UGT", 32631, -200), tile(scene, "32ULB", 32632, -200)]
    items.append(tile(scene, "31UGS", 32631, -1000, start="20230824T105629"))
    found = derive(source, layer(source, 80, "count"), in_groups(items), target_in(32631), EVER[0]).looks["reflectance"]
    assert found is not None
    assert sorted(np.unique(found.values[0]).tolist()) == [1, 2]


@pytest.mark.parametrize("dilate", [0, 100])
def test_windows_do_not_matter(scene: Scene, dilate: float) -> None:
    scl = clear()
    scl[np.random.default_rng(5).random(scl.shape) < 0.01] = 9
    choice = choose("2A", bands=["red", "swir1"], dilate=dilate)
    source = Tiles(choice)
    items = [tile(scene, "31UGS", 32631, -1000, scl=scl), tile(scene, "32ULB", 32632, -200, scl=scl)]
    target = target_in(32631)
    whole = derive(source, layer(source, 80), items, target, EVER[0]).looks["reflectance"]
    assert whole is not None
    assert 0 < whole.valid.sum() < whole.valid.size
    for rows, cols in ((slice(0, 40), slice(0, 40)), (slice(40, 80), slice(80, 120))):
        part = derive(source, layer(source, 40), items, target[rows, cols], EVER[0]).looks["reflectance"]
        assert part is not None
        assert np.array_equal(part.valid, whole.valid[:, rows, cols])
        assert np.array_equal(part.values[part.valid], whole.values[:, rows, cols][part.valid])
        assert np.array_equal(part.observed, whole.observed[:, rows, cols])


def test_no_image_and_all_cloud_are_told_apart(scene: Scene) -> None:
    source = Tiles(CHOICE)
    cloudy = tile(scene, "31UGS", 32631, -1000, scl=np.full((60, 60), 9, np.uint8))
    target = target_in(32631)[:, :80]
    found = derive(source, layer(source, 80), [cloudy], target, EVER[0]).looks["reflectance"]
    assert found is not None
    assert found.observed.all()
    assert not found.valid.any()
    assert derive(source, layer(source, 80), [], target, EVER[0]).looks["reflectance"] is None

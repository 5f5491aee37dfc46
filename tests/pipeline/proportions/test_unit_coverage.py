"""Areas of classes inside polygons, from the raster itself (D58, D59): closed forms, and geodesic areas by pyproj."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.affinity import rotate

from m3leo_prep.core.authalic import areas_km2
from m3leo_prep.core.zones import unproject
from m3leo_prep.pipeline.proportions import coverage
from m3leo_prep.pipeline.proportions.coverage import pixel_km2
from tests.pipeline.proportions.conftest import geodesic, write_raster

Held = Callable[..., np.ndarray]


def stripes(path: Path, west: float, north: float, step: float, shape: tuple[int, int], edge: float) -> None:
    """Write a lon/lat raster of class 1 west of a meridian on a pixel's edge, 2 east of it."""
    codes = np.ones(shape, np.uint8)
    codes[:, round((edge - west) / step) :] = 2
    write_raster(path, codes, Affine(step, 0, west, 0, -step, north), "EPSG:4326")


def test_half_a_polygon_by_area_over_ten_degrees_of_latitude(tmp_path: Path, held: Held) -> None:
    """D58. Counting pixels of equal degrees is off by several percent."""
    lats = np.linspace(55, 65, 1001)
    below = np.array([geodesic(shapely.box(10, 55, 11, lat)) for lat in lats[1:]])
    half = int(np.abs(below / below[-1] - 0.5).argmin()) + 1
    codes = np.full((1000, 100), 2, np.uint8)
    codes[1000 - half :] = 1
    write_raster(tmp_path / "map.tif", codes, Affine(0.01, 0, 10, 0, -0.01, 65), "EPSG:4326")
    a, b = held([shapely.box(10, 55, 11, 65)], (10.5, 60))[0]
    truth = below[half - 1] / below[-1]
    assert truth == pytest.approx(0.5, abs=1e-3)
    assert a / (a + b) == pytest.approx(truth, abs=1e-6)
    assert a + b == pytest.approx(below[-1], rel=1e-6)
    unweighted = half / 1000
    assert abs(unweighted - 0.5) > 0.02, "a count of pixels must fail this test"


@pytest.mark.parametrize(
    "unit",
    [
        shapely.box(10.0123, 50.0077, 10.0456, 50.0311),
        shapely.box(10.011, 50.01, 10.05, 50.04).difference(shapely.box(10.02, 50.02, 10.031, 50.033)),
        shapely.union_all([shapely.box(10.001, 50.001, 10.0173, 50.0213), shapely.box(10.041, 50.031, 10.049, 50.039)]),
        shapely.box(10.02512, 50.02012, 10.02518, 50.02019),
        rotate(shapely.box(10.01, 50.015, 10.04, 50.03), 33),
    ],
    ids=["box", "hole", "two parts", "smaller than a pixel", "oblique"],
)
def test_edges_count_by_the_part_of_the_pixel_that_is_inside(
    tmp_path: Path, held: Held, unit: shapely.Geometry
) -> None:
    """D59, against areas of the polygon's two halves by pyproj."""
    stripes(tmp_path / "map.tif", 10, 50.05, 0.001, (50, 50), 10.025)
    got = held([unit], (10.02, 50.02))[0]
    truth = [geodesic(unit & shapely.box(10, 50, 10.025, 51)), geodesic(unit & shapely.box(10.025, 50, 11, 51))]
    np.testing.assert_allclose(got, truth, rtol=1e-5, atol=1e-9)


def test_ground_outside_the_raster_or_without_data_is_no_class(tmp_path: Path, held: Held) -> None:
    codes = np.ones((50, 50), np.uint8)
    codes[:10] = 0
    write_raster(tmp_path / "map.tif", codes, Affine(0.001, 0, 10, 0, -0.001, 50.05), "EPSG:4326", nodata=0)
    half_outside, outside = shapely.box(10.04, 50.01, 10.06, 50.03), shapely.box(11, 50, 11.1, 50.1)
    over_nodata = shapely.box(10.01, 50.03, 10.02, 50.05)
    got = held([half_outside, outside, over_nodata], (10.02, 50.02))
    inside = [geodesic(shapely.box(10.04, 50.01, 10.05, 50.03)), 0, geodesic(shapely.box(10.01, 50.03, 10.02, 50.04))]
    np.testing.assert_allclose(got[:, 0], inside, rtol=1e-5)
    assert (got[:, 1] == 0).all()


def test_tiles_of_two_zones_that_overlap_count_once(tmp_path: Path, held: Held) -> None:
    """A unit across a UTM seam, a tile border and blocks; each tile reaches 3 km over the seam at 12 E."""
    for zone, (left, right) in {32632: (11.9, 12.04), 32633: (11.96, 12.1)}.items():
        to = pyproj.Transformer.from_crs(4326, zone, always_xy=True)
        x0, y0 = (round(v, -2) for v in to.transform(left, 50.06))
        x1, y1 = to.transform(right, 49.97)
        shape = (round((y0 - y1) / 20), round((x1 - x0) / 20))
        write_raster(
            tmp_path / f"tile{zone}.tif", np.ones(shape, np.uint8), Affine(20, 0, x0, 0, -20, y0), f"EPSG:{zone}"
        )
    unit = shapely.box(11.95, 49.99, 12.05, 50.04)
    got = held([unit], (12.01, 50.0), "tile*.tif")[0]
    assert got[0] == pytest.approx(geodesic(unit), rel=2e-4), "one pixel's width along the border of a tile"


def test_a_unit_across_the_antimeridian_south_of_the_equator(tmp_path: Path, held: Held) -> None:
    """A raster whose longitudes go on to 180.1; the unit comes in two parts, as everything inside -180...180."""
    stripes(tmp_path / "map.tif", 179.9, -16.9, 0.001, (200, 200), 180.03)
    parts = [shapely.box(179.95, -17.05, 180, -16.95), shapely.box(-180, -17.05, -179.95, -16.95)]
    got = held([shapely.MultiPolygon(parts)], (179.97, -17.0))[0]
    one_degree = geodesic(shapely.box(179, -17.05, 180, -16.95))
    np.testing.assert_allclose(got, [0.08 * one_degree, 0.02 * one_degree], rtol=1e-5)


def test_blocks_change_nothing(tmp_path: Path, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    stripes(tmp_path / "map.tif", 10, 50.05, 0.0005, (100, 100), 10.025)
    units = [rotate(shapely.box(10.01, 50.015, 10.04, 50.03), 20), shapely.box(10.001, 50.001, 10.049, 50.049)]
    whole = held(units, (10.02, 50.02))
    monkeypatch.setattr(coverage, "BLOCK_PX", 16)
    np.testing.assert_allclose(held(units, (10.02, 50.02)), whole, rtol=1e-9)


@pytest.mark.parametrize(
    ("crs", "pitch", "lon", "lat"),
    [
        ("EPSG:4326", 0.01, 20, 70),
        ("EPSG:32633", 100, 20, 60),
        ("EPSG:3857", 500, -30, 55),
        ("+proj=sinu +R=6371007.181 +units=m", 463.3, 100, 40),
        ("ESRI:54009", 1000, 30, -25),
    ],
)
def test_pixels_have_their_area_on_the_ellipsoid(crs: str, pitch: float, lon: float, lat: float) -> None:
    to = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    x, y = to.transform(lon, lat)
    grid = GeoBox((60, 80), Affine(pitch, 0, x, 0, -pitch, y), crs)
    got = pixel_km2(grid)
    for row, col in ((0, 0), (31, 17), (59, 79)):
        ring = [(col, row), (col + 1, row), (col + 1, row + 1), (col, row + 1)]
        corners = [to.transform(*(grid.affine * corner), direction="INVERSE") for corner in ring]
        assert got[row, col] == pytest.approx(
            abs(GEOD.polygon_area_perimeter(*zip(*corners, strict=True))[0]) / 1e6, rel=1e-5
        )


def test_areas_are_those_of_geodesy() -> None:
    shapes = [shapely.box(-5, 60, 5, 70), shapely.Point(30, -40).buffer(2), shapely.box(0, 0, 1e-3, 1e-3)]
    np.testing.assert_allclose(areas_km2(shapes), [geodesic(shape) for shape in shapes], rtol=1e-6)


GEOD = pyproj.Geod(ellps="WGS84")


def test_no_more_of_a_block_is_read_than_the_units_take(
    tmp_path: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block of 20 km, a unit of 1 km."""
    write_raster(
        tmp_path / "map.tif", np.ones((400, 400), np.uint8), Affine(10, 0, 500_000, 0, -10, 5_500_000), "EPSG:32632"
    )
    sizes = []
    real = coverage.read_rasters

    def read(*args: Any, **kept: Any) -> Any:
        sizes.append(tuple(args[3].shape))
        return real(*args, **kept)

    monkeypatch.setattr(coverage, "read_rasters", read)
    unit = shapely.transform(
        shapely.box(501_000, 5_497_000, 502_000, 5_498_000),
        lambda p: np.column_stack(unproject(32632, p[:, 0], p[:, 1])),
    )
    assert held([unit], (9.01, 49.64))[0] == pytest.approx([geodesic(unit), 0], rel=1e-6)
    assert len(sizes) == 1
    assert max(sizes[0]) < 110

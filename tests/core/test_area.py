"""Areas from geometries: checks D5, D7, D8, D9, and how far-flung parts are found."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.polygons import geodesic_km2, remote_groups

BOW_TIE = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])


def area_of(geometry, **options) -> Area:
    return Area.from_geometry(geometry, name="x", **options)


# --- D5: rings across the antimeridian ---------------------------------------------------------------------


def test_d5_a_ring_that_jumps_at_180_is_split_and_not_wrapped_around_the_earth():
    ring = Polygon([(177, -20), (-178, -20), (-178, -15), (177, -15)])
    area = area_of(ring)
    assert area.geometry.bounds == (-180, -20, 180, -15)
    assert shapely.area(area.geometry) == pytest.approx(25)
    halves = MultiPolygon([shapely.box(177, -20, 180, -15), shapely.box(-180, -20, -178, -15)])
    assert area.geometry.equals(halves)
    assert Grid().cells(area.geometry).ids() == Grid().cells(halves).ids()
    assert any("antimeridian" in text for text in area.warnings)


def test_d5_a_hole_beyond_the_antimeridian_stays_a_hole():
    shell = [(177, -20), (-178, -20), (-178, -15), (177, -15)]
    for hole in (
        [(-179.5, -19), (-179.5, -18), (-179, -18)],
        [(179.5, -19), (-179.5, -19), (-179.5, -18), (179.5, -18)],
    ):
        area = area_of(Polygon(shell, [hole]))
        assert geodesic_km2(area.geometry) < geodesic_km2(shapely.box(0, -20, 5, -15)) - 2900
        assert not area.geometry.contains(Point(-179.55 if len(hole) == 4 else -179.4, -18.3))


@pytest.mark.parametrize("shift", [-360, 0])
def test_longitudes_beyond_180_are_the_same_ground(shift):
    area = area_of(shapely.box(177 + shift, -20, 182 + shift, -15))
    assert area.geometry.equals(MultiPolygon([shapely.box(177, -20, 180, -15), shapely.box(-180, -20, -178, -15)]))
    assert area.warnings == ()


def test_a_belt_around_the_whole_earth_is_kept():
    belt = shapely.box(-180, -10, 180, 10)
    assert area_of(belt).geometry.equals(belt)
    assert area_of(belt).warnings == ()


def test_a_wide_ring_without_a_jump_is_kept():
    wide = shapely.segmentize(shapely.box(-100, 10, 120, 20), 50)
    assert area_of(wide).geometry.equals(wide)


def test_a_projected_area_across_the_antimeridian_is_split():
    lon, lat = [178.0, 178.0, -178.0, -178.0], [-18.0, -16.0, -16.0, -18.0]
    x, y = Transformer.from_crs(4326, 3460, always_xy=True).transform(lon, lat)  # Fiji Map Grid
    area = area_of(Polygon(zip(x, y, strict=True)), crs="EPSG:3460")
    assert area.area_km2 == pytest.approx(geodesic_km2(shapely.box(0, -18, 4, -16)), rel=0.01)
    assert not area.geometry.intersects(shapely.box(-170, -30, 170, 0))


# --- D7 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "geometry",
    [
        shapely.box(0, 84.5, 10, 85.5),
        shapely.box(0, -89, 10, -85),
        shapely.box(0, 83, 10, 84.1),
        Polygon([(-180, -70), (-90, -70), (0, -70), (90, -70), (180, -70), (180, -90), (-180, -90)]),
        Polygon([(-150, 80), (-50, 80), (50, 80), (150, 80)]),  # around the pole
    ],
)
def test_d7_polar_areas_are_refused(geometry):
    with pytest.raises(ConfigError, match="UNSUPPORTED_LATITUDE"):
        area_of(geometry)


# --- D8 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "geometry",
    [
        Polygon(),
        MultiPolygon(),
        GeometryCollection(),
        Point(9, 50),
        LineString([(9, 50), (10, 51)]),
        GeometryCollection([Point(1, 1), LineString([(0, 0), (1, 1)])]),
    ],
)
def test_d8_without_a_polygon_there_is_no_area(geometry):
    with pytest.raises(ConfigError, match="holds no polygon") as error:
        area_of(geometry)
    assert error.value.exit_code == 2
    assert "area 'x'" in str(error.value)


@pytest.mark.parametrize(
    "geometry",
    [
        Polygon([(9, 50), (10, 51), (9, 50)]),
        Polygon([(9, 50), (10, 50), (11, 50)]),
        shapely.box(9, 50, 9 + 1.4e-5, 50 + 9e-6),  # 1 m2
    ],
)
def test_d8_without_an_extent_there_is_no_area(geometry):
    with pytest.raises(ConfigError, match=r"less than one 10 m pixel"):
        area_of(geometry)


def test_an_area_of_a_few_pixels_is_an_area():
    assert area_of(shapely.box(9, 50, 9.001, 50.001)).area_km2 == pytest.approx(0.008, rel=0.05)


# --- D9 -------------------------------------------------------------------------------------------------------


def test_d9_a_bow_tie_is_repaired_whole_and_says_so():
    area = area_of(BOW_TIE)
    both = geodesic_km2(Polygon([(0, 0), (1, 1), (0, 2)])) + geodesic_km2(Polygon([(2, 2), (1, 1), (2, 0)]))
    assert area.area_km2 == pytest.approx(both, rel=1e-6)
    (warning,) = area.warnings
    assert "repaired" in warning
    assert "Self-intersection" in warning
    assert f"{area.area_km2:.3f} km2 now" in warning
    assert area.geometry.is_valid


def test_d9_overlapping_parts_count_once_and_leave_no_hole():
    overlapping = MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)])
    assert area_of(overlapping).geometry.equals(shapely.union_all(list(overlapping.geoms)))


def test_d9_holes_stay_holes():
    ring = shapely.box(0, 0, 2, 2).difference(shapely.box(0.5, 0.5, 1.5, 1.5))
    area = area_of(ring)
    assert area.geometry.equals(ring)
    assert area.area_km2 == pytest.approx(geodesic_km2(shapely.box(0, 0, 2, 2)) * 0.75, rel=1e-3)


def test_d9_a_collection_gives_its_polygons_and_names_what_it_leaves():
    mixed = GeometryCollection(
        [Point(5, 5), GeometryCollection([shapely.box(0, 0, 1, 1)]), LineString([(0, 0), (9, 9)])]
    )
    area = area_of(mixed)
    assert area.geometry.equals(shapely.box(0, 0, 1, 1))
    assert area.warnings == ("LineString and Point parts have no area and were left out",)


def test_d9_heights_are_dropped():
    area = area_of(Polygon([(0, 0, 5), (1, 0, 6), (1, 1, 7)]))
    assert not area.geometry.has_z


def test_d9_swapped_latitude_and_longitude_are_suspected_by_name():
    with pytest.raises(ConfigError, match="latitude and longitude seem to be swapped"):
        area_of(shapely.box(50, 120, 51, 121))


@pytest.mark.parametrize("geometry", [shapely.box(5e5, 5e6, 6e5, 6e6), shapely.box(400, 10, 401, 11)])
def test_d9_metres_are_not_degrees(geometry):
    with pytest.raises(ConfigError, match="no longitude and latitude in degrees"):
        area_of(geometry)


def test_d9_numbers_that_are_none_are_refused():
    with np.errstate(invalid="ignore"):
        broken = shapely.from_wkt("POLYGON ((0 0, 1 nan, 1 1, 0 0))")
    with pytest.raises(ConfigError, match="no numbers"):
        area_of(broken)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3035", "EPSG:3857", "EPSG:4258"])
def test_d9_another_crs_is_transformed(crs):
    lonlat = shapely.box(9, 50, 10, 51)
    there = Transformer.from_crs(4326, crs, always_xy=True)
    drawn = shapely.transform(
        shapely.segmentize(lonlat, 0.01), lambda p: shapely.get_coordinates(shapely.points(*there.transform(*p.T)))
    )
    area = area_of(drawn, crs=crs)
    assert area.area_km2 == pytest.approx(geodesic_km2(lonlat), rel=1e-4)
    assert shapely.hausdorff_distance(area.geometry, lonlat) < 0.01


def test_d9_long_projected_edges_are_bent_as_they_lie_on_the_ground():
    """A 2000 km square of an equal-area CRS keeps its area; four corners alone would lose one per cent of it."""
    square = shapely.box(4e6, 3e6, 6e6, 5e6)
    assert area_of(square, crs="EPSG:3035").area_km2 == pytest.approx(4e6, rel=1e-5)


def test_d9_an_unknown_crs_is_named():
    with pytest.raises(ConfigError, match="unknown CRS 'EPSG:99999'"):
        area_of(shapely.box(0, 0, 1, 1), crs="EPSG:99999")


# --- sizes ------------------------------------------------------------------------------------------------------


def test_the_area_is_geodesic():
    # A quarter of the ellipsoid's belt between the equator and 10 N, from its closed form.
    e2 = 0.00669437999014
    import math

    def q(lat: float) -> float:
        s, e = math.sin(math.radians(lat)), math.sqrt(e2)
        return (1 - e2) * (s / (1 - e2 * s * s) + math.atanh(e * s) / e)

    exact = math.pi / 2 * 6378.137**2 * q(10) / 2
    assert geodesic_km2(shapely.segmentize(shapely.box(0, 0, 90, 10), 1)) == pytest.approx(exact, rel=1e-6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(-179, 179), st.floats(-70, 70), st.floats(0.01, 20), st.floats(0.01, 10))
def test_any_box_keeps_its_ground(west, south, width, height):
    area = area_of(shapely.box(west, south, west + width, south + height))
    assert area.geometry.is_valid
    assert -180 <= area.geometry.bounds[0] <= area.geometry.bounds[2] <= 180
    moved = shapely.box(-10, south, -10 + width, south + height)
    assert area.area_km2 == pytest.approx(geodesic_km2(moved), rel=1e-6)
    assert shapely.area(area.geometry) == pytest.approx(width * height, rel=1e-9)


def test_far_parts_are_told_from_near_ones():
    near = [shapely.box(0, 0, 1, 1), shapely.box(3, 0, 4, 1), shapely.box(6, 0, 7, 1)]
    assert len(remote_groups(MultiPolygon(near))) == 1
    far = remote_groups(MultiPolygon([*near, shapely.box(30, 0, 30.5, 0.5)]))
    assert [len(group.geoms) for group in far] == [3, 1]
    across = MultiPolygon([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)])
    assert len(remote_groups(across)) == 1
    long = MultiPolygon([shapely.box(-60, 0, 60, 1), shapely.box(61, 0, 62, 1)])
    assert len(remote_groups(long)) == 1

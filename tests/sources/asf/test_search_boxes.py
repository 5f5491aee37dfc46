"""The boxes that a catalogue is asked about hold all of the area."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.sources.asf.service.boxes import CUTS, MARGIN_DEG, boxes
from m3leo_prep.testing.earthdata import EarthdataStandIn


def _star(vertices: int, seed: int, lon: float = 10.0, lat: float = 45.0, size: float = 3.0) -> shapely.Polygon:
    """Return a ragged polygon: a ring of random radii."""
    draw = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    radii = size * draw.uniform(0.2, 1.0, vertices)
    return shapely.Polygon(np.column_stack([lon + radii * np.cos(angles), lat + radii * np.sin(angles)]))


def _covered(area: shapely.Geometry) -> bool:
    return shapely.union_all([shapely.box(*one) for one in boxes(area)]).covers(area)


@given(
    vertices=st.integers(3, 3000),
    seed=st.integers(0, 2**32 - 1),
    lon=st.floats(-175, 175),
    lat=st.floats(-80, 80),
    size=st.floats(1e-6, 5),
)
def test_boxes_hold_all_of_any_polygon(vertices: int, seed: int, lon: float, lat: float, size: float) -> None:
    area = _star(vertices, seed, lon, lat, size)
    assert _covered(area)
    assert 1 <= len(boxes(area)) <= 2**CUTS


def test_an_empty_area_is_no_question() -> None:
    assert boxes(shapely.Polygon()) == []


def test_what_a_box_fills_is_one_box_and_none_is_a_point() -> None:
    assert boxes(shapely.box(8, 44, 10, 46)) == [pytest.approx((7.9, 43.9, 10.1, 46.1))]
    west, south, east, north = boxes(shapely.Point(9, 45).buffer(1e-9))[0]
    assert min(east - west, north - south) >= 2 * MARGIN_DEG


def test_two_far_parts_are_asked_about_apart() -> None:
    parts = [shapely.box(-10, 0, -8, 2), shapely.box(100, 50, 102, 52)]
    found = boxes(shapely.MultiPolygon(parts))
    assert len(found) == 2
    assert [shapely.box(*one).covers(part) for one, part in zip(found, parts, strict=True)] == [True, True]


def test_an_area_across_180_degrees_is_not_a_belt_around_the_world() -> None:
    area = shapely.MultiPolygon([shapely.box(178, -18, 180, -16), shapely.box(-180, -18, -179, -16)])
    found = boxes(area)
    assert _covered(area)
    assert sum(east - west for west, _, east, _ in found) < 4
    assert all(-180 <= west < east <= 180 for west, _, east, _ in found)


def test_the_poles_are_the_end() -> None:
    assert boxes(shapely.box(-180, -90, 180, 90)) == [(-180.0, -90.0, 180.0, 90.0)]


def test_a_long_thin_area_leaves_most_of_its_box_out() -> None:
    line = shapely.LineString([(0, 0), (16, 16)]).buffer(0.05)
    found = boxes(line)
    assert _covered(line)
    assert sum(shapely.box(*one).area for one in found) < 0.3 * 16 * 16


@pytest.mark.parametrize(("vertices", "size"), [(1001, 3.0), (5000, 3.0), (30, 1e-5)])
def test_what_is_sent_holds_all_of_the_area(earthdata: EarthdataStandIn, vertices: int, size: float) -> None:
    pytest.importorskip("asf_search")
    from m3leo_prep.sources.asf.service.search import search

    area = _star(vertices, 1, size=size)
    assert search("gunw", area, None, None) == []
    sent = [request.query["bounding_box"][0].split(",") for request in earthdata.asked("search")]
    assert shapely.union_all([shapely.box(*map(float, sides)) for sides in sent]).covers(area)

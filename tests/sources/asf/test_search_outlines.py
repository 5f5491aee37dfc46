"""Footprints hold what is inside by either reading of their edges, and what lies there is found."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.sources.asf.service.outlines import both_readings
from m3leo_prep.testing.earthdata import EarthdataStandIn, Granule


def _middle(first: tuple[float, float], last: tuple[float, float]) -> tuple[float, float]:
    """Return the middle of a great circle between two places: that of their unit vectors."""
    vectors = []
    for lon, lat in np.radians([first, last]):
        vectors.append([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    x, y, z = np.sum(vectors, axis=0)
    return float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


@given(
    lon=st.floats(-175, 165),
    lat=st.floats(-80, 78),
    width=st.floats(0.3, 9),
    height=st.floats(0.1, 2),
    slant=st.floats(-0.5, 0.5),
)
def test_the_middle_of_each_edge_is_inside_by_either_reading(
    lon: float, lat: float, width: float, height: float, slant: float
) -> None:
    corners = [(lon, lat), (lon + width, lat + slant), (lon + width, lat + slant + height), (lon, lat + height)]
    scene = shapely.Polygon(corners)
    found = both_readings(scene)
    assert found.covers(scene)
    for first, last in zip(corners, corners[1:] + corners[:1], strict=True):
        assert found.distance(shapely.Point(_middle(first, last))) < 2e-4
    assert found.area < scene.area * 1.5 + 1


def test_a_scene_at_60_north_is_wider_by_the_sagitta() -> None:
    """Of 4.5 degrees of longitude: tan(lat) of the middle is tan(60) / cos(2.25)."""
    sagitta = np.degrees(np.arctan(np.tan(np.radians(60)) / np.cos(np.radians(2.25)))) - 60
    assert sagitta == pytest.approx(0.019, abs=0.001)
    found = both_readings(shapely.box(6, 58, 10.5, 60))
    assert found.bounds == pytest.approx((6, 58, 10.5, 60 + sagitta), abs=1e-6)


def test_edges_that_tell_nothing_stay_as_they_are() -> None:
    for outline in (shapely.box(-180, -90, 180, 90), shapely.box(179.9, 1, 180, 3), shapely.box(-100, 10, 100, 60)):
        assert both_readings(outline).equals(outline)


def test_what_lies_in_the_strip_between_the_readings_is_found(earthdata: EarthdataStandIn) -> None:
    pytest.importorskip("asf_search")
    from m3leo_prep.sources.asf.service.search import search

    day = datetime(2024, 1, 1, tzinfo=UTC)
    earthdata.add(Granule("scene", "gunw", shapely.box(6, 58, 10.5, 60), day, day))
    names = {
        lat: [one.name for one in search("gunw", shapely.box(8.2, lat, 8.3, lat + 0.003), None, None)]
        for lat in (60.01, 60.02)
    }
    assert names == {60.01: ["scene"], 60.02: []}

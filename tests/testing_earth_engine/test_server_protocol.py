"""The stand-in speaks to the real client: values, pixels, tables in pages, assets, profiles, records."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ee
import numpy as np
import pytest

from m3leo_prep.testing.earth_engine import StandIn
from tests.testing_earth_engine.conftest import COLLECTION, TRANSFORM, grid


def test_values_of_expressions(server: StandIn) -> None:
    collection = ee.ImageCollection(COLLECTION)
    assert ee.Number(3).add(4).getInfo() == 7
    assert collection.filter(ee.Filter.eq("kind", "odd")).aggregate_array("system:index").getInfo() == ["day1", "day3"]


def test_numpy_pixels_have_every_band_and_0_where_masked(server: StandIn) -> None:
    image = ee.Image(f"{COLLECTION}/day1")
    asked = {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid(col=2, row=5)}
    got = ee.data.computePixels(asked)
    assert got.shape == (6, 8)
    assert [(name, str(got.dtype[name])) for name in got.dtype.names] == [("count", "float32"), ("small", "uint8")]
    rows, cols = np.mgrid[5:11, 2:10]
    np.testing.assert_array_equal(got["count"], np.where(cols == 3, 0, 1000 * rows + cols))
    np.testing.assert_array_equal(got["small"], rows + cols)


def test_geotiff_is_the_same_pixels_in_one_type_at_the_same_place(server: StandIn) -> None:
    import rasterio

    asked = {"expression": ee.Image(f"{COLLECTION}/day1"), "grid": grid(col=4)}
    tiff = ee.data.computePixels(asked | {"fileFormat": "GEO_TIFF"})
    array = ee.data.computePixels(asked | {"fileFormat": "NUMPY_NDARRAY"})
    with rasterio.MemoryFile(tiff) as memory, memory.open() as file:
        assert file.crs.to_epsg() == 32631
        assert tuple(file.transform)[:6] == (10.0, 0.0, TRANSFORM[2] + 40.0, 0.0, -10.0, TRANSFORM[5])
        assert file.descriptions == ("count", "small")
        assert file.dtypes == ("float32", "float32")
        for number, name in enumerate(array.dtype.names, 1):
            np.testing.assert_array_equal(file.read(number), array[name])


def test_pixels_of_an_asset_by_its_name(server: StandIn) -> None:
    asked = {"assetId": f"{COLLECTION}/day2", "fileFormat": "NUMPY_NDARRAY", "bandIds": ["small"], "grid": grid()}
    got = ee.data.getPixels(asked)
    assert got.dtype.names == ("small",)
    assert server.asked("getPixels")[0].asset == f"{COLLECTION}/day2"
    with pytest.raises(ee.EEException, match="does not exist or caller does not have access"):
        ee.data.getPixels(asked | {"assetId": f"{COLLECTION}/day9"})


def test_a_table_comes_in_pages(server: StandIn) -> None:
    table = ee.FeatureCollection(ee.ImageCollection(COLLECTION).map(lambda image: ee.Feature(None, {"id": image.id()})))
    found: list[str] = []
    page: dict[str, Any] = {}
    while not found or "nextPageToken" in page:
        more = {"pageToken": page["nextPageToken"]} if page else {}
        page = ee.data.computeFeatures({"expression": table, "pageSize": 2, **more})
        found += [feature["properties"]["id"] for feature in page["features"]]
    assert [name.rpartition("/")[2] for name in found] == [f"day{day}" for day in range(5)]
    assert len(server.asked("computeFeatures")) == 3
    other = ee.FeatureCollection(ee.ImageCollection(COLLECTION).map(lambda image: ee.Feature(None, {"x": image.id()})))
    first = ee.data.computeFeatures({"expression": table, "pageSize": 2})
    with pytest.raises(ee.EEException, match="page token"):
        ee.data.computeFeatures({"expression": other, "pageSize": 2, "pageToken": first["nextPageToken"]})


def test_what_an_asset_is(server: StandIn) -> None:
    image = ee.data.getAsset(f"{COLLECTION}/day3")
    count, small = image["bands"]
    assert image["type"] == "IMAGE"
    assert image["startTime"] == "1970-01-04T00:00:00.000Z"
    assert image["properties"] == {"kind": "odd"}
    assert count["dataType"] == {"precision": "FLOAT"}
    assert small["dataType"] == {"precision": "INT", "range": {"min": 0, "max": 255}}
    assert count["grid"]["crsCode"] == "EPSG:32631"
    assert count["grid"]["dimensions"] == {"width": 40_000, "height": 40_000}
    affine = {"scaleX": 10.0, "translateX": 500_003.0, "scaleY": -10.0, "translateY": 5_000_007.0}
    assert count["grid"]["affineTransform"] == affine
    assert ee.data.getAsset(COLLECTION)["type"] == "IMAGE_COLLECTION"
    listed = [entry["id"] for entry in ee.data.listAssets(COLLECTION)["assets"]]
    assert listed == [f"{COLLECTION}/day{day}" for day in range(5)]
    with pytest.raises(ee.EEException, match="not found"):
        ee.data.getAsset("TEST/NOTHING")


def test_a_profile_grows_with_pixels_and_images(server: StandIn) -> None:
    server.eecu_rate = 1000.0
    totals = []
    for size, images in ((10, 1), (20, 1), (10, 2)):
        image = ee.ImageCollection([ee.Image(f"{COLLECTION}/day{day}") for day in range(images)]).mosaic()
        ids: list[str] = []
        with ee.data.profiling(ids.append):
            ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": grid(size, size)})
        text = ee.ApiFunction.call_("Profile.getProfiles", ids).getInfo()
        header, *lines = text.splitlines()
        assert header.split() == ["EECU·s", "PeakMem", "Count", "Description"]
        totals.append(sum(float(line.split()[0]) for line in lines))
    assert totals == pytest.approx([0.1, 0.4, 0.2], abs=2e-3)
    ids.clear()
    ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": grid()})
    assert ids == []


def test_requests_are_recorded_with_what_they_ask(server: StandIn) -> None:
    wanted = (
        ee.ImageCollection(COLLECTION)
        .filterDate("1970-01-02", "1970-01-04")
        .filter(ee.Filter.eq("kind", "odd"))
        .filterBounds(ee.Geometry.Point(3.0, 45.0))
    )
    ee.data.setWorkloadTag("m3leo")
    try:
        asked = {"expression": wanted.mosaic(), "bandIds": ["small"], "fileFormat": "NPY", "grid": grid(7, 5)}
        ee.data.computePixels(asked)
    finally:
        ee.data.resetWorkloadTag()
    (request,) = server.requests
    assert (request.route, request.project, request.tag, request.status) == ("computePixels", "ours", "m3leo", 200)
    assert request.size == (7, 5)
    assert request.bands == ["small"]
    assert request.grid["crsCode"] == "EPSG:32631"
    assert request.expression.assets == [COLLECTION]
    assert request.expression.dates == [("1970-01-02", "1970-01-04")]
    assert ("equals", "kind", "odd") in request.expression.filters
    assert request.work == 35
    assert request.sent > 35
    assert request.ended >= request.began > 0
    assert "authorization" not in request.headers


def test_many_threads_wait_together_and_get_their_own_pixels(server: StandIn) -> None:
    server.latency = 0.3
    meeting = threading.Barrier(12)

    def fetch(number: int) -> int:
        meeting.wait()
        image = ee.Image(f"{COLLECTION}/day1").select("count")
        got = ee.data.computePixels(
            {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid(4, 4, row=number)}
        )
        return int(got["count"][0, 0])

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(fetch, range(12))) == [1000 * number for number in range(12)]
    requests = server.requests
    assert max(request.in_flight for request in requests) > 1
    # One after the other they would have waited twelve times as long.
    took = max(request.ended for request in requests) - min(request.began for request in requests)
    assert took < 12 * server.latency

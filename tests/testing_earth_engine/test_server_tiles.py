"""The stand-in's maps: pictures of images as tiles that a browser gets without a login."""

from __future__ import annotations

import math
import urllib.error
import urllib.request
import warnings

import ee
import numpy as np
import pytest
import rasterio

from m3leo_prep.testing.earth_engine import StandIn
from tests.testing_earth_engine.conftest import COLLECTION, grid

PALETTE = ["000000", "ff8000"]


def pixels(tile: bytes) -> np.ndarray:
    """Return (channel, y, x) as an independent reader has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.MemoryFile(tile) as memory, memory.open() as file:
            return file.read()


def test_pictures_are_stretched_between_their_ends(server: StandIn) -> None:
    image = ee.Image(f"{COLLECTION}/day1")
    asked = {"fileFormat": "NUMPY_NDARRAY", "grid": grid(col=2, row=5)}
    low, high = 5002, 8007
    rows, cols = np.mgrid[5:11, 2:10]
    share = np.clip((1000.0 * rows + cols - low) / (high - low), 0, 1)
    share[cols == 3] = 0
    coloured = image.visualize(bands=["count"], min=low, max=high, palette=PALETTE)
    got = ee.data.computePixels(asked | {"expression": coloured})
    assert got.dtype.names == ("vis-red", "vis-green", "vis-blue")
    for name, most in zip(got.dtype.names, (255, 128, 0), strict=True):
        np.testing.assert_array_equal(got[name], np.rint(share * most))
    grey = ee.data.computePixels(asked | {"expression": image.visualize(bands=["count"], min=low, max=high)})
    np.testing.assert_array_equal(grey["vis-gray"], np.rint(share * 255))
    three = image.select(["small", "small", "small"], ["a", "b", "c"]).visualize(min=[0, 0, 0], max=[255, 51, 510])
    got = ee.data.computePixels(asked | {"expression": three})
    small = rows + cols
    for name, want in zip(got.dtype.names, (small, 5 * small, small / 2), strict=True):
        np.testing.assert_array_equal(got[name], np.rint(want))


def test_a_tile_lies_where_web_mercator_has_it_and_needs_no_login(server: StandIn) -> None:
    place = ee.Image.pixelLonLat().visualize(bands=["longitude"], min=4.0, max=6.0)
    url = place.getMapId()["tile_fetcher"].url_format
    zoom = 8
    x = int((5.0 + 180) / 360 * 2**zoom)
    with urllib.request.urlopen(url.format(z=zoom, x=x, y=90)) as answer:
        assert answer.headers["content-type"] == "image/png"
        grey, alpha = pixels(answer.read())
    lon = (x + (np.arange(256) + 0.5) / 256) / 2**zoom * 360 - 180
    np.testing.assert_allclose(grey[0], np.clip((lon - 4) / 2, 0, 1) * 255, atol=0.6)
    assert (alpha == 255).all()


def test_what_is_masked_is_transparent(server: StandIn) -> None:
    lat = ee.Image.pixelLonLat().select("latitude")
    half = lat.updateMask(lat.gt(45)).visualize(min=0, max=90)
    zoom, y = 8, int((1 - math.asinh(math.tan(math.radians(45))) / math.pi) / 2 * 2**8)
    with urllib.request.urlopen(half.getMapId()["tile_fetcher"].url_format.format(z=zoom, x=130, y=y)) as answer:
        _, alpha = pixels(answer.read())
    assert set(np.unique(alpha)) == {0, 255}
    assert (alpha[0] == 255).all()
    assert (alpha[-1] == 0).all()


def test_an_unknown_map_and_numbers_that_are_no_picture_are_refused(server: StandIn) -> None:
    for name, status in (("projects/test/maps/none", 404), (ee.Image(1.5).getMapId()["mapid"], 400)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.url}/v1/{name}/tiles/3/1/1")
        assert refused.value.code == status
        refused.value.close()

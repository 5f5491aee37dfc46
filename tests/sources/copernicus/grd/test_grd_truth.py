"""A ground whose backscatter is known, as a radar sees it, and what is read of the product: the ground again.

The image is made by code that shares nothing with the geocoding (``testing/copernicus/files``).
"""

from datetime import UTC, datetime

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from m3leo_prep.sources.copernicus.grd.finding import described
from m3leo_prep.sources.copernicus.grd.options import choose
from m3leo_prep.sources.copernicus.grd.reading import read_image
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.stac.found import Asset, Found
from m3leo_prep.testing.copernicus.files.grd import Scene, write
from m3leo_prep.testing.copernicus.files.orbit import Orbit
from m3leo_prep.testing.copernicus.files.radar_image import Ground, image

EPSG, LON, LAT = 32632, 9.0, 47.0
SIZE, PITCH = 360, 10.0
_X, _Y = Transformer.from_crs(4326, EPSG, always_xy=True).transform(LON, LAT)
LEFT, TOP = round(_X, -1) - SIZE * PITCH / 2, round(_Y, -1) + SIZE * PITCH / 2
GAMMA = {"VV": 0.12, "VH": 0.02}
INNER = GeoBox((96, 96), Affine(PITCH, 0, LEFT + 1320, 0, -PITCH, TOP - 1320), f"EPSG:{EPSG}")
"""The middle: around it all ground that its pixels see together with is there."""


def relief(x, y):
    """Return metres above the ellipsoid: hills of 100 m, slopes up to 15 degrees."""
    return 400 + 50 * np.sin((x - LEFT) / 240) * np.cos((y - TOP) / 270)


def heights(geobox):
    a = geobox.transform
    rows, cols = np.mgrid[: geobox.shape[0], : geobox.shape[1]] + 0.5
    height = relief(a.a * cols + a.c, a.e * rows + a.f).astype(np.float32)
    return height, np.ones(geobox.shape, bool)


heights.vertical_datum = ""


def ground() -> Ground:
    rows, cols = np.mgrid[: SIZE + 1, : SIZE + 1]
    gamma = np.stack([np.full((SIZE, SIZE), level) for level in GAMMA.values()])
    return Ground(EPSG, LEFT, TOP, PITCH, relief(LEFT + PITCH * cols, TOP - PITCH * rows), gamma)


@pytest.fixture(scope="module")
def seen():
    return image(ground(), Orbit(LON, LAT, ascending=False))


def item(folder, seen, **said):
    """Return the item of a product that is written for it, its files on this machine."""
    made = write(folder, Scene(seen, datetime(2020, 6, 3, 5, 26, tzinfo=UTC), **said))
    assets = {
        key: Asset(str(made.folder / one["href"].partition(".SAFE/")[2]), properties={"file:size": 1})
        for key, one in made.item["assets"].items()
    }
    told = made.item["properties"]
    return described(Found(made.item["id"], "sentinel-1-grd", made.footprint, made.start, made.end, told, assets), 0)


def read(one, **said):
    options = {
        "bands": ["vv", "vh"], "orbits": ["descending"], "relative_orbits": "all", "convention": "gamma0_rtc",
        "noise": True, "geocoding": "terrain", "dem_datum": "ellipsoid", "force": False,
    }  # fmt: skip
    (raster,) = read_image(one, choose(**(options | said)), Access("test"), INNER, heights)
    return raster


@pytest.mark.parametrize("ipf", ["003.31", "002.72"])
def test_flattened_without_noise_it_is_the_ground_again(tmp_path, seen, ipf):
    raster = read(item(tmp_path, seen, ipf=ipf, border=30))
    assert raster.valid.all()
    for number, level in enumerate(GAMMA.values()):
        off = 10 * np.log10(raster.data[number] / level)
        assert abs(off.mean()) < 0.03
        assert off.std() < 0.15


def test_on_the_ellipsoid_the_hills_show_and_noise_lifts_the_dark(tmp_path, seen):
    one = item(tmp_path, seen)
    flat, hills = read(one), read(one, convention="gamma0_ellipsoid")
    assert np.log10(hills.data[0]).std() > 3 * np.log10(flat.data[0]).std()
    loud = read(one, convention="sigma0_ellipsoid", noise=False)
    clean = read(one, convention="sigma0_ellipsoid")
    # -23 dB, up to 1.3 times as much away from the middle of the beam.
    assert 0.9 * 10**-2.3 < (loud.data[1] - clean.data[1]).mean() < 1.4 * 10**-2.3


@pytest.mark.parametrize("ipf", ["003.31", "002.72"])
def test_the_border_is_no_data_in_old_products_and_new_ones(tmp_path, seen, ipf):
    # Of each line 40 samples in the middle are left. In the old product the others are 1 to 19.
    raster = read(item(tmp_path, seen, ipf=ipf, border=seen.beta.shape[2] // 2 - 20))
    assert 0.2 < raster.valid[0].mean() < 0.6
    np.testing.assert_array_equal(raster.valid[0], raster.valid[1])
    assert not raster.masked.any()
    for number, level in enumerate(GAMMA.values()):
        off = 10 * np.log10(raster.data[number][raster.valid[number]] / level)
        assert np.abs(off).max() < 1.0

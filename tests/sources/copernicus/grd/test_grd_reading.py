"""Pixels of an image on the lattice: a real product's annotation, with an image that says where its pixels must be."""

import re
import shutil
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.windows import Window as Pixels
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.core.raster import Absent, Item, Raster
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources.copernicus.grd.files import Product
from m3leo_prep.sources.copernicus.grd.options import choose
from m3leo_prep.sources.copernicus.grd.reading import read_image
from m3leo_prep.sources.remote.access import Access

NAME = "S1A_IW_GRDH_1SDV_20210119T031653_20210119T031718_036201_043ED0_8255"
STEM = "s1a-iw-grd-{}-20210119t031653-20210119t031718-036201-043ed0-00{}"
SHAPE = (16854, 25931)
LEVEL = 300
"""Digital number of the ground around a target."""
ACCESS = Access("test")
BASE = {
    "bands": ["vv_desc", "vh_desc", "vv_asc"],
    "orbits": ("ascending", "descending"),
    "relative_orbits": "all",
    "convention": "beta0",
    "noise": False,
    "geocoding": "terrain",
    "dem_datum": "ellipsoid",
    "force": False,
}


@pytest.fixture(scope="module")
def folder(shared_data, tmp_path_factory) -> Path:
    """Return a real product's SAFE, and in it an image: level ground around tie point (4, 10), a target on it."""
    place = tmp_path_factory.mktemp("safe")
    with zipfile.ZipFile(shared_data / "s1_grd" / f"{NAME}.zip") as archive:
        archive.extractall(place, [n for n in archive.namelist() if n.endswith((".xml", "manifest.safe"))])
    safe = place / f"{NAME}.SAFE"
    (safe / "measurement").mkdir(exist_ok=True)
    told = product(item(safe)).annotation("VV").geolocation
    line, column = int(told.lines[4]), int(told.samples[10])
    ground = np.full((1024, 1024), LEVEL, np.uint16)
    ground[512, 512] = 20 * LEVEL
    for number, polarisation in enumerate(("vv", "vh"), 1):
        path = safe / "measurement" / f"{STEM.format(polarisation, number)}.tiff"
        profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "height": SHAPE[0], "width": SHAPE[1]}
        with rasterio.open(path, "w", **profile, tiled=True, SPARSE_OK=True, compress="deflate") as image:
            image.write(ground, 1, window=Pixels(column - 512, line - 512, 1024, 1024))
    return safe


def item(safe: Path, **more) -> Item:
    paths = {}
    for number, polarisation in enumerate(("vv", "vh"), 1):
        stem, up = STEM.format(polarisation, number), polarisation.upper()
        paths |= {
            f"path_annotation_{up}": f"annotation/{stem}.xml",
            f"path_calibration_{up}": f"annotation/calibration/calibration-{stem}.xml",
            f"path_noise_{up}": f"annotation/calibration/noise-{stem}.xml",
            f"path_measurement_{up}": f"measurement/{stem}.tiff",
        }
    told = {"orbit_direction": "descending", "polarisations": "VV VH", "folder": str(safe), **paths, **more}
    when = datetime(2021, 1, 19, 3, 16, 53, tzinfo=UTC)
    return Item(NAME, box(32, -20, 35, -17), datetime=when, properties=told)


def product(one: Item) -> Product:
    return Product.of(one, ACCESS)


def tie(safe: Path, row: int = 4, column: int = 10) -> tuple[float, float, float]:
    told = product(item(safe)).annotation("VV").geolocation
    return float(told.lon[row, column]), float(told.lat[row, column]), float(told.height[row, column])


def target(safe: Path, size: int = 64, pitch: float = 10.0) -> GeoBox:
    """Return pixels of which the middle corner is at the tie point."""
    lon, lat, _ = tie(safe)
    x, y = Transformer.from_crs(4326, 32736, always_xy=True).transform(lon, lat)
    corner = Affine(pitch, 0, x - pitch * size / 2, 0, -pitch, y + pitch * size / 2)
    return GeoBox((size, size), corner, "EPSG:32736")


def level(height: float):
    """Return flat ground."""

    def flat(geobox):
        return np.full(geobox.shape, height, np.float32), np.ones(geobox.shape, bool)

    flat.vertical_datum = ""
    return flat


def read(safe: Path, geobox: GeoBox, heights=None, one: Item | None = None, **said):
    return list(read_image(one or item(safe), choose(**(BASE | said)), ACCESS, geobox, heights))


def test_the_target_is_where_the_tie_point_is_and_the_ground_is_calibrated(folder):
    geobox = target(folder)
    (raster,) = read(folder, geobox, level(tie(folder)[2]))
    assert isinstance(raster, Raster)
    assert raster.geobox == geobox
    # beta0 of this product is DN / 474 all over.
    assert raster.data[0, 5, 5] == pytest.approx((LEVEL / 474) ** 2, rel=1e-6)
    assert raster.valid[:2].all()
    assert not raster.valid[2].any()
    there = np.unravel_index(raster.data[0].argmax(), geobox.shape)
    weight = raster.data[0] - raster.data[0, 5, 5]
    rows, cols = np.mgrid[:64, :64]
    centre = (rows * weight).sum() / weight.sum(), (cols * weight).sum() / weight.sum()
    assert there[0] in (31, 32)
    # Pixel centres are at halves: the tie point is between 31 and 32.
    assert centre == pytest.approx((31.5, 31.5), abs=0.15)


def test_no_pixel_depends_on_the_window(folder):
    geobox, heights = target(folder), level(tie(folder)[2])
    (whole,) = read(folder, geobox, heights, noise=True)
    for rows, cols in ((slice(0, 37), slice(0, 64)), (slice(37, 64), slice(5, 33)), (slice(20, 40), slice(20, 64))):
        (part,) = read(folder, geobox[rows, cols], heights, noise=True)
        np.testing.assert_array_equal(part.data[:2], whole.data[:2, rows, cols])
        np.testing.assert_array_equal(part.valid, whole.valid[:, rows, cols])


def test_height_moves_the_target_across_the_track(folder):
    geobox, height = target(folder), tie(folder)[2]
    (low,), (high,) = (read(folder, geobox, level(height + up)) for up in (0.0, 100.0))
    a, b = (np.argwhere(one.data[0] == one.data[0].max())[0] for one in (low, high))
    # Descending, seen from the east: ground that is 100 m higher lies nearer the radar in range, so the same place in
    # the image is farther west; 100 m / tan(incidence) of about 40 degrees.
    assert 100 < np.hypot(*(a - b)) * 10 < 150


def test_level_ground_is_flattened_by_the_tangent_of_the_incidence(folder):
    geobox, height = target(folder), tie(folder)[2]
    (flat,) = read(folder, geobox, level(height), convention="gamma0_rtc")
    (beta,) = read(folder, geobox, level(height))
    annotation = (folder / "annotation" / f"{STEM.format('vv', 1)}.xml").read_text()
    angle = float(re.findall(r"<incidenceAngle>(\S+)</incidenceAngle>\s*<elevationAngle>", annotation)[4 * 21 + 10])
    ratio = flat.data[0, 5, 5] / beta.data[0, 5, 5]
    assert ratio == pytest.approx(np.tan(np.radians(angle)), rel=0.003)
    assert not flat.masked.any()


def test_noise_is_taken_off_and_dark_ground_stays(folder):
    geobox, heights = target(folder), level(tie(folder)[2])
    (loud,), (clean,) = (read(folder, geobox, heights, noise=noise) for noise in (False, True))
    away = loud.data[0, 5, 5] - clean.data[0, 5, 5]
    assert 100 / 474**2 < away < 3000 / 474**2


def test_by_tie_points_alone_relief_is_refused(folder):
    geobox = target(folder, 16)
    with pytest.raises(ConfigError, match="of relief") as told:
        read(folder, geobox, geocoding="ellipsoid", dem_datum="")
    assert "force: true" in told.value.hint
    (raster,) = read(folder, geobox, geocoding="ellipsoid", dem_datum="", force=True)
    peak = np.argwhere(raster.data[0] == raster.data[0].max())[0]
    assert np.abs(peak - 7.5).max() < 1  # at a tie point they are exact


def test_the_image_without_a_pixel_there_gives_nothing(folder):
    geobox = target(folder)
    away = GeoBox(geobox.shape, geobox.transform * Affine.translation(40_000, 0), geobox.crs)
    assert read(folder, away, level(500.0)) == []


def test_zero_is_no_data(folder):
    geobox = target(folder, 8)
    beside = GeoBox(geobox.shape, geobox.transform * Affine.translation(1500, 0), geobox.crs)  # 15 km: never written
    assert read(folder, beside, level(tie(folder)[2])) == []


def test_a_missing_band_is_told(folder):
    one = item(folder, polarisations="VV")
    absent, raster = read(folder, target(folder, 8), level(tie(folder)[2]), one)
    assert isinstance(absent, Absent)
    assert (absent.bands, absent.reason) == (("vh_desc",), Reason.BAND_NOT_IN_PRODUCT)
    assert not raster.valid[1].any()


@pytest.mark.parametrize("part", ["annotation", "calibration", "noise", "measurement"])
def test_a_file_that_the_product_lacks_is_damage(folder, part):
    properties = dict(item(folder).properties)
    properties[f"path_{part}_VV"] += ".gone"
    with pytest.raises(CorruptError, match="not in the product"):
        read(folder, target(folder, 8), level(0.0), replace(item(folder), properties=properties), noise=True)


def test_a_product_without_a_manifest_is_damaged(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("manifest.safe"))
    with pytest.raises(CorruptError, match="manifest"):
        read(folder, target(folder, 8), level(tie(folder)[2]), item(tmp_path / "copy"))


def test_heights_of_an_unknown_datum_are_refused(folder):
    with pytest.raises(ConfigError, match="not known what the heights") as told:
        read(folder, target(folder, 8), level(0.0), dem_datum="")
    assert "egm2008" in told.value.hint

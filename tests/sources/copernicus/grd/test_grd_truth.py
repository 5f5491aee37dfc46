"""A ground whose backscatter is known, as a radar sees it, and what is read of the product: the ground again.

The image is made by code that shares nothing with the geocoding (``testing/copernicus/files``).
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import binary_dilation

from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.ops.sar.flatten import terrain
from m3leo_prep.sources.copernicus import Copernicus
from m3leo_prep.sources.copernicus.grd import border
from m3leo_prep.sources.copernicus.grd.files import Product
from m3leo_prep.sources.copernicus.grd.finding import described
from m3leo_prep.sources.copernicus.grd.options import choose
from m3leo_prep.sources.copernicus.grd.reading import read_image
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.stac.found import Asset, Found
from m3leo_prep.testing.copernicus.files.grd import BETA, Scene, write
from m3leo_prep.testing.copernicus.files.orbit import Orbit
from m3leo_prep.testing.copernicus.files.radar_image import LINE_SECONDS, Ground, image

EPSG, LON, LAT = 32632, 9.0, 47.0
SIZE, PITCH = 360, 10.0
_X, _Y = Transformer.from_crs(4326, EPSG, always_xy=True).transform(LON, LAT)
LEFT, TOP = round(_X, -1) - SIZE * PITCH / 2, round(_Y, -1) + SIZE * PITCH / 2
EPOCH = datetime(2020, 6, 3, 5, 26, tzinfo=UTC)
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


heights.vertical_datum, heights.missing_is_sea = "", False


def ground() -> Ground:
    rows, cols = np.mgrid[: SIZE + 1, : SIZE + 1]
    gamma = np.stack([np.full((SIZE, SIZE), level) for level in GAMMA.values()])
    return Ground(EPSG, LEFT, TOP, PITCH, relief(LEFT + PITCH * cols, TOP - PITCH * rows), gamma)


@pytest.fixture(scope="module")
def seen():
    return image(ground(), Orbit(LON, LAT, ascending=False))


def item(folder, seen, **said):
    """Return the item of a product that is written for it, its files on this machine."""
    made = write(folder, Scene(seen, EPOCH, **said))
    assets = {
        key: Asset(str(made.folder / one["href"].partition(".SAFE/")[2]), properties={"file:size": 1})
        for key, one in made.item["assets"].items()
    }
    told = made.item["properties"]
    return described(Found(made.item["id"], "sentinel-1-grd", made.footprint, made.start, made.end, told, assets), 0)


def read(one, ground=heights, geobox=INNER, **said):
    options = {
        "bands": ["vv", "vh"], "orbits": ["descending"], "relative_orbits": "all", "convention": "gamma0_rtc",
        "noise": True, "geocoding": "terrain", "dem_datum": "ellipsoid", "force": False,
    }  # fmt: skip
    (raster,) = read_image(one, choose(**(options | said)), Access("test"), geobox, ground)
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


@pytest.fixture(scope="module")
def at_sea():
    """A sea of 2.4 km."""
    size = 240
    gamma = np.stack([np.full((size, size), level) for level in GAMMA.values()])
    water = Ground(EPSG, LEFT, TOP, PITCH, np.zeros((size + 1, size + 1)), gamma)
    return image(water, Orbit(LON, LAT, ascending=False))


@dataclass(frozen=True, eq=False)
class Coast:
    """Heights of an island's flat half; west of it is sea, of which there is no file."""

    missing_is_sea: bool
    vertical_datum: str = "EGM2008 height"

    def __call__(self, geobox):
        x = geobox.transform.c + PITCH * (np.arange(geobox.shape[1]) + 0.5)
        known = np.broadcast_to(x > LEFT + 1200, geobox.shape)
        return np.where(known, np.float32(0), np.float32(np.nan)), known


@pytest.mark.parametrize("convention", ["gamma0_rtc", "sigma0_ellipsoid"])
def test_a_coast_has_no_hole_where_heights_have_no_file_of_the_sea(tmp_path, at_sea, geoids, convention):
    geoids(egm2008=0.0)
    one, place = item(tmp_path, at_sea), GeoBox((40, 60), Affine(PITCH, 0, LEFT + 900, 0, -PITCH, TOP - 900), INNER.crs)
    whole, cut = (read(one, Coast(is_sea), place, convention=convention, dem_datum="") for is_sea in (True, False))
    assert whole.valid.all()
    if convention == "gamma0_rtc":
        for number, level in enumerate(GAMMA.values()):
            # Digital numbers are whole: those of VH are about 60.
            assert np.abs(10 * np.log10(whole.data[number] / level)).max() < 0.3
    # A layer that does not promise it may lack anything there: it stays unknown.
    # Flattening needs the ground beside a pixel as well.
    first = 38 if convention == "gamma0_rtc" else 30
    assert not cut.valid[:, :, :first].any()
    assert cut.valid[:, :, first:].all()
    np.testing.assert_array_equal(cut.data[:, :, first:], whole.data[:, :, first:])


def test_no_seam_shows_between_slices(tmp_path, seen):
    """A data take is cut into slices amid lines: at the cut, each is sampled with what it has of the kernel."""
    lines = seen.beta.shape[1]
    speckle = np.random.default_rng(5).gamma(4.4, 1 / 4.4, seen.beta.shape)
    whole, cut = replace(seen, beta=seen.beta * speckle), lines // 2
    later = replace(whole, beta=whole.beta[:, cut:], first_time=whole.first_time + cut * LINE_SECONDS)
    slices = [whole, replace(whole, beta=whole.beta[:, :cut]), later]
    full, first, second = (
        read(item(tmp_path / str(number), one, has_noise=False), noise=False) for number, one in enumerate(slices)
    )
    # No pixel is in neither of them: there is no gap. As the pipeline lays them, the first shows where it is.
    assert (first.valid | second.valid).all()
    laid = np.where(first.valid, first.data, second.data)
    here = first.valid[0]
    beside = [here & binary_dilation(~here, iterations=2), ~here & binary_dilation(here, iterations=2)]
    assert all(0.005 < one.mean() < 0.05 for one in beside)
    # Farther away they are the whole's, up to what the annotation of each rounds.
    far = ~(beside[0] | beside[1])
    np.testing.assert_allclose(laid[:, far], full.data[:, far], rtol=0.01)
    for side in beside:
        for number in range(2):
            mean, true = laid[number][side].mean(), full.data[number][side].mean()
            assert abs(10 * np.log10(mean / true)) < 0.2
            # Speckle of half a kernel is stronger, by less than the half.
            assert np.log(laid[number][side]).std() < 1.5 * np.log(full.data[number][side]).std()


def test_an_early_product_whose_noise_was_never_estimated_can_be_read_with_it(tmp_path, seen):
    """Its border is told by the numbers alone."""
    one = item(tmp_path, seen, ipf="002.36", has_noise=False, border=seen.beta.shape[2] // 2 - 20)
    with pytest.raises(CorruptError, match="never estimated"):
        read(one)
    raster = read(one, noise=False)
    assert 0.2 < raster.valid[0].mean() < 0.6
    off = 10 * np.log10(raster.data[0][raster.valid[0]] / GAMMA["VV"])
    assert np.abs(off).max() < 1.0


def cone(geobox):
    """Return a cone in the middle of a plain, 200 m high and steeper than the beam on all sides."""
    x = geobox.transform.c + PITCH * (np.arange(geobox.shape[1]) + 0.5) - LEFT - 1800
    y = geobox.transform.f - PITCH * (np.arange(geobox.shape[0])[:, None] + 0.5) - TOP + 1800
    return np.clip(200 - 2.2 * np.hypot(x, y), 0, None).astype(np.float32) + 400, np.ones(geobox.shape, bool)


cone.vertical_datum, cone.missing_is_sea = "", False


def test_layover_and_shadow_are_dropped_and_said_to_be(tmp_path, seen):
    one = item(tmp_path, seen)
    told = Product.of(one, Access("test")).annotation("VV")
    found = terrain(told.orbit, told.grid, INNER, cone)
    assert (found.layover & ~found.shadow).any()
    assert (found.shadow & ~found.layover).any()
    hidden = found.layover | found.shadow
    raster = read(one, cone)
    np.testing.assert_array_equal(raster.masked, np.broadcast_to(hidden, raster.masked.shape))
    np.testing.assert_array_equal(raster.valid, np.broadcast_to(~hidden, raster.valid.shape))
    # Without flattening nothing is dropped: the radar saw something there.
    assert read(one, cone, convention="gamma0_ellipsoid").valid.all()


def edited(one, pattern: str, new: str):
    """Return the item after its annotations have been changed."""
    for name in ("VV", "VH"):
        path = Path(str(one.properties["folder"]), str(one.properties[f"path_annotation_{name}"]))
        text, count = re.subn(pattern, new, path.read_text())
        assert count == 1
        path.write_text(text)
    return one


@pytest.mark.parametrize(
    ("ipf", "slices", "top"),
    [
        ("003.31", (1, 1), False),  # since 2.90 the border is exactly 0: dark water along it is water
        ("002.72", (1, 3), True),
        ("002.72", (2, 3), False),
        ("002.72", (3, 3), False),
    ],
)
def test_dark_lines_are_border_only_where_an_old_data_take_begins(tmp_path, seen, monkeypatch, ipf, slices, top):
    monkeypatch.setattr(border, "WIDEST", 30)
    beta = seen.beta.copy()
    beta[:, :40] = (10 / BETA) ** 2
    one = item(tmp_path, replace(seen, beta=beta), ipf=ipf, has_noise=False)
    number, of = slices
    told = f"<sliceNumber>{number}</sliceNumber><sliceList>{'<slice />' * of}</sliceList>"
    edited(one, r"<sliceNumber>1</sliceNumber>\s*<sliceList[^>]*>", told)
    whole = GeoBox((SIZE, SIZE), Affine(PITCH, 0, LEFT, 0, -PITCH, TOP), INNER.crs)
    raster = read(one, geobox=whole, convention="beta0", noise=False)
    # Of forty dark lines at most thirty are cut.
    dark = raster.valid[0] & (raster.data[0] < (12 / BETA) ** 2)
    assert dark.any()
    assert (dark.sum() < 0.4 * 40 * beta.shape[2]) == top


def test_noise_that_was_taken_off_before_is_not_taken_off_again(tmp_path, seen):
    flag = "<thermalNoiseCorrectionPerformed>{}</thermalNoiseCorrectionPerformed>"
    one = edited(item(tmp_path, seen), flag.format("false"), flag.format("true"))
    np.testing.assert_array_equal(read(one, convention="beta0").data, read(one, convention="beta0", noise=False).data)


def test_the_border_is_told_by_the_co_polarised_image(tmp_path, seen):
    """Of the other one, dark ground is as dark as noise."""
    beta = seen.beta.copy()
    beta[1] = (10 / BETA) ** 2
    one = item(tmp_path, replace(seen, beta=beta), ipf="002.72", has_noise=False)
    raster = read(one, convention="beta0", noise=False)
    assert raster.valid.all()


def test_relief_between_tie_points_is_refused_if_the_layer_has_heights_that_show_it(tmp_path, seen):
    one, said = item(tmp_path, seen), {"geocoding": "ellipsoid", "convention": "beta0", "dem_datum": ""}
    with pytest.raises(ConfigError, match="of relief"):
        read(one, **said)
    # The tie points of this image are level, and without heights nothing else is known.
    assert read(one, ground=None, **said).valid.all()


@pytest.mark.parametrize("pitch", [10.0, 40.0, 224.0])
def test_a_plan_finds_all_ground_that_flattening_asks_for(tmp_path, seen, pitch):
    told = Product.of(item(tmp_path, seen), Access("test")).annotation("VV")
    x, y = INNER.transform.c, INNER.transform.f
    place, asked = GeoBox((9, 9), Affine(pitch, 0, x, 0, -pitch, y), INNER.crs), []

    def level(geobox):
        asked.append(geobox)
        return np.full(geobox.shape, 400, np.float32), np.ones(geobox.shape, bool)

    terrain(told.orbit, told.grid, place, level)
    (wide,) = asked
    beyond = max(x - wide.transform.c, wide.transform.f - y)
    # The pipeline adds a pixel of the layer.
    assert 2500 < beyond <= Copernicus(product="s1-grd").describe().ground_reach + pitch


def test_bands_of_the_other_direction_stay_empty(tmp_path, seen):
    bands = ["vv_asc", "vh_asc", "vh_desc", "vv_desc"]
    said = {"orbits": ("ascending", "descending"), "convention": "gamma0_ellipsoid"}
    one = item(tmp_path, seen)
    raster, plain = read(one, bands=bands, **said), read(one, convention="gamma0_ellipsoid")
    assert raster.valid.any(axis=(1, 2)).tolist() == [False, False, True, True]
    np.testing.assert_array_equal(raster.data[2:], plain.data[::-1])

"""Pixels of OPERA RTC-S1: mask, power, other zones, passes, damaged files; through the pipeline's own composite."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.warp import Resampling, reproject

from m3leo_prep.core.choice import OrbitRule
from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.errors import CorruptError
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import Absent, Raster
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.pipeline.derive import derive, in_groups
from m3leo_prep.sources.asf import Asf
from m3leo_prep.testing.earthdata.files import opera
from m3leo_prep.testing.source import SourceContract
from m3leo_prep.testing.source_pixels import PIXEL_RULES
from m3leo_prep.testing.source_rules import RULES, Case, finds_the_same_elsewhere
from tests.sources.asf.opera.scene import (
    CHIP,
    HERE,
    LOWER,
    MORNING,
    NEXT_ZONE,
    SECOND,
    UPPER,
    burst,
    clear,
    power,
)

JUNE = parse_slots({"periods": [["2020-06-01", "2020-06-30"]]})
ASCENDING = {"product": "opera-rtc", "orbits": ["ascending"]}
INSIDE = GeoBox((20, 40), UPPER.transform * Affine.translation(50, 40), UPPER.crs)
"""Pixels of the burst itself."""


def find(source):
    return list(source.find(HERE, JUNE))


def composite(source, items, geobox, method="bspline", statistic="mean"):
    """Return what the pipeline makes of some items on a window of one chip."""
    (variable,) = source.describe().variables
    array = Array(variable, default_encoding(variable), method, statistic, len(variable.bands))
    pitch = abs(geobox.transform.a)
    layer = Layer("rtc", "input", pitch, geobox.shape[0], JUNE, (array,), 4, 1, 1)
    return derive(source, layer, in_groups(items), geobox, JUNE[0])


def look(source, items, geobox, **how):
    return composite(source, items, geobox, **how).looks["backscatter"]


@pytest.fixture(scope="module")
def pass_granules(tmp_path_factory):
    """Return two bursts of a pass in the chip's zone, one of another in the next zone, with some shadow and fill."""
    folder = tmp_path_factory.mktemp("bursts")
    mask = clear(UPPER)
    mask[60:90, 100:200], mask[120:140, 100:160], mask[:, :7] = 1, 2, 255
    vv = power(UPPER)
    vv[(mask == 1) | (mask == 255)] = np.nan
    return [
        burst(folder, images={"VV": vv, "VH": vv / 4}, mask=mask),
        burst(folder, LOWER, number=31_414),
        burst(folder, elsewhere(350), start=MORNING, direction="descending", orbit=7),
    ]


@pytest.fixture(scope="module")
def static_granule(tmp_path_factory):
    """Return two static layers of one burst."""
    layers = {"local_incidence_angle": power(UPPER, mean=35.0), "mask": clear(UPPER)}
    layers["mask"][:, :9], layers["local_incidence_angle"][:, :9] = 255, np.nan
    layers["mask"][30:60, 200:230] = 3
    folder = tmp_path_factory.mktemp("static")
    return opera.rtc_static(folder, UPPER, layers, burst="T015-031415-IW2", direction="ascending")


class TestBursts(SourceContract):
    """Bursts of two zones and directions."""

    @pytest.fixture
    def source(self, earthdata, pass_granules):
        for granule in pass_granules:
            earthdata.add(granule)
        return Asf(product="opera-rtc")

    @pytest.fixture
    def area(self):
        return HERE

    @pytest.fixture
    def geobox(self):
        return CHIP


def test_static_layers_keep_the_rules_of_a_source(earthdata, static_granule):
    earthdata.add(static_granule)
    source = Asf(product="opera-rtc-static", variables=["local_incidence", "layover_shadow"])
    case = Case(source, HERE, OrbitRule(1).slots(), CHIP)
    for rule in (*RULES, *PIXEL_RULES):
        if rule.check is not finds_the_same_elsewhere:  # slow, and the bursts' test does it of the same code
            rule.check(case)


def elsewhere(size, crs=NEXT_ZONE):
    """Return a burst's grid about the same place, of another projection: turned by 5 degrees in the next zone."""
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(9.03, 49.47)
    left, top = round(x / 30) * 30 - size // 2 * 30, round(y / 30) * 30 + size // 2 * 30
    return GeoBox((size, size), Affine(30, 0, left, 0, -30, top), crs)


def lonlat(geobox):
    cols, rows = np.meshgrid(np.arange(geobox.shape[1]) + 0.5, np.arange(geobox.shape[0]) + 0.5)
    x, y = geobox.transform * (cols, rows)
    return Transformer.from_crs(str(geobox.crs), 4326, always_xy=True).transform(x, y)


def hills(geobox):
    """Return power that is known everywhere: waves of 4 km and more."""
    lon, lat = lonlat(geobox)
    return (0.08 * (1 + 0.5 * np.sin(110 * (lon - 9)) * np.cos(140 * (lat - 49.4)))).astype(np.float32)


@pytest.mark.parametrize(
    ("said", "valid", "masked"),
    [
        ({}, [1, 0, 0, 0, 0, 1], [0, 1, 1, 1, 0, 0]),
        ({"mask": ["shadow"]}, [1, 0, 1, 0, 0, 1], [0, 1, 0, 1, 0, 0]),
        ({"mask": ["layover"]}, [1, 1, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0]),
        ({"mask": "none"}, [1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0]),
    ],
)
def test_each_code_of_the_mask_has_its_meaning(said, valid, masked, earthdata, tmp_path):
    mask = clear(UPPER)
    mask[40:60, 50:80] = np.array([0, 1, 2, 3, 255, 0])[np.arange(30) // 5]
    granule = burst(tmp_path, images={"VV": power(UPPER)}, mask=mask)
    earthdata.add(granule)
    source = Asf(**ASCENDING, bands=["vv"], **said)
    (raster,) = source.read(find(source), INSIDE, JUNE[0])
    row, col = (round(v) for v in reversed(~raster.geobox.transform * (INSIDE.transform * (0, 0))))
    here = np.s_[0, row : row + 20, col : col + 30]
    assert (raster.valid[here] == np.repeat(valid, 5).astype(bool)).all()
    assert (raster.masked[here] == np.repeat(masked, 5).astype(bool)).all()


def test_shadow_without_a_number_was_seen_and_nothing_else_without_one(earthdata, tmp_path):
    mask, vv = clear(UPPER), power(UPPER)
    mask[40:60, 50:55], mask[40:60, 55:60] = 1, 2
    vv[40:60, 50:65] = np.nan
    vv[50, 70:73] = 0.0, -1e-4, np.inf
    earthdata.add(burst(tmp_path, images={"VV": vv}, mask=mask))
    for said in ("none", ["shadow", "layover"]):
        source = Asf(**ASCENDING, bands=["vv"], mask=said)
        seen = look(source, find(source), INSIDE, method="nearest")
        assert seen.observed[0, :, :5].all()  # shadow
        assert not seen.observed[0, :, 5:15].any()
        assert not seen.valid[0, :, :15].any()
        assert seen.valid[0, 10, 20:23].tolist() == [True, True, False]
        assert seen.values[0, 10, 21] == np.float32(-1e-4)


def test_own_pixels_come_bit_for_bit_in_the_bands_of_their_direction(earthdata, tmp_path):
    up, down = power(UPPER, 1), power(UPPER, 2)
    earthdata.add(burst(tmp_path, images={"VV": up, "VH": up / 4}))
    earthdata.add(burst(tmp_path, start=MORNING, direction="descending", orbit=7, images={"VV": down, "VH": down / 4}))
    source = Asf(product="opera-rtc", bands=["vh_desc", "vv_asc", "vv_desc"])
    seen = look(source, find(source), INSIDE)
    assert np.array_equal(seen.values, np.stack([down / 4, up, down])[:, 40:60, 50:90])
    assert seen.valid.all()
    first = next(iter(source.read(find(source)[:1], INSIDE, JUNE[0])))
    assert first.valid.any(axis=(1, 2)).tolist() == [False, True, False]
    assert first.observed.any(axis=(1, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize("crs", [NEXT_ZONE, "EPSG:3413"])
def test_another_zone_is_warped_to_the_chip(crs, earthdata, tmp_path):
    grid = elsewhere(520, crs)
    stored = hills(grid)
    earthdata.add(burst(tmp_path, grid, images={"VV": stored}))
    source = Asf(**ASCENDING, bands=["vv"])
    seen = look(source, find(source), CHIP, method="bilinear")
    assert seen.valid.all()
    there = np.empty(tuple(CHIP.shape), np.float32)
    where = {"src_transform": grid.transform, "src_crs": crs, "dst_transform": CHIP.transform}
    reproject(stored, there, **where, dst_crs=str(CHIP.crs), resampling=Resampling.bilinear, tolerance=0)
    assert np.abs(seen.values[0] / there - 1).max() < 2e-4
    assert np.abs(seen.values[0] / hills(CHIP) - 1).max() < 1e-3
    shifted = hills(CHIP.translate_pix(0.5, 0.5))
    assert np.abs(shifted / hills(CHIP) - 1).max() > 5e-3  # half a pixel off would show


def test_the_chips_own_zone_wins_over_the_next(earthdata, tmp_path):
    own, other = np.full((260, 400), 0.1, np.float32), np.full((520, 520), 0.4, np.float32)
    mask = clear(UPPER)
    mask[:, 250:] = 255
    own[:, 250:] = np.nan
    earthdata.add(burst(tmp_path, elsewhere(520), number=31_414, images={"VV": other}))  # sorts first
    earthdata.add(burst(tmp_path, images={"VV": own}, mask=mask))
    source = Asf(**ASCENDING, bands=["vv"])
    items = find(source)
    assert len({item.acquisition for item in items}) == 1
    seen = look(source, items, CHIP, method="nearest")
    edge = round((UPPER.transform.c + 250 * 30 - CHIP.transform.c) / 20)
    assert 50 < edge < 200
    assert (seen.values[0, :, :edge] == np.float32(0.1)).all()
    assert (seen.values[0, :, edge:] == np.float32(0.4)).all()


def test_bursts_of_one_pass_count_once_and_passes_are_averaged_in_power(earthdata, tmp_path):
    flat = {"number": 31_415, "images": {"VV": np.full((260, 400), 0.1, np.float32)}}
    earthdata.add(burst(tmp_path, **flat))
    earthdata.add(burst(tmp_path, LOWER, **flat | {"number": 31_414}))
    later = {"VV": np.full((260, 400), 0.9, np.float32)}
    earthdata.add(burst(tmp_path, start=SECOND, orbit=33_035, images=later))
    source = Asf(**ASCENDING, bands=["vv"])
    items = find(source)
    assert len(items) == 3
    both = GeoBox((40, 40), Affine(30, 0, 500_010, 0, -30, 5_479_500), UPPER.crs)
    counts = look(source, items, both, method="nearest", statistic="count")
    assert (counts.values == 2).all()
    means = look(source, items, both, method="nearest")
    assert np.allclose(means.values, 0.5, rtol=1e-6)


def test_a_burst_without_a_polarisation_says_so(earthdata, tmp_path):
    earthdata.add(burst(tmp_path, images={"VV": power(UPPER)}))
    source = Asf(**ASCENDING)
    absent, raster = source.read(find(source), INSIDE, JUNE[0])
    assert isinstance(absent, Absent)
    assert (absent.bands, absent.reason) == (("vh_asc",), Reason.BAND_NOT_IN_PRODUCT)
    assert isinstance(raster, Raster)
    assert raster.valid.any(axis=(1, 2)).tolist() == [True, False]
    assert raster.observed.any(axis=(1, 2)).tolist() == [True, False]


def test_a_static_layer_that_is_not_there_says_so(earthdata, tmp_path):
    layers = {"local_incidence_angle": power(UPPER, mean=35.0)}
    earthdata.add(opera.rtc_static(tmp_path, UPPER, layers, burst="T015-031415-IW2", direction="ascending"))
    source = Asf(product="opera-rtc-static", variables=["looks", "local_incidence"])
    absent, raster = source.read(find(source), INSIDE, JUNE[0])
    assert (absent.variable, absent.reason) == ("looks", Reason.LAYER_NOT_IN_VERSION)
    assert raster.variable == "local_incidence"


def test_each_static_variable_is_its_own_file_and_fill_is_no_class(earthdata, tmp_path):
    files = {
        "local_incidence": "local_incidence_angle",
        "incidence": "incidence_angle",
        "looks": "number_of_looks",
        "gamma0_to_beta0": "rtc_anf_gamma0_to_beta0",
        "gamma0_to_sigma0": "rtc_anf_gamma0_to_sigma0",
    }
    layers = {file: np.full(tuple(UPPER.shape), number, np.float32) for number, file in enumerate(files.values())}
    layers["incidence_angle"][45] = np.nan
    layers["mask"] = clear(UPPER)
    layers["mask"][45], layers["mask"][46] = 255, 2
    earthdata.add(opera.rtc_static(tmp_path, UPPER, layers, burst="T015-031415-IW2", direction="ascending"))
    source = Asf(product="opera-rtc-static", variables=[*files, "layover_shadow"])
    rasters = {raster.variable: raster for raster in source.read(find(source), INSIDE, JUNE[0])}
    assert list(rasters) == [*files, "layover_shadow"]
    for number, name in enumerate(files):
        one = rasters[name]
        assert np.unique(one.data[one.valid]).tolist() == [number]
        assert one.valid.all() == (name != "incidence")
    mask = rasters["layover_shadow"]
    assert np.unique(mask.data[mask.valid]).tolist() == [0, 2]
    assert (~mask.valid).sum() == (~rasters["incidence"].valid).sum() == mask.data.shape[2]


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_short(path):
    path.write_bytes(path.read_bytes()[:60])


def flipped(path):
    """Spoil the pixels, which end the file, and leave its header."""
    data = bytearray(path.read_bytes())
    data[-len(data) // 2 : -200] = bytes(255 - byte for byte in data[-len(data) // 2 : -200])
    path.write_bytes(data)


def retagged(path):
    """Say another zone than the pixels are in."""
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.crs = "EPSG:32633"


def in_degrees(path):
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.crs = "EPSG:4326"


def moved(path):
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.transform = file.transform * Affine.translation(1, 0)


@pytest.mark.parametrize(
    ("harm", "layer"),
    [
        (truncated, "VV"),
        (cut_short, "mask"),
        (flipped, "VV"),
        (flipped, "mask"),
        (retagged, "VV"),
        (in_degrees, "mask"),
        (moved, "mask"),
    ],
)
def test_a_damaged_file_is_named_with_its_layer(harm, layer, earthdata, tmp_path):
    images = {"VV": power(UPPER)}
    mask = np.random.default_rng(3).integers(0, 4, tuple(UPPER.shape), np.uint8)
    whole = burst(tmp_path / "whole", images=images, mask=mask)
    harm(next(path for name, path in whole.files.items() if name.endswith(f"_{layer}.tif")))
    earthdata.add(whole)
    source = Asf(**ASCENDING, bands=["vv"])
    (item,) = find(source)
    with pytest.raises(CorruptError) as told:
        list(source.read([item], UPPER, JUNE[0]))
    assert item.id in told.value.where
    assert layer in told.value.where or harm is moved  # two grids differ: the one that is not the first is named
    made = composite_damaged(source, item)
    assert made.looks["backscatter"] is None
    assert len(made.damaged) == 1


def composite_damaged(source, item):
    (variable,) = source.describe().variables
    array = Array(variable, default_encoding(variable), "nearest", "mean", 1)
    layer = Layer("rtc", "input", 30.0, 20, JUNE, (array,), 4, 1, 1)
    return derive(source, layer, [item], UPPER, JUNE[0], skip_damaged=True, tells_chips=False)


def test_a_code_that_the_product_does_not_have_is_refused(earthdata, tmp_path):
    mask = clear(UPPER)
    mask[50, 60] = 7
    earthdata.add(burst(tmp_path, images={"VV": power(UPPER)}, mask=mask))
    source = Asf(**ASCENDING, bands=["vv"])
    with pytest.raises(CorruptError, match="holds 7"):
        list(source.read(find(source), INSIDE, JUNE[0]))


def test_only_files_of_the_bands_asked_for_are_fetched(earthdata, tmp_path):
    earthdata.add(burst(tmp_path))
    source = Asf(**ASCENDING, bands=["vh"])
    items = find(source)
    for _ in range(2):
        list(source.read(items, INSIDE, JUNE[0]))
    fetched = [request.path.rpartition("_")[2] for request in earthdata.requests if request.route == "signed"]
    assert sorted(fetched) == ["VH.tif", "mask.tif"]


def test_files_are_as_the_archives(tmp_path):
    granule = burst(tmp_path)
    assert [name.rpartition("_")[2] for name in granule.files] == ["VV.tif", "VH.tif", "mask.tif"]
    for name, path in granule.files.items():
        with rasterio.open(path) as file:
            tags = file.tags()
            assert (file.count, file.block_shapes[0], file.overviews(1)) == (1, (512, 512), [4, 16])
            assert file.res == (30, 30)
            assert tags["ORBIT_PASS_DIRECTION"] == "ascending"
            assert tags["TRACK_NUMBER"] == "15"
            is_mask = name.endswith("mask.tif")
            assert file.dtypes[0] == ("uint8" if is_mask else "float32")
            assert file.nodata == 255 if is_mask else np.isnan(file.nodata)

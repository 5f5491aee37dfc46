"""Sentinel-2 products that are written for tests, read by GDAL."""

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio

from m3leo_prep.testing.copernicus.files import items_s2
from m3leo_prep.testing.copernicus.files.s2 import PITCHES, Scene, write

START = datetime(2020, 6, 4, 10, 30, 31, 24_000, UTC)


def scene(**said):
    """Return a tile of 600 m with a corner without data, a dark and a bright pixel."""
    rng = np.random.default_rng(3)
    names = [name for name in PITCHES if name not in {"SCL", "B10"}]
    bands = {name: rng.uniform(0.01, 0.9, (600 // PITCHES[name],) * 2) for name in names}
    for values in bands.values():
        values[0, 0] = np.nan
    bands["B04"][5, 5], bands["B04"][6, 6] = -0.02, 7.5
    scl = rng.choice(np.array([4, 5, 6, 9], np.uint8), (30, 30))
    scl[0, 0] = 0
    return Scene("32UKA", 32632, 282_780.0, 5_500_200.0, bands, scl, START, **said)


def pixels(path):
    with rasterio.open(path) as file:
        return file.read(1), file.transform, file.crs.to_epsg()


@pytest.mark.parametrize(("baseline", "offset"), [("02.14", None), ("04.00", -1000), ("05.09", -1000)])
def test_what_is_written_is_the_reflectance_by_what_the_product_says(tmp_path, baseline, offset):
    made = scene(baseline=baseline)
    product = write(tmp_path, made)
    root = ET.parse(product.folder / "MTD_MSIL2A.xml").getroot()
    said = [int(one.text) for one in root.iter("BOA_ADD_OFFSET")]
    assert said == ([] if offset is None else [offset] * 13)
    for name in ("B02", "B05", "B09"):
        stored, transform, epsg = pixels(product.folder / made.path(name))
        assert (transform.a, transform.c, transform.f, epsg) == (PITCHES[name], 282_780.0, 5_500_200.0, 32632)
        reflectance = (stored.astype(float) + (offset or 0)) / 10_000
        np.testing.assert_allclose(reflectance[stored > 0], made.bands[name][stored > 0], atol=5.1e-5)
        assert (stored == 0).sum() == 1
    red, _, _ = pixels(product.folder / made.path("B04"))
    assert red[5, 5] == (1 if offset is None else 800)  # without an offset nothing is below 0, and 0 is no data
    assert red[6, 6] == 65_535  # saturated
    np.testing.assert_array_equal(pixels(product.folder / made.path("SCL"))[0], made.scl)


def test_the_archive_knows_the_place_by_level_baseline_and_day(tmp_path):
    old, new = write(tmp_path, scene(baseline="02.14")), write(tmp_path, scene(baseline="05.00"))
    assert old.key == f"Sentinel-2/MSI/L2A/2020/06/04/{old.name}"
    assert new.key == f"Sentinel-2/MSI/L2A_N0500/2020/06/04/{new.name}"
    assert old.name == "S2A_MSIL2A_20200604T103031_N0214_R108_T32UKA_20200604T143031.SAFE"
    assert old.item["properties"]["eopf:datatake_id"] == "GS2A_20200604T103031_026000_N02.14"


def test_the_catalogue_tells_the_offset_whatever_the_baseline_is(tmp_path):
    """As the real one does: it is a trap."""
    old = write(tmp_path, scene(baseline="02.14")).item["assets"]
    assert old["B04_10m"]["raster:offset"] == -0.1
    assert "raster:offset" not in old["SCL_20m"]
    assert old["B8A_20m"]["proj:shape"] == [30, 30]


def test_a_band_can_be_missing_and_level_1c_has_flat_names(tmp_path):
    holed = write(tmp_path, scene(leave_out=frozenset({"B08"})))
    assert "B08_10m" not in holed.item["assets"]
    assert "B08" not in (holed.folder / "MTD_MSIL2A.xml").read_text().replace("_B08_", "B08")
    flat = scene(level="L1C", baseline="05.10")
    product = write(tmp_path, flat)
    assert product.folder.joinpath(flat.path("B02")).name == "T32UKA_20200604T103031_B02.jp2"
    root = ET.parse(product.folder / "MTD_MSIL1C.xml").getroot()
    assert {one.text for one in root.iter("RADIO_ADD_OFFSET")} == {"-1000"}
    assert product.item["collection"] == "sentinel-2-l1c"
    assert {"B02", "B8A"} <= set(product.item["assets"])


def test_copies_of_earth_search_have_the_offset_taken_away(tmp_path):
    made = scene(baseline="05.09")
    item = items_s2.earth_search(made, tmp_path)
    assert item["properties"]["earthsearch:boa_offset_applied"] is True
    assert item["assets"]["red"]["raster:bands"][0]["offset"] == -0.1  # and still told
    key = item["assets"]["red"]["href"].partition("amazonaws.com/")[2]
    assert key == "sentinel-s2-l2a-cogs/32/U/KA/2020/6/S2A_32UKA_20200604_0_L2A/B04.tif"
    stored, _, _ = pixels(tmp_path / key)
    np.testing.assert_allclose(stored[10:] / 10_000, made.bands["B04"][10:], atol=5.1e-5)


def test_copies_of_planetary_computer_hold_the_products_numbers(tmp_path):
    made = scene(baseline="05.09")
    asset = items_s2.planetary_computer(made, tmp_path)["assets"]["B04"]
    assert "raster:bands" not in asset
    path = asset["href"].replace("https://sentinel2l2a01.blob.core.windows.net", str(tmp_path / "sentinel2l2a01"))
    np.testing.assert_array_equal(pixels(path)[0], made.digital("B04"))

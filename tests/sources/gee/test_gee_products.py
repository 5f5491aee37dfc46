"""The table of Earth Engine's products: whole, free of contradictions, and the same physics as elsewhere."""

import math
import re
import runpy
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from m3leo_prep.core.defaults import ALLOWED_METHODS
from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.products import product
from m3leo_prep.core.raster import Kind
from m3leo_prep.sources.gee.options.common import METHODS
from m3leo_prep.sources.gee.products import row, row_names, tables, years_in_words

NAMES = row_names()
ROOT = Path(__file__).parents[3]
CODES = {Kind.CLASSES, Kind.BITS}


def value(quantity, number):
    """Return the value of one of the asset's numbers, None if it is none: an independent reading of the table."""
    low, high = quantity.valid_range or (-math.inf, math.inf)
    if number in quantity.nodata or number in quantity.flags or not low <= number <= high:
        return None
    changed = {"none": float, "from_decibel": lambda db: 10 ** (db / 10), "squared": lambda n: float(n) ** 2}
    return changed[quantity.transform](number) * quantity.scale + quantity.offset


def quantity(name, variable):
    return next(one for one in row(name).quantities if one.variable.name == variable)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_whole(name):
    one = row(name)
    assert one.name == name
    assert one.title
    assert one.licence
    assert one.citation
    assert re.fullmatch(r"[A-Za-z0-9_]+(/[A-Za-z0-9_.-]+)+", one.asset)
    assert one.url.startswith("https://developers.google.com/earth-engine/datasets/catalog/")
    assert one.pitch > 0
    west, south, east, north = one.domain
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90
    assert tables()[name]["verified"], "every row says what was checked"
    assert set(tables()[name]["quantities"]) == {q.variable.name for q in one.quantities if not q.flags_of}


@pytest.mark.parametrize("name", NAMES)
def test_years_lie_between_the_first_and_the_last_day(name):
    one = row(name)
    assert all(isinstance(day, date) for day in (one.first, one.last) if day is not None)
    if one.last is not None:
        assert one.first < one.last
    if one.years:
        assert sorted(set(one.years)) == list(one.years)
        assert (one.first.year, one.last.year) == (one.years[0], one.years[-1])
    for first, last, what in one.gaps:
        assert first < last
        assert what


@pytest.mark.parametrize("name", NAMES)
def test_what_is_delivered_by_default_exists(name):
    one = row(name)
    by_name = {q.variable.name: q.variable.bands for q in one.quantities}
    assert one.main
    for variable, bands in one.main.items():
        assert bands
        assert set(bands) <= set(by_name[variable])
    bands = [band for q in one.quantities if not q.flags_of for band in q.variable.bands]
    assert len(set(bands)) == len(bands), "`bands:` finds each band in one quantity"
    assert all(re.fullmatch("[a-z][a-z0-9_]*", band) for band in bands)


@pytest.mark.parametrize("name", NAMES)
def test_quantities_agree_with_their_kind(name):
    one = row(name)
    for q in one.quantities:
        variable = q.variable
        assert len(q.names) == len(variable.bands)
        assert variable.long_name
        assert bool(variable.legend) == (variable.kind is Kind.CLASSES)
        assert q.dtype in {"uint8", "uint16", "int16", "int32", "float32"}
        default_encoding(variable)
        if variable.kind in CODES:
            assert (q.transform, q.scale, q.offset) == ("none", 1.0, 0.0)
            assert q.dtype != "float32"
        if one.mode == "composite" and variable.kind not in CODES:
            assert METHODS[one.kernel][0] in ALLOWED_METHODS[variable.kind]
        if q.dtype != "float32":
            limits = np.iinfo(q.dtype)
            numbers = [*q.nodata, *q.flags, *(q.valid_range or ())]
            numbers += [] if q.flags_of else [c.code for c in variable.legend]
            assert all(limits.min <= number <= limits.max for number in numbers)
            # One number is left by which a masked pixel can be sent.
            used = {*q.flags, *([] if q.flags_of else [c.code for c in variable.legend])}
            assert variable.kind not in CODES or limits.max not in used or variable.kind is Kind.BITS


@pytest.mark.parametrize("name", [name for name in NAMES if "of" in tables()[name]])
def test_what_the_numbers_mean_stands_in_one_place(name):
    known = product(tables()[name]["of"])
    for q in row(name).quantities:
        assert q.variable.attributes["product"] == known.name
        base = tables()[name]["quantities"].get(q.variable.name, {}).get("of")
        if base:
            assert q.variable.kind == known.variable(base).kind
            assert q.variable.legend == known.variable(base).legend


def test_sentinel_1_is_one_mode_one_pixel_in_linear_power():
    one = row("s1-grd")
    assert one.asset == "COPERNICUS/S1_GRD_FLOAT", "the other collection is in dB, whose mean is no mean"
    assert one.filters == {"instrumentMode": "IW", "resolution_meters": 10}
    assert (one.family, one.mode, one.kernel) == ("radar", "composite", "bilinear")
    power = quantity("s1-grd", "backscatter")
    assert (power.variable.kind, power.transform, power.names) == (Kind.POWER, "none", ("VV", "VH", "HH", "HV"))
    assert value(power, -0.001) == -0.001, "power below 0 is legal where noise was taken away"
    assert power.variable.attributes["backscatter_convention"] == "sigma0_ellipsoid"


def test_sentinel_2_has_its_offset_taken_away_once():
    for name in ("s2-sr", "s2-l1c"):
        q = quantity(name, "reflectance")
        assert value(q, 1000) == pytest.approx(0.1)
        assert value(q, 0) is None
    assert len(quantity("s2-sr", "reflectance").names) == 12
    assert "B10" not in quantity("s2-sr", "reflectance").names
    both = quantity("s2-l1c", "reflectance").names
    assert len(both) == 13
    assert set(both) - set(quantity("s2-sr", "reflectance").names) == {"B10"}


@pytest.mark.parametrize(("number", "decibel"), [(1, -83), (100, -43), (1000, -23), (10000, -3), (14125, -0.0002)])
def test_both_copies_of_gssic_backscatter_are_the_same_power(number, decibel):
    raw, scaled = quantity("gssic-backscatter-raw", "backscatter"), quantity("gssic-backscatter", "backscatter")
    assert value(raw, number) == pytest.approx(number**2 / 199526231, rel=1e-8)
    assert 10 * math.log10(value(raw, number)) == pytest.approx(decibel, abs=1e-3)
    assert value(scaled, 20 * math.log10(number) - 83) == pytest.approx(value(raw, number), rel=1e-9)
    assert value(raw, 0) is None
    assert value(scaled, -math.inf) is None


def test_both_copies_of_gssic_coherence_and_decay_are_the_same_value():
    raw, scaled = quantity("gssic-coherence-raw", "coherence"), quantity("gssic-coherence", "coherence")
    assert value(raw, 55) == pytest.approx(value(scaled, 0.55)) == pytest.approx(0.55)
    assert value(raw, 0) is None
    for name in ("rho", "tau", "rmse"):
        raw, scaled = quantity("gssic-decay-raw", name), quantity("gssic-decay", name)
        assert value(raw, 550) == pytest.approx(value(scaled, 0.55)) == pytest.approx(0.55)
        assert value(raw, 0) is None
    for what in ("backscatter", "coherence", "decay"):
        scaled, raw = row(f"gssic-{what}"), row(f"gssic-{what}-raw")
        assert raw.asset == f"{scaled.asset}_RAW"
        assert [q.names for q in raw.quantities] == [q.names for q in scaled.quantities]
        assert scaled.main == raw.main


def test_the_seasons_of_gssic_are_those_of_the_bands():
    q = quantity("gssic-coherence", "coherence")
    assert dict(zip(q.variable.bands, q.names, strict=True))["fall_vv_coh36"] == "fall_vv_COH36"
    assert row("gssic-coherence").main["coherence"][:4] == tuple(f"winter_vv_coh{days}" for days in (12, 24, 36, 48))


def test_water_and_fill_of_mod44b_are_no_cover():
    cover, flags = quantity("mod44b", "cover"), quantity("mod44b", "cover_flags")
    assert [value(cover, number) for number in (0, 100, 200, 253)] == [0, 100, None, None]
    assert (cover.flags, flags.flags, flags.flags_of) == ((200,), (200,), "cover")
    assert [(one.code, one.name) for one in flags.variable.legend] == [(0, "none"), (1, "Water")]
    assert value(quantity("mod44b", "spread"), 250) == 2.5


def test_no_forest_is_a_value_of_biomass():
    assert value(quantity("cci-agb", "agb"), 0) == 0
    assert quantity("cci-agb", "agb").variable.unit == "Mg/ha"
    assert quantity("cci-agb", "agb_sd").variable.kind is Kind.UNCERTAINTY
    assert row("cci-agb").years == (2007, 2010, *range(2015, 2023))


def test_heights_say_above_what_and_may_be_negative():
    datums = {name: quantity(name, "height").variable.attributes["vertical_datum"] for name in ("glo30", "srtm")}
    assert datums == {"glo30": "EGM2008 height", "srtm": "EGM96 height"}
    for name in ("glo30", "glo30-2024", "srtm", "srtm90"):
        assert value(quantity(name, "height"), -430) == -430
    assert [row(name).is_collection for name in ("glo30", "srtm")] == [True, False]


def test_amounts_stay_amounts():
    built = quantity("ghs-built-s", "built")
    assert (built.variable.kind, built.variable.unit) == (Kind.AMOUNT, "m2")
    assert value(built, 0) == 0
    assert value(built, 65535) is None
    assert value(quantity("ghs-built-s-10m", "built"), 255) is None
    assert quantity("ghs-pop", "people").variable.kind is Kind.AMOUNT


def test_both_worldcovers_are_apart():
    old, new = row("worldcover-v100"), row("worldcover-v200")
    assert (years_in_words(old), years_in_words(new)) == ("2020", "2021")
    assert old.quantities[0].variable.attributes["product_version"] == "v100"
    assert new.quantities[0].variable.attributes["product_version"] == "v200"


def test_an_unknown_product_names_those_that_are_alike():
    with pytest.raises(ConfigError, match=r"no product 's1grd'") as caught:
        row("s1grd")
    assert "s1-grd" in caught.value.hint


def test_the_page_of_products_is_the_table():
    page = runpy.run_path(str(ROOT / "scripts" / "list_gee_products.py"))["page"]()
    assert (ROOT / "docs/reference/earth-engine-products.md").read_text(encoding="utf-8") == page

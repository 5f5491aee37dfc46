"""Scales, masks and options: D20, D30, D31, and the seasons: D35, D84."""

from datetime import UTC, datetime

import numpy as np
import pytest
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import STATIC, Kind
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.asf import Asf
from m3leo_prep.sources.asf.gssic.geometry import GssicGeometry
from m3leo_prep.sources.asf.gssic.metrics import geometric, seasonal
from m3leo_prep.sources.asf.gssic.seasons import SEASONS, seasons_of
from m3leo_prep.sources.asf.gssic.source import Gssic
from m3leo_prep.testing.earthdata.files.gssic import stored


def values(variable, numbers, dtype):
    (stack,) = seasonal([variable], "vv")
    data, valid, _ = stack.values(np.array(numbers, dtype))
    return data, valid


def test_amplitude_is_power_by_the_square():
    numbers = [1, 100, 1000, 10_000, 14_125, 65_535]
    power, valid = values("backscatter", numbers, np.uint16)
    assert valid.all()
    assert power.dtype == np.float32
    np.testing.assert_allclose(10 * np.log10(power.astype(np.float64))[:5], [-83, -43, -23, -3, -0.0002], atol=1e-3)
    np.testing.assert_allclose(power, np.square(np.array(numbers, np.float64)) / 199_526_231, rtol=1e-6)


def test_coherence_is_in_hundredths_and_decay_in_thousandths():
    assert values("coherence", [55], np.uint8)[0].tolist() == [np.float32(0.55)]
    assert values("decay", [550], np.uint16)[0].tolist() == [np.float32(0.55)]
    assert values("decay", [36_000], np.uint16)[0].tolist() == [np.float32(36.0)]


@pytest.mark.parametrize("variable", ["backscatter", "coherence", "decay"])
def test_zero_is_masked_before_it_is_a_number(variable):
    data, valid = values(variable, [0, 10, 0], np.uint16)
    assert valid.tolist() == [False, True, False]
    assert np.isfinite(data).all()


def test_layover_and_shadow_keep_their_codes_and_no_other_is_usable():
    inc, lsmap = geometric(("inc", "lsmap"))
    data, usable, seen = lsmap.values(np.array([0, 1, 5, 17, 21, 7], np.uint8))
    assert data.tolist() == [0, 1, 5, 17, 21, 7]
    assert usable.tolist() == [False, True, True, True, True, False]
    assert seen.tolist() == [False, True, True, True, True, True]
    assert [entry.name for entry in lsmap.variable.legend] == ["ok", "layover", "shadow", "layover_and_shadow"]
    assert lsmap.variable.kind is Kind.CLASSES
    data, usable, _ = inc.values(np.array([0, 39], np.uint8))
    assert data.dtype == np.float32
    assert (data[1], usable.tolist(), inc.variable.unit) == (39, [False, True], "degree")


def test_the_writer_is_the_inverse():
    for metric, given in {"AMP": [0.01, 0.2], "COH12": [0.07, 0.93], "tau": [0.5, 40.0]}.items():
        variable = {"AMP": "backscatter", "COH12": "coherence", "tau": "decay"}[metric]
        numbers = stored(metric, np.array([*given, np.nan, 0.0]))
        data, valid = values(variable, numbers, numbers.dtype)
        assert valid.tolist() == [True, True, False, True]
        np.testing.assert_allclose(data[:2], given, rtol=2e-3)


def test_a_layer_says_variables_and_bands_in_its_order():
    source = Asf(product="gssic", variables={"decay": ["tau"], "coherence": ["coh48", "coh06"]}, polarisation="hh")
    assert isinstance(source, Gssic)
    assert source == Gssic(variables={"decay": ["tau"], "coherence": ["coh48", "coh06"]}, polarisation="hh")
    info = source.describe()
    assert [(one.name, one.bands, one.unit) for one in info.variables] == [
        ("decay", ("tau",), "day"),
        ("coherence", ("coh48", "coh06"), "1"),
    ]
    assert [stack.files for stack in source._stacks] == [("hh_tau",), ("hh_COH48", "hh_COH06")]
    assert (info.year, info.licence) == (2020, "CC-BY-4.0")


def test_without_options_it_is_what_m3leo_has():
    info = Gssic().describe()
    assert {one.name: one.bands for one in info.variables} == {
        "coherence": ("coh12", "coh24", "coh36", "coh48"),
        "backscatter": ("vv", "vh"),
        "decay": ("rho", "tau", "rmse"),
    }
    power = info.variables[1]
    assert power.kind is Kind.POWER
    assert power.attributes["backscatter_convention"] == "gamma0_rtc"
    assert info.variables[2].attributes["band_units"] == {"rho": "1", "tau": "day", "rmse": "1"}
    assert "December 2019" in info.attributes["seasons"]
    assert "both hemispheres" in info.attributes["seasons"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"variables": ["coherenc"]}, "coherence"),
        ({"variables": {"coherence": ["coh13"]}}, "coh12"),
        ({"variables": {"backscatter": ["vv", "vv"]}}, "twice"),
        ({"variables": []}, "choose from: coherence, backscatter, decay"),
        ({"polarisation": "vh"}, "hh"),
        ({"polarization": "vv"}, "polarisation"),
    ],
)
def test_what_does_not_exist_is_an_error_that_names_what_does(options, said):
    with pytest.raises(ConfigError, match=said):
        Asf(product="gssic", **options)


def test_bands_of_the_geometry_are_checked():
    assert [one.name for one in GssicGeometry(bands=["lsmap"]).describe().variables] == ["lsmap"]
    with pytest.raises(ConfigError, match="inc"):
        GssicGeometry(bands=["incidence"])


def test_fall_is_september_to_november():
    fall = SEASONS[-1]
    assert (fall.name, fall.start, fall.end) == (
        "fall",
        datetime(2020, 9, 1, tzinfo=UTC),
        datetime(2020, 12, 1, tzinfo=UTC),
    )
    slots = parse_slots("seasons", year=2020)
    assert [season.name for season in seasons_of(slots)] == ["winter", "spring", "summer", "fall"]
    assert all(slot.contains(season.middle) for slot, season in zip(slots, SEASONS, strict=True))


@pytest.mark.parametrize(
    "slots",
    [
        {"seasons": 2021},
        {"months": 2020},
        {"years": 2020},
        {"periods": [["2020-03-01", "2020-06-15"]]},
        None,
    ],
)
def test_a_slot_without_whole_seasons_is_refused_before_anything_is_asked(slots, monkeypatch):
    monkeypatch.setenv("M3LEO_PREP_GSSIC_URL", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="winter = December 2019"):
        list(Gssic().find(box(-99.5, 19.2, -99.1, 19.6), parse_slots(slots)))


def test_several_seasons_may_make_one_slot():
    assert len(seasons_of(parse_slots({"periods": [["2019-12-01", "2020-11-30"]]}))) == 4


def test_orbits_have_no_dates():
    with pytest.raises(ConfigError, match="orbits: 4"):
        list(GssicGeometry().find(box(-99.5, 19.2, -99.1, 19.6), [STATIC]))

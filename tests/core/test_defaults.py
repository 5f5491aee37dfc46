"""The safe choices, and the unsafe ones that are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.defaults import (
    ALLOWED_METHODS,
    QUADRATURE,
    check_correlation,
    check_method,
    check_statistic,
    default_method,
    default_pitch,
    default_statistic,
    dividing_pitches,
)
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.layer import Statistic
from m3leo_prep.core.raster import Kind, Variable

# kind: method at the native pitch, method when coarsened threefold, statistic of a series, of a static layer
TABLE: dict[Kind, tuple[str, str, str, str]] = {
    Kind.POWER: ("bspline", "bspline", "mean", "mean"),
    Kind.COHERENCE: ("bspline", "bspline", "mean", "mean"),
    Kind.REFLECTANCE: ("bilinear", "average", "median", "median"),
    Kind.WRAPPED_PHASE: ("complex", "complex", "first", "first"),
    Kind.UNWRAPPED_PHASE: ("component", "component", "first", "first"),
    Kind.ANGLE: ("angle", "angle", "first", "first"),
    Kind.CONTINUOUS: ("bilinear", "average", "mean", "first"),
    Kind.UNCERTAINTY: ("quadrature_bilinear", "quadrature_average", "first", "first"),
    Kind.AMOUNT: ("sum", "sum", "first", "first"),
    Kind.CLASSES: ("nearest", "mode", "first", "first"),
    Kind.BITS: ("nearest", "bitor", "first", "first"),
}
METHODS = (
    "nearest",
    "bilinear",
    "cubic",
    "bspline",
    "average",
    "mode",
    "sum",
    "complex",
    "component",
    "angle",
    "bitor",
    "quadrature_bilinear",
    "quadrature_average",
)


def test_the_table_has_every_kind() -> None:
    assert TABLE.keys() == set(Kind)
    assert ALLOWED_METHODS.keys() == set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_table(kind: Kind) -> None:
    fine, coarse, timed, static = TABLE[kind]
    assert default_method(kind, 10.0, 10.0) == fine
    assert default_method(kind, 20.0, 10.0) == fine
    assert default_method(kind, None, 10.0) == fine
    assert default_method(kind, 10.0, 19.9) == fine
    assert default_method(kind, 10.0, 20.0) == coarse
    assert default_method(kind, 10.0, 30.0) == coarse
    assert default_statistic(kind, is_static=False) == timed
    assert default_statistic(kind, is_static=True) == static


@pytest.mark.parametrize("kind", Kind)
def test_every_default_is_allowed(kind: Kind) -> None:
    for pitch in (5.0, 10.0, 40.0):
        check_method(kind, default_method(kind, 10.0, pitch), where="here")
    for is_static in (False, True):
        check_statistic(kind, default_statistic(kind, is_static=is_static), where="here")


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (Kind.CLASSES, "bilinear"),  # halfway between forest (10) and grassland (30) is not shrubland (20)
        (Kind.CLASSES, "average"),
        (Kind.BITS, "mode"),
        (Kind.BITS, "average"),
        (Kind.WRAPPED_PHASE, "bilinear"),
        (Kind.UNWRAPPED_PHASE, "bilinear"),
        (Kind.ANGLE, "average"),
        (Kind.AMOUNT, "nearest"),
        (Kind.AMOUNT, "average"),
        (Kind.POWER, "cubic"),  # negative lobes make negative power
        (Kind.COHERENCE, "cubic"),
        (Kind.POWER, "mode"),
        (Kind.REFLECTANCE, "sum"),
        (Kind.CONTINUOUS, "angle"),
        (Kind.UNCERTAINTY, "average"),  # true of errors that are all the same only
        (Kind.CONTINUOUS, "quadrature_average"),
    ],
)
def test_methods_that_make_numbers_without_meaning_are_refused(kind: Kind, method: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_method(kind, method, where="layer x")
    text = str(caught.value)
    assert text.startswith("layer x: ")
    assert f"'{method}'" in text
    assert f"{kind}" in text
    assert "choose from: " + ", ".join(sorted(ALLOWED_METHODS[kind])) in text


@pytest.mark.parametrize("kind", Kind)
def test_all_that_is_not_in_the_table_is_refused(kind: Kind) -> None:
    for method in set(METHODS) - ALLOWED_METHODS[kind]:
        with pytest.raises(ConfigError):
            check_method(kind, method, where="x")
    assert ALLOWED_METHODS[kind] <= set(METHODS)


@pytest.mark.parametrize(
    "kind", [Kind.CLASSES, Kind.BITS, Kind.ANGLE, Kind.WRAPPED_PHASE, Kind.UNWRAPPED_PHASE], ids=str
)
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_what_has_no_mean_is_not_averaged(kind: Kind, statistic: Statistic) -> None:
    with pytest.raises(ConfigError, match=rf"layer x: statistic '{statistic}'.*{kind}[\s\S]*statistic: first"):
        check_statistic(kind, statistic, where="layer x")


@pytest.mark.parametrize("kind", [Kind.POWER, Kind.COHERENCE, Kind.REFLECTANCE, Kind.CONTINUOUS, Kind.AMOUNT], ids=str)
@pytest.mark.parametrize("statistic", ["first", "last", "mean", "median", "min", "max", "count"])
def test_quantities_take_every_statistic(kind: Kind, statistic: Statistic) -> None:
    check_statistic(kind, statistic, where="layer x")


# -- lattices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("native", "expected"),
    [
        (10, 10),
        (20, 20),
        (30, 20),  # GLO-30: 30 does not divide 4480
        (40, 40),
        (60, 40),  # Sentinel-2's 60-m bands
        (80, 80),
        (92.7, 80),  # 3 arcsec
        (100, 80),  # AGB, GHS
        (231.7, 140),  # MOD44B
        (250, 140),
        (3, 10),  # finer than the grid: the grid's own
        (None, 10),
    ],
)
def test_honest_pitch_of_the_default_chip(native: float | None, expected: float) -> None:
    assert default_pitch(native, 4480.0, 10.0) == expected


@pytest.mark.parametrize(
    ("native", "expected"),
    [(10, 10), (20, 20), (30, 20), (40, 40), (60, 50), (92.7, 50), (96, 100), (100, 100), (250, 250)],
)
def test_honest_pitch_of_a_chip_of_1000_m(native: float, expected: float) -> None:
    assert default_pitch(native, 1000.0, 10.0) == expected


def test_pitches_that_divide() -> None:
    assert dividing_pitches(4480.0) == [10, 20, 40, 80, 140, 280, 560, 1120]
    assert dividing_pitches(1000.0) == [10, 20, 40, 50, 100, 200, 250, 500, 1000]
    assert dividing_pitches(320.0) == [10, 20, 40, 80]


@given(
    native=st.floats(0.3, 2000),
    cell=st.sampled_from([320.0, 1000.0, 2560.0, 4480.0, 5120.0, 10_000.0]),
    finest=st.sampled_from([5.0, 10.0, 20.0]),
)
def test_no_pitch_claims_more_than_the_source_has(native: float, cell: float, finest: float) -> None:
    pitch = default_pitch(native, cell, finest)
    assert cell % pitch == 0
    assert pitch >= finest
    assert pitch <= native * 1.05 or pitch == finest
    if native >= finest:
        assert all(p <= pitch for p in dividing_pitches(cell) if p <= native)


@pytest.mark.parametrize("statistic", ["mean", "median", "min", "max", "count"])
def test_deviations_of_several_items_are_not_combined(statistic: Statistic) -> None:
    with pytest.raises(ConfigError, match=r"layer x: .*standard deviations[\s\S]*statistic: first"):
        check_statistic(Kind.UNCERTAINTY, statistic, where="layer x")
    check_statistic(Kind.UNCERTAINTY, "last", where="layer x")


@pytest.mark.parametrize("rho", [None, -0.1, 1.01, "0.5", True, float("nan")])
def test_a_deviation_says_its_correlation(rho: object) -> None:
    attributes = {} if rho is None else {"correlation": rho}
    with pytest.raises(ConfigError, match=r"layer x: .*'sd'[\s\S]*correlation"):
        check_correlation(Variable("sd", Kind.UNCERTAINTY, ("sd",), attributes=attributes), where="layer x")


@pytest.mark.parametrize("rho", [0, 0.5, 1])
def test_every_correlation_from_none_to_full_is_one(rho: float) -> None:
    check_correlation(Variable("sd", Kind.UNCERTAINTY, ("sd",), attributes={"correlation": rho}), where="layer x")


def test_the_table_of_quadrature_is_that_of_the_kernels() -> None:
    from m3leo_prep.ops import warp

    assert {str(k): str(v) for v, k in warp.QUADRATURE.items()} == QUADRATURE

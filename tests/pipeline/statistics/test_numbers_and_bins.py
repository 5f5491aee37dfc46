"""Bins, percentiles and merged moments against numpy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.encoding import Encoding, default_encoding
from m3leo_prep.core.errors import VerifyError
from m3leo_prep.core.raster import Kind, Variable
from m3leo_prep.ops.summary import moments
from m3leo_prep.pipeline.statistics.bins import FLOAT_BINS, MAX_STEPS
from m3leo_prep.pipeline.statistics.counts import Counts, bins_of
from m3leo_prep.pipeline.statistics.numbers import DRAWN_BINS, PERCENTILES, drawn, merge, percentiles, tidy

FLOAT = Encoding("float32", None)
QUANTITIES = [kind for kind in Kind if kind not in {Kind.CLASSES, Kind.BITS}]


def encoding_of(kind: Kind) -> Encoding:
    return default_encoding(Variable("v", kind, ("b",)))


def codes_of(encoding: Encoding, n: int, seed: int) -> np.ndarray:
    """Return ``n`` codes over the whole range of an encoding, most of them close together."""
    rng = np.random.default_rng(seed)
    if encoding.dtype == "float32":
        return (rng.normal(0, 1, n) * 10.0 ** rng.integers(-6, 7, n)).astype(np.float32)
    low, high = (round(limit / encoding.scale) for limit in (encoding.valid_min, encoding.valid_max))
    near = rng.normal((low + high) / 2, (high - low) / 20, n)
    codes = np.where(rng.random(n) < 0.2, rng.uniform(low, high, n), near).clip(low, high).round()
    codes[:2] = low, high
    return codes.astype(encoding.dtype)


def count(encoding: Encoding, codes: np.ndarray, split: int = 0) -> Counts:
    made = Counts(bins_of(encoding), 1)
    block = codes.reshape(1, 1, -1)
    made.add(split, block, np.ones(block.shape, bool))
    return made


@pytest.mark.parametrize("kind", QUANTITIES)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 3000))
def test_percentiles_are_those_of_numpy_within_the_resolution(kind: Kind, seed: int, n: int) -> None:
    encoding = encoding_of(kind)
    codes = codes_of(encoding, n, seed)
    counted = count(encoding, codes)
    low, high = float(codes.min()), float(codes.max())
    found, off_by = percentiles(counted.of(0)[0], counted.bins, low, high)
    exact = np.percentile(codes.astype(np.float64), PERCENTILES, method="inverted_cdf")
    assert np.abs(np.array(found) - exact).max() <= off_by
    assert found == sorted(found)
    assert low <= found[0] <= found[-1] <= high


@pytest.mark.parametrize(
    ("kind", "physical"),
    [(Kind.POWER, 0.02), (Kind.COHERENCE, 0.004), (Kind.REFLECTANCE, 0.0008), (Kind.ANGLE, 0.08)],
)
def test_bins_of_integers_are_as_fine_as_promised(kind: Kind, physical: float) -> None:
    encoding = encoding_of(kind)
    bins = bins_of(encoding)
    assert bins.shift is not None
    assert 2**bins.shift * encoding.scale == pytest.approx(physical)
    assert bins.n <= MAX_STEPS


def test_a_bin_of_one_code_gives_the_code_itself() -> None:
    codes = np.array([0, 1, 1, 7, 250], np.uint8)
    encoding = encoding_of(Kind.COHERENCE)
    found, off_by = percentiles(count(encoding, codes).of(0)[0], bins_of(encoding), 0, 250)
    assert off_by == 0
    assert found == [0, 0, 0, 1, 1, 7, 250, 250, 250]


@pytest.mark.parametrize("kind", [Kind.CONTINUOUS, Kind.UNWRAPPED_PHASE])
def test_wide_ranges_are_binned_by_less_than_a_percent_of_the_value(kind: Kind) -> None:
    """Steps of 100 000 rad / 8192 would say nothing of a phase of 3 rad."""
    bins = bins_of(encoding_of(kind))
    assert bins.n == FLOAT_BINS
    places = np.arange(0x0080, 0xFF7F)  # without infinities and NaN
    low, high = bins.lowest(places), bins.highest(places)
    assert (low <= high).all()
    assert (low[1:] >= high[:-1]).all(), "they follow each other"
    normal = np.minimum(np.abs(low), np.abs(high)) > 1e-37
    assert ((high - low)[normal] <= 2**-7 * np.maximum(np.abs(low), np.abs(high))[normal]).all()


def test_floats_fall_between_the_ends_of_their_bin() -> None:
    values = np.array([-3e38, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, np.pi, 3e38], np.float32)
    counted = count(FLOAT, values)
    used = np.flatnonzero(counted.of(0)[0])
    assert len(used) == len(values)
    assert (counted.bins.lowest(used) <= values).all()
    assert (values <= counted.bins.highest(used)).all()


def test_codes_that_no_encoding_makes_are_refused_and_touch_nothing() -> None:
    codes = np.array([-30000, 100, 30000], np.int16)
    with pytest.raises(VerifyError, match="2 stored codes lie outside"):
        count(encoding_of(Kind.POWER), codes)


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 500), max_size=5), kind=st.sampled_from(QUANTITIES))
def test_parts_add_up_to_the_whole_in_any_order(seed: int, cuts: list[int], kind: Kind) -> None:
    encoding = encoding_of(kind)
    codes = codes_of(encoding, 500, seed)
    parts = np.split(codes, sorted(cuts))
    whole = count(encoding, codes, 3).sparse()
    added = Counts(bins_of(encoding), 1)
    for part in reversed(parts):
        added.add_sparse(count(encoding, part, 3).sparse())
    assert np.array_equal(added.sparse(), whole)
    assert whole[3].sum() == 500
    assert set(whole[0]) == {3}
    told = np.stack([moments(part.reshape(1, 1, -1), np.ones((1, 1, len(part)), bool))[0] for part in parts])
    assert merge(told) == merge(told[::-1]), "to the last bit"


@pytest.mark.parametrize("offset", [0.0, 3000.0, 1e6])
@given(seed=st.integers(0, 2**32 - 1))
def test_merged_moments_are_those_of_numpy(offset: float, seed: int) -> None:
    """Heights of 3000 +- 0.1 m keep their spread."""
    values = (offset + np.random.default_rng(seed).uniform(-0.1, 0.1, (6, 1, 20, 20))).astype(np.float32)
    valid = np.random.default_rng(seed + 1).random(values.shape) < 0.7
    valid[2] = False
    found = merge(np.stack([moments(v, k) for v, k in zip(values, valid, strict=True)])[:, 0])
    inside = values[valid].astype(np.float64)
    assert found.n == len(inside)
    assert found.mean == pytest.approx(inside.mean(), rel=1e-14, abs=1e-12)
    assert found.std == pytest.approx(inside.std(), rel=1e-9)
    assert (found.low, found.high) == (inside.min(), inside.max())


def test_a_constant_has_exactly_no_spread_and_nothing_has_no_mean() -> None:
    """0.1 as float32 summed up a thousand times is not a thousand times 0.1."""
    codes = np.full((1, 10, 100), 0.1, np.float32)
    found = merge(moments(codes, np.ones(codes.shape, bool)))
    assert (found.mean, found.std) == (float(np.float32(0.1)), 0.0)
    nothing = merge(moments(codes, np.zeros(codes.shape, bool)))
    assert (nothing.n, nothing.mean, nothing.std, nothing.low) == (0, None, None, None)


@pytest.mark.parametrize("kind", QUANTITIES)
def test_what_is_drawn_is_numpys_histogram_of_the_same_edges(kind: Kind) -> None:
    encoding = encoding_of(kind)
    codes = codes_of(encoding, 20_000, 5)
    counted = count(encoding, codes)
    edges, heights = drawn(counted.of(0)[0], counted.bins)
    assert len(heights) <= DRAWN_BINS
    assert sum(heights) == len(codes)
    assert np.array_equal(np.histogram(codes.astype(np.float64), edges)[0], heights)


def test_one_stray_value_does_not_squeeze_the_others() -> None:
    codes = np.random.default_rng(1).normal(-1200, 100, 100_000).round().astype(np.int16)
    codes[0] = 5900
    encoding = encoding_of(Kind.POWER)
    edges, heights = drawn(count(encoding, codes).of(0)[0], bins_of(encoding))
    assert len(heights) > 150
    assert heights[-1] <= 0.0015 * len(codes)
    assert edges[-1] >= 5900


def test_a_constant_is_drawn_as_one_bin() -> None:
    edges, heights = drawn(count(FLOAT, np.full(9, 7, np.float32)).of(0)[0], bins_of(FLOAT))
    assert heights == [9]
    assert edges[0] <= 7 < edges[1]


def test_digits_that_only_rounding_made_are_not_written() -> None:
    assert 113 * 0.01 != 1.13
    assert tidy(113, 0.01) == 1.13
    assert str(tidy(-0.0)) == "0.0"
    assert tidy(None) is None

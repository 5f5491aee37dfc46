"""Moments and class counts against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.ops.summary import MOMENTS, class_counts, moments


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_numpy_agrees(dtype: str, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    shape = (3, 7, 5)
    codes = (rng.normal(0, 1e3, shape) if dtype == "float32" else rng.integers(0, 250, shape)).astype(dtype)
    valid = rng.random(shape) < share
    found = moments(codes, valid)
    assert found.shape == (3, len(MOMENTS))
    assert found.dtype == np.float64
    for band in range(3):
        inside = codes[band][valid[band]].astype(np.float64)
        n, total, squares, low, high = found[band]
        assert n == len(inside)
        assert total == pytest.approx(inside.sum(), rel=1e-12, abs=1e-6)
        if len(inside):
            assert squares == pytest.approx(((inside - inside.mean()) ** 2).sum(), rel=1e-12)
            assert (low, high) == (inside.min(), inside.max())
        else:
            assert squares == 0
            assert np.isnan(low)
            assert np.isnan(high)


def test_worked_by_hand() -> None:
    codes = np.array([[[1, -2], [3, 100]]], np.int16)
    valid = np.array([[[True, True], [True, False]]])
    (found,) = moments(codes, valid).tolist()
    assert found == pytest.approx([3, 2, 14 - 2**2 / 3, -2, 3])


def test_a_small_spread_around_a_large_value_is_kept() -> None:
    """The difference of two sums of squares would be off by several per cent here."""
    codes = (8388608 + np.arange(256 * 256) % 2).astype(np.float32).reshape(1, 256, 256)
    squares = moments(codes, np.ones(codes.shape, bool))[0, 2]
    assert squares == pytest.approx(codes.size / 4, rel=1e-12)


def test_sums_do_not_overflow_the_codes() -> None:
    codes = np.full((1, 100, 100), -32768, np.int16)
    codes[0, :50] = 32767
    n, total, squares, low, _ = moments(codes, np.ones(codes.shape, bool))[0]
    assert (n, total, squares, low) == (1e4, -5e3, 32767.5**2 * 1e4, -32768)


def test_what_is_invalid_does_not_count_even_if_not_finite() -> None:
    codes = np.array([[[np.nan, 1.0, np.inf]]], np.float32)
    assert moments(codes, np.isfinite(codes)).tolist() == [[1, 1, 0, 1, 1]]


def test_a_view_of_a_larger_block_is_read_as_its_copy_is() -> None:
    block = np.random.default_rng(1).integers(-99, 99, (2, 40, 40)).astype(np.int16)
    valid = block > 0
    part = np.s_[:, 8:24, 5:21]
    assert np.array_equal(moments(block[part], valid[part]), moments(block[part].copy(), valid[part].copy()))


def test_class_counts() -> None:
    codes = np.array([[[10, 10, 80], [255, 0, 10]], [[10, 10, 10], [10, 10, 10]]], np.uint8)
    valid = codes != 255
    valid[1, 0, 0] = False
    counts = class_counts(codes, valid)
    assert counts.shape == (2, 256)
    assert {code: int(n) for code, n in enumerate(counts[0]) if n} == {0: 1, 10: 3, 80: 1}
    assert {code: int(n) for code, n in enumerate(counts[1]) if n} == {10: 5}


@given(seed=st.integers(0, 2**32 - 1))
def test_counts_add_up_to_the_valid_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (2, 8, 8), dtype=np.uint8)
    valid = rng.random(codes.shape) < 0.5
    counts = class_counts(codes, valid)
    assert counts.sum(axis=1).tolist() == valid.sum(axis=(1, 2)).tolist()
    assert counts.sum(axis=1).tolist() == moments(codes, valid)[:, 0].tolist()

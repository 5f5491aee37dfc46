"""Entropy, anisotropy and alpha against closed forms and an eigenvalue solver; covariance against plain sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3leo_prep.ops.sar.polarimetry import Covariance, covariance, h_a_alpha


def matrix(c11: float, c22: float, c12: complex) -> Covariance:
    one = np.ones((1, 1))
    return Covariance(
        (c11 * one).astype(np.float32), (c22 * one).astype(np.float32), (c12 * one).astype(np.complex64), one > 0
    )


def told(c11: float, c22: float, c12: complex = 0) -> tuple[float, float, float]:
    made = h_a_alpha(matrix(c11, c22, c12))
    assert made.valid.all()
    return made.entropy.item(), made.anisotropy.item(), made.alpha.item()


def test_closed_forms() -> None:
    assert told(0.3, 0.3) == pytest.approx((1, 0, 45), abs=1e-6)
    assert told(2.0, 0.0) == pytest.approx((0, 1, 0), abs=1e-6)
    assert told(0.0, 2.0) == pytest.approx((0, 1, 90), abs=1e-6)
    assert told(1.0, 1.0, 1.0) == pytest.approx((0, 1, 45), abs=1e-6)
    assert told(1.0, 1.0, 1j) == pytest.approx((0, 1, 45), abs=1e-6)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.25), (0.02, 0.019), (5.0, 1e-6), (0.7, 0.699999)])
def test_of_a_diagonal_matrix_alpha_is_90_b_over_the_sum(a: float, b: float) -> None:
    entropy, anisotropy, alpha = told(a, b)
    a, b = float(np.float32(a)), float(np.float32(b))
    p = np.array([a, b]) / (a + b)
    assert alpha == pytest.approx(90 * b / (a + b), rel=1e-6, abs=1e-6)
    assert anisotropy == pytest.approx(p[0] - p[1], abs=1e-6)
    assert entropy == pytest.approx(-(p * np.log2(p)).sum(), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9))
def test_an_eigenvalue_solver_agrees(seed: int, looks: int) -> None:
    rng = np.random.default_rng(seed)
    s = rng.normal(size=(looks, 2)) + 1j * rng.normal(size=(looks, 2))
    s[:, 1] = rng.random() * s[:, 0] + rng.random() * s[:, 1]
    c = (s.T @ s.conj() / looks).astype(np.complex64).astype(complex)
    entropy, anisotropy, alpha = told(c[0, 0].real, c[1, 1].real, c[0, 1])
    values, vectors = np.linalg.eigh(c)
    p = np.maximum(values, 0) / values.sum()
    terms = np.where(p > 1e-12, p * np.log2(np.maximum(p, 1e-300)), 0)
    assert entropy == pytest.approx(-terms.sum(), abs=5e-6)
    assert anisotropy == pytest.approx(p[1] - p[0], abs=1e-6)
    expected = (p * np.degrees(np.arccos(np.minimum(np.abs(vectors[0]), 1)))).sum()
    assert alpha == pytest.approx(expected, abs=2e-4)
    assert 0 <= entropy <= 1
    assert 0 <= alpha <= 90


@pytest.mark.parametrize(
    "bad", [(1.0, 1.0, 1.5), (0.0, 0.0, 0.0), (-1.0, 1.0, 0.0), (np.nan, 1.0, 0.0), (np.inf, 1.0, 0.0)]
)
def test_what_is_no_covariance_is_not_valid(bad: tuple[float, float, complex]) -> None:
    made = h_a_alpha(matrix(*bad))
    assert not made.valid.any()
    assert np.isnan(made.entropy).all()
    assert np.isnan(made.alpha).all()


def test_covariance_is_the_mean_over_the_window_of_what_is_valid() -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.normal(size=(9, 11)) + 1j * rng.normal(size=(9, 11)) for _ in range(2))
    valid = rng.random((9, 11)) < 0.8
    made = covariance(a.astype(np.complex64), b.astype(np.complex64), valid, rows=3, cols=5)
    for y, x in np.argwhere(valid):
        near = (slice(max(0, y - 1), y + 2), slice(max(0, x - 2), x + 3))
        inside = valid[near]
        assert made.c11[y, x] == pytest.approx((np.abs(a[near]) ** 2)[inside].mean(), rel=1e-5)
        assert made.c12[y, x] == pytest.approx((a[near] * b[near].conj())[inside].mean(), rel=1e-4, abs=1e-5)
    assert np.array_equal(made.valid, valid)


def test_a_window_needs_a_middle() -> None:
    one = np.ones((3, 3), np.complex64)
    with pytest.raises(ValueError, match="no middle pixel"):
        covariance(one, one, np.ones((3, 3), bool), rows=4)


def test_no_pixel_depends_on_the_cut() -> None:
    rng = np.random.default_rng(4)
    a, b = ((rng.normal(size=(40, 40)) + 1j * rng.normal(size=(40, 40))).astype(np.complex64) for _ in range(2))
    valid = rng.random((40, 40)) < 0.9
    whole = h_a_alpha(covariance(a, b, valid))
    part = h_a_alpha(covariance(a[8:30, 5:33], b[8:30, 5:33], valid[8:30, 5:33]))
    for one, other in zip(whole, part, strict=True):
        assert np.array_equal(one[10:28, 7:31], other[2:-2, 2:-2], equal_nan=True)


def test_one_mechanism_with_a_trace_of_another_has_no_entropy() -> None:
    """A smaller eigenvalue below what single precision holds must not become a logarithm of 0."""
    entropy, anisotropy, alpha = told(1.0, 1e-37)
    assert (entropy, anisotropy, alpha) == pytest.approx((0, 1, 0), abs=1e-6)

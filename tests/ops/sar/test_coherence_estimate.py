"""Coherence of simulated pairs follows the known bias; the bias itself follows an integral of its density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, special

from m3leo_prep.ops.sar.coherence import coherence, expected


def pair(true: float, shape: tuple[int, int], seed: int, phase: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a, noise = ((rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2) for _ in range(2))
    return a.astype(np.complex64), ((true * a + np.sqrt(1 - true**2) * noise) * np.exp(-1j * phase)).astype(
        np.complex64
    )


@pytest.mark.parametrize("true", [0.0, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("size", [3, 5])
def test_the_mean_estimate_is_the_known_biased_one(true: float, size: int) -> None:
    shape = (300, 300)
    first, second = pair(true, shape, seed=int(100 * true) + size)
    found, there = coherence(first, second, np.ones(shape, bool), rows=size, cols=size)
    assert there.all()
    # Windows that do not overlap are independent.
    apart = np.abs(found[size // 2 :: size, size // 2 :: size])[1:-1, 1:-1]
    error = apart.std() / np.sqrt(apart.size)
    assert abs(apart.mean() - expected(true, size * size)) < 3 * error
    assert apart.mean() > true, "the bias is upward"


def test_noise_alone_is_not_0() -> None:
    assert expected(0, 1) == pytest.approx(1), "of one look it is always 1"
    assert expected(0, 9) == pytest.approx(0.2995, abs=1e-4)
    assert expected(1, 9) == 1


def test_many_looks_of_strong_coherence_have_no_bias() -> None:
    assert expected(0.99, 500) == pytest.approx(0.99, rel=1e-5), "the series alone is above 1e800"


@pytest.mark.parametrize(("true", "looks"), [(0.3, 4), (0.7, 10), (0.9, 25)])
def test_the_bias_is_the_mean_of_the_density(true: float, looks: int) -> None:
    def density(d: float) -> float:  # Touzi et al. 1999, equation 13
        form = special.hyp2f1(looks, looks, 1, (d * true) ** 2)
        return 2 * (looks - 1) * (1 - true**2) ** looks * d * (1 - d**2) ** (looks - 2) * form

    mean, _ = integrate.quad(lambda d: d * density(d), 0, 1)
    assert expected(true, looks) == pytest.approx(mean, rel=1e-6)


def test_the_angle_is_the_phase_of_the_first_minus_the_second() -> None:
    first, second = pair(0.99, (60, 60), seed=1, phase=0.7)
    found, _ = coherence(first, second, np.ones((60, 60), bool))
    assert np.angle(found.mean()) == pytest.approx(0.7, abs=0.01)


def test_masked_pixels_neither_count_nor_come_out() -> None:
    first, second = pair(0.8, (20, 20), seed=2)
    valid = np.ones((20, 20), bool)
    valid[8:12] = False
    spoilt = second.copy()
    spoilt[~valid] = 1e6
    clean, there = coherence(first, second, valid)
    same, _ = coherence(first, spoilt, valid)
    assert np.array_equal(clean, same)
    assert not there[8:12].any()


def test_no_pixel_depends_on_the_cut() -> None:
    first, second = pair(0.5, (40, 40), seed=5)
    whole, _ = coherence(first, second, np.ones((40, 40), bool))
    part, _ = coherence(first[8:30, 5:33], second[8:30, 5:33], np.ones((22, 28), bool))
    assert np.array_equal(whole[10:28, 7:31], part[2:-2, 2:-2])


def test_a_window_needs_a_middle() -> None:
    first, second = pair(0.5, (4, 4), seed=5)
    with pytest.raises(ValueError, match="no middle pixel"):
        coherence(first, second, np.ones((4, 4), bool), cols=2)

"""Decibels, multilooking and ratios of backscatter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.ops.sar.decibel import decibels, linear
from m3leo_prep.ops.sar.indices import gamma_nought, radar_vegetation_index, ratio
from m3leo_prep.ops.sar.multilook import multilook


@given(st.floats(1e-8, 1e4))
def test_decibels_and_power_are_each_others_inverse(power: float) -> None:
    assert linear(decibels(np.array([power]))).item() == pytest.approx(power, rel=1e-12)


def test_power_of_0_and_less_has_no_decibels() -> None:
    with np.errstate(all="raise"):
        assert np.isnan(decibels(np.array([0.0, -0.01], np.float32))).all()


def test_blocks_are_averaged_in_power_and_complex_numbers_as_such() -> None:
    power = np.arange(24, dtype=np.float32).reshape(4, 6)
    made, there = multilook(power, np.ones((4, 6), bool), 2, 3)
    assert made.tolist() == [[4.0, 7.0], [16.0, 19.0]]
    assert there.all()
    turning = np.exp(1j * np.array([[3.1, -3.1]]))
    phase, _ = multilook(turning, np.ones((1, 2), bool), 1, 2)
    assert abs(np.angle(phase.item())) == pytest.approx(np.pi), "not 0, the mean of the angles"


def test_less_than_half_a_block_is_none_and_rests_are_left_out() -> None:
    valid = np.array([[True, False, False, True, True]])
    made, there = multilook(np.array([[4.0, 1e9, 1e9, 6.0, 8.0]]), valid, 1, 2)
    assert there.tolist() == [[True, True]]
    assert made.tolist() == [[4.0, 6.0]]
    assert multilook(np.ones((3, 3)), np.zeros((3, 3), bool), 3, 3)[1].tolist() == [[False]]


def test_gamma_nought_is_sigma_nought_over_the_cosine() -> None:
    made = gamma_nought(np.array([0.1, 0.1]), np.array([0.0, 60.0]))
    assert made == pytest.approx([0.1, 0.2])


def test_ratios_mean_something_between_powers_above_0() -> None:
    made, there = ratio(np.array([0.02, -0.01, 0.02]), np.array([0.1, 0.1, 0.0]), np.ones(3, bool))
    assert there.tolist() == [True, False, False]
    assert made[0] == pytest.approx(0.2)
    index, fits = radar_vegetation_index(
        np.array([0.3, 0.1, 0.1]), np.array([0.1, 0.0, 0.1]), np.array([True, True, False])
    )
    assert fits.tolist() == [True, True, False]
    assert index[:2] == pytest.approx([1.0, 0.0])

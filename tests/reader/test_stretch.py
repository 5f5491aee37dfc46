"""Values to brightness: closed forms, and missing values that stay missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.reader.picture.stretch import hillshade, log_stretch, robust_limits, shrink, stretch, thin


def test_decibels_become_levels_between_their_limits():
    db = np.array([-40.0, -25.0, -12.5, 0.0, 10.0, np.nan])
    np.testing.assert_allclose(stretch(db, -25, 0), [0, 0, 0.5, 1, 1, np.nan])


@given(st.floats(0.0, 0.3), st.floats(1.0, 3.0))
def test_gamma_is_a_power(value, gamma):
    found = stretch(np.array([value]), 0.0, 0.3, gamma)[0]
    assert found == pytest.approx((value / 0.3) ** (1 / gamma))
    assert found >= value / 0.3 - 1e-12  # gamma brightens


def test_logarithm_keeps_zero_and_the_limit_and_spreads_decades_alike():
    levels = log_stretch(np.array([0.0, 10.0, 100.0, 1000.0, 5000.0, -3.0, np.nan]), 1000.0)
    assert levels[0] == levels[5] == 0
    assert levels[3] == pytest.approx(1)
    assert levels[4] == 1
    assert levels[3] - levels[2] == pytest.approx(np.log(1001 / 101) / np.log(1001))
    assert levels[3] - levels[2] == pytest.approx(levels[2] - levels[1], rel=0.05)
    assert np.isnan(levels[6])


def test_robust_limits_ignore_what_is_missing_and_outliers():
    values = np.concatenate([np.arange(101.0), np.full(50, np.nan), [np.inf]])
    assert robust_limits(values) == pytest.approx((2.0, 98.0))
    assert robust_limits(np.append(np.arange(1001.0), 1e9))[1] < 1001


@pytest.mark.parametrize(
    ("values", "limits"),
    [([np.nan, np.nan], (0.0, 1.0)), ([], (0.0, 1.0)), ([7.0, 7.0], (3.5, 10.5)), ([0.0], (-0.5, 0.5))],
)
def test_robust_limits_never_collapse(values, limits):
    assert robust_limits(np.array(values)) == limits


def test_limits_of_a_rare_value_are_its_range():
    assert robust_limits(np.array([0.0] * 999 + [1.0])) == (0.0, 1.0)


def test_level_ground_has_the_sine_of_the_suns_height():
    np.testing.assert_allclose(hillshade(np.full((5, 5), 100.0), 30.0), np.sin(np.pi / 4))


def test_a_slope_towards_the_sun_is_full_and_one_away_from_it_is_dark():
    y, x = np.mgrid[0:6, 0:6] * 10.0
    towards_northwest = (x + y) / np.sqrt(2)  # 45 degrees, falling to the upper left, at the pitch of 10 m
    np.testing.assert_allclose(hillshade(towards_northwest, 10.0), 1.0)
    np.testing.assert_allclose(hillshade(-towards_northwest, 10.0), 0.0, atol=1e-12)
    # At half the steepness the angle to the sun is 45 degrees less the slope's: the pitch counts.
    np.testing.assert_allclose(hillshade(towards_northwest, 20.0), np.cos(np.pi / 4 - np.arctan(0.5)))


def test_hillshade_leaves_missing_pixels_missing_and_no_others():
    height = np.add.outer(np.zeros(5), np.arange(5.0))
    height[2, 2] = np.nan
    light = hillshade(height, 10.0)
    assert np.array_equal(np.isnan(light), np.isnan(height))


def test_shrinking_keeps_the_mean_and_averages_whole_parts():
    values = np.random.default_rng(0).random((2, 448, 448)).astype(np.float32)
    halved = shrink(values, 224)
    np.testing.assert_allclose(halved, values.reshape(2, 224, 2, 224, 2).mean(axis=(2, 4)), rtol=1e-5)
    uneven = shrink(values, 336)
    assert uneven.shape == (2, 336, 336)
    np.testing.assert_allclose(uneven.mean(axis=(1, 2)), values.mean(axis=(1, 2)), rtol=1e-5)


def test_shrinking_counts_split_pixels_by_their_share():
    values = np.tile(np.array([1.0, 2.0, 4.0], np.float32), (3, 1))
    np.testing.assert_allclose(shrink(values, 2)[0], [(1 + 0.5 * 2) / 1.5, (0.5 * 2 + 4) / 1.5], rtol=1e-6)


def test_shrinking_leaves_missing_pixels_out_and_parts_without_most_of_them_missing():
    values = np.ones((4, 4), np.float32)
    values[0, 0] = np.nan
    values[2:, 2:] = np.nan
    values[2, 2] = 1
    shrunk = shrink(values, 2)
    np.testing.assert_allclose(shrunk, [[1, 1], [1, np.nan]])
    assert shrink(values, 4) is values


def test_thinning_invents_no_code():
    codes = np.random.default_rng(0).integers(0, 40, (3, 448, 448)).astype(np.uint8)
    thinned = thin(codes, 336)
    assert thinned.shape == (3, 336, 336)
    assert thinned.dtype == codes.dtype
    assert np.array_equal(thin(codes, 224), codes[:, 1::2, 1::2])

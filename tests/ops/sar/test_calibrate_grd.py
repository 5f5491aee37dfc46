"""Calibration and noise removal: by hand, against SciPy, and in any window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from m3leo_prep.ops.sar.calibrate import Block, Noise, Table, calibrate, noise_power


def table(lines, samples, values) -> Table:
    values = np.asarray(values, float)
    return Table(np.asarray(lines, float), (np.asarray(samples, float),) * len(lines), tuple(values))


# 4 x 4 numbers; A is 2 at the upper left, rises by 1 per sample and by 2 per line: exact in binary at each pixel.
NUMBERS = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]], np.uint16)
GAIN = table([0, 3], [0, 3], [[2, 5], [8, 11]])
A = 2.0 + np.arange(4)[None] + 2 * np.arange(4)[:, None]


def test_by_hand():
    np.testing.assert_allclose(calibrate(NUMBERS, (0, 0), GAIN), NUMBERS**2.0 / A**2, rtol=1e-7)


def test_noise_is_range_times_azimuth_and_what_is_negative_stays():
    # Along range 10, 20, 30, 40; along azimuth 1 on the left half, and 1 ... 4 on the right one.
    along = table([0], [0, 3], [[10, 40]])
    ones, rising = np.ones(2), np.array([1.0, 4.0])
    blocks = (Block((0, 4), (0, 2), np.array([0.0, 3.0]), ones), Block((0, 4), (2, 4), np.array([0.0, 3.0]), rising))
    factor = np.array([[1, 1, 1, 1], [1, 1, 2, 2], [1, 1, 3, 3], [1, 1, 4, 4]])
    noise = np.array([10, 20, 30, 40]) * factor
    made = calibrate(NUMBERS, (0, 0), GAIN, Noise(along, blocks))
    np.testing.assert_allclose(made, (NUMBERS**2.0 - noise) / A**2, rtol=1e-6)
    assert (made < 0).any()
    np.testing.assert_allclose(noise_power(Noise(along, blocks), (0, 4), (0, 4)), noise, rtol=1e-6)


def test_beyond_the_blocks_the_factor_is_one():
    along = table([0], [0], [[10.0]])
    block = Block((1, 3), (1, 3), np.array([1.0]), np.array([3.0]))  # one line only: the same all along
    expected = np.full((4, 4), 10.0)
    expected[1:3, 1:3] = 30.0
    np.testing.assert_allclose(noise_power(Noise(along, (block,)), (0, 4), (0, 4)), expected)


def test_beyond_the_first_and_last_node_the_value_there_holds():
    made = calibrate(np.full((9, 9), 6, np.uint16), (0, 0), table([3, 5], [3, 5], [[2, 4], [4, 6]]))
    assert made[0, 0] == made[2, 2] == made[3, 3] == 9.0
    assert made[8, 8] == made[5, 5] == 1.0


def test_rows_with_samples_of_their_own_are_joined_line_by_line():
    uneven = Table(np.array([0.0, 2.0]), (np.array([0.0, 4.0]), np.array([0.0, 1.0, 4.0])),
                   (np.array([1.0, 5.0]), np.array([3.0, 9.0, 9.0])))  # fmt: skip
    made = calibrate(np.full((3, 5), 60, np.uint16), (0, 0), uneven)
    first, last = np.array([1.0, 2, 3, 4, 5]), np.array([3.0, 9, 9, 9, 9])
    np.testing.assert_allclose(made, 3600 / np.stack([first, (first + last) / 2, last]) ** 2, rtol=1e-6)


rng = np.random.default_rng(3)
LINES, SAMPLES = np.sort(rng.uniform(-5, 130, 7)), np.sort(rng.choice(160, 11, replace=False)).astype(float)
NODES = rng.uniform(300, 700, (7, 11))
IMAGE = rng.integers(0, 3000, (120, 150)).astype(np.uint16)
LOUD = Noise(
    table([0, 40, 119], [0, 70, 71, 149], rng.uniform(100, 2000, (3, 4))),
    tuple(
        Block(rows, cols, np.arange(0, 120, 7.0), rng.uniform(0.8, 1.2, 18))
        for rows, cols in (((0, 120), (0, 71)), ((0, 60), (71, 150)), ((60, 120), (71, 150)))
    ),
)


def test_against_scipy():
    inside = (slice(int(np.ceil(LINES[0])) if LINES[0] > 0 else 0, int(LINES[-1])), slice(int(SAMPLES[0]), 150))
    rows, cols = np.mgrid[inside]
    cols = np.minimum(cols, SAMPLES[-1])
    gain = RegularGridInterpolator((LINES, SAMPLES), NODES)(np.stack([np.minimum(rows, LINES[-1]), cols], -1))
    made = calibrate(IMAGE, (0, 0), table(LINES, SAMPLES, NODES))[inside]
    np.testing.assert_allclose(made, IMAGE[inside].astype(float) ** 2 / gain**2, rtol=1e-6)


@given(st.integers(0, 119), st.integers(0, 149), st.integers(1, 60), st.integers(1, 80))
def test_no_pixel_depends_on_the_window(row, col, height, width):
    window = slice(row, min(row + height, 120)), slice(col, min(col + width, 150))
    gain = table(LINES, SAMPLES, NODES)
    whole = calibrate(IMAGE, (0, 0), gain, LOUD)
    np.testing.assert_array_equal(calibrate(IMAGE[window], (row, col), gain, LOUD), whole[window])


def test_a_window_of_nothing_is_nothing():
    assert calibrate(IMAGE[:0], (5, 5), GAIN, LOUD).shape == (0, 150)


@pytest.mark.parametrize("number", [0, 1, 65535])
def test_the_largest_numbers_do_not_wrap(number):
    made = calibrate(np.full((1, 1), number, np.uint16), (0, 0), table([0], [0], [[2.0]]))
    assert made[0, 0] == pytest.approx(number**2 / 4, rel=1e-6)

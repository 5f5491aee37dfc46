"""How far around a cloud pixels are discarded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.sources._sentinel2.clouds import Clouds, reach, widened


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 19, 20, 28, 29, 45, 60, 100]), st.sampled_from([10.0, 20.0]))
def test_all_within_reach_and_nothing_else(seed: int, metres: float, pitch: float) -> None:
    cloud = np.random.default_rng(seed).random((23, 31)) < 0.02
    rows, cols = np.nonzero(cloud)
    y, x = np.mgrid[:23, :31]
    near = np.zeros(cloud.shape, bool)
    for row, col in zip(rows, cols, strict=True):
        near |= ((y - row) ** 2 + (x - col) ** 2) * pitch**2 <= metres**2
    assert np.array_equal(widened(cloud, pitch, metres), near)


@given(st.integers(0, 2**32 - 1))
def test_no_pixel_depends_on_the_window(seed: int) -> None:
    cloud = np.random.default_rng(seed).random((60, 60)) < 0.01
    n = reach(20, 100)
    whole = widened(cloud, 20, 100)[20:40, 10:50]
    part = widened(cloud[20 - n : 40 + n, 10 - n : 50 + n], 20, 100)[n:-n, n:-n]
    assert n == 5
    assert np.array_equal(whole, part)


def test_what_a_rule_discards() -> None:
    classes = np.arange(12, dtype=np.uint8)
    assert np.flatnonzero(Clouds("scl", (3, 8, 9, 10)).discards(classes)).tolist() == [3, 8, 9, 10]
    percent = np.array([0, 40, 41, 100, 255], np.uint8)
    assert Clouds("probability", max_probability=40).discards(percent).tolist() == [False, False, True, True, True]


def test_the_rule_in_words() -> None:
    assert Clouds().words == "none"
    words = Clouds("probability", max_probability=40, dilate=60).words
    assert words == "a cloud probability above 40 % is discarded, and all within 60 m of it"
    assert reach(10, 99.9) == 9
    assert pytest.approx(5) == reach(20, 100)

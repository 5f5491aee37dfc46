"""Border noise of old products: what is cut, what stays, and that windows agree."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.ops.sar.calibrate import Noise, Table
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.copernicus.grd.border import BOTTOM, LEFT, RIGHT, TOP, WIDEST, border, empty, strips, widths

SHAPE = (2100, 2200)
QUIET = Noise(Table(np.zeros(1), (np.zeros(1),), (np.full(1, 400.0),)))
rng = np.random.default_rng(8)
WIDTH = 40 + (np.arange(SHAPE[0]) // 300) * 17
"""Of the border on the left, by line: it goes in steps, as the sampling window does."""
FAR = 25


def image() -> np.ndarray:
    """Return ground with speckle, a lake, and on both sides numbers that are small and not zero."""
    ground = 200 * np.sqrt(rng.standard_gamma(4.4, SHAPE, np.float32) / np.float32(4.4))
    ground[1200:1400, 900:2000] = 12.0  # darker than any noise
    cols = np.arange(SHAPE[1])[None]
    ground[(cols < WIDTH[:, None]) | (cols >= SHAPE[1] - FAR)] = 9.0
    return ground.astype(np.uint16)


IMAGE = image()
FIRST = IMAGE.copy()
FIRST[:300] = 5
"""The data take begins with it."""


def cut(numbers: np.ndarray, window: Window, *, first: bool = False, last: bool = False) -> np.ndarray:
    sides = {
        side: (place, numbers[place.row0 : place.row1, place.col0 : place.col1])
        for side, place in strips(window, SHAPE, first=first, last=last).items()
    }
    return border(window, sides, SHAPE, QUIET)


WHOLE = Window(0, SHAPE[0], 0, SHAPE[1])


def test_the_border_goes_and_the_lake_stays():
    made = cut(IMAGE, WHOLE)
    cols = np.arange(SHAPE[1])[None]
    true = (cols < WIDTH[:, None]) | (cols >= SHAPE[1] - FAR)
    assert made[true].all()
    # Now and then a dark speckle within the next sixteen pixels goes with it.
    assert made[~true].mean() < 1e-3
    assert not made[1250:1350, 1000:1900].any()


def test_lines_are_cut_only_where_the_data_take_begins_or_ends():
    assert cut(FIRST, WHOLE, first=True)[:300].all()
    assert not cut(FIRST, WHOLE, first=True)[330, 200:-200].any()
    inner = cut(FIRST, WHOLE)
    # All of the first lines is dark, which is more than the widest border: the middle is kept.
    assert inner[:300, :WIDEST].all()
    assert not inner[:300, WIDEST:-WIDEST].any()


@given(
    st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1), st.integers(1, 500), st.integers(1, 500), st.booleans()
)
def test_windows_agree(row, col, height, width, first):
    window = Window(row, min(row + height, SHAPE[0]), col, min(col + width, SHAPE[1]))
    part = whole(first=first)[window.row0 : window.row1, window.col0 : window.col1]
    np.testing.assert_array_equal(cut(FIRST, window, first=first, last=first), part)


@cache
def whole(*, first: bool) -> np.ndarray:
    return cut(FIRST, WHOLE, first=first, last=first)


def test_only_what_may_be_border_is_read():
    assert strips(Window(1020, 1080, 1020, 1180), SHAPE, first=True, last=True) == {}
    assert set(strips(WHOLE, SHAPE, first=True, last=False)) == {LEFT, RIGHT, TOP}
    assert set(strips(Window(2000, 2100, 0, 10), SHAPE, first=True, last=True)) == {LEFT, BOTTOM}
    assert strips(Window(5, 9, 5, 9), (50, 60), first=False, last=False)[LEFT] == Window(5, 9, 0, 50 + 10)


def test_a_pixel_is_empty_by_its_number_or_by_what_noise_leaves():
    loud = Noise(Table(np.zeros(1), (np.zeros(1),), (np.full(1, 40.0**2),)))
    numbers = np.array([[29, 30, 40, 41]], np.uint16)
    assert empty(numbers, QUIET, Window(0, 1, 0, 4)).tolist() == [[True, False, False, False]]
    assert empty(numbers, loud, Window(0, 1, 0, 4)).tolist() == [[True, True, True, False]]


@pytest.mark.parametrize(
    ("row", "width"),
    [
        ("0" * 40, 0),
        ("1" * 40, 40),
        ("1" * 20 + "0" * 20, 20),
        ("1" * 10 + "0" + "1" * 9 + "0" * 20, 20),  # a bright speckle in the border
        ("0" * 20 + "1" * 20, 0),  # dark ground inside
        ("0010" + "0" * 36, 3),  # a dark pixel near the edge costs what is before it
        ("1" * 5, 5),
    ],
)
def test_widths(row, width):
    assert widths(np.array([[one == "1" for one in row]])).tolist() == [width]

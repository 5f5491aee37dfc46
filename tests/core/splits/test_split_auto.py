"""What ``auto`` chooses, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.splits.auto import auto_buffer_km, choose_block_km
from m3leo_prep.core.splits.blocks import blocks_per_split

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def test_the_buffer_is_a_diagonal_and_a_label_pixel():
    diagonal = 4480 * np.sqrt(2)
    assert auto_buffer_km(diagonal, 10) == 6.346
    assert auto_buffer_km(diagonal, 250) == 6.586
    # A correlation range takes the pixel's place where it is longer.
    assert auto_buffer_km(diagonal, 250, correlation_km=0.1) == 6.586
    assert auto_buffer_km(diagonal, 250, correlation_km=20) == 26.336
    assert auto_buffer_km(1000, 0) == 1.0


@pytest.mark.parametrize(("side", "times"), [(18.0, 16), (9.0, 8), (3.2, 4)])
def test_blocks_shrink_with_the_area(side, times):
    cells = Grid().cells(shapely.box(7, 44, 7 + side, 44 + side * 0.8))
    chosen = choose_block_km(cells, 6.346, SHARES, 1)
    assert chosen == pytest.approx(times * 6.346)
    held = [blocks_per_split(cells, n * 6.346, SHARES, 1).min() for n in (16, 8, 4) if n >= times]
    assert all(few < 30 for few in held[:-1])
    assert held[-1] >= (30 if times > 4 else 10)


def test_an_area_that_is_too_small_says_what_else_there_is():
    cells = Grid().cells(shapely.box(10, 45, 11, 46))
    with pytest.raises(ConfigError, match=r"(?s)of 25.384 km.*only \d are (val|test).*bands, admin or none.*buffer_km"):
        choose_block_km(cells, 6.346, SHARES, 1)
    # A split that is not wanted is not missed.
    with pytest.raises(ConfigError, match=r"only \d are test"):
        choose_block_km(cells, 6.346, {"train": 0.8, "test": 0.2}, 1)


def test_no_buffer_no_multiple_of_it():
    with pytest.raises(ConfigError, match=r"(?s)which is 0.*give block_km"):
        choose_block_km(Grid().cells(shapely.box(10, 45, 11, 46)), 0, SHARES, 1)


def test_other_policies_count_for_themselves():
    tried = []

    def count(side):
        tried.append(side)
        return np.array([90, 29, 31]) if side > 40 else np.array([90, 30, 31])

    assert choose_block_km(Grid().cells(shapely.box(10, 45, 10.1, 45.1)), 10, SHARES, 1, count=count) == 40
    assert tried == [160, 80, 40]

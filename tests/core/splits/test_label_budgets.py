"""Label budgets: exact, nested, spread, in proportion to strata."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from m3leo_prep.core.grid import Grid
from m3leo_prep.core.splits.budgets import label_rank

CELLS = Grid().cells(shapely.box(8, 44, 14, 47))
TRAIN = np.random.default_rng(0).random(len(CELLS)) < 0.6


def test_budgets_are_exact_and_nested():
    rank = label_rank(CELLS, TRAIN, seed=1)
    assert rank.dtype == np.float32
    assert (np.isnan(rank) == ~TRAIN).all()
    n = int(TRAIN.sum())
    assert np.nanmax(rank) == 1
    inner = np.zeros(len(CELLS), bool)
    for percent in (1, 5, 10, 20, 25, 50, 100):
        for budget in (rank <= percent / 100, rank.astype(np.float64) <= percent / 100):
            assert budget.sum() == n * percent // 100
        assert (inner <= budget).all()
        inner = budget


@pytest.mark.parametrize("n", [1, 3, 100, 1000, 700])
def test_counts_are_exact_for_any_number(n):
    chosen = np.zeros(len(CELLS), bool)
    chosen[:n] = True
    rank = label_rank(CELLS, chosen, seed=1).astype(np.float64)
    for percent in (1, 5, 10, 30, 70, 100):
        assert (rank <= percent / 100).sum() == n * percent // 100


def test_order_is_that_of_place_and_seed():
    rank = label_rank(CELLS, TRAIN, seed=1)
    back = label_rank(CELLS[::-1], TRAIN[::-1], seed=1)[::-1]
    np.testing.assert_array_equal(rank, back)
    assert np.nansum(label_rank(CELLS, TRAIN, seed=2) != rank) > TRAIN.sum() / 2
    assert np.isnan(label_rank(CELLS, np.zeros(len(CELLS), bool), seed=1)).all()


def test_a_budget_is_spread_over_the_ground():
    """Each of 48 squares of 3/4 by 1/2 degree holds about its share, much closer than a draw by chance."""
    rank = label_rank(CELLS, np.ones(len(CELLS), bool), seed=1)
    lon, lat = CELLS.lon_lat()
    square = (np.clip(lon - 8, 0, 5.999) * 4 / 3).astype(int) * 6 + (np.clip(lat - 44, 0, 2.999) * 2).astype(int)

    def scatter(budget):
        return (np.bincount(square[budget], minlength=48) / np.bincount(square, minlength=48)).std()

    chance = np.random.default_rng(2).permutation(len(CELLS)) < 0.1 * len(CELLS)
    assert scatter(rank <= 0.1) < 0.6 * scatter(chance)


def test_strata_hold_their_shares_in_every_budget():
    strata = np.random.default_rng(1).choice([-1, 10, 20, 95], len(CELLS), p=[0.05, 0.6, 0.3, 0.05])
    rank = label_rank(CELLS, TRAIN, seed=1, strata=strata)
    n = int(TRAIN.sum())
    for percent in (1, 5, 10, 50):
        budget = rank <= percent / 100
        assert budget.sum() == n * percent // 100
        for stratum in np.unique(strata):
            share = (strata[TRAIN] == stratum).mean()
            assert abs((strata[budget] == stratum).sum() - share * budget.sum()) <= 2
    # Without strata a rare class is met by chance.
    plain = label_rank(CELLS, TRAIN, seed=1)
    assert (plain != rank)[TRAIN].any()

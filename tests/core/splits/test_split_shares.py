"""Shares: what is refused, exact quotas, roundings whose mean is the share, draws chip by chip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.splits.shares import SLOTS, by_share, group_keys, quotas, shuffled, spread, validate_shares

KEYS = group_keys(7, 1, np.arange(4000))


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"train": 0.6, "val": 0.2, "test": 0.3}, r"sum to 1.1.*\n.*with train: 0.5 they would"),
        ({"train": 60, "val": 20, "test": 20}, r"sum to 100.*\n\s+hint: write shares as parts of 1"),
        ({"train": 1.2, "val": -0.2}, "the share of val is -0.2"),
        ({"train": float("nan"), "val": 0.2}, "the share of train is nan"),
        ({"training": 0.6, "val": 0.4}, r"no split 'training'.*\n.*did you mean 'train'"),
        ({}, "sum to 0"),
    ],
)
def test_shares_that_make_no_sense_are_refused(shares, message):
    with pytest.raises(ConfigError, match=rf"(?s){message}"):
        validate_shares(shares)


def test_a_share_that_is_not_named_is_not_wanted():
    assert validate_shares({"test": 0.25, "train": 0.75}) == (0.75, 0.0, 0.25)
    assert validate_shares({"train": 1 / 3, "val": 1 / 3, "test": 1 / 3 + 5e-7})


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 25), st.integers(0, 25))
def test_multiples_of_4_percent_hold_exactly(one, two):
    train, val = min(one, two), abs(one - two)
    test = 25 - train - val
    shares = validate_shares({"train": train * 0.04, "val": val / 25, "test": test / 25})
    assert (quotas(shares, KEYS[:50]) == [train, val, test]).all()
    for draw in (shuffled, spread):
        table = draw(shares, KEYS[:50])
        assert table.shape == (50, SLOTS)
        assert all((np.bincount(row, minlength=3) == [train, val, test]).all() for row in table)


def test_what_rounding_adds_to_a_multiple_of_4_percent_moves_no_slot():
    shares = validate_shares({"train": 0.6 + 4e-7, "val": 0.2 - 4e-7, "test": 0.2 - 4e-7})
    assert (quotas(shares, group_keys(7, 1, np.arange(400_000))) == [15, 5, 5]).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_other_shares_hold_on_average_and_never_off_by_a_slot(one, two):
    low, high = sorted((one, two))
    shares = validate_shares({"train": low, "val": high - low, "test": 1 - high})
    found = quotas(shares, KEYS)
    wanted = np.array(shares) * SLOTS
    assert (found.sum(axis=1) == SLOTS).all()
    assert (np.abs(found - wanted) < 1 + 1e-4).all()
    np.testing.assert_allclose(found.mean(axis=0), wanted, atol=0.05)
    assert (found[:, wanted == 0] == 0).all()


def test_draws_chip_by_chip_meet_the_shares():
    keys = group_keys(3, 3, np.arange(100_000))
    assert np.bincount(by_share((0.6, 0.25, 0.15), keys)) / len(keys) == pytest.approx([0.6, 0.25, 0.15], abs=0.006)
    assert set(by_share((0.5, 0.5, 0.0), keys)) == {0, 1}
    assert set(by_share((0.0, 0.0, 1.0), keys)) == {2}
    # A sum that rounding left just below 1 must not let an unwanted split in.
    assert set(by_share((0.9999995, 0.0, 0.0), np.full(1, 2**64 - 1, np.uint64))) == {0}


def test_purposes_and_seeds_draw_apart():
    numbers = np.arange(1000)
    draws = [group_keys(seed, purpose, numbers) for seed in (0, 1) for purpose in (1, 2)]
    assert len(np.unique(np.concatenate(draws))) == 4000
    assert len(np.unique(group_keys(0, 1, -numbers))) == 1000

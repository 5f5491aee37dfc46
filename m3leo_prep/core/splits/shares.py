"""Which split each of 25 numbered slots gets: exact numbers in every group, at places that only the seed decides."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.sample import mix
from m3leo_prep.core.splits.policy import LEARNED, SHARE_TOLERANCE
from m3leo_prep.core.text import near

SLOTS = 25
"""Blocks of a super-block (5 x 5), strips of a super-band: 4 % each."""

Shares = tuple[float, float, float]


def validate_shares(shares: Mapping[str, float]) -> Shares:
    """Return the shares of train, val and test; one that is not named is 0, which means that it is not wanted.

    Raises:
        ConfigError: another name, a share that is negative or no number, or a sum other than 1.
    """
    names = [split.name.lower() for split in LEARNED]
    for name, share in shares.items():
        if name not in names:
            raise ConfigError(f"there is no split '{name}'", hint=near(name, names), where="splits.shares")
        if not (math.isfinite(share) and share >= 0):
            raise ConfigError(
                f"the share of {name} is {share:g}",
                hint="a share is a number from 0 to 1; 0 means that the split is not wanted",
                where="splits.shares",
            )
    train, val, test = (float(shares.get(name, 0.0)) for name in names)
    total = train + val + test
    if abs(total - 1) > SHARE_TOLERANCE:
        rest = 1 - val - test
        way_out = f"with train: {rest:.6g} they would; " if rest >= 0 else ""
        raise ConfigError(
            f"the shares sum to {total:.6g}, not to 1 (train {train:g}, val {val:g}, test {test:g})",
            hint=f"{way_out}write shares as parts of 1, such as train: 0.6, val: 0.2, test: 0.2",
            where="splits.shares",
        )
    return train, val, test


def quotas(shares: Shares, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return (group, 3) slots of train, val and test in each group; rows sum to ``SLOTS``.

    Shares that are multiples of 4 % hold exactly in each group. Others are rounded up or down by one throw per group
    (systematic sampling), so that the expectation over groups is the share itself; a share of 0 gets no slot.

    Args:
        shares: as ``validate_shares`` returns them.
        keys: (group,) hash of each group.
    """
    ends = np.cumsum(shares) * SLOTS
    whole = np.round(ends)
    ends = np.where(np.abs(ends - whole) <= SHARE_TOLERANCE * SLOTS, whole, ends)
    ends[-1] = SLOTS
    stop = np.floor(ends + _uniform(mix(keys ^ np.uint64(1)))[:, None]).astype(np.int64)
    return np.diff(stop, axis=1, prepend=0)


def shuffled(shares: Shares, keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return (group, slot) splits: a permutation of each group's quotas, drawn by its key. For blocks."""
    rank = np.argsort(np.argsort(_slot_hashes(keys), axis=1), axis=1)
    stop = np.cumsum(quotas(shares, keys), axis=1)
    return np.asarray((rank[:, :, None] >= stop[:, None, :2]).sum(axis=2), np.uint8)


def spread(shares: Shares, keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return (group, slot) splits, each spread along its group. For bands, which follow each other in one line.

    The q slots of a split are thrown one into each q-th part of the line, all throws sorted, and the line turned by a
    random number of slots: numbers are exact, every slot is as likely as any other to be of a split, and an area of a
    few bands still sees all splits (a free permutation now and then puts five test bands in a row, and none for a
    thousand kilometres).
    """
    parts = quotas(shares, keys)
    stop = np.cumsum(parts, axis=1)
    slot = np.arange(SLOTS)
    split = (slot[None, :, None] >= stop[:, None, :2]).sum(axis=2)
    size = np.take_along_axis(parts, split, axis=1)
    nth = slot - (np.take_along_axis(stop, split, axis=1) - size)
    place = (nth + _uniform(_slot_hashes(keys))) / size
    turned = (slot + (mix(keys ^ np.uint64(SLOTS + 2)) % np.uint64(SLOTS)).astype(np.int64)[:, None]) % SLOTS
    order = np.take_along_axis(np.argsort(place, axis=1, kind="stable"), turned, axis=1)
    return np.take_along_axis(split, order, axis=1).astype(np.uint8)


def group_keys(seed: int, purpose: int, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return (group,) hash of each group's number; ``purpose`` keeps blocks, bands and chips apart."""
    start = mix(mix(np.array([seed], np.uint64)) ^ np.uint64(purpose))
    return mix(start ^ mix(numbers.astype(np.uint64)))


def by_share(shares: Shares, keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return (n,) splits drawn independently of each other, with the shares as probabilities."""
    ends = np.cumsum(shares)
    draw = _uniform(keys)[:, None]
    # An unwanted last split must not catch what rounding leaves of 1.
    ends[ends >= 1 - SHARE_TOLERANCE] = 1
    return np.asarray((draw >= ends[:2]).sum(axis=1), np.uint8)


def _slot_hashes(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return mix(mix(keys)[:, None] ^ np.arange(2, SLOTS + 2, dtype=np.uint64))


def _uniform(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return numbers from 0 to below 1, from the upper 53 bits."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53

"""Random: every chip for itself. Neighbours then lie in different splits: a baseline that shows what leakage does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.grid import Cells
from m3leo_prep.core.splits.policy import Assignment, Split
from m3leo_prep.core.splits.seams import around_seams, yield_overlaps
from m3leo_prep.core.splits.shares import Shares, by_share, group_keys, validate_shares

_PURPOSE = 3


def assign_random(
    cells: Cells, *, shares: Mapping[str, float], seed: int, yields: tuple[Split, ...] | None = None
) -> Assignment:
    """Return splits drawn chip by chip, by a hash of the cell; ``group`` is -1, as no chips belong together.

    Args:
        cells: chips.
        shares: of train, val and test.
        seed: of the draw.
        yields: splits in the order in which they yield where chips of two zones overlap, whether the other chip is
            built or not, so that growth changes nothing; None leaves such chips as they are.

    Raises:
        ConfigError: shares make no sense.
    """
    parts = validate_shares(shares)
    home = _draw(cells, parts, seed)
    made = Assignment(home, home.copy(), np.full(len(cells), -1, np.int64))
    if yields is None:
        return made
    around = around_seams(cells)
    drawn = _draw(around, parts, seed)
    there = yield_overlaps(around, Assignment(drawn, drawn, np.full(len(around), -1, np.int64)), yields)
    made.split[np.isin(_places(cells), _places(around[there.split == Split.BUFFER]))] = Split.BUFFER
    return made


def _draw(cells: Cells, shares: Shares, seed: int) -> NDArray[np.uint8]:
    return by_share(shares, group_keys(seed, _PURPOSE, _places(cells)))


def _places(cells: Cells) -> NDArray[np.int64]:
    """Return a number of each cell that no other cell of the grid has."""
    return (cells.epsg.astype(np.int64) << 42) | ((cells.col.astype(np.int64) + 2**20) << 21) | cells.row

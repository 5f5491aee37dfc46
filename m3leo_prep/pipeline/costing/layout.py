"""The windows of all units of a layer at once: the rule of ``windows.cut`` on arrays, for millions of chips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.grid import Cells
from m3leo_prep.pipeline.windows import EDGE, MAX_SPARE


@dataclass(frozen=True, slots=True)
class Layout:
    """Windows, without what they are made of; tests hold that they are those of ``cut``."""

    first: NDArray[np.int64]
    """(window,) row of its first chip; windows are in this order."""
    shape: NDArray[np.int64]
    """(window, 2) cells downward and eastward."""
    order: NDArray[np.int64]
    """(chip,) rows, window after window."""
    start: NDArray[np.int64]
    """(window + 1,) where in ``order`` each window begins."""

    def __len__(self) -> int:
        return len(self.first)

    def rows(self, window: int) -> NDArray[np.int64]:
        """Return (chip,) the rows of one window's chips, in order."""
        return self.order[self.start[window] : self.start[window + 1]]


def lay_out(cells: Cells, rows: NDArray[np.int64], unit: NDArray[np.int64]) -> Layout:
    """Return the windows of some rows.

    Args:
        cells: of the whole plan.
        rows: (chip,) those that are read, ascending.
        unit: (chip,) number of the unit of each.
    """
    epsg, col, row = (np.asarray(a, np.int64)[rows] for a in (cells.epsg, cells.col, cells.row))
    label = np.zeros((2, len(rows)), np.int64)
    # Edge of each chip's block, and the block's number among those of that edge.
    open_ = np.arange(len(rows))
    edge = EDGE
    while len(open_):
        keys = np.stack([unit[open_], epsg[open_], col[open_] // edge, row[open_] // edge])
        order = np.lexsort(keys)
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(keys[:, order], axis=1) != 0).any(axis=0)
        block = np.empty(len(order), np.int64)
        block[order] = np.cumsum(new) - 1
        starts = np.flatnonzero(new)
        extent = np.prod([_spans(values[open_][order], starts) for values in (row, col)], axis=0)
        is_full = (extent <= MAX_SPARE * np.diff([*starts, len(order)])) | (edge == 1)
        label[0, open_], label[1, open_] = edge, block
        open_ = open_[~is_full[block]]
        edge //= 2
    by_window = np.lexsort((rows, label[1], label[0]))
    new = np.ones(len(rows), bool)
    new[1:] = (np.diff(label[:, by_window], axis=1) != 0).any(axis=0)
    starts = np.flatnonzero(new)
    shape = np.stack([_spans(values[by_window], starts) for values in (row, col)], axis=1)
    first = rows[by_window][starts]
    sizes = np.diff([*starts, len(rows)])
    in_order = np.argsort(first)
    order = np.concatenate([[], *(by_window[starts[w] : starts[w] + sizes[w]] for w in in_order)]).astype(np.int64)
    return Layout(first[in_order], shape[in_order], rows[order], np.concatenate([[0], np.cumsum(sizes[in_order])]))


def _spans(values: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many cells the values of each run span."""
    if not len(values):
        return np.zeros(0, np.int64)
    return np.maximum.reduceat(values, starts) - np.minimum.reduceat(values, starts) + 1

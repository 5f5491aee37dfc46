"""Label budgets: an order of the train chips of which any beginning is a fair small training set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.grid import Cells
from m3leo_prep.core.sample import grts_key, mix


def label_rank(
    cells: Cells, train: NDArray[np.bool_], *, seed: int, strata: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Return (chip,) place of each train chip in a seeded order, as a share from above 0 to 1; NaN for others.

    ``rank <= 0.01`` is the budget of 1 %: exactly the whole part of 1 % of the train chips, spread over the ground
    (``core.sample``), and inside that of 5 %. With strata the order takes them in turn, in proportion to their sizes,
    so that each budget holds each stratum's share to within one chip of rounding per stratum.

    Args:
        cells: chips.
        train: (chip,) the chips that are ranked.
        seed: of the order.
        strata: (chip,) number of each chip's stratum, such as its majority class; -1 is a stratum too.
    """
    rank = np.full(len(cells), np.nan, np.float32)
    rows = np.flatnonzero(train)
    if not len(rows):
        return rank
    chosen = cells[rows]
    keys = np.empty(len(rows), np.uint64)
    for zone in np.unique(chosen.epsg).tolist():
        here = chosen.epsg == zone
        keys[here] = grts_key(zone, chosen.col[here].astype(np.int64), chosen.row[here].astype(np.int64), seed)
    order = np.lexsort((chosen.epsg, keys))
    if strata is not None:
        of = strata[rows][order]
        _, stratum, size = np.unique(of, return_inverse=True, return_counts=True)
        grouped = np.argsort(stratum, kind="stable")
        nth = np.empty(len(of))
        nth[grouped] = np.arange(len(of)) - np.repeat(np.cumsum(size) - size, size)
        order = order[np.lexsort((mix(keys[order]), (nth + 0.5) / size[stratum]))]
    share = np.arange(1, len(rows) + 1) / len(rows)
    stored = share.astype(np.float32)
    # Rounded down, so that 5 % is not above 0.05 for a reader that compares in float64.
    stored = np.where(stored > share, np.nextafter(stored, np.float32(0)), stored)
    rank[rows[order]] = stored
    return rank

"""Numbers out of merged counts: mean, spread, percentiles, a histogram to draw."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import fsum, sqrt

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.pipeline.statistics.bins import Bins

PERCENTILES = (1, 2, 5, 25, 50, 75, 95, 98, 99)
DRAWN_BINS = 256
"""Bins at most of a histogram that is drawn."""
TAIL = 0.001
"""Share of the pixels in the first and in the last of them, so that one stray value does not squeeze the others."""
DIGITS = 12
"""Significant digits that are written: more than any encoding has, fewer than ``113 * 0.01`` shows."""

NORMAL = float(np.finfo(np.float32).smallest_normal)

BLOCK = 2**16
"""Numbers that are Python objects at a time."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the valid codes of many chips; all but ``n`` are None where there are none."""

    n: int
    mean: float | None = None
    std: float | None = None
    """Of the population: divided by n. Exactly 0 where all codes are the same."""
    low: float | None = None
    high: float | None = None


def merge(moments: NDArray[np.float64]) -> Moments:
    """Return the moments of all from those of the parts.

    Sums are exact before they are rounded once (``fsum``), so the order of the parts does not matter; squares are
    taken around the means, so little is lost where values are large and spreads small (Chan, Golub and LeVeque 1983,
    https://doi.org/10.1080/00031305.1983.10483115).

    Args:
        moments: (..., 5) ``ops.summary.MOMENTS`` of each part.
    """
    parts = moments.reshape(-1, moments.shape[-1])
    n, total, squares, low, high = parts[parts[:, 0] > 0].T
    if not len(n):
        return Moments(0)
    count, lowest, highest = int(n.sum()), float(low.min()), float(high.max())
    if lowest == highest:
        return Moments(count, lowest, 0.0, lowest, highest)
    mean = _sum(total) / count
    std = sqrt(_sum(squares, n * (total / n - mean) ** 2) / count)
    return Moments(count, mean, std, lowest, highest)


def _sum(*arrays: NDArray[np.float64]) -> float:
    """Return the exact sum of all, rounded once."""
    blocks = (array[start : start + BLOCK] for array in arrays for start in range(0, len(array), BLOCK))
    return fsum(chain.from_iterable(block.tolist() for block in blocks))


def percentiles(counts: NDArray[np.int64], bins: Bins, low: float, high: float) -> tuple[list[float], float]:
    """Return the ``PERCENTILES`` of counted codes, and by how much the least exact of them may be off.

    A percentile is the smallest value that so many percent of the pixels do not exceed (``inverted_cdf`` of numpy); it
    is exact where a bin holds one code, else taken along a line through its bin.

    Args:
        counts: (bin,), not all 0.
        bins: their bins.
        low: smallest code counted.
        high: largest code counted.
    """
    used = np.flatnonzero(counts)
    below = np.concatenate([[0], counts[used].cumsum()])
    ranks = np.array([max(1, -(-q * int(below[-1]) // 100)) for q in PERCENTILES])
    place = np.searchsorted(below[1:], ranks)
    first = np.maximum(bins.lowest(used[place]), low)
    width = np.minimum(bins.highest(used[place]), high) - first
    # The bin of 0 has nothing beside it but numbers below any that means something.
    width = np.where(width < NORMAL, 0.0, width)
    along = (ranks - below[place] - 0.5) / counts[used[place]]
    return (first + width * along).tolist(), float(width.max())


def drawn(counts: NDArray[np.int64], bins: Bins) -> tuple[list[float], list[int]]:
    """Return edges, in codes, and counts of at most ``DRAWN_BINS`` bins over all that is counted.

    They are as equally wide as the fine ones allow, but for the first and the last, which hold the tails. A bin holds
    what is at least its lower edge and below its upper one; those of integers lie half a step between codes.

    Args:
        counts: (bin,), not all 0.
        bins: their bins.
    """
    used = np.flatnonzero(counts)
    fine = counts[used[0] : used[-1] + 1]
    edges = bins.lowest(np.arange(used[0], used[-1] + 2)) - (0.0 if bins.shift is None else 0.5)
    cuts = np.arange(len(edges))
    below = np.concatenate([[0], fine.cumsum()])
    if len(fine) > DRAWN_BINS:
        inner = edges[np.searchsorted(below[1:], [TAIL * below[-1], (1 - TAIL) * below[-1]])]
        cuts = np.unique(np.searchsorted(edges, np.linspace(inner[0], inner[1], DRAWN_BINS - 1)))
        cuts = np.concatenate([[0], cuts[(cuts > 0) & (cuts < len(fine))], [len(fine)]])
    return edges[cuts].tolist(), np.diff(below[cuts]).tolist()


def tidy(value: float | None, scale: float = 1.0) -> float | None:
    """Return a code as a physical value without the digits that only rounding made."""
    return None if value is None else float(f"{value * scale:.{DIGITS}g}") + 0.0

"""Several looks at one place become one value: mosaics of tiles, statistics over acquisitions.

Everything is per pixel and in a fixed order, so no result depends on how the work is cut. Averages are sums in
float64, in linear units (power, not dB); a median of an even count is the mean of the two middle values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.layer import Statistic

VERSION = 1
"""Bumped when the same input gives other output; part of every unit's digest."""


@dataclass(frozen=True, slots=True)
class Look:
    """Pixels of a block on the target lattice, each array (band, y, x)."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    observed: NDArray[np.bool_]
    """True where the sensor looked, whether or not the value may be used; includes ``valid``."""


_OWN = -1
"""Where no neighbour zone's tile shows."""


class Mosaic:
    """Tiles of one acquisition laid side by side: the first that has a pixel keeps it, own-zone tiles win.

    A tile of the target's own zone replaces pixels that a neighbour zone's tile gave before: neighbour-zone tiles
    only fill what the own zone does not cover.
    """

    def __init__(self) -> None:
        self._look: Look | None = None
        self._foreign: NDArray[np.int16] | None = None

    def add(self, look: Look, *, own: bool, group: int = 0) -> NDArray[np.bool_]:
        """Lay one tile and return where it now shows.

        Args:
            look: the tile.
            own: it is in the target's own zone.
            group: tiles of the own zone replace those of the same group only: the acquisition, where that one is to
                stay which was laid first.
        """
        if self._look is None or self._foreign is None:
            self._look = look
            self._foreign = np.where(look.valid & (not own), group, _OWN).astype(np.int16)
            return look.valid
        old = self._look
        wins = look.valid & (~old.valid | (self._foreign == group)) if own else look.valid & ~old.valid
        self._look = Look(np.where(wins, look.values, old.values), old.valid | look.valid, old.observed | look.observed)
        self._foreign[wins] = _OWN if own else group
        return wins

    def result(self) -> Look | None:
        """Return the mosaic, or None if no tile was laid."""
        return self._look


class Composite:
    """One value per pixel from the looks of several acquisitions, added one by one in order.

    ``first`` and ``last`` are mosaics, not statistics: see ``Mosaic``.
    """

    def __init__(self, statistic: Statistic) -> None:
        self._statistic = statistic
        self._looks: list[Look] = []
        self._n_looks = 0
        self._count: NDArray[np.uint16] | None = None
        self._total: NDArray[np.float64] | None = None
        self._best: NDArray[Any] | None = None
        self._observed: NDArray[np.bool_] | None = None
        self._dtype = np.dtype(np.float32)

    def add(self, look: Look) -> None:
        """Take in one acquisition."""
        self._n_looks += 1
        if self._statistic in {"median", "medoid"}:
            self._looks.append(look)
            return
        if self._n_looks == 1:
            # A single look needs no sum: it is returned as it is, and only a second one starts the statistic.
            self._looks = [look]
            return
        if self._count is None:
            self._start(self._looks.pop())
        self._take(look)

    def _start(self, look: Look) -> None:
        self._count = np.zeros(look.values.shape, np.uint16)
        self._observed = np.zeros(look.values.shape, bool)
        if self._statistic == "mean":
            self._total = np.zeros(look.values.shape, np.float64)
            self._dtype = look.values.dtype if look.values.dtype.kind == "f" else np.dtype(np.float32)
        else:
            self._best = np.zeros_like(look.values)
        self._take(look)

    def _take(self, look: Look) -> None:
        assert self._count is not None
        assert self._observed is not None
        valid = look.valid
        if self._statistic == "mean":
            assert self._total is not None
            np.add(self._total, look.values, out=self._total, where=valid)
        elif self._statistic != "count":
            assert self._best is not None
            if self._best.dtype != look.values.dtype:
                self._best = self._best.astype(np.promote_types(self._best.dtype, look.values.dtype))
            better = look.values < self._best if self._statistic == "min" else look.values > self._best
            np.copyto(self._best, look.values, where=valid & ((self._count == 0) | better))
        self._count += valid
        self._observed |= look.observed

    def result(self) -> Look | None:
        """Return the composite, or None if nothing was added."""
        if self._n_looks == 0:
            return None
        if self._statistic == "medoid":
            return _medoid(self._looks)
        if self._statistic == "median" and self._n_looks > 1:
            return _median(self._looks)
        if self._count is None:
            look = self._looks[0]
            if self._statistic == "count":
                return Look(look.valid.astype(np.uint16), look.observed, look.observed)
            return look
        assert self._observed is not None
        valid = self._count > 0
        if self._statistic == "count":
            return Look(self._count, self._observed, self._observed)
        if self._statistic == "mean":
            assert self._total is not None
            # Back to the looks' own precision: one look more that has nothing here must not change a bit.
            mean = self._total / np.maximum(self._count, 1)
            return Look(mean.astype(self._dtype), valid, self._observed)
        assert self._best is not None
        return Look(self._best, valid, self._observed)


def whole(valid: NDArray[np.bool_], observed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (look, y, x): True where a look has all bands that any look has seen there, and one at least.

    Args:
        valid: (look, band, y, x).
        observed: (band, y, x), by any look.
    """
    return np.asarray((valid | ~observed).all(axis=1) & valid.any(axis=1))


def _medoid(looks: list[Look]) -> Look:
    """Return per pixel the look nearest to all others, of those that are whole; a band that nobody saw has no say."""
    from m3leo_prep.ops.medoid import medoid

    observed = np.any([look.observed for look in looks], axis=0)
    values = np.stack([look.values for look in looks])
    values[:, ~observed] = 0
    best = medoid(values, whole(np.stack([look.valid for look in looks]), observed))
    chosen = np.take_along_axis(values, np.maximum(best, 0)[None, None], axis=0)[0]
    return Look(chosen, (best >= 0) & observed, observed)


def _median(looks: list[Look]) -> Look:
    """Return the per-pixel median of the valid values; for an even count the mean of the two middle ones."""
    stack = np.stack([np.where(look.valid, look.values, np.inf) for look in looks])
    n = np.sum([look.valid for look in looks], axis=0)
    stack.sort(axis=0)
    low = np.take_along_axis(stack, np.maximum((n - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(stack, np.minimum(n // 2, len(looks) - 1)[None], axis=0)[0]
    valid = n > 0
    middle = np.where(valid, (low.astype(np.float64) + np.where(valid, high, 0)) / 2, 0)
    return Look(
        middle.astype(looks[0].values.dtype if looks[0].values.dtype.kind == "f" else np.float32),
        valid,
        np.any([look.observed for look in looks], axis=0),
    )

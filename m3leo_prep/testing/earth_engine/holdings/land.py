"""The synthetic ground on any grid of pixels, computed in blocks that are kept while memory lasts.

All dates of a place see the same ground, so that the ground is worked out once and a date costs its noise only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources._native import transformer
from m3leo_prep.sources.synthetic.earth import Ground, ground
from m3leo_prep.testing.earth_engine.evaluation.sampling import proj_name

SIDE = 256
"""Pixels of a block, each way."""
LONLAT = "EPSG:4326"
Window = tuple[int, int, int, int]
"""(row0, row1, col0, col1), counted on the lattice; may be negative."""
Arrays = tuple[NDArray[Any], ...]
"""Arrays whose last two axes are rows and columns."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """An endless north-up grid of pixels ``width`` x ``height`` in CRS units, counted from its origin."""

    crs: str
    width: float
    height: float
    x0: float = 0.0
    y0: float = 0.0

    def finer(self, times: int) -> Lattice:
        """Return the lattice whose pixels divide these."""
        return Lattice(self.crs, self.width / times, self.height / times, self.x0, self.y0)

    def transform(self, row: int, col: int) -> tuple[float, float, float, float, float, float]:
        """Return the affine transform of an image whose first pixel is (row, col)."""
        return (self.width, 0.0, self.x0 + col * self.width, 0.0, -self.height, self.y0 - row * self.height)

    def window(self, west: float, south: float, east: float, north: float) -> Window:
        """Return the pixels that cover bounds in CRS units."""
        rows = ((self.y0 - north) / self.height, (self.y0 - south) / self.height)
        cols = ((west - self.x0) / self.width, (east - self.x0) / self.width)
        # An edge that is one but for rounding is one.
        (row0, row1), (col0, col1) = ((floor(low + 1e-6), ceil(high - 1e-6)) for low, high in (rows, cols))
        return row0, row1, col0, col1

    def lonlat(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lon and lat of the pixel centres, both (y, x).

        Blocks of a projected lattice are interpolated by parabolas, which is exact to 0.1 mm for some kilometres.
        """
        row0, row1, col0, col1 = window
        rows = np.arange(row0, row1, dtype=np.float64) + 0.5
        cols = np.arange(col0, col1, dtype=np.float64) + 0.5
        if self.crs == LONLAT:
            lon, lat = np.meshgrid(self.x0 + cols * self.width, self.y0 - rows * self.height)
            return lon, lat
        reach = max((row1 - row0) * self.height, (col1 - col0) * self.width)
        exact = reach > 6000.0
        at_rows, at_cols = (rows, cols) if exact else (_nodes(rows), _nodes(cols))
        x, y = np.meshgrid(self.x0 + at_cols * self.width, self.y0 - at_rows * self.height)
        lon, lat = transformer(proj_name(self.crs), LONLAT).transform(x, y)
        if exact:
            return np.asarray(lon), np.asarray(lat)
        down, across = _parabolas(rows, at_rows), _parabolas(cols, at_cols).T
        return np.asarray(down @ lon @ across), np.asarray(down @ lat @ across)


def _nodes(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return three places, the first and last of ``at`` among them where it has two."""
    first, last = float(at[0]), float(at[-1])
    return np.array([first, (first + last) / 2 + 0.25, max(last, first + 1.0)])


def _parabolas(at: NDArray[np.float64], nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (point, node): the weights of Lagrange's parabola through three nodes."""
    a, b, c = nodes
    return np.stack(
        [
            (at - b) * (at - c) / ((a - b) * (a - c)),
            (at - a) * (at - c) / ((b - a) * (b - c)),
            (at - a) * (at - b) / ((c - a) * (c - b)),
        ],
        axis=1,
    )


@dataclass(slots=True)
class Blocks:
    """Blocks that were computed, the least recently used forgotten first.

    Computing a block must not ask for another of the same ``Blocks``: threads would wait for each other.
    """

    bytes: int
    """Most to keep."""
    _kept: OrderedDict[Hashable, Arrays] = field(default_factory=OrderedDict)
    _size: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _busy: Sequence[threading.Lock] = field(default_factory=lambda: tuple(threading.Lock() for _ in range(64)))

    def window(
        self, key: Hashable, window: Window, compute: Callable[[Window], Arrays], layers: Sequence[int] | None = None
    ) -> Arrays:
        """Return arrays of a window, put together from blocks.

        Args:
            key: of what is computed; the blocks' places are added.
            window: what is asked for.
            compute: gives the arrays of one block.
            layers: numbers of the arrays that are wanted; none = all.
        """
        row0, row1, col0, col1 = window
        out: list[NDArray[Any]] = []
        for r in range(row0 // SIDE, (row1 - 1) // SIDE + 1):
            for c in range(col0 // SIDE, (col1 - 1) // SIDE + 1):
                block = self._block((key, r, c), (r * SIDE, (r + 1) * SIDE, c * SIDE, (c + 1) * SIDE), compute)
                block = block if layers is None else tuple(block[layer] for layer in layers)
                if not out:
                    out = [np.empty((*a.shape[:-2], row1 - row0, col1 - col0), a.dtype) for a in block]
                top, low = max(row0, r * SIDE), min(row1, (r + 1) * SIDE)
                left, right = max(col0, c * SIDE), min(col1, (c + 1) * SIDE)
                there = (..., slice(top - row0, low - row0), slice(left - col0, right - col0))
                here = (..., slice(top - r * SIDE, low - r * SIDE), slice(left - c * SIDE, right - c * SIDE))
                for target, source in zip(out, block, strict=True):
                    target[there] = source[here]
        return tuple(out)

    def _block(self, key: Hashable, window: Window, compute: Callable[[Window], Arrays]) -> Arrays:
        # One thread computes a block; others that want it wait, for anything else they do not.
        with self._lock:
            found = self._known(key)
        if found is not None:
            return found
        with self._busy[hash(key) % len(self._busy)]:
            with self._lock:
                found = self._known(key)
            if found is not None:
                return found
            made = compute(window)
            with self._lock:
                self._kept[key] = made
                self._size += _bytes(made)
                while self._size > self.bytes and len(self._kept) > 1:
                    _, old = self._kept.popitem(last=False)
                    self._size -= _bytes(old)
            return made

    def _known(self, key: Hashable) -> Arrays | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found


def _bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays)


class Land:
    """The synthetic Earth of a seed."""

    def __init__(self, seed: int, memory: int) -> None:
        """Keep at most ``memory`` bytes of what was computed."""
        self.seed = seed
        self.blocks = Blocks(memory // 2)
        """Of what is made of the ground."""
        self.skies = Blocks(memory // 16)
        """Of clouds: small, and many neighbours want them."""
        self._grounds = Blocks(memory // 8 * 3)
        self._places = Blocks(memory // 16)

    def places(self, lattice: Lattice, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lon and lat of the pixel centres of a window that many dates ask for."""
        lon, lat = self._places.window(lattice, window, lattice.lonlat)
        return lon, lat

    def ground(self, lattice: Lattice, window: Window) -> Ground:
        """Return the ground under the pixel centres of a window."""

        def compute(block: Window) -> Arrays:
            seen = ground(*lattice.lonlat(block), self.seed)
            return seen.height, seen.slope_east, seen.slope_north, seen.classes, seen.variety

        return Ground(*self._grounds.window(lattice, window, compute))

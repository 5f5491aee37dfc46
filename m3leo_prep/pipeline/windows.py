"""Cutting a unit's chips into windows: aligned blocks of the zone, well filled, never the unit's bounding box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.defaults import is_count
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.plan import LayerPlan
from m3leo_prep.core.raster import Item

EDGE = 8
"""Cells along the side of the largest window."""
COMPOSITED_BYTES = 16
"""Working memory of a pixel and band that the source composites: as sent, as float32, and its masks (measured: 14)."""
GROUND_BYTES = 160
"""Working memory of a pixel whose source is told of heights: vectors (measured: 84), and what is kept of places."""
WAITING_EDGE = 4
"""Cells along the side of the smallest window that is cut only for more of them to be under way at once."""
MAX_SPARE = 1.15
"""Cells of a window for each chip in it, at most: with the margin around it, less than 1.2 of what is kept is read."""


@dataclass(frozen=True, slots=True)
class Window:
    """Chips of one zone inside one aligned block, cropped to those present."""

    cells: Cells
    index: NDArray[np.int64]
    """(chip,) position of each chip in the unit."""
    edge: int
    """Cells along the side of the block it was cut from."""

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells (downward, eastward) of the window."""
        return (int(np.ptp(self.cells.row)) + 1, int(np.ptp(self.cells.col)) + 1)

    def geobox(self, pitch: float) -> GeoBox:
        """Return the window's pixels at a pitch in metres."""
        rows, cols = self.shape
        return self.cells.grid.block_geobox(
            int(self.cells.epsg[0]), int(self.cells.col.min()), self._top, cols, rows, pitch
        )

    def places(self) -> Iterator[tuple[int, int, int]]:
        """Yield (position in the unit, rows down, columns right) of each chip in the window."""
        down = abs(self.cells.row - self._top)
        right = self.cells.col - self.cells.col.min()
        yield from zip(self.index.tolist(), down.tolist(), right.tolist(), strict=True)

    def split(self, edge: int | None = None) -> list[Window]:
        """Return the windows of blocks of ``edge`` cells (default: half of this one's) that this one covers."""
        return cut(self.cells, self.index, edge or max(1, self.edge // 2))

    @property
    def _top(self) -> int:
        """Row of the northernmost cells: rows count away from the equator."""
        is_south = int(self.cells.epsg[0]) >= 32700
        return int(self.cells.row.min() if is_south else self.cells.row.max())


def cut(cells: Cells, index: NDArray[np.int64], edge: int = EDGE) -> list[Window]:
    """Return the windows of ``cells`` (whose positions in the unit are ``index``), in order of first chip.

    Windows are aligned blocks of ``edge`` cells, cropped to the chips that are there. A block in which too much lies
    between the chips is cut into its quarters, and so on, so that little more is read than is kept.
    """
    keys = np.stack([cells.epsg, cells.col // edge, cells.row // edge])
    _, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    windows: list[Window] = []
    for block in np.argsort(first):
        members = np.flatnonzero(inverse == block)
        window = Window(cells[members], index[members], edge)
        rows, cols = window.shape
        windows += [window] if rows * cols <= MAX_SPARE * len(window) else window.split()
    return sorted(windows, key=lambda window: int(window.index[0]))


def parts(window: Window, wanted: NDArray[np.bool_], chosen: Sequence[object] | None) -> list[Window]:
    """Return what of a window is read at once: its wanted chips, those of the same items together.

    Args:
        window: of some chips of a unit.
        wanted: (chip of the unit,) which are made.
        chosen: by chip of the unit, what a rule chose for it; None = all are made of whatever reaches the window.
    """
    groups: dict[object, list[int]] = {}
    for place in np.flatnonzero(wanted[window.index]).tolist():
        groups.setdefault(None if chosen is None else chosen[int(window.index[place])], []).append(place)
    found: list[Window] = []
    for members in groups.values():
        places = np.array(members)
        found += [window] if len(places) == len(window) else cut(window.cells[places], window.index[places])
    return found


def is_read_in_parts(need: int, window: Window, work_bytes: int, at_once: int) -> bool:
    """Return whether a window is halved before it is read: for its memory, or so that several are under way at once.

    Args:
        need: bytes of working memory that it takes.
        window: of several chips, or one, which is never cut.
        work_bytes: working memory of a worker.
        at_once: reads of one unit that are worth having under way.
    """
    if len(window) == 1:
        return False
    return need > work_bytes or (window.edge > WAITING_EDGE and need > work_bytes // at_once)


def working_bytes(plan: LayerPlan, window: Window, items: Sequence[Item]) -> int:
    """Return an estimate of the working memory that a window of some items takes."""
    rows, cols = window.shape
    layer = plan.layer
    bands = sum(array.n_bands for array in layer.arrays)
    pixels = rows * cols * layer.size**2 * bands
    native = plan.pitch or layer.pitch
    around = round(2 * plan.ground_reach / layer.pitch)
    ground = (rows * layer.size + around) * (cols * layer.size + around) * GROUND_BYTES if plan.heights else 0
    if all(array.variable.kernel for array in layer.arrays):
        return pixels * COMPOSITED_BYTES + ground
    passes = len({item.acquisition or item.id for item in items})
    per_pixel = 10 * max(1.0, (layer.pitch / native) ** 2) + 10
    if passes > 1:
        kept = any(array.statistic in {"median", "medoid"} for array in layer.arrays)
        per_pixel += 16 * passes if kept else 24
        per_pixel += passes if any(is_count(array) for array in layer.arrays) else 0
    return int(pixels * per_pixel) + ground

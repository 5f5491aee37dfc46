"""Which pixels of a chip lie in its own UTM zone: along seams, chips of two zones hold the same ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.learning.membership import CHIPS

EDGES = (-80.0, 0.0, 56.0, 64.0, 72.0, 84.0)
"""Latitudes where the strips of zones end or change; between them, one meridian parts two zones."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the chips of one dataset lie, in the order of the samples."""

    epsg: NDArray[np.int32]
    x0: NDArray[np.int32]
    """Upper-left corner in m ..."""
    y0: NDArray[np.int32]
    shared: NDArray[np.bool_]
    """True where a part of the chip belongs to another zone."""


def read_places(dataset: Dataset, rows: NDArray[np.int64]) -> Places:
    """Return where chips lie.

    Raises:
        StoreError: ``chips.parquet`` cannot be read.
    """
    table = dataset.table(CHIPS, ["epsg", "x0", "y0", "zone_shared"])
    return Places(*(table[name].to_numpy()[rows] for name in table.column_names))


def owned_mask(places: Places, place: int, size: int, pitch: float) -> NDArray[np.bool_]:
    """Return (y, x), True where a pixel's centre lies in its zone's own strip and hemisphere.

    As ``core.grid.owned_mask``, in a tenth of its time: between two latitudes of ``EDGES`` each line of pixels crosses
    the seam at most once, and the crossing is found by halving.

    Args:
        places: where the chips lie.
        place: of the chip among them.
        size: pixels of a side.
        pitch: of a pixel in m.
    """
    if not places.shared[place]:
        return np.ones((size, size), bool)
    from m3leo_prep.core.zones import unproject, zone_of

    epsg = int(places.epsg[place])
    x = float(places.x0[place]) + (np.arange(size) + 0.5) * pitch
    y = float(places.y0[place]) - (np.arange(size) + 0.5) * pitch

    def owned(lines: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.equal(zone_of(*unproject(epsg, x[columns], y[lines])), epsg)

    lines = np.arange(size)
    corners = unproject(epsg, np.array([x[0], x[-1]] * 2), np.repeat([y[0], y[-1]], 2))[1]
    # Parallels bow by less than 0.0001 degrees inside a chip.
    if np.ptp(np.searchsorted(EDGES, [corners.min() - 1e-3, corners.max() + 1e-3])):
        grid = np.meshgrid(lines, lines, indexing="ij")
        return owned(*grid)
    left, right = owned(lines, np.zeros_like(lines)), owned(lines, np.full_like(lines, size - 1))
    # The crossing lies after `low` and not after `high`; where both ends agree there is none.
    low, high = np.zeros_like(lines), np.where(left == right, size, size - 1)
    while (open_lines := np.flatnonzero((high - low > 1) & (left != right))).size:
        middle = (low[open_lines] + high[open_lines]) // 2
        same = owned(open_lines, middle) == left[open_lines]
        low[open_lines[same]] = middle[same]
        high[open_lines[~same]] = middle[~same]
    return np.equal(np.arange(size) < high[:, None], left[:, None])

"""How the pixel grids of files relate: to each other, and to a chip."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources._native import Window
from m3leo_prep.sources.local.header import Header

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_CHIP_M = 4480.0
_DEAR = 8.0
"""Blocks are dear if a chip makes the reader decode this many times its own pixels (a 512-px COG: 5)."""


def same_grid(a: GeoBox, b: GeoBox) -> bool:
    """Return True for the same pixels; writers differ by some 1e-9 of a pixel."""
    if a.crs != b.crs or tuple(a.shape) != tuple(b.shape):
        return False
    size = math.sqrt(abs(a.transform.determinant))
    rows, cols = a.shape
    corners = [(0, 0), (cols, 0), (0, rows)]
    return all(math.dist(a.transform * corner, b.transform * corner) < 1e-3 * size for corner in corners)


def nearest(grid: GeoBox, other: GeoBox, window: Window, *, axis: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the rows (or columns) of ``other`` under the pixel centres of a window, clipped, and which are inside."""
    first, last = (window.row0, window.row1) if axis == 0 else (window.col0, window.col1)
    centres = np.arange(first, last) + 0.5
    a, b = grid.transform, ~other.transform
    at = b.e * (a.e * centres + a.f) + b.f if axis == 0 else b.a * (a.a * centres + a.c) + b.c
    index = np.floor(at).astype(np.int64)
    size = other.shape[axis]
    return np.clip(index, 0, size - 1), (index >= 0) & (index < size)


def is_dear(head: Header) -> bool:
    """Return True if cutting chips out of a file decodes many times their pixels: JPEG 2000, wide strips."""
    if head.driver.startswith("JP2"):
        return True
    waste = 1.0
    for size, block in zip(head.geobox.shape, head.block, strict=True):
        chip = min(max(_CHIP_M / head.pitch, 1.0), size)
        side = min(block, size)
        waste *= min((chip / side + 1) * side, size) / chip
    return waste > _DEAR

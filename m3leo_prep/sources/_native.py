"""Where a target lies on an item's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, isfinite
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from m3leo_prep.ports.source import READ_MARGIN

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_SLACK_PX = 1
"""Between the sampled points of an outline, a straight edge may bend outward by less than this."""


@dataclass(frozen=True, slots=True)
class Window:
    """Pixels ``[row0, row1) x [col0, col1)`` of a grid, counted from its origin; may be negative."""

    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def is_empty(self) -> bool:
        """True if there is no pixel."""
        return self.row1 <= self.row0 or self.col1 <= self.col0

    def within(self, other: Window) -> Window:
        """Return the pixels that are in both."""
        return Window(
            max(self.row0, other.row0),
            min(self.row1, other.row1),
            max(self.col0, other.col0),
            min(self.col1, other.col1),
        )


@dataclass(frozen=True, slots=True)
class NativeGrid:
    """An endless north-up grid of square pixels: CRS text, pixel size in CRS units, upper-left origin."""

    crs: str
    pitch: float
    x0: float = 0.0
    y0: float = 0.0

    def window(self, geobox: GeoBox, *, about: float | None = None) -> Window:
        """Return the pixels that cover ``geobox`` and the margin of the Source port.

        ``about`` is a longitude: on a lon/lat grid, longitudes are counted within 180 degrees of it (the
        centre of ``geobox`` if None), so that a target across the antimeridian stays in one piece.
        """
        x, y = _outline(geobox.pad(READ_MARGIN))
        x, y = transformer(str(geobox.crs), self.crs).transform(x, y)
        if self.is_lonlat:
            about = float(x[-1]) if about is None else about
            x = about + (x - about + 180.0) % 360.0 - 180.0
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return Window(0, 0, 0, 0)
        more = READ_MARGIN + _SLACK_PX
        cols = (x - self.x0) / self.pitch
        rows = (self.y0 - y) / self.pitch
        return Window(
            floor(rows.min()) - more,
            ceil(rows.max()) + more,
            floor(cols.min()) - more,
            ceil(cols.max()) + more,
        )

    @property
    def is_lonlat(self) -> bool:
        """True for a grid in degrees."""
        return _is_geographic(self.crs)

    def geobox(self, window: Window) -> GeoBox:
        """Return where the pixels of ``window`` are."""
        from affine import Affine
        from odc.geo.geobox import GeoBox

        assert isfinite(self.pitch)
        x, y = self.x0 + window.col0 * self.pitch, self.y0 - window.row0 * self.pitch
        transform = Affine(self.pitch, 0.0, x, 0.0, -self.pitch, y)
        return GeoBox((window.row1 - window.row0, window.col1 - window.col0), transform, self.crs)

    def centres(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return x (per column) and y (per row) of the pixel centres, float64.

        From whole pixel numbers, so that a pixel has the same coordinates, bit for bit, in every window.
        """
        cols = np.arange(window.col0, window.col1, dtype=np.float64)
        rows = np.arange(window.row0, window.row1, dtype=np.float64)
        return self.x0 + (cols + 0.5) * self.pitch, self.y0 - (rows + 0.5) * self.pitch


@lru_cache(maxsize=512)
def transformer(source: str, target: str) -> Transformer:
    """Return the coordinate operation, x before y; safe to share between threads."""
    return Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=512)
def _is_geographic(crs: str) -> bool:
    from pyproj import CRS

    return bool(CRS.from_user_input(crs).is_geographic)


def _outline(geobox: GeoBox, points: int = 33) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of points along the four edges, and last the centre."""
    rows, cols = geobox.shape
    t: NDArray[np.float64] = np.linspace(0.0, 1.0, points)
    zero, one = np.zeros_like(t), np.ones_like(t)
    u = np.concatenate([t, t, zero, one, np.array([0.5])]) * cols
    v = np.concatenate([zero, one, t, t, np.array([0.5])]) * rows
    a = geobox.transform
    return a.a * u + a.b * v + a.c, a.d * u + a.e * v + a.f

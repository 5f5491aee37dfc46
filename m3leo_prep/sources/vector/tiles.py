"""Polygons on a lattice of pixels: tiles that are always rasterised whole, so that no pixel depends on the window."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from math import floor
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.sources._native import transformer
from m3leo_prep.sources.vector.shapes import Shapes

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Codes = tuple[int, ...]
"""Of each polygon."""

TILE = 512
_drawing = Lock()
_STEP = {True: 0.002, False: 200.0}
"""Longest edge, in degrees or metres: a straight edge of it bends by less than a mm in another projection."""
_PAD = {True: 0.02, False: 2000.0}


@dataclass(frozen=True, slots=True)
class Lattice:
    """All pixels of a pitch in a CRS: their corners are ``x0 + k pitch``, ``y0 - k pitch``."""

    crs: str
    pitch: float
    x0: float
    y0: float

    @classmethod
    def of(cls, geobox: GeoBox) -> Lattice:
        """Return the lattice that a north-up geobox is cut from, the same for all windows of it."""
        a = geobox.transform
        assert a.b == a.d == 0
        assert a.a == -a.e > 0
        return cls(str(geobox.crs), a.a, a.c % a.a, a.f % a.a)

    def place(self, geobox: GeoBox) -> tuple[int, int]:
        """Return (row, column) of the upper-left pixel of a geobox."""
        a = geobox.transform
        return round((self.y0 - a.f) / self.pitch), round((a.c - self.x0) / self.pitch)


def window(shapes: Shapes, codes: Codes, geobox: GeoBox) -> NDArray[np.int16]:
    """Return the codes of the polygons under the pixel centres of a geobox, -1 where there is none."""
    lattice = Lattice.of(geobox)
    top, left = lattice.place(geobox)
    rows, cols = geobox.shape
    out = np.empty((rows, cols), np.int16)
    for i in range(floor(top / TILE), floor((top + rows - 1) / TILE) + 1):
        for j in range(floor(left / TILE), floor((left + cols - 1) / TILE) + 1):
            a, b = max(top, i * TILE), min(top + rows, (i + 1) * TILE)
            c, d = max(left, j * TILE), min(left + cols, (j + 1) * TILE)
            tile = _tile(shapes, codes, lattice, i, j)
            out[a - top : b - top, c - left : d - left] = tile[a - i * TILE : b - i * TILE, c - j * TILE : d - j * TILE]
    return out


@lru_cache(maxsize=256)
def _tile(shapes: Shapes, codes: Codes, lattice: Lattice, row: int, col: int) -> NDArray[np.int16]:
    """Return one tile; read-only, because it is shared."""
    from affine import Affine
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.features import rasterize

    side = TILE * lattice.pitch
    x, y = lattice.x0 + col * side, lattice.y0 - row * side
    here = _box(shapes, lattice, (x, y - side, x + side, y))
    found = [] if here is None else sorted(shapes.tree.query(here).tolist())
    drawn = []
    # The first polygon of the file is drawn last, so that it wins.
    for k in reversed(found):
        part = shapely.intersection(shapes.geometry[k], here)
        parts = [one for one in shapely.get_parts(part) if one.area > 0]
        drawn += [(_project(one, shapes, lattice), codes[k]) for one in parts]
    tile = np.full((TILE, TILE), -1, np.int16)
    if drawn:
        transform = Affine(lattice.pitch, 0, x, 0, -lattice.pitch, y)
        # rasterio draws on a picture without a place of its own and says so; filters of warnings are global.
        with _drawing, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            rasterize(drawn, out=tile, transform=transform, all_touched=False)
    tile.setflags(write=False)
    return tile


def _box(shapes: Shapes, lattice: Lattice, bounds: tuple[float, float, float, float]) -> shapely.Polygon | None:
    """Return the rectangle of the file's CRS that holds a tile, and some more; None if it is nowhere there."""
    left, bottom, right, top = transformer(lattice.crs, shapes.crs).transform_bounds(*bounds, densify_pts=21)
    if not np.isfinite([left, bottom, right, top]).all():
        return None
    pad = _PAD[shapes.is_lonlat]
    if right < left:  # across the antimeridian
        left, right = -180.0, 180.0
    box: shapely.Polygon = shapely.box(left - pad, bottom - pad, right + pad, top + pad)
    return box


def _project(polygon: shapely.Polygon, shapes: Shapes, lattice: Lattice) -> shapely.Polygon:
    if shapes.crs == lattice.crs:
        return polygon
    fine = shapely.segmentize(polygon, _STEP[shapes.is_lonlat])
    to = transformer(shapes.crs, lattice.crs)
    moved: shapely.Polygon = shapely.transform(fine, lambda at: np.stack(to.transform(at[:, 0], at[:, 1]), axis=1))
    return moved

"""Where the pixels of a target lie in a source: exact nodes, exact integer arithmetic in between.

Nodes are computed with PROJ, three by three per mesh cell, and a pixel's position is the biquadratic through
them (third-order error: linear cells would have to be 4 px small for 3-arcsec data at 84 N). Positions are
fixed-point int64 with ``SHIFT`` fractional bits and the interpolation weights are integers, so a position has
the same bits whatever block of the target or crop of the source is asked for, on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.errors import TooLarge
from m3leo_prep.ops._operation import METRES_PER_DEGREE, transform

SHIFT = 44
"""Fractional bits of a position in source pixels; what is left holds +-2**19 px."""
MAX_SOURCE_PX = 1 << 17
"""Largest source array along one axis, so that no position can wrap around into it."""
_MAX_STEP_LOG2 = 6
_MAX_CELL_METRES = 2600.0
"""Cells stay below this, so that the third-order error stays below 1e-3 source px up to 84 N."""
_ORIGIN_QUANTUM = 1 << 16
"""An origin is a whole number of pixels plus a multiple of 1/65536: float noise of a crop's affine vanishes."""
_IDENTITY_PITCH = 1e-9


@dataclass(frozen=True, slots=True)
class Origin:
    """The upper-left corner of a geobox in pixels from its CRS's origin, per axis: whole plus fraction."""

    whole: tuple[int, int]
    fraction: tuple[float, float]
    """Multiples of 1/65536 in [0, 1)."""

    @classmethod
    def of(cls, geobox: GeoBox) -> Origin:
        """Return the origin of ``geobox`` as (column, row)."""
        inverse, (x, y) = _inverse(geobox), _corner(geobox)
        whole, fraction = [], []
        for position in inverse @ (x, y):
            base = math.floor(position)
            quantum = round((position - base) * _ORIGIN_QUANTUM)
            whole.append(base + quantum // _ORIGIN_QUANTUM)
            fraction.append((quantum % _ORIGIN_QUANTUM) / _ORIGIN_QUANTUM)
        return cls((whole[0], whole[1]), (fraction[0], fraction[1]))


@dataclass(frozen=True, slots=True)
class Mesh:
    """The nodes that cover one target block."""

    u: NDArray[np.int64]
    """(2 cells_y + 1, 2 cells_x + 1), source column of each node, fixed point, 0 = left edge of the source."""
    v: NDArray[np.int64]
    """The same for source rows."""
    good: NDArray[np.bool_]
    """(cells_y, cells_x), False where the projection is undefined, torn or far outside the source."""
    scale: NDArray[np.float64]
    """(cells_y, cells_x, 2), source pixels per target pixel along source x and y."""
    step: int
    """Target pixels per cell, a power of two."""
    row: int
    """Row of the block's first pixel inside the first cell; cells are anchored to absolute pixel indices."""
    col: int
    shape: tuple[int, int]

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice] | None:
        """Return the (rows, columns) of a source of ``shape`` that any kernel may touch, or None for none."""
        if not self.good.any():
            return None
        margin = 4 + math.ceil(2 * float(self.scale[self.good].max()))
        touched = np.zeros(self.u.shape, bool)
        for i in range(3):
            for j in range(3):
                rows, cols = self.good.shape
                touched[i : i + 2 * rows : 2, j : j + 2 * cols : 2] |= self.good
        spans = []
        for nodes, size in ((self.v, shape[0]), (self.u, shape[1])):
            inside = nodes[touched] >> self._node_bits
            lo, hi = max(0, int(inside.min()) - margin), min(size, int(inside.max()) + 1 + margin)
            if lo >= hi:
                return None
            spans.append(slice(lo, hi))
        return spans[0], spans[1]

    def shifted(self, rows: int, cols: int) -> Mesh:
        """Return the mesh for the source without its first ``rows`` and ``cols``."""
        one = 1 << self._node_bits
        return Mesh(
            self.u - cols * one,
            self.v - rows * one,
            self.good,
            self.scale,
            self.step,
            self.row,
            self.col,
            self.shape,
        )

    @property
    def _node_bits(self) -> int:
        return _node_bits(self.step)


def build(src: GeoBox, dst: GeoBox) -> Mesh:
    """Return the mesh of ``dst`` in pixels of ``src``.

    Raises:
        TooLarge: the source array is larger than ``MAX_SOURCE_PX`` along an axis.
    """
    if max(src.shape) > MAX_SOURCE_PX:
        raise TooLarge(f"source of {tuple(src.shape)} px", hint=f"read windows of at most {MAX_SOURCE_PX} px")
    step = cell_step(dst)
    origin = Origin.of(dst)
    (first_col, n_cols), (first_row, n_rows) = (
        (start // step, -(-(start % step + size) // step))
        for start, size in zip(origin.whole, (dst.shape[1], dst.shape[0]), strict=True)
    )
    half = step // 2
    columns = np.arange(2 * n_cols + 1) * half + first_col * step + origin.fraction[0]
    rows = np.arange(2 * n_rows + 1) * half + first_row * step + origin.fraction[1]
    linear = _linear(dst)
    x = linear[0, 0] * columns[None, :] + linear[0, 1] * rows[:, None]
    y = linear[1, 0] * columns[None, :] + linear[1, 1] * rows[:, None]
    x, y = transform(dst.crs, src.crs, x, y)
    u, v, defined = _fixed_point(src, x, y, _node_bits(step))
    good, scale = _cells(u, v, defined, step, _node_bits(step))
    return Mesh(
        u,
        v,
        good,
        scale,
        step,
        origin.whole[1] - first_row * step,
        origin.whole[0] - first_col * step,
        (dst.shape[0], dst.shape[1]),
    )


def cell_step(dst: GeoBox) -> int:
    """Return the mesh step in target pixels: the largest power of two whose cell is short enough.

    It depends on the target's CRS and pitch only, so that every block of a lattice has the same cells.
    """
    step = 1 << _MAX_STEP_LOG2
    while step > 2 and step * pitch_metres(dst) > _MAX_CELL_METRES:
        step //= 2
    return step


def pitch_metres(geobox: GeoBox) -> float:
    """Return the pixel size in metres, the geometric mean of both axes; a degree counts as at the equator."""
    size = math.sqrt(abs(float(np.linalg.det(_linear(geobox)))))
    return size * METRES_PER_DEGREE if _crs_is_geographic(geobox) else size


def offset_if_aligned(src: GeoBox, dst: GeoBox) -> tuple[int, int, bool] | None:
    """Return the (row, column) in ``src`` of the first pixel of ``dst``, and whether rows run the other way.

    None unless both have the same CRS and pitch and differ by whole pixels.
    """
    if src.crs != dst.crs:
        return None
    ratio = _inverse(src) @ _linear(dst)
    flipped = ratio[1, 1] < 0
    if not np.allclose(ratio, np.diag([1.0, -1.0 if flipped else 1.0]), rtol=0, atol=_IDENTITY_PITCH):
        return None
    corner = _inverse(src) @ (np.asarray(_corner(dst)) - np.asarray(_corner(src)))
    whole = np.rint(corner)
    if np.abs(corner - whole).max() * _ORIGIN_QUANTUM > 1:
        return None
    return int(whole[1]) - int(flipped), int(whole[0]), bool(flipped)


def _node_bits(step: int) -> int:
    """Return the fractional bits of a node: both quadratics multiply it by 2 step**2."""
    return SHIFT - 2 * (1 + 2 * (step.bit_length() - 1))


def _fixed_point(
    src: GeoBox, x: NDArray[np.float64], y: NDArray[np.float64], bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return (u, v, defined) from map coordinates: absolute pixels first, whole offsets in integers after."""
    inverse, origin, one = _inverse(src), Origin.of(src), 1 << bits
    defined = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(defined, x, 0.0), np.where(defined, y, 0.0)
    nodes = []
    for axis in range(2):
        absolute = inverse[axis, 0] * x + inverse[axis, 1] * y
        fixed = np.rint(absolute * one).astype(np.int64)
        start = origin.whole[axis] * one + round(origin.fraction[axis] * _ORIGIN_QUANTUM) * (one // _ORIGIN_QUANTUM)
        nodes.append(fixed - start)
    if _crs_is_geographic(src):
        # Longitudes come as -180...180; take the turn that is nearest to the middle of the source.
        turn = np.rint(360.0 * inverse[:, 0] * one).astype(np.int64)
        axis = int(np.argmax(np.abs(inverse[:, 0])))
        middle = (src.shape[1] if axis == 0 else src.shape[0]) * one // 2
        turns = np.rint((middle - nodes[axis]) / turn[axis]).astype(np.int64)
        nodes = [nodes[k] + turns * turn[k] for k in range(2)]
    for k in range(2):
        defined &= np.abs(nodes[k]) < (2 * MAX_SOURCE_PX) * one
    return nodes[0], nodes[1], defined


def _cells(
    u: NDArray[np.int64], v: NDArray[np.int64], defined: NDArray[np.bool_], step: int, bits: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return per cell whether its nodes are smooth, and its scale."""
    rows, cols = (u.shape[0] - 1) // 2, (u.shape[1] - 1) // 2
    good = np.ones((rows, cols), bool)
    scale = np.empty((rows, cols, 2))

    def corner(nodes: NDArray[np.int64], i: int, j: int) -> NDArray[np.int64]:
        return nodes[i : i + 2 * rows : 2, j : j + 2 * cols : 2]

    for i in range(3):
        for j in range(3):
            good &= defined[i : i + 2 * rows : 2, j : j + 2 * cols : 2]
    for axis, nodes in enumerate((u, v)):
        along = corner(nodes, 1, 2) - corner(nodes, 1, 0)
        down = corner(nodes, 2, 1) - corner(nodes, 0, 1)
        scale[..., axis] = np.hypot(along, down) / float(step << bits)
        # A jump (the edge of a world projection) shows as a second difference; curvature is far smaller.
        limit = (np.abs(along) + np.abs(down)) // 8 + (1 << bits)
        for k in range(3):
            bend_along = corner(nodes, k, 0) - 2 * corner(nodes, k, 1) + corner(nodes, k, 2)
            bend_down = corner(nodes, 0, k) - 2 * corner(nodes, 1, k) + corner(nodes, 2, k)
            good &= (np.abs(bend_along) <= limit) & (np.abs(bend_down) <= limit)
    return good, scale


def _linear(geobox: GeoBox) -> NDArray[np.float64]:
    a = geobox.affine
    return np.array([[a.a, a.b], [a.d, a.e]], float)


def _inverse(geobox: GeoBox) -> NDArray[np.float64]:
    a = geobox.affine
    if a.b == 0 and a.d == 0:
        return np.array([[1 / a.a, 0.0], [0.0, 1 / a.e]])
    determinant = a.a * a.e - a.b * a.d
    return np.array([[a.e, -a.b], [-a.d, a.a]], float) / determinant


def _corner(geobox: GeoBox) -> tuple[float, float]:
    return geobox.affine.c, geobox.affine.f


def _crs_is_geographic(geobox: GeoBox) -> bool:
    return geobox.crs is not None and bool(geobox.crs.geographic)

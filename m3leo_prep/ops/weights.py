"""Which source pixels made one target pixel, and with what weight: asked of the kernels, not computed again.

Every source pixel near the target is set to one in turn, all others to zero, and warped as the data were: what comes
out is the weight of that pixel, with the mask, the labels and the renormalisation of the kernel that was used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.ops import _mesh
from m3leo_prep.ops.warp import QUADRATURE, Method, is_coarse, warp

MAX_PIXELS = 4096
"""A target pixel made of more source pixels than this keeps its weights to itself."""
_MARGIN = 4
"""Pixels that a crop needs beyond the reach of the kernel."""
_AT_ONCE = 64
"""Impulses that are warped together, as bands."""


Response = Callable[[NDArray[Any]], NDArray[np.float64]]
"""From (n, y, x) impulses to the (n,) values that the target pixel takes."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The source pixels under a kernel, row by row."""

    rows: NDArray[np.int64]
    """(n,) rows in the source; those outside of its array are never valid."""
    cols: NDArray[np.int64]
    used: NDArray[np.float64]
    """(n,) weights over the valid pixels; all 0 where too little was valid."""
    whole: NDArray[np.float64]
    """(n,) weights that they would have if all were valid."""


def position(src: GeoBox, pixel: GeoBox) -> tuple[float, float] | None:
    """Return (column, row) in ``src`` of the centre of the one-pixel ``pixel``, 0 = the outer edge of its first pixel.

    None where the projection is undefined.
    """
    from m3leo_prep.ops._point import place

    mesh = _mesh.build(src, pixel)
    if not mesh.good[0, 0]:
        return None
    found = np.empty(1, np.int64)
    at = []
    for nodes in (mesh.u, mesh.v):
        place(nodes, 0, 0, mesh.step, 2 * mesh.row + 1, 2 * mesh.col + 1, 1, found)
        at.append(float(found[0]) / (1 << _mesh.SHIFT))
    return at[0], at[1]


def linear_form(method: Method, src: GeoBox, dst: GeoBox) -> Method:
    """Return the method whose weights are those of ``method``: codes by area, directions as vectors.

    Those of a standard deviation are those of the quantity that it belongs to.
    """
    if method in {Method.mode, Method.bitor}:
        return Method.average
    if method in {Method.complex, Method.angle}:
        return Method.average if is_coarse(src, dst) else Method.bilinear
    return QUADRATURE.get(method, method)


def weights(
    valid: NDArray[np.bool_],
    src: GeoBox,
    pixel: GeoBox,
    method: Method,
    *,
    components: NDArray[Any] | None = None,
    dtype: np.dtype[Any] | None = None,
) -> Weights | None:
    """Return what each source pixel counts for in one target pixel; None if there are more than ``MAX_PIXELS``.

    ``sum`` counts amounts (the share of a source pixel that lies in the target); all others add up to 1.

    Args:
        valid: (y, x), True where a source pixel may be used.
        src: where they lie.
        pixel: the target, one pixel.
        method: the kernel; see ``linear_form``.
        components: (y, x) labels, for ``component`` only.
        dtype: of the data, which decides the precision of the kernel (default: float32).
    """
    at = position(src, pixel)
    nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0)
    if at is None:
        return Weights(*nothing)
    scale = _mesh.build(src, pixel).scale[0, 0]
    # The widest kernel, the widened B-spline, reaches two target pixels; four taps reach two source pixels.
    reach = [ceil(2 * max(1.0, float(s))) + 1 for s in scale]
    col0, row0 = (floor(c) - r - _MARGIN for c, r in zip(at, reach, strict=True))
    shape = (2 * (reach[1] + _MARGIN) + 1, 2 * (reach[0] + _MARGIN) + 1)
    crop = GeoBox(shape, src.affine @ src.affine.translation(col0, row0), src.crs)
    mask = _crop(valid, row0, col0, shape, fill=False)
    # Outside of the array there is no component: a label that no pixel has.
    labels = None if components is None else _crop(components, row0, col0, shape, fill=int(components.min()) - 1)
    kernel = linear_form(method, src, pixel)
    work = np.result_type(dtype or np.float32, np.float32)

    def through(where: NDArray[np.bool_]) -> Response:
        def response(impulses: NDArray[Any]) -> NDArray[np.float64]:
            there = np.broadcast_to(where, impulses.shape)
            values, ok = warp(impulses, there, crop, pixel, kernel, components=labels)
            return np.where(ok, values, 0)[:, 0, 0].astype(np.float64)

        return response

    everywhere = through(np.ones(shape, bool))
    rows, cols = _support(everywhere, shape, work)
    if len(rows) * len(cols) > MAX_PIXELS:
        return None
    places = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)
    used, whole = (_each(response, places, shape, work) for response in (through(mask), everywhere))
    keep = (used != 0) | (whole != 0)
    return Weights(places[keep, 0] + row0, places[keep, 1] + col0, used[keep], whole[keep])


def _crop(values: NDArray[Any], row0: int, col0: int, shape: tuple[int, int], *, fill: Any) -> NDArray[Any]:
    """Return a window of an array that may reach beyond it."""
    out = np.full(shape, fill, values.dtype if values.dtype == bool else np.int64)
    top, left = max(0, row0), max(0, col0)
    low, right = min(values.shape[0], row0 + shape[0]), min(values.shape[1], col0 + shape[1])
    if top < low and left < right:
        out[top - row0 : low - row0, left - col0 : right - col0] = values[top:low, left:right]
    return out


def _support(response: Response, shape: tuple[int, int], dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the rows and the columns that count for anything: whole ones are set to one in turn."""
    found = []
    for axis in range(2):
        sums = []
        for first in range(0, shape[axis], _AT_ONCE):
            lines = np.arange(first, min(first + _AT_ONCE, shape[axis]))
            impulses = np.zeros((len(lines), *shape), dtype)
            for band, line in enumerate(lines):
                impulses[(band, line) if axis == 0 else (band, slice(None), line)] = 1
            sums.append(response(impulses))
        found.append(np.flatnonzero(np.concatenate(sums)))
    return found[0], found[1]


def _each(
    response: Response, places: NDArray[np.int64], shape: tuple[int, int], dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    """Return the weight of each of ``places``, (n, 2) rows and columns."""
    found = [np.empty(0)]
    for first in range(0, len(places), _AT_ONCE):
        part = places[first : first + _AT_ONCE]
        impulses = np.zeros((len(part), *shape), dtype)
        impulses[np.arange(len(part)), part[:, 0], part[:, 1]] = 1
        found.append(response(impulses))
    return np.concatenate(found)

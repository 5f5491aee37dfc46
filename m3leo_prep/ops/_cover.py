"""Exact covered areas for a batch of target pixels at once, without a branch, so that the CPU's vectors are used.

A target pixel is the quadrilateral of its four corners, which neighbours share, so no area is lost or counted
twice. What lies to the right of x = c in one source row follows from the edges alone: an edge adds the integral
of max(x - c, 0) over its heights in that row (Green's theorem), with its sign. Differences along c are the
covered areas. On a straight edge that integral is a difference of squares over twice the slope.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np

from m3leo_prep.ops._mesh import SHIFT

LANES = 64
"""Target pixels in a batch. No result depends on it, or on what else is in the batch."""

_UNIT = 2.0**-SHIFT
_STEEP, _SHORT = 1e-7, 2e-8
"""An edge this close to vertical (dx / dy, and in pixels) is vertical: the squares would cancel. It moves by half
of this, and both of its neighbours agree."""
_MARGIN = 1e-6
"""An edge may leave its end by rounding."""

_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


class Batch(NamedTuple):
    """Scratch of one thread; corners and edges lie one after the other, ``LANES`` each."""

    x: Any
    """Corners, 4 + the first again, in source pixels from the upper-left of the source pixels touched."""
    y: Any
    left: Any
    """First source column touched, per lane."""
    top: Any
    whole: Any
    """Area of the target pixel in source pixels."""
    slope: Any
    """dx / dy of each edge, 0 if vertical or without height."""
    middle: Any
    half: Any
    low: Any
    high: Any
    at: Any
    """Where each edge is at the lower border of the current row."""
    upright: Any
    """The sign of a vertical edge, else 0."""
    reach: Any
    """(edge, 3): first and last row and last column of all lanes' edges."""


@_jit
def new_batch() -> Batch:
    """Return an empty batch."""
    edges = 4 * LANES
    return Batch(
        np.zeros(edges + LANES),
        np.zeros(edges + LANES),
        np.zeros(LANES, np.int64),
        np.zeros(LANES, np.int64),
        np.zeros(LANES),
        np.zeros(edges),
        np.zeros(edges),
        np.zeros(edges),
        np.zeros(edges),
        np.zeros(edges),
        np.zeros(edges),
        np.zeros(edges),
        np.zeros((4, 3), np.int64),
    )


@_jit
def touched(p0: Any, p1: Any, n: int, first: Any, size: Any) -> int:
    """Write the first source pixel and the number touched along one axis; return the largest number.

    A target pixel lies between the corners k and k + 1 of the rows ``p0`` and ``p1``.
    """
    for k in range(n):
        first[k] = min(min(p0[k], p1[k]), min(p0[k + 1], p1[k + 1])) >> SHIFT
    for k in range(n):
        size[k] = (max(max(p0[k], p1[k]), max(p0[k + 1], p1[k + 1])) >> SHIFT) - first[k] + 1
    most = 0
    for k in range(n):
        most = max(most, size[k])
    return most


@_jit
def corners(p0: Any, p1: Any, n: int, first: Any, at: Any) -> None:
    """Write one axis of the corners of ``n`` target pixels between the rows ``p0`` and ``p1`` to ``at``."""
    for k in range(n):
        at[k] = (p0[k] - (first[k] << SHIFT)) * _UNIT
        at[LANES + k] = (p0[k + 1] - (first[k] << SHIFT)) * _UNIT
        at[2 * LANES + k] = (p1[k + 1] - (first[k] << SHIFT)) * _UNIT
        at[3 * LANES + k] = (p1[k] - (first[k] << SHIFT)) * _UNIT
        at[4 * LANES + k] = at[k]


@_jit
def move(batch: Batch, k: int, other: Batch, n: int) -> None:
    """Copy lane ``k`` to lane ``n`` of another batch."""
    other.left[n], other.top[n] = batch.left[k], batch.top[k]
    for m in range(0, 5 * LANES, LANES):
        other.x[m + n], other.y[m + n] = batch.x[m + k], batch.y[m + k]


@_jit
def prepare(batch: Batch, n: int) -> bool:
    """Compute edges and areas of ``n`` target pixels; return whether any edge is vertical.

    Idle lanes repeat the first.
    """
    x, y, whole, slope, middle, half = batch.x, batch.y, batch.whole, batch.slope, batch.middle, batch.half
    for k in range(n, LANES):
        move(batch, 0, batch, k)
    for k in range(LANES):
        down = (x[2 * LANES + k] - x[k]) * (y[LANES + k] - y[3 * LANES + k])
        whole[k] = 0.5 * (down - (x[LANES + k] - x[3 * LANES + k]) * (y[2 * LANES + k] - y[k]))
    for e in range(4):
        for k in range(e * LANES, e * LANES + LANES):
            dx, dy = x[k + LANES] - x[k], y[k + LANES] - y[k]
            vertical = abs(dx) < _STEEP * abs(dy) + _SHORT or dy == 0
            slope[k] = 0.0 if vertical else dx / dy
            middle[k] = 0.5 * (x[k] + x[k + LANES]) - slope[k] * (0.5 * (y[k] + y[k + LANES]))
            sign = 0.5 if (dy > 0) == (whole[k - e * LANES] < 0) else -0.5
            half[k] = 0.0 if vertical else sign * dy / dx
            batch.upright[k] = 2.0 * sign if vertical and dy != 0 else 0.0
            batch.low[k] = min(y[k], y[k + LANES])
            batch.high[k] = max(y[k], y[k + LANES])
    for k in range(LANES):
        whole[k] = abs(whole[k])
    for e in range(4):
        least, most, right = np.int64(1 << 40), np.int64(0), np.int64(0)
        for k in range(e * LANES, e * LANES + LANES):
            least, most = min(least, np.int64(batch.low[k])), max(most, np.int64(batch.high[k]))
            right = max(right, np.int64(x[k] + _MARGIN), np.int64(x[k + LANES] + _MARGIN))
        batch.reach[e, 0], batch.reach[e, 1], batch.reach[e, 2] = least, most, right
    uprights = 0
    for k in range(4 * LANES):
        uprights += np.int64(batch.upright[k] != 0)
    return uprights > 0


@_jit
def _place(border: float, low: Any, high: Any, slope: Any, middle: Any, at: Any) -> None:
    """Write where each edge is at y = ``border``, or at the end that is nearer to it."""
    for k in range(4 * LANES):
        y = max(low[k], border)
        y = min(high[k], y)
        at[k] = middle[k] + slope[k] * y


@_jit
def _right_of(c: float, at: Any, half: Any, past: Any, area: Any) -> None:
    """Add one edge's share of the area right of column ``c``; ``past`` holds the squares at the upper border."""
    for k in range(LANES):
        square = at[k] - c
        square = square if square > 0 else 0.0
        square *= square
        area[k] += (square - past[k]) * half[k]
        past[k] = square


@_jit
def _right_of_upright(c: float, border: float, low: Any, high: Any, middle: Any, upright: Any, area: Any) -> None:
    """Add the share of vertical edges."""
    for k in range(LANES):
        y1 = border if border < high[k] else high[k]
        y0 = border - 1.0
        y0 = y0 if y0 > low[k] else low[k]
        length, beyond = y1 - y0, middle[k] - c
        length = length if length > 0 else 0.0
        beyond = beyond if beyond > 0 else 0.0
        area[k] += upright[k] * length * beyond


@_jit
def cover_row(batch: Batch, border: int, nx: int, upright: bool, past: Any, cover: Any) -> None:
    """Write the areas covered above y = ``border`` in its source row to ``cover``, (nx + 1, lane) flat.

    To be called from 0, which only sets ``past`` (4 edges, nx, lane), downward.
    """
    at, half = batch.at, batch.half
    _place(float(border), batch.low, batch.high, batch.slope, batch.middle, at)
    for k in range((nx + 1) * LANES):
        cover[k] = 0.0
    for e in range(4):
        # What is skipped adds exactly 0: rows that no lane's edge is in and columns right of all of them.
        if border > 0 and not batch.reach[e, 0] < border <= batch.reach[e, 1] + 1:
            continue
        lanes = slice(e * LANES, e * LANES + LANES)
        for c in range(min(nx, batch.reach[e, 2] + 1)):
            o, area = (e * nx + c) * LANES, cover[c * LANES : c * LANES + LANES]
            _right_of(float(c), at[lanes], half[lanes], past[o : o + LANES], area)
            if upright:
                _right_of_upright(
                    float(c),
                    float(border),
                    batch.low[lanes],
                    batch.high[lanes],
                    batch.middle[lanes],
                    batch.upright[lanes],
                    area,
                )
    for k in range(nx * LANES):
        cover[k] -= cover[k + LANES]

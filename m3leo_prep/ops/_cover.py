"""Exact covered areas for a batch of target pixels at once, without branches, so that the CPU's vectors are used.

A target pixel is the quadrilateral of its four corners, which neighbours share, so no area is lost or counted
twice. What lies to the right of x = c in one source row follows from the edges alone: an edge adds the integral
of max(x - c, 0) over its heights in that row (Green's theorem), with its sign. Differences along c are the
covered areas. On a straight edge that integral is a difference of squares over twice the slope.

A batch is two flat arrays, lanes one after the other. numba counts references to every array at every call, so
hot loops call nothing, slice nothing, and are handed few arrays; its unsigned indices are never negative.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from m3leo_prep.ops._mesh import SHIFT

LANES = 64
"""Target pixels in a batch. No result depends on it, or on what else is in the batch."""
ULANES = np.uint64(LANES)

# Where the numbers of a batch begin: corners (four, and the first again), in source pixels from the upper-left
# of those touched, then four edges each of dx / dy (0 if vertical), x at y = 0, half of dy / dx with its sign,
# least and most y, x at the current row's lower border, and the sign of a vertical edge.
_X, _Y = 0, 5 * LANES
_SLOPE, _MIDDLE, _HALF = 10 * LANES, 14 * LANES, 18 * LANES
_LOW, _HIGH, _AT, _UPRIGHT = 22 * LANES, 26 * LANES, 30 * LANES, 34 * LANES
WHOLE = 38 * LANES
"""Area of the target pixel in source pixels."""
_REALS = 39 * LANES

LEFT, TOP, NX, NY = 0, LANES, 2 * LANES, 3 * LANES
"""First source column and row touched, and how many of them."""
ROW, COL = 4 * LANES, 5 * LANES
"""Target pixel."""
CENTRE_Y, CENTRE_X, LABEL = 6 * LANES, 7 * LANES, 8 * LANES
"""Source pixel under the target's centre (-1 outside of the source) and its label, where labels count."""
EXTENT = 9 * LANES
"""Most columns and rows of all lanes."""
_VERTICAL = EXTENT + 2
"""Whether any edge is vertical."""
_REACH = EXTENT + 3
"""Per edge: first row, last row and last column of all lanes."""
_INTEGERS = _REACH + 12

_UNIT = 2.0**-SHIFT
_STEEP, _SHORT = 1e-7, 2e-8
"""An edge this close to vertical (dx / dy, and in pixels) is vertical: the squares would cancel. It moves by half
of this, and both of its neighbours agree."""
_MARGIN = 1e-6
"""An edge may leave its end by rounding."""

_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_jit
def new_batch() -> tuple[Any, Any]:
    """Return the numbers and the integers of an empty batch."""
    return np.zeros(_REALS), np.zeros(_INTEGERS, np.int64)


@_jit
def touched(p0: Any, p1: Any, n: int, first: Any, size: Any) -> None:
    """Write the first source pixel and the number touched along one axis.

    A target pixel lies between the corners k and k + 1 of the rows ``p0`` and ``p1``.
    """
    for k in range(n):
        first[k] = min(p0[k], p1[k], p0[k + 1], p1[k + 1]) >> SHIFT
    for k in range(n):
        size[k] = (max(p0[k], p1[k], p0[k + 1], p1[k + 1]) >> SHIFT) - first[k] + 1


@_jit
def add(
    reals: Any, integers: Any, n: int, m: int, x0: Any, y0: Any, x1: Any, y1: Any, box: Any, k: int, row: int, col: int
) -> None:
    """Put ``m`` target pixels from corner ``k`` on into the lanes from ``n`` on; ``col`` is that of the first.

    ``box`` (4, corner) holds the first source column and row and the sizes of each.
    """
    most_x, most_y = integers[EXTENT], integers[EXTENT + 1]
    for j in range(m):
        left, top, nx, ny = box[0, k + j], box[1, k + j], box[2, k + j], box[3, k + j]
        integers[LEFT + n + j], integers[TOP + n + j] = left, top
        integers[NX + n + j], integers[NY + n + j] = nx, ny
        integers[ROW + n + j], integers[COL + n + j] = row, col + j
        most_x, most_y = max(most_x, nx), max(most_y, ny)
    integers[EXTENT], integers[EXTENT + 1] = most_x, most_y
    for j in range(m):
        at_x, at_y = box[0, k + j] << SHIFT, box[1, k + j] << SHIFT
        reals[_X + n + j] = (x0[k + j] - at_x) * _UNIT
        reals[_Y + n + j] = (y0[k + j] - at_y) * _UNIT
        reals[_X + LANES + n + j] = (x0[k + j + 1] - at_x) * _UNIT
        reals[_Y + LANES + n + j] = (y0[k + j + 1] - at_y) * _UNIT
        reals[_X + 2 * LANES + n + j] = (x1[k + j + 1] - at_x) * _UNIT
        reals[_Y + 2 * LANES + n + j] = (y1[k + j + 1] - at_y) * _UNIT
        reals[_X + 3 * LANES + n + j] = (x1[k + j] - at_x) * _UNIT
        reals[_Y + 3 * LANES + n + j] = (y1[k + j] - at_y) * _UNIT
        reals[_X + 4 * LANES + n + j] = reals[_X + n + j]
        reals[_Y + 4 * LANES + n + j] = reals[_Y + n + j]


@_jit
def move(reals: Any, integers: Any, k: int, other_reals: Any, other_integers: Any, n: int) -> None:
    """Copy lane ``k`` to lane ``n`` of another batch."""
    for m in range(0, 10 * LANES, LANES):
        other_reals[m + n] = reals[m + k]
    for m in range(0, EXTENT, LANES):
        other_integers[m + n] = integers[m + k]
    for m in range(EXTENT, EXTENT + 2):
        other_integers[m] = max(other_integers[m], integers[m])


@_jit
def prepare(reals: Any, integers: Any, n: int) -> None:
    """Compute edges and areas of ``n`` target pixels; idle lanes repeat the first."""
    for k in range(n, LANES):
        move(reals, integers, 0, reals, integers, k)
    for k in range(LANES):
        x, y = _X + k, _Y + k
        down = (reals[x + 2 * LANES] - reals[x]) * (reals[y + LANES] - reals[y + 3 * LANES])
        across = (reals[x + LANES] - reals[x + 3 * LANES]) * (reals[y + 2 * LANES] - reals[y])
        reals[WHOLE + k] = 0.5 * (down - across)
    for e in range(0, 4 * LANES, LANES):
        for k in range(LANES):
            x0, y0 = reals[_X + e + k], reals[_Y + e + k]
            x1, y1 = reals[_X + LANES + e + k], reals[_Y + LANES + e + k]
            dx, dy = x1 - x0, y1 - y0
            vertical = abs(dx) < _STEEP * abs(dy) + _SHORT or dy == 0
            slope = 0.0 if vertical else dx / dy
            sign = 0.5 if (dy > 0) == (reals[WHOLE + k] < 0) else -0.5
            reals[_SLOPE + e + k] = slope
            reals[_MIDDLE + e + k] = 0.5 * (x0 + x1) - slope * (0.5 * (y0 + y1))
            reals[_HALF + e + k] = 0.0 if vertical else sign * dy / dx
            reals[_UPRIGHT + e + k] = 2.0 * sign if vertical and dy != 0 else 0.0
            reals[_LOW + e + k] = min(y0, y1)
            reals[_HIGH + e + k] = max(y0, y1)
    for k in range(WHOLE, WHOLE + LANES):
        reals[k] = abs(reals[k])
    verticals = 0
    for e in range(4):
        least, most, right = np.int64(1 << 40), np.int64(0), np.int64(0)
        for k in range(e * LANES, e * LANES + LANES):
            least, most = min(least, np.int64(reals[_LOW + k])), max(most, np.int64(reals[_HIGH + k]))
            right = max(right, np.int64(reals[_X + k] + _MARGIN), np.int64(reals[_X + LANES + k] + _MARGIN))
            verticals += 1 if reals[_UPRIGHT + k] != 0 else 0
        integers[_REACH + 3 * e], integers[_REACH + 3 * e + 1], integers[_REACH + 3 * e + 2] = least, most, right
    integers[_VERTICAL] = verticals


@_jit
def cover_row(reals: Any, integers: Any, border: int, past: Any, cover: Any, first: int) -> None:
    """Write the areas covered above y = ``border`` in its source row to ``cover``, (columns + 1, lane) flat.

    To be called from 0, which only sets ``past`` (4 edges, columns, lane), downward. ``first`` is where to write.
    ``past`` holds the squares at the row's upper border.
    """
    nx, y_max = integers[EXTENT], float(border)
    for k in range(4 * LANES):
        y = max(reals[_LOW + k], y_max)
        y = min(reals[_HIGH + k], y)
        reals[_AT + k] = reals[_MIDDLE + k] + reals[_SLOPE + k] * y
    for k in range(np.uint64(first), np.uint64(first + (nx + 1) * LANES)):
        cover[k] = 0.0
    for e in range(4):
        # What is skipped adds exactly 0: rows that no lane's edge is in and columns right of all of them.
        if border > 0 and not integers[_REACH + 3 * e] < border <= integers[_REACH + 3 * e + 1] + 1:
            continue
        at, half = np.uint64(_AT + e * LANES), np.uint64(_HALF + e * LANES)
        low, high = np.uint64(_LOW + e * LANES), np.uint64(_HIGH + e * LANES)
        middle, upright = np.uint64(_MIDDLE + e * LANES), np.uint64(_UPRIGHT + e * LANES)
        for c in range(min(nx, integers[_REACH + 3 * e + 2] + 1)):
            o, p, x = np.uint64((e * nx + c) * LANES), np.uint64(first + c * LANES), float(c)
            for k in range(ULANES):
                square = reals[at + k] - x
                square = square if square > 0 else 0.0
                square *= square
                cover[p + k] += (square - past[o + k]) * reals[half + k]
                past[o + k] = square
            if integers[_VERTICAL] > 0:
                for k in range(ULANES):
                    lower = min(reals[high + k], y_max)
                    upper = max(reals[low + k], y_max - 1.0)
                    length, beyond = lower - upper, reals[middle + k] - x
                    length = length if length > 0 else 0.0
                    beyond = beyond if beyond > 0 else 0.0
                    cover[p + k] += reals[upright + k] * length * beyond
    for k in range(np.uint64(first), np.uint64(first + nx * LANES)):
        cover[k] -= cover[k + ULANES]

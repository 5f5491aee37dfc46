"""Kernels that weigh source pixels by the exact area a target pixel covers of them.

A target pixel is the quadrilateral of its four corners, which neighbours share, so no area is lost or counted
twice. The overlap with every source pixel comes from its edges alone: an edge that crosses a source row adds
the signed area to its right, and a running sum along the row turns these into covered areas.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from m3leo_prep.ops._mesh import SHIFT
from m3leo_prep.ops._point import place

_NOTHING = 1e-9
"""Covered areas below this (in source pixels) are rounding."""
_SLIVER = 1e-3
"""Bits count from pixels that cover at least this share of the target: a sub-pixel shift does not dilate."""

_UNIT = 2.0**-SHIFT

AVERAGE = 0
SUM = 1
MODE = 2
BITOR = 3

_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
_inline = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", inline="always")


@_inline
def _edge(cover: Any, width: int, xa: float, ya: float, xb: float, yb: float, sign: float) -> None:
    """Add one edge to ``cover``: per source row, differences along x of the signed area to its right.

    A piece of height h whose middle lies a share m into its pixel covers h (1 - m) of that pixel and h of all
    further right. The walk follows the longer axis, so that each step crosses at most one border of the other.
    """
    dx, dy = xb - xa, yb - ya
    if dy == 0:
        return
    steep = abs(dy) >= abs(dx)
    if (dy if steep else dx) < 0:
        xa, ya, xb, yb, sign = xb, yb, xa, ya, -sign
    x, y = xa, ya
    # Both parts of a step are always added, the first one empty if no border is crossed: which of the two it
    # is looks random to the branch predictor.
    if steep:
        slope, inverse = dx / dy, dy / dx
        for row in range(int(ya), int(yb) + 1):
            next_y = min(yb, row + 1.0)
            next_x = x + slope * (next_y - y)
            near, far = int(x), int(next_x)
            crossed = near != far
            border = float(max(near, far)) if crossed else x
            up = (border - x) * inverse if crossed else 0.0
            at = row * width
            height = sign * up
            before = height * (0.5 * (x + border) - near)
            cover[at + near] += height - before
            cover[at + near + 1] += before
            height = sign * (next_y - y - up)
            before = height * (0.5 * (border + next_x) - far)
            cover[at + far] += height - before
            cover[at + far + 1] += before
            x, y = next_x, next_y
    else:
        slope, inverse = dy / dx, dx / dy
        for column in range(int(xa), int(xb) + 1):
            next_x = min(xb, column + 1.0)
            next_y = y + slope * (next_x - x)
            near, far = int(y), int(next_y)
            crossed = near != far
            border = float(max(near, far)) if crossed else y
            middle = x + (border - y) * inverse if crossed else x
            height = sign * (border - y)
            before = height * (0.5 * (x + middle) - column)
            cover[near * width + column] += height - before
            cover[near * width + column + 1] += before
            height = sign * (next_y - border)
            before = height * (0.5 * (middle + next_x) - column)
            cover[far * width + column] += height - before
            cover[far * width + column + 1] += before
            x, y = next_x, next_y


@_jit
def _quad(cover: Any, corners: Any, nx: int, ny: int) -> float:
    """Write the target pixel with ``corners`` to ``cover``, (ny + 1, nx + 2) flat; return its area.

    The running sum of a row, from left to right, is the area covered of each source pixel. Corners are x and
    y, 4 + the first again, in source pixels from the upper-left of those touched. The last row and the last two
    columns take what rounding puts on the border.
    """
    x, y = corners[0], corners[1]
    area: float = 0.5 * ((x[2] - x[0]) * (y[1] - y[3]) - (x[1] - x[3]) * (y[2] - y[0]))
    if nx == 1 and ny == 1:
        cover[0] = abs(area)
        return abs(area)
    cover[: (nx + 2) * (ny + 1)] = 0.0
    turn = 1.0 if area > 0 else -1.0
    for k in range(4):
        _edge(cover, nx + 2, x[k], y[k], x[k + 1], y[k + 1], turn)
    return abs(area)


@_jit
def average(
    src: Any,
    labels: Any,
    u: Any,
    v: Any,
    good: Any,
    kind: int,
    step: int,
    row: int,
    col: int,
    min_weight: float,
    out: Any,
    ok: Any,
) -> None:
    """Fill ``out`` and ``ok`` with the area-weighted mean or, for ``SUM``, the total.

    With ``labels`` (y, x) not empty, only pixels with the label under the target's centre count.
    """
    bands, height, width = src.shape
    rows, cols = out.shape[1:]
    nan, one_component = src.dtype.type(np.nan), labels.size > 0
    px0, py0 = np.empty(step + 1, np.int64), np.empty(step + 1, np.int64)
    px1, py1 = np.empty(step + 1, np.int64), np.empty(step + 1, np.int64)
    pxc, pyc = np.empty(step, np.int64), np.empty(step, np.int64)
    cover, corners = np.empty(64), np.empty((2, 5))
    for cell_row in range(good.shape[0]):
        for cell_col in range(good.shape[1]):
            j0 = max(0, cell_col * step - col)
            n = min(cols, (cell_col + 1) * step - col) - j0
            t_col = 2 * (j0 + col - cell_col * step)
            for i in range(max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)):
                out[:, i, j0 : j0 + n] = nan
                ok[:, i, j0 : j0 + n] = False
                if not good[cell_row, cell_col]:
                    continue
                t_row = 2 * (i + row - cell_row * step)
                place(u, cell_row, cell_col, step, t_row, t_col, n + 1, px0)
                place(v, cell_row, cell_col, step, t_row, t_col, n + 1, py0)
                place(u, cell_row, cell_col, step, t_row + 2, t_col, n + 1, px1)
                place(v, cell_row, cell_col, step, t_row + 2, t_col, n + 1, py1)
                if one_component:
                    place(u, cell_row, cell_col, step, t_row + 1, t_col + 1, n, pxc)
                    place(v, cell_row, cell_col, step, t_row + 1, t_col + 1, n, pyc)
                for k in range(n):
                    x0 = min(px0[k], px0[k + 1], px1[k], px1[k + 1]) >> SHIFT
                    y0 = min(py0[k], py0[k + 1], py1[k], py1[k + 1]) >> SHIFT
                    nx = (max(px0[k], px0[k + 1], px1[k], px1[k + 1]) >> SHIFT) - x0 + 1
                    ny = (max(py0[k], py0[k + 1], py1[k], py1[k + 1]) >> SHIFT) - y0 + 1
                    if x0 >= width or y0 >= height or x0 + nx <= 0 or y0 + ny <= 0:
                        continue
                    if cover.size < (nx + 2) * (ny + 1):
                        cover = np.empty(2 * (nx + 2) * (ny + 1))
                    for m, n_m in ((0, k), (1, k + 1), (4, k)):
                        corners[0, m] = (px0[n_m] - (x0 << SHIFT)) * _UNIT
                        corners[1, m] = (py0[n_m] - (y0 << SHIFT)) * _UNIT
                    for m, n_m in ((2, k + 1), (3, k)):
                        corners[0, m] = (px1[n_m] - (x0 << SHIFT)) * _UNIT
                        corners[1, m] = (py1[n_m] - (y0 << SHIFT)) * _UNIT
                    whole = _quad(cover, corners, nx, ny)
                    label = np.int64(0)
                    if one_component:
                        x, y = pxc[k] >> SHIFT, pyc[k] >> SHIFT
                        if not (0 <= x < width and 0 <= y < height):
                            continue
                        label = np.int64(labels[y, x])
                    for b in range(bands):
                        if one_component and not np.isfinite(src[b, y, x]):
                            continue
                        total, weight = 0.0, 0.0
                        for m in range(max(0, -y0), min(ny, height - y0)):
                            covers, values = cover[m * (nx + 2) :], src[b, y0 + m]
                            covered = 0.0
                            for c in range(-x0):
                                covered += covers[c]
                            for c in range(max(0, -x0), min(nx, width - x0)):
                                covered += covers[c]
                                value = values[x0 + c]
                                if np.isfinite(value) and not (one_component and labels[y0 + m, x0 + c] != label):
                                    total += covered * value
                                    weight += covered
                        if weight > _NOTHING and weight >= min_weight * whole:
                            out[b, i, j0 + k] = total if kind == SUM else total / weight
                            ok[b, i, j0 + k] = True


@_jit
def _uniform(src: Any, valid: Any, x0: int, y0: int, nx: int, ny: int) -> bool:
    """Return whether all these pixels are valid and alike in each band: then their areas do not matter."""
    if x0 < 0 or y0 < 0 or x0 + nx > src.shape[2] or y0 + ny > src.shape[1]:
        return False
    for b in range(src.shape[0]):
        code = src[b, y0, x0]
        for y in range(y0, y0 + ny):
            for x in range(x0, x0 + nx):
                if src[b, y, x] != code or not valid[b, y, x]:
                    return False
    return True


@_jit
def codes(
    src: Any,
    valid: Any,
    lowest: int,
    table: Any,
    u: Any,
    v: Any,
    good: Any,
    kind: int,
    step: int,
    row: int,
    col: int,
    min_weight: float,
    out: Any,
    ok: Any,
) -> None:
    """Fill ``out`` and ``ok`` with the code that covers most, the lowest of equals, or with the bits of all.

    ``table`` holds a zero for each code from ``lowest`` on, and does so again at the end.
    """
    bands, height, width = src.shape
    rows, cols = out.shape[1:]
    px0, py0 = np.empty(step + 1, np.int64), np.empty(step + 1, np.int64)
    px1, py1 = np.empty(step + 1, np.int64), np.empty(step + 1, np.int64)
    cover, corners, seen = np.empty(64), np.empty((2, 5)), np.empty(64, np.int64)
    for cell_row in range(good.shape[0]):
        for cell_col in range(good.shape[1]):
            j0 = max(0, cell_col * step - col)
            n = min(cols, (cell_col + 1) * step - col) - j0
            t_col = 2 * (j0 + col - cell_col * step)
            for i in range(max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)):
                out[:, i, j0 : j0 + n] = 0
                ok[:, i, j0 : j0 + n] = False
                if not good[cell_row, cell_col]:
                    continue
                t_row = 2 * (i + row - cell_row * step)
                place(u, cell_row, cell_col, step, t_row, t_col, n + 1, px0)
                place(v, cell_row, cell_col, step, t_row, t_col, n + 1, py0)
                place(u, cell_row, cell_col, step, t_row + 2, t_col, n + 1, px1)
                place(v, cell_row, cell_col, step, t_row + 2, t_col, n + 1, py1)
                for k in range(n):
                    x0 = min(px0[k], px0[k + 1], px1[k], px1[k + 1]) >> SHIFT
                    y0 = min(py0[k], py0[k + 1], py1[k], py1[k + 1]) >> SHIFT
                    nx = (max(px0[k], px0[k + 1], px1[k], px1[k + 1]) >> SHIFT) - x0 + 1
                    ny = (max(py0[k], py0[k + 1], py1[k], py1[k + 1]) >> SHIFT) - y0 + 1
                    if x0 >= width or y0 >= height or x0 + nx <= 0 or y0 + ny <= 0:
                        continue
                    if _uniform(src, valid, x0, y0, nx, ny):
                        for b in range(bands):
                            out[b, i, j0 + k] = src[b, y0, x0]
                            ok[b, i, j0 + k] = True
                        continue
                    if cover.size < (nx + 2) * (ny + 1):
                        cover, seen = np.empty(2 * (nx + 2) * (ny + 1)), np.empty(2 * (nx + 2) * (ny + 1), np.int64)
                    for m, n_m in ((0, k), (1, k + 1), (4, k)):
                        corners[0, m] = (px0[n_m] - (x0 << SHIFT)) * _UNIT
                        corners[1, m] = (py0[n_m] - (y0 << SHIFT)) * _UNIT
                    for m, n_m in ((2, k + 1), (3, k)):
                        corners[0, m] = (px1[n_m] - (x0 << SHIFT)) * _UNIT
                        corners[1, m] = (py1[n_m] - (y0 << SHIFT)) * _UNIT
                    whole = _quad(cover, corners, nx, ny)
                    for b in range(bands):
                        count, weight, bits = 0, 0.0, src.dtype.type(0)
                        current, share = np.int64(-1), 0.0
                        for m in range(max(0, -y0), min(ny, height - y0)):
                            covers, values, there = cover[m * (nx + 2) :], src[b, y0 + m], valid[b, y0 + m]
                            covered = 0.0
                            for c in range(-x0):
                                covered += covers[c]
                            for c in range(max(0, -x0), min(nx, width - x0)):
                                covered += covers[c]
                                if covered <= _NOTHING or not there[x0 + c]:
                                    continue
                                weight += covered
                                code = values[x0 + c]
                                if kind == BITOR:
                                    bits |= code if covered >= _SLIVER * whole else src.dtype.type(0)
                                    continue
                                slot = np.int64(code) - lowest
                                if slot == current:
                                    share += covered
                                    continue
                                # A run of one code is summed in a register, then added to its place.
                                if current >= 0:
                                    if table[current] == 0.0:
                                        seen[count] = current
                                        count += 1
                                    table[current] += share
                                current, share = slot, covered
                        if current >= 0:
                            if table[current] == 0.0:
                                seen[count] = current
                                count += 1
                            table[current] += share
                        most, slot = 0.0, np.int64(0)
                        for m in range(count):
                            # Equal shares differ by rounding only: the lowest code wins.
                            share = table[seen[m]]
                            if share > most + _NOTHING or (share > most - _NOTHING and seen[m] < slot):
                                most, slot = share, seen[m]
                            table[seen[m]] = 0.0
                        if weight > _NOTHING and weight >= min_weight * whole:
                            out[b, i, j0 + k] = slot + lowest if kind == MODE else bits
                            ok[b, i, j0 + k] = True

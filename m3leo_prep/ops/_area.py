"""Kernels that weigh source pixels by the exact area a target pixel covers of them.

They collect target pixels into batches, whose covered areas ``_cover`` computes together.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from m3leo_prep.ops._cover import LANES, Batch, corners, cover_row, move, new_batch, prepare, touched
from m3leo_prep.ops._mesh import SHIFT
from m3leo_prep.ops._point import place

_NOTHING = 1e-6
"""Areas that differ by less than this share of the target pixel are equal: it is above all rounding."""
_SLIVER = 1e-3
"""Bits count from pixels that cover at least this share of the target: a sub-pixel shift does not dilate."""

AVERAGE = 0
SUM = 1
MODE = 2
BITOR = 3

_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_jit
def _inside(batch: Batch, n: int, nx: int, ny: int, height: int, width: int) -> bool:
    """Return whether the source holds ``ny`` by ``nx`` pixels for each of the batch."""
    left, top = batch.left, batch.top
    for k in range(n):
        if left[k] < 0 or top[k] < 0 or left[k] + nx > width or top[k] + ny > height:
            return False
    return True


@_jit
def _weigh_all(flat: Any, start: Any, c: int, cover: Any, p: int, sums: Any) -> None:
    """Add value times area of column ``c`` to ``sums``."""
    for k in range(LANES):
        # Unsigned, as numba would look for negative indices.
        sums[k] += cover[p + k] * flat[np.uint64(start[k] + c)]


@_jit
def _load(image: Any, labels: Any, batch: Batch, label: Any, inside: bool, t: int, c: int, values: Any) -> None:
    """Write column ``c`` of row ``t``, NaN outside of the source and where the label is another than wanted."""
    height, width = image.shape
    if inside and labels.size == 0:
        flat = image.reshape(-1)
        for k in range(LANES):
            values[k] = flat[np.uint64((batch.top[k] + t) * width + batch.left[k] + c)]
        return
    for k in range(LANES):
        y, x = batch.top[k] + t, batch.left[k] + c
        there = 0 <= y < height and 0 <= x < width
        if there and labels.size > 0:
            there = labels[y, x] == label[k]
        values[k] = image[y, x] if there else np.nan


@_jit
def _weigh(values: Any, cover: Any, p: int, sums: Any) -> None:
    """Add value times area of finite values, and the area of all others."""
    for k in range(LANES):
        finite = abs(values[k]) < np.inf
        sums[k] += cover[p + k] * (values[k] if finite else 0.0)
        sums[LANES + k] += 0.0 if finite else cover[p + k]


@_jit
def _sums(
    src: Any,
    labels: Any,
    batch: Batch,
    label: Any,
    n: int,
    nx: int,
    ny: int,
    plain: bool,
    past: Any,
    cover: Any,
    sums: Any,
    values: Any,
    start: Any,
) -> None:
    """Fill ``sums``, (band, 2 lanes): totals and missing areas; ``plain`` if nothing is missing."""
    upright, inside = prepare(batch, n), _inside(batch, n, nx, ny, src.shape[1], src.shape[2])
    sums[:] = 0.0
    cover_row(batch, 0, nx, upright, past, cover)
    for t in range(ny):
        cover_row(batch, t + 1, nx, upright, past, cover)
        for k in range(LANES):
            start[k] = (batch.top[k] + t) * src.shape[2] + batch.left[k]
        for b in range(src.shape[0]):
            flat, total = src[b].reshape(-1), sums[b]
            for c in range(nx):
                if plain:
                    _weigh_all(flat, start, c, cover, c * LANES, total)
                else:
                    _load(src[b], labels, batch, label, inside, t, c, values)
                    _weigh(values, cover, c * LANES, total)


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
    rows, cols = out.shape[1:]
    out[:], ok[:] = src.dtype.type(np.nan), False
    px0, py0 = np.empty(step + 1, np.int64), np.empty(step + 1, np.int64)
    px1, py1 = np.empty(step + 1, np.int64), np.empty(step + 1, np.int64)
    pxc, pyc, size = np.empty(step, np.int64), np.empty(step, np.int64), np.empty(step, np.int64)
    batch, values = new_batch(), np.empty(LANES)
    sums, sums_again = np.empty((src.shape[0], 2 * LANES)), np.empty((src.shape[0], 2 * LANES))
    target, start = np.zeros((2, LANES), np.int64), np.empty(LANES, np.int64)
    centre, label = np.zeros((2, LANES), np.int64), np.zeros(LANES, np.int64)
    cover, past = np.empty(0), np.empty(0)
    again, target_again, n_again = new_batch(), np.zeros((2, LANES), np.int64), 0
    n, nx, ny, most_x, most_y = 0, 0, 0, 0, 0
    # One row of a cell more than there are, to empty the batch.
    for cell in range(good.size + 1):
        last = cell == good.size
        cell_row, cell_col = cell // good.shape[1], cell % good.shape[1]
        j0 = max(0, cell_col * step - col)
        here = 0 if last else min(cols, (cell_col + 1) * step - col) - j0
        t_col = 2 * (j0 + col - cell_col * step)
        i0, i1 = max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)
        if last:
            i1 = i0 + 1
        elif not good[cell_row, cell_col]:
            i1 = i0
        for i in range(i0, i1):
            if n > 0 and (last or n + here > LANES):
                if past.size < 4 * LANES * nx:
                    past, cover = np.empty(4 * LANES * nx), np.empty(LANES * (nx + 1))
                most_x, most_y = max(most_x, nx), max(most_y, ny)
                plain = labels.size == 0 and _inside(batch, n, nx, ny, src.shape[1], src.shape[2])
                _sums(src, labels, batch, label, n, nx, ny, plain, past, cover, sums, values, start)
                if plain:
                    # Where something is missing the total is not finite: those wait for a second, slower round.
                    for k in range(n):
                        if not np.isfinite(sums[:, k].sum()):
                            move(batch, k, again, n_again)
                            target_again[:, n_again] = target[:, k]
                            n_again += 1
                        if n_again == LANES:
                            _sums(
                                src,
                                labels,
                                again,
                                label,
                                LANES,
                                most_x,
                                most_y,
                                False,
                                past,
                                cover,
                                sums_again,
                                values,
                                start,
                            )
                            _write(
                                src, labels, centre, target_again, again, LANES, kind, min_weight, sums_again, out, ok
                            )
                            n_again, most_x, most_y = 0, nx, ny
                _write(src, labels, centre, target, batch, n, kind, min_weight, sums, out, ok)
                n, nx, ny = 0, 0, 0
            if last and n_again > 0:
                _sums(src, labels, again, label, n_again, most_x, most_y, False, past, cover, sums_again, values, start)
                _write(src, labels, centre, target_again, again, n_again, kind, min_weight, sums_again, out, ok)
            if last:
                break
            t_row = 2 * (i + row - cell_row * step)
            place(u, cell_row, cell_col, step, t_row, t_col, here + 1, px0)
            place(v, cell_row, cell_col, step, t_row, t_col, here + 1, py0)
            place(u, cell_row, cell_col, step, t_row + 2, t_col, here + 1, px1)
            place(v, cell_row, cell_col, step, t_row + 2, t_col, here + 1, py1)
            if labels.size > 0:
                place(u, cell_row, cell_col, step, t_row + 1, t_col + 1, here, pxc)
                place(v, cell_row, cell_col, step, t_row + 1, t_col + 1, here, pyc)
                for k in range(here):
                    x, y = pxc[k] >> SHIFT, pyc[k] >> SHIFT
                    found = 0 <= x < src.shape[2] and 0 <= y < src.shape[1]
                    centre[0, n + k], centre[1, n + k] = (y, x) if found else (-1, -1)
                    label[n + k] = labels[y, x] if found else 0
            nx = max(nx, touched(px0, px1, here, batch.left[n:], size))
            ny = max(ny, touched(py0, py1, here, batch.top[n:], size))
            corners(px0, px1, here, batch.left[n:], batch.x[n:])
            corners(py0, py1, here, batch.top[n:], batch.y[n:])
            for k in range(here):
                target[0, n + k], target[1, n + k] = i, j0 + k
            n += here


@_jit
def _write(
    src: Any,
    labels: Any,
    centre: Any,
    target: Any,
    batch: Batch,
    n: int,
    kind: int,
    min_weight: float,
    sums: Any,
    out: Any,
    ok: Any,
) -> None:
    for b in range(src.shape[0]):
        for k in range(n):
            total, whole = sums[b, k], batch.whole[k]
            weight = whole - sums[b, LANES + k]
            y, x = centre[0, k], centre[1, k]
            if labels.size > 0 and (y < 0 or not np.isfinite(src[b, y, x])):
                continue
            if np.isfinite(total) and weight > _NOTHING * whole and weight >= min_weight * whole:
                out[b, target[0, k], target[1, k]] = total if kind == SUM else total / weight
                ok[b, target[0, k], target[1, k]] = True

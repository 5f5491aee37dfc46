"""Kernels that weigh source pixels by the exact area a target pixel covers of them.

They collect target pixels into batches, whose covered areas ``_cover`` computes together. What a pixel becomes
depends on its own source pixels only, never on the others in its batch.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from m3leo_prep.ops._cover import (
    CENTRE_X,
    CENTRE_Y,
    COL,
    EXTENT,
    LABEL,
    LANES,
    LEFT,
    NX,
    NY,
    ROW,
    TOP,
    ULANES,
    WHOLE,
    add,
    cover_row,
    move,
    new_batch,
    prepare,
    touched,
)
from m3leo_prep.ops._mesh import SHIFT
from m3leo_prep.ops._point import place

_NOTHING = 1e-6
"""Areas that differ by less than this share of the target pixel are equal: it is above all rounding."""
_SLIVER = 1e-3
"""Bits count from pixels that cover at least this share of the target: a sub-pixel shift does not dilate."""

_EVEN, _ODD = np.uint64(0), np.uint64(1)

AVERAGE = 0
SUM = 1
MODE = 2
BITOR = 3
QUADRATURE = 4

_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_jit
def _inside(integers: Any, n: int, height: int, width: int) -> bool:
    """Return whether the source holds the batch's extent at each of ``n`` lanes."""
    nx, ny, inside = integers[EXTENT], integers[EXTENT + 1], True
    for k in range(n):
        left, top = integers[LEFT + k], integers[TOP + k]
        inside &= left >= 0 and top >= 0 and left + nx <= width and top + ny <= height
    return inside


@_jit
def _weigh_all(flat: Any, start: Any, nx: int, cover: Any, sums: Any, q: Any) -> None:
    """Add value times area of a row to ``sums``."""
    for c in range(np.uint64(nx)):
        p = c * ULANES
        for k in range(ULANES):
            sums[q + k] += cover[p + k] * flat[start[k] + c]


@_jit
def _load(src: Any, labels: Any, integers: Any, b: int, t: int, c: int, values: Any) -> None:
    """Write column ``c`` of row ``t``, NaN outside of the source and where the label is another than wanted."""
    for k in range(LANES):
        y, x = integers[TOP + k] + t, integers[LEFT + k] + c
        there = 0 <= y < src.shape[1] and 0 <= x < src.shape[2]
        if there and labels.size > 0:
            there = labels[y, x] == integers[LABEL + k]
        values[k] = src[b, y, x] if there else np.nan


@_jit
def _weigh(values: Any, cover: Any, p: Any, sums: Any, missing: Any, q: Any) -> None:
    """Add value times area of finite values, and the area of all others."""
    for k in range(ULANES):
        finite = abs(values[k]) < np.inf
        sums[q + k] += cover[p + k] * (values[k] if finite else 0.0)
        missing[q + k] += 0.0 if finite else cover[p + k]


@_jit
def _square_all(flat: Any, start: Any, nx: int, cover: Any, sums: Any, q: Any) -> None:
    """Add the square of value times area of a row to ``sums``."""
    for c in range(np.uint64(nx)):
        p = c * ULANES
        for k in range(ULANES):
            part = cover[p + k] * np.float64(flat[start[k] + c])
            sums[q + k] += part * part


@_jit
def _square(values: Any, cover: Any, p: Any, sums: Any, missing: Any, q: Any) -> None:
    """Add the square of value times area of finite values, and the area of all others."""
    for k in range(ULANES):
        finite = abs(values[k]) < np.inf
        part = cover[p + k] * (values[k] if finite else 0.0)
        sums[q + k] += part * part
        missing[q + k] += 0.0 if finite else cover[p + k]


@_jit
def _sums(src: Any, labels: Any, reals: Any, integers: Any, n: int, plain: Any, kind: int) -> Any:
    """Return totals (of squares for ``QUADRATURE``) and missing areas, (band, lane) flat each.

    If ``plain``, nothing counts as missing: where something is, the total is not finite.
    """
    bands, height, width = src.shape
    nx, ny, values, start = integers[EXTENT], integers[EXTENT + 1], np.empty(LANES), np.empty(LANES, np.uint64)
    past, cover, flat = np.empty(4 * nx * LANES), np.empty((nx + 1) * LANES), src.reshape(-1)
    sums, missing = np.zeros(bands * LANES), np.zeros(bands * LANES)
    prepare(reals, integers, n)
    cover_row(reals, integers, 0, past, cover, 0)
    for t in range(ny):
        cover_row(reals, integers, t + 1, past, cover, 0)
        for b in range(bands):
            q = np.uint64(b * LANES)
            if plain:
                for k in range(LANES):
                    start[k] = (b * height + integers[TOP + k] + t) * width + integers[LEFT + k]
                if kind == QUADRATURE:
                    _square_all(flat, start, nx, cover, sums, q)
                else:
                    _weigh_all(flat, start, nx, cover, sums, q)
            else:
                for c in range(nx):
                    _load(src, labels, integers, b, t, c, values)
                    if kind == QUADRATURE:
                        _square(values, cover, np.uint64(c * LANES), sums, missing, q)
                    else:
                        _weigh(values, cover, np.uint64(c * LANES), sums, missing, q)
    return sums, missing


@_jit
def _write(
    src: Any,
    labels: Any,
    reals: Any,
    integers: Any,
    n: int,
    sums: Any,
    missing: Any,
    kind: int,
    min_weight: float,
    out: Any,
    ok: Any,
) -> None:
    for b in range(src.shape[0]):
        for k in range(n):
            total, whole = sums[b * LANES + k], reals[WHOLE + k]
            weight = whole - missing[b * LANES + k]
            if labels.size > 0:
                y, x = integers[CENTRE_Y + k], integers[CENTRE_X + k]
                if y < 0 or not np.isfinite(src[b, y, x]):
                    continue
            if np.isfinite(total) and weight > _NOTHING * whole and weight >= min_weight * whole:
                i, j = integers[ROW + k], integers[COL + k]
                if kind == QUADRATURE:
                    total = np.sqrt(total)
                out[b, i, j] = total if kind == SUM else total / weight
                ok[b, i, j] = True


@_jit
def _finish(
    src: Any,
    labels: Any,
    reals: Any,
    integers: Any,
    n: int,
    reals_again: Any,
    integers_again: Any,
    waiting: int,
    kind: int,
    min_weight: float,
    out: Any,
    ok: Any,
) -> int:
    """Average a batch; return how many pixels wait ``again``, as something is missing, for a slower round."""
    plain = labels.size == 0 and _inside(integers, n, src.shape[1], src.shape[2])
    sums, missing = _sums(src, labels, reals, integers, n, plain, kind)
    _write(src, labels, reals, integers, n, sums, missing, kind, min_weight, out, ok)
    for k in range(n if plain else 0):
        total = 0.0
        for b in range(src.shape[0]):
            total += sums[b * LANES + k]
        if not np.isfinite(total):
            move(reals, integers, k, reals_again, integers_again, waiting)
            waiting += 1
        if waiting == LANES:
            sums_again, missing = _sums(src, labels, reals_again, integers_again, waiting, False, kind)
            _write(src, labels, reals_again, integers_again, waiting, sums_again, missing, kind, min_weight, out, ok)
            waiting, integers_again[EXTENT : EXTENT + 2] = 0, 0
    integers[EXTENT : EXTENT + 2] = 0
    return waiting


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

    For ``QUADRATURE`` it is the standard deviation of the mean where the errors are independent.
    With ``labels`` (y, x) not empty, only pixels with the label under the target's centre count.
    """
    rows, cols = out.shape[1:]
    out[:], ok[:] = src.dtype.type(np.nan), False
    px0, py0 = np.empty(step + 1, np.int64), np.empty(step + 1, np.int64)
    px1, py1 = np.empty(step + 1, np.int64), np.empty(step + 1, np.int64)
    pxc, pyc, box = np.empty(step, np.int64), np.empty(step, np.int64), np.empty((4, step), np.int64)
    reals, integers = new_batch()
    reals_again, integers_again = new_batch()
    n, waiting = 0, 0
    for cell in range(good.size):
        cell_row, cell_col = cell // good.shape[1], cell % good.shape[1]
        if not good[cell_row, cell_col]:
            continue
        j0 = max(0, cell_col * step - col)
        here = min(cols, (cell_col + 1) * step - col) - j0
        t_col = 2 * (j0 + col - cell_col * step)
        for i in range(max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)):
            t_row = 2 * (i + row - cell_row * step)
            place(u, cell_row, cell_col, step, t_row, t_col, here + 1, px0)
            place(v, cell_row, cell_col, step, t_row, t_col, here + 1, py0)
            place(u, cell_row, cell_col, step, t_row + 2, t_col, here + 1, px1)
            place(v, cell_row, cell_col, step, t_row + 2, t_col, here + 1, py1)
            if labels.size > 0:
                place(u, cell_row, cell_col, step, t_row + 1, t_col + 1, here, pxc)
                place(v, cell_row, cell_col, step, t_row + 1, t_col + 1, here, pyc)
            touched(px0, px1, here, box[0], box[2])
            touched(py0, py1, here, box[1], box[3])
            k = 0
            while k < here:
                m = min(here - k, LANES - n)
                add(reals, integers, n, m, px0, py0, px1, py1, box, k, i, j0 + k)
                for lane in range(n, n + m if labels.size > 0 else n):
                    x, y = pxc[k + lane - n] >> SHIFT, pyc[k + lane - n] >> SHIFT
                    found = 0 <= x < src.shape[2] and 0 <= y < src.shape[1]
                    integers[CENTRE_Y + lane], integers[CENTRE_X + lane] = (y, x) if found else (-1, -1)
                    integers[LABEL + lane] = labels[y, x] if found else 0
                n, k = n + m, k + m
                if n == LANES:
                    waiting = _finish(
                        src,
                        labels,
                        reals,
                        integers,
                        n,
                        reals_again,
                        integers_again,
                        waiting,
                        kind,
                        min_weight,
                        out,
                        ok,
                    )
                    n = 0
    if n > 0:
        waiting = _finish(
            src, labels, reals, integers, n, reals_again, integers_again, waiting, kind, min_weight, out, ok
        )
    if waiting > 0:
        sums, missing = _sums(src, labels, reals_again, integers_again, waiting, False, kind)
        _write(src, labels, reals_again, integers_again, waiting, sums, missing, kind, min_weight, out, ok)


@_jit
def _uniform(flat: Any, there: Any, shape: Any, x0: int, y0: int, nx: int, ny: int) -> bool:
    """Return whether all these pixels are valid and alike in each band: then their areas do not matter."""
    bands, height, width = shape
    if x0 < 0 or y0 < 0 or x0 + nx > width or y0 + ny > height:
        return False
    for b in range(bands):
        start = (b * height + y0) * width + x0
        code = flat[np.uint64(start)]
        for t in range(ny):
            at = np.uint64(start + t * width)
            for c in range(np.uint64(nx)):
                if flat[at + c] != code or not there[at + c]:
                    return False
    return True


@_jit
def _vote(
    src: Any,
    valid: Any,
    lowest: int,
    table: Any,
    stamp: Any,
    reals: Any,
    integers: Any,
    n: int,
    vote: int,
    kind: int,
    min_weight: float,
    out: Any,
    ok: Any,
) -> int:
    """Write the winning code, or all bits, of each pixel of a batch.

    ``table`` (code, 2) is summed by even and odd columns, so that a sum need not wait for the one before;
    ``stamp`` (code) says in which vote a code was last seen. Return the number of the last vote.
    """
    bands, height, width = src.shape
    nx, ny = integers[EXTENT], integers[EXTENT + 1]
    wide = (nx + 1) * LANES
    past, cover, seen = np.empty(4 * nx * LANES), np.empty(ny * wide), np.empty(nx * ny, np.uint64)
    flat, there = src.reshape(-1), valid.reshape(-1)
    prepare(reals, integers, n)
    cover_row(reals, integers, 0, past, cover, 0)
    for t in range(ny):
        cover_row(reals, integers, t + 1, past, cover, t * wide)
    for k in range(n):
        x0, y0, whole = integers[LEFT + k], integers[TOP + k], reals[WHOLE + k]
        for b in range(bands):
            count, weight, bits = 0, 0.0, src.dtype.type(0)
            vote += 1
            c0, c1 = max(0, -x0), min(integers[NX + k], width - x0)
            for t in range(max(0, -y0), min(integers[NY + k], height - y0)):
                at, area = np.uint64((b * height + y0 + t) * width + x0 + c0), np.uint64(t * wide + c0 * LANES + k)
                for c in range(np.uint64(max(0, c1 - c0))):
                    if not there[at + c]:
                        continue
                    covered, code = cover[area + c * ULANES], flat[at + c]
                    weight += covered
                    if kind == BITOR:
                        bits |= code if covered >= _SLIVER * whole else src.dtype.type(0)
                        continue
                    slot = np.uint64(np.int64(code) - lowest)
                    if stamp[slot] != vote:
                        stamp[slot] = vote
                        table[slot, _EVEN] = table[slot, _ODD] = 0.0
                        seen[count] = slot
                        count += 1
                    table[slot, c & _ODD] += covered
            most, winner = 0.0, np.uint64(0)
            for m in range(count):
                # Equal shares differ by rounding only: the lowest code wins.
                slot, tie = seen[m], _NOTHING * whole
                share = table[slot, 0] + table[slot, 1]
                if share > most + tie or (share > most - tie and slot < winner):
                    most, winner = share, slot
            if weight > _NOTHING * whole and weight >= min_weight * whole:
                i, j = integers[ROW + k], integers[COL + k]
                out[b, i, j] = np.int64(winner) + lowest if kind == MODE else bits
                ok[b, i, j] = True
    integers[EXTENT : EXTENT + 2] = 0
    return vote


@_jit
def codes(
    src: Any,
    valid: Any,
    lowest: int,
    highest: int,
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
    """Fill ``out`` and ``ok`` with the code that covers most, the lowest of equals, or with the bits of all."""
    rows, cols = out.shape[1:]
    out[:], ok[:] = 0, False
    px0, py0 = np.empty(step + 1, np.int64), np.empty(step + 1, np.int64)
    px1, py1 = np.empty(step + 1, np.int64), np.empty(step + 1, np.int64)
    box = np.empty((4, step), np.int64)
    span = max(0, highest - lowest) + 1
    table, stamp = np.empty((span, 2)), np.zeros(span, np.int64)
    reals, integers = new_batch()
    n, vote = 0, 0
    flat, there = src.reshape(-1), valid.reshape(-1)
    for cell in range(good.size):
        cell_row, cell_col = cell // good.shape[1], cell % good.shape[1]
        if not good[cell_row, cell_col]:
            continue
        j0 = max(0, cell_col * step - col)
        here = min(cols, (cell_col + 1) * step - col) - j0
        t_col = 2 * (j0 + col - cell_col * step)
        for i in range(max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)):
            t_row = 2 * (i + row - cell_row * step)
            place(u, cell_row, cell_col, step, t_row, t_col, here + 1, px0)
            place(v, cell_row, cell_col, step, t_row, t_col, here + 1, py0)
            place(u, cell_row, cell_col, step, t_row + 2, t_col, here + 1, px1)
            place(v, cell_row, cell_col, step, t_row + 2, t_col, here + 1, py1)
            touched(px0, px1, here, box[0], box[2])
            touched(py0, py1, here, box[1], box[3])
            for k in range(here):
                x0, y0, nx, ny = box[0, k], box[1, k], box[2, k], box[3, k]
                if x0 >= src.shape[2] or y0 >= src.shape[1] or x0 + nx <= 0 or y0 + ny <= 0:
                    continue
                if _uniform(flat, there, src.shape, x0, y0, nx, ny):
                    for b in range(src.shape[0]):
                        out[b, i, j0 + k] = src[b, y0, x0]
                        ok[b, i, j0 + k] = True
                    continue
                add(reals, integers, n, 1, px0, py0, px1, py1, box, k, i, j0 + k)
                n += 1
                if n == LANES:
                    vote = _vote(src, valid, lowest, table, stamp, reals, integers, n, vote, kind, min_weight, out, ok)
                    n = 0
    if n > 0:
        _vote(src, valid, lowest, table, stamp, reals, integers, n, vote, kind, min_weight, out, ok)

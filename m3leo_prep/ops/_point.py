"""Kernels that sample around one point: nearest, bilinear, 4 x 4 taps, widened B-spline, per component.

All walk the mesh cell by cell; positions are exact integers (see ``_mesh``). Without fastmath LLVM neither
reorders nor contracts floating-point operations, so results do not depend on the CPU's vector or FMA units.
In float kernels a missing source pixel is not finite. Bands share the positions.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from m3leo_prep.ops._mesh import SHIFT

_HALF = np.int64(1 << (SHIFT - 1))
_FRACTION_SHIFT = np.int64(SHIFT - 23)
_FRACTION_MASK = np.int64((1 << 23) - 1)
_WIDEN_ABOVE = 1.02
"""Neighbouring UTM zones differ in scale by less than this: their B-spline keeps its four taps."""

CUBIC = 0
BSPLINE = 1

_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_jit
def place(nodes: Any, cell_row: int, cell_col: int, step: int, t_row: int, t_col: int, n: int, out: Any) -> None:
    """Write ``n`` positions along one row of a cell, from half-pixel coordinates (t_row, t_col), 2 apart."""
    r, c, s = 2 * cell_row, 2 * cell_col, np.int64(step)
    w0 = (t_row - s) * (t_row - 2 * s)
    w1 = -2 * t_row * (t_row - 2 * s)
    w2 = t_row * (t_row - s)
    v0 = w0 * nodes[r, c] + w1 * nodes[r + 1, c] + w2 * nodes[r + 2, c]
    v1 = w0 * nodes[r, c + 1] + w1 * nodes[r + 1, c + 1] + w2 * nodes[r + 2, c + 1]
    v2 = w0 * nodes[r, c + 2] + w1 * nodes[r + 1, c + 2] + w2 * nodes[r + 2, c + 2]
    c2 = v0 - 2 * v1 + v2
    c1 = s * (4 * v1 - 3 * v0 - v2)
    position = 2 * s * s * v0 + t_col * (c1 + t_col * c2)
    slope = 2 * c1 + 4 * (t_col + 1) * c2
    bend = 8 * c2
    for k in range(n):
        out[k] = position
        position += slope
        slope += bend


@_jit
def nearest(
    src: Any, valid: Any, u: Any, v: Any, good: Any, step: int, row: int, col: int, fill: Any, out: Any, ok: Any
) -> None:
    """Fill ``out`` and ``ok`` with the source pixel that holds each target centre."""
    bands, height, width = src.shape
    rows, cols = out.shape[1:]
    px, py = np.empty(step, np.int64), np.empty(step, np.int64)
    for cell_row in range(good.shape[0]):
        for cell_col in range(good.shape[1]):
            j0 = max(0, cell_col * step - col)
            n = min(cols, (cell_col + 1) * step - col) - j0
            t_col = 2 * (j0 + col - cell_col * step) + 1
            for i in range(max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)):
                if not good[cell_row, cell_col]:
                    out[:, i, j0 : j0 + n] = fill
                    ok[:, i, j0 : j0 + n] = False
                    continue
                t_row = 2 * (i + row - cell_row * step) + 1
                place(u, cell_row, cell_col, step, t_row, t_col, n, px)
                place(v, cell_row, cell_col, step, t_row, t_col, n, py)
                for b in range(bands):
                    for k in range(n):
                        x, y = px[k] >> SHIFT, py[k] >> SHIFT
                        found = 0 <= x < width and 0 <= y < height and valid[b, y, x]
                        out[b, i, j0 + k] = src[b, y, x] if found else fill
                        ok[b, i, j0 + k] = found


@_jit
def blend(src: Any, b: int, x: int, y: int, fx: Any, fy: Any, min_weight: float) -> Any:
    """Return the bilinear value from what is there of the four neighbours, NaN below ``min_weight``."""
    total, weight = src.dtype.type(0), src.dtype.type(0)
    one = src.dtype.type(1)
    for dy in range(2):
        for dx in range(2):
            if 0 <= x + dx < src.shape[2] and 0 <= y + dy < src.shape[1]:
                value = src[b, y + dy, x + dx]
                if np.isfinite(value):
                    w = (fx if dx else one - fx) * (fy if dy else one - fy)
                    total += w * value
                    weight += w
    if weight > 0 and weight >= min_weight:
        return total / weight
    return src.dtype.type(np.nan)


@_jit
def bilinear(
    src: Any, u: Any, v: Any, good: Any, step: int, row: int, col: int, min_weight: float, out: Any, ok: Any
) -> None:
    """Fill ``out`` and ``ok`` by bilinear interpolation with weights renormalised over what is there."""
    bands, height, width = src.shape
    rows, cols = out.shape[1:]
    real = src.dtype.type
    one, unit, nan = real(1), real(2.0**-23), real(np.nan)
    px, py = np.empty(step, np.int64), np.empty(step, np.int64)
    for cell_row in range(good.shape[0]):
        for cell_col in range(good.shape[1]):
            j0 = max(0, cell_col * step - col)
            n = min(cols, (cell_col + 1) * step - col) - j0
            t_col = 2 * (j0 + col - cell_col * step) + 1
            for i in range(max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)):
                if not good[cell_row, cell_col]:
                    out[:, i, j0 : j0 + n] = nan
                    ok[:, i, j0 : j0 + n] = False
                    continue
                t_row = 2 * (i + row - cell_row * step) + 1
                place(u, cell_row, cell_col, step, t_row, t_col, n, px)
                place(v, cell_row, cell_col, step, t_row, t_col, n, py)
                for b in range(bands):
                    for k in range(n):
                        qx, qy = px[k] - _HALF, py[k] - _HALF
                        x, y = qx >> SHIFT, qy >> SHIFT
                        fx = real(np.int32((qx >> _FRACTION_SHIFT) & _FRACTION_MASK)) * unit
                        fy = real(np.int32((qy >> _FRACTION_SHIFT) & _FRACTION_MASK)) * unit
                        value = nan
                        if 0 <= x < width - 1 and 0 <= y < height - 1:
                            top = src[b, y, x] * (one - fx) + src[b, y, x + 1] * fx
                            low = src[b, y + 1, x] * (one - fx) + src[b, y + 1, x + 1] * fx
                            value = top * (one - fy) + low * fy
                        found = np.isfinite(value)
                        if not found:
                            value = blend(src, b, x, y, fx, fy, min_weight)
                            found = np.isfinite(value)
                        out[b, i, j0 + k] = value
                        ok[b, i, j0 + k] = found


@_jit
def root_sum(src: Any, b: int, x: int, y: int, fx: Any, fy: Any) -> float:
    """Return the root of the sum of squared weighted values of those of the four neighbours that are there."""
    total, weight = 0.0, 0.0
    one = src.dtype.type(1)
    for dy in range(2):
        for dx in range(2):
            if 0 <= x + dx < src.shape[2] and 0 <= y + dy < src.shape[1]:
                value = src[b, y + dy, x + dx]
                if np.isfinite(value):
                    w = (fx if dx else one - fx) * (fy if dy else one - fy)
                    part = np.float64(w) * np.float64(value)
                    total += part * part
                    weight += w
    return np.sqrt(total) / weight if weight > 0 else np.nan


@_jit
def quadrature(src: Any, u: Any, v: Any, good: Any, step: int, row: int, col: int, out: Any) -> None:
    """Fill ``out`` with the standard deviation of the bilinear value where the errors are independent."""
    bands = src.shape[0]
    rows, cols = out.shape[1:]
    real = src.dtype.type
    unit = real(2.0**-23)
    px, py = np.empty(step, np.int64), np.empty(step, np.int64)
    for cell_row in range(good.shape[0]):
        for cell_col in range(good.shape[1]):
            j0 = max(0, cell_col * step - col)
            n = min(cols, (cell_col + 1) * step - col) - j0
            t_col = 2 * (j0 + col - cell_col * step) + 1
            for i in range(max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)):
                if not good[cell_row, cell_col]:
                    out[:, i, j0 : j0 + n] = np.nan
                    continue
                t_row = 2 * (i + row - cell_row * step) + 1
                place(u, cell_row, cell_col, step, t_row, t_col, n, px)
                place(v, cell_row, cell_col, step, t_row, t_col, n, py)
                for b in range(bands):
                    for k in range(n):
                        qx, qy = px[k] - _HALF, py[k] - _HALF
                        fx = real(np.int32((qx >> _FRACTION_SHIFT) & _FRACTION_MASK)) * unit
                        fy = real(np.int32((qy >> _FRACTION_SHIFT) & _FRACTION_MASK)) * unit
                        out[b, i, j0 + k] = root_sum(src, b, qx >> SHIFT, qy >> SHIFT, fx, fy)


@_jit
def component(
    src: Any,
    labels: Any,
    u: Any,
    v: Any,
    good: Any,
    step: int,
    row: int,
    col: int,
    min_weight: float,
    out: Any,
    ok: Any,
) -> None:
    """Fill ``out`` and ``ok`` bilinearly from the neighbours that share the nearest pixel's label."""
    bands, height, width = src.shape
    rows, cols = out.shape[1:]
    real = src.dtype.type
    one, unit, nan = real(1), real(2.0**-23), real(np.nan)
    px, py = np.empty(step, np.int64), np.empty(step, np.int64)
    for cell_row in range(good.shape[0]):
        for cell_col in range(good.shape[1]):
            j0 = max(0, cell_col * step - col)
            n = min(cols, (cell_col + 1) * step - col) - j0
            t_col = 2 * (j0 + col - cell_col * step) + 1
            for i in range(max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)):
                out[:, i, j0 : j0 + n] = nan
                ok[:, i, j0 : j0 + n] = False
                if not good[cell_row, cell_col]:
                    continue
                t_row = 2 * (i + row - cell_row * step) + 1
                place(u, cell_row, cell_col, step, t_row, t_col, n, px)
                place(v, cell_row, cell_col, step, t_row, t_col, n, py)
                for k in range(n):
                    near_x, near_y = px[k] >> SHIFT, py[k] >> SHIFT
                    if not (0 <= near_x < width and 0 <= near_y < height):
                        continue
                    label = labels[near_y, near_x]
                    qx, qy = px[k] - _HALF, py[k] - _HALF
                    fx = real(np.int32((qx >> _FRACTION_SHIFT) & _FRACTION_MASK)) * unit
                    fy = real(np.int32((qy >> _FRACTION_SHIFT) & _FRACTION_MASK)) * unit
                    for b in range(bands):
                        if not np.isfinite(src[b, near_y, near_x]):
                            continue
                        total, weight = real(0), real(0)
                        for dy in range(2):
                            for dx in range(2):
                                x, y = (qx >> SHIFT) + dx, (qy >> SHIFT) + dy
                                if 0 <= x < width and 0 <= y < height and labels[y, x] == label:
                                    value = src[b, y, x]
                                    if np.isfinite(value):
                                        w = (fx if dx else one - fx) * (fy if dy else one - fy)
                                        total += w * value
                                        weight += w
                        if weight > 0 and weight >= min_weight:
                            out[b, i, j0 + k] = total / weight
                            ok[b, i, j0 + k] = True


@_jit
def _four(kind: int, f: Any, w: Any) -> None:
    """Write the four weights at fraction ``f`` after the second tap; they sum to one."""
    real = w.dtype.type
    g = real(1) - f
    if kind == CUBIC:  # Keys, a = -1/2
        w[0] = real(-0.5) * f * g * g
        w[1] = real(1) + f * f * (real(1.5) * f - real(2.5))
        w[2] = real(1) + g * g * (real(1.5) * g - real(2.5))
        w[3] = real(-0.5) * g * f * f
    else:
        sixth = real(1.0 / 6.0)
        w[0] = g * g * g * sixth
        w[1] = (real(4) + f * f * (real(3) * f - real(6))) * sixth
        w[2] = (real(4) + g * g * (real(3) * g - real(6))) * sixth
        w[3] = f * f * f * sixth


@_jit
def _around(src: Any, b: int, x: int, y: int, fx: Any, fy: Any, wx: Any, wy: Any, kind: int, min_weight: float) -> Any:
    """Return the 4 x 4 value where neighbours are missing, from (x, y) = the tap before the point."""
    total, weight = src.dtype.type(0), src.dtype.type(0)
    for dy in range(4):
        for dx in range(4):
            tap_x, tap_y = x + dx - 1, y + dy - 1
            if 0 <= tap_x < src.shape[2] and 0 <= tap_y < src.shape[1]:
                value = src[b, tap_y, tap_x]
                if np.isfinite(value):
                    w = wx[dx] * wy[dy]
                    total += w * value
                    weight += w
    if kind == CUBIC:
        # Negative lobes blow up when normalised by little weight: three quarters or bilinear.
        if weight >= 0.75:
            return total / weight
        return blend(src, b, x, y, fx, fy, min_weight)
    if weight > 0 and weight >= min_weight:
        return total / weight
    return src.dtype.type(np.nan)


@_jit
def _wide_axis(q: int, scale: float, w: Any) -> Any:
    """Write the widened B-spline's weights around ``q`` (0 = centre of pixel 0); return the first tap and how many."""
    centre = (q & ((np.int64(1) << SHIFT) - 1)) * 2.0**-SHIFT
    reach = 2 * scale
    first = int(np.ceil(centre - reach))
    last = int(np.floor(centre + reach))
    total = 0.0
    for k in range(w.size):
        w[k] = 0.0
    for k in range(last - first + 1):
        t = abs(first + k - centre) / scale
        if t < 1:
            w[k] = 2.0 / 3.0 - t * t * (1 - 0.5 * t)
        elif t < 2:
            w[k] = (2 - t) * (2 - t) * (2 - t) / 6.0
        total += w[k]
    for k in range(last - first + 1):
        w[k] /= total
    return int(q >> SHIFT) + first, last - first + 1


@_jit
def taps(
    src: Any,
    u: Any,
    v: Any,
    good: Any,
    scale: Any,
    kind: int,
    step: int,
    row: int,
    col: int,
    min_weight: float,
    out: Any,
    ok: Any,
) -> None:
    """Fill ``out`` and ``ok`` by Keys' cubic or the cubic B-spline, the latter widened where coarsening."""
    bands, height, width = src.shape
    rows, cols = out.shape[1:]
    real = src.dtype.type
    unit, nan = real(2.0**-23), real(np.nan)
    px, py = np.empty(step, np.int64), np.empty(step, np.int64)
    wx, wy = np.empty(4, src.dtype), np.empty(4, src.dtype)
    widest = 1.0
    for cell_row in range(good.shape[0]):
        for cell_col in range(good.shape[1]):
            if good[cell_row, cell_col]:
                widest = max(widest, scale[cell_row, cell_col, 0], scale[cell_row, cell_col, 1])
    many = int(4 * widest) + 2
    wide_x, wide_y, pair = np.empty(many), np.empty(many), np.empty(many * many)
    for cell_row in range(good.shape[0]):
        for cell_col in range(good.shape[1]):
            j0 = max(0, cell_col * step - col)
            n = min(cols, (cell_col + 1) * step - col) - j0
            t_col = 2 * (j0 + col - cell_col * step) + 1
            scale_x, scale_y = scale[cell_row, cell_col]
            scale_x = scale_x if scale_x > _WIDEN_ABOVE else 1.0
            scale_y = scale_y if scale_y > _WIDEN_ABOVE else 1.0
            widen = kind == BSPLINE and (scale_x > 1 or scale_y > 1)
            for i in range(max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)):
                if not good[cell_row, cell_col]:
                    out[:, i, j0 : j0 + n] = nan
                    ok[:, i, j0 : j0 + n] = False
                    continue
                t_row = 2 * (i + row - cell_row * step) + 1
                place(u, cell_row, cell_col, step, t_row, t_col, n, px)
                place(v, cell_row, cell_col, step, t_row, t_col, n, py)
                for k in range(n):
                    qx, qy = px[k] - _HALF, py[k] - _HALF
                    if widen:
                        first_x, n_x = _wide_axis(qx, scale_x, wide_x)
                        first_y, n_y = _wide_axis(qy, scale_y, wide_y)
                        inside = 0 <= first_x <= width - n_x and 0 <= first_y <= height - n_y
                        every = 0.0
                        if inside:
                            for dy in range(n_y):
                                for dx in range(n_x):
                                    pair[dy * n_x + dx] = wide_y[dy] * wide_x[dx]
                                    every += pair[dy * n_x + dx]
                        for b in range(bands):
                            total, weight = nan, every
                            if inside:  # and, most often, without gaps: nothing to ask of each neighbour
                                total = 0.0
                                for dy in range(n_y):
                                    for dx in range(n_x):
                                        total += pair[dy * n_x + dx] * src[b, first_y + dy, first_x + dx]
                            if not np.isfinite(total):
                                total, weight = 0.0, 0.0
                                for dy in range(max(0, -first_y), min(n_y, height - first_y)):
                                    for dx in range(max(0, -first_x), min(n_x, width - first_x)):
                                        sample = src[b, first_y + dy, first_x + dx]
                                        if np.isfinite(sample):
                                            w = wide_y[dy] * wide_x[dx]
                                            total += w * sample
                                            weight += w
                            found = weight > 0 and weight >= min_weight
                            out[b, i, j0 + k] = total / weight if found else nan
                            ok[b, i, j0 + k] = found
                        continue
                    x, y = qx >> SHIFT, qy >> SHIFT
                    fx = real(np.int32((qx >> _FRACTION_SHIFT) & _FRACTION_MASK)) * unit
                    fy = real(np.int32((qy >> _FRACTION_SHIFT) & _FRACTION_MASK)) * unit
                    _four(kind, fx, wx)
                    _four(kind, fy, wy)
                    inside = 1 <= x < width - 2 and 1 <= y < height - 2
                    for b in range(bands):
                        value = nan
                        if inside:
                            value = real(0)
                            for dy in range(4):
                                line = src[b, y + dy - 1]
                                value += wy[dy] * (
                                    wx[0] * line[x - 1] + wx[1] * line[x] + wx[2] * line[x + 1] + wx[3] * line[x + 2]
                                )
                        found = np.isfinite(value)
                        if not found:
                            value = _around(src, b, x, y, fx, fy, wx, wy, kind, min_weight)
                            found = np.isfinite(value)
                        out[b, i, j0 + k] = value
                        ok[b, i, j0 + k] = found

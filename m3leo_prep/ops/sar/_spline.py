"""Kernels that sample an image at any positions with the cubic B-spline, without prefilter."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_jit
def weight(t: float) -> float:
    """Return the cubic B-spline of knot spacing one at distance ``t``; it is zero from 2 on and sums to one."""
    t = abs(t)
    if t < 1:
        return 2.0 / 3.0 - t * t * (1 - 0.5 * t)
    if t < 2:
        return (2 - t) * (2 - t) * (2 - t) / 6.0
    return 0.0


@_jit
def _axis(x: float, scale: float, w: Any) -> tuple[int, int]:
    """Write the weights around ``x``, which sum to one; return the first tap and how many."""
    first, last = int(np.ceil(x - 2 * scale)), int(np.floor(x + 2 * scale))
    total = 0.0
    for k in range(last - first + 1):
        w[k] = weight((first + k - x) / scale)
        total += w[k]
    for k in range(last - first + 1):
        w[k] /= total
    return first, last - first + 1


@_jit
def spline(
    src: Any, line: Any, sample: Any, line_scale: float, sample_scale: float, min_weight: float, out: Any, ok: Any
) -> None:
    """Fill ``out`` and ``ok``, flat, from (lines, samples) in which missing pixels are not finite."""
    height, width = src.shape
    wy, wx = np.empty(int(4 * line_scale) + 3), np.empty(int(4 * sample_scale) + 3)
    for n in range(line.size):
        out[n], ok[n] = np.nan, False
        y, x = line[n], sample[n]
        # False for NaN; beyond a kernel's reach there is nothing, however far.
        if not (abs(y) < 1e9 and abs(x) < 1e9):
            continue
        top, rows = _axis(y, line_scale, wy)
        left, cols = _axis(x, sample_scale, wx)
        if top >= height or left >= width or top + rows <= 0 or left + cols <= 0:
            continue
        total, known = 0.0, 0.0
        for i in range(max(0, -top), min(rows, height - top)):
            for j in range(max(0, -left), min(cols, width - left)):
                value = np.float64(src[top + i, left + j])
                if np.isfinite(value):
                    w = wy[i] * wx[j]
                    total += w * value
                    known += w
        if known > 0 and known >= min_weight:
            out[n], ok[n] = total / known, True

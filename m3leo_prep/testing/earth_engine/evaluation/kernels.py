"""The loops over pixels that cost the stand-in most, compiled; the same bits whoever asks for whatever part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources.synthetic.noise import jit


@jit
def cells(position: Any, out: Any) -> None:
    """Fill in the cell's number, floor(position), -1 where that is negative, too large or not finite; both flat."""
    for p in range(position.size):
        at = np.floor(position[p])
        out[p] = np.int32(at) if 0.0 <= at < 2e9 else np.int32(-1)


@jit
def nearest(values: Any, mask: Any, column: Any, row: Any, col0: int, row0: int, out: Any, out_mask: Any) -> None:
    """Fill in values and mask of numbered cells, 0 outside; ``values`` begins at (row0, col0), the others are flat."""
    rows, cols = values.shape
    for p in range(out.size):
        r, c = row[p] - row0, column[p] - col0
        if 0 <= r < rows and 0 <= c < cols:
            out[p], out_mask[p] = values[r, c], mask[r, c]
        else:
            out[p], out_mask[p] = 0, 0


@jit
def add(total: Any, weight: Any, values: Any, mask: Any) -> None:
    """Add valid values to a sum and their number to a weight; all flat."""
    for p in range(total.size):
        if mask[p]:
            total[p] += values[p]
            weight[p] += 1.0


def percentile(stack: NDArray[Any], percent: float) -> NDArray[np.float64]:
    """Return a percentile of (n, y, x), linear between the two nearest values; NaN is no value, none at all gives 0."""
    n, height, width = stack.shape
    out = np.empty(height * width)
    _percentile(stack.reshape(n, -1), percent / 100, out)
    return out.reshape(height, width)


@jit
def _percentile(stack: Any, share: float, out: Any) -> None:
    number, pixels = stack.shape
    line = np.empty(number, stack.dtype)
    for p in range(pixels):
        found = 0
        for k in range(number):
            value = stack[k, p]
            if value == value:  # noqa: PLR0124  # not NaN
                at = found
                while at > 0 and line[at - 1] > value:
                    line[at] = line[at - 1]
                    at -= 1
                line[at] = value
                found += 1
        if found == 0:
            out[p] = 0.0
            continue
        place = (found - 1) * share
        low = int(np.floor(place))
        first, second = np.float64(line[low]), np.float64(line[min(low + 1, found - 1)])
        out[p] = first + (second - first) * (place - low)


@jit
def blend_axes(values: Any, mask: Any, rows: Any, columns: Any, divide: bool, out: Any, share: Any) -> None:  # noqa: FBT001  # compiled: by position
    """Fill in the bilinear interpolation where rows and columns are straight, zeros around; see ``sampling.sample``.

    Args:
        values: (rows, columns) of the image.
        mask: its mask; a masked pixel takes no part.
        rows: (y,) positions, pixels from the outer corner.
        columns: (x,) likewise.
        divide: by the share of what takes part; else nothing is masked.
        out: (y, x), of the type that is computed in.
        share: (y, x) of the same type, filled in where ``divide``.
    """
    height, width = values.shape
    line, weight = np.zeros(width + 2, out.dtype), np.zeros(width + 2, out.dtype)
    left, right = np.empty(columns.size, out.dtype), np.empty(columns.size, out.dtype)
    at = np.empty(columns.size, np.int64)
    unit = np.ones(1, out.dtype)
    up = np.empty(2, out.dtype)
    for x in range(columns.size):
        first = np.floor(columns[x] - 0.5)
        right[x] = (columns[x] - 0.5) - first
        left[x] = unit[0] - right[x]
        at[x] = int(min(max(first, -1.0), np.float64(width))) + 1
    for y in range(rows.size):
        first = np.floor(rows[y] - 0.5)
        up[1] = (rows[y] - 0.5) - first
        up[0] = unit[0] - up[1]
        line[:], weight[:] = 0, 0
        for k in range(2):
            r = int(min(max(first, -2.0), np.float64(height))) + k
            if 0 <= r < height:
                for c in range(width):
                    if not divide:
                        line[c + 1] += values[r, c] * up[k]
                    elif mask[r, c] > 0:
                        part = unit[0] * mask[r, c]
                        line[c + 1] += values[r, c] * part * up[k]
                        weight[c + 1] += part * up[k]
        for x in range(columns.size):
            c = at[x]
            total = line[c] * left[x] + line[min(c + 1, width + 1)] * right[x]
            if divide:
                of = weight[c] * left[x] + weight[min(c + 1, width + 1)] * right[x]
                share[y, x] = of
                out[y, x] = total / of if of > 0 else unit[0] - unit[0]
            else:
                out[y, x] = total


@jit
def blend_points(values: Any, mask: Any, rows: Any, columns: Any, divide: bool, out: Any, share: Any) -> None:  # noqa: FBT001  # compiled: by position
    """Fill in the same at scattered positions: rows, columns, out and share are flat; not finite gives nothing."""
    height, width = values.shape
    unit = np.ones(1, out.dtype)
    one = unit[0]
    nothing = one - one
    part = np.empty(2, out.dtype)
    for p in range(out.size):
        down, across = np.floor(rows[p] - 0.5), np.floor(columns[p] - 0.5)
        out[p] = nothing
        if divide:
            share[p] = nothing
        if not (-1.0 <= down < height and -1.0 <= across < width):
            continue
        r, c = int(down), int(across)
        part[0], part[1] = (rows[p] - 0.5) - down, (columns[p] - 0.5) - across
        fr, fc = part[0], part[1]
        total, of = nothing, nothing
        for k in range(2):
            if not 0 <= r + k < height:
                continue
            row, weight = nothing, nothing
            for j in range(2):
                if 0 <= c + j < width and (not divide or mask[r + k, c + j] > 0):
                    g = fc if j else one - fc
                    if divide:
                        m = one * mask[r + k, c + j]
                        row += values[r + k, c + j] * m * g
                        weight += m * g
                    else:
                        row += values[r + k, c + j] * g
            g = fr if k else one - fr
            total += row * g
            of += weight * g
        if divide:
            share[p] = of
            out[p] = total / of if of > 0 else nothing
        else:
            out[p] = total

"""Kernels of terrain flattening: facets of the ground in bins of the radar image, and rays along the beam.

Sums run over facets in the order of absolute bins, and inside a bin in the order of the map: whatever block is asked
for, a pixel adds the same numbers in the same order.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from m3leo_prep.ops.sar._locate import nearer
from m3leo_prep.ops.sar._spline import weight

_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")

_FAR = 30
_SAFE = 0.95
"""How much flatter a ray is taken to be when ground is ruled out: within the reach the beam turns by 0.2 degree."""
BLOCK = 16
"""Pixels along a side of the blocks whose highest and lowest ground tells which a ray may step over."""


@_jit
def directions(times: Any, poly: Any, nodes: Any, out: Any) -> None:
    """Fill (cells_y, cells_x, 3): rows and columns per step away from the radar on level ground, and metres per step.

    One of rows and columns is 1 or -1 and the other smaller: along the zero-Doppler plane, where the velocity has no
    part. NaN where the map has no such place.
    """
    state = np.empty(8)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            r, c = 2 * i + 1, 2 * j + 1
            t = (times[0] + times[-1]) / 2
            for _ in range(_FAR):
                t = nearer(times, poly, nodes[r, c, 0], nodes[r, c, 1], nodes[r, c, 2], t, state)
            down, right = 0.0, 0.0
            for axis in range(3):
                velocity = state[3 + axis]
                down += velocity * (nodes[r + 1, c, axis] - nodes[r - 1, c, axis])
                right += velocity * (nodes[r, c + 1, axis] - nodes[r, c - 1, axis])
            rows, cols = -right, down
            longest = max(abs(rows), abs(cols))
            rows, cols = rows / longest, cols / longest
            away, square = 0.0, 0.0
            for axis in range(3):
                part = rows * (nodes[r + 1, c, axis] - nodes[r - 1, c, axis])
                part += cols * (nodes[r, c + 1, axis] - nodes[r, c - 1, axis])
                away += part * (nodes[r, c, axis] - state[axis])
                square += part * part
            sign = 1.0 if away > 0 else -1.0
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = sign * rows, sign * cols, np.sqrt(square)


@_jit
def facets(
    xyz: Any, look: Any, line: Any, sample: Any, density: Any, speed: Any, line_interval: float, out: Any
) -> None:
    """Fill (3, y - 1, x - 1): line and sample of the quadrilateral between four pixels, and its area across the beam.

    The area is divided by the area in the slant plane of one radar pixel there. NaN where a corner is unknown, zero
    where the facet looks away.
    """
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            # Half the cross product of the diagonals is the vector area of any surface on these four corners.
            ax, ay, az = (
                xyz[i + 1, j + 1, 0] - xyz[i, j, 0],
                xyz[i + 1, j + 1, 1] - xyz[i, j, 1],
                xyz[i + 1, j + 1, 2] - xyz[i, j, 2],
            )
            bx, by, bz = (
                xyz[i, j + 1, 0] - xyz[i + 1, j, 0],
                xyz[i, j + 1, 1] - xyz[i + 1, j, 1],
                xyz[i, j + 1, 2] - xyz[i + 1, j, 2],
            )
            nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
            outward = nx * xyz[i, j, 0] + ny * xyz[i, j, 1] + nz * xyz[i, j, 2]
            area = 0.0
            for a in range(2):
                for b in range(2):
                    area -= nx * look[i + a, j + b, 0] + ny * look[i + a, j + b, 1] + nz * look[i + a, j + b, 2]
            area *= 0.125 if outward > 0 else -0.125
            out[0, i, j] = (line[i, j] + line[i, j + 1] + line[i + 1, j] + line[i + 1, j + 1]) * 0.25
            out[1, i, j] = (sample[i, j] + sample[i, j + 1] + sample[i + 1, j] + sample[i + 1, j + 1]) * 0.25
            pixel = (speed[i, j] + speed[i + 1, j + 1]) * line_interval / (density[i, j] + density[i + 1, j + 1])
            # A comparison with NaN is False: unknown stays NaN.
            out[2, i, j] = 0.0 if area <= 0 else area / pixel


@_jit
def binned(facet: Any, wide: float, lows: Any, first: Any, found: Any, place: Any) -> None:
    """Sort facets that face the radar by their bin, ``wide`` pixels square, keeping the order of the map.

    Args:
        facet: as ``facets`` fills it.
        wide: radar pixels.
        lows: number of the first bin along lines and along samples, and bins per line of bins.
        first: (bins + 1), takes where each bin begins.
        found: (facets, 3), takes line and sample in knots and area.
        place: (facets, 2), takes row and column on the map.
    """
    first[:] = 0
    rows, cols = facet.shape[1:]
    for i in range(rows):
        for j in range(cols):
            if facet[2, i, j] > 0:
                y, x = int(np.floor(facet[0, i, j] / wide)), int(np.floor(facet[1, i, j] / wide))
                first[(y - lows[0]) * lows[2] + x - lows[1] + 1] += 1
    for k in range(1, first.size):
        first[k] += first[k - 1]
    filled = first[:-1].copy()
    for i in range(rows):
        for j in range(cols):
            if facet[2, i, j] > 0:
                line, sample = facet[0, i, j] / wide, facet[1, i, j] / wide
                k = (int(np.floor(line)) - lows[0]) * lows[2] + int(np.floor(sample)) - lows[1]
                n = filled[k]
                filled[k] += 1
                found[n, 0], found[n, 1], found[n, 2] = line, sample, facet[2, i, j]
                place[n, 0], place[n, 1] = i, j


@_jit
def gather(
    first: Any, found: Any, place: Any, lows: Any, wide: float, line: Any, sample: Any, reach: float, top: int,
    left: int, out: Any,
) -> None:  # fmt: skip
    """Fill ``out`` with the facets' area around each pixel in the radar image, under the B-spline of ``wide`` pixels.

    Only facets at most ``reach`` target pixels away on the map count, so that a margin of that size is enough.
    """
    bin_rows, bin_cols = (first.size - 1) // lows[2], lows[2]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            r, c = top + i, left + j
            y, x = line[r, c] / wide, sample[r, c] / wide
            if not (np.isfinite(y) and np.isfinite(x)):
                out[i, j] = np.nan
                continue
            total = 0.0
            by, bx = int(np.floor(y)) - lows[0], int(np.floor(x)) - lows[1]
            low, high = max(0, bx - 2), min(bin_cols - 1, bx + 2)
            for row in range(max(0, by - 2), min(bin_rows - 1, by + 2) + 1):
                if low > high:
                    break
                for n in range(first[row * bin_cols + low], first[row * bin_cols + high + 1]):
                    dy, dx = abs(found[n, 0] - y), abs(found[n, 1] - x)
                    if dy < 2 and dx < 2:
                        # The middle of a facet is half a pixel right of and below its number.
                        rows_off, cols_off = place[n, 0] + 0.5 - r, place[n, 1] + 0.5 - c
                        if rows_off * rows_off + cols_off * cols_off <= reach * reach:
                            total += found[n, 2] * (weight(dy) * weight(dx))
            out[i, j] = total / (wide * wide)


@_jit
def incidence(xyz: Any, look: Any, top: int, left: int, out: Any) -> None:
    """Fill the angle (degrees) between the beam and the normal of the slope, by central differences; NaN if unknown."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            r, c = top + i, left + j
            ax, ay, az = (
                xyz[r, c + 1, 0] - xyz[r, c - 1, 0],
                xyz[r, c + 1, 1] - xyz[r, c - 1, 1],
                xyz[r, c + 1, 2] - xyz[r, c - 1, 2],
            )
            bx, by, bz = (
                xyz[r + 1, c, 0] - xyz[r - 1, c, 0],
                xyz[r + 1, c, 1] - xyz[r - 1, c, 1],
                xyz[r + 1, c, 2] - xyz[r - 1, c, 2],
            )
            nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
            outward = nx * xyz[r, c, 0] + ny * xyz[r, c, 1] + nz * xyz[r, c, 2]
            length = np.sqrt(nx * nx + ny * ny + nz * nz) * (1 if outward > 0 else -1)
            cosine = -(nx * look[r, c, 0] + ny * look[r, c, 1] + nz * look[r, c, 2]) / length
            out[i, j] = np.degrees(np.arccos(min(1.0, max(-1.0, cosine)))) if np.isfinite(cosine) else np.nan


@_jit
def _along(field: Any, y: float, x: float, whole: int) -> Any:
    """Return a field between two pixels, at a whole row (0) or column (1); NaN outside or where either is unknown."""
    if whole == 0:
        r = int(np.rint(y))
        c = int(np.floor(x))
        f = x - c
        if r < 0 or r >= field.shape[0] or c < 0 or c + 1 >= field.shape[1]:
            return np.nan
        return field[r, c] + f * (field[r, c + 1] - field[r, c])
    r = int(np.floor(y))
    c = int(np.rint(x))
    f = y - r
    if c < 0 or c >= field.shape[1] or r < 0 or r + 1 >= field.shape[0]:
        return np.nan
    return field[r, c] + f * (field[r + 1, c] - field[r, c])


@_jit
def extremes(height: Any, lows: Any, highs: Any) -> None:
    """Fill the lowest and the highest of each block of ``BLOCK`` pixels and one pixel around it; NaN is left out."""
    for i in range(lows.shape[0]):
        for j in range(lows.shape[1]):
            low, high = np.inf, -np.inf
            for r in range(max(0, i * BLOCK - 1), min(height.shape[0], (i + 1) * BLOCK + 1)):
                for c in range(max(0, j * BLOCK - 1), min(height.shape[1], (j + 1) * BLOCK + 1)):
                    if np.isfinite(height[r, c]):
                        low, high = min(low, height[r, c]), max(high, height[r, c])
            lows[i, j], highs[i, j] = low, high


@_jit
def _steps_left(x: float, slope: float) -> float:
    """Return the steps of ``slope`` after which ``x`` leaves its block along one axis."""
    inside = x - BLOCK * np.floor(x / BLOCK)
    return (BLOCK - inside) / slope if slope > 0 else (inside / -slope if slope < 0 else np.inf)


@_jit
def _meets(field: Any, bounds: Any, r: int, c: int, dr: float, dc: float, h: float, rise: float, last: int) -> Any:
    """Return whether ``field`` is somewhere along a walk no larger than at its start.

    It can be so only where the ground is above (``rise`` metres per step positive) or below (negative) a line from
    the start's height: ``bounds`` are the blocks' highest or lowest, and blocks out of question are stepped over.
    """
    whole = 0 if abs(dr) >= abs(dc) else 1
    start = field[r, c]
    k = 1
    while k <= last:
        y, x = r + k * dr, c + k * dc
        row, col = int(np.floor(y / BLOCK)), int(np.floor(x / BLOCK))
        if not (0 <= row < bounds.shape[0] and 0 <= col < bounds.shape[1]):
            return False
        line = h + k * rise
        if (rise > 0 and bounds[row, col] < line - 1) or (rise < 0 and bounds[row, col] > line + 1):
            k += max(1, int(min(_steps_left(y, dr), _steps_left(x, dc))))
            continue
        if _along(field, y, x, whole) <= start:
            return True
        k += 1
    return False


@_jit
def hidden(
    height: Any, near: Any, far: Any, nadir: Any, cosine: Any, lows: Any, highs: Any, way: Any, step: int, row: int,
    col: int, reach: float, top: int, left: int, layover: Any, shadow: Any,
) -> None:  # fmt: skip
    """Fill where other ground has the same range (layover), and where nearer ground hides a pixel (shadow).

    From each pixel, along its zero-Doppler plane and at most ``reach`` metres: ground farther out that is no farther
    in range (``near`` is the slant range), ground nearer that is no nearer in range (``far``, its negative), and
    nearer ground that the satellite sees at no smaller an angle from nadir (``nadir`` is the cosine of that angle).
    """
    low, high = lows.min(), highs.max()
    for i in range(layover.shape[0]):
        for j in range(layover.shape[1]):
            r, c = top + i, left + j
            h = height[r, c]
            layover[i, j], shadow[i, j] = False, False
            if not (np.isfinite(h) and np.isfinite(cosine[r, c])):
                continue
            cell_row, cell_col = (r + row) // step, (c + col) // step
            dr, dc, metres = way[cell_row, cell_col, 0], way[cell_row, cell_col, 1], way[cell_row, cell_col, 2]
            last = int(reach / metres)
            # Surfaces of equal range rise away from the radar by tan(incidence), rays towards it by its inverse.
            tangent = np.sqrt(1 - cosine[r, c] * cosine[r, c]) / cosine[r, c]
            rise, ray = metres * tangent * _SAFE, metres / tangent * _SAFE
            up, down, to_ray = (high - h + 1) / rise, (h - low + 1) / rise, (high - h + 1) / ray
            layover[i, j] = _meets(near, highs, r, c, dr, dc, h, rise, min(last, int(up)))
            if not layover[i, j]:
                layover[i, j] = _meets(far, lows, r, c, -dr, -dc, h, -rise, min(last, int(down)))
            shadow[i, j] = _meets(nadir, highs, r, c, -dr, -dc, h, ray, min(last, int(to_ray)))

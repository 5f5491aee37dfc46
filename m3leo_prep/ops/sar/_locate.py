"""Kernels that find where points of the ground are in the orbit's time and range.

Every point is solved for itself, from a start that belongs to its mesh cell: no pixel knows of its neighbours.
Without fastmath LLVM neither reorders nor contracts operations, so a result does not depend on vector units.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")

_FAR = 30
"""Newton steps from anywhere along the orbit; each at least halves the error, from 1 000 s."""
_NEAR = 2
"""Steps from a start at most 0.4 s away: 0.4 s, then 4e-6 s, then 1e-15 s (see ``nearer``)."""
_AT_ZERO = 1e-6
"""Seconds: a solution is one if another step would move it by less."""


@_jit
def interval(times: Any, t: float) -> int:
    """Return which of the orbit's polynomials holds at ``t``; the outermost go on beyond its ends."""
    i = 0
    while i < times.size - 2 and t >= times[i + 1]:
        i += 1
    return i


@_jit
def nearer(times: Any, poly: Any, x: float, y: float, z: float, t: float, state: Any) -> float:
    """Return a better zero-Doppler time of a point than ``t``, and write the satellite's state at ``t``.

    One Newton step on (point - satellite) . velocity = 0. ``state`` takes position (3), velocity (3), the derivative
    of that product, and the distance to the point.
    """
    i = interval(times, t)
    u = t - times[i]
    doppler, slope, square = 0.0, 0.0, 0.0
    for axis in range(3):
        c0, c1, c2, c3 = poly[i, 0, axis], poly[i, 1, axis], poly[i, 2, axis], poly[i, 3, axis]
        position = c0 + u * (c1 + u * (c2 + u * c3))
        velocity = c1 + u * (2 * c2 + u * 3 * c3)
        acceleration = 2 * c2 + u * 6 * c3
        away = (x if axis == 0 else y if axis == 1 else z) - position
        doppler += away * velocity
        slope += away * acceleration - velocity * velocity
        square += away * away
        state[axis] = position
        state[3 + axis] = velocity
    state[6] = slope
    state[7] = np.sqrt(square)
    return t - doppler / slope


@_jit
def is_right(x: float, y: float, z: float, state: Any) -> Any:
    """Return whether a point is on the right of the flight, where Sentinel-1 looks: (velocity x up) . look > 0."""
    px, py, pz, vx, vy, vz = state[0], state[1], state[2], state[3], state[4], state[5]
    side = (vy * pz - vz * py) * (x - px) + (vz * px - vx * pz) * (y - py) + (vx * py - vy * px) * (z - pz)
    return side > 0


@_jit
def solve(times: Any, poly: Any, x: float, y: float, z: float, start: float, steps: int, state: Any) -> float:
    """Return the zero-Doppler time of a point, NaN where the orbit does not reach or looks away; ``state`` is there."""
    t = start
    for _ in range(steps):
        t = nearer(times, poly, x, y, z, t, state)
    better = nearer(times, poly, x, y, z, t, state)
    # Also False for NaN.
    if times[0] <= t <= times[-1] and abs(better - t) < _AT_ZERO and is_right(x, y, z, state):
        return t
    return np.nan


@_jit
def points(times: Any, poly: Any, xyz: Any, azimuth_time: Any, slant_range: Any) -> None:
    """Fill time and range of (n, 3) points anywhere."""
    state = np.empty(8)
    middle = (times[0] + times[-1]) / 2
    for k in range(xyz.shape[0]):
        t = solve(times, poly, xyz[k, 0], xyz[k, 1], xyz[k, 2], middle, _FAR, state)
        azimuth_time[k] = t
        slant_range[k] = state[7] if np.isfinite(t) else np.nan


@_jit
def at(nodes: Any, r: int, c: int, t_row: float, t_col: float, axis: int) -> Any:
    """Return the biquadratic through the nodes of a cell at (t_row, t_col) in 0 ... 2."""
    a, b = (t_row - 1) * (t_row - 2) * 0.5, t_row * (2 - t_row)
    d = t_row * (t_row - 1) * 0.5
    v0 = a * nodes[r, c, axis] + b * nodes[r + 1, c, axis] + d * nodes[r + 2, c, axis]
    v1 = a * nodes[r, c + 1, axis] + b * nodes[r + 1, c + 1, axis] + d * nodes[r + 2, c + 1, axis]
    v2 = a * nodes[r, c + 2, axis] + b * nodes[r + 1, c + 2, axis] + d * nodes[r + 2, c + 2, axis]
    return v0 + t_col * ((v1 - v0) * 2 - (v2 - v0) * 0.5 + t_col * ((v0 + v2) * 0.5 - v1))


@_jit
def grid(times: Any, poly: Any, nodes: Any, step: int, row: int, col: int, height: Any, vectors: Any, out: Any) -> None:
    """Fill what the radar sees of every pixel of a block; NaN where it sees nothing.

    Args:
        times: of the orbit.
        poly: of the orbit.
        nodes: of the ground; ``step``, ``row`` and ``col`` as ``Ground`` says.
        step: target pixels per cell.
        row: of the first pixel in the first cell.
        col: the same.
        height: (y, x) metres above the ellipsoid, NaN where unknown.
        vectors: (2, y, x, 3), takes the point, and the unit vector from satellite to point; or is empty.
        out: (5, y, x), takes azimuth time, slant range, cosine of the incidence on the ellipsoid, cosine of the look
            angle from the satellite's nadir (by the Earth's centre), and ground speed of the beam in m/s.
    """
    rows, cols = height.shape
    state, point, up = np.empty(8), np.empty(3), np.empty(3)
    middle = (times[0] + times[-1]) / 2
    half = 2.0 / step
    full = vectors.size > 0
    for cell_row in range((nodes.shape[0] - 1) // 2):
        for cell_col in range((nodes.shape[1] - 1) // 2):
            r, c = 2 * cell_row, 2 * cell_col
            # The middle of the cell at sea level: heights of the Earth move the solution by less than 0.01 s.
            start = middle
            for _ in range(_FAR):
                start = nearer(
                    times, poly, nodes[r + 1, c + 1, 0], nodes[r + 1, c + 1, 1], nodes[r + 1, c + 1, 2], start, state
                )
            for i in range(max(0, cell_row * step - row), min(rows, (cell_row + 1) * step - row)):
                t_row = (i + row - cell_row * step + 0.5) * half
                for j in range(max(0, cell_col * step - col), min(cols, (cell_col + 1) * step - col)):
                    t_col = (j + col - cell_col * step + 0.5) * half
                    h = height[i, j]
                    for axis in range(3):
                        up[axis] = at(nodes, r, c, t_row, t_col, 3 + axis)
                        point[axis] = at(nodes, r, c, t_row, t_col, axis) + h * up[axis]
                    t = solve(times, poly, point[0], point[1], point[2], start, _NEAR, state)
                    if full:
                        vectors[0, i, j, :] = point
                    if not np.isfinite(t):
                        out[:, i, j] = np.nan
                        if full:
                            vectors[1, i, j, :] = np.nan
                        continue
                    distance = state[7]
                    cosine, nadir, radius, speed = 0.0, 0.0, 0.0, 0.0
                    for axis in range(3):
                        beam = (point[axis] - state[axis]) / distance
                        cosine -= beam * up[axis]
                        nadir -= beam * state[axis]
                        radius += state[axis] * state[axis]
                        speed += state[3 + axis] * state[3 + axis]
                        if full:
                            vectors[1, i, j, axis] = beam
                    out[0, i, j] = t
                    out[1, i, j] = distance
                    out[2, i, j] = cosine
                    out[3, i, j] = nadir / np.sqrt(radius)
                    # How fast the zero-Doppler plane moves along the velocity at the point: -slope / speed.
                    out[4, i, j] = -state[6] / np.sqrt(speed)


@_jit
def record(starts: Any, t: float) -> tuple[int, float]:
    """Return the ground-range record before ``t`` and the weight of the next; the outermost hold beyond the ends."""
    last = starts.size - 1
    if last == 0 or t <= starts[0]:
        return 0, 0.0
    if t >= starts[last]:
        return last - 1, 1.0
    k = interval(starts, t)
    return k, (t - starts[k]) / (starts[k + 1] - starts[k])


@_jit
def ground_range(origins: Any, coefficients: Any, k: int, slant: float) -> tuple[float, float]:
    """Return ground range (m) by record ``k`` and its derivative by slant range."""
    x = slant - origins[k]
    value, slope = 0.0, 0.0
    for power in range(coefficients.shape[1] - 1, -1, -1):
        slope = slope * x + value
        value = value * x + coefficients[k, power]
    return value, slope


@_jit
def place(
    starts: Any,
    origins: Any,
    coefficients: Any,
    first_time: float,
    interval_s: float,
    spacing: float,
    shift: float,
    shift_rate: float,
    azimuth_time: Any,
    slant_range: Any,
    line: Any,
    sample: Any,
    density: Any,
) -> None:
    """Fill line, sample and samples per metre of slant range, for flat arrays of azimuth time and slant range."""
    for n in range(azimuth_time.size):
        t, slant = azimuth_time[n], slant_range[n]
        if not np.isfinite(t):
            line[n], sample[n], density[n] = np.nan, np.nan, np.nan
            continue
        k, weight = record(starts, t)
        value, slope = ground_range(origins, coefficients, k, slant)
        if weight > 0:
            next_value, next_slope = ground_range(origins, coefficients, k + 1, slant)
            value += weight * (next_value - value)
            slope += weight * (next_slope - slope)
        line[n] = (t - shift - shift_rate * slant - first_time) / interval_s
        sample[n] = value / spacing
        density[n] = slope / spacing

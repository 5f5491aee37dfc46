"""Noise on a lattice around the Earth: the same value at the same place, whoever asks for whatever part.

Compiled, because a dozen octaves a pixel in array code would cost more than the warp that they are there to
test. No state, no random generator: lattice nodes are hashed integers.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numba
import numpy as np

_A = np.uint64(0x9E3779B97F4A7C15)
_B = np.uint64(0xBF58476D1CE4E5B9)
_C = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT = 2.0**-53

LANES = 64
"""Places that ``fractals`` works on at once; no result depends on it."""

Function = TypeVar("Function")


def jit(function: Function) -> Function:
    """Return the function compiled, without fastmath: the same bits everywhere."""
    return cast("Function", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def inlined(function: Function) -> Function:
    """Return the function compiled into its callers.

    For functions that take arrays: a call would count references, which costs five times the arithmetic.
    """
    return cast("Function", numba.njit(nogil=True, error_model="numpy", inline="always")(function))


@jit
def hashed(a: int, b: int, seed: int) -> np.uint64:
    """Return 64 well-mixed bits of two whole numbers and a seed."""
    # The seed has its own factor: added to ``a``, one seed's rows would be the next seed's, one row off.
    h = np.uint64(a) * _A + np.uint64(seed) * _C
    h = (h ^ (h >> _30)) + np.uint64(b)
    h = (h ^ (h >> _30)) * _B
    h = (h ^ (h >> _27)) * _C
    return h ^ (h >> _31)


@jit
def unit(a: int, b: int, seed: int) -> float:
    """Return a number in [0, 1) from two whole numbers and a seed."""
    return float(hashed(a, b, seed) >> _11) * _UNIT


@jit
def _corners(ix: int, iy: int, around: int, seed: int) -> tuple[float, float, float, float]:
    left, right = ix % around, (ix + 1) % around
    return unit(left, iy, seed), unit(right, iy, seed), unit(left, iy + 1, seed), unit(right, iy + 1, seed)


@inlined
def fractal(
    row: int, octaves: int, u: float, v: float, around: int, gain: float, seed: int, state: Any
) -> tuple[float, float, float]:
    """Return the weighted mean of ``octaves`` of value noise, in [0, 1], and its derivatives per turn.

    ``u`` and ``v`` are turns (1 = once around the Earth; ``u`` wraps); the coarsest octave has ``around`` cells a
    turn. Rows ``row ... row + octaves`` of ``state`` (see ``no_state``) remember each octave's last cell and the
    coefficients of its bilinear form, because neighbouring pixels mostly share them.
    """
    total, du, dv, weights = 0.0, 0.0, 0.0, 0.0
    weight, n = 1.0, around
    for k in range(octaves):
        # Shifted, so that the nodes of different octaves do not line up and show.
        x, y = u * n + 0.37 * k, v * n + 0.61 * k
        fx, fy = np.floor(x), np.floor(y)
        if state[row + k, 0] != fx or state[row + k, 1] != fy:
            p, q, r, s = _corners(int(fx), int(fy), n, seed + k)
            state[row + k, 0], state[row + k, 1] = fx, fy
            state[row + k, 2], state[row + k, 3] = p, q - p
            state[row + k, 4], state[row + k, 5] = r - p, s - r - q + p
        tx, ty = x - fx, y - fy
        sx, sy = tx * tx * (3.0 - 2.0 * tx), ty * ty * (3.0 - 2.0 * ty)
        a, b, c, d = state[row + k, 2], state[row + k, 3], state[row + k, 4], state[row + k, 5]
        total += weight * (a + b * sx + c * sy + d * sx * sy)
        du += weight * n * (b + d * sy) * 6.0 * tx * (1.0 - tx)
        dv += weight * n * (c + d * sx) * 6.0 * ty * (1.0 - ty)
        weights += weight
        weight *= gain
        n *= 2
    return total / weights, du / weights, dv / weights


@jit
def fractals(
    row: int, octaves: int, places: Any, around: int, gain: float, seed: int, state: Any, work: Any, out: Any
) -> None:
    """Write ``fractal`` of ``LANES`` places at once, to the bit, in a third of its time: with the CPU's vectors.

    All arrays are flat, lanes one after the other, and their parts begin at constants, or no loop would be
    vectorised: ``places`` is u, v; ``work`` is eight parts of any content; ``out`` becomes value and derivatives.
    """
    weights, weight, n = 0.0, 1.0, around
    for i in range(3 * LANES):
        out[i] = 0.0
    for k in range(octaves):
        last_x, last_y, a, b = state[row + k, 0], state[row + k, 1], state[row + k, 2], state[row + k, 3]
        c, d = state[row + k, 4], state[row + k, 5]
        for i in range(LANES):
            x, y = places[i] * n + 0.37 * k, places[LANES + i] * n + 0.61 * k
            fx, fy = np.floor(x), np.floor(y)
            work[i], work[LANES + i] = fx, fy
        for i in range(LANES):
            fx, fy = work[i], work[LANES + i]
            if last_x != fx or last_y != fy:
                p, q, r, s = _corners(int(fx), int(fy), n, seed + k)
                last_x, last_y, a, b, c, d = fx, fy, p, q - p, r - p, s - r - q + p
            work[2 * LANES + i], work[3 * LANES + i], work[4 * LANES + i], work[5 * LANES + i] = a, b, c, d
        state[row + k, 0], state[row + k, 1], state[row + k, 2], state[row + k, 3] = last_x, last_y, a, b
        state[row + k, 4], state[row + k, 5] = c, d
        for i in range(LANES):
            tx = places[i] * n + 0.37 * k - work[i]
            ty = places[LANES + i] * n + 0.61 * k - work[LANES + i]
            sx, sy = tx * tx * (3.0 - 2.0 * tx), ty * ty * (3.0 - 2.0 * ty)
            a, b, c, d = work[2 * LANES + i], work[3 * LANES + i], work[4 * LANES + i], work[5 * LANES + i]
            out[i] += weight * (a + b * sx + c * sy + d * sx * sy)
            out[LANES + i] += weight * n * (b + d * sy) * 6.0 * tx * (1.0 - tx)
            out[2 * LANES + i] += weight * n * (c + d * sx) * 6.0 * ty * (1.0 - ty)
        weights += weight
        weight *= gain
        n *= 2
    for i in range(3 * LANES):
        out[i] /= weights


@jit
def no_state(rows: int) -> Any:
    """Return the state that remembers nothing."""
    return np.full((rows, 6), np.inf)

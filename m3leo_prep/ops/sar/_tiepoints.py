"""Kernels that interpolate and invert a grid of tie points."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")

_STEPS = 20
_CLOSE = 1e-7
"""Degrees (1 cm): converged."""
_SLACK = 1e-3
"""Pixels beyond the outermost tie points that still count as on them."""


@_jit
def _cubic(knots: Any, x: float, w: Any, slope: Any) -> int:
    """Write the four weights of Lagrange's cubic at ``x`` and their derivatives; return the first knot."""
    first = 0
    while first < knots.size - 4 and x >= knots[first + 2]:
        first += 1
    for a in range(4):
        product, derivative = 1.0, 0.0
        for b in range(4):
            if b != a:
                span = knots[first + a] - knots[first + b]
                derivative = (derivative * (x - knots[first + b]) + product) / span
                product *= (x - knots[first + b]) / span
        w[a], slope[a] = product, derivative
    return first


@_jit
def invert(lines: Any, samples: Any, lon: Any, lat: Any, x: Any, y: Any, line: Any, sample: Any) -> None:
    """Fill line and sample of flat arrays of longitude and latitude; NaN outside the tie points."""
    wl, dl, ws, ds = np.empty(4), np.empty(4), np.empty(4), np.empty(4)
    low_line, high_line = lines[0] - _SLACK, lines[-1] + _SLACK
    low_sample, high_sample = samples[0] - _SLACK, samples[-1] + _SLACK
    for n in range(x.size):
        line[n], sample[n] = np.nan, np.nan
        u, v = (lines[0] + lines[-1]) / 2, (samples[0] + samples[-1]) / 2
        for _ in range(_STEPS):
            i, j = _cubic(lines, u, wl, dl), _cubic(samples, v, ws, ds)
            px, py, xu, xv, yu, yv = -x[n], -y[n], 0.0, 0.0, 0.0, 0.0
            for a in range(4):
                for b in range(4):
                    here_x, here_y = lon[i + a, j + b], lat[i + a, j + b]
                    px += wl[a] * ws[b] * here_x
                    py += wl[a] * ws[b] * here_y
                    xu += dl[a] * ws[b] * here_x
                    yu += dl[a] * ws[b] * here_y
                    xv += wl[a] * ds[b] * here_x
                    yv += wl[a] * ds[b] * here_y
            determinant = xu * yv - xv * yu
            if abs(px) < _CLOSE and abs(py) < _CLOSE:
                u -= (yv * px - xv * py) / determinant
                v -= (xu * py - yu * px) / determinant
                if low_line <= u <= high_line and low_sample <= v <= high_sample:
                    line[n], sample[n] = u, v
                break
            # A step that leaves the grid stops at its edge, so that the cubic is not extrapolated far.
            u = min(max(u - (yv * px - xv * py) / determinant, lines[0] - 500), lines[-1] + 500)
            v = min(max(v - (xu * py - yu * px) / determinant, samples[0] - 500), samples[-1] + 500)
            if not (np.isfinite(u) and np.isfinite(v)):
                break

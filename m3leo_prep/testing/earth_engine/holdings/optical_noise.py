"""Clouds and numbers of the synthetic Sentinel-2, compiled."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources.synthetic.noise import fractal, hashed, jit, no_state

CLEAR, SHADOW, EDGE, CORE, OUTSIDE = range(5)
"""What is between a pixel and the camera; OUTSIDE: the pixel was not seen at all."""

_SPREAD = NormalDist(0.5, 0.145)
"""How the noise of clouds is distributed, so that a threshold gives the share asked for."""


def clouds(lon: NDArray[np.float64], lat: NDArray[np.float64], share: float, seed: int) -> NDArray[np.uint8]:
    """Return CLEAR, SHADOW, EDGE or CORE at points; EDGE and CORE together are about ``share`` of all."""
    out = np.zeros(lon.size, np.uint8)
    if 0.0 < share < 1.0:
        edge, core = _SPREAD.inv_cdf(1.0 - share), _SPREAD.inv_cdf(1.0 - 0.7 * share)
        _clouds(lon.ravel(), lat.ravel(), edge, core, seed, out)
    elif share >= 1.0:
        out[:] = CORE
    return out.reshape(lon.shape)


@jit
def _clouds(lon: Any, lat: Any, edge: float, core: float, seed: int, out: Any) -> None:
    state, beside = no_state(6), no_state(6)
    for p in range(lon.size):
        u = ((lon[p] + 180.0) % 360.0) / 360.0
        v = np.arcsinh(np.tan(np.radians(lat[p]))) / (2.0 * np.pi)
        here = fractal(0, 6, u, v, 500, 0.55, seed, state)[0]
        if here > edge:
            out[p] = 3 if here > core else 2
        # The sun stands in the south-east: the shadow of what is 600 m away.
        elif fractal(0, 6, u + 1.5e-5, v - 1.5e-5, 500, 0.55, seed, beside)[0] > core:
            out[p] = 1


def numbers(
    surface: NDArray[np.float32],
    sky: NDArray[np.uint8],
    haze: float,
    row0: int,
    col0: int,
    seed: int,
    out: NDArray[np.uint16],
) -> None:
    """Fill ``out`` with reflectance x 10 000 as seen through the sky, with noise; 0 where nothing was seen."""
    _numbers(surface, sky, haze, row0, col0, seed, out)


@jit
def _numbers(surface: Any, sky: Any, haze: float, row0: int, col0: int, seed: int, out: Any) -> None:
    rows, cols = out.shape
    for r in range(rows):
        for c in range(cols):
            state = sky[r, c]
            if state == 4:
                out[r, c] = 0
                continue
            value = surface[r, c] + haze
            if state == 3:
                value = 0.55 + 0.2 * value
            elif state == 2:
                value = 0.22 + 0.6 * value
            elif state == 1:
                value *= 0.45
            grain = np.float64(hashed(row0 + r, col0 + c, seed) >> np.uint64(53)) / 2048.0 - 0.5
            out[r, c] = np.uint16(max(1.0, 1e4 * value + 30.0 * grain + 0.5))

"""Values to brightness for the eye: 0 is the darkest, 1 the brightest, NaN stays missing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

SUN_AZIMUTH, SUN_HEIGHT = 315.0, 45.0
"""Degrees; light from the upper left is what makes a relief look like one."""
LOG_DECADES = 3.0
"""Powers of ten that a logarithmic stretch spreads below its upper limit."""


def stretch(values: Floats, low: float, high: float, gamma: float = 1.0) -> Floats:
    """Return ``((values - low) / (high - low)) ** (1 / gamma)``, clipped to 0...1, same shape."""
    level: Floats = np.clip((values - low) / (high - low), 0.0, 1.0)
    return level if gamma == 1.0 else np.power(level, 1.0 / gamma)


def log_stretch(values: Floats, high: float) -> Floats:
    """Return 0 for 0, 1 for ``high``, logarithmic over ``LOG_DECADES`` below it, linear near 0; clipped to 0...1."""
    softening = high / 10**LOG_DECADES
    level: Floats = np.log1p(np.maximum(values, 0.0) / softening) / np.log1p(10**LOG_DECADES)
    return np.minimum(level, 1.0)


def robust_limits(values: Floats, cut: float = 2.0) -> tuple[float, float]:
    """Return the ``cut`` and ``100 - cut`` percentiles of the finite values, never equal; (0, 1) if there are none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(edge) for edge in np.percentile(finite, [cut, 100.0 - cut]))
    if not high > low:
        low, high = float(finite.min()), float(finite.max())
    margin = 0.0 if high > low else max(abs(low), 1.0) / 2
    return low - margin, high + margin


def hillshade(height: Floats, pitch: float) -> Floats:
    """Return how bright each pixel is under the sun, 0...1; level ground has the sine of the sun's height.

    Args:
        height: (y, x) in m, north up, NaN where missing; pixels beside missing ones are lit as if level there.
        pitch: pixel in m.
    """
    if min(height.shape) < 2:
        return np.where(np.isnan(height), np.nan, np.sin(np.radians(SUN_HEIGHT)))
    down, right = (np.nan_to_num(slope) for slope in np.gradient(height, pitch))
    azimuth, elevation = np.radians(SUN_AZIMUTH), np.radians(SUN_HEIGHT)
    east, north, up = np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth), np.sin(elevation)
    # The normal of z(east, north) is (-dz/deast, -dz/dnorth, 1); rows count southward.
    light = (-right * east + down * north + up) / np.sqrt(1 + right**2 + down**2)
    return np.where(np.isnan(height), np.nan, np.clip(light, 0.0, 1.0))


def shrink(values: Floats, size: int) -> Floats:
    """Return (..., size, size) means over equal parts of (..., n, n) pixels, without NaN; NaN where most is missing.

    Pixels across the border of two parts count by their share. Nothing is changed where n <= size.
    """
    n = values.shape[-1]
    if n <= size:
        return values
    there = np.isfinite(values)
    if there.all():
        return _parts(_parts(values, size, -1), size, -2)
    weight = _parts(_parts(there.astype(np.float32), size, -1), size, -2)
    total = _parts(_parts(np.where(there, values, 0.0).astype(np.float32), size, -1), size, -2)
    return np.where(weight > 0.5, total / np.maximum(weight, 1e-6), np.nan)


def _parts(values: Floats, size: int, axis: int) -> Floats:
    """Return means over ``size`` equal parts of an axis."""
    n = values.shape[axis]
    edges = np.arange(size + 1) * n / size
    first = edges[:-1].astype(int)
    total: Floats = np.zeros((), np.float32)
    for step in range(math.ceil(n / size) + 1):
        pixel = np.minimum(first + step, n - 1)
        overlap = np.minimum(edges[1:], first + step + 1) - np.maximum(edges[:-1], first + step)
        share = (np.maximum(overlap, 0.0) * size / n).astype(np.float32)
        total = total + np.take(values, pixel, axis) * (share[:, None] if axis == -2 else share)
    return total


def thin(codes: NDArray[Any], size: int) -> NDArray[Any]:
    """Return (..., size, size) of (..., n, n): the pixel at the middle of each part, for what has no mean."""
    n = codes.shape[-1]
    if n <= size:
        return codes
    middle = ((np.arange(size) + 0.5) * n / size).astype(int)
    return codes[..., middle, :][..., middle]

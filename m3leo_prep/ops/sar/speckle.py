"""Speckle filters of one image, in linear power: Lee, refined Lee and Gamma-MAP.

All keep the mean of even ground, use valid pixels only, and give a valid pixel for each valid one. Values of 0 and
less, which noise removal leaves, take part like any other. A window is cut at the edge of the array: give half a window
more around what is wanted, and no pixel depends on where the image was cut.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError

VERSION = 1
"""Bumped when the output changes."""
REFINED_RADIUS = 3
"""The refined filter's window is 7 x 7."""
_STRIP = 512
"""Columns worked on at once: bounds what is kept beside the image, and seven rows stay in the processor's cache."""
Filtered = NDArray[np.float32]


def lee(power: NDArray[Any], valid: NDArray[np.bool_], *, looks: float, size: int = 7) -> Filtered:
    """Return power filtered by the local statistics of a square window, (y, x), NaN where not valid.

    mean + k (value - mean), with k = var(x) / var(y) and var(x) = (var(y) - mean^2 / L) / (1 + 1 / L), at least 0:
    even ground becomes its mean, edges and points stay (Lee, Digital image enhancement and noise filtering by use of
    local statistics, IEEE Trans. Pattern Analysis 2, 1980).

    Args:
        power: (y, x) linear.
        valid: (y, x).
        looks: equivalent number of looks; Sentinel-1 IW GRD has 4.4.
        size: of the window in pixels, odd.

    Raises:
        ConfigError: ``looks`` or ``size`` is none.
    """
    return _lee(*_plain(power, valid), 1.0 / _checked(looks), _radius(size))


def gamma_map(power: NDArray[Any], valid: NDArray[np.bool_], *, looks: float, size: int = 7) -> Filtered:
    """Return the most probable power where ground and speckle are gamma distributed, (y, x), NaN where not valid.

    Between the coefficients of variation 1 / sqrt(L), below which ground is even and its mean is taken, and
    sqrt(2 / L), above which a pixel stays as it is (Lopes et al., Maximum a posteriori speckle filtering and first
    order texture models in SAR images, IGARSS 1990).

    Args:
        power: (y, x) linear.
        valid: (y, x).
        looks: equivalent number of looks.
        size: of the window in pixels, odd.

    Raises:
        ConfigError: ``looks`` or ``size`` is none.
    """
    return _gamma_map(*_plain(power, valid), _checked(looks), _radius(size))


def refined_lee(power: NDArray[Any], valid: NDArray[np.bool_], *, looks: float) -> Filtered:
    """Return power filtered by the statistics of that half of a 7 x 7 window which lies on the pixel's side of an edge.

    The edge's direction is that of the steepest of four gradients between the means of nine 3 x 3 pixels, its side the
    one whose mean is nearer to the middle's; (y, x), NaN where not valid (Lee, Refined filtering of image noise using
    local statistics, Computer Graphics and Image Processing 15, 1981).

    Args:
        power: (y, x) linear.
        valid: (y, x).
        looks: equivalent number of looks.

    Raises:
        ConfigError: ``looks`` is none.
    """
    noise = 1.0 / _checked(looks)
    out = np.empty(power.shape, np.float32)
    for first in range(0, power.shape[1], _STRIP):
        last, left = first + _STRIP, max(first - REFINED_RADIUS, 0)
        wide = (slice(None), slice(left, last + REFINED_RADIUS))
        strip = _refined_lee(*_plain(power[wide], valid[wide]), noise, _HALVES)
        out[:, first:last] = strip[:, first - left : last - left]
    return out


def _plain(power: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return both as the kernels are compiled for."""
    return np.ascontiguousarray(power, np.float32), np.ascontiguousarray(valid, bool)


def _checked(looks: float) -> float:
    if not (math.isfinite(looks) and looks > 0):
        raise ConfigError(f"looks: {looks!r} is no number above 0")
    return float(looks)


def _radius(size: int) -> int:
    if size % 2 != 1 or size < 3:
        raise ConfigError(f"a window of {size} pixels has no middle and neighbours: 3, 5, 7 ...")
    return size // 2


@njit(nogil=True, cache=True)
def _statistics(power: NDArray[Any], valid: NDArray[np.bool_], y: int, x: int, radius: int) -> tuple[int, float, float]:
    """Return count, mean and variance of the valid pixels in a window."""
    height, width = power.shape
    n, total = 0, 0.0
    for row in range(max(0, y - radius), min(height, y + radius + 1)):
        for col in range(max(0, x - radius), min(width, x + radius + 1)):
            if valid[row, col]:
                n += 1
                total += power[row, col]
    mean = total / n
    squares = 0.0
    for row in range(max(0, y - radius), min(height, y + radius + 1)):
        for col in range(max(0, x - radius), min(width, x + radius + 1)):
            if valid[row, col]:
                step = power[row, col] - mean
                squares += step * step
    return n, mean, squares / max(n - 1, 1)


@njit(nogil=True, cache=True)
def _weighed(value: float, mean: float, variance: float, noise: float) -> float:
    """Return Lee's estimate; ``noise`` is the variance of speckle of mean 1."""
    if variance <= 0:
        return mean
    signal = (variance - mean * mean * noise) / (1 + noise)
    return mean + max(signal, 0.0) / variance * (value - mean)


@njit(nogil=True, cache=True)
def _lee(power: NDArray[Any], valid: NDArray[np.bool_], noise: float, radius: int) -> NDArray[np.float32]:
    out = np.full(power.shape, np.nan, np.float32)
    for y in range(power.shape[0]):
        for x in range(power.shape[1]):
            if valid[y, x]:
                _, mean, variance = _statistics(power, valid, y, x, radius)
                out[y, x] = _weighed(power[y, x], mean, variance, noise)
    return out


@njit(nogil=True, cache=True)
def _gamma_map(power: NDArray[Any], valid: NDArray[np.bool_], looks: float, radius: int) -> NDArray[np.float32]:
    out = np.full(power.shape, np.nan, np.float32)
    even, point = 1.0 / looks, 2.0 / looks
    for y in range(power.shape[0]):
        for x in range(power.shape[1]):
            if not valid[y, x]:
                continue
            value = np.float64(power[y, x])
            _, mean, variance = _statistics(power, valid, y, x, radius)
            spread = variance / (mean * mean) if mean > 0 else 0.0
            if spread <= even:
                out[y, x] = mean
            elif spread >= point or value <= 0:
                out[y, x] = value
            else:
                order = (1 + even) / (spread - even)
                b = order - looks - 1
                out[y, x] = (b * mean + np.sqrt(b * b * mean * mean + 4 * order * looks * mean * value)) / (2 * order)
    return out


def _halves() -> NDArray[np.int64]:
    """Return (8, 28, 2): row and column, 0 ... 6, of each pixel of the eight half windows.

    In pairs, by the direction of the gradient: right and left, lower and upper, and two pairs of triangles.
    """
    rows, cols = np.mgrid[-3:4, -3:4]
    sides = (cols, rows, cols - rows, cols + rows)
    return np.array([np.argwhere(inside) for side in sides for inside in (side >= 0, side <= 0)])


_HALVES = _halves()


@njit(nogil=True, cache=True, error_model="numpy")
def _thirds(power: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean of the valid pixels of 3 x 3 around each pixel, NaN where there is none.

    (y + 4, x + 4): with two pixels of NaN on each side.
    """
    height, width = power.shape
    means = np.full((height + 4, width + 4), np.nan)
    total, count = np.zeros(width + 2), np.zeros(width + 2)
    for y in range(height):
        total[:], count[:] = 0.0, 0.0
        for row in range(max(0, y - 1), min(height, y + 2)):
            for x in range(width):
                total[x + 1] += power[row, x] if valid[row, x] else 0.0
                count[x + 1] += 1.0 if valid[row, x] else 0.0
        for x in range(width):
            # 0 / 0 is NaN.
            means[y + 2, x + 2] = (total[x] + total[x + 1] + total[x + 2]) / (count[x] + count[x + 1] + count[x + 2])
    return means


@njit(nogil=True, cache=True)
def _sides(means: NDArray[np.float64], y: int, sides: NDArray[np.uint8]) -> None:
    """Fill (x,): the half window (0 ... 7) on each pixel's side of the steepest of four gradients."""
    up, here, down = means[y], means[y + 2], means[y + 4]
    # Chosen by value and not by branches, which speckle would make unpredictable; this way rows are vectorised.
    for x in range(sides.size):
        middle = here[x + 2]
        # a b c / d . e / f g h; what is not known has no gradient to the middle.
        a, b, c = up[x], up[x + 2], up[x + 4]
        d, e = here[x], here[x + 4]
        f, g, h = down[x], down[x + 2], down[x + 4]
        a = middle if np.isnan(a) else a
        b = middle if np.isnan(b) else b
        c = middle if np.isnan(c) else c
        d = middle if np.isnan(d) else d
        e = middle if np.isnan(e) else e
        f = middle if np.isnan(f) else f
        g = middle if np.isnan(g) else g
        h = middle if np.isnan(h) else h
        steepest, pair, one, other = abs(c + e + h - a - d - f), 0, e, d
        gradient = abs(f + g + h - a - b - c)
        steeper = gradient > steepest
        steepest = gradient if steeper else steepest
        pair, one, other = (1 if steeper else pair), (g if steeper else one), (b if steeper else other)
        gradient = abs(b + c + e - d - f - g)
        steeper = gradient > steepest
        steepest = gradient if steeper else steepest
        pair, one, other = (2 if steeper else pair), (c if steeper else one), (f if steeper else other)
        steeper = abs(e + h + g - b - a - d) > steepest
        pair, one, other = (3 if steeper else pair), (h if steeper else one), (a if steeper else other)
        sides[x] = 2 * pair + (0 if abs(one - middle) <= abs(other - middle) else 1)


@njit(nogil=True, cache=True)
def _refined_lee(
    power: NDArray[np.float32], valid: NDArray[np.bool_], noise: float, halves: NDArray[np.int64]
) -> NDArray[np.float32]:
    height, width = power.shape
    out = np.full((height, width), np.nan, np.float32)
    means, sides = _thirds(power, valid), np.zeros(width, np.uint8)
    # With three pixels of nothing on each side, in one row after the other: each half window is 28 steps from a corner.
    wide = width + 2 * REFINED_RADIUS
    padded = np.zeros((height + 2 * REFINED_RADIUS) * wide)
    there = np.zeros(padded.size, np.uint8)
    for y in range(height):
        for x in range(width):
            if valid[y, x]:
                at = (y + REFINED_RADIUS) * wide + x + REFINED_RADIUS
                padded[at], there[at] = power[y, x], 1
    # Unsigned: what may be negative would be counted from the end, which takes time.
    steps = np.zeros((8, 28), np.uint64)
    for side in range(8):
        for k in range(28):
            steps[side, k] = halves[side, k, 0] * wide + halves[side, k, 1]
    for y in range(height):
        _sides(means, y, sides)
        for x in range(width):
            if not valid[y, x]:
                continue
            corner = np.uint64(y * wide + x)
            n, total, squares = 0, 0.0, 0.0
            for k in range(28):
                step = corner + steps[sides[x], k]
                n += there[step]
                total += padded[step]
                squares += padded[step] * padded[step]
            mean = total / n
            variance = max(squares - total * mean, 0.0) / max(n - 1, 1)
            out[y, x] = _weighed(np.float64(power[y, x]), mean, variance, noise)
    return out

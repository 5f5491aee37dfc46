"""Moments and class counts of encoded chips, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

MOMENTS = ("n", "sum", "sum_of_squares", "min", "max")
"""Columns of ``moments``; sums and extremes are of the stored codes, not of physical values."""


def moments(codes: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (band, 5) float64 ``MOMENTS`` of the valid codes of (band, y, x); NaN extremes where none is valid."""
    return _moments(codes, valid)


def class_counts(codes: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (band, 256) pixels per code of a (band, y, x) class block."""
    return np.stack([np.bincount(c[v], minlength=256) for c, v in zip(codes, valid, strict=True)])


@njit(cache=True, nogil=True)
def _moments(codes: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    bands, height, width = codes.shape
    out = np.empty((bands, 5), np.float64)
    for b in range(bands):
        n = 0
        total = 0.0
        squares = 0.0
        low = np.inf
        high = -np.inf
        for i in range(height):
            for j in range(width):
                if valid[b, i, j]:
                    value = np.float64(codes[b, i, j])
                    n += 1
                    total += value
                    squares += value * value
                    low = min(low, value)
                    high = max(high, value)
        out[b, 0] = n
        out[b, 1] = total
        out[b, 2] = squares
        out[b, 3] = low if n else np.nan
        out[b, 4] = high if n else np.nan
    return out

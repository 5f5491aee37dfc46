"""The kernel behind ``summary.moments``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def moments(codes: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    bands, height, width = codes.shape
    out = np.empty((bands, 5), np.float64)
    for b in range(bands):
        n = 0
        total = 0.0
        low = np.inf
        high = -np.inf
        for i in range(height):
            for j in range(width):
                if valid[b, i, j]:
                    value = np.float64(codes[b, i, j])
                    n += 1
                    total += value
                    low = min(low, value)
                    high = max(high, value)
        # A second pass: the difference of two large sums of squares would leave nothing of heights of 3000 +- 0.1 m.
        mean = total / n if n else 0.0
        squares = 0.0
        for i in range(height):
            for j in range(width):
                if valid[b, i, j]:
                    away = np.float64(codes[b, i, j]) - mean
                    squares += away * away
        out[b, 0] = n
        out[b, 1] = total
        out[b, 2] = squares
        out[b, 3] = low if n else np.nan
        out[b, 4] = high if n else np.nan
    return out

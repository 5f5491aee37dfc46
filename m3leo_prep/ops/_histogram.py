"""The kernels behind ``summary.count_codes``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def count_steps(
    codes: NDArray[Any], valid: NDArray[np.bool_], first: int, shift: int, counts: NDArray[np.int64]
) -> int:
    bands, height, width = codes.shape
    n = counts.shape[1]
    outside = 0
    for b in range(bands):
        for i in range(height):
            for j in range(width):
                if valid[b, i, j]:
                    place = (np.int64(codes[b, i, j]) - first) >> shift
                    if 0 <= place < n:
                        counts[b, place] += 1
                    else:
                        outside += 1
    return outside


@njit(cache=True, nogil=True)
def count_floats(bits: NDArray[np.uint32], valid: NDArray[np.bool_], counts: NDArray[np.int64]) -> None:
    bands, height, width = bits.shape
    for b in range(bands):
        for i in range(height):
            for j in range(width):
                if valid[b, i, j]:
                    top = bits[b, i, j] >> 16
                    # Numbers below 0 run backwards, and before the others.
                    counts[b, 0xFFFF - top if top & 0x8000 else top + 0x8000] += 1

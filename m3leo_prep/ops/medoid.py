"""The medoid of several looks: at each pixel the one that lies nearest to all others in all bands at once.

Unlike a median of each band for itself, its bands were seen together, so spectra and indices stay those of a real
observation. Flood, Seasonal composite Landsat TM/ETM+ images using the medoid, Remote Sensing 5 (2013), 6481-6500.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

VERSION = 1
"""Part of a unit's digest: bumped when the output changes."""


@njit(nogil=True, cache=True)
def medoid(values: NDArray[Any], whole: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Return (y, x) the number of the look that is the medoid, -1 where no look is whole.

    It has the least sum of Euclidean distances to the other looks that are whole there; of equal ones the first.

    Args:
        values: (look, band, y, x).
        whole: (look, y, x), True where a look may be used in all bands.
    """
    n, bands, rows, cols = values.shape
    best = np.full((rows, cols), -1, np.int16)
    sums = np.empty(n)
    for y in range(rows):
        for x in range(cols):
            sums[:] = 0.0
            for i in range(n):
                if not whole[i, y, x]:
                    continue
                for j in range(i + 1, n):
                    if not whole[j, y, x]:
                        continue
                    square = 0.0
                    for band in range(bands):
                        step = np.float64(values[i, band, y, x]) - np.float64(values[j, band, y, x])
                        square += step * step
                    distance = np.sqrt(square)
                    sums[i] += distance
                    sums[j] += distance
            for i in range(n):
                if whole[i, y, x] and (best[y, x] < 0 or sums[i] < sums[best[y, x]]):
                    best[y, x] = i
    return best

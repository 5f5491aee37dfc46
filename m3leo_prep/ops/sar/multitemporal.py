"""Speckle filtering of several dates together: each date borrows looks from the others, and keeps its own changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError

VERSION = 1
"""Bumped when the output changes."""


def quegan(power: NDArray[Any], valid: NDArray[np.bool_], *, size: int = 7) -> NDArray[np.float32]:
    """Return all dates filtered, (date, y, x), NaN where not valid.

    J_k = m_k / N * sum over dates i of I_i / m_i, with m the local mean of a date (Quegan and Yu, Filtering of
    multichannel SAR images, IEEE Trans. Geosci. Remote Sensing 39, 2001, with equal weights). Mean radiometry of each
    date is kept; of N dates with independent speckle of L looks, even ground gets nearly N L looks. Dates that are not
    valid at a pixel, or whose local mean is 0 or less, give nothing to it. Give size // 2 pixels more around what is
    wanted: windows are cut at the edge.

    Args:
        power: (date, y, x) linear, of one polarisation and one relative orbit.
        valid: (date, y, x).
        size: of the window of the local mean in pixels, odd.

    Raises:
        ConfigError: the window has no middle, or no neighbours.
    """
    if size % 2 != 1 or size < 3:
        raise ConfigError(f"a window of {size} pixels has no middle and neighbours: 3, 5, 7 ...")
    return _quegan(np.ascontiguousarray(power, np.float32), np.ascontiguousarray(valid, bool), size // 2)


@njit(nogil=True, cache=True)
def _quegan(power: NDArray[Any], valid: NDArray[np.bool_], radius: int) -> NDArray[np.float32]:
    dates, height, width = power.shape
    out = np.full(power.shape, np.nan, np.float32)
    sums, counts = np.zeros(width), np.zeros(width, np.int64)
    means = np.zeros((dates, width))
    for y in range(height):
        for date in range(dates):
            sums[:], counts[:] = 0.0, 0
            for row in range(max(0, y - radius), min(height, y + radius + 1)):
                for x in range(width):
                    if valid[date, row, x]:
                        sums[x] += power[date, row, x]
                        counts[x] += 1
            for x in range(width):
                total, n = 0.0, 0
                for col in range(max(0, x - radius), min(width, x + radius + 1)):
                    total += sums[col]
                    n += counts[col]
                means[date, x] = total / n if n else 0.0
        for x in range(width):
            total, n = 0.0, 0
            for date in range(dates):
                if valid[date, y, x] and means[date, x] > 0:
                    total += power[date, y, x] / means[date, x]
                    n += 1
            for date in range(dates):
                if valid[date, y, x]:
                    usable = n > 0 and means[date, x] > 0
                    out[date, y, x] = means[date, x] * total / n if usable else power[date, y, x]
    return out

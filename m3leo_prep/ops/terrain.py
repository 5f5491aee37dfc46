"""Slope and aspect of heights on a projected lattice, from each pixel's eight neighbours.

Computed after projection and never resampled: metres are the same in both directions, and no direction is averaged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Part of a unit's digest: bumped when the output changes."""
MARGIN = 1
"""Pixels around the ones wanted that the heights must have."""
_ROUNDING = 2.0**-21
"""Four units in the last place of float32: interpolated heights of a flat lake differ by that share of the height."""
_STRIP = 64
"""Rows computed at once, to keep memory small."""


def horn(
    height: NDArray[np.floating], valid: NDArray[np.bool_], pitch: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return (slope, aspect, defined) of a north-up lattice, without its outermost pixels.

    Slope is (y - 2, x - 2) in degrees, 0...90. Aspect is (2, y - 2, x - 2), the east and the north component of the
    unit vector that points down the slope, by grid north; NaN where the ground is flat: there is no direction.
    ``defined`` is True where all nine heights are valid; elsewhere both are NaN. A gradient below what rounding of
    heights can make counts as flat: else every lake had directions of noise.

    The gradient is Horn's (Hill shading and the reflectance map, Proc. IEEE 69, 1981, 14-47): central
    differences of three rows, weighted 1, 2, 1. It smooths the errors of heights, is exact on planes, and is what
    other tools give.

    Args:
        height: (y, x) metres.
        valid: (y, x), True where a height may be used.
        pitch: metres from pixel to pixel.
    """
    rows, cols = height.shape[0] - 2, height.shape[1] - 2
    slope = np.full((rows, cols), np.nan, np.float32)
    aspect = np.full((2, rows, cols), np.nan, np.float32)
    defined = np.zeros((rows, cols), bool)
    for top in range(0, rows, _STRIP):
        low = min(top + _STRIP, rows)
        z = height[top : low + 2].astype(np.float64)
        there = valid[top : low + 2] & np.isfinite(z)
        z[~there] = np.nan
        whole = there[:-2] & there[1:-1] & there[2:]
        here = whole[:, :-2] & whole[:, 1:-1] & whole[:, 2:]
        down = z[:-2] + 2 * z[1:-1] + z[2:]
        along = z[:, :-2] + 2 * z[:, 1:-1] + z[:, 2:]
        east = (down[:, 2:] - down[:, :-2]) / (8 * pitch)
        north = (along[:-2] - along[2:]) / (8 * pitch)
        # A root of squares has the same bits on every machine; hypot need not.
        steep = np.sqrt(east**2 + north**2)
        flat = here & (steep <= _ROUNDING * np.abs(z[1:-1, 1:-1]) / pitch)
        sloping = here & ~flat
        np.copyto(slope[top:low], np.degrees(np.arctan(steep)), where=sloping, casting="same_kind")
        slope[top:low][flat] = 0.0
        for band, part in enumerate((east, north)):
            np.divide(0.0 - part, steep, out=aspect[band, top:low], where=sloping, casting="same_kind")
        defined[top:low] = here
    return slope, aspect, defined

"""Interferometric coherence of two co-registered complex images, and how far its estimate lies above the truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError

VERSION = 1
"""Bumped when the output changes."""
_LARGE = 1e200


def coherence(
    first: NDArray[np.complexfloating],
    second: NDArray[np.complexfloating],
    valid: NDArray[np.bool_],
    *,
    rows: int = 5,
    cols: int = 5,
) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    """Return the complex coherence in a window around each pixel, and where it is defined.

    Its magnitude is 0 ... 1, its angle the interferometric phase (first minus second, rad): sum of s1 s2* over the root
    of the products of the powers (Touzi et al., Coherence estimation for SAR imagery, IEEE Trans. Geosci. Remote
    Sensing 37, 1999). Flat-earth and topographic phase must be gone before: fringes inside a window lower it.
    The estimate is biased upward, see ``expected``. Pixels nearer to the edge than half a window use what is there.

    Args:
        first: (y, x).
        second: (y, x), on the pixels of ``first``.
        valid: (y, x), True where both may be used.
        rows: of the window, odd.
        cols: of the window, odd.

    Raises:
        ConfigError: the window has no middle.
    """
    if rows % 2 != 1 or cols % 2 != 1:
        raise ConfigError(f"a window of {rows} x {cols} has no middle pixel: both must be odd")
    one, two = (np.ascontiguousarray(image, np.complex64) for image in (first, second))
    made, there = _coherence(one, two, np.ascontiguousarray(valid, bool), rows // 2, cols // 2)
    return made, there


@njit(nogil=True, cache=True)
def _coherence(
    first: NDArray[Any], second: NDArray[Any], valid: NDArray[np.bool_], down: int, across: int
) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    height, width = first.shape
    out = np.zeros((height, width), np.complex64)
    there = np.zeros((height, width), np.bool_)
    # Sums of columns, renewed for every row, so that no pixel depends on where the image was cut.
    real, imag = np.zeros(width), np.zeros(width)
    one, two = np.zeros(width), np.zeros(width)
    for y in range(height):
        real[:], imag[:], one[:], two[:] = 0.0, 0.0, 0.0, 0.0
        for row in range(max(0, y - down), min(height, y + down + 1)):
            for x in range(width):
                if valid[row, x]:
                    a, b = first[row, x], second[row, x]
                    ar, ai, br, bi = np.float64(a.real), np.float64(a.imag), np.float64(b.real), np.float64(b.imag)
                    real[x] += ar * br + ai * bi
                    imag[x] += ai * br - ar * bi
                    one[x] += ar * ar + ai * ai
                    two[x] += br * br + bi * bi
        for x in range(width):
            if not valid[y, x]:
                continue
            sr, si, p, q = 0.0, 0.0, 0.0, 0.0
            for col in range(max(0, x - across), min(width, x + across + 1)):
                sr += real[col]
                si += imag[col]
                p += one[col]
                q += two[col]
            if p > 0 and q > 0:
                root = np.sqrt(p * q)
                out[y, x] = complex(sr / root, si / root)
                there[y, x] = True
    return out, there


def expected(true: float, looks: float) -> float:
    """Return the mean of the estimated magnitude where the true one is ``true``, of so many independent looks.

    Touzi et al. 1999, equation 14: Gamma(L) Gamma(3/2) / Gamma(L + 1/2) (1 - d^2)^L 3F2(3/2, L, L; L + 1/2, 1; d^2),
    for circular Gaussian signals. Noise alone (``true`` = 0) does not give 0: 0.28 with 10 looks.

    Args:
        true: coherence, 0 ... 1.
        looks: independent ones: pixels of the window, fewer where neighbours correlate.
    """
    if true >= 1:
        return 1.0
    square = true * true
    log = math.lgamma(looks) + math.lgamma(1.5) - math.lgamma(looks + 0.5) + looks * math.log1p(-square)
    term = total = 1.0
    k = 0
    while term > total * 1e-16:
        term *= (1.5 + k) * (looks + k) ** 2 / ((looks + 0.5 + k) * (1 + k)) * square / (k + 1)
        total += term
        k += 1
        if total > _LARGE:  # of many looks and much coherence the series is larger than any float
            log, term, total = log + math.log(total), term / total, 1.0
    return math.exp(log + math.log(total))

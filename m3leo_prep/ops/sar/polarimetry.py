"""Two polarisations together: their covariance, and its entropy, anisotropy and alpha angle in closed form.

Needs complex images (SLC): from detected power (GRD) the term that links the two polarisations is lost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError

VERSION = 1
"""Bumped when the output changes."""
_ROUNDING = 1e-6
"""Of the product of the powers: a covariance whose determinant is less than minus that is none."""
_NOTHING = 1e-30
"""Share of the smaller eigenvalue that adds nothing to the entropy; single precision has it."""


class Covariance(NamedTuple):
    """C2, averaged over a window: (y, x) each."""

    c11: NDArray[np.float32]
    """Mean power of the first polarisation."""
    c22: NDArray[np.float32]
    c12: NDArray[np.complex64]
    """Mean of s1 s2*."""
    valid: NDArray[np.bool_]


class Decomposition(NamedTuple):
    """(y, x) each; NaN where not valid."""

    entropy: NDArray[np.float32]
    """0 ... 1."""
    anisotropy: NDArray[np.float32]
    """0 ... 1."""
    alpha: NDArray[np.float32]
    """Degrees, 0 ... 90."""
    valid: NDArray[np.bool_]


def covariance(
    first: NDArray[np.complexfloating],
    second: NDArray[np.complexfloating],
    valid: NDArray[np.bool_],
    *,
    rows: int = 5,
    cols: int = 5,
) -> Covariance:
    """Return the covariance of two polarisations, averaged over a window around each pixel.

    Pixels nearer to the edge than half a window use what is there.

    Args:
        first: (y, x) complex, such as VV; calibrated.
        second: (y, x) complex, such as VH.
        valid: (y, x), True where both may be used.
        rows: of the window, odd.
        cols: of the window, odd.

    Raises:
        ConfigError: the window has no middle.
    """
    if rows % 2 != 1 or cols % 2 != 1:
        raise ConfigError(f"a window of {rows} x {cols} has no middle pixel: both must be odd")
    one, two = (np.ascontiguousarray(image, np.complex64) for image in (first, second))
    return Covariance(*_covariance(one, two, np.ascontiguousarray(valid, bool), rows // 2, cols // 2))


def h_a_alpha(matrix: Covariance) -> Decomposition:
    """Return entropy, anisotropy and mean alpha angle of a covariance.

    With the eigenvalues l1 >= l2 of C2 and p = l / (l1 + l2): H = -sum p log2 p, A = (l1 - l2) / (l1 + l2),
    alpha = p1 a1 + p2 a2, where a is the angle of an eigenvector to the first axis (Cloude and Pottier, An entropy
    based classification scheme, IEEE Trans. Geosci. Remote Sensing 35, 1997; for two polarisations Cloude, The dual
    polarisation entropy/alpha decomposition, PolInSAR 2007). Of a 2 x 2 matrix a1 is half the angle of
    (c11 - c22, 2 |c12|), and a2 = 90 degrees - a1, so nothing is iterated.

    Not valid where there is no power, or where the numbers are no covariance (a negative eigenvalue).
    """
    c11, c22 = (np.ascontiguousarray(power, np.float32) for power in matrix[:2])
    c12, valid = np.ascontiguousarray(matrix.c12, np.complex64), np.ascontiguousarray(matrix.valid, bool)
    return Decomposition(*_decompose(c11, c22, c12, valid))


@njit(nogil=True, cache=True)
def _covariance(
    first: NDArray[Any], second: NDArray[Any], valid: NDArray[np.bool_], down: int, across: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.complex64], NDArray[np.bool_]]:
    height, width = first.shape
    c11, c22 = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    c12 = np.zeros((height, width), np.complex64)
    one, two, real, imag = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    count = np.zeros(width, np.int64)
    for y in range(height):
        # Sums of columns, renewed for every row, so that no pixel depends on where the image was cut.
        one[:], two[:], real[:], imag[:], count[:] = 0.0, 0.0, 0.0, 0.0, 0
        for row in range(max(0, y - down), min(height, y + down + 1)):
            for x in range(width):
                if valid[row, x]:
                    a, b = first[row, x], second[row, x]
                    ar, ai, br, bi = np.float64(a.real), np.float64(a.imag), np.float64(b.real), np.float64(b.imag)
                    one[x] += ar * ar + ai * ai
                    two[x] += br * br + bi * bi
                    real[x] += ar * br + ai * bi
                    imag[x] += ai * br - ar * bi
                    count[x] += 1
        for x in range(width):
            if not valid[y, x]:
                continue
            p, q, sr, si, n = 0.0, 0.0, 0.0, 0.0, 0
            for col in range(max(0, x - across), min(width, x + across + 1)):
                p += one[col]
                q += two[col]
                sr += real[col]
                si += imag[col]
                n += count[col]
            c11[y, x], c22[y, x], c12[y, x] = p / n, q / n, complex(sr / n, si / n)
    return c11, c22, c12, valid.copy()


@njit(nogil=True, cache=True)
def _decompose(
    c11: NDArray[Any], c22: NDArray[Any], c12: NDArray[Any], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    height, width = c11.shape
    entropy = np.full((height, width), np.nan, np.float32)
    anisotropy = np.full((height, width), np.nan, np.float32)
    alpha = np.full((height, width), np.nan, np.float32)
    there = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            a, b = np.float64(c11[y, x]), np.float64(c22[y, x])
            span = a + b
            if not (valid[y, x] and a >= 0 and b >= 0 and 0 < span < np.inf):
                continue
            re, im = np.float64(c12[y, x].real), np.float64(c12[y, x].imag)
            cross = re * re + im * im
            product = a * b
            if not cross <= product * (1 + _ROUNDING):
                continue
            gap = np.sqrt((a - b) * (a - b) + 4 * cross)
            # The smaller eigenvalue from the determinant: as a difference it would lose its digits.
            large = 0.5 * (span + gap)
            p2 = max(product - cross, 0.0) / (large * span)
            p1 = 1.0 - p2
            bits = 0.0
            # Nothing cancels from here on: single precision, whose functions take half the time, is enough.
            if p2 > _NOTHING:
                bits = -(p1 * np.log2(np.float32(p1)) + p2 * np.log2(np.float32(p2)))
            first = np.degrees(0.5 * np.arctan2(np.float32(2 * np.sqrt(cross)), np.float32(a - b)))
            entropy[y, x] = min(max(bits, 0.0), 1.0)
            anisotropy[y, x] = max(p1 - p2, 0.0)
            alpha[y, x] = p1 * first + p2 * (90.0 - first)
            there[y, x] = True
    return entropy, anisotropy, alpha, there

"""Moments and class counts of encoded chips, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOMENTS = ("n", "sum", "sum_of_squares", "min", "max")
"""Columns of ``moments``; sums and extremes are of the stored codes, not of physical values."""


def moments(codes: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (band, 5) float64 ``MOMENTS`` of the valid codes of (band, y, x); NaN extremes where none is valid."""
    from m3leo_prep.ops._moments import moments as kernel  # numba: only a build needs it

    counted: NDArray[np.float64] = kernel(codes, valid)
    return counted


def class_counts(codes: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (band, 256) pixels per code of a (band, y, x) class block."""
    return np.stack([np.bincount(c[v], minlength=256) for c, v in zip(codes, valid, strict=True)])

"""Multilooking: blocks of pixels become one, averaged in power or as complex numbers, never in decibels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_VALID = 0.5
"""Share of a block's pixels that must be valid."""


def multilook(
    values: NDArray[Any], valid: NDArray[np.bool_], rows: int, cols: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the means of whole blocks of ``rows`` x ``cols`` pixels, and where at least half of a block is valid.

    Pixels behind the last whole block are left out. Sums are made in double precision.

    Args:
        values: (..., y, x), linear power or complex.
        valid: (..., y, x), True where a value may be used.
        rows: looks in azimuth.
        cols: looks in range.
    """
    high, wide = values.shape[-2] // rows, values.shape[-1] // cols
    shape = (*values.shape[:-2], high, rows, wide, cols)
    inside = (..., slice(high * rows), slice(wide * cols))
    there = valid[inside].reshape(shape)
    double = np.complex128 if np.iscomplexobj(values) else np.float64
    total = np.where(there, values[inside].reshape(shape), 0).sum(axis=(-3, -1), dtype=double)
    count = there.sum(axis=(-3, -1))
    mean = total / np.maximum(count, 1)
    return mean.astype(values.dtype), count >= LEAST_VALID * rows * cols

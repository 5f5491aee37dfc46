"""Moments, histograms and class counts of encoded chips."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOMENTS = ("n", "sum", "squares", "min", "max")
"""Columns of ``moments``, of the stored codes and not of physical values; ``squares`` is the sum of the squared
differences from the chip's own mean, which keeps small spreads around large values."""


def moments(codes: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (band, 5) float64 ``MOMENTS`` of the valid codes of (band, y, x); NaN extremes where none is valid."""
    from m3leo_prep.ops._moments import moments as kernel  # numba: only a build needs it

    counted: NDArray[np.float64] = kernel(codes, valid)
    return counted


def count_codes(
    codes: NDArray[Any], valid: NDArray[np.bool_], counts: NDArray[np.int64], *, first: int, shift: int | None
) -> int:
    """Add the valid codes of (band, y, x) to ``counts`` (band, bin); return how many fit no bin.

    Args:
        codes: what is counted.
        valid: True where there is something to count.
        counts: what it is added to.
        first: code that the first bin begins with.
        shift: each bin holds ``2**shift`` codes; None = by the top 16 bits of the number as float32 (65 536 bins).
    """
    from m3leo_prep.ops._histogram import count_floats, count_steps

    if shift is None:
        count_floats(codes.astype(np.float32, copy=False).view(np.uint32), valid, counts)
        return 0
    return int(count_steps(codes, valid, first, shift, counts))


def class_counts(codes: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (band, 256) pixels per code of a (band, y, x) class block."""
    return np.stack([np.bincount(c[v], minlength=256) for c, v in zip(codes, valid, strict=True)])

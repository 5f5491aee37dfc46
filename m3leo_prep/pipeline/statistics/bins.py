"""Fixed bins of stored codes, so that counts of any chips can be added up exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_STEPS = 8192
"""Bins of an integer encoding at most: 0.02 dB for backscatter, 0.0008 for reflectance, single codes for coherence."""
WIDEST = 2**16
"""Codes of an integer encoding at most; beyond (unwrapped phase) even steps would be too coarse around 0."""
FLOAT_BINS = 2**16


@dataclass(frozen=True, slots=True)
class Bins:
    """How the codes of one variable are binned."""

    first: int
    """Code that the first bin begins with."""
    shift: int | None
    """Each bin holds ``2**shift`` codes; None = the numbers as float32 that share their top 16 bits, in their order:
    between 0.4 and 0.8 % of the value wide."""
    n: int

    @classmethod
    def of(cls, dtype: str, scale: float, valid_min: float | None, valid_max: float | None) -> Bins:
        """Return the bins of an encoding with that valid range (in stored physical units)."""
        if np.dtype(dtype).kind == "f" or valid_min is None or valid_max is None:
            return cls(0, None, FLOAT_BINS)
        first, last = (int(np.rint(limit / scale)) for limit in (valid_min, valid_max))
        if last - first >= WIDEST:
            return cls(0, None, FLOAT_BINS)
        shift = 0
        while (last - first) >> shift >= MAX_STEPS:
            shift += 1
        return cls(first, shift, ((last - first) >> shift) + 1)

    def lowest(self, bins: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the lowest code of each of ``bins``, which are 0 ... n."""
        if self.shift is None:
            return _number((bins << 16).astype(np.int64))
        return (self.first + (bins << self.shift)).astype(np.float64)

    def highest(self, bins: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the highest code of each of ``bins``."""
        if self.shift is None:
            return _number((bins << 16) + 0xFFFF)
        return (self.first + ((bins + 1) << self.shift) - 1).astype(np.float64)


def _number(ranks: NDArray[Any]) -> NDArray[np.float64]:
    """Return the float32 numbers at these places in the order of all of them."""
    bits = np.where(ranks >= 2**31, ranks - 2**31, 2**32 - 1 - ranks).astype(np.uint32)
    return bits.view(np.float32).astype(np.float64)

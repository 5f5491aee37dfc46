"""From codes to what a network takes, in NumPy: what a user of any other format writes by hand. Imports only NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FILL = -32768
MEAN, STD = np.float32(-12.0), np.float32(5.0)


def normalised(codes: NDArray[Any], scale: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return (values, valid): float32, normalised, 0 where missing; and True where valid."""
    valid = codes != FILL
    values = codes.astype(np.float32)
    values *= np.float32(scale)
    values -= MEAN
    values /= STD
    values[~valid] = 0
    return values, valid

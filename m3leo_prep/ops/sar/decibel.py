"""Power and decibels. Averages, filters and resampling happen in linear power; decibels are for people and storage."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def decibels(power: NDArray[Any]) -> NDArray[np.floating]:
    """Return 10 log10 of linear power, same shape; NaN where it is 0 or less, as noise removal leaves dark ground.

    >>> decibels(np.array([1.0, 0.1, -0.001])).round(9).tolist()
    [0.0, -10.0, nan]
    """
    found = np.full(power.shape, np.nan, np.result_type(power.dtype, np.float32))
    np.log10(power, out=found, where=power > 0)
    found *= 10
    return found


def linear(decibel: NDArray[Any]) -> NDArray[np.floating]:
    """Return linear power of decibels, same shape.

    >>> linear(np.array([0.0, -10.0])).round(9).tolist()
    [1.0, 0.1]
    """
    made: NDArray[np.floating] = np.power(10.0, decibel / 10.0)
    return made

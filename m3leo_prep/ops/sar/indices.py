"""Ratios of backscatter, pixel by pixel; all in linear power."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def gamma_nought(sigma_nought: NDArray[Any], incidence: NDArray[Any]) -> Floats:
    """Return gamma nought on the ellipsoid: sigma nought over the cosine of the incidence angle (degrees).

    It takes the slow fall of backscatter from near to far range away, and no terrain: that is flattening.
    """
    made: Floats = sigma_nought / np.cos(np.radians(incidence))
    return made


def ratio(one: NDArray[Any], other: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return one power over another, such as VH over VV, and where it means something: both above 0.

    Of several dates take the ratio of the means, not the mean of the ratios.

    Args:
        one: (y, x) linear power.
        other: the same.
        valid: (y, x), True where both may be used.
    """
    there = valid & (one > 0) & (other > 0)
    made = np.full(one.shape, np.nan, np.result_type(one.dtype, np.float32))
    np.divide(one, other, out=made, where=there)
    return made, there


def radar_vegetation_index(
    co: NDArray[Any], cross: NDArray[Any], valid: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return 4 cross / (co + cross), 0 ... 4, the index of two polarisations, and where it means something.

    0 where nothing is depolarised; 2 where both are alike. Nasirzadehdizaji et al., Sensitivity analysis of
    multi-temporal Sentinel-1 SAR parameters to crop height and canopy coverage, Applied Sciences 9 (2019), 655.

    Args:
        co: (y, x) VV or HH, linear power.
        cross: VH or HV.
        valid: (y, x), True where both may be used.
    """
    there = valid & (co > 0) & (cross >= 0)
    made = np.full(co.shape, np.nan, np.result_type(co.dtype, np.float32))
    np.divide(4 * cross, co + cross, out=made, where=there)
    return made, there

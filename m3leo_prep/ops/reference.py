"""The constant of unwrapped phase: what a chip's phase is counted from, so that chips and pairs can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def phase_reference(
    codes: NDArray[Any], valid: NDArray[np.bool_], components: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Return (band,) the median code of each band's largest connected component; NaN where nothing is valid.

    A whole number for integer codes (half to even), so that subtracting it is exact. Component 0, what could not be
    unwrapped reliably, counts only where there is no other.

    Args:
        codes: (band, y, x) stored unwrapped phase.
        valid: (band, y, x).
        components: (y, x) numbers of the components; None = all pixels are one.
    """
    made = np.full(len(codes), np.nan)
    for band, (values, usable) in enumerate(zip(codes, valid, strict=True)):
        if not usable.any():
            continue
        inside = usable
        if components is not None:
            labels, sizes = np.unique(components[usable], return_counts=True)
            reliable = labels > 0
            if reliable.any():
                labels, sizes = labels[reliable], sizes[reliable]
            inside = usable & (components == labels[np.argmax(sizes)])
        middle = np.median(values[inside].astype(np.float64))
        made[band] = np.rint(middle) if codes.dtype.kind in "iu" else middle
    return made


def rereferenced(
    codes: NDArray[Any], valid: NDArray[np.bool_], reference: NDArray[np.float64], *, low: float, high: float
) -> NDArray[Any]:
    """Return codes counted from ``reference``, dtype kept; what is not valid stays as it is.

    Args:
        codes: (band, y, x).
        valid: (band, y, x).
        reference: (band,) codes, as ``phase_reference`` gives them.
        low: least code there may be; the result is held within ``low ... high``.
        high: the largest.
    """
    counted = codes - np.nan_to_num(reference)[:, None, None]
    return np.where(valid, np.clip(counted, low, high), codes).astype(codes.dtype)

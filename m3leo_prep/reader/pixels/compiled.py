"""Stored codes to what a model reads, in one compiled pass; the same bits as ``convert`` gives."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import CLASS_FILL
from m3leo_prep.reader.manifest import StoredArray

# Without fastmath: every operation is rounded as NumPy rounds it.
_jit = nb.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
_NONE = np.empty(0, np.float32)


def convert(
    codes: NDArray[Any],
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    array: StoredArray,
    mean: NDArray[np.float32] | None,
    std: NDArray[np.float32] | None,
) -> None:
    """Fill ``values`` and ``valid``; see ``convert.Convert``."""
    if mean is None or std is None:
        mean = std = _NONE
    if array.fill is None:
        _floats(codes, values, valid, mean, std)
    elif array.is_class:
        _classes(codes, values, valid, codes.dtype.type(array.fill))
    else:
        _scaled(codes, values, valid, codes.dtype.type(array.fill), np.float64(array.scale), mean, std)


@_jit
def _scaled(
    codes: NDArray[Any],
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    fill: Any,
    scale: np.float64,
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
) -> None:
    zero = np.float32(0)
    for plane in range(codes.shape[0]):
        if mean.size:
            m, s = mean[plane], std[plane]
            for i in range(codes.shape[1]):
                code = codes[plane, i]
                valid[plane, i] = code != fill
                value = (np.float32(np.float64(code) * scale) - m) / s
                values[plane, i] = value if code != fill else zero
        else:
            for i in range(codes.shape[1]):
                code = codes[plane, i]
                valid[plane, i] = code != fill
                value = np.float32(np.float64(code) * scale)
                values[plane, i] = value if code != fill else zero


@_jit
def _floats(
    codes: NDArray[np.float32],
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
) -> None:
    zero = np.float32(0)
    for plane in range(codes.shape[0]):
        for i in range(codes.shape[1]):
            code = codes[plane, i]
            is_valid = not np.isnan(code)
            valid[plane, i] = is_valid
            value = (code - mean[plane]) / std[plane] if mean.size else code
            values[plane, i] = value if is_valid else zero


@_jit
def _classes(codes: NDArray[Any], values: NDArray[np.int64], valid: NDArray[np.bool_], fill: Any) -> None:
    for plane in range(codes.shape[0]):
        for i in range(codes.shape[1]):
            code = codes[plane, i]
            valid[plane, i] = code != fill
            values[plane, i] = code if code != fill else CLASS_FILL

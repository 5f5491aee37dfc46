"""Stored codes to what a model reads: physical values, normalised, 0 where missing, and the mask.

Exact: ``value = float32(float64(code) * scale)``, rounded once; then ``(value - mean) / std`` in float32. This is
NumPy; ``compiled`` gives the same bits in one pass, in a process that converts much and can import numba.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import CLASS_FILL
from m3leo_prep.reader.manifest import StoredArray


class Convert(Protocol):
    """Turns codes into values and a mask."""

    def __call__(
        self,
        codes: NDArray[Any],
        values: NDArray[Any],
        valid: NDArray[np.bool_],
        array: StoredArray,
        mean: NDArray[np.float32] | None,
        std: NDArray[np.float32] | None,
    ) -> None:
        """Fill ``values`` and ``valid``.

        Args:
            codes: (plane, pixel) as stored.
            values: (plane, pixel) float32, 0 where missing; of classes int64, 255 where missing.
            valid: (plane, pixel), True where ``values`` means something.
            array: how they are stored.
            mean: (plane,) subtracted; None = values stay physical.
            std: (plane,) divided by, then.
        """
        ...


COMPILED_AFTER = 2**30
"""Pixels that a process converts with NumPy before it loads numba: that costs 0.8 s of CPU and 141 MB in each process,
and then saves 0.3 to 0.7 ns a pixel."""
_converted = 0


def fitting(n_pixels: int) -> Convert:
    """Return what the next pixels are converted with: NumPy, and ``fastest`` in a process that converts many."""
    global _converted  # noqa: PLW0603  one per process
    if _converted >= COMPILED_AFTER:
        return fastest()
    # No lock, which a fork might catch: what two threads add at the same time may count once, and no more hangs on it.
    _converted += n_pixels
    return convert


@lru_cache(1)
def fastest() -> Convert:
    """Return the compiled form, or NumPy's where numba is absent, unusable, or has nowhere to keep what it compiles."""
    try:
        from m3leo_prep.reader.pixels.compiled import convert as compiled
    except (ImportError, RuntimeError):
        return convert
    return compiled


def convert(
    codes: NDArray[Any],
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    array: StoredArray,
    mean: NDArray[np.float32] | None,
    std: NDArray[np.float32] | None,
) -> None:
    """Fill ``values`` and ``valid``; see ``Convert``."""
    if array.is_class:
        _classes(codes, values, valid, array)
        return
    _quantities(codes, values, valid, array)
    if mean is not None and std is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(values, mean[:, None], out=values)
            np.divide(values, std[:, None], out=values)
    if not valid.all():
        # Times 0 or 1 as integers: exact for the bits of any number, and no NaN survives it.
        bits = values.view(np.int32)
        np.multiply(bits, valid.view(np.int8), out=bits)


def _classes(codes: NDArray[Any], values: NDArray[Any], valid: NDArray[np.bool_], array: StoredArray) -> None:
    np.not_equal(codes, codes.dtype.type(array.fill_value), out=valid)
    np.copyto(values, codes)
    if array.fill != CLASS_FILL and not valid.all():
        np.copyto(values, CLASS_FILL, where=~valid)


def _quantities(codes: NDArray[Any], values: NDArray[Any], valid: NDArray[np.bool_], array: StoredArray) -> None:
    if array.fill is None:
        np.isnan(codes, out=valid)
        np.logical_not(valid, out=valid)
        np.copyto(values, codes)
        return
    np.not_equal(codes, codes.dtype.type(array.fill), out=valid)
    divisor = _divisor(codes.dtype.str, array.scale)
    if divisor:
        np.copyto(values, codes)
        np.divide(values, np.float32(divisor), out=values)
    else:
        np.multiply(codes, np.float64(array.scale), out=values, dtype=np.float64, casting="unsafe")


@lru_cache(64)
def _divisor(dtype: str, scale: float) -> int:
    """Return n if dividing by n in float32 gives the exact value of every code, or 0.

    A scale such as 0.01 means 1 / 100: then one rounded division gives what the rounded product in double precision
    does, at a third of the cost. Where it does not, or where there are too many codes to try, the product is taken.
    """
    bits = 8 * np.dtype(dtype).itemsize
    if bits > 16 or not 0 < scale <= 1:
        return 0
    codes = np.arange(2**bits).astype(f"u{bits // 8}").view(dtype)
    divisor = round(1 / scale)
    exact = np.multiply(codes, np.float64(scale)).astype(np.float32)
    return divisor if np.array_equal(codes.astype(np.float32) / np.float32(divisor), exact) else 0

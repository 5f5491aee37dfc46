"""How physical values become stored integers and come back.

Mask first, convert second: a missing pixel is always the fill code, which no valid value may take. Values that are
impossible (outside ``valid_min ... valid_max``, or not finite) are masked and counted, never wrapped. Rounding is
half to even. Default encodings and their error bounds follow the table "Quantisation" of the format page.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind, Variable

DB_FLOOR = -50.0
"""dB that power <= 10**-5 is stored as: noise-corrected pixels around 0 are valid and very dark, not missing."""
CLASS_FILL = 255
"""No data in every class array."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One variable's stored form: ``physical = code * scale`` (after dB, where ``transform`` says so)."""

    dtype: Literal["uint8", "uint16", "int16", "int32", "float32"]
    fill: int | None
    """Code of a missing pixel; None for float arrays, where it is NaN."""
    scale: float = 1.0
    transform: Literal["none", "db"] = "none"
    """``db``: values arrive in linear power and are stored as 10 log10(power)."""
    valid_min: float = -np.inf
    """Smallest possible value, in stored physical units (dB for ``db``)."""
    valid_max: float = np.inf
    unit: str = "1"
    """Unit of the stored physical value."""

    def __post_init__(self) -> None:
        if self.dtype == "float32":
            return
        info = np.iinfo(self.dtype)
        if self.fill is None:
            raise ConfigError(f"an encoding as {self.dtype} needs a fill code")
        if not info.min <= self.fill <= info.max:
            raise ConfigError(f"{self.dtype} cannot hold the fill code {self.fill}")
        low, high = (self.valid_min / self.scale, self.valid_max / self.scale)
        if not (info.min <= np.rint(low) and np.rint(high) <= info.max):
            raise ConfigError(
                f"{self.dtype} x {self.scale} cannot hold {self.valid_min} ... {self.valid_max}",
                hint="use a wider dtype or a coarser scale",
            )
        if np.rint(low) <= self.fill <= np.rint(high):
            raise ConfigError(f"the fill code {self.fill} is a legal value of {self.dtype} x {self.scale}")

    @property
    def max_error(self) -> float:
        """Largest rounding error in stored physical units (0 for floats and classes)."""
        return 0.0 if self.dtype == "float32" or self.scale == 1.0 else self.scale / 2

    @property
    def fill_value(self) -> int | float:
        """The code of a missing pixel as a number."""
        return np.nan if self.fill is None else self.fill


def code_range(encoding: Encoding) -> dict[str, float]:
    """Return the least and the largest code of a valid value, as ``low`` and ``high``."""
    return {"low": encoding.valid_min / encoding.scale, "high": encoding.valid_max / encoding.scale}


@dataclass(frozen=True, slots=True)
class Encoded:
    """Codes of one block, with what encoding had to change."""

    codes: NDArray[Any]
    """Same shape as the input, dtype of the encoding."""
    valid: NDArray[np.bool_]
    """True where ``codes`` holds a value."""
    out_of_range: NDArray[np.int64]
    """(band,) pixels that were valid but impossible, now masked."""
    floored: NDArray[np.int64]
    """(band,) pixels of power <= 10**-5, stored as -50 dB."""


def encode(values: NDArray[Any], valid: NDArray[np.bool_], encoding: Encoding) -> Encoded:
    """Return the stored codes of a block.

    Args:
        values: (band, y, x) physical values in the source's unit (linear power for ``db``).
        valid: (band, y, x), True where ``values`` means something.
        encoding: the stored form.
    """
    axes = (1, 2)
    dtype = np.dtype(encoding.dtype)
    floored = np.zeros(values.shape[0], np.int64)
    if values.dtype.kind in "iub" and encoding.scale == 1.0 and encoding.transform == "none":
        possible = valid & (values >= encoding.valid_min) & (values <= encoding.valid_max)
        out_of_range = np.count_nonzero(valid, axis=axes) - np.count_nonzero(possible, axis=axes)
        # The fill goes in after the cast: before it, it would wrap in the narrower type of the values.
        codes = np.where(possible, values, values.dtype.type(0)).astype(dtype)
        np.copyto(codes, encoding.fill_value, where=~possible)
        return Encoded(codes, possible, out_of_range.astype(np.int64), floored)
    physical = values.astype(np.float32) if values.dtype.kind in "iub" or values.dtype.itemsize < 4 else values
    if encoding.transform == "db":
        # Dark includes -inf and excludes NaN; +inf is out of range like any other impossible value.
        dark = valid & (physical <= 10 ** (DB_FLOOR / 10)) & np.isfinite(physical)
        floored = np.count_nonzero(dark, axis=axes).astype(np.int64)
        # The logarithm runs over one contiguous array, so that it gives the same bits however the chip was cut out.
        bright = np.where(valid & (physical > 0) & ~dark, physical, physical.dtype.type(1))
        decibel = 10 * np.log10(bright)
        unusable = valid & ~np.isfinite(physical)
        physical = np.where(dark, physical.dtype.type(DB_FLOOR), np.where(unusable, physical, decibel))
    # Comparisons with NaN are false, and infinity is never inside: what is not finite is out of range.
    limit = np.finfo(np.float32).max if encoding.dtype == "float32" else np.inf
    low, high = max(encoding.valid_min, -limit), min(encoding.valid_max, limit)
    with np.errstate(invalid="ignore"):
        possible = valid & (physical >= low) & (physical <= high)
    out_of_range = np.count_nonzero(valid, axis=axes) - np.count_nonzero(possible, axis=axes)
    # Missing pixels (nodata such as -3.4e38) would overflow: they are zero until the fill goes in, after the cast.
    inside = np.where(possible, physical, physical.dtype.type(0))
    if encoding.dtype != "float32":
        inside /= inside.dtype.type(encoding.scale)
        np.rint(inside, out=inside)
    codes = inside.astype(dtype)
    np.copyto(codes, encoding.fill_value, where=~possible)
    return Encoded(codes, possible, out_of_range.astype(np.int64), floored)


class Stored(Protocol):
    """What decoding needs to know: an ``Encoding``, or its description read back from a manifest."""

    @property
    def fill(self) -> int | None:
        """Code of a missing pixel; None for floats."""
        ...

    @property
    def scale(self) -> float:
        """Physical value of one code step."""
        ...

    @property
    def unit(self) -> str:
        """Unit of the physical value; ``class`` for codes."""
        ...


def decode(codes: NDArray[Any], stored: Stored) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return (physical values, valid) of stored codes: float32 with NaN, or the codes themselves for classes."""
    if stored.fill is None:
        return codes, ~np.isnan(codes)
    valid = codes != stored.fill
    if stored.unit == "class":
        return codes, valid
    if codes.dtype.itemsize <= 2:
        table = _table(codes.dtype.str, stored.fill, stored.scale)
        return np.take(table, codes.view(f"u{codes.dtype.itemsize}")), valid
    values = np.multiply(codes, stored.scale, dtype=np.float64).astype(np.float32)
    np.copyto(values, np.nan, where=~valid)
    return values, valid


@lru_cache(64)
def _table(dtype: str, fill: int, scale: float) -> NDArray[np.float32]:
    """Return the value of every code of up to 16 bits, by the code's bits: exact as xarray's, in one pass.

    The product is taken in double precision and rounded once; in float32 every fifth value would be off by one unit in
    the last place.
    """
    bits = np.arange(2 ** (8 * np.dtype(dtype).itemsize)).astype(f"u{np.dtype(dtype).itemsize}")
    codes = bits.view(dtype)
    values = (codes * np.float64(scale)).astype(np.float32)
    values[codes == fill] = np.nan
    return values


def default_encoding(variable: Variable) -> Encoding:
    """Return the safe stored form of a variable by its kind.

    Raises:
        ConfigError: a legend with a code that uint8 cannot hold beside the fill code 255.
    """
    match variable.kind:
        case Kind.POWER:
            return Encoding("int16", -32768, 0.01, "db", DB_FLOOR, 60.0, unit="dB")
        case Kind.COHERENCE:
            return Encoding("uint8", 255, 0.004, "none", 0.0, 1.0)
        case Kind.REFLECTANCE:
            return Encoding("int16", -32768, 0.0001, "none", -1.0, 3.2766)
        case Kind.WRAPPED_PHASE:
            return Encoding("int16", -32768, 0.0001, "none", -3.1416, 3.1416, unit="rad")
        case Kind.UNWRAPPED_PHASE if variable.unit == "m":  # as displacement: 0.01 mm, far below a fringe's 27.7 mm
            return Encoding("int32", -(2**31), 1e-5, "none", -1e3, 1e3, unit="m")
        case Kind.UNWRAPPED_PHASE:
            return Encoding("int32", -(2**31), 0.001, "none", -1e5, 1e5, unit="rad")
        case Kind.ANGLE:
            return Encoding("uint16", 65535, 0.01, "none", 0.0, 360.0, unit="degree")
        case Kind.CONTINUOUS | Kind.AMOUNT:
            return Encoding("float32", None, unit=variable.unit)
        case Kind.UNCERTAINTY:
            return Encoding("float32", None, valid_min=0.0, unit=variable.unit)
        case Kind.BITS:
            return Encoding("uint16", 65535, valid_min=0, valid_max=65534, unit="class")
        case Kind.CLASSES:
            bad = [c.code for c in variable.legend if not 0 <= c.code < CLASS_FILL]
            if bad:
                raise ConfigError(
                    f"class codes {bad} of '{variable.name}' do not fit uint8 beside the no-data code {CLASS_FILL}",
                    hint="remap them in the recipe: `remap: {old: new}`",
                )
            return Encoding("uint8", CLASS_FILL, valid_min=0, valid_max=CLASS_FILL - 1, unit="class")

"""From Earth Engine's numbers to values, on our side: mask first, convert second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import CLASS_FILL
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.sources.gee.choice import Quantity

CODES = frozenset({Kind.CLASSES, Kind.BITS})
_ROWS = 256
"""Converted at once, in float64: memory is then bounded by the values themselves."""


@dataclass(frozen=True, slots=True)
class Values:
    """One band, each (y, x)."""

    data: NDArray[Any]
    valid: NDArray[np.bool_]
    """True where ``data`` is a value."""
    flagged: NDArray[np.bool_]
    """True where the number is one of the quantity's flags: seen, but no value."""


def values_of(quantity: Quantity, dtype: str, numbers: NDArray[Any], there: NDArray[np.bool_]) -> Values:
    """Return the values of one band: codes in an integer type, all else float32 in the variable's unit.

    A number outside ``valid_range`` is no value. A class that the legend lacks becomes 255, which no legend may hold:
    the encoding masks it and counts it as out of range. In a variable of flags, 0 is a value and n the n-th flag.

    Args:
        quantity: how numbers become values.
        dtype: the band's type in Earth Engine, by numpy's name.
        numbers: as they came.
        there: True where Earth Engine did not mask.
    """
    # Declared in decimal: compared as the band's own type stores it.
    kind = numbers.dtype.type
    nodata = [kind(number) for number in quantity.nodata if _fits(number, numbers.dtype)]
    seen = there & ~np.isin(numbers, nodata) if nodata else there
    if quantity.flags_of:
        codes = np.zeros(numbers.shape, np.uint8)
        for n, flag in enumerate(quantity.flags, 1):
            codes[numbers == flag] = n
        return Values(codes, seen, np.zeros_like(seen))
    flagged = seen & np.isin(numbers, quantity.flags) if quantity.flags else np.zeros_like(seen)
    valid = seen & ~flagged
    if quantity.valid_range is not None:
        low, high = quantity.valid_range
        valid &= (numbers >= low) & (numbers <= high)
    if quantity.variable.kind in CODES:
        return Values(_codes(quantity, dtype, numbers, valid), valid, flagged)
    data = _converted(quantity, numbers, valid)
    return Values(data, valid & np.isfinite(data), flagged)


def _fits(number: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    return number == int(number) and bool(np.iinfo(dtype).min <= number <= np.iinfo(dtype).max)


def _codes(quantity: Quantity, dtype: str, numbers: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
    codes = np.where(valid, numbers, 0)
    if codes.dtype.kind == "f" and (codes != np.rint(codes)).any():
        name = quantity.variable.name
        raise ConfigError(f"kind: '{name}' is {quantity.variable.kind}, but has fractions", hint="name the kind it is")
    own = dtype if dtype in {"uint8", "uint16"} else "int32"
    legend = [one.code for one in quantity.variable.legend]
    if quantity.variable.kind is Kind.CLASSES and legend:
        strange = valid & ~np.isin(codes, legend)
        if strange.any():
            codes[strange] = CLASS_FILL
    return codes.astype(own)


def _converted(quantity: Quantity, numbers: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    plain = quantity.transform == "none" and quantity.scale == 1.0 and quantity.offset == 0.0
    if plain and numbers.dtype == np.float32:
        return numbers
    data = np.empty(numbers.shape, np.float32)
    for row in range(0, len(numbers), _ROWS):
        rows = slice(row, row + _ROWS)
        part = np.where(valid[rows], numbers[rows], 0).astype(np.float64)
        match quantity.transform:
            case "squared":
                part *= part
            case "from_decibel":
                part = 10.0 ** (part / 10.0)
            case "none":
                pass
        with np.errstate(over="ignore"):
            data[rows] = part * quantity.scale + quantity.offset
    return data

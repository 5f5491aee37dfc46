"""Numbers with their units, for people."""

from __future__ import annotations

from decimal import Decimal


def formula(code: float, scale: float, unit: str, *, is_float: bool) -> str:
    """Return how a stored code is read, with the numbers.

    >>> formula(-1234, 0.01, "dB", is_float=False)
    '-1234 x 0.01 = -12.34 dB'
    """
    if is_float:
        return f"{number(code)}{unit_text(unit)}, stored as it is"
    value = Decimal(code) * Decimal(str(scale))
    return f"{code} x {scale:g} = {value.normalize():f}{unit_text(unit)}"


def number(value: float) -> str:
    """Return a number as short as it can be without losing what float32 holds."""
    return str(value) if isinstance(value, int) else f"{value:.7g}"


def unit_text(unit: str) -> str:
    """Return a unit with a space before it; nothing for pure numbers."""
    return "" if unit in {"", "1", "class"} else f" {unit}"

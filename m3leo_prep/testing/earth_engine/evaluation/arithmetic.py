"""Numbers on numbers, pixel by pixel: the operators that images and single numbers share.

Rules of the public pages: bands are paired by name, else in order, and a single band goes with all
(https://developers.google.com/earth-engine/apidocs/ee-image-add); division by 0 gives 0
(.../ee-image-divide); a cast cuts decimals off and brings what is out of range to the nearest bound
(https://developers.google.com/earth-engine/apidocs/ee-number-touint8; for negative decimals unverified).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.testing.earth_engine.evaluation.image import real_of, union_of

Array = NDArray[Any]

CASTS = {
    "uint8": "uint8", "byte": "uint8", "int8": "int8", "uint16": "uint16", "int16": "int16", "short": "int16",
    "uint32": "uint32", "int32": "int32", "int": "int32", "int64": "int64", "long": "int64",
    "float": "float32", "double": "float64",
}  # fmt: skip
"""Earth Engine's names of types; ``toUint8`` is ``uint8``."""


def cast(values: Array, dtype: str) -> Array:
    """Return values of another type; integers saturate, and decimals are cut off."""
    target = np.dtype(dtype)
    if target.kind == "f" or values.dtype == target:
        return values.astype(target, copy=False)
    limits = np.iinfo(target)
    if values.dtype.kind == "f":
        bounded = np.clip(np.nan_to_num(values.astype(np.float64)), limits.min, limits.max)
        # 2**63 - 1 is not a float64: the nearest one is past the end.
        return (
            np.where(bounded >= limits.max, limits.max, bounded).astype(target)
            if target.itemsize == 8
            else bounded.astype(target)
        )
    own = np.iinfo(values.dtype)
    low, high = max(limits.min, own.min), min(limits.max, own.max)
    return np.clip(values, low, high).astype(target)


def wide(*dtypes: str) -> str:
    """Return a type in which sums, differences and products of integers fit (int32 up to 8 bits, else int64)."""
    union = union_of(*dtypes)
    if union.startswith("float"):
        return union
    return "int32" if np.dtype(union).itemsize == 1 else "int64"


def _union(*dtypes: str) -> str:
    return union_of(*dtypes)


def _flag(*_: str) -> str:
    return "uint8"


def _real(*dtypes: str) -> str:
    return real_of(union_of(*dtypes))


def as_type(array: Array, dtype: str) -> Array:
    """Return an array in a type; one number for all pixels stays one in memory."""
    if array.dtype != dtype and array.size and not any(array.strides):
        return np.broadcast_to(array.flat[0].astype(dtype), array.shape)
    return array.astype(dtype, copy=False)


def _divide(left: Array, right: Array) -> Array:
    if right.size and not any(right.strides) and right.flat[0] != 0:
        return left / right
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(right == 0, left.dtype.type(0), left / right)


def _mod(left: Array, right: Array) -> Array:
    safe = np.where(right == 0, right.dtype.type(1), right)
    return np.where(right == 0, left.dtype.type(0), np.fmod(left, safe))


def _power(left: Array, right: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(np.power(left, right))


Binary = tuple[Callable[[Array, Array], Any], Callable[..., str]]
BINARY: dict[str, Binary] = {
    "add": (np.add, wide),
    "subtract": (np.subtract, wide),
    "multiply": (np.multiply, wide),
    "divide": (_divide, _real),
    "mod": (_mod, _union),
    "pow": (_power, _real),
    "max": (np.maximum, _union),
    "min": (np.minimum, _union),
    "hypot": (np.hypot, _real),
    "atan2": (lambda left, right: np.arctan2(right, left), _real),
    "eq": (np.equal, _flag),
    "neq": (np.not_equal, _flag),
    "lt": (np.less, _flag),
    "lte": (np.less_equal, _flag),
    "gt": (np.greater, _flag),
    "gte": (np.greater_equal, _flag),
    "and": (np.logical_and, _flag),
    "or": (np.logical_or, _flag),
    "bitwiseAnd": (lambda left, right: left.astype(np.int64) & right.astype(np.int64), _union),
    "bitwiseOr": (lambda left, right: left.astype(np.int64) | right.astype(np.int64), _union),
    "bitwiseXor": (lambda left, right: left.astype(np.int64) ^ right.astype(np.int64), _union),
    "leftShift": (lambda left, right: left.astype(np.int64) << right.astype(np.int64), wide),
    "rightShift": (lambda left, right: left.astype(np.int64) >> right.astype(np.int64), _union),
}
"""Name -> operator on two arrays, and the type of its result."""

COMPARED = {"eq", "neq", "lt", "lte", "gt", "gte", "and", "or"}
"""Operators whose operands keep their own type."""


def _quiet(operator: Callable[[Array], Any]) -> Callable[[Array], Any]:
    def run(values: Array) -> Any:
        with np.errstate(all="ignore"):
            return operator(values)

    return run


UNARY: dict[str, Binary | tuple[Callable[[Array], Any], Callable[..., str]]] = {
    "abs": (np.abs, _union),
    "sqrt": (_quiet(np.sqrt), _real),
    "log": (_quiet(np.log), _real),
    "log10": (_quiet(np.log10), _real),
    "exp": (_quiet(np.exp), _real),
    "sin": (np.sin, _real),
    "cos": (np.cos, _real),
    "tan": (np.tan, _real),
    "asin": (_quiet(np.arcsin), _real),
    "acos": (_quiet(np.arccos), _real),
    "atan": (np.arctan, _real),
    "floor": (np.floor, _union),
    "ceil": (np.ceil, _union),
    # Half goes up, as in Java's Math.round (unverified); the type stays.
    "round": (lambda values: np.floor(values + 0.5) if values.dtype.kind == "f" else values, _union),
    "not": (lambda values: values == 0, _flag),
    "signum": (np.sign, _union),
}
"""Name -> function of one array, and the type of its result. What is not finite is masked (unverified)."""

"""What a recipe says of the variables of a collection or a script."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind, LegendClass, Variable
from m3leo_prep.core.text import near
from m3leo_prep.sources._lists import names_of
from m3leo_prep.sources.gee.choice import Quantity, Transform
from m3leo_prep.sources.gee.options.variables import correlated

KEYS = (
    "kind", "bands", "unit", "long_name", "dtype", "transform", "scale", "offset", "nodata", "valid_range", "legend",
    "correlation",
)  # fmt: skip
DTYPES = ("uint8", "uint16", "int16", "int32", "float32")
_CODES = frozenset({Kind.CLASSES, Kind.BITS})
_HINT = "variables: {ndvi: {kind: continuous, bands: {ndvi: NDVI}, scale: 0.0001, nodata: -3000}}"


def parse_variables(given: Any) -> tuple[Quantity, ...]:
    """Return the quantities that ``variables:`` describes.

    Raises:
        ConfigError: nothing described, unknown keys, or what contradicts itself.
    """
    if not isinstance(given, Mapping) or not given:
        said = "say what the bands mean" if given is None else f"{given!r} is not understood"
        raise ConfigError(f"variables: {said}", hint=_HINT)
    return tuple(_one(str(name), said) for name, said in given.items())


def _one(name: str, given: Any) -> Quantity:
    where = f"variables: {name}"
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: {given!r} is not understood", hint=_HINT)
    for key in given:
        if key not in KEYS:
            raise ConfigError(f"{where}: unknown key '{key}'", hint=near(str(key), KEYS))
    if not name.isidentifier() or name != name.lower():
        raise ConfigError(f"{where}: a name has lower-case letters, digits and _")
    kind = _kind(where, given)
    bands = _bands(where, given.get("bands"))
    low_high = _range(where, given.get("valid_range"))
    quantity = Quantity(
        Variable(
            name,
            kind,
            tuple(bands),
            unit=str(given.get("unit", "1")),
            long_name=str(given.get("long_name", "")),
            legend=_legend(where, kind, given.get("legend")),
        ),
        names=tuple(bands.values()),
        dtype=_word(where, given, "dtype", DTYPES, "uint8" if kind in _CODES else "float32"),
        transform=cast("Transform", _word(where, given, "transform", get_args(Transform), "none")),
        scale=_number(f"{where}: scale", given.get("scale", 1)),
        offset=_number(f"{where}: offset", given.get("offset", 0)),
        nodata=tuple(_numbers(f"{where}: nodata", given.get("nodata", ()))),
        valid_range=low_high,
    )
    _check(where, quantity)
    return correlated(quantity, given.get("correlation"))


def _check(where: str, quantity: Quantity) -> None:
    kind = quantity.variable.kind
    changed = (quantity.transform, quantity.scale, quantity.offset) != ("none", 1.0, 0.0)
    if kind in _CODES and (changed or quantity.dtype == "float32"):
        raise ConfigError(f"{where}: codes of kind {kind} are whole numbers, and not scaled")
    if quantity.scale == 0:
        raise ConfigError(f"{where}: scale: 0 would erase the data")
    if kind is Kind.UNCERTAINTY and quantity.offset:
        raise ConfigError(f"{where}: offset: a standard deviation has none")


def _kind(where: str, given: Mapping[str, Any]) -> Kind:
    kinds = [kind.value for kind in Kind]
    said = given.get("kind", Kind.CLASSES.value if "legend" in given else "")
    if said not in kinds:
        what = f"'{said}' is not known" if said else "say what the numbers mean"
        raise ConfigError(f"{where}: kind: {what}", hint=near(str(said), kinds))
    return Kind(said)


def _bands(where: str, given: Any) -> dict[str, str]:
    """Return our name -> Earth Engine's name."""
    if isinstance(given, Mapping):
        bands = {str(ours): str(theirs) for ours, theirs in given.items()}
    else:
        bands = {re.sub(r"\W+", "_", name).lower(): name for name in names_of(f"{where}: bands", given or ())}
    if not bands or not all(bands.values()):
        raise ConfigError(f"{where}: bands: name at least one", hint=_HINT)
    return bands


def _legend(where: str, kind: Kind, given: Any) -> tuple[LegendClass, ...]:
    hint = "legend: {10: Tree cover, 20: {name: Shrubland, color: '#ffbb22'}}"
    if kind is not Kind.CLASSES:
        if given is not None:
            raise ConfigError(f"{where}: legend: is for kind classes, not {kind}")
        return ()
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f"{where}: legend: classes need names", hint=hint)
    classes = []
    for code, said in given.items():
        # The keys of a recipe kept as JSON are text.
        if not re.fullmatch(r"\d+", str(code)):
            raise ConfigError(f"{where}: legend: code {code!r} is not a whole number", hint=hint)
        one = said if isinstance(said, Mapping) else {"name": said}
        classes.append(LegendClass(int(code), str(one.get("name", f"class_{code}")), str(one.get("color", ""))))
    return tuple(sorted(classes, key=lambda one: one.code))


def _word(where: str, given: Mapping[str, Any], key: str, valid: tuple[str, ...], default: str) -> str:
    said = given.get(key, default)
    if said not in valid:
        raise ConfigError(f"{where}: {key}: '{said}' is not known", hint=near(str(said), valid))
    return str(said)


def _range(where: str, given: Any) -> tuple[float, float] | None:
    if given is None:
        return None
    numbers = _numbers(f"{where}: valid_range", given)
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise ConfigError(f"{where}: valid_range: {given!r} is not [least, largest]")
    return numbers[0], numbers[1]


def _numbers(key: str, given: Any) -> list[float]:
    return [_number(key, one) for one in (given if isinstance(given, (list, tuple)) else [given])]


def _number(key: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given):
        raise ConfigError(f"{key}: {given!r} is not a number")
    return float(given)

"""Functions of numbers, strings, lists and dictionaries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from m3leo_prep.testing.earth_engine.evaluation.arithmetic import BINARY, CASTS, UNARY, cast
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.values import (
    EarthEngineError,
    PixelType,
)


def _flat(values: Any) -> list[Any]:
    return [each for value in values for each in (_flat(value) if isinstance(value, list) else [value])]


def _number(value: Any) -> Any:
    """Return a numpy number as Python has it."""
    found = np.asarray(value).item()
    return int(found) if isinstance(found, bool) else found


def _binary(name: str) -> None:
    operator, type_of = BINARY[name]

    @function(f"Number.{name}", "left right")
    def run(left: Any, right: Any) -> Any:
        one, two = np.asarray(left), np.asarray(right)
        if type_of("int64", "int64").startswith("float"):
            one, two = one.astype(float), two.astype(float)
        return _number(operator(one, two))


def _unary(name: str) -> None:
    operator = UNARY[name][0]

    @function(f"Number.{name}", "input")
    def run(value: Any) -> Any:
        return _number(operator(np.asarray(value)))  # type: ignore[call-arg]  # one array: it is of UNARY


def _cast(name: str, dtype: str) -> None:
    @function(f"Number.{name} Number.to{name[0].upper()}{name[1:]}", "input")
    def run(value: Any) -> Any:
        return _number(cast(np.asarray(value), dtype))


for _name in BINARY:
    _binary(_name)
for _name in UNARY:
    _unary(_name)
for _name, _dtype in CASTS.items():
    _cast(_name, _dtype)
    function(f"PixelType.{_name}")(lambda dtype=_dtype: PixelType(dtype))


@function("Number.parse", "input radix?")
def parse_number(text: str, radix: int | None) -> float:
    """Return text as a number."""
    return (
        int(text, radix)
        if radix not in {None, 10}
        else float(text)
        if "." in text or "e" in text.lower()
        else int(text)
    )


@function("Number.format", "number pattern?")
def format_number(number: float, pattern: str | None) -> str:
    """Return a number as text, by a pattern such as %02d."""
    return str((pattern or "%s") % number)


@function("If", "condition? trueCase? falseCase?")
def choose(condition: Any, yes: Any, no: Any) -> Any:
    """Return one of two values; 0, null and the empty string are false (https://developers.google.com/earth-engine/apidocs/ee-algorithms-if)."""
    return yes if condition not in {None, 0, ""} else no


@function("IsEqual", "left? right?")
def is_equal(left: Any, right: Any) -> bool:
    """Return whether two values are the same."""
    return bool(left == right)


@function("String", "input")
def string(value: Any) -> str:
    """Return text."""
    return value if isinstance(value, str) else str(value)


@function("String.cat", "string1 string2")
def string_cat(one: str, two: str) -> str:
    """Return two texts as one."""
    return one + two


@function("String.length", "string")
def string_length(text: str) -> int:
    """Return how many characters there are."""
    return len(text)


@function("String.slice", "string start end?")
def string_slice(text: str, start: int, end: int | None) -> str:
    """Return characters from ``start`` to before ``end``."""
    return text[start:end]


@function("String.split", "input? regex flags? string?")
def string_split(text: str | None, regex: str, _: Any, other: str | None) -> list[str]:
    """Return the parts between matches."""
    return re.split(regex, text if text is not None else other or "")


@function("String.replace", "input regex replacement flags?")
def string_replace(text: str, regex: str, new: str, flags: str | None) -> str:
    """Return text with a match replaced, all with flag g."""
    return re.sub(regex, re.sub(r"\$(\d)", r"\\\1", new), text, count=0 if "g" in (flags or "") else 1)


@function("String.match", "input regex flags?")
def string_match(text: str, regex: str, _: Any) -> list[str]:
    """Return the match and its groups."""
    found = re.search(regex, text)
    return [] if found is None else [found.group(), *(group or "" for group in found.groups())]


@function("String.index", "target pattern")
def string_index(text: str, pattern: str) -> int:
    """Return where text occurs first, -1 if it does not."""
    return text.find(pattern)


for _name, _text in (("toLowerCase", str.lower), ("toUpperCase", str.upper), ("trim", str.strip)):
    function(f"String.{_name}", "string")(_text)
for _name, _list in (
    ("size", len),
    ("length", len),
    ("reverse", lambda values: values[::-1]),
    ("distinct", lambda values: list({repr(value): value for value in values}.values())),
    ("flatten", _flat),
):
    function(f"List.{_name}", "list")(_list)


@function("List.get List.getNumber List.getString List.getGeometry", "list index")
def list_get(values: list[Any], index: int) -> Any:
    """Return an element; from the end where the number is negative."""
    if not -len(values) <= int(index) < len(values):
        raise EarthEngineError(f"List.get: List index must be between 0 and {len(values) - 1}, not {index}.")
    return values[int(index)]


@function("List.add", "list element?")
def list_add(values: list[Any], element: Any) -> list[Any]:
    """Return one element more."""
    return [*values, element]


@function("List.cat", "list other")
def list_cat(values: list[Any], other: list[Any]) -> list[Any]:
    """Return both lists as one."""
    return [*values, *other]


@function("List.contains", "list element")
def list_contains(values: list[Any], element: Any) -> bool:
    """Return whether an element is there."""
    return element in values


@function("List.indexOf", "list element")
def list_index(values: list[Any], element: Any) -> int:
    """Return an element's place, -1 if it is not there."""
    return values.index(element) if element in values else -1


@function("List.map", "list baseAlgorithm dropNulls?")
def list_map(values: list[Any], run: Callable[[Any], Any], drop: bool | None) -> list[Any]:  # noqa: FBT001  # Earth Engine's order
    """Return what a function makes of each element."""
    made = [run(value) for value in values]
    return [value for value in made if value is not None] if drop else made


@function("List.iterate", "list function first?")
def list_iterate(values: list[Any], run: Callable[[Any, Any], Any], start: Any) -> Any:
    """Return the last result of a function of each element and the result before."""
    for value in values:
        start = run(value, start)
    return start


@function("List.slice", "list start end? step?")
def list_slice(values: list[Any], start: int, end: int | None, step: int | None) -> list[Any]:
    """Return elements from ``start`` to before ``end``."""
    return values[start:end:step]


@function("List.sequence", "start end? step? count?")
def list_sequence(start: float, end: float | None, step: float | None, count: int | None) -> list[float]:
    """Return numbers at equal distances, ``end`` included."""
    if count is not None:
        return [
            _number(value)
            for value in np.linspace(start, end if end is not None else start + (step or 1) * (count - 1), count)
        ]
    stride = step or 1
    assert end is not None
    return [start + number * stride for number in range(int(np.floor((end - start) / stride + 1e-9)) + 1)]


@function("List.sort", "list keys?")
def list_sort(values: list[Any], keys: list[Any] | None) -> list[Any]:
    """Return the list in order, of the keys where they are given."""
    return (
        sorted(values)
        if keys is None
        else [value for _, value in sorted(zip(keys, values, strict=True), key=lambda pair: pair[0])]
    )


@function("List.join", "list separator?")
def list_join(values: list[Any], separator: str | None) -> str:
    """Return all elements as one text."""
    return (separator or "").join(map(str, values))


@function("List.zip", "list other")
def list_zip(values: list[Any], other: list[Any]) -> list[list[Any]]:
    """Return pairs."""
    return [list(pair) for pair in zip(values, other, strict=False)]


@function("List.repeat", "value count")
def list_repeat(value: Any, count: int) -> list[Any]:
    """Return one value many times."""
    return [value] * int(count)


@function("Dictionary", "input?")
def dictionary(value: Any) -> dict[str, Any]:
    """Return a dictionary, of another or of a list of keys and values by turns."""
    return dict(zip(value[::2], value[1::2], strict=True)) if isinstance(value, list) else dict(value or {})


@function("Dictionary.get Dictionary.getNumber Dictionary.getString", "dictionary key defaultValue?")
def dictionary_get(values: Mapping[str, Any], key: str, default: Any) -> Any:
    """Return a value."""
    if key not in values and default is None:
        raise EarthEngineError(f"Dictionary.get: Dictionary does not contain key: '{key}'.")
    return values.get(key, default)


@function("Dictionary.set", "dictionary key value?")
def dictionary_set(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return the dictionary with a value."""
    return {**values, key: value}


@function("Dictionary.keys", "dictionary")
def dictionary_keys(values: Mapping[str, Any]) -> list[str]:
    """Return the keys in order of the alphabet."""
    return sorted(values)


@function("Dictionary.values", "dictionary keys?")
def dictionary_values(values: Mapping[str, Any], keys: list[str] | None) -> list[Any]:
    """Return the values in order of their keys."""
    return [values[key] for key in (keys or sorted(values))]


@function("Dictionary.contains", "dictionary key")
def dictionary_contains(values: Mapping[str, Any], key: str) -> bool:
    """Return whether a key is there."""
    return key in values


@function("Dictionary.size", "dictionary")
def dictionary_size(values: Mapping[str, Any]) -> int:
    """Return how many keys there are."""
    return len(values)


@function("Dictionary.combine", "first second overwrite?")
def dictionary_combine(one: Mapping[str, Any], two: Mapping[str, Any], overwrite: bool | None) -> dict[str, Any]:  # noqa: FBT001  # Earth Engine's order
    """Return both; the second's values win unless told otherwise."""
    return {**two, **one} if overwrite is False else {**one, **two}


@function("Dictionary.fromLists", "keys values")
def dictionary_from_lists(keys: list[str], values: list[Any]) -> dict[str, Any]:
    """Return keys with values."""
    return dict(zip(keys, values, strict=True))


@function("Dictionary.select", "dictionary selectors ignoreMissing?")
def dictionary_select(values: Mapping[str, Any], keys: list[str], _: Any) -> dict[str, Any]:
    """Return some of the keys."""
    return {key: values[key] for key in keys if key in values}

"""The catalogue's filter language, as far as https://documentation.dataspace.copernicus.eu/APIs/OData.html tells."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]
Test = Callable[[Row], bool]

_TOKEN = re.compile(r"\s*(area=geography'[^']*'|'(?:[^']|'')*'|[(),]|[^\s(),']+)")
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_ATTRIBUTE = re.compile(r"Attributes/OData\.CSC\.\w+Attribute/any")


def parsed(text: str) -> Test:
    """Return whether a product passes a filter.

    Raises:
        ValueError: this is none.
    """
    if not text.strip():
        return lambda _row: True
    reader = _Reader(text)
    test = reader.either()
    reader.end()
    return test


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def either(self) -> Test:
        tests = [self._both()]
        while self._take("or"):
            tests.append(self._both())
        return lambda row: any(test(row) for test in tests)

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise ValueError(f"unexpected {self._tokens[self._at]!r}")

    def _both(self) -> Test:
        tests = [self._one()]
        while self._take("and"):
            tests.append(self._one())
        return lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        if self._take("not"):
            test = self._one()
            return lambda row: not test(row)
        if self._take("("):
            inner = self.either()
            self._need(")")
            return inner
        word = self._next()
        if word in _TEXTS:
            return self._text(_TEXTS[word])
        if word == "OData.CSC.Intersects":
            return self._area()
        if _ATTRIBUTE.fullmatch(word):
            return self._attribute()
        compare, value = _OPERATORS[self._next()], self._next()
        return lambda row: compare(_found(row, word), _value(value, word))

    def _text(self, holds: Callable[[str, str], bool]) -> Test:
        self._need("(")
        path = self._next()
        self._need(",")
        part = _value(self._next(), path)
        self._need(")")
        return lambda row: holds(str(_found(row, path)), part)

    def _area(self) -> Test:
        import shapely
        from shapely.geometry import shape

        self._need("(")
        wanted = shapely.from_wkt(self._next().removesuffix("'").partition(";")[2])
        self._need(")")
        if wanted.geom_type == "MultiPolygon":
            raise ValueError("MULTIPOLYGON is currently not supported")
        return lambda row: row.get("GeoFootprint") is not None and bool(shape(row["GeoFootprint"]).intersects(wanted))

    def _attribute(self) -> Test:
        """``any(att:att/Name eq 'NAME' and att/OData.CSC.TYPEAttribute/Value eq VALUE)``."""
        self._need("(")
        self._need("att:att/Name")
        self._need("eq")
        name = _value(self._next(), "")
        self._need("and")
        kind = self._next().split(".")[-1].removesuffix("Attribute/Value")
        compare, value = _OPERATORS[self._next()], self._next()
        self._need(")")
        wanted = float(value) if kind in {"Integer", "Double"} else _value(value, "")
        return lambda row: any(
            one["Name"] == name and one["ValueType"] == kind and compare(one["Value"], wanted)
            for one in row["Attributes"]
        )

    def _next(self) -> str:
        if self._at == len(self._tokens):
            raise ValueError("the filter ends early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, word: str) -> bool:
        is_next = self._at < len(self._tokens) and self._tokens[self._at] == word
        self._at += is_next
        return is_next

    def _need(self, word: str) -> None:
        if self._next() != word:
            raise ValueError(f"expected {word!r}, not {self._tokens[self._at - 1]!r}")


def _tokens(text: str) -> Iterator[str]:
    at = 0
    text = text.strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"unexpected {text[at]!r}")
        yield found[1]
        at = found.end()


def _found(row: Row, path: str) -> Any:
    """Return what a product says at a path; moments as such."""
    value: Any = row
    for part in path.split("/"):
        value = value[part]
    return datetime.fromisoformat(value) if _is_moment(path) else value


def _value(text: str, path: str) -> Any:
    """Return what a literal stands for."""
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    if _is_moment(path):
        return datetime.fromisoformat(text)
    if text in {"true", "false"}:
        return text == "true"
    return float(text)


def _is_moment(path: str) -> bool:
    return "Date" in path

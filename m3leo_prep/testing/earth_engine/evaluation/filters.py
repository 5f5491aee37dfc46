"""Filters and joins: which elements of a collection are meant, and which go together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from m3leo_prep.testing.earth_engine.evaluation.geometries import shape_of
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.values import (
    Collection,
    Date,
    DateRange,
    EarthEngineError,
    Element,
    Feature,
    Geometry,
    datetime_of,
    millis_of,
)

_ARGUMENTS = "leftField? rightValue? rightField? leftValue?"
_GEOMETRY_FIELDS = {".all", ".geo"}


@dataclass(frozen=True, slots=True)
class Filter:
    """Whether an element, or a pair of elements, is meant."""

    test: Callable[[Any, Any], bool]
    """Of the left and the right element; a filter of one element gets it as both."""
    equal: tuple[str, str] | None = None
    """Properties of a join by equality, which needs no loop over all pairs."""


def _value(element: Any, name: str, geometry: bool) -> Any:  # noqa: FBT001  # private, two callers
    if geometry and name in _GEOMETRY_FIELDS:
        return element if element.footprint is not None else None
    return element.get(name)


def _compared(name: str, test: Callable[[Any, Any], bool], *, geometry: bool = False) -> None:
    """Register a filter of two operands, each of which is a property or a value.

    An element without the property does not match: https://developers.google.com/earth-engine/apidocs/ee-filter-eq says
    "the value of the left operand"; that null never matches is unverified.
    """

    @function(name, _ARGUMENTS)
    def make(left_field: Any, right_value: Any, right_field: Any, left_value: Any) -> Filter:
        if (left_field is None) == (left_value is None) or (right_field is None) == (right_value is None):
            raise EarthEngineError(f"{name}: Exactly one of field and value must be given on each side.")

        def matches(left: Any, right: Any) -> bool:
            one = left_value if left_field is None else _value(left, left_field, geometry)
            two = right_value if right_field is None else _value(right, right_field, geometry)
            return one is not None and two is not None and test(one, two)

        fields = (
            (left_field, right_field) if left_field and right_field and name.split(".")[1] in {"eq", "equals"} else None
        )
        return Filter(matches, fields)


def _plain(value: Any) -> Any:
    return value.millis if isinstance(value, Date) else value


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        left, right = _plain(left), _plain(right)
        if isinstance(left, str) != isinstance(right, str):
            return False
        return test(left, right)

    return compare


for _names, _test in (
    ("Filter.eq Filter.equals", lambda a, b: a == b),
    ("Filter.neq Filter.notEquals", lambda a, b: a != b),
    ("Filter.lt Filter.lessThan", lambda a, b: a < b),
    ("Filter.lte Filter.lessThanOrEquals", lambda a, b: a <= b),
    ("Filter.gt Filter.greaterThan", lambda a, b: a > b),
    ("Filter.gte Filter.greaterThanOrEquals", lambda a, b: a >= b),
):
    for _name in _names.split():
        _compared(_name, _ordered(_test))
_compared("Filter.stringContains", lambda a, b: b in a)
_compared("Filter.stringStartsWith", lambda a, b: str(a).startswith(b))
_compared("Filter.stringEndsWith", lambda a, b: str(a).endswith(b))
_compared("Filter.listContains", lambda a, b: b in a)
_compared("Filter.inList", lambda a, b: a in b)
_compared("Filter.intersects", lambda a, b: bool(_shape(a).intersects(_shape(b))), geometry=True)
_compared("Filter.disjoint", lambda a, b: bool(_shape(a).disjoint(_shape(b))), geometry=True)
_compared("Filter.contains", lambda a, b: bool(_shape(a).contains(_shape(b))), geometry=True)
_compared("Filter.isContained", lambda a, b: bool(_shape(a).within(_shape(b))), geometry=True)


def _shape(value: Any) -> Any:
    return shape_of(value, "Filter")


def _in_range(dates: DateRange, when: Any) -> bool:
    return dates.start <= millis_of(when) < dates.end


_compared("Filter.dateRangeContains", _in_range)


@function("Filter.rangeContains", "field minValue maxValue")
def range_contains(field: str, low: Any, high: Any) -> Filter:
    """Return whether a property lies between two values, both included."""

    def test(element: Any, _: Any) -> bool:
        value = element.get(field)
        return value is not None and bool(_plain(low) <= value <= _plain(high))

    return Filter(test)


@function("Filter.notNull", "properties")
def not_null(names: list[str]) -> Filter:
    """Return whether all properties are there."""
    return Filter(lambda element, _: all(element.get(name) is not None for name in names))


_FIELDS: dict[str, Callable[[datetime], int]] = {
    "year": lambda when: when.year,
    "month": lambda when: when.month,
    "hour": lambda when: when.hour,
    "minute": lambda when: when.minute,
    "day_of_year": lambda when: when.timetuple().tm_yday,
    "day_of_month": lambda when: when.day,
    "day_of_week": lambda when: when.isoweekday(),
}


@function("Filter.calendarRange Filter.dayOfYear", "start end? field?")
def calendar_range(start: int, end: int | None, field: str | None) -> Filter:
    """Return whether the time's field lies in a range, both ends included; it may go round the year's end.

    https://developers.google.com/earth-engine/apidocs/ee-filter-calendarrange.
    """
    name = field or "day_of_year"
    if name not in _FIELDS:
        raise EarthEngineError(f"stand-in: Filter.calendarRange knows {', '.join(_FIELDS)} here, not '{name}'")
    last = start if end is None else end

    def test(element: Any, _: Any) -> bool:
        when = element.get("system:time_start")
        if when is None:
            return False
        value = _FIELDS[name](datetime_of(millis_of(when)))
        return start <= value <= last if start <= last else value >= start or value <= last

    return Filter(test)


@function("Filter.and", "filters")
def both(filters: Sequence[Filter]) -> Filter:
    """Return whether all match."""
    return Filter(lambda left, right: all(each.test(left, right) for each in filters))


@function("Filter.or", "filters")
def either(filters: Sequence[Filter]) -> Filter:
    """Return whether any matches."""
    return Filter(lambda left, right: any(each.test(left, right) for each in filters))


@function("Filter.not", "filter")
def negated(inner: Filter) -> Filter:
    """Return whether it does not match."""
    return Filter(lambda left, right: not inner.test(left, right))


@dataclass(frozen=True, slots=True)
class Join:
    """How matches are kept: simple, inverted, first, all or inner."""

    kind: str
    key: str = ""
    ordering: str = ""
    descending: bool = False
    outer: bool = False
    other_key: str = ""


@function("Join.simple")
def join_simple() -> Join:
    """Return the join that keeps elements with a match."""
    return Join("simple")


@function("Join.inverted")
def join_inverted() -> Join:
    """Return the join that keeps elements without a match."""
    return Join("inverted")


@function("Join.inner", "primaryKey? secondaryKey?")
def join_inner(primary: str | None, secondary: str | None) -> Join:
    """Return the join that gives a feature for each pair."""
    return Join("inner", primary or "primary", other_key=secondary or "secondary")


@function("Join.saveFirst", "matchKey ordering? ascending? outer?")
def join_first(key: str, ordering: str | None, ascending: bool | None, outer: bool | None) -> Join:  # noqa: FBT001  # Earth Engine's order
    """Return the join that saves the first match as a property; elements without one are dropped unless ``outer``.

    https://developers.google.com/earth-engine/apidocs/ee-join-savefirst.
    """
    return Join("first", key, ordering or "", ascending is False, bool(outer))


@function("Join.saveAll", "matchesKey ordering? ascending? outer?")
def join_all(key: str, ordering: str | None, ascending: bool | None, outer: bool | None) -> Join:  # noqa: FBT001  # Earth Engine's order
    """Return the join that saves all matches as a property."""
    return Join("all", key, ordering or "", ascending is False, bool(outer))


@function("Join.apply", "join primary secondary condition")
def apply(join: Join, primary: Collection, secondary: Collection, condition: Filter) -> Collection:
    """Return the joined collection."""
    index: dict[Hashable, list[Any]] | None = None
    if condition.equal is not None:
        index = {}
        for item in secondary.items:
            value = item.get(condition.equal[1])
            if value is not None:
                index.setdefault(_plain(value), []).append(item)
    out: list[Element] = []
    for item in primary.items:
        if index is not None and condition.equal is not None:
            matches = index.get(_plain(item.get(condition.equal[0])), [])
        else:
            matches = [other for other in secondary.items if condition.test(item, other)]
        if join.ordering:
            matches = sorted(matches, key=lambda other: other.get(join.ordering), reverse=join.descending)
        out += _joined(join, item, matches)
    return Collection(tuple(out), of_images=join.kind != "inner" and primary.of_images)


def _joined(join: Join, item: Any, matches: list[Any]) -> list[Any]:
    match join.kind:
        case "simple":
            return [item] if matches else []
        case "inverted":
            return [] if matches else [item]
        case "inner":
            return [Feature(properties={join.key: item, join.other_key: other}) for other in matches]
        case _:
            if not matches:
                return [item] if join.outer else []
            return [item.having({join.key: matches[0] if join.kind == "first" else matches})]


@function("Filter.hasType", _ARGUMENTS)
def has_type(left_field: Any, right_value: Any, _: Any, __: Any) -> Filter:
    """Return whether a property is a ``Number``, ``String``, ``List`` or ``Geometry``."""
    kinds = {"Number": int | float, "String": str, "List": list, "Geometry": Geometry}
    return Filter(lambda element, _: isinstance(element.get(left_field), kinds[right_value]))

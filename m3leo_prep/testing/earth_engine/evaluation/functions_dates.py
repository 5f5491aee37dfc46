"""Functions of dates and ranges of dates, in UTC."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.values import Date, DateRange, EarthEngineError, datetime_of, millis_of

_UNITS = {"week": 604_800_000, "day": 86_400_000, "hour": 3_600_000, "minute": 60_000, "second": 1000}
_JODA = {
    "YYYY": "%Y", "yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S", "DDD": "%j", "MMM": "%b",
}  # fmt: skip
_LETTERS = re.compile(r"'([^']*)'|([A-Za-z])\2*|[^A-Za-z']")


@function("Date", "value timeZone?")
def date(value: Any, zone: str | None) -> Date:
    """Return a date; UTC only."""
    _utc(zone)
    return Date(millis_of(value))


def _utc(zone: str | None) -> None:
    if zone not in {None, "UTC", "GMT"}:
        raise EarthEngineError(f"stand-in: dates are known here in UTC only, not '{zone}'")


@function("Date.fromYMD", "year month day timeZone?")
def from_ymd(year: int, month: int, day: int, zone: str | None) -> Date:
    """Return a day."""
    _utc(zone)
    return Date(round(datetime(int(year), int(month), int(day), tzinfo=UTC).timestamp() * 1000))


@function("Date.millis", "date")
def millis(value: Any) -> int:
    """Return milliseconds since 1970."""
    return millis_of(value)


@function("Date.advance", "date delta unit timeZone?")
def advance(value: Any, delta: float, unit: str, zone: str | None) -> Date:
    """Return a later date, by calendar for months and years."""
    _utc(zone)
    name = unit.rstrip("s")
    if name in _UNITS:
        return Date(millis_of(value) + round(delta * _UNITS[name]))
    if name not in {"month", "year"} or int(delta) != delta:
        raise EarthEngineError(f"stand-in: Date.advance knows whole units here, not {delta} '{unit}'")
    when = datetime_of(millis_of(value))
    months = when.year * 12 + when.month - 1 + int(delta) * (12 if name == "year" else 1)
    year, month = divmod(months, 12)
    day = min(when.day, calendar.monthrange(year, month + 1)[1])
    return Date(millis_of(when.replace(year=year, month=month + 1, day=day).isoformat()))


@function("Date.difference", "date start unit")
def difference(value: Any, start: Any, unit: str) -> float:
    """Return the time between two dates; months and years are means of the Gregorian calendar (unverified)."""
    days = {"year": 365.2425, "month": 365.2425 / 12}
    name = unit.rstrip("s")
    length = _UNITS[name] if name in _UNITS else days[name] * _UNITS["day"]
    return (millis_of(value) - millis_of(start)) / length


@function("Date.get", "date unit timeZone?")
def date_get(value: Any, unit: str, zone: str | None) -> int:
    """Return the year, month, day (of the month), hour, minute or second."""
    _utc(zone)
    when = datetime_of(millis_of(value))
    return int(getattr(when, unit.rstrip("s")))


@function("Date.format", "date format? timeZone?")
def date_format(value: Any, pattern: str | None, zone: str | None) -> str:
    """Return a date as text: https://developers.google.com/earth-engine/apidocs/ee-date-format, with Joda's letters."""
    _utc(zone)
    when = datetime_of(millis_of(value))
    out = []
    for found in _LETTERS.finditer(pattern or "YYYY-MM-dd'T'HH:mm:ss"):
        letters = found.group()
        if found.group(1) is not None:
            out.append(found.group(1))
        elif letters in _JODA:
            out.append(when.strftime(_JODA[letters]))
        elif letters == "SSS":
            out.append(f"{when.microsecond // 1000:03d}")
        elif letters[0].isalpha():
            raise EarthEngineError(f"stand-in: Date.format does not know '{letters}' here")
        else:
            out.append(letters)
    return "".join(out)


@function("DateRange", "start end? timeZone?")
def date_range(start: Any, end: Any, zone: str | None) -> DateRange:
    """Return from ``start`` to before ``end``, by default one millisecond.

    https://developers.google.com/earth-engine/apidocs/ee-daterange.
    """
    _utc(zone)
    first = millis_of(start)
    last = first + 1 if end is None else millis_of(end)
    if last < first:
        raise EarthEngineError("DateRange: The end of a DateRange may not be before its start.")
    return DateRange(first, last)


@function("Date.getRange", "date unit timeZone?")
def get_range(value: Any, unit: str, zone: str | None) -> DateRange:
    """Return the unit of the calendar in which a date lies."""
    _utc(zone)
    when = datetime_of(millis_of(value))
    parts = ["year", "month", "day", "hour", "minute", "second"]
    if unit.rstrip("s") not in parts:
        raise EarthEngineError(f"stand-in: Date.getRange does not know '{unit}' here")
    kept = parts[: parts.index(unit.rstrip("s")) + 1]
    start = datetime(**{"year": 1, "month": 1, "day": 1} | {name: getattr(when, name) for name in kept}, tzinfo=UTC)
    begin = Date((start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))
    return DateRange(begin.millis, advance(begin, 1, unit, None).millis)


@function("DateRange.start", "dateRange")
def range_start(dates: DateRange) -> Date:
    """Return the first moment."""
    return Date(dates.start)


@function("DateRange.end", "dateRange")
def range_end(dates: DateRange) -> Date:
    """Return the first moment after."""
    return Date(dates.end)


@function("DateRange.contains", "dateRange other")
def range_contains(dates: DateRange, other: Any) -> bool:
    """Return whether a moment lies in the range."""
    return dates.start <= millis_of(other) < dates.end


@function("DateRange.intersects", "dateRange other")
def range_intersects(dates: DateRange, other: DateRange) -> bool:
    """Return whether two ranges share a moment."""
    return dates.start < other.end and other.start < dates.end

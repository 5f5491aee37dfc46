"""Time slots: what ``slots:`` of a recipe means, as half-open UTC intervals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import STATIC, Slot
from m3leo_prep.core.text import near

FORMS = ("months", "seasons", "years", "dates", "periods")
RULES = ("pairs", "orbits")
"""Forms that ``core.choice`` parses."""


def parse_slots(value: Any, *, year: int | None = None) -> tuple[Slot, ...]:
    """Return the slots that a recipe's ``slots:`` asks for, in order of time.

    >>> [slot.label for slot in parse_slots({"seasons": 2020})]
    ['winter_2020', 'spring_2020', 'summer_2020', 'fall_2020']

    Forms: nothing or ``static``; ``{months: 2020}``; ``{seasons: 2020}`` (winter = December 2019 to February 2020,
    as in GSSIC); ``{years: [2019, 2020]}``; ``{dates: [2020-06-01, ...]}`` (UTC days);
    ``{periods: [[2020-01-01, 2020-01-15], ...]}`` (last day included). A bare ``seasons``, ``months`` or ``years``
    means those of ``year``, the only one that a product has.

    Raises:
        ConfigError: unknown form, or overlapping or empty periods.
    """
    if value is None or value == "static":
        return (STATIC,)
    if year is not None and isinstance(value, str) and value in FORMS[:3]:
        value = {value: year}
    if not isinstance(value, Mapping) or len(value) != 1:
        hint = f"{value}: [2020]" if isinstance(value, str) and value in FORMS else ""
        raise ConfigError(
            f"slots must be `static` or one of {', '.join((*FORMS, *RULES))}, not {value!r}",
            hint=hint and f"say of which year: slots: {{{hint}}}",
        )
    ((form, given),) = value.items()
    asked = given if isinstance(given, (list, tuple)) else [given]
    match form:
        case "months":
            slots = [_month(_year(year), m) for year in asked for m in range(1, 13)]
        case "seasons":
            slots = [slot for year in asked for slot in _seasons(_year(year))]
        case "years":
            slots = [_slot(str(y), date(_year(y), 1, 1), date(_year(y) + 1, 1, 1)) for y in asked]
        case "dates":
            slots = [_slot(str(_day(d)), _day(d), _day(d) + timedelta(days=1)) for d in asked]
        case "periods":
            slots = [_period(pair) for pair in asked]
        case _:
            raise ConfigError(f"unknown slots form '{form}'", hint=near(str(form), (*FORMS, *RULES)))
    if not slots:
        raise ConfigError(f"slots `{form}` lists nothing")
    ordered = sorted(slots, key=lambda slot: slot.start or datetime.min.replace(tzinfo=UTC))
    for before, after in pairwise(ordered):
        if before.end and after.start and before.end > after.start:
            raise ConfigError(f"slots {before.label} and {after.label} overlap")
    return tuple(ordered)


def _year(value: Any) -> int:
    if isinstance(value, int) and 1900 < value < 2200:
        return value
    raise ConfigError(f"{value!r} is not a year", hint="write it as a number, such as 2020")


def _day(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ConfigError(f"{value!r} is not a date", hint="write it as 2020-06-01") from None


def _slot(label: str, start: date, end: date) -> Slot:
    """Return the slot from the first instant of ``start`` to the first instant of ``end``."""

    def instant(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    return Slot(label, instant(start), instant(end))


def _month(year: int, month: int) -> Slot:
    after = date(year + month // 12, month % 12 + 1, 1)
    return _slot(f"{year}-{month:02d}", date(year, month, 1), after)


def _seasons(year: int) -> list[Slot]:
    return [
        _slot(f"winter_{year}", date(year - 1, 12, 1), date(year, 3, 1)),
        _slot(f"spring_{year}", date(year, 3, 1), date(year, 6, 1)),
        _slot(f"summer_{year}", date(year, 6, 1), date(year, 9, 1)),
        _slot(f"fall_{year}", date(year, 9, 1), date(year, 12, 1)),
    ]


def _period(pair: Any) -> Slot:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise ConfigError(f"a period is [first day, last day], not {pair!r}")
    first, last = _day(pair[0]), _day(pair[1])
    if last < first:
        raise ConfigError(f"period {first} ... {last} ends before it starts")
    return _slot(f"{first}_{last}", first, last + timedelta(days=1))

"""What of a layer is refused before anything is asked, and the spans of time for which images are listed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import shapely

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Slot
from m3leo_prep.sources.gee.choice import Choice, Row
from m3leo_prep.sources.gee.products import with_year, years_in_words

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Window = tuple[datetime, datetime]
"""Start, and first instant that does not belong to it; UTC."""
LONGEST = timedelta(days=100)
"""Slots are listed together up to this: some thousand images of a continent, a few pages."""
LONGEST_PAUSE = timedelta(days=31)
"""Between two slots that are listed together."""


def check(choice: Choice, area: BaseGeometry, slots: Sequence[Slot]) -> None:
    """Raise ConfigError if the product has nothing for a slot, the year or the area; no request is made.

    Args:
        choice: what the layer asks for.
        area: lon/lat.
        slots: of the layer, in order of time.
    """
    row = choice.row
    where = row.name or row.title
    if not area.intersects(shapely.box(*row.domain)):
        west, south, east, north = row.domain
        raise ConfigError(
            f"there is no data here: it covers {_degrees(west, 'WE')} to {_degrees(east, 'WE')}, "
            f"{_degrees(south, 'SN')} to {_degrees(north, 'SN')}",
            where=where,
            hint="leave the layer out for this area, or take another product",
        )
    static = slots[0].is_static
    if not static and not row.is_collection:
        raise ConfigError("it is one image without dates", where=where, hint="leave out `slots:`")
    if not static and choice.year is not None:
        raise ConfigError(
            f"`year: {choice.year}` is for a layer without slots", where=where, hint="remove `year:` or `slots:`"
        )
    if static and choice.year is None and _has_years(row):
        hint = f"`year: {2020 if with_year(row, 2020) else _last_year(row)}`, or `slots: {{years: [...]}}`"
        if choice.mode == "composite":
            hint = "`slots: {seasons: 2020}` (or months, years, dates, periods), or `year: 2020` for one composite"
        raise ConfigError(f"it has images of many dates: {existing(row)}", where=where, hint=f"say {hint}")
    for slot, (start, end) in zip(_asked(choice, slots), spans(choice, slots), strict=True):
        _check_span(choice, slot, start, end, where)


def spans(choice: Choice, slots: Sequence[Slot]) -> list[Window]:
    """Return the span of each slot, or of the one year; none where any date will do."""
    if not slots[0].is_static:
        return [(slot.start, slot.end) for slot in slots if slot.start and slot.end]
    if choice.year is None:
        return []
    return [(datetime(choice.year, 1, 1, tzinfo=UTC), datetime(choice.year + 1, 1, 1, tzinfo=UTC))]


def windows(choice: Choice, slots: Sequence[Slot]) -> list[Window]:
    """Return spans to be listed: neighbouring slots as one, half-open, whatever lies between them left out."""
    found: list[Window] = []
    for start, end in spans(choice, slots):
        if found and start - found[-1][1] <= LONGEST_PAUSE and end - found[-1][0] <= LONGEST:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def existing(row: Row) -> str:
    """Return in words which dates a product has."""
    if row.years:
        return years_in_words(row)
    if row.first is None:
        return "any time"
    return f"{row.first} to {row.last}" if row.last else f"from {row.first} on"


def overlap(start: datetime, end: datetime, first: date, last: date) -> bool:
    """Return whether a half-open span and two days, both included, have an instant in common."""
    return start.date() <= last and (end - timedelta(microseconds=1)).date() >= first


def _check_span(choice: Choice, label: str, start: datetime, end: datetime, where: str) -> None:
    row = choice.row
    missing = not overlap(start, end, row.first or date.min, row.last or date.max)
    if row.years:
        last = (end - timedelta(microseconds=1)).year
        missing = not any(start.year <= year <= last for year in row.years)
    if missing:
        raise ConfigError(f"it has no data of {label}", where=where, hint=f"it has: {existing(row)}")
    for first, last_day, what in row.gaps if choice.cloud == "qa60" else ():
        if overlap(start, end, first, last_day):
            raise ConfigError(
                f"`cloud: qa60` would let clouds pass in {label}: {what} ({first} to {last_day})",
                where=where,
                hint="say " + " or ".join(f"`cloud: {rule}`" for rule in row.clouds if rule not in {"qa60", "none"}),
            )


def _asked(choice: Choice, slots: Sequence[Slot]) -> list[str]:
    if not slots[0].is_static:
        return [f"slot {slot.label}" for slot in slots]
    return [] if choice.year is None else [str(choice.year)]


def _has_years(row: Row) -> bool:
    """Return whether a layer of the product without any date would mix years."""
    if not row.is_collection:
        return False
    if row.years:
        return len(row.years) > 1
    return row.first is not None and (row.last is None or row.last.year > row.first.year)


def _last_year(row: Row) -> int:
    return max(row.years, default=0) or (row.last or row.first or date.max).year


def _degrees(value: float, letters: str) -> str:
    return f"{abs(value):g}{letters[value > 0]}" if value else "0"

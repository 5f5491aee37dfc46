"""What a catalogue is asked: an area of few vertices that holds all of it, and what an item must say of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Slot
from m3leo_prep.core.text import near

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

MOST_VERTICES = 400
"""Of a question: servers refuse large bodies, and are slow at long outlines."""
MOST_IN_ADDRESS = 100
"""The same where the question stands in the address: servers take 8 kB as a rule, and a vertex has 50 bytes there."""
FIRST_DEG = 0.002
"""By how much an outline is moved outward at first; twice as much each time that it still has too many vertices."""
FAR_DEG = 0.25
"""Parts that are not one when moved so far are asked about apart: a question about all would be one about the world."""
_WORLD = (-180.0, -90.0, 180.0, 90.0)

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "eq": lambda value, wanted: bool(value == wanted),
        "neq": lambda value, wanted: bool(value != wanted),
        "lt": lambda value, wanted: bool(value < wanted),
        "lte": lambda value, wanted: bool(value <= wanted),
        "gt": lambda value, wanted: bool(value > wanted),
        "gte": lambda value, wanted: bool(value >= wanted),
        "startsWith": lambda value, wanted: str(value).startswith(str(wanted)),
        "endsWith": lambda value, wanted: str(value).endswith(str(wanted)),
        "contains": lambda value, wanted: str(wanted) in (value if isinstance(value, list) else str(value)),
        "in": lambda value, wanted: value in wanted,
    }
)
"""https://github.com/stac-api-extensions/query"""


def questions(area: BaseGeometry, most: int = MOST_VERTICES) -> list[BaseGeometry]:
    """Return areas of few vertices that together hold all of ``area``, inside -180...180 and -90...90.

    An area of few vertices is returned as it is; parts that lie far from each other are asked about in groups.

    Args:
        area: valid lon/lat polygons.
        most: vertices of each.
    """
    import shapely

    found, step = area, FIRST_DEG
    while shapely.get_num_coordinates(found) > most:
        parts = shapely.get_parts(found)
        if step > FAR_DEG and len(parts) > 1:
            middles = shapely.get_coordinates(shapely.centroid(parts))
            in_order = parts[np.argsort(middles[:, np.ptp(middles, axis=0).argmax()])]
            halves = [shapely.MultiPolygon(list(half)) for half in np.array_split(in_order, 2)]
            return [one for half in halves for one in questions(half, most)]
        # Moved out by a step (round corners are 2 % short of it), and simplified by half of that: nothing comes inside.
        moved = shapely.simplify(shapely.buffer(area, step, quad_segs=4), step / 2)
        found = shapely.clip_by_rect(moved, *_WORLD)
        step *= 2
    return [found]


def spans(slots: Sequence[Slot]) -> list[tuple[datetime | None, datetime | None]]:
    """Return the times that slots cover, in order, those that touch as one; of a slot without times, all times."""
    times = [(slot.start, slot.end) for slot in slots]
    bounded = [(start, end) for start, end in times if start is not None and end is not None]
    if len(bounded) < len(times):
        return [(None, None)]
    merged: list[tuple[datetime | None, datetime | None]] = []
    last: datetime | None = None
    for start, end in sorted(bounded):
        if last is not None and start <= last:
            last = max(last, end)
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((start, end))
            last = end
    return merged


def satisfies(properties: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """Return whether an item's properties are as ``query:`` asks; one that lacks a property is not.

    Raises:
        ConfigError: see ``check_query``.
    """
    for key, wanted in check_query(query).items():
        value = properties.get(key)
        if value is None:
            return False
        try:
            if not all(_OPERATORS[name](value, limit) for name, limit in wanted.items()):
                return False
        except TypeError:
            raise ConfigError(f"query: {key} of an item is {value!r}, which cannot be compared so") from None
    return True


def check_query(query: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return ``query:`` with an operator for each wanted value; a bare value means that it is equal.

    Raises:
        ConfigError: it is no such thing, or an operator is not known.
    """
    hint = "query: {'eo:cloud_cover': {lt: 60}}"
    if not isinstance(query, Mapping):
        raise ConfigError(f"query: {query!r} is not understood", hint=hint)
    found = {str(key): value if isinstance(value, Mapping) else {"eq": value} for key, value in query.items()}
    for key, wanted in found.items():
        if not re.fullmatch(r"[\w:.-]+", key) or not wanted:
            raise ConfigError(f"query: {key}: {dict(wanted)!r} is not understood", hint=hint)
        for name, limit in wanted.items():
            if name not in _OPERATORS:
                raise ConfigError(f"query: {key}: there is no operator '{name}'", hint=near(str(name), _OPERATORS))
            for one in limit if isinstance(limit, list) else [limit]:
                if not isinstance(one, (str, int, float)):
                    what = "a date needs quotes" if isinstance(one, date) else "not a number and no text"
                    raise ConfigError(f"query: {key}: {name}: {one}: {what}", hint=hint)
    return found

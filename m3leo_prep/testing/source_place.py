"""Where and when a source has something, so that its rules can be tried there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from odc.geo.geobox import GeoBox
from shapely.geometry import Point, box

from m3leo_prep.core.errors import PrepError
from m3leo_prep.core.raster import STATIC, Item, Raster, Slot, SourceInfo
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.ports.faults import item_fault
from m3leo_prep.ports.guarded import Guarded, guard
from m3leo_prep.ports.source import Source
from m3leo_prep.testing._rasters import chip_at, lonlat_outline
from m3leo_prep.testing.source_rules import Broken, broken, none_of

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

WORLD = box(-180.0, -85.0, 180.0, 85.0)
YEARS = list(range(2015, 2026))
"""Searched where no slots are given."""
MOST = 64
"""Items looked at while searching: a catalogue may hold millions."""
TRIED = 3
"""Of them, those whose pixels are read."""
LAND = Point(9.08, 49.49)
"""Tried first in footprints that hold it: most products have something here."""
TARGET_PX = 96


class Place(NamedTuple):
    """A target and slots in which a source has something."""

    geobox: GeoBox
    area: BaseGeometry
    """Lon/lat, around the target."""
    slots: tuple[Slot, ...]


def find_place(
    source: Source,
    name: str,
    area: BaseGeometry | None,
    slots: Sequence[Slot] | None,
    note: Callable[[str], None],
) -> Place:
    """Return where to try a source: inside ``area`` and ``slots`` if given, else anywhere.

    Raises:
        Broken: it has nothing there, in words.
        SourceError: it fails.
    """
    note("describe()")
    info = Guarded(name, source).describe()
    asked = tuple(slots or _slots(info))
    note("find()")
    found: list[Item] = []
    for where in (LAND.buffer(0.2), WORLD) if area is None else (area,):
        with guard(name, "find()"):
            found = found or list(islice(source.find(where, asked), MOST))
    good = [item for item in found if isinstance(item, Item) and item_fault(item, ()) is None]
    if not good:
        for item in found:
            if not isinstance(item, Item):
                broken(f"find() gave a {type(item).__name__}", change="yield Item(id, footprint, version, datetime)")
            none_of(item_fault(item, ()), "find()")
        place = "in the area" if area is not None else "on Earth"
        when = "at any time" if asked[0].is_static else f"from {asked[0].label} to {asked[-1].label}"
        broken(f"find() found nothing {place} {when}", change="say where and when it has data: --aoi and --slots")
    tried = []
    for item, point in _points(good, area):
        around = _around(info, item, point, slots)
        tried.append(f"item {item.id} at lon {point.x:.3f}, lat {point.y:.3f}")
        note(f"read() of item {item.id}")
        try:
            given = Guarded(name, source).read([item], around.geobox, around.slots[0])
            rasters = [one for one in given if isinstance(one, Raster)]
        except PrepError:
            return around  # the rules tell
        if any(raster.valid.any() for raster in rasters):
            return around
    raise Broken(
        f"read() gave no valid pixel for {'; '.join(tried)}",
        change="say where it has data: --aoi lon,lat,lon,lat; and check that footprints outline the data, x first",
    )


def _slots(info: SourceInfo) -> tuple[Slot, ...]:
    if info.year is not None:
        return parse_slots("seasons", year=info.year)
    return (STATIC,) if info.is_static else parse_slots({"years": YEARS})


def _points(items: Sequence[Item], area: BaseGeometry | None) -> Iterator[tuple[Item, Point]]:
    """Yield items and points in their footprints at which to try."""
    for item in items[:TRIED]:
        inside = item.footprint.intersection(WORLD if area is None else area)
        if inside.is_empty:
            continue
        if inside.contains(LAND):
            yield item, LAND
        yield item, inside.representative_point()


def _around(info: SourceInfo, item: Item, point: Point, slots: Sequence[Slot] | None) -> Place:
    geobox = chip_at(point.x, point.y, info.pitch or 10.0, TARGET_PX)
    around = lonlat_outline(geobox.pad(TARGET_PX))
    return Place(geobox, around, tuple(slots) if slots else _slots_of(info, item))


def _slots_of(info: SourceInfo, item: Item) -> tuple[Slot, ...]:
    """Return the month of an item and the one after."""
    if info.is_static or item.datetime is None:
        return _slots(info)
    months = parse_slots({"months": [item.datetime.year, item.datetime.year + 1]})
    return months[item.datetime.month - 1 : item.datetime.month + 1]

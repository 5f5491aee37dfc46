"""From an item as a catalogue writes it to ``Found``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.polygons import clean, split_antimeridian
from m3leo_prep.sources.local.dates import parse
from m3leo_prep.sources.stac.found import Asset, Found

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_HINT = "report it to whoever keeps the catalogue"


def told(item: Mapping[str, Any], where: str) -> Found:
    """Return an item; its dates are UTC, its footprint polygons.

    One without assets has none, one without dates has none; one that lies nowhere cannot be used.

    Args:
        item: JSON of the item.
        where: the catalogue, for messages.

    Raises:
        SourceError: it has no id, or neither outline nor box of longitudes and latitudes.
    """
    identity = str(item.get("id") or "")
    if not identity:
        raise SourceError("an item has no id", where=where, hint=_HINT)
    where = f"{where}, item {identity}"
    properties = item.get("properties") or {}
    when = _time(properties, "datetime", where)
    return Found(
        identity,
        str(item.get("collection") or ""),
        _footprint(item, where),
        _time(properties, "start_datetime", where) or when,
        _time(properties, "end_datetime", where) or when,
        properties,
        {
            str(name): Asset(
                str(asset["href"]),
                str(asset.get("type") or ""),
                {key: value for key, value in asset.items() if key not in {"href", "type"}},
            )
            for name, asset in (item.get("assets") or {}).items()
            if asset and asset.get("href")
        },
    )


def _time(properties: Mapping[str, Any], key: str, where: str) -> datetime | None:
    """Return a time of an item, None if it has none.

    Raises:
        SourceError: it is no time: an item that is dropped for it would be missed.
    """
    value = properties.get(key)
    if not value:
        return None
    found = parse(value.isoformat() if isinstance(value, datetime) else str(value))
    if found is None:
        raise SourceError(f"{key} {value!r} is no time", where=where, hint=_HINT)
    return found


def _footprint(item: Mapping[str, Any], where: str) -> BaseGeometry:
    """Return the outline, or the box where there is no outline that encloses ground."""
    import shapely.geometry
    from shapely.errors import ShapelyError

    geometry, box = item.get("geometry"), item.get("bbox")
    if geometry is not None:
        try:
            shape = shapely.geometry.shape(dict(geometry)) if isinstance(geometry, Mapping) else geometry
            found, _ = clean(shape, where)
        except (ConfigError, ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError):
            pass  # no polygon of lon/lat
        else:
            if not found.is_empty:
                return found
    if isinstance(box, Sequence) and len(box) in {4, 6}:
        return _box([float(value) for value in box], where)
    raise SourceError("has no outline that encloses ground, and no box either", where=where, hint=_HINT)


def _box(box: Sequence[float], where: str) -> BaseGeometry:
    """Return a box of 2 or 3 dimensions; one whose west is beyond its east crosses the antimeridian (RFC 7946, 5.2)."""
    import shapely

    half = len(box) // 2
    west, south, east, north = box[0], box[1], box[half], box[half + 1]
    east += 360.0 if west > east else 0.0
    if not (-360 <= west < east <= 540 and -90 <= south < north <= 90):
        raise SourceError(f"its box {list(box)} encloses no ground", where=where, hint=_HINT)
    return split_antimeridian(shapely.box(west, south, east, north))

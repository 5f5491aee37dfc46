"""What Earth Engine's expressions are made of beside images: errors, geometries, dates, features, collections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


class EarthEngineError(Exception):
    """What the server answers as status 400, in Earth Engine's words; ``stand-in`` in it marks our own limits."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A projection with its pixels; without any it is what composites have.

    "When an ImageCollection is reduced or mosaicked, the default projection is WGS84 with a scale of 1 degree"
    (https://developers.google.com/earth-engine/guides/projections).
    """

    crs: str = "EPSG:4326"
    transform: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Geometry:
    """A shape in lon/lat. Edges are straight there: Earth Engine's geodesic edges are not modelled."""

    shape: BaseGeometry


@dataclass(frozen=True, slots=True)
class Date:
    """Milliseconds since 1970, UTC."""

    millis: int


@dataclass(frozen=True, slots=True)
class DateRange:
    """From ``start`` to before ``end``, milliseconds.

    "Start (inclusive), end (exclusive)", https://developers.google.com/earth-engine/apidocs/ee-daterange.
    """

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PixelType:
    """numpy's name of a band's type."""

    dtype: str


@dataclass(frozen=True, slots=True)
class Element:
    """What has properties and a place: an image or a feature."""

    properties: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    footprint: BaseGeometry | None = field(default=None, kw_only=True)
    """In lon/lat; None is everywhere (an image) or nowhere (a feature)."""
    id: str = field(default="", kw_only=True)

    def get(self, name: str) -> Any:
        """Return a property, None if there is none.

        What is no property but is got like one: https://developers.google.com/earth-engine/guides/image_info.
        """
        if name in {"system:id", "id"} and name not in self.properties:
            return self.id or None
        if name == "system:footprint" and self.footprint is not None:
            return Geometry(self.footprint)
        return self.properties.get(name)

    def having(self, properties: Mapping[str, Any]) -> Any:
        """Return the same with properties set; those set to None are taken away."""
        merged = {**self.properties, **properties}
        return replace(self, properties={name: value for name, value in merged.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Feature(Element):
    """A geometry with properties."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Images or features, in order."""

    items: tuple[Any, ...]
    of_images: bool
    id: str = ""

    def having(self, items: Any) -> Collection:
        """Return a collection of the same kind with other elements."""
        return Collection(tuple(items), self.of_images)


def millis_of(value: Any) -> int:
    """Return milliseconds of a date, a number, or text such as 2020-01-31 or 2020-01-31T12:00:00, UTC."""
    match value:
        case Date():
            return value.millis
        case bool():
            pass
        case int() | float():
            return int(value)
        case str():
            try:
                when = datetime.fromisoformat(value)
            except ValueError as error:
                raise EarthEngineError(f"Date: Bad date/time '{value}'.") from error
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
            return round(when.timestamp() * 1000)
        case _:
            pass
    raise EarthEngineError(f"Date: Cannot convert {type(value).__name__} to a date.")


def datetime_of(millis: int) -> datetime:
    """Return the same moment as a datetime in UTC."""
    from datetime import timedelta

    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis)

"""An image as a listing gives it, before it is decided whether a layer takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shapely.geometry.base import BaseGeometry

DATE = "system:time_start"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Listed:
    """One image: its place, its time, and the properties that were asked for."""

    id: str
    """Full."""
    footprint: BaseGeometry
    """Lon/lat, widened by the product's reach."""
    crs: str = ""
    """Of its first band."""
    time: datetime | None = None
    """``system:time_start``, UTC; None where no date was asked for."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """As Earth Engine names them; absent ones are left out."""

    @property
    def index(self) -> str:
        """Name within its collection."""
        return self.id.rpartition("/")[2]

    @property
    def version(self) -> str:
        """What changes when the asset is replaced; nothing if Earth Engine does not say."""
        return text(self.properties.get("system:version", ""))


def time_of(millis: Any) -> datetime | None:
    """Return milliseconds since 1970 as a time in UTC."""
    return None if millis is None else _EPOCH + timedelta(milliseconds=float(millis))


def text(value: Any) -> str:
    """Return a property as text; whole numbers without a fraction, since Earth Engine's are float64."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

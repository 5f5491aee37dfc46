"""One item as a STAC catalogue tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of an item."""

    href: str
    """``s3://...``, ``https://...`` or a path; never signed."""
    type: str = ""
    """Media type."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """All else that the item says of it: ``bands``, ``raster:bands``, ``proj:code``, ``file:size`` ..."""


@dataclass(frozen=True, slots=True)
class Found:
    """One item."""

    id: str
    collection: str
    footprint: BaseGeometry
    """Valid lon/lat polygons, inside -180...180."""
    start: datetime | None
    """UTC; None where the catalogue dates nothing."""
    end: datetime | None
    properties: Mapping[str, Any]
    assets: Mapping[str, Asset]

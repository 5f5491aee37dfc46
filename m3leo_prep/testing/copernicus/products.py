"""What the archive holds: a product's folder, and what the catalogues tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the Copernicus Data Space."""

    folder: Path
    """``NAME.SAFE`` on this machine."""
    prefix: str
    """Of the folder in the bucket ``eodata``: ``Sentinel-2/MSI/L2A_N0500/2020/06/14``."""
    start: datetime
    """Of sensing, UTC."""
    end: datetime
    footprint: BaseGeometry
    """Lon/lat."""
    mission: str = "SENTINEL-2"
    """By OData's name."""
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    """As OData tells of it."""
    item: Mapping[str, Any] | None = None
    """As STAC tells of it; None = STAC does not know it."""
    is_online: bool = True

    @property
    def name(self) -> str:
        """With ``.SAFE``."""
        return self.folder.name

    @property
    def key(self) -> str:
        """Of the folder in the bucket."""
        return f"{self.prefix}/{self.name}"

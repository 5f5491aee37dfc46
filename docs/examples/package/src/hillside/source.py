"""The source: tiles of one degree on one endless grid in lon/lat."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Kind, Raster, Slot, SourceInfo, Variable

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

PER_DEGREE = 3600
"""Pixels of the grid: one arc second."""
MARGIN = 6


@dataclass(frozen=True, slots=True)
class Hillside:
    """Heights in metres of hills `relief` metres high; there is sea, and no data, west of Greenwich."""

    relief: float = 300.0

    def __post_init__(self) -> None:
        if not self.relief > 0:
            raise ConfigError(f"relief must be above 0, not {self.relief!r}", where="source 'hillside'")

    def describe(self) -> SourceInfo:
        """Return one variable, ``height``."""
        height = Variable("height", Kind.CONTINUOUS, ("height",), unit="m", long_name="height above the sea")
        return SourceInfo((height,), version="1", pitch=30.0, is_static=True, licence="CC0-1.0")

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the tiles that meet the area, from west to east and south to north."""
        west, south, east, north = area.bounds
        for lon in range(max(0, math.floor(west)), min(180, math.ceil(east) + 1)):
            for lat in range(max(-80, math.floor(south)), min(80, math.ceil(north) + 1)):
                tile = box(lon, lat, lon + 1, lat + 1)
                if tile.intersects(area):
                    yield Item(f"e{lon:03d}n{lat:+03d}", tile, version="1", properties={"lon": lon, "lat": lat})

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        """Yield the part of each tile that the target needs, (1, y, x) float32."""
        to_lonlat = Transformer.from_crs(str(geobox.crs), 4326, always_xy=True)
        west, south, east, north = (v * PER_DEGREE for v in to_lonlat.transform_bounds(*geobox.pad(4).boundingbox))
        for item in items:
            lon, lat = int(item.properties["lon"]) * PER_DEGREE, int(item.properties["lat"]) * PER_DEGREE
            # Whole pixels counted from (0, 0), cut to the tile: the same pixels for every target.
            left, right = max(math.floor(west) - MARGIN, lon), min(math.ceil(east) + MARGIN, lon + PER_DEGREE)
            bottom, top = max(math.floor(south) - MARGIN, lat), min(math.ceil(north) + MARGIN, lat + PER_DEGREE)
            if left >= right or bottom >= top:
                continue
            x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom, -1) - 0.5)
            hills = self.relief * (1 + np.sin(x / 40) * np.cos(y / 55)) / 2
            data = hills.astype(np.float32)[None]
            step = 1 / PER_DEGREE
            grid = GeoBox(data.shape[1:], Affine(step, 0, left * step, 0, -step, top * step), "EPSG:4326")
            yield Raster(data, np.ones(data.shape, bool), grid, item, "height")

"""Tiles of one degree: what they are called, where they are, and which of them an area meets.

A tile is named by its upper-left corner: N48W090 covers latitudes 47...48 and longitudes -90...-89 (the producer's
guide at asf.alaska.edu); the row below the equator is N00 (N00E005 is 5...6 E, 1...0 S in ASF's own STAC catalogue).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
import shapely

from m3leo_prep.sources._native import NativeGrid, Window

if TYPE_CHECKING:
    from shapely.geometry import Polygon
    from shapely.geometry.base import BaseGeometry

PIXELS = 1200
"""Of a tile, along a side: 3 arc seconds each, edges on whole degrees."""
GRID = NativeGrid("EPSG:4326", 1 / PIXELS, -180.0, 90.0)
"""One grid for all tiles, so that a pixel has the same coordinates, bit for bit, in each."""
TURN = 360 * PIXELS
_NAME = re.compile(r"([NS])(\d{2})([EW])(\d{3})")


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile by its upper-left corner in whole degrees."""

    north: int
    """Latitude of the upper edge."""
    west: int
    """Longitude of the left edge, -180...179."""

    @classmethod
    def named(cls, name: str) -> Tile | None:
        """Return the tile of a name; None if it is none. ``S00`` is ``N00``, ``E180`` is ``W180``."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        north = int(found[2]) * (1 if found[1] == "N" else -1)
        west = int(found[4]) * (1 if found[3] == "E" else -1)
        return cls(north, (west + 180) % 360 - 180)

    @property
    def name(self) -> str:
        """The name in the archive."""
        return self.names[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the tile may have: of one at the equator two."""
        east = f"{'E' if self.west >= 0 else 'W'}{abs(self.west):03d}"
        signs = "NS" if self.north == 0 else "N" if self.north > 0 else "S"
        return tuple(f"{sign}{abs(self.north):02d}{east}" for sign in signs)

    @property
    def footprint(self) -> Polygon:
        """The lon/lat outline."""
        return shapely.box(self.west, self.north - 1, self.west + 1, self.north)

    def window(self, wanted: Window) -> Window:
        """Return the pixels of the tile on ``GRID``, a whole turn further where that is nearer to those wanted."""
        col = (self.west + 180) * PIXELS
        col += TURN * round(((wanted.col0 + wanted.col1 - PIXELS) / 2 - col) / TURN)
        row = (90 - self.north) * PIXELS
        return Window(row, row + PIXELS, col, col + PIXELS)


def tiles_of(area: BaseGeometry) -> list[Tile]:
    """Return the tiles that an area (lon/lat) meets, from north to south and west to east."""
    corners: set[tuple[int, int]] = set()
    for part in shapely.get_parts(area):
        west, south, east, north = part.bounds
        x, y = np.meshgrid(
            np.arange(max(floor(west), -180), min(max(ceil(east), floor(west) + 1), 180)),
            np.arange(max(floor(south), -90) + 1, min(max(ceil(north), floor(south) + 1), 90) + 1),
        )
        shapely.prepare(part)
        met = shapely.intersects(part, shapely.box(x, y - 1, x + 1, y))
        corners |= set(zip(y[met].tolist(), x[met].tolist(), strict=True))
    return [Tile(north, west) for north, west in sorted(corners, key=lambda corner: (-corner[0], corner[1]))]

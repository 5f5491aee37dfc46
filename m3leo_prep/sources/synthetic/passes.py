"""When and where the synthetic satellites look: swaths, frames, tiles and dates, anchored to the Earth.

An orbit's ground track is a straight line in lon/lat, so a swath is exactly a parallelogram there. What a
place's items are never depends on the area that asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from shapely import affinity, union_all
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.raster import Slot
from m3leo_prep.sources._native import transformer

ARCHIVE = (datetime(2015, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC))
"""First instant with data and first without."""

_FRAME_DEG = 1.5
_OVERLAP_DEG = 0.05
_POLAR_DEG = 81.0
_TILE_M = 100_000
_TILE_SIDE_M = 109_800


def chance(*key: object) -> float:
    """Return a number in [0, 1) that is always the same for the same key."""
    return number(*key) / 2**63


def number(*key: object) -> int:
    """Return 63 bits that are always the same for the same key."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True, slots=True)
class Mission:
    """One satellite's repeating pattern."""

    name: str
    tracks: int
    repeat_days: int
    overlap: float
    """Share by which a swath is wider than the distance of the tracks."""
    directions: tuple[str, ...]

    def swaths(self) -> Iterator[Swath]:
        """Yield every swath, by direction and relative orbit."""
        for direction in self.directions:
            for track in range(self.tracks):
                yield self.swath(track + 1, direction)

    def swath(self, relative_orbit: int, direction: str) -> Swath:
        """Return the swath of a relative orbit (from 1)."""
        spacing = 360.0 / self.tracks
        shift = 0.0 if direction == "ascending" else 0.5
        return Swath(
            relative_orbit,
            direction,
            lon0=(relative_orbit - 1 + shift) * spacing - 180.0,
            tilt=0.25 if direction == "ascending" else -0.25,
            half=0.5 * spacing * (1.0 + self.overlap),
        )

    def dates(self, swath: Swath, slots: Sequence[Slot], missing: float, seed: int) -> list[datetime]:
        """Return the times of the passes that were acquired, in the slots, in order.

        A share ``missing`` of the passes is lacking, and half that share of the orbits never looks at all.
        """
        key = (self.name, swath.relative_orbit, swath.direction, seed)
        if chance("never", *key) < missing / 2:
            return []
        # Local solar time is about 18 h going up, 6 h (optical: 10:30) going down.
        hour = 18.0 if swath.direction == "ascending" else 6.0 if "ascending" in self.directions else 10.5
        offset = number("phase", *key[:3]) % self.repeat_days
        first = ARCHIVE[0] + timedelta(days=offset, hours=(hour - swath.lon0 / 15.0) % 24.0)
        first = first.replace(microsecond=0)
        dates = []
        for n in range(*self._pass_numbers(first, slots)):
            when = first + timedelta(days=n * self.repeat_days)
            if any(slot.contains(when) for slot in slots) and chance("pass", n, *key) >= missing:
                dates.append(when)
        return dates

    def _pass_numbers(self, first: datetime, slots: Sequence[Slot]) -> tuple[int, int]:
        """Return the first and last + 1 number of the passes that may fall into the slots."""
        start = min((slot.start or ARCHIVE[0] for slot in slots), default=ARCHIVE[0])
        end = max((slot.end or ARCHIVE[1] for slot in slots), default=ARCHIVE[0])
        repeat = timedelta(days=self.repeat_days)
        return (
            max(0, floor((start - first) / repeat)),
            ceil((min(end, ARCHIVE[1]) - first) / repeat),
        )


@dataclass(frozen=True, slots=True)
class Swath:
    """The strip that one relative orbit sees: ``|across(lon, lat)| <= 1``."""

    relative_orbit: int
    direction: str
    lon0: float
    """Longitude of the ground track at the equator."""
    tilt: float
    """Degrees of longitude westward per degree of latitude."""
    half: float
    """Half width in degrees of longitude."""

    def across(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the place in the swath, from -1 (western edge) to 1."""
        return ((lon - self.lon0 + self.tilt * lat + 180.0) % 360.0 - 180.0) / self.half

    def outline(self, south: float, north: float) -> BaseGeometry:
        """Return the swath between two latitudes, lon/lat, cut at the antimeridian."""
        low, high = self.lon0 - self.tilt * south, self.lon0 - self.tilt * north
        h = self.half
        return on_earth(Polygon([(low - h, south), (low + h, south), (high + h, north), (high - h, north)]))


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of a swath: what one SAR product covers."""

    swath: Swath
    number: int
    footprint: BaseGeometry
    centre: tuple[float, float]

    @property
    def latitudes(self) -> tuple[float, float]:
        """Southern and northern edge in degrees."""
        return frame_latitudes(self.number)

    @property
    def epsg(self) -> int:
        """UTM zone of the centre."""
        return (32600 if self.centre[1] >= 0 else 32700) + zone_of(self.centre[0])


def frame_latitudes(number: int) -> tuple[float, float]:
    """Return the southern and northern edge of a frame; neighbours overlap a little."""
    south = number * _FRAME_DEG
    return south - _OVERLAP_DEG, south + _FRAME_DEG + _OVERLAP_DEG


@lru_cache(maxsize=16_384)
def frame(swath: Swath, number: int) -> Frame:
    """Return frame ``number`` (counted from the equator) of a swath."""
    south, north = frame_latitudes(number)
    middle = (south + north) / 2
    lon = (swath.lon0 - swath.tilt * middle + 180.0) % 360.0 - 180.0
    return Frame(swath, number, swath.outline(south, north), (lon, middle))


def frames(mission: Mission, area: BaseGeometry) -> Iterator[Frame]:
    """Yield the frames that meet ``area``, by direction, relative orbit and latitude."""
    _, south, _, north = area.bounds
    low = floor((max(south, -_POLAR_DEG) - _OVERLAP_DEG) / _FRAME_DEG)
    high = ceil((min(north, _POLAR_DEG) + _OVERLAP_DEG) / _FRAME_DEG)
    for swath in mission.swaths():
        for index in range(low, high + 1):
            found = frame(swath, index)
            if found.footprint.intersects(area):
                yield found


def zone_of(lon: float) -> int:
    """Return the standard UTM zone, 1 ... 60."""
    return min(int((lon + 180.0) // 6.0) + 1, 60)


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of a UTM zone: 100 km, and 9.8 km more to the east and south."""

    epsg: int
    x: int
    y: int
    """Number of the tile: its western and southern edge in units of 100 km."""
    footprint: BaseGeometry

    @property
    def name(self) -> str:
        """Zone, hemisphere and number, such as ``32N-04-55``."""
        return f"{self.epsg % 100:02d}{'N' if self.epsg < 32700 else 'S'}-{self.x:02d}-{self.y:02d}"


def tile_extent(x: int, y: int) -> tuple[int, int, int, int]:
    """Return west, south, east, north of a tile in metres."""
    west, north = x * _TILE_M, (y + 1) * _TILE_M
    return west, north - _TILE_SIDE_M, west + _TILE_SIDE_M, north


@lru_cache(maxsize=65_536)
def _tile(epsg: int, x: int, y: int) -> Tile | None:
    """Return a tile, or None if it lies beside its zone's strip."""
    west, south, east, north = tile_extent(x, y)
    t = np.linspace(0.0, 1.0, 9)[:-1]
    xs = np.concatenate([west + t * (east - west), t * 0 + east, east - t * (east - west), t * 0 + west])
    ys = np.concatenate([t * 0 + south, south + t * (north - south), t * 0 + north, north - t * (north - south)])
    lon, lat = transformer(f"EPSG:{epsg}", "EPSG:4326").transform(xs, ys)
    centre = (epsg % 100) * 6.0 - 183.0
    lon = centre + (lon - centre + 180.0) % 360.0 - 180.0
    outline = Polygon(np.stack([lon, lat], axis=1))
    if not outline.intersects(box(centre - 3.0, -84.0, centre + 3.0, 84.0)):
        return None
    return Tile(epsg, x, y, on_earth(outline))


def tiles(area: BaseGeometry) -> Iterator[Tile]:
    """Yield the tiles that meet ``area``, by zone and number."""
    west, south, east, north = area.bounds
    for hemisphere, lowest, highest in ((32600, max(south, 0.0), north), (32700, south, min(north, 0.0))):
        if lowest > highest:
            continue
        # A meridian arc is between 110.5 and 111.7 km a degree; tiles reach 9.8 km beyond their number.
        base = 0 if hemisphere == 32600 else 100
        rows = range(max(floor(lowest * 1.1 - 0.4) + base, 0), min(ceil(highest * 1.12 + 1.2) + base, base + 94) + 1)
        for zone in range(1, 61):
            # A tile reaches beyond its strip, farther in degrees the nearer to the pole.
            reach = 3.0 + 1.2 / np.cos(np.radians(min(max(abs(south), abs(north)), 83.0)))
            if not _meets(zone * 6.0 - 183.0, reach, west, east):
                continue
            for y in rows:
                for x in range(1, 9):
                    found = _tile(hemisphere + zone, x, y)
                    if found is not None and found.footprint.intersects(area):
                        yield found


def _meets(centre: float, reach: float, west: float, east: float) -> bool:
    return any(centre + turn + reach >= west and centre + turn - reach <= east for turn in (-360.0, 0.0, 360.0))


def degree_tiles(area: BaseGeometry, size: int) -> Iterator[tuple[int, int, BaseGeometry]]:
    """Yield (west, south, outline) of the lon/lat tiles of ``size`` degrees that meet ``area``."""
    west, south, east, north = area.bounds
    for y in range(floor(max(south, -84.0) / size) * size, ceil(min(north, 84.0)), size):
        for x in range(floor(max(west, -180.0) / size) * size, ceil(min(east, 180.0)), size):
            outline = box(x, y, x + size, y + size)
            if outline.intersects(area):
                yield x, y, outline


def degree_name(west: int, south: int) -> str:
    """Return a tile's name by its lower-left corner, such as ``N49E006``."""
    return f"{'N' if south >= 0 else 'S'}{abs(south):02d}{'E' if west >= 0 else 'W'}{abs(west):03d}"


def on_earth(outline: BaseGeometry) -> BaseGeometry:
    """Return the outline with what lies beyond 180 degrees brought back to the other side."""
    west, _, east, _ = outline.bounds
    if west >= -180.0 and east <= 180.0:
        return outline
    world = box(-180.0, -90.0, 180.0, 90.0)
    return union_all([affinity.translate(outline, turn).intersection(world) for turn in (-360.0, 0.0, 360.0)])

"""Where and when the synthetic archive has scenes of its satellites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor

from shapely import box
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.raster import Slot
from m3leo_prep.sources.synthetic.passes import Frame, Mission, Swath, Tile, chance, frames, tiles

BOTH = ("ascending", "descending")


@dataclass(frozen=True, slots=True)
class Place:
    """An area with scenes, and what is lacking there."""

    bounds: tuple[float, float, float, float]
    """west, south, east, north."""
    directions: tuple[str, ...] = BOTH
    """In which radar passes over."""
    gap: tuple[datetime, datetime] | None = None
    """Without any radar pass."""

    @property
    def outline(self) -> BaseGeometry:
        """The area, lon/lat."""
        return box(*self.bounds)


LUXEMBOURG = Place((5.65, 49.40, 6.60, 50.25))
"""Across the border of zones 31 and 32 at 6 degrees, and across two slices of a radar pass at 49.5 degrees."""
JUTLAND = Place((9.25, 57.05, 9.40, 57.15))
ASCENDING_ONLY = Place((14.90, 40.90, 15.10, 41.10), ("ascending",))
NO_SUMMER = Place(
    (-4.10, 40.30, -3.90, 40.50), gap=(datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 9, 1, tzinfo=UTC))
)
PLACES = (LUXEMBOURG, JUTLAND, ASCENDING_ONLY, NO_SUMMER)


@dataclass(frozen=True, slots=True)
class When:
    """Which passes there are."""

    years: tuple[int, int]
    """First and last."""
    revisit: int
    """Days after which a track is seen again."""
    missing: float
    """Share of passes that were not acquired."""
    seed: int

    @property
    def slots(self) -> list[Slot]:
        """The time of the archive."""
        first, last = self.years
        return [Slot("archive", datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC))]

    def radar(self) -> Mission:
        """Return the pattern of Sentinel-1."""
        return Mission("s1", tracks=140, repeat_days=self.revisit, overlap=0.24, directions=BOTH)

    def camera(self) -> Mission:
        """Return the pattern of Sentinel-2."""
        return Mission("s2", tracks=143, repeat_days=self.revisit, overlap=0.10, directions=("descending",))

    def looks(self, places: Sequence[Place]) -> Iterator[tuple[Frame, datetime]]:
        """Yield each frame of radar that meets a place, and the time of each of its passes."""
        mission, seen = self.radar(), set()
        for place in places:
            for frame in frames(mission, place.outline):
                if frame in seen or frame.swath.direction not in place.directions:
                    continue
                seen.add(frame)
                for when in mission.dates(frame.swath, self.slots, self.missing, self.seed):
                    if place.gap is None or not place.gap[0] <= when < place.gap[1]:
                        yield frame, when

    def views(self, places: Sequence[Place]) -> Iterator[tuple[Tile, Swath, BaseGeometry, datetime]]:
        """Yield each tile of the camera that meets a place: its swath, outline and time for each of its passes."""
        mission, seen = self.camera(), set()
        dates = {swath: mission.dates(swath, self.slots, self.missing, self.seed) for swath in mission.swaths()}
        for place in places:
            for tile in tiles(place.outline):
                if tile in seen:
                    continue
                seen.add(tile)
                _, south, _, north = tile.footprint.bounds
                for swath, times in dates.items():
                    # Beyond the tile, so that only the tile's own edges cut the swath's ends.
                    outline = tile.footprint.intersection(swath.outline(south - 0.1, north + 0.1))
                    if not outline.is_empty:
                        for when in times:
                            yield tile, swath, outline, when


def degrees(places: Sequence[Place]) -> list[tuple[int, int]]:
    """Return (west, south) of the whole degrees that meet a place."""
    found = set()
    for place in places:
        west, south, east, north = place.bounds
        found |= {(x, y) for x in range(floor(west), ceil(east)) for y in range(floor(south), ceil(north))}
    return sorted(found)


def millis(when: datetime) -> int:
    """Return Earth Engine's time."""
    return round(when.timestamp() * 1000)


def is_unusual(key: object) -> bool:
    """Return true for one pass in fifteen: what a careless filter would take for one of the others."""
    return chance("unusual", key) < 1 / 15

"""Pairs of SLC scenes: what could be made; a layer's rule chooses few of them for each chip."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources.copernicus.snap.scenes import Scene, find_scenes

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

LEAST_OVERLAP = 0.2
"""Of the smaller scene: two of its nine bursts, which spectral diversity needs."""


def find_pairs(
    polarisation: str,
    ways: Collection[str],
    tracks: Collection[int],
    max_days: int,
    area: BaseGeometry,
    slots: Sequence[Slot],
) -> Iterator[Item]:
    """Yield the pairs of scenes that meet ``area``; see ``paired``. Metadata only.

    Raises:
        ConfigError: a slot without times.
        TriedOut, RateLimited, SourceError: from the catalogue.
    """
    scenes = find_scenes("SLC_", ways, tracks, area, slots)
    yield from paired([scene for scene in scenes if polarisation in scene.polarisations], max_days, slots)


def paired(found: Iterable[Scene], max_days: int, slots: Sequence[Slot]) -> list[Item]:
    """Return the pairs of scenes of one track at most ``max_days`` apart, both in one slot, by dates and name.

    Slices of two passes need not begin alike: each of one is paired with each of the other that overlaps it enough.
    They share ``acquisition``, so that a chip takes its frames from one pair of dates.
    """
    tracked: dict[int, list[Scene]] = {}
    for scene in found:
        tracked.setdefault(scene.track, []).append(scene)
    made = [
        _pair(earlier, later)
        for scenes in tracked.values()
        for later in scenes
        for earlier in scenes
        if 0 < _days(earlier, later) <= max_days and _together(earlier, later, slots) and _overlap(earlier, later)
    ]
    return sorted(made, key=lambda item: (item.datetime, str(item.properties["secondary_time"]), item.id))


def _days(earlier: Scene, later: Scene) -> int:
    # Not from date to date: passes at midnight are some seconds less than whole days apart, or more.
    return round((later.start - earlier.start) / timedelta(days=1))


def _together(earlier: Scene, later: Scene, slots: Sequence[Slot]) -> bool:
    return any(slot.contains(earlier.start) and slot.contains(later.start) for slot in slots)


def _overlap(earlier: Scene, later: Scene) -> bool:
    common = earlier.footprint.intersection(later.footprint).area
    return bool(common >= LEAST_OVERLAP * min(earlier.footprint.area, later.footprint.area))


def _pair(earlier: Scene, later: Scene) -> Item:
    ends = "_".join(scene.name.removesuffix("_COG").rsplit("_", 1)[1] for scene in (later, earlier))
    return Item(
        id=f"S1_T{later.track:03}_{later.start:%Y%m%dT%H%M%S}_{earlier.start:%Y%m%dT%H%M%S}_{ends}",
        footprint=earlier.footprint.intersection(later.footprint),
        version=f"{later.name} {later.version} {earlier.name} {earlier.version}",
        datetime=later.start,
        acquisition=f"{later.acquisition}_{earlier.acquisition}",
        properties={
            "reference_time": later.start.isoformat(),
            "secondary_time": earlier.start.isoformat(),
            "later": later.name,
            "later_size": later.size,
            "earlier": earlier.name,
            "earlier_size": earlier.size,
            "orbit_direction": later.direction,
            "relative_orbit": later.track,
        },
    )

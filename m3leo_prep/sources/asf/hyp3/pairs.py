"""Pairs of bursts: what could be ordered; a layer's rule chooses few of them for each chip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import SourceError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources.asf.hyp3.scenes import direction, searched

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.sources.asf.service.found import Found

_BURST = re.compile(r"S1_(\d{6})_IW([123])_(\d{8}T\d{6})_(VV|HH)_[0-9A-F]{4}-BURST")
"""What INSAR_ISCE_BURST takes (ASFHyP3/hyp3@0973e6d): number in ESA's burst map, swath, start, polarisation."""


def find_pairs(
    polarisation: str, max_days: int, tracks: Sequence[int], area: BaseGeometry, slots: Sequence[Slot]
) -> Iterator[Item]:
    """Yield the pairs of one burst at two dates that are at most ``max_days`` apart, both of them in one slot.

    They are in order of later date, earlier date and burst. Metadata only: nothing is ordered of what no chip's rule
    takes. All bursts of one pass and two dates share ``acquisition``, so that a chip takes its bursts from one pair.

    Raises:
        ConfigError: a slot without times.
        TransientError, SourceError: from the catalogue.
    """
    stacks: dict[tuple[int, str, str], dict[date, Found]] = {}
    for found in searched("burst", area, slots, "hyp3-insar", polarization=[polarisation]):
        parts = _BURST.fullmatch(found.name)
        if parts is None or parts[4] != polarisation:
            continue
        track = int(found.said("pathNumber"))
        if not tracks or track in tracks:
            # A burst that ESA made again comes later in order of name: one of both is paid for.
            stacks.setdefault((track, parts[1], parts[2]), {})[found.start.date()] = found
    made = [
        _pair(earlier, later, key)
        for key, stack in stacks.items()
        for later in stack.values()
        for earlier in stack.values()
        if 0 < (later.start.date() - earlier.start.date()).days <= max_days and _together(earlier, later, slots)
    ]
    yield from sorted(made, key=lambda item: (item.datetime, str(item.properties["secondary_time"]), item.id))


def number_of(item: Item) -> tuple[int, int]:
    """Return a pair's number in ESA's burst map, and its swath, 1 to 3."""
    parts = _BURST.fullmatch(str(item.properties["earlier"]))
    if parts is None:
        raise SourceError("it is not named as bursts are", where=item.id)
    return int(parts[1]), int(parts[2])


def _together(earlier: Found, later: Found, slots: Sequence[Slot]) -> bool:
    return any(slot.contains(earlier.start) and slot.contains(later.start) for slot in slots)


def _pair(earlier: Found, later: Found, key: tuple[int, str, str]) -> Item:
    track, number, swath = key
    days = f"{later.start:%Y%m%d}_{earlier.start:%Y%m%d}"
    common = earlier.footprint.intersection(later.footprint)
    return Item(
        id=f"S1_{number}_IW{swath}_{days}_{earlier.name.split('_')[4]}",
        footprint=later.footprint if common.is_empty or common.area == 0 else common,
        version=f"{earlier.name} {later.name}",
        datetime=later.start,
        acquisition=f"T{track:03}_{days}",
        properties={
            "reference_time": later.start.isoformat(),
            "secondary_time": earlier.start.isoformat(),
            "earlier": earlier.name,
            "later": later.name,
            "orbit_direction": direction(later),
            "relative_orbit": track,
            "burst": f"T{track:03}-{number}-IW{swath}",
        },
    )

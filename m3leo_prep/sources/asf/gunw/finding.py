"""From the catalogue's records to items: dates of the pair, track, frame, and which of several processings counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import shapely

from m3leo_prep.core.errors import CorruptError, SourceError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources.asf.gunw.names import GunwName, parse
from m3leo_prep.sources.asf.orbits import orbit_day

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.sources.asf.service.found import Found

_SCENE = re.compile(r"S1[A-D]_IW_SLC__1S[A-Z]{2}_(\d{8}T\d{6})_")
_NEAR = timedelta(hours=1)
"""Scenes that began within this of the middle of a pass belong to it."""
COVERED = 0.999
"""Share of an older granule from which newer ones of its pair replace it: the rest is the rounding of outlines."""


def find(
    area: BaseGeometry, slots: Sequence[Slot], *, versions: Sequence[int], tracks: Sequence[int]
) -> Iterator[Item]:
    """Yield the granules over an area whose both dates lie in one of the slots.

    In order of their reference time, frames of a pair next to each other, newer versions first. What a newer
    processing of the same frame and pair replaces is left out and counted (``older_versions``).

    Raises:
        SourceError: the catalogue does not answer, or tells of a granule without what an item needs.
    """
    from m3leo_prep.sources.asf.service.search import search

    spans = [(slot.start, slot.end) for slot in slots if slot.start is not None and slot.end is not None]
    if not spans:
        return
    only = {"relativeOrbit": list(tracks)} if tracks else {}
    found = search("gunw", area, min(start for start, _ in spans), max(end for _, end in spans), **only)
    pairs: dict[str, list[tuple[GunwName, Item]]] = {}
    for one in found:
        name = _name(one)
        if name is None or name.version[0] not in versions or (tracks and name.track not in tracks):
            continue
        item = _item(one, name)
        both = _time(item, "reference"), _time(item, "secondary")
        if any(start <= min(both) and max(both) < end for start, end in spans):
            pairs.setdefault(item.acquisition, []).append((name, item))
    kept = [newest(frames) for frames in pairs.values()]
    for frames in sorted(kept, key=lambda frames: (min(str(item.datetime) for item in frames), frames[0].acquisition)):
        yield from frames


def newest(granules: Sequence[tuple[GunwName, Item]]) -> list[Item]:
    """Return the granules of one pair without those that newer ones replace, newest version first.

    The same frame, or (version 2 has none) the same time of day, is the same ground; so is what newer ones cover whole.
    """
    ordered = sorted(granules, key=lambda one: (tuple(-part for part in one[0].version), one[1].datetime, one[1].id))
    kept: list[tuple[GunwName, Item]] = []
    replaced: dict[str, int] = {}
    for name, item in ordered:
        newer = [(other, one) for other, one in kept if other.version > name.version]
        same = next((one for other, one in newer if _is_same_frame(name, item, other, one)), None)
        there = shapely.union_all([one.footprint for _, one in newer])
        if same is None and newer and item.footprint.intersection(there).area >= COVERED * item.footprint.area:
            same = max((one for _, one in newer), key=lambda one: one.footprint.intersection(item.footprint).area)
        if same is None:
            kept.append((name, item))
        else:
            replaced[same.id] = replaced.get(same.id, 0) + 1
    return [
        replace(item, properties={**item.properties, "older_versions": replaced[item.id]})
        if item.id in replaced
        else item
        for _, item in kept
    ]


def advise(items: Sequence[Item]) -> list[str]:
    """Return warnings for the plan: replaced processings, versions without some layers, pairs the wrong way round."""
    if not items:
        return ["no interferogram at all: they are made for some regions only, or on demand"]
    warnings: list[str] = []
    older = sum(int(item.properties.get("older_versions", 0)) for item in items)
    if older:
        warnings.append(
            f"{older:,} older processings of interferograms that are there in a newer version were left out"
        )
    first = [item for item in items if str(item.properties["product_version"]).startswith("2.")]
    if first:
        warnings.append(
            f"{len(first):,} of {len(items):,} interferograms are of version 2, without unfiltered coherence and "
            "corrections: `versions: [3]` drops them"
        )
    wrong = [item.id for item in items if _time(item, "reference") <= _time(item, "secondary")]
    if wrong:
        warnings.append(
            f"{len(wrong):,} interferograms name a reference date that is not later than the other, and are never "
            f"used, such as {wrong[0]}"
        )
    return warnings


def _name(found: Found) -> GunwName | None:
    """Return the parts of a granule's name; None where it is no whole granule: single layers are listed too."""
    try:
        return parse(found.name, any_order=True)
    except CorruptError:
        return None


def _item(found: Found, name: GunwName) -> Item:
    url = next((url for url in found.urls if url.partition("?")[0].endswith(".nc")), None)
    if url is None:
        raise SourceError("the catalogue names no file of it", where=f"GUNW granule {found.name}")
    both = reference, secondary = times(name, found.start, found.properties.get("inputGranules") or ())
    size, checksum = int(found.size.get(url, 0)), found.checksum.get(url, "")
    about: dict[str, str | int | float] = {
        "url": url,
        "size": size,
        "checksum": checksum,
        "reference_time": reference.isoformat(),
        "secondary_time": secondary.isoformat(),
        "relative_orbit": name.track,
        "orbit_direction": name.direction,
        "product_version": ".".join(map(str, name.version)),
    }
    frame = _number(found.properties.get("frameNumber"))
    if frame is not None and frame >= 0:
        about["frame"] = int(frame)
    baseline = _number(found.properties.get("perpendicularBaseline"))
    if baseline is not None:
        about["perp_baseline"] = baseline
    return Item(
        id=found.name,
        footprint=found.footprint,
        version=checksum or str(size),
        datetime=reference,
        acquisition="-".join([f"{name.track:03}", *(f"{orbit_day(name.track, when):%Y%m%d}" for when in both)]),
        properties=about,
    )


def times(name: GunwName, start: datetime, scenes: Sequence[str]) -> tuple[datetime, datetime]:
    """Return when the reference and the secondary acquisition began, UTC.

    From the names of the scenes that went in; without these the reference is what the catalogue says, and the
    secondary is at the same time of day: a relative orbit repeats to the second.
    """
    middle = name.reference_time
    stamps = [found[1] for found in map(_SCENE.match, scenes) if found]
    began = sorted(datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=UTC) for stamp in stamps)
    told = start if abs(start - middle) < _NEAR else middle
    reference = next((when for when in began if abs(when - middle) < _NEAR), told)
    # The date of a pass that crosses midnight is that of its middle, which may be on either side.
    nominal = reference - (middle - datetime.combine(name.secondary, name.time, UTC))
    around = [nominal + timedelta(days=day) for day in (0, -1, 1)]
    secondary = next((when for guess in around for when in began if abs(when - guess) < _NEAR), nominal)
    return reference, secondary


def _time(item: Item, which: str) -> datetime:
    return datetime.fromisoformat(str(item.properties[f"{which}_time"]))


def _is_same_frame(name: GunwName, item: Item, other: GunwName, newer: Item) -> bool:
    frames = item.properties.get("frame"), newer.properties.get("frame")
    return frames[0] == frames[1] if None not in frames else name.time == other.time and frames == (None, None)


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None

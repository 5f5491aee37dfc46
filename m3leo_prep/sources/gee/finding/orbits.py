"""Radar: which images a layer asks for, what is one acquisition, and which tracks are the best.

Properties: https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S1_GRD#image-properties
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.raster import Slot
from m3leo_prep.sources.gee.choice import Choice
from m3leo_prep.sources.gee.finding.listed import Listed, text
from m3leo_prep.sources.gee.finding.places import points_in

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

DIRECTION = "orbitProperties_pass"
TRACK = "relativeOrbitNumber_start"
POLARISATIONS = "transmitterReceiverPolarisation"
PROPERTIES = (
    DIRECTION,
    TRACK,
    POLARISATIONS,
    "platform_number",
    "segmentStartTime",
    "missionDataTakeID",
    "GRD_Post_Processing_software_version",
)
_ALL = ("VV", "VH", "HH", "HV")
_RATIO = ("VV", "VH")
_LEAST_GAIN = 0.01
"""Share of places and slots that one more track must add."""


def polarisations(choice: Choice) -> tuple[str, ...]:
    """Return the polarisations that an image must have: those of the bands asked for, both of a ratio."""
    names = {name for quantity in choice.quantities for name in quantity.names}
    if "" in names:
        names |= set(_RATIO)
    return tuple(name for name in _ALL if name in names)


def filters(choice: Choice) -> dict[str, Any]:
    """Return what images must be, beside what the product's table says: property -> value or list."""
    wanted: dict[str, Any] = {DIRECTION: [orbit.upper() for orbit in choice.orbits]}
    if polarisations(choice):
        wanted[POLARISATIONS] = list(polarisations(choice))
    if not isinstance(choice.relative_orbits, str):
        wanted[TRACK] = list(choice.relative_orbits)
    return wanted


def direction(image: Listed) -> str:
    """Return ``ascending`` or ``descending``."""
    return str(image.properties.get(DIRECTION, "")).lower()


def track(image: Listed) -> int:
    """Return the relative orbit."""
    return int(float(image.properties.get(TRACK, 0)))


def acquisition(image: Listed) -> str:
    """Return what all slices of one pass share, those after midnight and those ingested twice among them.

    The start of the segment that was cut into slices, and the satellite. Not the number of the orbit, which goes up at
    the equator, within a pass. A product that is no slice has no segment: then the data take.
    """
    of = image.properties
    platform = f"S1{of.get('platform_number', '')}"
    for name in ("segmentStartTime", "missionDataTakeID"):
        if of.get(name) is not None:
            return f"{platform}_{text(of[name])}"
    return image.index


def described(image: Listed) -> dict[str, str | int | float]:
    """Return what an item of radar tells of itself."""
    of = image.properties
    return {
        "orbit_direction": direction(image),
        "relative_orbit": track(image),
        "polarisations": " ".join(seen_polarisations(image)),
        "ipf": str(of.get("GRD_Post_Processing_software_version", "")),
    }


def seen_polarisations(image: Listed) -> list[str]:
    """Return an image's polarisations; the list may come as text."""
    given = image.properties.get(POLARISATIONS, ())
    return re.findall("[VH]{2}", given) if isinstance(given, str) else [str(one) for one in given]


def best(images: Sequence[Listed], area: BaseGeometry, slots: Sequence[Slot]) -> list[Listed]:
    """Return the images of the tracks that cover the area best, for each direction apart.

    First the track that covers most of the area, on average over the slots; then, again and again, the one that covers
    most of what is left, as long as that is 1 % of the whole. Of tracks that cover as much, the one with more
    acquisitions, then the one with the lower number. Coverage is counted at some 1000 points, even by area.
    """
    points = np.array(points_in(area).geoms)
    chosen: set[tuple[str, int]] = set()
    for way in sorted({direction(image) for image in images}):
        by_track: dict[int, list[Listed]] = {}
        for image in images:
            if direction(image) == way:
                by_track.setdefault(track(image), []).append(image)
        seen = {number: _seen(own, points, slots) for number, own in by_track.items()}
        passes = {number: len({acquisition(image) for image in own}) for number, own in by_track.items()}
        left = np.ones((len(slots), len(points)), bool)
        while seen:
            gain, _, negative = max((int((seen[n] & left).sum()), passes[n], -n) for n in seen)
            if gain == 0 or gain < _LEAST_GAIN * left.size:
                break
            chosen.add((way, -negative))
            left &= ~seen.pop(-negative)
        if not any(one == way for one, _ in chosen):
            # A track that only touches the area is better than none.
            most = max(by_track, key=lambda n: (passes[n], -n))
            chosen.add((way, most))
    return [image for image in images if (direction(image), track(image)) in chosen]


def tracks_by_direction(images: Iterable[Listed]) -> dict[str, list[int]]:
    """Return the tracks there are, by direction, sorted."""
    found: dict[str, set[int]] = {}
    for image in images:
        found.setdefault(direction(image), set()).add(track(image))
    return {way: sorted(numbers) for way, numbers in sorted(found.items())}


def _seen(images: Sequence[Listed], points: NDArray[Any], slots: Sequence[Slot]) -> NDArray[np.bool_]:
    """Return (slot, point), True where an image of the slot covers the point."""
    tree = shapely.STRtree(points)
    seen = np.zeros((len(slots), len(points)), bool)
    for image in images:
        inside = tree.query(image.footprint, predicate="intersects")
        for number, slot in enumerate(slots):
            if slot.contains(image.time):
                seen[number, inside] = True
    return seen

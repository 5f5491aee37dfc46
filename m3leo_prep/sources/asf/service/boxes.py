"""An area as a few boxes of longitude and latitude that hold all of it: what a catalogue is asked about.

A box means the same to everybody. A polygon does not: ``asf_search`` 14.1 makes one of several parts by their convex
hull, takes vertices away, inwards too, and turns what is smaller than 0.0004 degrees into a point
(``WKT/validate_wkt.py``; its option ``bbox`` goes past that); and the catalogue joins vertices by great circles, we by
straight lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

FILLED = 0.6
"""Of a box by the area: a box that is emptier is cut in two."""
SMALL_DEG = 1.0
"""Smaller boxes are not cut: each is a question, and granules are larger than what it would leave out."""
CUTS = 4
"""One after another at most: 16 boxes."""
MARGIN_DEG = 0.1
"""Around each box: by so much a granule's edge may be another one to the catalogue than to us, see ``outlines``."""

Box = tuple[float, float, float, float]


def boxes(area: BaseGeometry) -> list[Box]:
    """Return boxes (west, south, east, north; degrees) that hold all of ``area``, inside -180...180 and -90...90.

    None crosses the antimeridian: an area that does is in two parts, and the first cut is between them.
    """
    return [] if area.is_empty else [_wider(box) for box in _cut(area, CUTS)]


def _cut(area: BaseGeometry, cuts: int) -> list[Box]:
    from shapely import clip_by_rect

    west, south, east, north = area.bounds
    width, height = east - west, north - south
    if not cuts or max(width, height) <= SMALL_DEG or area.area >= FILLED * width * height:
        return [(west, south, east, north)]
    across, along = (west + east) / 2, (south + north) / 2
    if width >= height:
        halves = [(west, south, across, north), (across, south, east, north)]
    else:
        halves = [(west, south, east, along), (west, along, east, north)]
    parts = [clip_by_rect(area, *half) for half in halves]
    return [box for part in parts if not part.is_empty for box in _cut(part, cuts - 1)]


def _wider(box: Box) -> Box:
    west, south, east, north = box
    return (
        max(-180.0, west - MARGIN_DEG),
        max(-90.0, south - MARGIN_DEG),
        min(180.0, east + MARGIN_DEG),
        min(90.0, north + MARGIN_DEG),
    )

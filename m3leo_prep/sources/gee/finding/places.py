"""Where images lie: the area as a filter says it, and outlines as Earth Engine gives them, made fit to work with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.polygons import clean, polygon_parts, split_antimeridian

WORLD = shapely.box(-180, -90, 180, 90)
MOST_VERTICES = 100
"""Of the area in a request: each image is tested against all of them there. What is exact is tested here."""
_METRES = 111_000.0
"""Of a degree of latitude, rounded down, so that metres become rather too many degrees."""


def outward(area: BaseGeometry) -> BaseGeometry:
    """Return a simple polygon that contains the area: holes and small bays filled, near islands joined.

    A boundary that was moved out by a distance and then simplified by as much still lies outside (Douglas-Peucker keeps
    within its tolerance).
    """
    simple = shapely.union_all([Polygon(part.exterior) for part in polygon_parts(area)])
    west, south, east, north = simple.bounds
    distance = max(east - west, north - south) / 2000
    while shapely.get_num_coordinates(simple) > MOST_VERTICES:
        wide = area.buffer(distance, quad_segs=2).simplify(distance)
        shells = [Polygon(part.exterior) for part in polygon_parts(wide)]
        simple = shapely.union_all(shells).intersection(WORLD)
        distance *= 2
    return simple


def outline(given: Any, domain: tuple[float, float, float, float], reach_m: float) -> BaseGeometry:
    """Return the lon/lat outline of an image, polygons, widened by ``reach_m`` metres, valid and split at 180 degrees.

    Args:
        given: GeoJSON geometry, a ring among them; an image without one, around a pole or with an infinite one may lie
            anywhere in ``domain``, which is then returned: an outline that is too large loses no pixels.
        domain: west, south, east, north of the product.
        reach_m: by how much pixels may lie outside the outline.
    """
    whole = shapely.box(*domain)
    shape = _polygons(given)
    if shape is None:
        return whole
    try:
        shape, _ = clean(shape)
    except ConfigError:  # around a pole, or coordinates that are no degrees
        return whole
    return widened(shape, reach_m) if shape.area > 0 else whole


def widened(shape: BaseGeometry, metres: float) -> BaseGeometry:
    """Return the shape and what lies within some metres of it, on the globe."""
    if not metres:
        return shape
    _, south, _, north = shape.bounds
    degrees = metres / _METRES
    stretch = math.cos(math.radians(min(max(abs(south), abs(north)) + degrees, 86.0)))
    wide = shape.buffer(degrees / stretch, join_style="mitre").intersection(shapely.box(-540, -90, 540, 90))
    joined = shapely.union_all(polygon_parts(split_antimeridian(wide)))
    parts = polygon_parts(joined)
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def points_in(area: BaseGeometry, most: int = 1000) -> shapely.MultiPoint:
    """Return points spread evenly, by area, over the area: at least one, at most about ``most``; always the same."""
    parts = [(part, part.area * _width(part)) for part in polygon_parts(area)]
    total = sum(size for _, size in parts)
    found = [shapely.get_coordinates(max(parts, key=lambda one: one[1])[0].representative_point())]
    step = math.sqrt(total / most)
    west, south, east, north = area.bounds
    for lat in np.arange(south + step / 2, north, step):
        lon = np.arange(west + step / 2, east, step / max(math.cos(math.radians(lat)), 0.01))
        row = np.column_stack([lon, np.full(len(lon), lat)])
        found.append(row[shapely.contains_xy(area, row)] if len(row) else row)
    return shapely.MultiPoint(np.concatenate(found))


def _width(part: Polygon) -> float:
    return math.cos(math.radians(part.centroid.y))


def _polygons(given: Any) -> BaseGeometry | None:
    """Return GeoJSON as a geometry of polygons, None if there is nothing to use."""
    if not given or not (given.get("coordinates") or given.get("geometries")):
        return None
    if given["type"] == "GeometryCollection":
        parts = [_polygons(one) for one in given["geometries"]]
        known = [part for part in parts if part is not None]
        return shapely.GeometryCollection(known) if known else None
    if given["type"] in {"LinearRing", "LineString"}:
        # ``system:footprint`` of Sentinel-1 is a ring.
        given = {"type": "Polygon", "coordinates": [given["coordinates"]]}
    if not np.isfinite(np.array(_numbers(given["coordinates"]))).all():
        return None
    try:
        shape = shapely.geometry.shape(given)
    except (ValueError, shapely.errors.ShapelyError):  # fewer than three corners
        return None
    return shape if polygon_parts(shape) else None


def _numbers(nested: Any) -> list[float]:
    """Return all numbers of GeoJSON coordinates; Earth Engine writes infinity as text."""
    if isinstance(nested, (list, tuple)):
        return [number for one in nested for number in _numbers(one)]
    return [float(nested)]

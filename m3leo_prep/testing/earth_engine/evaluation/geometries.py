"""Shapes on the ground: geometry constructors and operations, and which pixels lie in a shape.

Shapes are held in lon/lat with straight edges; those in another projection get their edges cut fine enough first.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.ops._operation import transform as transform_points
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.sampling import Floats, Grid, proj_name
from m3leo_prep.testing.earth_engine.evaluation.values import (
    Collection,
    EarthEngineError,
    Element,
    Geometry,
    Projection,
)

if TYPE_CHECKING:
    from shapely import Polygon
    from shapely.geometry.base import BaseGeometry

_EDGE_DEG = 0.01
_EDGE_M = 1000.0
_METRES_PER_DEGREE = 111_320.0


def to_lon_lat(crs: str, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return longitude and latitude of points."""
    if crs == "EPSG:4326":
        return x, y
    return transform_points(proj_name(crs), "EPSG:4326", np.ascontiguousarray(x), np.ascontiguousarray(y))


def shape_of(value: Any, where: str) -> BaseGeometry:
    """Return the lon/lat shape of a geometry, an element, or all elements of a collection."""
    import shapely

    match value:
        case Geometry():
            return value.shape
        case Element() if value.footprint is not None:
            return value.footprint
        case Collection():
            return shapely.union_all([shape_of(item, where) for item in value.items])
        case {"type": _}:
            return shapely.geometry.shape(value)
        case _:
            raise EarthEngineError(f"{where}: Unable to get a geometry from {type(value).__name__}.")


def inside(shape: BaseGeometry, grid: Grid) -> NDArray[np.bool_]:
    """Return which pixels' centres lie in a lon/lat shape, (y, x)."""
    import shapely
    from affine import Affine as Matrix
    from rasterio.features import geometry_mask

    size = (grid.height, grid.width)
    x, y = grid.places(at=0)
    rim = [np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]]) for part in (x, y)]
    lon, lat = to_lon_lat(grid.crs, *rim)
    if np.isfinite(lon).all() and np.isfinite(lat).all():
        margin = 0.01 + 0.01 * max(np.ptp(lon), np.ptp(lat))
        around = shapely.box(lon.min() - margin, lat.min() - margin, lon.max() + margin, lat.max() + margin)
        if shapely.covers(shape, around):
            return np.broadcast_to(np.True_, size)
        shape = shapely.intersection(shape, around)
    if shape.is_empty or not shape.area:
        return np.broadcast_to(np.False_, size)
    local = shapely.transform(
        shapely.segmentize(shape, _EDGE_DEG),
        lambda points: np.column_stack(transform_points("EPSG:4326", proj_name(grid.crs), *points.T.copy())),
    )
    matrix = Matrix(*grid.transform) * Matrix.translation(grid.col, grid.row)
    return np.asarray(geometry_mask([local], size, matrix, invert=True))


def geojson(shape: BaseGeometry) -> dict[str, Any]:
    """Return GeoJSON with lists, as JSON has them."""
    from shapely import to_geojson

    found: dict[str, Any] = json.loads(to_geojson(shape))
    return found


def _made(shape: BaseGeometry, crs: Any) -> Geometry:
    import shapely

    name = crs.crs if isinstance(crs, Projection) else crs
    if name in {None, "EPSG:4326"}:
        return Geometry(shape)
    fine = shapely.segmentize(shape, _EDGE_M)
    return Geometry(shapely.transform(fine, lambda points: np.column_stack(to_lon_lat(name, *points.T.copy()))))


def _pairs(coordinates: Any) -> list[tuple[float, float]]:
    """Return points, from [[x, y], ...] or [x, y, x, y, ...]."""
    if coordinates and not isinstance(coordinates[0], list):
        return list(zip(coordinates[::2], coordinates[1::2], strict=True))
    return [(point[0], point[1]) for point in coordinates]


def _polygon(rings: Any) -> Polygon:
    from shapely import Polygon

    if rings and not isinstance(rings[0][0], list):
        rings = [rings]
    return Polygon(_pairs(rings[0]), [_pairs(ring) for ring in rings[1:]])


@function("GeometryConstructors.Point", "coordinates crs?")
def point(coordinates: Any, crs: Any) -> Geometry:
    """Return a point."""
    from shapely import Point

    return _made(Point(coordinates[0], coordinates[1]), crs)


@function("GeometryConstructors.MultiPoint", "coordinates crs?")
def multi_point(coordinates: Any, crs: Any) -> Geometry:
    """Return points."""
    from shapely import MultiPoint

    return _made(MultiPoint(_pairs(coordinates)), crs)


@function("GeometryConstructors.LineString", "coordinates crs?")
def line_string(coordinates: Any, crs: Any) -> Geometry:
    """Return a line."""
    from shapely import LineString

    return _made(LineString(_pairs(coordinates)), crs)


@function("GeometryConstructors.LinearRing", "coordinates crs?")
def linear_ring(coordinates: Any, crs: Any) -> Geometry:
    """Return a closed line."""
    from shapely import LinearRing

    return _made(LinearRing(_pairs(coordinates)), crs)


@function("GeometryConstructors.Polygon", "coordinates crs?")
def polygon(coordinates: Any, crs: Any) -> Geometry:
    """Return a polygon, its holes after its outline."""
    return _made(_polygon(coordinates), crs)


@function("GeometryConstructors.MultiPolygon", "coordinates crs?")
def multi_polygon(coordinates: Any, crs: Any) -> Geometry:
    """Return polygons."""
    from shapely import MultiPolygon

    return _made(MultiPolygon([_polygon(rings) for rings in coordinates]), crs)


@function("GeometryConstructors.Rectangle", "coordinates crs?")
def rectangle(coordinates: Any, crs: Any) -> Geometry:
    """Return a rectangle between two corners."""
    from shapely import MultiPoint, box

    return _made(box(*MultiPoint(_pairs(coordinates)).bounds), crs)


@function("GeometryConstructors.BBox", "west south east north")
def bbox(west: float, south: float, east: float, north: float) -> Geometry:
    """Return a rectangle in lon/lat."""
    from shapely import box

    return Geometry(box(west, south, east, north))


@function("GeometryConstructors.MultiGeometry", "geometries crs?")
def multi_geometry(geometries: list[Any], crs: Any) -> Geometry:
    """Return several geometries as one."""
    from shapely import GeometryCollection

    return _made(GeometryCollection([shape_of(part, "MultiGeometry") for part in geometries]), crs)


def _predicate(name: str, method: str) -> None:
    @function(f"Geometry.{name} Feature.{name}", "left right proj?")
    def run(left: Any, right: Any, _: Any) -> bool:
        return bool(getattr(shape_of(left, name), method)(shape_of(right, name)))


def _operation(name: str, method: str) -> None:
    @function(f"Geometry.{name}", "left right proj?")
    def run(left: Any, right: Any, _: Any) -> Geometry:
        return Geometry(getattr(shape_of(left, name), method)(shape_of(right, name)))


for _name, _method in (
    ("intersects", "intersects"),
    ("contains", "contains"),
    ("disjoint", "disjoint"),
    ("containedIn", "within"),
):
    _predicate(_name, _method)
for _name in ("intersection", "union", "difference"):
    _operation(_name, _name)


@function("Geometry.bounds", "geometry proj?")
def bounds(geometry: Any, _: Any) -> Geometry:
    """Return the rectangle around."""
    from shapely import box

    return Geometry(box(*shape_of(geometry, "Geometry.bounds").bounds))


@function("Collection.geometry", "collection")
def collection_geometry(collection: Collection) -> Geometry:
    """Return all elements' outlines as one."""
    return Geometry(shape_of(collection, "Collection.geometry"))


@function("Geometry.buffer", "geometry distance proj?")
def buffer(geometry: Any, distance: float, _: Any) -> Geometry:
    """Return what lies within metres of a shape, on a plane that is true at its middle: good to 1 % for some 100 km."""
    import shapely

    shape = shape_of(geometry, "Geometry.buffer")
    squeeze = np.array([np.cos(np.radians(shape.centroid.y)), 1.0])
    flat = shapely.transform(shape, lambda points: points * squeeze)
    return Geometry(shapely.transform(flat.buffer(distance / _METRES_PER_DEGREE), lambda points: points / squeeze))


@function("Geometry.centroid", "geometry proj?")
def centroid(geometry: Any, _: Any) -> Geometry:
    """Return the centre."""
    return Geometry(shape_of(geometry, "Geometry.centroid").centroid)


@function("Geometry.area", "geometry proj?")
def area(geometry: Any, _: Any) -> float:
    """Return the area on the ellipsoid, m2."""
    from m3leo_prep.core.authalic import areas_km2

    return float(areas_km2([shape_of(geometry, "Geometry.area")])[0]) * 1e6


@function("Geometry.coordinates", "geometry")
def coordinates_of(geometry: Any) -> Any:
    """Return coordinates as GeoJSON has them."""
    return geojson(shape_of(geometry, "Geometry.coordinates"))["coordinates"]


@function("Geometry.type", "geometry")
def kind(geometry: Any) -> str:
    """Return the kind of geometry."""
    return str(shape_of(geometry, "Geometry.type").geom_type)

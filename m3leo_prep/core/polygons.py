"""From any geometry a person hands in to valid lon/lat polygons, saying aloud whatever had to be changed."""

from __future__ import annotations

import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from m3leo_prep.core.errors import ConfigError

_GEOD = Geod(ellps="WGS84")
_EDGE_DEG = 0.05
_EDGE_M = 5_000.0
_CUBE_KM = 200.0


def geodesic_km2(geometry: BaseGeometry) -> float:
    """Return the area on the WGS 84 ellipsoid in km2; edges are straight in lon/lat, holes count off."""
    total = 0.0
    for part in polygon_parts(geometry):
        area, _ = _GEOD.geometry_area_perimeter(shapely.segmentize(orient(part), _EDGE_DEG))
        total += abs(area)
    return total / 1e6


def polygon_parts(geometry: BaseGeometry) -> list[Polygon]:
    """Return the polygons inside a geometry, however nested; empty ones left out."""
    if isinstance(geometry, Polygon):
        return [] if geometry.is_empty else [geometry]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in polygon_parts(part)]


def clean(geometry: BaseGeometry, where: str = "") -> tuple[Polygon | MultiPolygon, tuple[str, ...]]:
    """Return valid lon/lat polygons inside -180...180, and what was changed to get them.

    Heights are dropped, lines and points left out, rings that jump across the antimeridian split there, and
    self-intersecting polygons repaired; the texts state the area before and after.

    Raises:
        ConfigError: nothing to use, or the coordinates are no lon/lat degrees.
    """
    parts = polygon_parts(shapely.force_2d(geometry))
    notes: list[str] = []
    leftover = sorted({part.geom_type for part in _leaves(geometry) if not isinstance(part, Polygon)})
    if not parts:
        what = f"only {' and '.join(leftover)}" if leftover else "nothing (it is empty)"
        raise ConfigError(
            f"the area holds no polygon, {what}",
            hint="give at least one Polygon or MultiPolygon with an extent",
            where=where,
        )
    if leftover:
        notes.append(f"{' and '.join(leftover)} parts have no area and were left out")
    for part in parts:
        _check_degrees(part, where)
    good: list[Polygon] = []
    for part in parts:
        flat = _unwrap(part, where, notes)
        good += [piece for fixed in _repair(flat, notes) for piece in polygon_parts(split_antimeridian(fixed))]
    whole: BaseGeometry = good[0] if len(good) == 1 else MultiPolygon(good)
    if not whole.is_valid:
        whole = shapely.union_all(good)  # parts that overlap or share an edge
    good = polygon_parts(whole)
    return (good[0] if len(good) == 1 else MultiPolygon(good)), tuple(dict.fromkeys(notes))


def to_lon_lat(geometry: BaseGeometry, crs: str) -> BaseGeometry:
    """Return the geometry in EPSG:4326 (lon, lat); long edges are cut first, so that they stay on the ground.

    Raises:
        ConfigError: unknown CRS.
    """
    try:
        source = CRS.from_user_input(crs)
    except CRSError as error:
        raise ConfigError(f"unknown CRS '{crs}'", hint="write it as EPSG:4326 or another code") from error
    if source.to_epsg() == 4326 or source == CRS("OGC:CRS84"):
        return geometry
    unit = source.axis_info[0].unit_conversion_factor if source.axis_info else 1.0
    edge = _EDGE_DEG if source.is_geographic else _EDGE_M / unit
    transformer = Transformer.from_crs(source, 4326, always_xy=True)

    def transform(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))

    return shapely.transform(shapely.segmentize(shapely.force_2d(geometry), edge), transform)


def split_antimeridian(geometry: BaseGeometry) -> BaseGeometry:
    """Return polygons whose longitudes go beyond +-180 as the same ground inside -180...180."""
    west, _, east, _ = geometry.bounds
    if west >= -180 and east <= 180:
        return geometry
    parts: list[Polygon] = []
    for turn in range(int(np.floor((west + 180) / 360)), int(np.ceil((east - 180) / 360)) + 1):
        window = shapely.box(-180 + 360 * turn, -90, 180 + 360 * turn, 90)
        piece = shapely.affinity.translate(shapely.intersection(geometry, window), xoff=-360.0 * turn)
        parts += [part for part in polygon_parts(piece) if part.area > 0]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _leaves(geometry: BaseGeometry) -> list[BaseGeometry]:
    if not hasattr(geometry, "geoms"):
        return [] if geometry.is_empty else [geometry]
    return [leaf for part in geometry.geoms for leaf in _leaves(part)]


def _check_degrees(part: Polygon, where: str) -> None:
    points = shapely.get_coordinates(part)
    if not np.isfinite(points).all():
        raise ConfigError(
            "the area has coordinates that are no numbers",
            hint="NaN or infinity often comes from a failed reprojection",
            where=where,
        )
    lon, lat = np.abs(points).max(axis=0)
    if lat > 90 and lat <= 180 and lon <= 90:
        raise ConfigError(
            f"latitude {lat:.3f} is beyond 90 degrees: latitude and longitude seem to be swapped",
            hint="write longitude first, latitude second",
            where=where,
        )
    if lat > 90 or lon > 360:
        raise ConfigError(
            f"coordinates up to {lon:.6g}, {lat:.6g} are no longitude and latitude in degrees",
            hint="if they are metres, the file must name its CRS; if they are degrees, longitude comes first",
            where=where,
        )


def _unwrap(part: Polygon, where: str, notes: list[str]) -> Polygon:
    """Return the polygon with continuous longitudes: an edge over 180 degrees crosses the antimeridian."""
    rings = [shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors)]
    if not any((np.abs(np.diff(ring[:, 0])) > 180).any() for ring in rings):
        return part
    for ring in rings:
        ring[:, 0] = np.unwrap(ring[:, 0], period=360)
        if abs(ring[-1, 0] - ring[0, 0]) > 180:
            raise ConfigError(
                "UNSUPPORTED_LATITUDE: a ring of the area goes around a pole",
                hint="cut the area to -80...84 degrees of latitude",
                where=where,
            )
    middle = (rings[0][:, 0].min() + rings[0][:, 0].max()) / 2
    for ring in rings[1:]:
        ring[:, 0] += 360 * np.round((middle - (ring[:, 0].min() + ring[:, 0].max()) / 2) / 360)
    flat = Polygon(rings[0], rings[1:])
    if flat.area == 0:  # every vertex at +-180: a belt around the whole Earth, not a crossing
        return part
    notes.append("edges longer than 180 degrees were read as crossing the antimeridian, and split there")
    return flat


def _repair(part: Polygon, notes: list[str]) -> list[Polygon]:
    """Return the polygon, or valid polygons of all the ground that its ring goes around."""
    if part.is_valid:
        return [part]
    fixed = polygon_parts(shapely.make_valid(part, method="structure", keep_collapsed=False))
    before, after = geodesic_km2(part), sum(geodesic_km2(piece) for piece in fixed)
    notes.append(
        f"an invalid polygon was repaired ({shapely.is_valid_reason(part)}): "
        f"{before:.3f} km2 as drawn (crossing lobes cancel), {after:.3f} km2 now"
    )
    return fixed


def remote_groups(geometry: BaseGeometry) -> list[MultiPolygon]:
    """Return the polygons grouped by nearness, the largest group first.

    Parts nearer than 400 km are always one group, parts beyond 1050 km never, unless others lie between.
    Distances go straight through the globe, so the antimeridian is no edge.
    """
    parts = polygon_parts(geometry)
    points, owner = shapely.get_coordinates(shapely.segmentize(parts, 1.0), return_index=True)
    lon, lat = np.radians(points).T
    globe = 6371 * np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    cubes, cube = np.unique(np.floor(globe / _CUBE_KM).astype(np.int16), axis=0, return_inverse=True)
    cube = cube.ravel()
    close = np.ones((len(cubes), len(cubes)), bool)
    for axis in cubes.T:
        close &= np.abs(axis[:, None] - axis) <= 2
    # Each cube takes the lowest label of its neighbours and of its parts until nothing changes.
    label = np.arange(len(cubes))
    while True:
        lower = np.where(close, label, len(cubes)).min(axis=1)
        of_part = np.full(len(parts), len(cubes))
        np.minimum.at(of_part, owner, lower[cube])
        np.minimum.at(lower, cube, of_part[owner])
        if np.array_equal(lower, label):
            break
        label = lower
    groups = [MultiPolygon([parts[k] for k in np.flatnonzero(of_part == one)]) for one in np.unique(of_part)]
    return sorted(groups, key=geodesic_km2, reverse=True)

"""Which cells an area meets: quad descent from large blocks to cells, zone by zone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.zones import (
    FALSE_EASTING,
    FALSE_NORTHING_SOUTH,
    all_zones,
    check_latitude,
    is_south,
    project,
    zone_boxes,
    zone_strip,
)

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

EDGE_DEG = 0.02
"""Longest lon/lat edge that is projected as a straight line: within 5 cm of the true curve."""
SLIVER_M = 0.01
"""What meets a cell only within this distance of its edge does not count."""
_ROOT = 64  # cells of the first blocks' side


def cover(geometry: BaseGeometry, cell_m: float) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return epsg, col and row of every cell that meets the geometry, by zone, then Z-order.

    Raises:
        ConfigError: UNSUPPORTED_LATITUDE.
    """
    if not geometry.is_empty:
        check_latitude(geometry)
    found = list(_per_zone(geometry, cell_m))
    epsg = [np.full(len(col), zone, np.int32) for zone, col, _ in found]
    empty = [np.empty(0, np.int32)]
    return (
        np.concatenate(epsg or empty),
        np.concatenate([col for _, col, _ in found] or empty),
        np.concatenate([row for _, _, row in found] or empty),
    )


def z_order(col: NDArray[np.integer], row: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return the Morton code of each cell of a zone: cells of an aligned 2^n block are neighbours in it."""
    # The offset makes columns non-negative and, a power of two, keeps blocks aligned to column 0.
    return _spread(col.astype(np.int64) + 2**20) | (_spread(row.astype(np.int64)) << np.uint64(1))


def _spread(value: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the low 32 bits of each value moved to the even places."""
    bits = value.astype(np.uint64)
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        bits = (bits | (bits << np.uint64(shift))) & np.uint64(mask)
    return bits


def _per_zone(geometry: BaseGeometry, cell_m: float) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int32]]]:
    parts = _polygons(geometry)
    west, south, east, north = shapely.bounds(parts).T
    for epsg in all_zones():
        near = np.zeros(len(parts), bool)
        for w, s, e, n in zone_boxes(epsg):
            near |= (west < e) & (east > w) & (south < n) & (north > s)
        if not near.any():
            continue
        inside = _polygons(shapely.intersection(parts[near], zone_strip(epsg)))
        if len(inside) == 0:
            continue
        col, row = _descend(_to_cells(inside, epsg, cell_m), SLIVER_M / cell_m)
        order = np.argsort(z_order(col, row))
        yield epsg, col[order].astype(np.int32), row[order].astype(np.int32)


def _polygons(geometry: Any) -> NDArray[np.object_]:
    """Return the polygons in a geometry or array of geometries; points and lines are nothing to cover."""
    parts: NDArray[np.object_] = np.asarray(shapely.get_parts(shapely.get_parts(geometry)), dtype=object)
    is_polygon = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    return np.asarray(parts[is_polygon & ~shapely.is_empty(parts)], dtype=object)


def _to_cells(polygons: NDArray[np.object_], epsg: int, cell_m: float) -> BaseGeometry:
    """Return lon/lat polygons as one geometry in units of cells: x = column, y = row."""

    def transform(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = project(epsg, points[:, 0], points[:, 1])
        y = FALSE_NORTHING_SOUTH - y if is_south(epsg) else y
        return np.column_stack([x - FALSE_EASTING, y]) / cell_m

    whole = shapely.MultiPolygon(list(shapely.segmentize(polygons, EDGE_DEG)))
    return shapely.transform(whole, transform)


def _descend(geometry: BaseGeometry, margin: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return col and row of the unit cells that meet the geometry (in cell units)."""
    shapely.prepare(geometry)
    west, south, east, north = (np.floor(np.array(geometry.bounds) / _ROOT)).astype(np.int64)
    grid = np.meshgrid(np.arange(west, east + 1), np.arange(south, north + 1))
    col, row = (axis.ravel() * _ROOT for axis in grid)
    size = _ROOT
    full: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    while True:
        boxes = shapely.box(col + margin, row + margin, col + size - margin, row + size - margin)
        meets = shapely.intersects(geometry, boxes)
        col, row, boxes = col[meets], row[meets], boxes[meets]
        if size == 1:
            full.append((col, row))
            break
        inside = shapely.contains_properly(geometry, boxes)
        full.append(_expand(col[inside], row[inside], size, 1))
        col, row = _expand(col[~inside], row[~inside], size, size // 2)
        size //= 2
    return np.concatenate([c for c, _ in full]), np.concatenate([r for _, r in full])


def _expand(
    col: NDArray[np.int64], row: NDArray[np.int64], size: int, step: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the blocks of side ``step`` inside blocks of side ``size``."""
    dy, dx = np.mgrid[0:size:step, 0:size:step]
    return (col[:, None] + dx.ravel()).ravel(), (row[:, None] + dy.ravel()).ravel()

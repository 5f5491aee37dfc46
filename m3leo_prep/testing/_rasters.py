"""Geometry for the rules of a source: outlines, margins, and windows of one grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import Polygon

from m3leo_prep.core.raster import Raster
from m3leo_prep.ports.source import READ_MARGIN

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_GRID_SLACK_PX = 1e-4
"""Two windows of one grid may differ by rounding, in pixels, not more."""


def lonlat_outline(geobox: GeoBox) -> BaseGeometry:
    """Return the outline in lon/lat, 17 points an edge."""
    height, width = geobox.shape
    t = np.linspace(0.0, 1.0, 17)[:-1]
    zero, one = np.zeros_like(t), np.ones_like(t)
    cols = np.concatenate([t, one, 1.0 - t, zero]) * width
    rows = np.concatenate([zero, t, one, 1.0 - t]) * height
    x, y = positions(geobox.transform, cols, rows)
    lon, lat = Transformer.from_crs(str(geobox.crs), 4326, always_xy=True).transform(x, y)
    return Polygon(np.stack([lon, lat], axis=1))


def chip_at(lon: float, lat: float, pitch: float, size: int) -> GeoBox:
    """Return a square of ``size`` pixels around a point, on its UTM zone's grid of ``pitch`` metres."""
    lat = max(-80.0, min(84.0, lat))
    epsg = (32700 if lat < 0 else 32600) + min(int((lon + 180) // 6) + 1, 60)
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    left, top = (round(v / pitch + half) * pitch for v, half in ((x, -size / 2), (y, size / 2)))
    return GeoBox((size, size), Affine(pitch, 0.0, left, 0.0, -pitch, top), f"EPSG:{epsg}")


def positions(transform: Affine, cols: Any, rows: Any) -> tuple[Any, Any]:
    """Return map x and y of pixel positions."""
    a = transform
    return a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f


def within_margin(native: GeoBox, target: GeoBox) -> NDArray[np.bool_]:
    """Return which native pixels have their centre within the margin of the target, (y, x)."""
    height, width = native.shape
    cols, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = positions(native.transform, cols, rows)
    x, y = Transformer.from_crs(str(native.crs), str(target.crs), always_xy=True).transform(x, y)
    u, v = positions(~target.transform, x, y)
    # Size of a native pixel in target pixels, along either axis.
    step_u = np.median(np.hypot(np.diff(u, axis=1), np.diff(v, axis=1))) if width > 1 else 1.0
    step_v = np.median(np.hypot(np.diff(u, axis=0), np.diff(v, axis=0))) if height > 1 else 1.0
    reach = READ_MARGIN * max(1.0, min(step_u, step_v)) - 1e-6
    height, width = target.shape
    return np.asarray((u > -reach) & (u < width + reach) & (v > -reach) & (v < height + reach))


def offset(inner: GeoBox, outer: GeoBox) -> tuple[int, int] | str:
    """Return the row and column of ``inner`` in ``outer``, or in words why they do not lie on one grid."""
    a, b = inner.transform, outer.transform
    if inner.crs != outer.crs:
        return f"windows have different CRS, {inner.crs} and {outer.crs}"
    if not np.allclose((a.a, a.b, a.d, a.e), (b.a, b.b, b.d, b.e), rtol=1e-9, atol=0):
        return f"windows have different pixel sizes, {a.a:.10g} x {a.e:.10g} and {b.a:.10g} x {b.e:.10g}"
    col, row = positions(~b, a.c, a.f)
    off_grid = max(abs(col - round(col)), abs(row - round(row)))
    if off_grid >= _GRID_SLACK_PX:
        return f"windows are {off_grid:.3g} px off one grid"
    return round(row), round(col)


def same(one: Raster, other: Raster) -> bool:
    """Return whether two rasters hold the same pixels at the same place."""
    masks = (one.masked is None) == (other.masked is None)
    if one.masked is not None and other.masked is not None:
        masks = np.array_equal(one.masked, other.masked)
    return bool(
        masks
        and one.geobox == other.geobox
        and np.array_equal(one.valid, other.valid)
        and np.array_equal(one.data[one.valid], other.data[other.valid])
    )

"""Where a raster lies on the Earth, and which of its pixels a target needs."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.polygons import split_antimeridian
from m3leo_prep.ports.source import READ_MARGIN
from m3leo_prep.sources._native import Window, transformer

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

Floats = NDArray[np.float64]

LONLAT = "EPSG:4326"
_PER_EDGE = 33
_SLACK_PX = 1
"""Between the sampled points of an outline, a straight edge bends outward by less than this."""


def footprint(geobox: GeoBox, where: str = "") -> BaseGeometry:
    """Return the lon/lat outline of a raster, edges densified, split at the antimeridian.

    Raises:
        ConfigError: no point of it is on the Earth.
    """
    u, v = _ring(geobox)
    lon, lat = _project(geobox, u, v, LONLAT)
    good = np.isfinite(lon) & np.isfinite(lat)
    if not good.all():
        # Corners of world maps (Mollweide, sinusoidal) lie off the Earth: take the bounds of what is on it.
        return _bounds_on_earth(geobox, where)
    if not _in_degrees(geobox):
        lon = np.unwrap(lon, period=360.0)
    lat = np.clip(lat, -90.0, 90.0)
    if abs(lon[-1] - lon[0]) > 180.0:  # the outline runs around a pole
        return shapely.box(-180, lat.min(), 180, 90) if lat.mean() > 0 else shapely.box(-180, -90, 180, lat.max())
    return _on_globe(shapely.make_valid(shapely.Polygon(np.stack([lon, lat], axis=1))))


def windows(geobox: GeoBox, target: GeoBox) -> Iterator[tuple[Window, GeoBox]]:
    """Yield the pixels of a raster that cover ``target`` and the margin of the Source port, and where they are.

    Once as a rule, and twice, from either end, where a raster of all longitudes meets a target on its seam. A
    raster that counts longitudes as 0...360 is yielded where -180...180 look for it. Nothing is yielded if no
    pixel lies in ``target`` itself.
    """
    core = _project(target, *_ring(target), str(geobox.crs))
    padded_box = target.pad(READ_MARGIN)
    padded = _project(padded_box, *_ring(padded_box), str(geobox.crs))
    turns = [0.0]
    if _in_degrees(geobox):
        about = float(core[0][0])
        core, padded = _about(core, about), _about(padded, about)
        turns = [0.0, 360.0, -360.0]
    for turn in turns:
        window = _window(geobox, *[(x + turn, y) for x, y in (core, padded)])
        if window is not None:
            crop = geobox[window.row0 : window.row1, window.col0 : window.col1]
            yield window, _in_range(crop) if _in_degrees(geobox) else crop


def _window(geobox: GeoBox, core: tuple[Floats, Floats], padded: tuple[Floats, Floats]) -> Window | None:
    """Return the pixels of the padded outline and the margin, or None if the core has none."""
    bare = _pixels(geobox, core, 0)
    whole = Window(0, geobox.shape[0], 0, geobox.shape[1])
    if bare is None or bare.within(whole).is_empty:
        return None
    # The margin counts pixels of the coarser grid: the target's by the padded outline, the raster's by themselves.
    a, b = _pixels(geobox, padded, _SLACK_PX), _pixels(geobox, core, READ_MARGIN + _SLACK_PX)
    assert a is not None
    assert b is not None
    rows, cols = (min(a.row0, b.row0), max(a.row1, b.row1)), (min(a.col0, b.col0), max(a.col1, b.col1))
    return Window(*rows, *cols).within(whole)


def _pixels(geobox: GeoBox, points: tuple[Floats, Floats], more: int) -> Window | None:
    good = np.isfinite(points[0]) & np.isfinite(points[1])
    if not good.any():
        return None
    a = ~geobox.transform
    x, y = points[0][good], points[1][good]
    cols, rows = a.a * x + a.b * y + a.c, a.d * x + a.e * y + a.f
    # A shared edge is no overlap: 1e-6 px absorbs the rounding of the transform.
    r0, r1 = floor(rows.min() + 1e-6) - more, ceil(rows.max() - 1e-6) + more
    c0, c1 = floor(cols.min() + 1e-6) - more, ceil(cols.max() - 1e-6) + more
    return Window(r0, r1, c0, c1)


def _ring(geobox: GeoBox) -> tuple[Floats, Floats]:
    """Return columns and rows of points around the edge, from the upper-left corner and back to it."""
    rows, cols = geobox.shape
    t = np.linspace(0.0, 1.0, _PER_EDGE)[:-1]
    zero, one = np.zeros_like(t), np.ones_like(t)
    u = np.concatenate([t, one, 1 - t, zero, [0.0]]) * cols
    v = np.concatenate([zero, t, one, 1 - t, [0.0]]) * rows
    return u, v


def _project(geobox: GeoBox, u: Floats, v: Floats, crs: str) -> tuple[Floats, Floats]:
    a = geobox.transform
    x, y = a.a * u + a.b * v + a.c, a.d * u + a.e * v + a.f
    own = str(geobox.crs)
    if own == crs:
        return x, y
    x, y = transformer(own, crs).transform(x, y)
    return np.asarray(x), np.asarray(y)


def _about(points: tuple[Floats, Floats], centre: float) -> tuple[Floats, Floats]:
    x, y = points
    return centre + (x - centre + 180.0) % 360.0 - 180.0, y


def _in_degrees(geobox: GeoBox) -> bool:
    return geobox.crs is not None and bool(geobox.crs.geographic)


def _in_range(geobox: GeoBox) -> GeoBox:
    """Return the geobox with its centre in -180...180."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    lon = (geobox.transform * (geobox.shape[1] / 2, geobox.shape[0] / 2))[0]
    turn = 360.0 * floor((lon + 180.0) / 360.0) if lon != 180.0 else 0.0
    if turn == 0:
        return geobox
    return GeoBox(geobox.shape, Affine.translation(-turn, 0) * geobox.transform, geobox.crs)


def _bounds_on_earth(geobox: GeoBox, where: str) -> BaseGeometry:
    rows, cols = geobox.shape
    v, u = np.meshgrid(np.linspace(0, rows, 65), np.linspace(0, cols, 65))
    lon, lat = _project(geobox, u.ravel(), v.ravel(), LONLAT)
    good = np.isfinite(lon) & np.isfinite(lat)
    if not good.any():
        raise ConfigError(
            f"no point of it is on the Earth in its CRS ({geobox.crs})",
            where=where,
            hint="the file's CRS tag is wrong: name the true one with `crs:`, such as EPSG:32632",
        )
    box: BaseGeometry = shapely.box(lon[good].min(), lat[good].min(), lon[good].max(), lat[good].max())
    return box


def _on_globe(polygon: BaseGeometry) -> BaseGeometry:
    west, _, east, _ = polygon.bounds
    if west >= -180.0 and east <= 180.0:
        return polygon
    return split_antimeridian(polygon)

"""Where cells lie on the ground: centres, outlines, areas, and how much of a cell its zone owns.

All functions take the cell's side in metres and arrays ``epsg``, ``x0``, ``y0`` (upper-left corners in m).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.polygons import split_antimeridian
from m3leo_prep.core.zones import NORTH_END, SOUTH_END, areal_scale, unproject, zone_boxes

Floats = NDArray[np.float64]
Codes = NDArray[np.integer]

_SLACK_DEG = 2e-5
"""Edges of a cell bend by up to 1 m between its corners; nearer to a seam it is looked at closely."""


def centres(cell_m: float, epsg: Codes, x0: Floats, y0: Floats) -> tuple[Floats, Floats]:
    """Return lon (-180...180) and lat of the centres in degrees."""
    lon, lat = _by_zone(epsg, x0 + cell_m / 2, y0 - cell_m / 2, unproject)
    return np.where(lon < -180, lon + 360, np.where(lon > 180, lon - 360, lon)), lat


def areas(cell_m: float, epsg: Codes, x0: Floats, y0: Floats) -> Floats:
    """Return the ground areas on the ellipsoid in m2.

    The scale varies by less than 1e-7 of itself inside a cell beyond what its centre tells.
    """

    def scale(zone: int, x: Floats, y: Floats) -> tuple[Floats]:
        return (areal_scale(zone, *unproject(zone, x, y)),)

    return cell_m**2 / _by_zone(epsg, x0 + cell_m / 2, y0 - cell_m / 2, scale)[0]


def polygons(cell_m: float, epsg: Codes, x0: Floats, y0: Floats) -> NDArray[np.object_]:
    """Return the lon/lat outlines, counter-clockwise from the SW corner; split at the antimeridian."""
    lon, lat = corners(cell_m, epsg, x0, y0)
    quads = np.asarray(shapely.polygons(np.stack([lon, lat], axis=-1)), dtype=object)
    for k in np.flatnonzero((lon.min(axis=1) < -180) | (lon.max(axis=1) > 180)):
        quads[k] = split_antimeridian(quads[k])
    return quads


def corners(cell_m: float, epsg: Codes, x0: Floats, y0: Floats, grow: float = 0.0) -> tuple[Floats, Floats]:
    """Return lon and lat (cell, 4) of the corners SW, SE, NE, NW of squares grown by ``grow`` metres."""
    x = np.stack([x0 - grow, x0 + cell_m + grow, x0 + cell_m + grow, x0 - grow], axis=1)
    y = np.stack([y0 - cell_m - grow, y0 - cell_m - grow, y0 + grow, y0 + grow], axis=1)
    lon, lat = _by_zone(epsg, x, y, unproject)
    return lon, lat


def owned_fraction(cell_m: float, epsg: Codes, x0: Floats, y0: Floats) -> NDArray[np.float32]:
    """Return the part of the ground inside the zone's strip, 0...1, float32."""
    owned = np.ones(len(epsg), np.float32)
    seam = np.flatnonzero(_maybe_at_edge(cell_m, epsg, x0, y0, open_ends=False))
    lon, lat = corners(cell_m, epsg[seam], x0[seam], y0[seam])
    # In (lon, sin lat) areas are true to 1e-5 inside a cell, and meridians and parallels stay straight.
    quads = np.asarray(shapely.polygons(np.stack([lon, np.sin(np.radians(lat))], axis=-1)), dtype=object)
    inside = np.zeros(len(seam))
    for zone in np.unique(epsg[seam]):
        here = epsg[seam] == zone
        for west, south, east, north in zone_boxes(int(zone)):
            low, high = np.sin(np.radians([south, north]))
            inside[here] += shapely.area(shapely.clip_by_rect(quads[here], west, low, east, high))
    fraction = inside / shapely.area(quads)
    # The equator is an edge of the strip and of the grid at once: rounding must not take it for a seam.
    owned[seam] = np.where(fraction > 1 - 1e-7, 1, fraction)
    return owned


def near_seam(cell_m: float, epsg: Codes, x0: Floats, y0: Floats) -> NDArray[np.bool_]:
    """Return True where the cell lies within one cell diagonal of another zone of its hemisphere."""
    return _maybe_at_edge(cell_m, epsg, x0, y0, open_ends=True, grow=cell_m * np.sqrt(2))


def _maybe_at_edge(
    cell_m: float, epsg: Codes, x0: Floats, y0: Floats, *, open_ends: bool, grow: float = 0.0
) -> NDArray[np.bool_]:
    """Return True where the (grown) cell's lon/lat bounds leave the strip's boxes.

    With ``open_ends`` the equator and the ends of UTM are no edges: no other zone's cells overlap there.
    """
    edge = np.zeros(len(epsg), bool)
    for zone in np.unique(epsg):
        here = np.flatnonzero(epsg == zone)
        lon, lat = unproject(int(zone), x0[here] + cell_m / 2, y0[here] - cell_m / 2)
        # A bound of the reach in degrees (circle around the centre), so that few cells need their corners.
        reach = np.degrees((cell_m / 2 + grow) * 1.5 / 6.35e6)
        wide = reach / np.cos(np.radians(np.minimum(np.abs(lat) + reach, 89)))
        close = here[~_inside(int(zone), lon - wide, lat - reach, lon + wide, lat + reach, open_ends=open_ends)]
        lons, lats = corners(cell_m, epsg[close], x0[close], y0[close], grow)
        edge[close] = ~_inside(
            int(zone),
            lons.min(axis=1) - _SLACK_DEG,
            lats.min(axis=1) - _SLACK_DEG,
            lons.max(axis=1) + _SLACK_DEG,
            lats.max(axis=1) + _SLACK_DEG,
            open_ends=open_ends,
        )
    return edge


def _inside(
    epsg: int, west: Floats, south: Floats, east: Floats, north: Floats, *, open_ends: bool
) -> NDArray[np.bool_]:
    """Return True where the bounds lie in one box of the strip."""
    inside = np.zeros(len(west), bool)
    for w, s, e, n in zone_boxes(epsg):
        low = -90.0 if open_ends and s in {0.0, SOUTH_END} else s
        high = 90.0 if open_ends and n in {0.0, NORTH_END} else n
        inside |= (west >= w) & (east <= e) & (south >= low) & (north <= high)
    return inside


def _by_zone(
    epsg: Codes, x: Floats, y: Floats, function: Callable[[int, Floats, Floats], tuple[Floats, ...]]
) -> tuple[Floats, ...]:
    """Return the function's arrays, computed zone by zone."""
    zones = np.unique(epsg)
    if len(zones) == 1:
        return function(int(zones[0]), x, y)
    out: list[Floats] = []
    for zone in zones:
        here = epsg == zone
        values = function(int(zone), x[here], y[here])
        out = out or [np.empty(x.shape) for _ in values]
        for target, value in zip(out, values, strict=True):
            target[here] = value
    return tuple(out) if out else (np.empty(x.shape), np.empty(x.shape))

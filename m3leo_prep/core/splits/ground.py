"""The equal-area plane in which blocks and bands lie, and distances on the ellipsoid near a place.

The plane is EPSG:6933: meridians and parallels are its straight lines x and y, so blocks are bounded by them. Distances
are taken in a transverse Mercator plane about a meridian at hand, whose scale is true there and 3e-5 too long
50 km away, which ``flat_to_ground`` takes off.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Proj, Transformer

from m3leo_prep.core import footprint
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells

Floats = NDArray[np.float64]

_A, _F = 6378137.0, 1 / 298.257223563
_E2 = _F * (2 - _F)
_SHORTEST = 6.33e6
"""Metres, less than any radius of curvature of the ellipsoid: angles from it are never too small."""

HALF_WIDTH = math.pi * _A * math.cos(math.pi / 6) / math.sqrt(1 - _E2 * math.sin(math.pi / 6) ** 2)
"""Easting of 180 E in EPSG:6933 (true scale at 30 degrees; Snyder 1987, equations 10-13 and 10-14), in metres."""
DEGREE = HALF_WIDTH / 180
"""Easting of a degree of longitude, in metres."""


@lru_cache(maxsize=1)
def _plane() -> Transformer:
    return Transformer.from_crs(4326, 6933, always_xy=True)


@lru_cache(maxsize=1)
def _mercator() -> Proj:
    return Proj("+proj=tmerc +lon_0=0 +k=1 +ellps=WGS84")


def northing(lat: Floats) -> Floats:
    """Return the northings in EPSG:6933 in metres; latitudes beyond a pole are taken to it."""
    return np.asarray(_plane().transform(np.zeros(lat.shape), np.clip(lat, -90, 90))[1], float)


def latitude(y: Floats) -> Floats:
    """Return the latitudes of northings in EPSG:6933; what lies beyond a pole is taken to it."""
    end = float(northing(np.array([90.0]))[0])
    # The inverse is ill-conditioned at the poles: the outermost millimetre is the pole.
    beyond = np.abs(y) >= end - 1e-3
    lat = np.asarray(_plane().transform(np.zeros(y.shape), np.where(beyond, 0, y), direction="INVERSE")[1], float)
    return np.where(beyond, np.copysign(90.0, y), lat)


def local(away: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Return x and y in metres in the plane about a meridian, from which points are ``away`` degrees.

    y at 0 is the length of the meridian from the equator, which is the shortest way between two parallels.
    """
    x, y = _mercator()(away, lat)
    return np.asarray(x, float), np.asarray(y, float)


def flat_to_ground(distance: Floats) -> Floats:
    """Return distances on the ellipsoid of straight lines that leave the plane's meridian; never too long."""
    return np.asarray(distance / (1 + (distance / _SHORTEST) ** 2 / 6))


def corners(cells: Cells) -> tuple[Floats, Floats]:
    """Return lon and lat (cell, 4) of the corners SW, SE, NE, NW in degrees.

    Longitudes are continuous inside a cell, beyond +-180 where it crosses the antimeridian. Along an edge both rise or
    fall throughout, as no cell reaches over its zone's central meridian: corners are the extremes.
    """
    return footprint.corners(cells.grid.cell_m, cells.epsg, *cells.upper_left())


def reach(metres: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Return degrees of longitude and of latitude that no point nearer than ``metres`` is away from one at ``lat``.

    The meridians that touch a circle of radius d about latitude p are asin(sin d / cos p) away.
    """
    angle = metres / _SHORTEST
    ratio = np.sin(np.minimum(angle, np.pi / 2)) / np.maximum(np.cos(np.radians(lat)), 1e-12)
    wide = np.where(ratio < 1, np.degrees(np.arcsin(np.minimum(ratio, 1))), 180.0)
    return wide, np.degrees(angle)


def buffers(cells: Cells, buffer_km: float) -> Floats:
    """Return the buffer of each cell in metres.

    Where a cell of another zone may lie on the same ground, it is a chip diagonal at least: the other cell's block,
    band or region then has ground within a diagonal of this one, so two cells that overlap are never in different
    splits, even where no buffer is asked for.

    Raises:
        ConfigError: negative or no number.
    """
    if not (math.isfinite(buffer_km) and buffer_km >= 0):
        raise ConfigError(f"a buffer of {buffer_km:g} km", hint="give 0 or a distance in km", where="splits.buffer_km")
    # 1.001: a diagonal on the ground is up to 0.04 % longer than on the map.
    diagonal = 1.001 * math.sqrt(2) * cells.grid.cell_m
    asked = np.full(len(cells), buffer_km * 1000)
    return np.where(cells.zone_shared(), np.maximum(asked, diagonal), asked)


def quads(x: Floats, y: Floats) -> NDArray[np.object_]:
    """Return polygons of (n, corner) coordinates."""
    return np.asarray(shapely.polygons(np.stack([x, y], axis=-1)), object)

"""UTM zones: which ground belongs to which zone, and the projection of each.

A zone is named by its EPSG code: 326xx in the north, 327xx in the south. Its *strip* is the lon/lat ground
that belongs to it and to no other: 6 degrees wide, with the exceptions of Norway (32V) and Svalbard (31X,
33X, 35X, 37X), from the equator to 84 N or 80 S. West and south edges belong to the strip, so every point has
exactly one zone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import Transformer

from m3leo_prep.core.errors import ConfigError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

SOUTH_END = -80.0
NORTH_END = 84.0
FALSE_EASTING = 500_000
FALSE_NORTHING_SOUTH = 10_000_000

Box = tuple[float, float, float, float]

# Where strips differ from 6 degrees: zone -> (west, south, east, north) boxes, north of the equator.
_EXCEPTIONS: dict[int, tuple[Box, ...]] = {
    31: ((0, 0, 6, 56), (0, 56, 3, 64), (0, 64, 6, 72), (0, 72, 9, 84)),
    32: ((6, 0, 12, 56), (3, 56, 12, 64), (6, 64, 12, 72)),
    33: ((12, 0, 18, 72), (9, 72, 21, 84)),
    34: ((18, 0, 24, 72),),
    35: ((24, 0, 30, 72), (21, 72, 33, 84)),
    36: ((30, 0, 36, 72),),
    37: ((36, 0, 42, 72), (33, 72, 42, 84)),
}


def zone_number(epsg: int) -> int:
    """Return the zone 1...60 of an EPSG code.

    Raises:
        ConfigError: not a UTM zone on WGS 84.
    """
    hemisphere, zone = divmod(int(epsg), 100)
    if hemisphere not in {326, 327} or not 1 <= zone <= 60:
        raise ConfigError(f"EPSG:{epsg} is not a UTM zone", hint="zones are EPSG:32601...32660 and EPSG:32701...32760")
    return zone


def is_south(epsg: int) -> bool:
    """Return True for 327xx."""
    return epsg >= 32700


def zone_boxes(epsg: int) -> tuple[Box, ...]:
    """Return the strip as non-overlapping (west, south, east, north) boxes in degrees."""
    zone = zone_number(epsg)
    west = -180.0 + 6 * (zone - 1)
    if is_south(epsg):
        return ((west, SOUTH_END, west + 6, 0.0),)
    return _EXCEPTIONS.get(zone, ((west, 0.0, west + 6, NORTH_END),))


@lru_cache(maxsize=128)
def zone_strip(epsg: int) -> BaseGeometry:
    """Return the strip as one lon/lat polygon."""
    return shapely.union_all([shapely.box(*box) for box in zone_boxes(epsg)])


def all_zones() -> tuple[int, ...]:
    """Return the EPSG codes of the 120 zones, in order."""
    return tuple(range(32601, 32661)) + tuple(range(32701, 32761))


def central_meridian(epsg: int) -> float:
    """Return the longitude of the zone's central meridian in degrees."""
    return -183.0 + 6 * zone_number(epsg)


def zone_of(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int32]:
    """Return the EPSG code of the zone that owns each point.

    Args:
        lon: degrees, any multiple of 360 added.
        lat: degrees.

    Returns:
        int32 of the broadcast shape; 0 beyond 80 S and 84 N and for NaN.
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon, float), np.asarray(lat, float))
    supported = (lat >= SOUTH_END) & (lat <= NORTH_END) & np.isfinite(lon)
    # Nothing is added to longitudes inside -180...180: it would move points just west of a seam onto it.
    lon = np.where((lon >= -180) & (lon < 180), lon, np.mod(np.where(supported, lon, 0) + 180, 360) - 180)
    zone = (np.where(supported, np.floor(lon / 6), 0).astype(np.int32) + 30) % 60 + 1
    norway = (lat >= 56) & (lat < 64) & (lon >= 3) & (lon < 12)
    svalbard = (lat >= 72) & (lon >= 0) & (lon < 42)
    arctic = 31 + 2 * np.searchsorted([9.0, 21.0, 33.0], lon, side="right")
    zone = np.where(norway, 32, np.where(svalbard, arctic, zone))
    return np.where(supported, np.where(lat >= 0, 32600, 32700) + zone, 0).astype(np.int32)


@lru_cache(maxsize=128)
def _to_utm(epsg: int) -> Transformer:
    zone_number(epsg)
    return Transformer.from_crs(4326, int(epsg), always_xy=True)


def project(epsg: int, lon: ArrayLike, lat: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return easting and northing in metres, float64, of lon/lat in degrees."""
    x, y = _to_utm(epsg).transform(lon, lat)
    return np.asarray(x, float), np.asarray(y, float)


def unproject(epsg: int, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lon and lat in degrees, float64, of easting and northing in metres.

    Longitudes are continuous around the central meridian: west of 180 W they go on below -180, so that the
    corners of one cell are never 360 degrees apart.
    """
    lon, lat = _to_utm(epsg).transform(x, y, direction="INVERSE")
    lon = np.asarray(lon, float)
    middle = central_meridian(epsg)
    lon = np.where(lon - middle > 180, lon - 360, np.where(lon - middle < -180, lon + 360, lon))
    return lon, np.asarray(lat, float)


def areal_scale(epsg: int, lon: NDArray[Any], lat: NDArray[Any]) -> NDArray[np.float64]:
    """Return map area over ground area at each point (Snyder 1987, equation 8-11, squared; good to 1e-9)."""
    flattening = 1 / 298.257223563
    second_e2 = flattening * (2 - flattening) / (1 - flattening) ** 2
    phi = np.radians(lat)
    cos2 = np.cos(phi) ** 2
    a2 = np.radians(lon - central_meridian(epsg)) ** 2 * cos2
    t, c = np.tan(phi) ** 2, second_e2 * cos2
    k = 0.9996 * (
        1
        + a2 * (1 + c) / 2
        + a2**2 * (5 - 4 * t + 42 * c + 13 * c**2 - 28 * second_e2) / 24
        + a2**3 * (61 - 148 * t + 16 * t**2) / 720
    )
    return np.asarray(k * k)


def check_latitude(geometry: BaseGeometry, where: str = "") -> None:
    """Return if the geometry lies where UTM is defined.

    Raises:
        ConfigError: UNSUPPORTED_LATITUDE, it reaches beyond 80 S or 84 N.
    """
    _, south, _, north = geometry.bounds
    if south < SOUTH_END or north > NORTH_END:
        raise ConfigError(
            f"UNSUPPORTED_LATITUDE: the area reaches from {south:.2f} to {north:.2f} degrees, "
            "but the UTM grid ends at 80 S and 84 N",
            hint="cut the area to -80...84 degrees of latitude; a UTM chip beyond would be distorted",
            where=where,
        )

"""The tiling of the first M3LEO release (geetiles), reproduced exactly: chips, identifiers, set hashes.

So that published chips can be rebuilt and extended. Its one-zone lattice overlaps and leaves gaps far from
the central meridian; new datasets use ``core.grid``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.core.splits.shares import validate_shares

_STEP_DEG = 0.001
_FACTORS = 10_000
"""Widths of bands that the original tried."""


def chips(geometry: BaseGeometry, metres: float) -> NDArray[np.object_]:
    """Return the chips that meet the area as lon/lat polygons, in the order of the original.

    The lattice lies in the UTM zone of the area's centroid and starts at the corner of its bounding box; its
    points are chip *centres*, and a chip is an axis-aligned lon/lat box nominally ``metres - 1`` wide. Rings
    go SW, NW, NE, SE, SW.

    Args:
        geometry: the area in lon/lat degrees.
        metres: chip size (4480 for M3LEO).
    """
    zone = utm_epsg(geometry)
    forward = Transformer.from_crs(4326, zone, always_xy=True)

    def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(forward.transform(points[:, 0], points[:, 1]))

    west, south, east, north = shapely.transform(geometry, project).bounds
    columns, rows = int((east - west) // metres), int((north - south) // metres)
    x, y = np.meshgrid(west + np.arange(columns) * metres, south + np.arange(rows) * metres, indexing="ij")
    lon, lat = (np.asarray(axis, float) for axis in forward.transform(x.ravel(), y.ravel(), direction="INVERSE"))
    # Metres per degree by a finite difference of 0.001 degrees, each along its own axis only.
    x0, y0 = forward.transform(lon, lat)
    x1, _ = forward.transform(lon + _STEP_DEG, lat)
    _, y2 = forward.transform(lon, lat + _STEP_DEG)
    half_lon = (metres - 1) / 2 / ((np.asarray(x1) - x0) / _STEP_DEG)
    half_lat = (metres - 1) / 2 / ((np.asarray(y2) - y0) / _STEP_DEG)
    w, e, s, n = lon - half_lon, lon + half_lon, lat - half_lat, lat + half_lat
    rings = np.stack([np.stack(axis, axis=-1) for axis in ((w, w, e, e, w), (s, n, n, s, s))], axis=-1)
    boxes = np.asarray(shapely.polygons(rings), dtype=object)
    shapely.prepare(geometry)
    return np.asarray(boxes[shapely.intersects(geometry, boxes)], dtype=object)


def utm_epsg(geometry: BaseGeometry) -> int:
    """Return the EPSG code of the UTM zone at the area's centroid, as pyproj's database lists it first.

    Raises:
        ConfigError: UNSUPPORTED_LATITUDE, there is none.
    """
    lon, lat = geometry.centroid.x, geometry.centroid.y
    found = query_utm_crs_info("WGS 84", AreaOfInterest(lon, lat, lon, lat))
    if not found:
        raise ConfigError(f"UNSUPPORTED_LATITUDE: no UTM zone at {lat:.2f} degrees")
    return int(found[0].code)


def identifier(geometry: BaseGeometry) -> str:
    """Return the original's 13-digit id of a chip: a hash of its bounding box rounded to 5 decimals."""
    west, south, east, north = geometry.bounds
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    # The text is NumPy's default print, whatever the caller has set.
    with np.printoptions(
        precision=8, threshold=1000, edgeitems=3, linewidth=75, suppress=False, sign="-", floatmode="maxprec"
    ):
        return _short_hash(str(np.round(np.array(ring), 5)))


def set_hash(identifiers: Sequence[str]) -> str:
    """Return the original's hash of a whole set: of its ids in file order."""
    return _short_hash(" ".join(identifiers))


def split(
    polygons: Sequence[BaseGeometry] | NDArray[np.object_], *, n_bands: int, angle: float, shares: Mapping[str, float]
) -> tuple[NDArray[np.uint8], float]:
    """Return the original's splits of a set of chips as (chip,) ``Split``, and the band factor k that it found.

    Bands run across a direction in the unit square of all chips, so they move when the set grows, they hold the shares
    only in multiples of the smallest one, and no buffer lies between them.

    Args:
        polygons: all chips of the set, as lon/lat boxes.
        n_bands: distinct bands that there must be (60 in the published sets).
        angle: direction in radians (0.9 for CONUS and Europe).
        shares: of train, val and test.

    Raises:
        ConfigError: the pattern of the shares is longer than ``n_bands``, or no k gives that many bands (where the
            original silently took the last one that it had tried).
    """
    pattern = _pattern(shares, n_bands)
    west, south, east, north = np.array(shapely.bounds(np.asarray(polygons, object)), float).reshape(-1, 4).T
    # The mean of a closed ring's five vertices: its first corner counts twice.
    place = []
    for low, high in ((west, east), (south, north)):
        middle = (3 * low + 2 * high) / 5
        extent = middle.max() - middle.min()
        unit = (middle - middle.min()) / (extent or 1.0)
        place.append(1 - unit if angle < 0 else unit)
    quarter = np.pi / 4
    if abs(angle) < quarter:
        across = abs(angle) / quarter * place[0] + place[1]
    else:
        across = np.sign(angle) * place[0] + (np.pi / 2 - abs(angle)) / quarter * place[1]
    for k in np.linspace(0.1, 50, _FACTORS).tolist():
        _, band = np.unique(np.trunc(across / (k / n_bands)), return_inverse=True)
        if band.max() + 1 == n_bands:
            return pattern[band.reshape(-1) % len(pattern)], k
    raise ConfigError(
        f"no width of bands cuts these {len(across)} chips into {n_bands} bands",
        hint="take fewer n_bands, another angle, or the policy bands",
        where="splits.n_bands",
    )


def _pattern(shares: Mapping[str, float], n_bands: int) -> NDArray[np.uint8]:
    """Return the splits of consecutive bands: train, then test, then val, as often as the smallest share goes in."""
    parts = validate_shares(shares)
    smallest = min(share for share in parts if share > 0)
    count = [round(share / smallest) for share in parts]
    if sum(count) > n_bands:
        raise ConfigError(
            f"shares of {parts[0]:g}, {parts[1]:g} and {parts[2]:g} repeat after {sum(count)} bands, "
            f"but there are {n_bands}",
            hint=f"take n_bands from {sum(count)}, or shares that are multiples of each other",
            where="splits.n_bands",
        )
    return np.repeat(np.array([Split.TRAIN, Split.TEST, Split.VAL], np.uint8), [count[0], count[2], count[1]])


def _short_hash(text: str) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") % 10**15
    return f"{number:013x}"

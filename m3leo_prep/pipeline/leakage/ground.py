"""Chips as ground on the ellipsoid: exact where it matters, and nothing special at zone seams or the antimeridian.

Points are geocentric (x, y, z in metres, WGS 84), so no line on a map is an edge. Two chips are compared in the plane
that touches the ellipsoid half way between them, looked at from straight above: a symmetric pair then lies apart by its
chord, which a distance of 100 km exceeds by 1 m, and one of 10 km by 1 mm. Edges of chips are the shortest lines
between their corners: UTM cells have such edges to 2 cm, lon/lat boxes of 4.5 km to 0.7 m at 60 degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod

from m3leo_prep.core.polygons import split_antimeridian

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

GEOD = Geod(ellps="WGS84")
_AXES = np.array([GEOD.a, GEOD.a, GEOD.b])


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """The outlines of chips in space."""

    polygons: NDArray[np.object_]
    """(chip,) lon/lat polygons inside -180...180."""
    points: Floats
    """(point, 3) their corners, geocentric metres."""
    first: Rows
    """(chip + 1,) where each chip's points begin."""
    centre: Floats
    """(chip, 3) middle of the corners' bounds."""
    radius: Floats
    """(chip,) metres from there to the farthest corner: half a diagonal."""

    @classmethod
    def of(cls, polygons: NDArray[np.object_]) -> Ground:
        """Return the ground of (chip,) lon/lat polygons, split at the antimeridian or going on beyond it."""
        polygons = polygons.copy()
        west, _, east, _ = shapely.bounds(polygons).reshape(-1, 4).T
        for row in np.flatnonzero((west < -180) | (east > 180)):
            polygons[row] = split_antimeridian(polygons[row])
        first = np.concatenate([[0], np.cumsum(shapely.get_num_coordinates(polygons), dtype=np.int64)])
        points = geocentric(*shapely.get_coordinates(polygons).T)
        if not len(polygons):
            return cls(polygons, points, first, np.empty((0, 3)), np.empty(0))
        centre = (np.minimum.reduceat(points, first[:-1]) + np.maximum.reduceat(points, first[:-1])) / 2
        away = np.linalg.norm(points - np.repeat(centre, np.diff(first), axis=0), axis=1)
        return cls(polygons, points, first, centre, np.maximum.reduceat(away, first[:-1]))

    def planes(self, a: Rows, b: Rows) -> Planes:
        """Return the planes half way between chips ``a`` and ``b``, pair by pair."""
        middle = (self.centre[a] + self.centre[b]) / 2
        up = _unit(middle / _AXES**2)
        east = _unit(np.cross([0.0, 0.0, 1.0], up))
        return Planes(middle, east, np.cross(up, east), up)

    def drawn(self, rows: Rows, planes: Planes) -> NDArray[np.object_]:
        """Return the chips as polygons in metres, each in its pair's plane."""
        counts = np.diff(self.first)[rows]
        pair = np.repeat(np.arange(len(rows)), counts)
        point = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts) + self.first[rows][pair]
        away = self.points[point] - planes.middle[pair]
        xy = np.stack([(away * axis[pair]).sum(axis=1) for axis in (planes.east, planes.north)], axis=1)
        drawn: NDArray[np.object_] = shapely.set_coordinates(self.polygons[rows], xy)
        return drawn


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """One plane per pair of chips: its origin and its axes, each (pair, 3)."""

    middle: Floats
    east: Floats
    north: Floats
    up: Floats

    def lon_lat(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return lon and lat in degrees of points (pair,) in the planes: what of the ellipsoid is below them."""
        point = (self.middle + x[:, None] * self.east + y[:, None] * self.north) / _AXES
        up = self.up / _AXES
        # |point + t up| = 1 on the ellipsoid scaled to a unit sphere; the upper of the two solutions.
        a, b, c = (up**2).sum(axis=1), (point * up).sum(axis=1), (point**2).sum(axis=1) - 1
        t = (np.sqrt(b**2 - a * c) - b) / a
        on = (point + t[:, None] * up) * _AXES
        lat = np.arctan2(on[:, 2], (1 - GEOD.es) * np.hypot(on[:, 0], on[:, 1]))
        return np.degrees(np.arctan2(on[:, 1], on[:, 0])), np.degrees(lat)


def geocentric(lon: Floats, lat: Floats) -> Floats:
    """Return (point, 3) geocentric metres of points on the ellipsoid (Snyder 1987, p. 24, height 0)."""
    lam, phi = np.radians(lon), np.radians(lat)
    curvature = GEOD.a / np.sqrt(1 - GEOD.es * np.sin(phi) ** 2)
    across = curvature * np.cos(phi)
    return np.stack([across * np.cos(lam), across * np.sin(lam), (1 - GEOD.es) * curvature * np.sin(phi)], axis=1)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

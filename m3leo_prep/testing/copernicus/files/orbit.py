"""A satellite on a circle, and where on the ground it looks: geometry of a scene whose truth is known exactly.

Nothing here is taken from ``m3leo_prep.ops.sar``: what is made with it can test that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

A, B = 6_378_137.0, 6_356_752.314245
"""Semi-axes of WGS 84 in metres."""
_E2 = 1 - (B / A) ** 2
_SPIN = 7.292115e-5
"""Of the Earth, rad/s."""
_GM = 3.986004418e14
RADIUS = 7_071_000.0
"""Of the orbit in metres: Sentinel-1 flies about 693 km high."""
HEADINGS = {True: 348.0, False: 192.0}
"""Degrees clockwise from north, by whether the pass ascends: at middle latitudes."""


@dataclass(frozen=True)
class Orbit:
    """A circle in inertial space, seen from the turning Earth; it looks to the right.

    Times are seconds from when a place ``lon``, ``lat`` is abeam, about.
    """

    lon: float
    lat: float
    ascending: bool
    incidence: float = 38.0
    """Degrees there, about."""

    @cached_property
    def _axes(self) -> tuple[Floats, Floats, float]:
        """Unit vectors to the satellite and along its way at time 0, and its angular speed in rad/s."""
        from pyproj import Geod

        look = np.radians(self.incidence)
        radius = np.hypot(*np.asarray(geocentric(self.lon, self.lat, 0.0))[[0, 1]])
        radius = float(np.hypot(radius, geocentric(self.lon, self.lat, 0.0)[2]))
        away = (look - np.arcsin(radius / RADIUS * np.sin(look))) * radius
        heading = HEADINGS[self.ascending]
        lon, lat, _ = Geod(ellps="WGS84").fwd(self.lon, self.lat, heading - 90, away)
        up = np.array([np.cos(np.radians(lat)) * np.cos(np.radians(lon)), 0.0, 0.0])
        up[1:] = np.cos(np.radians(lat)) * np.sin(np.radians(lon)), np.sin(np.radians(lat))
        east = np.array([-np.sin(np.radians(lon)), np.cos(np.radians(lon)), 0.0])
        north = np.cross(up, east)
        along = np.sin(np.radians(heading)) * east + np.cos(np.radians(heading)) * north
        return up, along, float(np.sqrt(_GM / RADIUS**3))

    def position(self, times: Floats) -> Floats:
        """Return (..., 3) metres, fixed to the Earth."""
        up, along, speed = self._axes
        angle = speed * np.asarray(times)[..., None]
        return _turned(RADIUS * (np.cos(angle) * up + np.sin(angle) * along), times)

    def velocity(self, times: Floats) -> Floats:
        """Return (..., 3) metres a second, fixed to the Earth: the exact derivative of ``position``."""
        up, along, speed = self._axes
        angle = speed * np.asarray(times)[..., None]
        inertial = RADIUS * speed * (np.cos(angle) * along - np.sin(angle) * up)
        spin = np.cross([0.0, 0.0, _SPIN], self.position(times))
        return np.asarray(_turned(inertial, times) - spin)

    def ground(self, times: Floats, ranges: Floats, height: float) -> Floats:
        """Return (..., 3) metres of the points at a height above the ellipsoid that are abeam at a slant range."""
        times, ranges = np.broadcast_arrays(np.asarray(times, float), np.asarray(ranges, float))
        s, v = self.position(times), self.velocity(times)
        down = -s / np.linalg.norm(s, axis=-1, keepdims=True)
        ahead = v / np.linalg.norm(v, axis=-1, keepdims=True)
        right = np.cross(ahead, -down)
        p = s + ranges[..., None] * (0.75 * down + 0.66 * right)
        axes = np.array([A + height, A + height, B + height])
        for _ in range(7):  # converges like Newton's method does, from some kilometres away
            d = p - s
            misses = np.stack([(d * d).sum(-1) - ranges**2, (d * v).sum(-1), ((p / axes) ** 2).sum(-1) - 1.0], axis=-1)
            slopes = np.stack([2 * d, v, 2 * p / axes**2], axis=-2)
            p = p - np.linalg.solve(slopes, misses[..., None])[..., 0]
        return np.asarray(p)

    def seen(self, points: Floats) -> tuple[Floats, Floats]:
        """Return when points (..., 3) are abeam, in seconds, and their slant range in metres then."""
        times = np.zeros(points.shape[:-1])
        for _ in range(12):
            away, speed = points - self.position(times), self.velocity(times)
            times = times + (away * speed).sum(-1) / (speed * speed).sum(-1)
        return times, np.asarray(np.linalg.norm(points - self.position(times), axis=-1))


def geocentric(lon: Floats | float, lat: Floats | float, height: Floats | float) -> Floats:
    """Return (3, ...) metres of places in degrees and metres above the ellipsoid."""
    u, w = np.radians(lon), np.radians(lat)
    n = A / np.sqrt(1 - _E2 * np.sin(w) ** 2)
    x, y = (n + height) * np.cos(w) * np.cos(u), (n + height) * np.cos(w) * np.sin(u)
    return np.array([x, y, (n * (1 - _E2) + height) * np.sin(w)])


def geodetic(points: Floats) -> tuple[Floats, Floats, Floats]:
    """Return lon and lat in degrees and metres above the ellipsoid of points (..., 3)."""
    from pyproj import Transformer

    there = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
    lon, lat, height = there.transform(points[..., 0], points[..., 1], points[..., 2])
    return np.asarray(lon), np.asarray(lat), np.asarray(height)


def upward(points: Floats) -> Floats:
    """Return the ellipsoid's unit normal (..., 3) at points on it."""
    normal = points / np.array([A, A, B]) ** 2
    return np.asarray(normal / np.linalg.norm(normal, axis=-1, keepdims=True))


def _turned(vectors: Floats, times: Floats) -> Floats:
    """Return inertial vectors as the Earth, which has turned since time 0, sees them."""
    angle = -_SPIN * np.asarray(times)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = (vectors[..., i] for i in range(3))
    return np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=-1)

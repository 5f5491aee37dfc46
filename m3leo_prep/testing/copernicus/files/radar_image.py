"""What a radar sees of a ground with relief: each piece of ground adds its power where it is seen.

A piece of ground of area vector N scatters the power gamma0 (N . l), l being the unit vector to the satellite: that is
how gamma nought is defined (Small 2011, https://doi.org/10.1109/TGRS.2011.2120616, eq. 5). Their sum over the pixel's
reference area in the slant plane is beta nought, foreshortening and layover included. Ground behind other ground is
not hidden, only what faces away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from m3leo_prep.sources.synthetic.noise import jit
from m3leo_prep.testing.copernicus.files.orbit import Floats, Orbit, geocentric, upward

PITCH = 10.0
"""Metres between samples on the ground, and about between lines."""
LINE_SECONDS = 1.4830e-3
"""Between lines of an IW GRD-H product (recorded: ``azimuthTimeInterval``)."""
LIGHT = 299_792_458.0
_COARSE = 20
"""Cells between places whose geometry is worked out exactly; between them it is a plane, to 1 mm."""
_PIECE = 5.0
"""Metres, at most, of the pieces that a cell is cut into: well below a pixel, so that their number in one is even."""
_DEGREE = 5
"""Of the polynomials between slant and ground range: over 60 km they are exact to a millimetre."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Cells of a lattice in a projection, and what they scatter."""

    epsg: int
    left: float
    """Metres, of the lattice's western edge."""
    top: float
    pitch: float
    heights: Floats
    """(y + 1, x + 1) metres above the ellipsoid, at the corners of the cells."""
    gamma: Floats
    """(polarisation, y, x) gamma nought in linear power, of the cells."""


@dataclass(frozen=True)
class Image:
    """A scene in ground range."""

    orbit: Orbit
    beta: Floats
    """(polarisation, line, sample) beta nought in linear power; all ground that a pixel shows was given."""
    first_time: float
    """Of line 0, in the orbit's seconds."""
    near_range: float
    """Of sample 0, metres."""
    height: float
    """Above the ellipsoid of the surface that ground range is measured on, metres."""
    to_ground: Floats
    """Coefficients of (slant range - ``near_range``), rising powers: metres on the ground."""
    to_slant: Floats
    """Coefficients of ground range, rising powers: metres of slant range."""

    def ground(self, lines: Floats, samples: Floats) -> Floats:
        """Return (..., 3) metres of the points that pixels show, on the surface at ``height``."""
        return self.orbit.ground(*self.seen_at(lines, samples), self.height)

    def seen_at(self, lines: Floats, samples: Floats) -> tuple[Floats, Floats]:
        """Return the time and the slant range of pixels; whole numbers are their centres."""
        ranges = np.polynomial.polynomial.polyval(np.asarray(samples) * PITCH, self.to_slant)
        return self.first_time + np.asarray(lines) * LINE_SECONDS, np.asarray(ranges)

    def pixel(self, lon: Floats, lat: Floats, height: Floats) -> tuple[Floats, Floats]:
        """Return line and sample at which places are seen, exactly."""
        times, ranges = self.orbit.seen(np.moveaxis(geocentric(lon, lat, height), 0, -1))
        ground = np.polynomial.polynomial.polyval(ranges - self.near_range, self.to_ground)
        return (times - self.first_time) / LINE_SECONDS, np.asarray(ground / PITCH)

    @cached_property
    def incidence_across(self) -> Floats:
        """(sample) degrees, of the middle line."""
        lines, samples = self.beta.shape[1:]
        return self.incidence(np.full(samples, lines / 2), np.arange(samples, dtype=float))

    def incidence(self, lines: Floats, samples: Floats) -> Floats:
        """Return degrees between the line of sight and the ellipsoid's normal."""
        points = self.ground(lines, samples)
        away = self.orbit.position(self.seen_at(lines, samples)[0]) - points
        cosine = (away * upward(points)).sum(-1) / np.linalg.norm(away, axis=-1)
        return np.asarray(np.degrees(np.arccos(cosine)))


def image(ground: Ground, orbit: Orbit) -> Image:
    """Return what a satellite sees of a ground, without speckle and noise.

    Raises:
        ValueError: the lattice is not whole coarse cells, or is too small to be seen from edge to edge.
    """
    rows, columns = ground.gamma.shape[1:]
    if rows % _COARSE or columns % _COARSE:
        raise ValueError(f"{rows} x {columns} cells: give multiples of {_COARSE}")
    base, normal = _coarse(ground)
    mean = float(ground.heights.mean())
    corners = (base + mean * normal)[[0, 0, -1, -1], [0, -1, 0, -1]]
    times, ranges = orbit.seen(corners)
    # The largest upright rectangle of the four-sided figure that the lattice is in the radar's geometry, less what
    # relief moves in range.
    relief = float(np.abs(ground.heights - mean).max()) + 2 * PITCH
    first, last = np.sort(times)[[1, 2]] + np.array([2, -2]) * LINE_SECONDS
    near, far = np.sort(ranges)[[1, 2]] + np.array([relief, -relief])
    to_ground, to_slant = _conversion(orbit, (first + last) / 2, near, far, mean)
    lines = int((last - first) / LINE_SECONDS)
    samples = int(np.polynomial.polynomial.polyval(far - near, to_ground) / PITCH)
    if min(lines, samples) < _COARSE:
        raise ValueError("the ground is too small, or turned too much")
    empty = np.zeros((len(ground.gamma), lines, samples))
    made = Image(orbit, empty, float(first), float(near), mean, to_ground, to_slant)
    middle = (first + last) / 2
    offsets = np.linspace(-3.0, 3.0, 25)
    path = np.polynomial.polynomial.polyfit(offsets, orbit.position(middle + offsets), 6)
    power = np.zeros_like(empty)
    _spread(
        base,
        normal,
        ground.heights,
        ground.gamma,
        path,
        middle,
        first,
        near,
        to_ground,
        int(np.ceil(ground.pitch / _PIECE)),
        power,
    )
    return Image(orbit, power / _areas(made), made.first_time, made.near_range, mean, to_ground, to_slant)


def _coarse(ground: Ground) -> tuple[Floats, Floats]:
    """Return (y, x, 3) points on the ellipsoid and its normals there, at every ``_COARSE``-th corner."""
    from pyproj import Transformer

    rows, columns = (size - 1 for size in ground.heights.shape)
    x = ground.left + ground.pitch * np.arange(0, columns + 1, _COARSE)
    y = ground.top - ground.pitch * np.arange(0, rows + 1, _COARSE)
    to_degrees = Transformer.from_crs(ground.epsg, 4326, always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(x, y))
    base = np.ascontiguousarray(np.moveaxis(geocentric(lon, lat, 0.0), 0, -1))
    return base, upward(base)


def _conversion(orbit: Orbit, time: float, near: float, far: float, height: float) -> tuple[Floats, Floats]:
    """Return the polynomials from slant to ground range and back: ground range is length along the surface."""
    slant = np.linspace(near, far, 400)
    points = orbit.ground(np.full(400, time), slant, height)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=-1))])
    fit = np.polynomial.Polynomial.fit
    to_ground = fit(slant - near, length, _DEGREE).convert().coef
    to_slant = fit(length, slant, _DEGREE).convert().coef
    return np.asarray(to_ground), np.asarray(to_slant)


def _areas(image: Image) -> Floats:
    """Return (1, 1, sample) square metres of a pixel in the slant plane: what beta nought is referred to."""
    lines, samples = image.beta.shape[1:]
    at = np.linspace(0, samples - 1, 20)
    ahead, behind = (image.ground(np.full(20, lines / 2 + by), at) for by in (-50.0, 50.0))
    along = np.linalg.norm(ahead - behind, axis=-1) / 100
    slope = np.polynomial.polynomial.polyval(at * PITCH, np.polynomial.polynomial.polyder(image.to_slant))
    return np.asarray(np.interp(np.arange(samples), at, along * slope * PITCH)[None, None])


@jit
def _spread(
    base: Any,
    normal: Any,
    heights: Any,
    gamma: Any,
    path: Any,
    middle: float,
    first: float,
    near: float,
    to_ground: Any,
    split: int,
    power: Any,
) -> None:
    """Add the power of all cells to the pixels around where they are seen."""
    polarisations, lines, samples = power.shape
    rows, columns = gamma.shape[1], gamma.shape[2]
    # Of the two rows of corners around a row of cells: place, time and slant range.
    place = np.empty((2, columns + 1, 3))
    when = np.zeros((2, columns + 1))
    far = np.zeros((2, columns + 1))
    to = np.empty(3)
    at = np.empty(3)
    speed = np.empty(3)
    a, b, area = np.empty(3), np.empty(3), np.empty(3)
    time = 0.0
    for r in range(rows + 1):
        now, before = r % 2, (r + 1) % 2
        i = min(r // _COARSE, base.shape[0] - 2)
        v = r / _COARSE - i
        for c in range(columns + 1):
            j = min(c // _COARSE, base.shape[1] - 2)
            u = c / _COARSE - j
            for k in range(3):
                low = (1 - u) * base[i, j, k] + u * base[i, j + 1, k]
                high = (1 - u) * base[i + 1, j, k] + u * base[i + 1, j + 1, k]
                up = (1 - v) * normal[i, j, k] + v * normal[i + 1, j, k]
                place[now, c, k] = (1 - v) * low + v * high + heights[r, c] * up
            for _ in range(3):
                miss, square = 0.0, 0.0
                for k in range(3):
                    at[k], speed[k] = 0.0, 0.0
                    for n in range(path.shape[0] - 1, -1, -1):
                        speed[k] = speed[k] * time + at[k]
                        at[k] = at[k] * time + path[n, k]
                    miss += (place[now, c, k] - at[k]) * speed[k]
                    square += speed[k] * speed[k]
                time += miss / square
            distance = 0.0
            for k in range(3):
                at[k] = 0.0
                for n in range(path.shape[0] - 1, -1, -1):
                    at[k] = at[k] * time + path[n, k]
                distance += (place[now, c, k] - at[k]) ** 2
            when[now, c], far[now, c] = time, np.sqrt(distance)
        if r == 0:
            continue
        for c in range(columns):
            facing = 0.0
            for k in range(3):  # the two diagonals of the cell span twice its area
                a[k] = place[before, c + 1, k] - place[now, c, k]
                b[k] = place[before, c, k] - place[now, c + 1, k]
                to[k] = at[k] - place[now, c, k]
            area[0] = 0.5 * (a[1] * b[2] - a[2] * b[1])
            area[1] = 0.5 * (a[2] * b[0] - a[0] * b[2])
            area[2] = 0.5 * (a[0] * b[1] - a[1] * b[0])
            length = np.sqrt(to[0] * to[0] + to[1] * to[1] + to[2] * to[2])
            for k in range(3):
                facing += area[k] * to[k] / length
            if facing <= 0.0:
                continue
            share = facing / (split * split)
            for q in range(split):
                v = (q + 0.5) / split
                for p in range(split):
                    u = (p + 0.5) / split
                    t = (1 - v) * ((1 - u) * when[before, c] + u * when[before, c + 1]) + v * (
                        (1 - u) * when[now, c] + u * when[now, c + 1]
                    )
                    s = (1 - v) * ((1 - u) * far[before, c] + u * far[before, c + 1]) + v * (
                        (1 - u) * far[now, c] + u * far[now, c + 1]
                    )
                    along = 0.0
                    for n in range(to_ground.size - 1, -1, -1):
                        along = along * (s - near) + to_ground[n]
                    line, sample = (t + middle - first) / LINE_SECONDS, along / PITCH
                    y, x = int(np.floor(line)), int(np.floor(sample))
                    fy, fx = line - y, sample - x
                    for dy in range(2):
                        for dx in range(2):
                            if 0 <= y + dy < lines and 0 <= x + dx < samples:
                                weight = (fy if dy else 1 - fy) * (fx if dx else 1 - fx) * share
                                for k in range(polarisations):
                                    power[k, y + dy, x + dx] += weight * gamma[k, r - 1, c]

"""Bands: parallel strips of the equal-area plane, each of which belongs to one split.

The strips lie in EPSG:6933, across a direction that may be chosen, and are counted from the plane's origin (0 E on the
equator), not from the area. A chip belongs to the strip of its centre. Splits are drawn inside super-bands of 25.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.splits import ground
from m3leo_prep.core.splits.policy import LEARNED, Assignment, Split, yields_to
from m3leo_prep.core.splits.shares import SLOTS, Shares, group_keys, spread, validate_shares

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PURPOSE = 2
_CHIPS = 20_000
"""Chips looked at closely at a time, to bound memory."""
_POINTS = 33
"""Along the piece of a strip's edge that is near a chip: between them it bends by less than 1e-4 of the buffer."""


@dataclass(frozen=True, slots=True)
class Strips:
    """Strips of ``width`` metres that follow each other in the direction of ``angle`` (radians from east)."""

    width: float
    angle: float
    shares: Shares
    seed: int

    def along(self, lon: Floats, lat: Floats) -> Floats:
        """Return how far points lie in the direction, in metres of the plane; longitudes may go beyond 180."""
        return lon * ground.DEGREE * math.cos(self.angle) + ground.northing(lat) * math.sin(self.angle)

    def strip(self, lon: Floats, lat: Floats) -> Ints:
        """Return the strips of points."""
        return np.floor(self.along(lon, lat) / self.width).astype(np.int64)

    def split(self, strip: Ints) -> NDArray[np.uint8]:
        """Return the split of each strip, built or not."""
        supers, which = np.unique(strip // SLOTS, return_inverse=True)
        table = spread(self.shares, group_keys(self.seed, _PURPOSE, supers))
        return np.asarray(table[which.reshape(-1), strip % SLOTS])

    def number(self, strip: Ints) -> Ints:
        """Return a number of each strip, from 0."""
        far = ground.HALF_WIDTH * abs(math.cos(self.angle)) + 7.4e6 * abs(math.sin(self.angle))
        return strip + math.ceil(far / self.width)


def assign_bands(
    cells: Cells,
    *,
    band_km: float,
    angle_deg: float,
    buffer_km: float,
    shares: Mapping[str, float],
    seed: int,
    yields: tuple[Split, ...],
) -> Assignment:
    """Return the splits of chips by strips; ``group`` is a number of the strip.

    A chip yields where its square is nearer than the buffer to any strip of a split that it yields to, on the
    ellipsoid. Slanted strips end at the antimeridian; within the buffer of it they count as if they went on across
    what lies there, so that chips may yield without need, but none stays that should yield.

    Args:
        cells: chips.
        band_km: width of a strip in the plane of EPSG:6933.
        angle_deg: direction in which strips follow each other, counter-clockwise from east.
        buffer_km: 0 for none; chips that may lie on the ground of another zone's have a chip diagonal at least.
        shares: of train, val and test.
        seed: of the draw.
        yields: splits in the order in which they yield, as ``SplitPolicy.yields`` tells.

    Raises:
        ConfigError: shares, band, angle or buffer make no sense.
    """
    strips = _strips(cells, band_km, angle_deg, shares, seed)
    margin = ground.buffers(cells, buffer_km)
    lon, lat = cells.lon_lat()
    strip = strips.strip(lon, lat)
    home = strips.split(strip)
    split = home.copy()
    wide, high = ground.reach(margin + 0.711 * cells.grid.cell_m, lat)
    for turn in (-1, 0, 1):  # strips beyond 180 W, on this side, and beyond 180 E
        meets = (lon - wide < -180) if turn < 0 else (lon + wide > 180) if turn > 0 else np.ones(len(lon), bool)
        there = lon - 360 * turn
        low, high_strip = _range(strips, there, lat, wide, high)
        reaching = (margin > 0) & (home != yields[-1]) & meets & ((turn != 0) | (low != strip) | (high_strip != strip))
        rows = np.flatnonzero(reaching)
        for first in range(0, len(rows), _CHIPS):
            part = rows[first : first + _CHIPS]
            near = _pairs(low[part], high_strip[part])
            keep = yields_to(yields, home[part[near[0]]], strips.split(near[1]))
            chip, other = part[near[0][keep]], near[1][keep]
            away = _distances(cells[chip], strips, there[chip], lat[chip], other, margin[chip])
            if turn:
                away = np.maximum(away, _to_antimeridian(cells[chip]))
            split[chip[away < margin[chip]]] = Split.BUFFER
    return Assignment(home, split, strips.number(strip))


def bands_per_split(
    cells: Cells, band_km: float, angle_deg: float, shares: Mapping[str, float], seed: int
) -> NDArray[np.int64]:
    """Return (3,) how many strips of train, val and test hold chips (the centres of any, buffered or not)."""
    strips = _strips(cells, band_km, angle_deg, shares, seed)
    return np.bincount(strips.split(np.unique(strips.strip(*cells.lon_lat()))), minlength=len(LEARNED))


def _strips(cells: Cells, band_km: float, angle_deg: float, shares: Mapping[str, float], seed: int) -> Strips:
    if not (math.isfinite(band_km) and band_km * 1000 >= cells.grid.cell_m):
        raise ConfigError(
            f"bands of {band_km:g} km for chips of {cells.grid.cell_m / 1000:g} km",
            hint="a band is wider than a chip, about 100 km for chips of 4.48 km; or write block_km: auto",
            where="splits.block_km",
        )
    if not math.isfinite(angle_deg):
        raise ConfigError(f"a direction of {angle_deg:g} degrees", hint="0 is east, 90 north", where="splits.angle")
    return Strips(band_km * 1000, math.radians(angle_deg), validate_shares(shares), seed)


def _range(strips: Strips, lon: Floats, lat: Floats, wide: Floats, high: Floats) -> tuple[Ints, Ints]:
    """Return the first and the last strip that a box of so many degrees around each point meets."""
    corners = [strips.strip(lon + e * wide, lat + n * high) for e in (-1, 1) for n in (-1, 1)]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _pairs(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    count = high - low + 1
    row = np.repeat(np.arange(len(low)), count)
    return row, low[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)


def _distances(cells: Cells, strips: Strips, lon: Floats, lat: Floats, strip: Ints, margin: Floats) -> Floats:
    """Return (pair,) metres between a chip's square and a strip, whose nearer edge is drawn as a line.

    The strip has no end at the antimeridian here, so the distance is never too long.

    Args:
        cells: (pair,) chips.
        strips: the strips.
        lon: of the chip's centre; turned around the Earth where the strip is counted from there.
        lat: of the chip's centre.
        strip: the strip.
        margin: metres beyond which the distance need not be right.
    """
    here = strips.along(lon, lat)
    edge = np.where(here < strip * strips.width, strip, strip + 1) * strips.width
    inside = (here >= strip * strips.width) & (here < (strip + 1) * strips.width)
    # Metres of the ground per metre of the plane: ``east`` along a parallel, 1 / ``east`` along a meridian.
    metre, _ = ground.local(np.full(len(lat), 1e-4), lat)
    east = metre / (1e-4 * ground.DEGREE)
    cos, sin = math.cos(strips.angle), math.sin(strips.angle)
    # The nearest point of the line in the metric of the chip's centre; the edge runs on to both sides of it.
    gradient = (cos / east) ** 2 + (sin * east) ** 2
    foot_x, foot_y = (edge - here) * cos / east**2 / gradient, (edge - here) * sin * east**2 / gradient
    length = 2 * (margin + 2 * cells.grid.cell_m) / np.hypot(sin * east, cos / east)
    step = np.linspace(-1, 1, _POINTS) * length[:, None]
    x = foot_x[:, None] - sin * step
    y = foot_y[:, None] + ground.northing(lat)[:, None] + cos * step
    line = np.stack(ground.local(x / ground.DEGREE, ground.latitude(y)), axis=-1)
    corner_lon, corner_lat = ground.corners(cells)
    away = np.mod(corner_lon - lon[:, None] + 180, 360) - 180
    squares = ground.quads(*ground.local(away, corner_lat))
    distance = ground.flat_to_ground(shapely.distance(squares, shapely.linestrings(line)))
    return np.where(inside, 0.0, distance)


def _to_antimeridian(cells: Cells) -> Floats:
    """Return metres between chips that are near it and the antimeridian, 0 where they cross it."""
    lon, lat = ground.corners(cells)
    x, _ = ground.local(np.mod(lon, 360) - 180, lat)
    return np.asarray(np.where(x.min(axis=1) * x.max(axis=1) < 0, 0, ground.flat_to_ground(np.abs(x).min(axis=1))))

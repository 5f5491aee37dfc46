"""The ground of the synthetic Earth: height, slope and land cover as functions of lon, lat and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources.synthetic.facts import LEGEND
from m3leo_prep.sources.synthetic.noise import LANES, fractals, hashed, inlined, jit, no_state, unit

_TREES, _SHRUB, _GRASS, _CROPS, _BUILT, _BARE, _WATER, _WETLAND = (c.code for c in LEGEND)
_EARTH_M = 40_075_017.0
_OCTAVES = 40


@dataclass(frozen=True, slots=True)
class Ground:
    """What is there, one array shape for all."""

    height: NDArray[np.float32]
    """Metres; 0 at sea."""
    slope_east: NDArray[np.float32]
    """Rise per metre eastward: the exact derivative of ``height``."""
    slope_north: NDArray[np.float32]
    classes: NDArray[np.uint8]
    """Codes of ``LEGEND``."""
    variety: NDArray[np.uint8]
    """What differs inside a class: one number per field of crops, a fine texture elsewhere."""

    def rows(self, rows: slice) -> Ground:
        """Return some of the rows."""
        return Ground(
            self.height[rows], self.slope_east[rows], self.slope_north[rows], self.classes[rows], self.variety[rows]
        )


def ground(lon: NDArray[np.float64], lat: NDArray[np.float64], seed: int) -> Ground:
    """Return the ground at points, arrays of any one shape; a point's answer depends on nothing else."""
    lon, lat = np.broadcast_arrays(lon, lat)
    shape = lon.shape
    height, east, north = np.empty((3, lon.size), np.float32)
    classes, variety = np.empty((2, lon.size), np.uint8)
    _ground(lon.ravel(), lat.ravel(), seed, height, east, north, classes, variety)
    return Ground(
        height.reshape(shape),
        east.reshape(shape),
        north.reshape(shape),
        classes.reshape(shape),
        variety.reshape(shape),
    )


@jit
def _ground(lon: Any, lat: Any, seed: int, height: Any, east: Any, north: Any, classes: Any, variety: Any) -> None:
    state, work, places = no_state(_OCTAVES), np.empty(8 * LANES), np.empty(2 * LANES)
    base, rough, fine, grain = np.empty(3 * LANES), np.empty(3 * LANES), np.empty(3 * LANES), np.empty(3 * LANES)
    wet, line, town = np.empty(3 * LANES), np.empty(3 * LANES), np.empty(3 * LANES)
    metres, heights, points = np.empty(LANES), np.empty(LANES), np.full((10, 3), np.inf)
    last, north_turns, around = np.inf, 0.0, 0.0
    for start in range(0, lon.size, LANES):
        size = min(LANES, lon.size - start)
        for i in range(LANES):
            # Turns around the Earth. The Mercator ordinate makes the lattice conformal: features are as wide as high.
            p = start + min(i, size - 1)
            if lat[p] != last:
                last, phi = lat[p], np.radians(lat[p])
                north_turns, around = np.arcsinh(np.tan(phi)) / (2.0 * np.pi), _EARTH_M * np.cos(phi)
            places[i], places[LANES + i] = ((lon[p] + 180.0) % 360.0) / 360.0, north_turns
            metres[i] = around
        fractals(0, 5, places, 900, 0.5, seed, state, work, base)
        fractals(5, 2, places, 1400, 0.5, seed + 100, state, work, rough)
        fractals(7, 8, places, 14400, 0.48, seed + 200, state, work, fine)
        fractals(15, 2, places, 320_000, 0.7, seed + 300, state, work, grain)
        highest = 0.0
        for i in range(LANES):
            heights[i] = 2600.0 * (base[i] - 0.43) + (60.0 + 2800.0 * rough[i] ** 4) * (fine[i] - 0.5)
            highest = max(highest, heights[i])
        if highest > 0.0:
            fractals(18, 6, places, 5200, 0.6, seed + 400, state, work, wet)
            fractals(25, 4, places, 2600, 0.45, seed + 500, state, work, line)
            fractals(30, 3, places, 4600, 0.5, seed + 600, state, work, town)
        for i in range(size):
            p, h, kind = start + i, heights[i], np.uint8(255.0 * grain[i])
            if h <= 0.0:
                height[p], east[p], north[p], classes[p], variety[p] = 0.0, 0.0, 0.0, _WATER, kind
                continue
            e, n, m = LANES + i, 2 * LANES + i, metres[i]
            relief, bend = 60.0 + 2800.0 * rough[i] ** 4, 11200.0 * rough[i] ** 3
            slope_u = (2600.0 * base[e] + relief * fine[e] + bend * rough[e] * (fine[i] - 0.5)) / m
            slope_v = (2600.0 * base[n] + relief * fine[n] + bend * rough[n] * (fine[i] - 0.5)) / m
            height[p], east[p], north[p] = h, slope_u, slope_v
            slope = np.hypot(slope_u, slope_v)

            code, u, v = _GRASS, places[i], places[LANES + i]
            wetness = 0.5 + 2.0 * (wet[i] - 0.5)
            # Distance to the line where the noise is 1/2, so that a river is as wide everywhere.
            from_river = abs(line[i] - 0.5) / (np.hypot(line[e], line[n]) / m + 1e-9)
            if from_river < 45.0 and h < 500.0:
                code = _WATER
            elif h + 0.35 * lat[p] ** 2 > 2100.0 or wetness < 0.16:
                code = _BARE
            elif h < 9.0 and wetness > 0.45:
                code = _WETLAND
            elif town[i] > 0.6 and slope < 0.2:
                # Blocks of about 30 m: buildings and streets, gardens, trees.
                dice = unit(int(u * 900_000), int(np.floor(v * 900_000)), seed + 700)
                code = _BUILT if dice < 0.62 + 2.0 * (town[i] - 0.6) else _GRASS if dice < 0.93 else _TREES
            elif slope > 0.22 or wetness > 0.62 or from_river < 90.0:
                code = _TREES
            elif wetness < 0.24:
                code = _SHRUB
            elif h < 700.0 and wetness < 0.57:
                kind = np.uint8(_field(u, v, seed + 800, points) & 255)
                code = _CROPS if kind > 45 else _GRASS if kind > 15 else _TREES
            classes[p], variety[p] = code, kind


@inlined
def _field(u: float, v: float, seed: int, points: Any) -> int:
    """Return the number of the nearest of scattered points: fields of about 250 m with straight edges.

    ``points`` remembers those around the last place: its cell, and x, y and number of nine.
    """
    around = 120_000
    # Longer than wide, as ploughed fields are.
    x, y = u * around, v * around * 1.7
    fx, fy = np.floor(x), np.floor(y)
    if points[9, 0] != fx or points[9, 1] != fy:
        points[9, 0], points[9, 1] = fx, fy
        for k in range(9):
            i, j = int(fx) - 1 + k % 3, int(fy) - 1 + k // 3
            h = hashed(i % around, j, seed)
            points[k, 0] = i + np.float64(h & np.uint64(0xFFFF)) / 65536.0
            points[k, 1] = j + np.float64((h >> np.uint64(16)) & np.uint64(0xFFFF)) / 65536.0
            points[k, 2] = np.float64(h >> np.uint64(32))
    best, found = 1e9, 0.0
    for k in range(9):
        away = (x - points[k, 0]) ** 2 + (y - points[k, 1]) ** 2
        if away < best:
            best, found = away, points[k, 2]
    return int(found)

"""The ground of the synthetic Earth: height, slope and land cover as functions of lon, lat and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources.synthetic.facts import LEGEND
from m3leo_prep.sources.synthetic.noise import fractal, hashed, jit, no_state, unit

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
    state = no_state(_OCTAVES)
    for p in range(lon.size):
        # Turns around the Earth. The Mercator ordinate makes the lattice conformal: features are as wide as high.
        phi = np.radians(lat[p])
        u = ((lon[p] + 180.0) % 360.0) / 360.0
        v = np.arcsinh(np.tan(phi)) / (2.0 * np.pi)
        metres = _EARTH_M * np.cos(phi)

        base, base_u, base_v = fractal(0, 5, u, v, 900, 0.5, seed, state)
        rough, rough_u, rough_v = fractal(5, 2, u, v, 1400, 0.5, seed + 100, state)
        fine, fine_u, fine_v = fractal(7, 8, u, v, 14400, 0.48, seed + 200, state)
        relief = 60.0 + 2800.0 * rough**4
        bend = 11200.0 * rough**3
        h = 2600.0 * (base - 0.43) + relief * (fine - 0.5)
        slope_u = (2600.0 * base_u + relief * fine_u + bend * rough_u * (fine - 0.5)) / metres
        slope_v = (2600.0 * base_v + relief * fine_v + bend * rough_v * (fine - 0.5)) / metres
        grain = fractal(15, 2, u, v, 320_000, 0.7, seed + 300, state)[0]
        kind = np.uint8(255.0 * grain)
        if h <= 0.0:
            height[p], east[p], north[p], classes[p], variety[p] = 0.0, 0.0, 0.0, _WATER, kind
            continue
        height[p], east[p], north[p] = h, slope_u, slope_v
        slope = np.hypot(slope_u, slope_v)

        code = _GRASS
        wet = 0.5 + 2.0 * (fractal(18, 6, u, v, 5200, 0.6, seed + 400, state)[0] - 0.5)
        line, line_u, line_v = fractal(25, 4, u, v, 2600, 0.45, seed + 500, state)
        town = fractal(30, 3, u, v, 4600, 0.5, seed + 600, state)[0]
        # Distance to the line where the noise is 1/2, so that a river is as wide everywhere.
        from_river = abs(line - 0.5) / (np.hypot(line_u, line_v) / metres + 1e-9)
        if from_river < 45.0 and h < 500.0:
            code = _WATER
        elif h + 0.35 * lat[p] ** 2 > 2100.0 or wet < 0.16:
            code = _BARE
        elif h < 9.0 and wet > 0.45:
            code = _WETLAND
        elif town > 0.6 and slope < 0.2:
            # Blocks of about 30 m: buildings and streets, gardens, trees.
            dice = unit(int(u * 900_000), int(np.floor(v * 900_000)), seed + 700)
            code = _BUILT if dice < 0.62 + 2.0 * (town - 0.6) else _GRASS if dice < 0.93 else _TREES
        elif slope > 0.22 or wet > 0.62 or from_river < 90.0:
            code = _TREES
        elif wet < 0.24:
            code = _SHRUB
        elif h < 700.0 and wet < 0.57:
            field = _field(u, v, seed + 800)
            kind = np.uint8(field & np.uint64(255))
            code = _CROPS if kind > 45 else _GRASS if kind > 15 else _TREES
        classes[p], variety[p] = code, kind


@jit
def _field(u: float, v: float, seed: int) -> np.uint64:
    """Return the number of the nearest of scattered points: fields of about 250 m with straight edges."""
    around = 120_000
    # Longer than wide, as ploughed fields are.
    x, y = u * around, v * around * 1.7
    ix, iy = int(np.floor(x)), int(np.floor(y))
    best, found = 1e9, np.uint64(0)
    for j in range(iy - 1, iy + 2):
        for i in range(ix - 1, ix + 2):
            h = hashed(i % around, j, seed)
            px = i + np.float64(h & np.uint64(0xFFFF)) / 65536.0
            py = j + np.float64((h >> np.uint64(16)) & np.uint64(0xFFFF)) / 65536.0
            away = (x - px) ** 2 + (y - py) ** 2
            if away < best:
                best, found = away, h >> np.uint64(32)
    return found

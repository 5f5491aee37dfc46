"""What the synthetic multispectral camera sees: spectra, season, shading, clouds."""

from __future__ import annotations

from math import cos, pi
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources.synthetic.earth import Ground
from m3leo_prep.sources.synthetic.facts import BANDS, LEGEND
from m3leo_prep.sources.synthetic.noise import fractal, jit, no_state, unit

_SPECTRA = {  # dormant, then green: reflectance of blue, green, red, nir, swir1, swir2
    10: ((0.025, 0.040, 0.040, 0.160, 0.130, 0.070), (0.020, 0.045, 0.025, 0.340, 0.150, 0.065)),
    20: ((0.055, 0.080, 0.100, 0.200, 0.250, 0.180), (0.045, 0.075, 0.070, 0.270, 0.220, 0.140)),
    30: ((0.055, 0.085, 0.100, 0.220, 0.260, 0.170), (0.040, 0.085, 0.055, 0.380, 0.210, 0.110)),
    40: ((0.075, 0.105, 0.135, 0.220, 0.290, 0.230), (0.035, 0.075, 0.045, 0.460, 0.200, 0.100)),
    50: ((0.110, 0.125, 0.140, 0.210, 0.230, 0.200), (0.105, 0.125, 0.130, 0.240, 0.225, 0.190)),
    60: ((0.130, 0.170, 0.215, 0.280, 0.360, 0.320), (0.125, 0.165, 0.205, 0.280, 0.350, 0.310)),
    80: ((0.045, 0.040, 0.025, 0.012, 0.006, 0.004), (0.040, 0.045, 0.025, 0.012, 0.006, 0.004)),
    90: ((0.040, 0.060, 0.065, 0.150, 0.120, 0.070), (0.035, 0.065, 0.045, 0.280, 0.140, 0.070)),
}
_TABLE = np.zeros((101, 2, len(BANDS)))
for _class in LEGEND:
    _TABLE[_class.code] = _SPECTRA[_class.code]

_CLOUD_SPREAD = NormalDist(0.5, 0.145)
"""How the cloud noise is distributed, so that a threshold gives the share asked for."""


def greenness(lat: float, day_of_year: int) -> float:
    """Return 0 (dormant) ... 1 (full leaf); seasons swap at the equator and fade in the tropics."""
    day = day_of_year if lat >= 0 else day_of_year + 182.6
    season = 0.5 - 0.5 * cos(2.0 * pi * (day - 20.0) / 365.25)
    return 1.0 - min(abs(lat) / 40.0, 1.0) * (1.0 - season)


def reflectance(ground: Ground, green: float, row0: int, col0: int, seed: int) -> NDArray[np.float32]:
    """Return (band, y, x) clear-sky reflectance; ``row0``, ``col0`` number the pixels of the native grid."""
    out = np.empty((len(BANDS), *ground.classes.shape), np.float32)
    _reflectance(
        ground.classes, ground.variety, ground.slope_east, ground.slope_north, _TABLE, green, row0, col0, seed, out
    )
    return out


@jit
def _reflectance(
    classes: Any,
    variety: Any,
    east: Any,
    north: Any,
    table: Any,
    green: float,
    row0: int,
    col0: int,
    seed: int,
    out: Any,
) -> None:
    bands, rows, cols = out.shape
    for r in range(rows):
        for c in range(cols):
            code, v = classes[r, c], variety[r, c] / 255.0
            leaf = green
            if code == 40:
                # Each field has its own calendar: sown early or late, harvested or not.
                leaf = min(max(green * 1.6 - 0.9 * v, 0.0), 1.0)
            # The sun stands in the south-east, 40 degrees high.
            shade = max(0.25, 1.0 - 0.84 * east[r, c] + 0.84 * north[r, c]) if code != 80 else 1.0
            shade *= 0.8 + 0.4 * v if code != 80 else 1.0
            for b in range(bands):
                value = (table[code, 0, b] + (table[code, 1, b] - table[code, 0, b]) * leaf) * shade
                grain = unit(row0 + r, col0 + c, seed + b) - 0.5
                out[b, r, c] = value * (1.0 + 0.12 * grain) + 0.006 * grain


def cloudy(lon: NDArray[np.float64], lat: NDArray[np.float64], share: float, seed: int) -> NDArray[np.bool_]:
    """Return where clouds hide the ground in one pass, a share of all places and passes together."""
    if share <= 0.0:
        return np.zeros(lon.shape, bool)
    if share >= 1.0:
        return np.ones(lon.shape, bool)
    out = np.empty(lon.size, bool)
    _cloudy(lon.ravel(), lat.ravel(), _CLOUD_SPREAD.inv_cdf(1.0 - share), seed, out)
    return out.reshape(lon.shape)


@jit
def _cloudy(lon: Any, lat: Any, threshold: float, seed: int, out: Any) -> None:
    state = no_state(8)
    for p in range(lon.size):
        u = ((lon[p] + 180.0) % 360.0) / 360.0
        v = np.arcsinh(np.tan(np.radians(lat[p]))) / (2.0 * np.pi)
        out[p] = fractal(0, 8, u, v, 500, 0.55, seed, state)[0] > threshold

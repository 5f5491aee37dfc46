"""What the synthetic radar sees: backscatter with speckle, coherence, interferometric phase."""

from __future__ import annotations

from math import cos, pi, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources.synthetic.earth import Ground
from m3leo_prep.sources.synthetic.facts import COHERENCE_LOOKS, DELAYS_DAYS, ENL, WAVELENGTH_M
from m3leo_prep.sources.synthetic.noise import hashed, jit, unit

NOISE_FLOOR = 10.0**-2.5
"""Power of the thermal noise, whose mean is subtracted: over dark water that leaves values below 0."""

_DB = {  # gamma0 in dB at 38.5 degrees: vv, vh; dB per degree of incidence
    10: (-8.0, -13.5, -0.03),
    20: (-11.0, -18.0, -0.06),
    30: (-12.0, -19.5, -0.08),
    40: (-10.5, -17.5, -0.08),
    50: (-3.5, -11.5, -0.02),
    60: (-13.5, -23.0, -0.12),
    80: (-18.0, -28.0, -0.45),
    90: (-9.5, -17.5, -0.06),
}
_DECAY = {  # long-term coherence rho, time constant tau in days
    10: (0.08, 8.0),
    20: (0.35, 40.0),
    30: (0.22, 18.0),
    40: (0.12, 14.0),
    50: (0.72, 120.0),
    60: (0.62, 90.0),
    80: (0.0, 0.5),
    90: (0.12, 10.0),
}
_POWER = np.zeros((101, 3))
_RHO_TAU = np.ones((101, 2))
for _code, _row in _DB.items():
    _POWER[_code] = _row
    _RHO_TAU[_code] = _DECAY[_code]


def _speckle_table(size: int = 65_536) -> NDArray[np.float64]:
    """Return equally likely values of a gamma variable of mean 1 and ``ENL`` looks."""
    x = np.linspace(0.0, 9.0, 400_001)
    density = x ** (ENL - 1.0) * np.exp(-ENL * x)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    table = np.interp((np.arange(size) + 0.5) / size, below / below[-1], x)
    return np.asarray(table / table.mean())


_SPECKLE = _speckle_table()


def mean_power(
    ground: Ground, across: NDArray[np.float64], green: float, *, ascending: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the expected power (2, y, x), VV and VH, and where layover or shadow hides the ground.

    Args:
        ground: what is there, (y, x).
        across: place in the swath, -1 ... 1, (y, x).
        green: season, 0 ... 1.
        ascending: looking east, else west.
    """
    power = np.empty((2, *ground.classes.shape))
    hidden = np.empty(ground.classes.shape, bool)
    azimuth = np.radians(78.0 if ascending else 282.0)
    _mean_power(
        ground.classes,
        ground.variety,
        ground.slope_east * sin(azimuth) + ground.slope_north * cos(azimuth),
        across if ascending else -across,
        _POWER,
        green,
        power,
        hidden,
    )
    return power, hidden


@jit
def _mean_power(
    classes: Any, variety: Any, rise: Any, far: Any, table: Any, green: float, power: Any, hidden: Any
) -> None:
    rows, cols = classes.shape
    for r in range(rows):
        for c in range(cols):
            code, v = classes[r, c], variety[r, c] / 255.0 - 0.5
            incidence = 38.5 + 7.5 * far[r, c]
            flat = np.radians(incidence)
            local = flat - np.arctan(rise[r, c])
            hidden[r, c] = local <= 0.0 or local >= 0.5 * np.pi
            # Flattening leaves some of the relief, as it does in real products.
            relief = np.sqrt(max(np.cos(local), 0.02) / np.cos(flat))
            growth = 4.0 * (green - 0.5) * (v + 0.5) if code == 40 else 0.0
            texture = 2.0 * v if code != 80 else 0.0
            for p in range(2):
                db = table[code, p] + table[code, 2] * (incidence - 38.5) + texture + growth
                power[p, r, c] = relief * 10.0 ** (0.1 * db)


def speckled(power: NDArray[np.float64], row0: int, col0: int, seed: int) -> NDArray[np.float32]:
    """Return one look at ``power`` (band, y, x): speckle and thermal noise, the noise's mean subtracted.

    Each pixel's draw is a hash of its number on the native grid, the band and ``seed``; independent of its
    neighbours', which in real products are slightly correlated.
    """
    out = np.empty(power.shape, np.float32)
    _speckled(power, row0, col0, seed, _SPECKLE, NOISE_FLOOR, out)
    return out


@jit
def _speckled(power: Any, row0: int, col0: int, seed: int, table: Any, noise: float, out: Any) -> None:
    bands, rows, cols = power.shape
    for b in range(bands):
        for r in range(rows):
            for c in range(cols):
                draw = table[hashed(row0 + r, col0 + c, seed + b) >> np.uint64(48)]
                out[b, r, c] = (power[b, r, c] + noise) * draw - noise


def true_coherence(ground: Ground, green: float) -> NDArray[np.float64]:
    """Return (delay, y, x): rho + (1 - rho) exp(-days / tau), weaker where leaves move."""
    rho, tau = _RHO_TAU[ground.classes, 0], _RHO_TAU[ground.classes, 1]
    rho = rho * (0.85 + 0.3 * (ground.variety / 255.0)) * (1.0 - 0.25 * green)
    return np.stack([rho + (1.0 - rho) * np.exp(-days / tau) for days in DELAYS_DAYS])


def estimated_coherence(truth: NDArray[np.float64], row0: int, col0: int, seed: int) -> NDArray[np.float32]:
    """Return what an estimator with ``COHERENCE_LOOKS`` looks makes of ``truth``: biased up, and noisy.

    The bias is exact for no coherence (sqrt(pi / 4L)) and the spread is the Cramer-Rao bound
    (1 - g^2) / sqrt(2L) (Touzi et al. 1999); between them it is an approximation.
    """
    floor = pi / (4.0 * COHERENCE_LOOKS)
    biased = np.sqrt(truth**2 * (1.0 - floor) + floor)
    spread = (1.0 - truth**2) / np.sqrt(2.0 * COHERENCE_LOOKS)
    draws = np.empty(truth.shape)
    _normal(row0, col0, seed, draws)
    return np.asarray(np.clip(biased + spread * draws, 0.0, 1.0), np.float32)


@jit
def _normal(row0: int, col0: int, seed: int, out: Any) -> None:
    bands, rows, cols = out.shape
    for b in range(bands):
        for r in range(rows):
            for c in range(cols):
                # The sum of 12 uniform numbers less 6 is close to normal; four of 16 bits from each of 3 hashes.
                total = 0.0
                for k in range(3):
                    bits = hashed(row0 + r, col0 + c, seed + 1000 * b + k)
                    for s in range(4):
                        total += np.float64((bits >> np.uint64(16 * s)) & np.uint64(0xFFFF))
                out[b, r, c] = (total + 6.0) / 65536.0 - 6.0


def phase(
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    ground: Ground,
    baseline_m: float,
    days: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return the noise-free phase in rad, not wrapped: topography by the baseline, and sinking bowls.

    Positive is towards the sensor, as in the ARIA GUNW products.
    """
    slant_range_m, incidence = 880_000.0, np.radians(38.5)
    topography = -baseline_m * ground.height.astype(np.float64) / (slant_range_m * sin(incidence))
    sinking = np.empty(lon.size)
    _bowls(lon.ravel(), lat.ravel(), seed, sinking)
    motion = -sinking.reshape(lon.shape) * days / 365.25 * cos(incidence)
    return np.asarray(4.0 * pi / WAVELENGTH_M * (topography + motion))


@jit
def _bowls(lon: Any, lat: Any, seed: int, out: Any) -> None:
    """Fill in the sinking in m a year: one bowl in each cell of 0.1 degrees, up to 1 m deep, 1.5 km wide."""
    for p in range(lon.size):
        x, y = ((lon[p] + 180.0) % 360.0) * 10.0, lat[p] * 10.0
        i, j = int(np.floor(x)), int(np.floor(y))
        # Well inside its cell, so that at the edge less than 1 mm a year is cut off.
        px = i + 0.4 + 0.2 * unit(i, j, seed)
        py = j + 0.4 + 0.2 * unit(i, j, seed + 1)
        depth = unit(i, j, seed + 2) ** 3
        km_x, km_y = (x - px) * 11.132 * np.cos(np.radians(lat[p])), (y - py) * 11.132
        width = 1.2 * np.cos(np.radians(lat[p]))
        out[p] = depth * np.exp(-0.5 * (km_x**2 + km_y**2) / width**2)


def phase_noise(coherence: NDArray[np.float64], row0: int, col0: int, seed: int) -> NDArray[np.float64]:
    """Return phase noise in rad, (band, y, x): the Cramer-Rao spread, at most that of a uniform phase."""
    spread = np.sqrt(1.0 - coherence**2) / (np.maximum(coherence, 1e-3) * np.sqrt(2.0 * COHERENCE_LOOKS))
    draws = np.empty(coherence.shape)
    _normal(row0, col0, seed, draws)
    return np.asarray(np.minimum(spread, pi / np.sqrt(3.0)) * draws)

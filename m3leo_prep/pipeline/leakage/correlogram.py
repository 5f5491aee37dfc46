"""How far labels resemble each other: Moran's I by distance, from sampled pairs, and the buffer that follows from it.

I of a distance band is the mean of z_i z_j over the pairs of that band, divided by the mean of z^2 (z: value minus the
mean; binary weights; Moran 1950, Cliff and Ord 1981). It is 1 for values that are the same, and -1 / (n - 1) on average
where place says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.pipeline.leakage.ground import geocentric

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

RADIUS_KM = 6371.0088
"""Mean radius (IUGG); turns chords into arcs, off by 1 m at 300 km."""
GROUPS_LOG2 = 5
"""Contiguous groups of the jackknife: 32, each a half of a half, and so on, with equally many points."""
ALPHA = 0.01
QUIET_BANDS = 3
_EDGE = -6400.0
_NEIGHBOURS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
_CHUNK = 262_144


@dataclass(frozen=True, slots=True, eq=False)
class Correlogram:
    """Moran's I by distance band."""

    distance_km: Floats
    """(band,) centres of the bands, which are equally wide and begin at 0."""
    morans_i: Floats
    """(band,) NaN where a band has no pair, or where all values are the same."""
    n_pairs: Rows
    """(band,) pairs looked at."""
    expected: float
    """I where place says nothing."""
    error: Floats
    """(band,) standard error: how I would differ had the area been another like it, by a jackknife over 32 contiguous
    groups of points. It contains the error of sampling pairs."""

    @property
    def band_km(self) -> float:
        """Width of a band."""
        return float(2 * self.distance_km[0])

    def document(self) -> dict[str, Any]:
        """Return the correlogram as JSON values, None for what is not known."""
        return {
            "distance_km": self.distance_km.tolist(),
            "morans_i": [None if math.isnan(value) else value for value in self.morans_i.tolist()],
            "error": [None if math.isnan(value) else value for value in self.error.tolist()],
            "n_pairs": self.n_pairs.tolist(),
            "expected": None if math.isnan(self.expected) else self.expected,
        }


def correlogram(
    lon: Floats,
    lat: Floats,
    values: Floats,
    *,
    max_km: float,
    n_bins: int = 40,
    n_pairs: int = 4_000_000,
    seed: int = 0,
) -> Correlogram:
    """Return Moran's I of values at points, by the distance of their pairs.

    All pairs are taken where there are at most ``n_pairs``. Otherwise pairs are drawn, with replacement and each pair
    of a band as likely as any other: as many among all pairs nearer than ``max_km`` as among those nearer than a half,
    a quarter and so on, because few of all pairs are near.

    Args:
        lon: (point,) degrees.
        lat: (point,) degrees.
        values: (point,) NaN = left out.
        max_km: upper edge of the last band.
        n_bins: bands.
        n_pairs: pairs to look at, in all bands together.
        seed: of the sample.
    """
    there = np.isfinite(values)
    return correlograms(
        lon[there], lat[there], {"": values[there]}, max_km=max_km, n_bins=n_bins, n_pairs=n_pairs, seed=seed
    )[""]


def correlograms(
    lon: Floats,
    lat: Floats,
    values: Mapping[str, Floats],
    *,
    max_km: float,
    n_bins: int = 40,
    n_pairs: int = 4_000_000,
    seed: int = 0,
) -> dict[str, Correlogram]:
    """Return the correlogram of several columns of values, by name, from the same pairs; for the rest as above.

    A pair counts for the columns that have both its values.
    """
    width = max_km / n_bins
    centres: Floats = np.linspace(width / 2, max_km - width / 2, n_bins)
    points = geocentric(lon, lat) / 1000
    i, j, band = _pairs(points, max_km, n_bins, n_pairs, np.random.default_rng(seed))
    group = _groups(points)
    return {name: _morans_i(centres, i, j, band, group, column) for name, column in values.items()}


def recommended_buffer_km(found: Correlogram) -> float | None:
    """Return the distance in km at which values cease to resemble each other; None if they do not within the bands.

    It is the lower edge of the first of three bands in a row in which I is not above what is expected without any
    pattern by more than its standard error allows (one-sided, 1 % per band): the distance at which a correlogram first
    says nothing, its range (Legendre and Legendre 2012, Numerical Ecology, 13.1). Blocks and buffers wider than it are
    what Roberts et al. 2017 (doi:10.1111/ecog.02881) ask for. Of fields that fade as exp(-d / r) it found 2 r to 3 r.

    Farther bands may rise again: two distant hills resemble each other in any one area, and no buffer takes them
    apart. The error is a jackknife's and not a permutation's, which destroys the resemblance at short distances too
    and then calls such chances significant. Distances are those of centres, so a buffer between the edges of chips may
    be shorter by the width of a chip.
    """
    known = np.flatnonzero(np.isfinite(found.morans_i) & np.isfinite(found.error))
    if not len(known):
        return None
    allowed = found.expected + NormalDist().inv_cdf(1 - ALPHA) * found.error[known]
    quiet = found.morans_i[known] <= allowed
    for start in range(len(known) - QUIET_BANDS + 1):
        if quiet[start : start + QUIET_BANDS].all():
            return float(max(0.0, found.distance_km[known[start]] - found.band_km / 2)) if start else 0.0
    return None


def _morans_i(centres: Floats, i: Rows, j: Rows, band: Rows, group: Rows, values: Floats) -> Correlogram:
    n_bins, n_groups = len(centres), 2**GROUPS_LOG2
    there = np.isfinite(values)
    n = int(there.sum())
    z = values - (values[there].mean() if n else 0.0)
    variance = float((z[there] ** 2).mean()) if n else 0.0
    both = there[i] & there[j]
    i, j, band = i[both], j[both], band[both]
    # The pair belongs to the group of its first point, which chance decides.
    place = band * n_groups + group[i]
    counts = np.bincount(place, minlength=n_bins * n_groups).reshape(n_bins, n_groups)
    sums = np.bincount(place, z[i] * z[j], minlength=n_bins * n_groups).reshape(n_bins, n_groups)
    total = counts.sum(axis=1)
    # Rounding of equal values is no variance.
    if n < 2 or variance <= 1e-12 * float((values[there] ** 2).mean()):
        nothing = np.full(n_bins, np.nan)
        return Correlogram(centres, nothing, total, math.nan, nothing)
    with np.errstate(divide="ignore", invalid="ignore"):
        morans_i = sums.sum(axis=1) / total / variance
        without = (sums.sum(axis=1)[:, None] - sums) / (total[:, None] - counts) / variance
    used = counts > 0
    m = used.sum(axis=1)
    mean = np.divide(np.where(used, without, 0).sum(axis=1), m, where=m > 0, out=np.zeros(n_bins))
    spread = np.where(used, (without - mean[:, None]) ** 2, 0).sum(axis=1)
    error = np.where(m > 1, np.sqrt(spread * (m - 1) / np.maximum(m, 1)), np.nan)
    return Correlogram(centres, morans_i, total, -1 / (n - 1), error)


def _pairs(
    points: Floats, max_km: float, n_bins: int, n_pairs: int, rng: np.random.Generator
) -> tuple[Rows, Rows, Rows]:
    """Return pairs (i, j) and the band of each."""
    n = len(points)
    if n * (n - 1) // 2 <= n_pairs:
        i, j = np.triu_indices(n, 1)
        turned = rng.random(len(i)) < 0.5
        i, j = np.where(turned, j, i), np.where(turned, i, j)
        band = _band(points, i, j, max_km, n_bins)
        return i[band < n_bins], j[band < n_bins], band[band < n_bins]
    reaches = [max_km]
    while reaches[-1] / 2 >= max_km / n_bins:
        reaches.append(reaches[-1] / 2)
    found = []
    for reach in reaches:
        i, j = _drawn(points, reach, round(n_pairs * reach / sum(reaches)), rng)
        band = _band(points, i, j, max_km, n_bins)
        # Only bands that lie inside the reach: of the others the far pairs would lack.
        whole = (band + 1) * (max_km / n_bins) <= reach * (1 + 1e-9)
        found.append((i[whole], j[whole], band[whole]))
    i, j, band = (np.concatenate(part) for part in zip(*found, strict=True))
    return i, j, band


def _drawn(points: Floats, reach: float, n: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return ``n`` pairs (i, j), each pair nearer than ``reach`` as likely as any other; farther ones are among them.

    A pair is drawn among all pairs of points in the same or touching cubes as wide as the reach.
    """
    cube = np.floor((points - _EDGE) / reach).astype(np.int64) + 1
    width = int(cube.max()) + 2
    key = (cube[:, 0] * width + cube[:, 1]) * width + cube[:, 2]
    order = np.argsort(key, kind="stable")
    keys, first, counts = np.unique(key[order], return_index=True, return_counts=True)
    shift = (_NEIGHBOURS[:, 0] * width + _NEIGHBOURS[:, 1]) * width + _NEIGHBOURS[:, 2]
    near = np.searchsorted(keys, keys[:, None] + shift)
    near = np.minimum(near, len(keys) - 1)
    n_near = np.where(keys[near] == keys[:, None] + shift, counts[near], 0).cumsum(axis=1)
    chance = (counts * n_near[:, -1]).cumsum()
    pairs = []
    for start in range(0, n, _CHUNK):
        size = min(_CHUNK, n - start)
        home = np.searchsorted(chance, rng.integers(chance[-1], size=size), side="right")
        i = order[first[home] + rng.integers(counts[home])]
        k = rng.integers(n_near[home, -1])
        place = (n_near[home] <= k[:, None]).sum(axis=1)
        before = np.where(place > 0, n_near[home, place - 1], 0)
        j = order[first[near[home, place]] + k - before]
        pairs.append(np.stack([i, j])[:, i != j])
    i, j = np.concatenate(pairs, axis=1)
    return i, j


def _band(points: Floats, i: Rows, j: Rows, max_km: float, n_bins: int) -> Rows:
    """Return the band of each pair, ``n_bins`` for those that are farther."""
    band = np.empty(len(i), np.int64)
    for start in range(0, len(i), _CHUNK):
        part = slice(start, start + _CHUNK)
        chord = np.linalg.norm(points[i[part]] - points[j[part]], axis=1)
        km = 2 * RADIUS_KM * np.arcsin(np.minimum(chord / (2 * RADIUS_KM), 1))
        band[part] = np.minimum(km * (n_bins / max_km), n_bins)
    return band


def _groups(points: Floats) -> Rows:
    """Return (point,) contiguous groups of equal size: halves along the longest axis, halved again, and so on."""
    group = np.zeros(len(points), np.int64)
    for _ in range(GROUPS_LOG2):
        halves = group * 2
        for one in np.unique(group):
            mine = np.flatnonzero(group == one)
            axis = int(np.ptp(points[mine], axis=0).argmax())
            halves[mine[np.argsort(points[mine, axis], kind="stable")[len(mine) // 2 :]]] += 1
        group = halves
    return group

"""Moran's I by distance against the plain double sum, simulated fields of known range, and noise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pyproj import Geod, Transformer

from m3leo_prep.pipeline.leakage.correlogram import Correlogram, correlogram, correlograms, recommended_buffer_km

STEP = 4.48


def lattice(n: int, step: float = STEP) -> tuple[np.ndarray, np.ndarray]:
    """Return lon, lat of n x n points ``step`` km apart around 8 E, 45 N."""
    x, y = np.meshgrid(np.arange(n) * step, np.arange(n) * step)
    plane = Transformer.from_crs("+proj=aeqd +lat_0=45 +lon_0=8 +units=km", 4326, always_xy=True)
    lon, lat = plane.transform(x.ravel() - n * step / 2, y.ravel() - n * step / 2)
    return np.asarray(lon), np.asarray(lat)


def field(n: int, range_km: float, seed: int) -> np.ndarray:
    """Return a Gaussian random field on the lattice with correlation exp(-d / range), by circulant embedding."""
    m = 2 * n
    away = np.minimum(np.arange(m), m - np.arange(m)) * STEP
    power = np.fft.fft2(np.exp(-np.hypot(*np.meshgrid(away, away)) / range_km)).real.clip(0)
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(m, m)) + 1j * rng.normal(size=(m, m))
    return np.fft.fft2(np.sqrt(power / (m * m)) * noise).real[:n, :n].ravel()


def direct(lon, lat, values, edges) -> np.ndarray:
    """Return Moran's I of each band as textbooks write it: n / S0 times a double sum over a double sum."""
    n = len(values)
    i, j = (k.ravel() for k in np.meshgrid(range(n), range(n), indexing="ij"))
    km = (Geod(ellps="WGS84").inv(lon[i], lat[i], lon[j], lat[j])[2] / 1000).reshape(n, n)
    z = values - values.mean()
    found = []
    for low, high in itertools.pairwise(edges):
        w = ((km >= low) & (km < high) & ~np.eye(n, dtype=bool)).astype(float)
        found.append(n / w.sum() * (w * np.outer(z, z)).sum() / (z**2).sum())
    return np.array(found)


def scattered(n: int, seed: int, wide: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lon, lat = 179 + rng.uniform(0, wide, n), rng.uniform(60, 61.5, n)
    return np.where(lon > 180, lon - 360, lon), lat, np.sin(lon * 3) + lat + rng.normal(size=n)


def test_all_pairs_of_a_small_set_give_the_double_sum():
    lon, lat, values = scattered(250, 1)
    found = correlogram(lon, lat, values, max_km=80, n_bins=8)
    np.testing.assert_allclose(found.morans_i, direct(lon, lat, values, np.linspace(0, 80, 9)), atol=1e-3)
    assert found.expected == -1 / 249
    np.testing.assert_allclose(found.distance_km, np.arange(8) * 10 + 5)


def test_sampled_pairs_agree_with_the_double_sum():
    """All bands are drawn without bias, short ones too, though points crowd in one corner."""
    lon, lat, values = scattered(1200, 2)
    lon[:500] = 179 + 0.3 * (lon[:500] % 1)
    found = correlogram(lon, lat, values, max_km=80, n_bins=8, n_pairs=600_000)
    assert found.n_pairs.sum() < 600_000
    np.testing.assert_allclose(found.morans_i, direct(lon, lat, values, np.linspace(0, 80, 9)), atol=0.03)


def test_values_that_are_missing_are_left_out():
    lon, lat, values = scattered(300, 3)
    holes = np.arange(300) % 3 == 0
    with_holes = np.where(holes, np.nan, values)
    expected = direct(lon[~holes], lat[~holes], values[~holes], np.linspace(0, 80, 9))
    np.testing.assert_allclose(correlogram(lon, lat, with_holes, max_km=80, n_bins=8).morans_i, expected, atol=1e-3)
    beside = correlograms(lon, lat, {"a": with_holes, "b": values}, max_km=80, n_bins=8)
    np.testing.assert_allclose(beside["a"].morans_i, expected, atol=1e-3)
    np.testing.assert_allclose(beside["b"].morans_i, direct(lon, lat, values, np.linspace(0, 80, 9)), atol=1e-3)


def test_white_noise_needs_no_buffer():
    lon, lat = lattice(60)
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(size=3600)
        found = correlogram(lon, lat, noise, max_km=100, n_bins=20, n_pairs=1_000_000)
        there = found.n_pairs > 0
        assert np.nanmax(np.abs(found.morans_i[there])) < 0.06
        assert recommended_buffer_km(found) == 0.0


@pytest.mark.parametrize("range_km", [10, 35])
def test_the_range_of_a_simulated_field_is_found(range_km):
    """exp(-d / r) is below 0.05 beyond 3 r, which is called the practical range of an exponential field."""
    lon, lat = lattice(110)
    for seed in range(2):
        found = correlogram(lon, lat, field(110, range_km, seed), max_km=200, n_bins=40, n_pairs=1_500_000)
        near = (found.distance_km > STEP) & (found.distance_km < range_km)
        np.testing.assert_allclose(found.morans_i[near], np.exp(-found.distance_km[near] / range_km), atol=0.2)
        assert 3 * range_km / 2 < recommended_buffer_km(found) < 3 * range_km * 2


def test_the_error_is_that_of_other_areas_like_it():
    """The spread of I over 24 fields is what the jackknife says of each, within a factor of 2.5."""
    lon, lat = lattice(50)
    found = [correlogram(lon, lat, field(50, 8, seed), max_km=60, n_bins=6, n_pairs=200_000) for seed in range(24)]
    spread = np.std([one.morans_i for one in found], axis=0)
    told = np.mean([one.error for one in found], axis=0)
    assert (told > spread / 2.5).all()
    assert (told < spread * 2.5).all()


def test_a_trend_over_the_whole_area_has_no_end():
    lon, lat = lattice(40)
    found = correlogram(lon, lat, lon, max_km=60, n_bins=12)
    assert recommended_buffer_km(found) is None


def test_equal_values_have_no_correlogram():
    lon, lat = lattice(10)
    for value in (0.0, 0.1, np.nan):
        found = correlogram(lon, lat, np.full(100, value), max_km=40, n_bins=4)
        assert np.isnan(found.morans_i).all()
        assert recommended_buffer_km(found) is None
        assert found.document()["morans_i"] == [None] * 4


def test_the_seed_is_all_that_chance_depends_on():
    lon, lat = lattice(60)
    values = field(60, 10, 0)
    one, same, other = (
        correlogram(lon, lat, values, max_km=100, n_bins=20, n_pairs=100_000, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.morans_i, same.morans_i)
    assert not np.array_equal(one.morans_i, other.morans_i)


def test_the_rule_takes_the_first_three_quiet_bands():
    def made(*i: float) -> Correlogram:
        n = len(i)
        return Correlogram(np.arange(n) * 10 + 5.0, np.array(i), np.full(n, 1000), 0.0, np.full(n, 0.01))

    assert recommended_buffer_km(made(0.9, 0.5, 0.0, 0.01, -0.3, 0.0)) == 20
    assert recommended_buffer_km(made(0.9, 0.0, 0.5, 0.0, 0.0, 0.0, 0.5)) == 30
    assert recommended_buffer_km(made(0.9, 0.5, np.nan, 0.0, 0.0, 0.0)) == 30
    assert recommended_buffer_km(made(0.9, 0.5, 0.3, 0.2, 0.0, 0.0)) is None
    assert recommended_buffer_km(made(0.0, 0.0, 0.0, 0.2)) == 0

"""Standard deviations through resampling, against polygons, products of distances and drawn errors."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ops.warp import QUADRATURE, Method, warp

UTM32, UTM33 = "EPSG:32632", "EPSG:32633"
RHO = (0.0, 0.25, 1.0)
Floats = NDArray[np.float64]


def grid(crs: str, x: float, y: float, pitch: float, rows: int, cols: int) -> GeoBox:
    return GeoBox((rows, cols), Affine(pitch, 0, x, 0, -pitch, y), crs)


TARGET = grid(UTM32, 690_000, 6_200_000, 50, 6, 7)


def around(pitch: float) -> GeoBox:
    """Return a grid in the next zone, turned against the target's, that covers it with 80 m and more to spare."""
    west, south, east, north = TARGET.boundingbox
    x, y = Transformer.from_crs(UTM32, UTM33, always_xy=True).transform(
        [west, east, west, east], [south] * 2 + [north] * 2
    )
    left, top = np.floor(min(x) / pitch) - 8, np.ceil(max(y) / pitch) + 8
    return grid(UTM33, left * pitch, top * pitch, pitch, int(np.ptp(y) / pitch) + 18, int(np.ptp(x) / pitch) + 18)


def in_source(src: GeoBox, cols: Floats, rows: Floats) -> tuple[Floats, Floats]:
    x, y = TARGET.affine @ (cols, rows)
    x, y = Transformer.from_crs(UTM32, UTM33, always_xy=True).transform(x, y)
    u, v = ~src.affine @ (x, y)
    return u, v


def overlap(src: GeoBox, row: int, col: int) -> Floats:
    """Return the area that a target pixel covers of each source pixel, by shapely."""
    u, v = in_source(src, np.array([col, col + 1, col + 1, col], float), np.array([row, row, row + 1, row + 1], float))
    cols, rows = np.meshgrid(np.arange(src.shape[1]), np.arange(src.shape[0]))
    found: Floats = shapely.area(
        shapely.intersection(shapely.box(cols, rows, cols + 1, rows + 1), shapely.Polygon(np.stack([u, v], 1)))
    )
    return found


def tents(src: GeoBox, row: int, col: int) -> Floats:
    """Return the bilinear weight of each source pixel: the product of two tents."""
    (u,), (v,) = in_source(src, np.array([col + 0.5]), np.array([row + 0.5]))
    across = np.maximum(0, 1 - np.abs(np.arange(src.shape[1]) + 0.5 - u))
    down = np.maximum(0, 1 - np.abs(np.arange(src.shape[0]) + 0.5 - v))
    return np.asarray(down[:, None] * across)


KERNELS = {Method.quadrature_average: (10.0, overlap), Method.quadrature_bilinear: (90.0, tents)}


@pytest.mark.parametrize("rho", RHO)
@pytest.mark.parametrize("method", KERNELS)
def test_formula_with_independent_weights(method: Method, rho: float) -> None:
    pitch, weigh = KERNELS[method]
    src, rng = around(pitch), np.random.default_rng(1)
    data, valid = rng.gamma(3, 5, (2, *src.shape)), rng.random((2, *src.shape)) > 0.5
    out, ok = warp(data, valid, src, TARGET, method, correlation=rho)
    plain, there = warp(data, valid, src, TARGET, QUADRATURE[method])
    assert np.array_equal(ok, there), "the deviation is there where the quantity is"
    assert 0.3 < ok.mean() < 1
    assert np.isnan(out[~ok]).all()
    for band, row, col in zip(*np.nonzero(ok), strict=True):
        w = weigh(src, row, col) * valid[band]
        w /= w.sum()
        s = data[band]
        expected = np.sqrt((1 - rho) * (w**2 * s**2).sum() + rho * (w * s).sum() ** 2)
        assert out[band, row, col] == pytest.approx(expected, rel=2e-5)
        assert plain[band, row, col] == pytest.approx((w * s).sum(), rel=2e-5)


@pytest.mark.parametrize("method", KERNELS)
def test_full_correlation_is_the_plain_mean_bit_for_bit(method: Method) -> None:
    src, rng = around(KERNELS[method][0]), np.random.default_rng(2)
    data, valid = rng.gamma(3, 5, (1, *src.shape)).astype(np.float32), rng.random((1, *src.shape)) > 0.1
    out, ok = warp(data, valid, src, TARGET, method, correlation=1)
    plain, there = warp(data, valid, src, TARGET, QUADRATURE[method])
    assert out.tobytes() == plain.tobytes()
    assert np.array_equal(ok, there)


@pytest.mark.parametrize("rho", RHO)
@pytest.mark.parametrize("method", KERNELS)
def test_drawn_errors_spread_as_told(method: Method, rho: float) -> None:
    """Errors with that correlation, drawn 4000 times and resampled as the quantity is, have that standard deviation."""
    src, rng = around(KERNELS[method][0]), np.random.default_rng(3)
    s = rng.uniform(1, 9, src.shape)
    draws = 4000
    error = s * (
        np.sqrt(1 - rho) * rng.standard_normal((draws, *src.shape)) + np.sqrt(rho) * rng.standard_normal((draws, 1, 1))
    )
    seen, _ = warp(error, np.ones(error.shape, bool), src, TARGET, QUADRATURE[method])
    told, ok = warp(s[None], np.ones((1, *src.shape), bool), src, TARGET, method, correlation=rho)
    assert ok.all()
    assert np.abs(seen.std(axis=0) / told[0] - 1).max() < 5 / np.sqrt(2 * draws)


def test_four_pixels_by_hand() -> None:
    """Four pixels of 20 m become one of 40 m: independent errors halve, equal ones stay."""
    src, dst = grid(UTM32, 0, 40, 20, 2, 2), grid(UTM32, 0, 40, 40, 1, 1)
    data, valid = np.full((1, 2, 2), 8, np.uint8), np.ones((1, 2, 2), bool)

    def made(rho: float, *, holes: int = 0) -> float:
        there = valid.copy()
        there.ravel()[:holes] = False
        return float(warp(data, there, src, dst, Method.quadrature_average, correlation=rho)[0][0, 0, 0])

    assert made(0) == 4
    assert made(1) == 8
    assert made(0.5) == pytest.approx(np.sqrt(0.5 * 16 + 0.5 * 64))
    assert made(0, holes=1) == pytest.approx(8 / np.sqrt(3)), "three errors average out less than four"
    assert made(0, holes=2) == pytest.approx(8 / np.sqrt(2))
    assert np.isnan(made(0, holes=3))


def test_a_negative_deviation_is_missing_and_zero_is_not() -> None:
    src, dst = grid(UTM32, 0, 40, 20, 2, 2), grid(UTM32, 0, 40, 40, 1, 1)
    data, valid = np.array([[[-9999.0, 6.0], [6.0, 0.0]]]), np.ones((1, 2, 2), bool)
    out, ok = warp(data, valid, src, dst, Method.quadrature_average, correlation=0)
    assert ok.all()
    assert out[0, 0, 0] == pytest.approx(np.sqrt(36 + 36) / 3)


def test_huge_deviations_do_not_overflow() -> None:
    src, dst = grid(UTM32, 0, 40, 20, 2, 2), grid(UTM32, 0, 40, 40, 1, 1)
    data = np.full((1, 2, 2), 3e38, np.float32)
    out, _ = warp(data, np.ones_like(data, bool), src, dst, Method.quadrature_average, correlation=0)
    assert out[0, 0, 0] == pytest.approx(1.5e38)


@pytest.mark.parametrize("rho", [-0.1, 1.1, float("nan")])
def test_impossible_correlations_are_refused(rho: float) -> None:
    data = np.ones((1, *TARGET.shape))
    with pytest.raises(ConfigError, match="not in 0"):
        warp(data, data > 0, TARGET, TARGET, Method.quadrature_average, correlation=rho)


def test_quadrature_and_only_quadrature_takes_a_correlation() -> None:
    data = np.ones((1, *TARGET.shape))
    with pytest.raises(ConfigError, match="correlation given: False"):
        warp(data, data > 0, TARGET, TARGET, Method.quadrature_bilinear)
    with pytest.raises(ConfigError, match="correlation given: True"):
        warp(data, data > 0, TARGET, TARGET, Method.bilinear, correlation=0.5)

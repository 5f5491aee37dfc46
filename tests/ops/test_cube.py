"""Interpolation between the nodes of a coarse grid against closed forms and scipy's."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.ops.cube import Cube, Plane

HEIGHTS = np.array([-1500.0, 0.0, 3000.0, 9000.0])
LATS = 34.9 - 0.1 * np.arange(12)
LONS = -119.3 + 0.1 * np.arange(15)


def cube(values: NDArray[np.float64] | None = None, seed: int = 0) -> Cube:
    shape = (len(HEIGHTS), len(LATS), len(LONS))
    made = np.random.default_rng(seed).normal(size=shape) if values is None else np.broadcast_to(values, shape)
    return Cube(made, HEIGHTS, LATS, LONS)


def points(n: int, seed: int = 0) -> tuple[NDArray[np.float64], ...]:
    rng = np.random.default_rng(seed)
    axes = (HEIGHTS, LATS, LONS)
    return tuple(rng.uniform(axis.min(), axis.max(), n) for axis in axes)


def test_a_function_that_is_linear_in_each_direction_is_exact() -> None:
    def truth(h: NDArray[np.float64], lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
        return 30 + 2 * lon + lat + 0.5e-3 * h + 1e-4 * h * (lat - 34) - 0.3 * (lat - 34) * (lon + 119)

    nodes = np.meshgrid(HEIGHTS, LATS, LONS, indexing="ij")
    h, lat, lon = points(5000)
    assert np.abs(cube(truth(*nodes)).at(h, lat, lon) - truth(h, lat, lon)).max() < 1e-10


@given(st.integers(0, 2**31))
def test_it_is_what_scipy_gives(seed: int) -> None:
    made, (h, lat, lon) = cube(seed=seed), points(300, seed)
    other = RegularGridInterpolator((HEIGHTS, LATS[::-1], LONS), made.values[:, ::-1])
    assert np.allclose(made.at(h, lat, lon), other(np.stack([h, lat, lon], axis=-1)), rtol=0, atol=1e-11)
    plane = Plane(made.values[1], LATS, LONS)
    other = RegularGridInterpolator((LATS[::-1], LONS), made.values[1, ::-1])
    assert np.allclose(plane.at(lat, lon), other(np.stack([lat, lon], axis=-1)), rtol=0, atol=1e-11)


@given(st.integers(0, 2**31))
def test_bits_do_not_depend_on_how_the_points_are_cut_or_the_axes_run(seed: int) -> None:
    made, (h, lat, lon) = cube(seed=seed), [p.reshape(30, 40) for p in points(1200, seed)]
    whole = made.at(h, lat, lon)
    cut = [made.at(h[a : a + 7, b : b + 9], lat[a : a + 7, b : b + 9], lon[a : a + 7, b : b + 9]) for a, b in CUTS]
    for (a, b), part in zip(CUTS, cut, strict=True):
        assert part.tobytes() == whole[a : a + 7, b : b + 9].tobytes()
    for up, north, east in product((1, -1), repeat=3):
        turned = Cube(made.values[::up, ::north, ::east], HEIGHTS[::up], LATS[::north], LONS[::east])
        assert turned.at(h, lat, lon).tobytes() == whole.tobytes()


CUTS = tuple(product(range(0, 30, 7), range(0, 40, 9)))


@pytest.mark.parametrize("value", [0.1, -7.3, 1e-9, 123456.789])
def test_a_constant_is_exact(value: float) -> None:
    h, lat, lon = points(2000)
    assert (cube(np.float64(value)).at(h, lat, lon) == value).all()
    assert (Plane(np.full((len(LATS), len(LONS)), value), LATS, LONS).at(lat, lon) == value).all()


def test_a_node_is_its_value_even_beside_nodes_without_one() -> None:
    values = cube().values.copy()
    values[1, 4, 5] = np.nan
    made = Cube(values, HEIGHTS, LATS, LONS)
    at = made.at(*np.meshgrid(HEIGHTS, LATS, LONS, indexing="ij"))
    assert np.array_equal(at, values, equal_nan=True)
    assert np.isnan(made.at(np.array([100.0]), LATS[4:5], LONS[5:6]))
    assert np.isnan(made.at(np.array([100.0]), LATS[4:5] + 0.01, LONS[5:6] - 0.01))
    assert np.isfinite(made.at(np.array([100.0]), LATS[3:4], LONS[5:6])), "on the row above, the gap has no share"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nothing_is_extrapolated(axis: int) -> None:
    edges = [np.array([-1500.0, 9000.0]), LATS[[-1, 0]], LONS[[0, -1]]]
    middle = [np.full(2, (edge[0] + edge[1]) / 2) for edge in edges]
    inside = [*middle[:axis], edges[axis], *middle[axis + 1 :]]
    assert np.isfinite(cube().at(*inside)).all(), "the outermost nodes are inside"
    step = np.array([-1e-6, 1e-6])
    outside = [*middle[:axis], edges[axis] + step, *middle[axis + 1 :]]
    assert np.isnan(cube().at(*outside)).all()
    if axis:
        assert np.isnan(Plane(cube().values[0], LATS, LONS).at(*outside[1:])).all()
    unknown = [*middle[:axis], np.full(2, np.nan), *middle[axis + 1 :]]
    assert np.isnan(cube().at(*unknown)).all()


def test_parts_are_alike() -> None:
    made = Cube(np.stack([cube(seed=n).values for n in range(3)]), HEIGHTS, LATS, LONS)
    h, lat, lon = (p.reshape(10, 20) for p in points(200))
    at = made.at(h.astype(np.float32), lat, lon)
    assert at.shape == (3, 10, 20)
    assert at.dtype == np.float64
    for n in range(3):
        assert at[n].tobytes() == cube(seed=n).at(h.astype(np.float32), lat, lon).tobytes()


@pytest.mark.parametrize(
    "axis",
    [np.array([0.0]), np.array([0.0, 1.0, 1.0]), np.array([0.0, 2.0, 1.0]), np.array([0.0, np.nan, 1.0])],
)
def test_axes_that_place_nothing_are_damage(axis: NDArray[np.float64]) -> None:
    with pytest.raises(CorruptError):
        Plane(np.zeros((len(axis), 2)), axis, np.array([0.0, 1.0]))
    with pytest.raises(CorruptError):
        Cube(np.zeros((2, 2, 3)), np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([0.0, 1.0]))

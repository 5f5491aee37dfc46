"""Tiles of one raster give what the whole raster gives: no seam, whatever the kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.raster import Item, Raster
from m3leo_prep.ops.join import join
from m3leo_prep.ops.warp import Method, warp

WORLD = box(-180, -90, 180, 90)
GRID = Affine(10, 0, 500_003, 0, -10, 6_200_007)


def raster(data: np.ndarray, row: int = 0, col: int = 0, name: str = "whole", crs: str = "EPSG:32632") -> Raster:
    geobox = GeoBox(data.shape[1:], GRID @ Affine.translation(col, row), crs)
    return Raster(data, np.isfinite(data), geobox, Item(name, WORLD), "v")


@pytest.fixture
def whole() -> np.ndarray:
    rng = np.random.default_rng(1)
    data = rng.gamma(4, 1, (2, 60, 70)).astype(np.float32)
    data[:, 10:14, 30:33] = np.nan
    return data


@given(row=st.integers(1, 59), col=st.integers(1, 69), overlap=st.integers(0, 6))
def test_four_tiles_are_the_whole(row: int, col: int, overlap: int) -> None:
    data = np.random.default_rng(2).gamma(4, 1, (2, 60, 70)).astype(np.float32)
    data[:, 20:22, 20:30] = np.nan
    far_row, far_col = min(60, row + overlap), min(70, col + overlap)
    tiles = [
        raster(data[:, :far_row, :far_col], 0, 0, "a"),
        raster(data[:, :far_row, col:], 0, col, "b"),
        raster(data[:, row:, :far_col], row, 0, "c"),
        raster(data[:, row:, col:], row, col, "d"),
    ]
    (made,) = join(tiles)
    assert made.raster.geobox == raster(data).geobox
    assert np.array_equal(np.where(made.raster.valid, made.raster.data, np.nan), data, equal_nan=True)
    assert [tile.item.id for tile in made.tiles] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("method", [Method.bilinear, Method.bspline, Method.average, Method.sum, Method.cubic])
def test_a_warp_of_joined_tiles_shows_no_seam(whole: np.ndarray, method: Method) -> None:
    """The same bits as the whole; tile by tile, the seam shows."""
    pitch = 20 if method in {Method.average, Method.sum} else 10
    target = GeoBox((14, 16), Affine(pitch, 0, 500_240, 0, -pitch, 6_199_860), "EPSG:32632")
    tiles = [raster(whole[:, :, :33], name="a"), raster(whole[:, :, 33:], 0, 33, "b")]
    reference = raster(whole)
    expected, valid = warp(reference.data, reference.valid, reference.geobox, target, method)
    (made,) = join(tiles)
    values, ok = warp(made.raster.data, made.raster.valid, made.raster.geobox, target, method)
    assert np.array_equal(ok, valid)
    assert np.array_equal(values[ok], expected[valid])
    alone = [warp(tile.data, tile.valid, tile.geobox, target, method) for tile in tiles]
    first_wins = np.where(alone[0][1], alone[0][0], alone[1][0])
    assert not np.array_equal(first_wins[ok], expected[valid])


def test_the_first_valid_value_wins(whole: np.ndarray) -> None:
    other = raster(np.full_like(whole, 99), name="b")
    made = join([raster(whole), other])[0].raster
    assert (made.data[:, 10:14, 30:33] == 99).all()
    kept = np.isfinite(whole)
    assert np.array_equal(made.data[kept], whole[kept])


def test_observed_but_masked_pixels_stay_so(whole: np.ndarray) -> None:
    cloud = np.zeros(whole.shape[1:], bool)
    cloud[:5] = True
    tiles = [replace(raster(whole[:, :, :30]), masked=cloud[:, :30]), raster(whole[:, :, 30:], 0, 30)]
    made = join(tiles)[0].raster
    assert made.masked is not None
    assert made.masked[:, :5, :30].all()
    assert not made.masked[:, :, 30:].any()


@pytest.mark.parametrize("difference", ["crs", "phase", "dtype", "components", "flipped"])
def test_rasters_on_other_pixels_are_left_alone(whole: np.ndarray, difference: str) -> None:
    one, other = raster(whole, name="a"), raster(whole, name="b")
    match difference:
        case "crs":
            other = raster(whole, name="b", crs="EPSG:32633")
        case "phase":
            other = replace(other, geobox=other.geobox.translate_pix(0.25, 0))
        case "dtype":
            other = replace(other, data=whole.astype(np.float64))
        case "components":
            other = replace(other, components=np.ones(whole.shape[1:], np.int32))
        case "flipped":
            affine = Affine(10, 0, 500_003, 0, 10, 6_199_407)
            other = replace(other, geobox=GeoBox(whole.shape[1:], affine, "EPSG:32632"))
    assert [len(made.tiles) for made in join([one, other])] == [1, 1]


def test_the_order_follows_from_the_grids_alone(whole: np.ndarray) -> None:
    a, b = raster(whole, name="a"), raster(whole, name="b", crs="EPSG:32633")
    assert [m.raster.item.id for m in join([a, b])] == [m.raster.item.id for m in join([b, a])]
    shifted = raster(whole[:, 5:, 9:], 5, 9, "a")  # another window of the same grid
    assert [m.raster.item.id for m in join([b, shifted])] == ["a", "b"]

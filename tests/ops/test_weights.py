"""Weights asked of the kernels: what is known of them in closed form, at edges, and where there are too many."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from m3leo_prep.ops.warp import Method, warp
from m3leo_prep.ops.weights import linear_form, position, weights

CRS = "EPSG:32632"


def grid(pitch: float, size: int, x: float = 600_000.0, y: float = 6_300_000.0) -> GeoBox:
    return GeoBox((size, size), Affine(pitch, 0, x, 0, -pitch, y), CRS)


def test_bilinear_weights_are_products_of_distances() -> None:
    src, pixel = grid(10, 20), grid(10, 1, 600_102.5, 6_300_000 - 107.5)
    assert position(src, pixel) == pytest.approx((10.75, 11.25))
    found = weights(np.ones((20, 20), bool), src, pixel, Method.bilinear)
    assert found is not None
    assert [*zip(found.rows.tolist(), found.cols.tolist(), strict=True)] == [(10, 10), (10, 11), (11, 10), (11, 11)]
    assert found.used == pytest.approx([0.75 * 0.25, 0.25 * 0.25, 0.75 * 0.75, 0.25 * 0.75])


def test_a_missing_neighbour_hands_its_weight_to_the_others() -> None:
    src, pixel = grid(10, 20), grid(10, 1, 600_102.5, 6_300_000 - 107.5)
    valid = np.ones((20, 20), bool)
    valid[10, 11] = False
    found = weights(valid, src, pixel, Method.bilinear)
    assert found is not None
    assert found.used == pytest.approx(np.array([0.1875, 0, 0.5625, 0.1875]) / 0.9375)
    assert found.whole.sum() == pytest.approx(1)
    valid[11, 10] = False
    alone = weights(valid, src, pixel, Method.bilinear)
    assert alone is not None
    assert (alone.used == 0).all(), "less than half of the weight is left"


def test_beyond_the_edge_there_is_nothing_to_weigh() -> None:
    src, pixel = grid(10, 20), grid(10, 1, 600_000 - 2.5, 6_300_000 - 100)
    found = weights(np.ones((20, 20), bool), src, pixel, Method.bilinear)
    assert found is not None
    assert found.cols.tolist() == [-1, 0]
    assert found.used == pytest.approx([0, 1])


def test_shares_of_the_area_and_amounts() -> None:
    src, pixel = grid(10, 20), grid(20, 1, 600_105, 6_300_000 - 100)
    area = weights(np.ones((20, 20), bool), src, pixel, Method.mode)
    assert area is not None
    assert area.used == pytest.approx([0.125, 0.25, 0.125, 0.125, 0.25, 0.125])
    amount = weights(np.ones((20, 20), bool), src, pixel, Method.sum)
    assert amount is not None
    assert amount.used == pytest.approx([0.5, 1, 0.5, 0.5, 1, 0.5])


def test_directions_are_interpolated_or_averaged_as_warp_does() -> None:
    fine, same = grid(10, 20), grid(20, 1)
    assert linear_form(Method.angle, fine, same) is Method.average
    assert linear_form(Method.complex, same, fine) is Method.bilinear


@pytest.mark.parametrize("method", [Method.cubic, Method.bspline, Method.average, Method.nearest])
def test_weights_times_values_are_what_warp_gives(method: Method) -> None:
    rng = np.random.default_rng(7)
    src, pixel = grid(10, 40), grid(27, 1, 600_151.3, 6_300_000 - 177.7)
    data, valid = rng.normal(size=(1, 40, 40)), rng.random((1, 40, 40)) > 0.1
    found = weights(valid[0], src, pixel, method, dtype=data.dtype)
    value, ok = warp(data, valid, src, pixel, method)
    assert found is not None
    if ok[0, 0, 0]:
        assert (found.used * data[0, found.rows, found.cols]).sum() == pytest.approx(value[0, 0, 0], rel=1e-9)


def test_too_many_are_not_listed() -> None:
    src, pixel = grid(10, 200), grid(800, 1, 600_300, 6_300_000 - 300)
    assert weights(np.ones((200, 200), bool), src, pixel, Method.average) is None

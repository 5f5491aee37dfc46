"""Composites through the pipeline: no pixel depends on how work is cut; coarse pixels are means of fine ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyproj import Transformer

from m3leo_prep.core.grid import Grid
from m3leo_prep.core.layer import Layer
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.derive import derive
from m3leo_prep.pipeline.resolve import resolve_layer
from m3leo_prep.sources.gee import EarthEngine
from tests.sources.gee.scenes import NEIGHBOUR, X0, Y0, ZONE, Shelf, band, pair, window

RECIPE = """
name: windows
grid: {{chip_px: 32, resolution: 10}}
layers:
  s1: {{source: gee, product: s1-grd, bands: [vv], orbits: [ascending], resolution: {pitch}, statistic: {statistic},
       kernel: {kernel}, slots: {{months: 2020}}}}
splits: {{policy: none}}
"""
OF = {"orbit_direction": "ascending", "polarisations": "VV", "ipf": "003.10"}


def layer_of(pitch: int, statistic: str, kernel: str) -> tuple[EarthEngine, Layer]:
    recipe = parse_recipe(RECIPE.format(pitch=pitch, statistic=statistic, kernel=kernel))
    source = EarthEngine("s1-grd", bands=["vv"], orbits=["ascending"], kernel=kernel, statistic=statistic)
    return source, resolve_layer("s1", recipe.layers["s1"], source.describe(), Grid(32, 10), n_chips=9)


def passes() -> list[Any]:
    """Two passes of two slices that end inside the window, one of the neighbour zone beside them."""
    random = np.random.default_rng(7)
    x, y = Transformer.from_crs(ZONE, NEIGHBOUR, always_xy=True).transform(X0, Y0)
    found = []
    for k, corner in enumerate(((X0 - 33.4, Y0 + 51.2), (X0 + 211.7, Y0 + 28.9))):
        for n in range(2):
            place = (corner[0], corner[1] - 400 * n)
            power = random.gamma(4.4, 0.02, (50, 70))
            found.append(pair("COPERNICUS/S1_GRD_FLOAT", f"p{k}s{n}", [band("VV", power, corner=place)],
                              acquisition=f"pass {k}", of=OF))  # fmt: skip
    far = band("VV", random.gamma(4.4, 0.2, (160, 160)), crs=NEIGHBOUR, corner=(x - 300.3, y + 301.1))
    return [*found, pair("COPERNICUS/S1_GRD_FLOAT", "far", [far], acquisition="far", of=OF)]


@pytest.mark.parametrize(
    ("pitch", "statistic", "kernel"),
    [(10, "median", "bilinear"), (10, "first", "nearest"), (20, "mean", "bilinear"), (40, "mean", "nearest")],
)
def test_a_chip_alone_is_the_same_as_in_its_window(earth_engine: Any, pitch: int, statistic: str, kernel: str) -> None:
    source, layer = layer_of(pitch, statistic, kernel)
    pairs = passes()
    earth_engine.archive = Shelf([scene for scene, _ in pairs])
    items, slot, size = [item for _, item in pairs], layer.slots[0], layer.size
    box = window(3 * size, 3 * size, pitch=float(pitch))
    whole = derive(source, layer, items, box, slot).looks["backscatter"]
    assert whole is not None
    assert whole.valid.mean() > 0.9
    for down in range(3):
        for right in range(3):
            rows, cols = slice(down * size, (down + 1) * size), slice(right * size, (right + 1) * size)
            alone = derive(source, layer, items, box[rows, cols], slot).looks["backscatter"]
            assert alone is not None
            np.testing.assert_array_equal(alone.valid, whole.valid[:, rows, cols])
            np.testing.assert_array_equal(
                np.where(alone.valid, alone.values, 0), np.where(alone.valid, whole.values[:, rows, cols], 0)
            )


@pytest.mark.parametrize("pitch", [20, 40])
def test_coarse_pixels_are_the_means_of_what_they_cover(earth_engine: Any, pitch: int) -> None:
    source, layer = layer_of(pitch, "mean", "bilinear")
    # A ramp: what is left of the default kernel of power, a wide B-spline, is the mean.
    power = (0.1 + 1e-3 * np.arange(160)[:, None] + 2e-3 * np.arange(160)[None, :]).astype(np.float32)
    one = pair("COPERNICUS/S1_GRD_FLOAT", "p", [band("VV", power, corner=(X0 - 480, Y0 + 480))], of=OF)
    earth_engine.archive = Shelf([one[0]])
    size = layer.size
    box = window(size, size, pitch=float(pitch))
    look = derive(source, layer, [one[1]], box, layer.slots[0]).looks["backscatter"]
    assert look is not None
    k = pitch // 10
    inside = power[48 : 48 + size * k, 48 : 48 + size * k].astype(np.float64)
    np.testing.assert_allclose(look.values[0], inside.reshape(size, k, size, k).mean((1, 3)), rtol=1e-5)
    assert look.valid.all()

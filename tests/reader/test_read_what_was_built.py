"""End to end: a build of pixels that hold their own position, read through every door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import Transformer
from shapely.geometry import box

from m3leo_prep.core.area import Area
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.views import open_dataset
from m3leo_prep.runners.threads import Threads

RECIPE = """
name: ramps
grid: {chip_px: 32, resolution: 10}
layers:
  fine: {source: ramp}
  coarse: {source: ramp, resolution: 20, resampling: average}
splits: {policy: none}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return a dataset of 320-m chips on both sides of a zone's border."""
    area = Area.from_geometry(box(5.992, 50.0, 6.008, 50.006), name="seam")
    out = tmp_path_factory.mktemp("built") / "ramps"
    build(make_plan(parse_recipe(RECIPE), area, base=Path()), out, runner=Threads(1))
    return out


@pytest.mark.parametrize(("layer", "pitch"), [("fine", 10), ("coarse", 20)])
def test_every_pixel_lies_where_it_says(built, layer, pitch):
    dataset = Dataset(built)
    assert set(dataset.chips["epsg"]) == {32631, 32632}
    assert len(dataset) > 10
    tree = open_dataset(built)
    plain = xr.open_zarr(built / "chips.zarr", group=layer, chunks=None)
    for row, about in dataset.chips.iterrows():
        chip = dataset.chip(about["chip_id"], layer)
        assert chip.odc.crs.epsg == about["epsg"]
        size = 320 // pitch
        x = about["x0"] + pitch * (np.arange(size) + 0.5)
        y = about["y0"] - pitch * (np.arange(size) + 0.5)
        np.testing.assert_array_equal(chip.x, x)
        np.testing.assert_array_equal(chip.y, y)
        expected = np.stack(np.meshgrid(x, y)).astype(np.float32)
        np.testing.assert_array_equal(chip, expected)
        np.testing.assert_array_equal(tree[f"{layer}/position"].isel(chip=row), expected)
        np.testing.assert_array_equal(plain["position"].isel(chip=row), expected)
        middle = Transformer.from_crs(int(about["epsg"]), 4326, always_xy=True).transform(x.mean(), y.mean())
        np.testing.assert_allclose(middle, (about["lon"], about["lat"]), atol=1e-9)


def test_tensors_are_those_pixels(built):
    torch = pytest.importorskip("torch")
    from m3leo_prep.reader.learning.chips import ChipDataset

    chips = ChipDataset(built, layers=["fine", "coarse"], bands={"coarse": ["y"]}, missing="drop")
    dataset = Dataset(built)
    assert chips.ids == list(dataset.chips["chip_id"])
    for sample, (x0, y0) in zip(chips, dataset.chips[["x0", "y0"]].to_numpy(), strict=True):
        assert sample["fine_mask"].all()
        assert sample["fine"].dtype == torch.float32
        np.testing.assert_array_equal(sample["fine"][0, 7], x0 + 10 * (np.arange(32) + 0.5))
        np.testing.assert_array_equal(sample["coarse"][0, :, 3], y0 - 20 * (np.arange(16) + 0.5))

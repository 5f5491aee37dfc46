"""Which pixels a chip's own zone holds: as the grid says it, along every kind of seam."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyproj import Transformer

from m3leo_prep.core.grid import Grid
from m3leo_prep.core.grid import owned_mask as owned_by_grid
from m3leo_prep.core.zones import project, zone_of
from m3leo_prep.reader.learning.owned import Places, owned_mask

SEAMS = [
    (32631, 6.0, 50.0),
    (32632, 6.0, 50.0),
    (32632, 12.0, 41.9),
    (32701, -180.0, -17.0),
    (32660, 180.0, 5.0),
    (32630, -6.0, 0.01),
    (32632, 3.0, 60.0),
    (32631, 3.0, 64.0),
    (32632, 6.0, 56.0),
    (32632, 3.0, 64.0),
    (32633, 9.0, 78.0),
    (32635, 33.0, 72.0),
    (32634, 20.0, 72.0),
    (32733, 12.0, -79.9),
    (32633, 15.0, 83.99),
]
"""A zone and a point on its edge: meridians, the ends of UTM, and the parallels of Norway and Svalbard."""


@given(st.sampled_from(SEAMS), st.floats(-1, 1), st.floats(-1, 1))
@example((32632, 6.0, 56.0), 0.0, 0.0)
@example((32632, 3.0, 64.0), 0.0, 0.0)  # a line of pixels leaves the strip on both sides
def test_the_mask_is_the_zone_of_every_pixels_centre(seam, right, up):
    epsg, lon, lat = seam
    size, pitch = 64, 70
    x, y = project(epsg, lon, lat)
    x0, y0 = float(np.round(x - 2240 + right * 2500)), float(np.round(y + 2240 + up * 2500))
    found = owned_mask(Places(*np.array([[epsg], [x0], [y0], [1]])), 0, size, pitch)
    px, py = np.meshgrid(x0 + (np.arange(size) + 0.5) * pitch, y0 - (np.arange(size) + 0.5) * pitch)
    zones = zone_of(*Transformer.from_crs(epsg, 4326, always_xy=True).transform(px, py))
    np.testing.assert_array_equal(found, zones == epsg)


def test_a_seam_is_found_in_every_column():
    """The seam at 6 E in turn left of all pixels, between any two, and right of all."""
    size, pitch, y0 = 16, 10, 5_543_040.0
    x, _ = project(32631, 6.0, 50.0)
    counts = set()
    for shift in range(-2, size + 2):
        x0 = float(np.round(x)) - shift * pitch
        found = owned_mask(Places(*np.array([[32631], [x0], [y0], [1]])), 0, size, pitch)
        px, py = np.meshgrid(x0 + (np.arange(size) + 0.5) * pitch, y0 - (np.arange(size) + 0.5) * pitch)
        lon, _ = Transformer.from_crs(32631, 4326, always_xy=True).transform(px, py)
        np.testing.assert_array_equal(found, lon < 6)
        counts |= set(found.sum(axis=1).tolist())
    assert counts == set(range(size + 1))


torch = pytest.importorskip("torch")

from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.collate import collate  # noqa: E402  it imports torch


def test_chips_of_two_zones_hold_each_place_once(seam):
    table = pd.read_parquet(seam / "chips.parquet")
    ids = list(table["chip_id"])[::-1]
    batch = collate(ChipDataset(seam, layers=["coarse", "s1"], owned_mask=True, ids=ids).__getitems__(range(len(ids))))
    assert batch["owned_mask"].shape == (16, 32, 32)
    assert batch["owned_mask"].dtype == torch.bool
    for mask, row in zip(batch["owned_mask"], batch["row"].tolist(), strict=True):
        about = table.iloc[row]
        col, line = (about["x0"] - 500_000) // 320, about["y0"] // 320 - 1
        np.testing.assert_array_equal(mask, owned_by_grid(Grid(32, 10), int(about["epsg"]), int(col), int(line)))
        assert abs(float(mask.float().mean()) - about["owned_fraction"]) < 0.02
        assert mask.all() or about["zone_shared"]
    assert not batch["owned_mask"].all()
    assert ChipDataset(seam, layers=["coarse"], owned_mask=True)[0]["owned_mask"].shape == (8, 8)

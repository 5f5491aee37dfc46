"""What reading windows takes, against counting the blocks that they touch wherever they lie."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.raster import Item
from m3leo_prep.sources._reading_cost import HEADER_REQUESTS, reading
from m3leo_prep.sources.local.outline import footprint

CHIP = GeoBox((300, 700), Affine(10, 0, 505_000, 0, -10, 5_482_000), "EPSG:32632")
HERE = Item("a", footprint(CHIP), "", properties={"url_red": "x", "url_nir": "y"})
FAR = Item("b", box(20, 10, 21, 11), "", properties={"url_red": "z"})


@pytest.mark.parametrize("pitch", [10, 20])
def test_blocks_are_those_that_windows_touch_on_average(pitch: float) -> None:
    cost = reading([CHIP], [HERE, FAR], ["red", "nir", "swir"], pitch=pitch, block=64, pixel_bytes=2)
    rows, cols = (n * 10 // pitch for n in CHIP.shape)
    offsets = np.arange(64)
    touched = [np.mean((offsets + n - 1) // 64 + 1) for n in (rows, cols)]
    blocks = 2 * touched[0] * touched[1]
    assert cost.requests == pytest.approx(blocks + 2 * HEADER_REQUESTS, abs=0.5)
    assert cost.bytes == pytest.approx(blocks * 64**2 * 2, rel=1e-3)


def test_of_no_window_or_scene_nothing_is_read() -> None:
    assert reading([], [HERE], ["red"], pitch=10).requests == 0
    assert reading([CHIP], [FAR], ["red"], pitch=10).bytes == 0
    assert reading([CHIP], [HERE], ["swir"], pitch=10).requests == 0

"""Sentinel-2 of three catalogues over real servers: JPEG 2000 and copies, the same ground, the offset once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.raster import Raster
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.ports.source import Source
from m3leo_prep.sources.stac import Stac
from m3leo_prep.testing.copernicus.example import BOUNDS

SLOTS = parse_slots({"periods": [["2020-06-01", "2020-07-31"]]})
TARGET = GeoBox((64, 64), Affine(10, 0, 285_000, 0, -10, 5_499_000), "EPSG:32632")


def shown(catalogue: str) -> Mapping[str, tuple[str, Raster]]:
    """Return by data take the baseline and the pixels of one tile."""
    options = {"bands": ["red", "swir1"], "cloud_classes": [8, 9], "dilate": 40}
    source = cast("Source", cast("Any", Stac)(product="s2-l2a", catalogue=catalogue, **options))
    found = {}
    for item in source.find(box(*BOUNDS), SLOTS):
        if item.properties["tile"] == "32UKA":
            (raster,) = source.read([item], TARGET, SLOTS[0])
            assert isinstance(raster, Raster)
            found[item.acquisition] = str(item.properties["processing_baseline"]), raster
    return found


def test_all_catalogues_show_the_same(copernicus_example: Any) -> None:
    made, as_made, taken_away = (shown(name) for name in ("cdse", "planetary-computer", "earth-search"))
    assert [baseline for baseline, _ in made.values()] == ["02.14", "04.00", "05.09", "05.00"]
    clear = 0
    for take, (baseline, raster) in made.items():
        assert raster.masked is not None
        clear += int(raster.valid.sum())
        for other, lost in ((as_made[take], 0.0), (taken_away[take], 1e-4)):
            assert other[0] == baseline
            assert np.array_equal(other[1].valid, raster.valid)
            # Where the offset was taken away, what was below 0 went with it.
            expected = np.maximum(raster.data, lost) if lost else raster.data
            assert np.allclose(other[1].data[raster.valid], expected[raster.valid], rtol=0, atol=1e-6)
    assert 0.3 < clear / (4 * made[take][1].valid.size) < 0.95

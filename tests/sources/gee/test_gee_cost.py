"""Requests, bytes and compute time of Earth Engine: predicted as they are then asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import shapely
from odc.geo.geobox import GeoBox

from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.abilities import bare
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.costing.budget import Budget
from m3leo_prep.pipeline.costing.projection import LayerCost, costs
from m3leo_prep.pipeline.costing.reads import layer_reads
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.unit import WORK_BYTES
from m3leo_prep.runners.threads import Threads
from m3leo_prep.sources.gee import EarthEngine, cost
from m3leo_prep.sources.gee.profiles import eecu_seconds
from m3leo_prep.sources.gee.reading import requests
from tests.sources.gee.scenes import SLOT, ZONE, band, pair, window

HERE = (9.300, 57.100, 9.324, 57.108)
NPY_HEADER = 128
"""Bytes before the pixels of an answer; longer with many bands."""
COMPOSITES = """
name: composites
grid: {chip_px: 32, resolution: 10}
layers:
  s1: {source: gee, product: s1-grd, slots: {periods: [[2020-06-01, 2020-06-14], [2020-07-01, 2020-07-14]]}}
  s2: {source: gee, product: s2-l2a, slots: {periods: [[2020-06-01, 2020-06-20]]}, bands: [red, nir], cloud: scl}
  cover: {source: gee, product: worldcover, year: 2020}
splits: {policy: none}
"""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Four chips a shard, and requests so small that windows are cut into pieces."""
    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (4,))
    monkeypatch.setattr(requests, "MAX_BYTES", 20_000)
    cost._sizes.cache_clear()
    yield
    cost._sizes.cache_clear()


def planned(text: str) -> Plan:
    area = Area.from_geometry(shapely.box(*HERE), name="here")
    return make_plan(parse_recipe(dedent(text)), area, base=Path.cwd())


def by_layer(rows: tuple[LayerCost, ...]) -> dict[str, LayerCost]:
    return {row.layer: row for row in rows}


def test_composites_are_asked_for_as_predicted(earth_engine: Any, tmp_path: Path) -> None:
    made = planned(COMPOSITES)
    for name in ("s1", "s2"):
        predicted = by_layer(costs(made, layers=[name], work_bytes=WORK_BYTES))[name].cost
        before = len(earth_engine.asked("computePixels"))
        build(made, tmp_path / "d", runner=Threads(1), layers=[name])
        asked = earth_engine.asked("computePixels")[before:]
        sent = sum(request.sent for request in asked)
        assert predicted.requests == len(asked) > 3, name
        assert 0 <= sent - predicted.bytes <= 3 * NPY_HEADER * len(asked), name
        assert predicted.units == {}
        assert predicted.allowances["eecu_hours"]["Community"] == 150
        assert any("assumed" in note for note in predicted.notes)


def test_a_map_in_degrees_is_predicted_nearly(
    earth_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pixels are 1/12000 of a degree, 7 % smaller than the 10 m that its table says."""
    monkeypatch.setattr(requests, "MAX_BYTES", 48 * 2**20)
    made = planned(COMPOSITES)
    predicted = by_layer(costs(made, layers=["cover"], work_bytes=WORK_BYTES))["cover"].cost
    build(made, tmp_path / "d", runner=Threads(1), layers=["cover"])
    asked = earth_engine.asked("computePixels")
    assert predicted.requests == len(asked) > 3
    sent = sum(request.sent for request in asked)
    assert 0.75 * sent < predicted.bytes < sent


def test_only_the_directions_that_there_are_are_counted() -> None:
    power = [band("VV", np.ones((8, 8))), band("VH", np.ones((8, 8)))]
    one = {"polarisations": "VV VH", "ipf": "003.10"}
    _, up = pair("COPERNICUS/S1_GRD_FLOAT", "a", power, of={**one, "orbit_direction": "ascending"})
    _, down = pair("COPERNICUS/S1_GRD_FLOAT", "b", power, of={**one, "orbit_direction": "descending"})
    source = EarthEngine("s1-grd")

    def n_bytes(*items: Any) -> int:
        return source.estimate([window(16, 16)], [SLOT], items).bytes

    assert n_bytes(up) == n_bytes(down) == n_bytes(up, down) / 2 == 16 * 16 * 2 * 4
    assert source.estimate([window(16, 16)], [SLOT], []).requests == 0


def test_time_is_that_of_40_requests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_BYTES", 48 * 2**20)
    cost._sizes.cache_clear()
    of = {"polarisations": "VV VH", "ipf": "003.10", "orbit_direction": "ascending"}
    _, up = pair("COPERNICUS/S1_GRD_FLOAT", "a", [band("VV", np.ones((8, 8)))], of=of)
    asked = EarthEngine("s1-grd").estimate([window(1000, 1000)] * 100, [SLOT], [up])
    assert asked.requests == 100
    assert asked.bytes == 100 * 8_000_000
    # 100 requests, 40 at once, of 4 s each; or 10 s for each 10 MB, of which each has 8.
    assert asked.seconds == pytest.approx((100 * 4 / 40, 100 * 8 / 40))


def test_images_in_their_own_pixels_are_predicted_nearly(earth_engine: Any, tmp_path: Path) -> None:
    text = """
    name: native
    grid: {chip_px: 32, resolution: 10}
    layers:
      s2: {source: gee, product: s2-l2a, slots: {periods: [[2020-06-01, 2020-06-20]]}, bands: [red, nir],
           composite: local, cloud: none}
    splits: {policy: none}
    """
    made = planned(text)
    predicted = by_layer(costs(made, work_bytes=WORK_BYTES))["s2"].cost
    build(made, tmp_path / "d", runner=Threads(1))
    asked = earth_engine.asked("computePixels")
    assert predicted.requests == len(asked) > 3
    assert predicted.bytes == pytest.approx(sum(request.sent for request in asked), rel=0.06)


def test_measuring_images_in_their_own_pixels(earth_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more requests were predicted than it took, what it was charged is known all the same."""
    earth_engine.eecu_rate = 3600e6
    made = planned(COMPOSITES)
    source = bare(made.layer("cover").source)
    assert isinstance(source, EarthEngine)
    tasks = [(unit, None) for unit in made.units(frozenset({"cover"}))]
    read = layer_reads(made, "cover", tasks, None, WORK_BYTES)[0]
    predicted = source.estimate([read.geobox], [read.slot], read.items).requests
    monkeypatch.setattr(requests, "MAX_BYTES", 48 * 2**20)
    monkeypatch.setattr(cost, "_sizes", lru_cache(lambda *_: (1,) * (predicted + 1)))
    taken = source.measure(read.items, read.geobox, read.slot)
    assert taken.requests == 1 < predicted + 1
    assert taken.units["eecu_hours"] > 0


def test_measuring_counts_the_profiles_of_all_threads(earth_engine: Any) -> None:
    """Several pieces are sent from the pool's threads; the profile of each is counted."""
    earth_engine.eecu_rate = 3600e6  # one EECU hour a pixel and image
    made = planned(COMPOSITES)
    layer = made.layer("cover")
    source = bare(layer.source)
    assert isinstance(source, EarthEngine)
    tasks = [(unit, None) for unit in made.units(frozenset({"cover"}))]
    read = max(layer_reads(made, "cover", tasks, None, WORK_BYTES), key=lambda one: one.pixels)
    taken = source.measure(read.items, read.geobox, read.slot)
    asked = earth_engine.asked("computePixels")
    assert taken.requests == len(asked) > 1
    assert all("x-earth-engine-computation-profiling" in request.headers for request in asked)
    work = sum(request.work for request in asked)
    assert taken.units["eecu_hours"] == pytest.approx(work, rel=0.01)
    assert work >= read.pixels
    assert taken.seconds[0] > 0
    # Nothing is watched any more afterwards.
    list(source.read(read.items, read.geobox, read.slot))
    assert "x-earth-engine-computation-profiling" not in earth_engine.asked("computePixels")[-1].headers


def test_a_build_is_kept_to_a_budget_of_eecu_hours(earth_engine: Any, tmp_path: Path) -> None:
    earth_engine.eecu_rate = 3600e6
    made = planned(COMPOSITES)
    with pytest.raises(ConfigError, match=r"eecu-hours are needed \(s1 .*s2 .*cover .*measuring"):
        build(made, tmp_path / "d", runner=Threads(1), budget=Budget({"eecu-hours": 100}))
    earth_engine.eecu_rate = 1e-6
    build(made, tmp_path / "d", runner=Threads(1), layers=["cover"], budget=Budget({"eecu-hours": 100}))


def test_a_profile_is_added_up() -> None:
    table = " EECU·s PeakMem Count  Description\n  0.267     59k     6  Algorithm\n 12        1.0M    86  (plumbing)\n"
    assert eecu_seconds(table) == pytest.approx(12.267)
    assert eecu_seconds(" EECU·s PeakMem Count  Description\n") is None
    assert eecu_seconds("") is None


def test_predicting_makes_no_request(earth_engine: Any) -> None:
    made = planned(COMPOSITES)
    before = len(earth_engine.requests)
    costs(made, work_bytes=WORK_BYTES)
    assert len(earth_engine.requests) == before


def test_a_window_on_the_antimeridian_lies_on_both_sides() -> None:
    from affine import Affine

    box = GeoBox((100, 100), Affine(1000, 0, 600_000, 0, -1000, 7_050_000), "EPSG:32660")
    ground = cost._on_ground(box)
    west, _, east, _ = ground.bounds
    assert (west, east) == (-180.0, 180.0)
    assert ground.area < 10
    assert cost._on_ground(window(10, 10, crs=ZONE)).area < 1

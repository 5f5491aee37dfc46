"""A dataset that has every part: labels, splits, units, statistics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely

from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.runners.threads import Threads

WHOLE = """
name: whole
description: Every part <b>there</b> & safe.
grid: {chip_px: 32, resolution: 10}
admin: {path: units.geojson, id: id, name: block}
splits: {policy: random, seed: 1}
layers:
  position: {source: ramp}
  landcover: {role: label, source: synthetic, product: landcover}
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12], [2020-07-07, 2020-07-12]]}}
"""
WEST, MIDDLE, EAST, SOUTH, NORTH = 9.300, 9.318, 9.324, 57.100, 57.108


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty chips or so; whoever changes them copies them first."""
    folder = tmp_path_factory.mktemp("report")
    units = {"wide": shapely.box(WEST, SOUTH, MIDDLE, NORTH), "narrow": shapely.box(MIDDLE, SOUTH, EAST, NORTH)}
    features = [
        {"type": "Feature", "properties": {"id": name}, "geometry": json.loads(shapely.to_geojson(shape))}
        for name, shape in units.items()
    ]
    (folder / "units.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    where = Area.from_geometry(shapely.box(WEST, SOUTH, EAST, NORTH), name="here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(make_plan(parse_recipe(WHOLE), where, base=folder), folder / "whole", runner=Threads(2))
    return folder / "whole"

"""Two tiny datasets of 32-px chips: one without splits, one with splits, units, missing passes and clouds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from textwrap import dedent

import pytest
import shapely

from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.publish.description.describe import describe
from m3leo_prep.runners.threads import Threads

PLAIN = """
name: plain
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
  landcover: {role: label, source: synthetic, product: landcover}
"""
RICH = """
name: rich
description: A small piece of an invented Earth.
grid: {chip_px: 32, resolution: 10}
layers:
  dem: {source: synthetic, product: relief, resolution: 40, terrain: [slope]}
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12], [2020-07-07, 2020-07-12]]}}
  s2: {source: synthetic, product: s2, slots: {periods: [[2020-06-01, 2020-06-02]]}}
  landcover: {role: label, source: synthetic, product: landcover}
splits: {policy: random}
admin: {path: units.geojson, id: code, name: commune, licence: CC-BY-4.0, citation: A map of nowhere}
"""
SMALL = (9.300, 57.100, 9.312, 57.104)
LARGE = (9.300, 57.100, 9.324, 57.108)
TARGET = "hf://datasets/someone/rich"


def build_at(folder: Path, recipe: str, bounds: tuple[float, float, float, float]) -> Path:
    """Build a dataset of this recipe, four chips a shard."""
    area = Area.from_geometry(shapely.box(*bounds), name="here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(make_plan(parse_recipe(dedent(recipe)), area, base=folder.parent), folder, runner=Threads(2))
    return folder


@pytest.fixture(scope="session")
def plain_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset without splits, slots and units, not described; whoever changes it copies it first."""
    return build_at(tmp_path_factory.mktemp("plain") / "plain", PLAIN, SMALL)


@pytest.fixture(scope="session")
def rich_described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a described dataset with splits, slots, units and missing passes; whoever changes it copies it first."""
    folder = tmp_path_factory.mktemp("rich")
    west, south, east, north = LARGE
    middle = (west + east) / 2
    boxes = {"A": shapely.box(west, south, middle, north), "B": shapely.box(middle, south, east, north)}
    features = [
        {"type": "Feature", "properties": {"code": code}, "geometry": shapely.geometry.mapping(shape)}
        for code, shape in boxes.items()
    ]
    (folder / "units.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    made = build_at(folder / "rich", RICH, LARGE)
    describe(made, target=TARGET, licence="cc-by-4.0")
    return made


@pytest.fixture(scope="session")
def plain_described(plain_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the plain dataset, described for ``me/plain``; whoever changes it copies it first."""
    made = Path(shutil.copytree(plain_built, tmp_path_factory.mktemp("described") / "plain"))
    describe(made, target="hf://datasets/me/plain")
    return made


@pytest.fixture
def plain(plain_built: Path, tmp_path: Path) -> Path:
    """Return a copy of the plain dataset, to change."""
    return Path(shutil.copytree(plain_built, tmp_path / "plain"))

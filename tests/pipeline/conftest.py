"""Small datasets that build in a moment: 32-px chips of the ramp and of the synthetic Earth, four chips a shard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import shapely

from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.plan import Plan, Unit
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.follow.watch import Watch
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.runners.threads import Threads
from m3leo_prep.store.ledger import Record

MINI = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
  degrees: {source: ramp, crs: "EPSG:4326", pitch: 0.00031, resampling: bilinear, resolution: 20}
  landcover: {role: label, source: synthetic, product: landcover}
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12], [2020-07-07, 2020-07-12]]}}
"""
"""Static and timed, float, integer and class layers, two lattices."""

SMALL = (9.300, 57.100, 9.312, 57.104)
LARGE = (9.300, 57.100, 9.324, 57.108)
"""Contains SMALL."""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four chips a shard, so that a few chips make several units."""
    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (4,))


def area(bounds: tuple[float, float, float, float] = SMALL, name: str = "here") -> Area:
    return Area.from_geometry(shapely.box(*bounds), name=name)


def plan(recipe: str = MINI, where: Area | None = None, base: Path | None = None, previous: Plan | None = None) -> Plan:
    return make_plan(parse_recipe(dedent(recipe)), where or area(), base=base or Path.cwd(), previous=previous)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dataset to look at; whoever changes it copies it first."""
    path = tmp_path_factory.mktemp("built") / "mini"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(plan(), path, runner=Threads(2))
    return path


class Done(Watch):
    """Calls a function with every unit that is done and its new record."""

    def __init__(self, call: Callable[[Unit, Record | None], object]) -> None:
        self.done = call


def tree(path: Path) -> dict[str, bytes]:
    """Return every published file: all but the build state."""
    files = (p for p in sorted(path.rglob("*")) if p.is_file())
    return {str(p.relative_to(path)): p.read_bytes() for p in files if ".m3leo" not in p.parts}


@pytest.fixture
def write_source(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes ``my_source.py`` and returns its folder."""

    def write(body: str) -> Path:
        (tmp_path / "my_source.py").write_text(dedent(body))
        return tmp_path

    return write

"""Plans of 320-m chips with splits: an area of some kilometres holds thousands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.plan import make_plan

RECIPE = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp, resolution: 320}
"""
HERE = (11.86, 57.10, 12.06, 57.18)
"""Across the seam of two zones, at 12 E."""
FOURFOLD = (11.66, 57.02, 12.06, 57.18)
"""Contains HERE, to the east and north, four times as large."""

MakePlan = Callable[..., Plan]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chips a shard: here chips are small, and many."""
    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (1024, 256))


@pytest.fixture
def planned() -> MakePlan:
    """Return a function that plans ``splits:`` over a box."""

    def make(
        splits: str,
        box: tuple[float, float, float, float] = HERE,
        *,
        recipe: str = RECIPE,
        base: Path | None = None,
        said: list[str] | None = None,
        **given: Any,
    ) -> Plan:
        area = Area.from_geometry(shapely.box(*box), name="here")
        text = f"{recipe}\n{splits}" if splits else recipe
        told = said if said is not None else []
        return make_plan(parse_recipe(text), area, base=base or Path.cwd(), say=told.append, **given)

    return make


def tree(path: Path) -> dict[str, bytes]:
    """Return every published file: all but the build state."""
    files = (p for p in sorted(path.rglob("*")) if p.is_file())
    return {str(p.relative_to(path)): p.read_bytes() for p in files if ".m3leo" not in p.parts}


def by_id(plan: Plan) -> dict[str, int]:
    assert plan.split is not None
    return dict(zip(plan.cells.ids(), plan.split.tolist(), strict=True))


def n_of(plan: Plan, split: int) -> int:
    codes: NDArray[np.uint8] | None = plan.split
    assert codes is not None
    return int((codes == split).sum())

"""The Python names: thin, lazy, and saying what they return."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely

import m3leo_prep as mp
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.recipe import parse_recipe

BOX = "9.300,57.100,9.312,57.104"
SMALL = """\
name: small
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
"""


def test_a_plan_knows_what_it_takes() -> None:
    plan = mp.plan(aoi=BOX, recipe=SMALL)
    estimate = plan.estimate()
    assert estimate.chips == len(plan.cells) == 12
    assert estimate.raw_bytes == 12 * 2 * 32 * 32 * 4
    assert [row.layer for row in estimate.layers] == ["position"]


def test_a_recipe_may_be_text_a_file_a_name_or_itself(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    plans = [mp.plan(BOX, given) for given in (SMALL, str(path), parse_recipe(SMALL))]
    assert {plan.recipe.name for plan in plans} == {"small"}
    assert len({str(plan.layers[0].settings()) for plan in plans}) == 1
    assert plans[1].layers[0].source.base == str(tmp_path)
    assert mp.plan("demo", "demo").recipe.name == "demo"


def test_an_area_may_be_itself() -> None:
    area = mp.Area.from_geometry(shapely.box(9.3, 57.1, 9.312, 57.104), name="mine")
    assert mp.plan(area, SMALL).cells.ids() == mp.plan(BOX, SMALL).cells.ids()


def test_without_a_recipe_the_shipped_ones_are_listed() -> None:
    with pytest.raises(ConfigError, match=r"no recipe given[\s\S]*demo"):
        mp.plan(BOX)


def test_building_returns_the_dataset(tmp_path: Path) -> None:
    plan = mp.plan(BOX, SMALL)
    dataset = mp.build(plan, out=tmp_path / "d", workers=2)
    assert isinstance(dataset, mp.Dataset)
    assert len(dataset.chips) == 12
    tree = mp.open_dataset(tmp_path / "d")
    east = tree["position"]["position"].values[:, 0]
    assert np.array_equal(np.unique(east) % 10, [5] * len(np.unique(east)))
    assert mp.verify(tmp_path / "d").ok
    before = {p: p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file() and ".m3leo" not in p.parts}
    mp.build(mp.plan(BOX, SMALL, out=tmp_path / "d"), out=str(tmp_path / "d"))
    after = {p: p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file() and ".m3leo" not in p.parts}
    assert after == before


def test_some_layers_now_and_the_rest_later(tmp_path: Path) -> None:
    plan = mp.plan(BOX, SMALL + "  more: {source: ramp, pitch: 20}\n")
    assert set(mp.build(plan, tmp_path / "d", layers=["more"]).layers) == {"more"}
    assert set(mp.build(plan, tmp_path / "d").layers) == {"position", "more"}
    with pytest.raises(ConfigError, match="did you mean 'more'"):
        mp.build(plan, tmp_path / "d", layers=["mroe"])


def test_the_plan_of_a_dataset_is_continued(tmp_path: Path) -> None:
    mp.build(mp.plan(BOX, SMALL), tmp_path / "d")
    grown = mp.plan("9.300,57.100,9.318,57.104", SMALL, out=tmp_path / "d")
    assert grown.cells.ids()[:12] == mp.plan(BOX, SMALL).cells.ids()
    assert len(grown.cells) > 12


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'm3leo_prep' has no attribute 'biuld'"):
        mp.biuld  # noqa: B018
    assert not hasattr(mp, "_nothing")
    with pytest.raises(ImportError):
        from m3leo_prep import nothing  # type: ignore[attr-defined]  # noqa: F401


def test_every_name_is_listed_and_there() -> None:
    listed = dir(mp)
    assert listed == sorted(listed)
    assert len(listed) == len(set(listed))
    for name in mp.__all__:
        assert name in listed
        assert getattr(mp, name).__doc__


def test_listing_names_imports_none_of_them() -> None:
    code = "import sys, m3leo_prep as mp; dir(mp); print(*(m for m in sys.modules if m.startswith('m3leo_prep.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

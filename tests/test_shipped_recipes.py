"""Each recipe for a paper, and M3LEO itself, planned and built on the synthetic Earth with all that it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import m3leo_prep as mp
from m3leo_prep.core.recipe import GridModel, Recipe, SplitsModel
from m3leo_prep.core.sample import Sample
from m3leo_prep.core.splits.policy import LEARNED
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.recipes import load_recipe
from m3leo_prep.pipeline.verify import verify

from .asif import on_the_synthetic_earth

PAPERS = ("dino-s1grd", "mae-s1", "clip-3modal", "generalisation-gssic")
FIRST = {"periods": [["2020-06-01", "2020-06-30"]]}
NONE = SplitsModel(policy="none")
ONE_CHIP = "6.10,49.60,6.12,49.61"


def small(recipe: Recipe) -> Recipe:
    """The same cells with fewer pixels, no splits, and one month in place of those of a year, or of its seasons."""
    layers = {
        name: model.model_copy(update={"slots": FIRST})
        if isinstance(model.slots, dict) and model.slots.keys() & {"months", "seasons"}
        else model
        for name, model in recipe.layers.items()
    }
    grid = GridModel(chip_px=56, resolution=80)
    return recipe.model_copy(update={"layers": layers, "grid": grid, "splits": NONE})


@pytest.mark.parametrize("name", [*PAPERS, "m3leo", "m3leo-open", "m3leo-faithful"])
def test_it_builds_and_verifies_on_the_synthetic_earth(name: str, tmp_path: Path) -> None:
    recipe, sources = on_the_synthetic_earth(small(load_recipe(name)[0]), tmp_path)
    plan = make_plan(recipe, load_area(ONE_CHIP), base=tmp_path, sources=sources)
    dataset = mp.build(plan, tmp_path / "out")
    assert verify(dataset.path, quick=True).ok
    tree = mp.open_dataset(dataset.path)
    for layer in recipe.layers:
        for variable in sources[f"asif_{layer}"].info.variables:
            pixels = tree[layer][variable.name].to_numpy()
            assert np.isfinite(pixels.astype(float)).any(), f"{layer}.{variable.name} is empty"


@pytest.mark.parametrize("name", [*PAPERS, "m3leo"])
def test_its_splits_can_be_drawn_over_a_country(name: str, tmp_path: Path) -> None:
    recipe, sources = on_the_synthetic_earth(load_recipe(name)[0], tmp_path)
    plan = make_plan(recipe, load_area("benelux"), base=tmp_path, sources=sources, sample=Sample(400))
    assert set(LEARNED) <= set(plan.split.tolist())


def test_masked_autoencoders_get_twelve_channels(tmp_path: Path) -> None:
    full = load_recipe("mae-s1")[0]
    recipe, sources = on_the_synthetic_earth(
        full.model_copy(update={"grid": small(full).grid, "splits": NONE}), tmp_path
    )
    plan = make_plan(recipe, load_area(ONE_CHIP), base=tmp_path, sources=sources)
    path = mp.build(plan, tmp_path / "out", layers=["s1"]).path
    sample = mp.ChipDataset(path, layers=["s1.backscatter", "s1.ratio"])[0]
    assert sum(sample[key].shape[0] * sample[key].shape[1] for key in ("s1.backscatter", "s1.ratio")) == 12


def test_label_proportions_come_by_commune(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import geopandas as gpd

    monkeypatch.chdir(tmp_path)
    cantons = gpd.read_file(shared_data / "vector" / "luxembourg_cantons.geojson")
    cantons["code"] = [f"LU{k:02}" for k in range(len(cantons))]
    area = (6.05, 49.55, 6.20, 49.75)
    cantons.clip(area).to_file("communes.geojson")
    recipe, sources = on_the_synthetic_earth(load_recipe("llp-benelux")[0], tmp_path)
    plan = make_plan(recipe, load_area(",".join(map(str, area))), base=tmp_path, sources=sources, sample=Sample(12))
    dataset = mp.build(plan, tmp_path / "out")
    shares = [name for name in dataset.chips.columns if name.startswith("prop_worldcover")]
    assert sorted(shares) == [
        f"prop_worldcover_{name}" for name in ("built_up", "cropland", "low_vegetation", "other", "tree_cover")
    ]
    assert np.allclose(dataset.chips[shares].sum(axis=1), 1, atol=1e-5)
    units = pd.read_parquet(dataset.path / "units.parquet")
    assert np.allclose(units[shares].dropna().sum(axis=1), 1, atol=1e-5)


def test_every_source_that_a_layer_lists_can_be_chosen(tmp_path: Path) -> None:
    for name in (*PAPERS, "m3leo", "llp-benelux"):
        recipe = load_recipe(name)[0]
        for layer, model in recipe.layers.items():
            for source in model.alternatives:
                made, sources = on_the_synthetic_earth(recipe.with_source(layer, source), tmp_path)
                assert sources[f"asif_{layer}"].describe().variables, f"{name}: {layer} from {source}"
                assert made.layers[layer].slots == model.slots


def test_the_open_recipe_asks_only_sources_without_a_login() -> None:
    recipe = load_recipe("m3leo-open")[0]
    assert {model.source for model in recipe.layers.values()} <= {"stac", "asf", "tiles"}
    assert {model.options["product"] for model in recipe.layers.values() if model.source == "asf"} == {"gssic"}
    assert all(model.options.get("catalogue") in {None, "earth-search"} for model in recipe.layers.values())

"""Bags: every chip of a split in one of them, each of one unit, and proportions that are those of the unit."""

from __future__ import annotations

import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.recipe import SplitsModel, parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.splitting.rewrite import add_policy
from m3leo_prep.reader.learning.bags import Bags
from m3leo_prep.reader.learning.chips import ChipDataset
from m3leo_prep.runners.threads import Threads

torch_data = pytest.importorskip("torch.utils.data")

RECIPE = """
name: bags
grid: {chip_px: 32, resolution: 10}
admin: {path: units.geojson, id: id, name: commune}
proportions: {groups: {landcover: {green: [10, 20, 30, 40, 90], rest: [50, 60, 80]}}}
layers: {landcover: {role: label, source: synthetic, product: landcover, resolution: 40}}
"""
UNITS = {
    "north": shapely.box(9.300, 57.108, 9.330, 57.116),
    "south": shapely.box(9.300, 57.100, 9.318, 57.108),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("bags")
    features = [
        {"type": "Feature", "properties": {"id": name}, "geometry": shapely.geometry.mapping(shape)}
        for name, shape in UNITS.items()
    ]
    (base / "units.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    area = Area.from_geometry(shapely.box(9.300, 57.100, 9.330, 57.116), name="here")
    build(make_plan(parse_recipe(RECIPE), area, base=base), base / "out", runner=Threads(2))
    return base / "out"


@pytest.fixture(scope="module")
def chips(folder: Path) -> ChipDataset:
    return ChipDataset(folder, layers=["landcover"])


def bags(chips: ChipDataset, **change: object) -> Bags:
    return Bags(chips, **({"layer": "landcover", "unit": "commune"} | change))  # type: ignore[arg-type]  # of a test


def test_each_chip_of_a_unit_is_in_exactly_one_bag(chips: ChipDataset, folder: Path) -> None:
    made = bags(chips)
    table = pd.read_parquet(folder / "chips.parquet")
    units = pd.read_parquet(folder / "units.parquet").set_index("unit")
    assert [bag.unit for bag in made.bags] == ["north", "south"]
    assert made.classes == ("green", "rest")
    for number, bag in enumerate(made.bags):
        assert made.bag(number) is bag
        assert (table.admin_commune[bag.indices] == bag.unit).all()
        assert bag.proportions.dtype == np.float32
        assert bag.proportions.sum() == pytest.approx(1, abs=1e-6)
        assert bag.proportions.tolist() == units.loc[bag.unit, ["prop_landcover_green", "prop_landcover_rest"]].tolist()
        assert bag.coverage == units.coverage[bag.unit]
    every = np.concatenate([bag.indices for bag in made.bags])
    assert sorted(every) == np.flatnonzero(table.admin_commune.notna()).tolist()
    assert made.left_out == table.admin_commune.isna().sum() > 0


def test_targets_may_be_what_the_built_chips_contain(chips: ChipDataset, folder: Path) -> None:
    units = pd.read_parquet(folder / "units.parquet")
    built = bags(chips, target="built")
    columns = ["prop_built_landcover_green", "prop_built_landcover_rest"]
    np.testing.assert_array_equal([bag.proportions for bag in built.bags], units[columns].to_numpy())
    assert not np.array_equal(built.bag(0).proportions, bags(chips).bag(0).proportions)


def test_batches_are_of_one_unit_and_cover_every_bag(chips: ChipDataset) -> None:
    made = bags(chips, max_size=7)
    owner = {index: bag.unit for bag in made.bags for index in bag.indices.tolist()}
    batches = list(made)
    assert len(batches) == len(made) > len(made.bags)
    assert sorted(index for batch in batches for index in batch) == sorted(owner)
    for batch in batches:
        assert 1 <= len(batch) <= 7
        assert len({owner[index] for index in batch}) == 1
    sizes = [len(batch) for batch in batches if owner[batch[0]] == "south"]
    assert max(sizes) - min(sizes) <= 1, "dealt out evenly, no crumb at the end"


def test_epochs_differ_and_repeat(chips: ChipDataset) -> None:
    one, other = bags(chips, seed=3, max_size=5), bags(chips, seed=3, max_size=5)
    first, second = list(one), list(one)
    assert first == list(other) != second
    assert sorted(chain(*second)) == sorted(chain(*first))
    other.set_epoch(0)
    assert list(other) == first
    assert list(other) == second
    assert list(bags(chips, seed=4, max_size=5)) != first


def test_a_loader_takes_them(chips: ChipDataset) -> None:
    made = bags(chips, max_size=6)
    seen = [chip for batch in torch_data.DataLoader(chips, batch_sampler=made) for chip in batch["chip_id"]]
    assert len(seen) == len(set(seen)) == len(chips) - made.left_out


def test_bags_do_not_cross_splits_or_datasets(folder: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "chips.parquet")
    splits = pa.array([("train", "test")[row % 2] for row in range(len(table))])
    split_up = tmp_path / "split"
    split_up.mkdir()
    for file in folder.iterdir():
        (split_up / file.name).symlink_to(file)
    (split_up / "chips.parquet").unlink()
    pq.write_table(table.set_column(table.column_names.index("split"), "split", splits), split_up / "chips.parquet")
    made = bags(ChipDataset(split_up, layers=["landcover"]))
    assert [(bag.unit, bag.split) for bag in made.bags] == [
        ("north", "test"), ("north", "train"), ("south", "test"), ("south", "train"),
    ]  # fmt: skip
    train = ChipDataset(split_up, layers=["landcover"], split="train")
    alone = bags(train)
    assert {bag.split for bag in alone.bags} == {"train"}
    assert sorted(chain(*alone)) == sorted(set(range(len(train))) - _outside(train, folder))
    both = ChipDataset([folder, split_up], layers=["landcover"])
    two = bags(both)
    first = len(both.parts[0][1])
    assert all(len({index < first for index in bag.indices.tolist()}) == 1 for bag in two.bags)
    assert len(two.bags) == 6


def _outside(chips: ChipDataset, folder: Path) -> set[int]:
    owner = pd.read_parquet(folder / "chips.parquet").admin_commune
    return {index for index, row in enumerate(chips.parts[0][1].tolist()) if pd.isna(owner[row])}


def test_what_is_not_there_is_refused(chips: ChipDataset, folder: Path, tmp_path: Path) -> None:
    for change, message in (
        ({"unit": "unit"}, "no units named 'unit'(?s:.*)commune"),
        ({"layer": "landcovr"}, "no proportions of 'landcovr'(?s:.*)landcover"),
        ({"max_size": 0}, "at least 1"),
        ({"target": "all"}, "'own' or 'built'"),
    ):
        with pytest.raises(ConfigError, match=message):
            bags(chips, **change)
    plain = tmp_path / "plain"
    plain.mkdir()
    for file in folder.iterdir():
        (plain / file.name).symlink_to(file)
    manifest = json.loads((folder / "manifest.json").read_text()) | {"admin": None}
    (plain / "manifest.json").unlink()
    (plain / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="no administrative units"):
        bags(ChipDataset(plain, layers=["landcover"]))


def test_bags_keep_to_the_split_column_of_their_chips(folder: Path, tmp_path: Path) -> None:
    """The policy of the recipe is another, here none."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    add_policy(copy, SplitsModel(policy="random"), name="mine", base=tmp_path)
    mixed = ChipDataset(copy, layers=["landcover"], split_column="split_mine")
    told = pd.read_parquet(copy / "chips.parquet")["split_mine"].to_numpy()
    found = bags(mixed).bags
    assert {bag.split for bag in found} == {"train", "val", "test"}
    for bag in found:
        assert set(told[bag.indices]) == {bag.split}


def test_proportions_that_units_lack_are_refused_with_the_reason(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    units = pd.read_parquet(copy / "units.parquet")
    units.drop(columns=[name for name in units if name.startswith("prop_landcover")]).to_parquet(copy / "units.parquet")
    told = json.loads((copy / "manifest.json").read_text())
    told["proportions"]["not_of_units"] = {"landcover": "it is computed"}
    (copy / "manifest.json").write_text(json.dumps(told))
    chips = ChipDataset(copy, layers=["landcover"])
    with pytest.raises(ConfigError, match="units have no proportions of 'landcover': it is computed"):
        bags(chips)
    assert len(bags(chips, target="built")) > 0

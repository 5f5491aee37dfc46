"""Datasets with splits: columns and manifest, policies added later, growth, tampering, and reading one split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.recipe import AdminModel, SplitsModel, parse_recipe
from m3leo_prep.pipeline.build import build, close
from m3leo_prep.pipeline.manifest import rewrite
from m3leo_prep.pipeline.parts import Part
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.recipes import load_recipe
from m3leo_prep.pipeline.splitting import rewrite as rewrite_module
from m3leo_prep.pipeline.splitting.columns import strata_of
from m3leo_prep.pipeline.splitting.rewrite import Added, add_policy
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.reader.learning.chips import ChipDataset
from m3leo_prep.runners.threads import Threads
from m3leo_prep.store.lock import BuildLock
from m3leo_prep.store.tables import read_table, write_table

from .conftest import RECIPE, MakePlan, tree

BOX = (11.86, 57.10, 12.06, 57.15)
LABELS = RECIPE + "  landcover: {role: label, source: synthetic, product: landcover, resolution: 160}\n"
BLOCKS = "splits: {block_km: 3, buffer_km: 0.5, seed: 3, stratify: landcover}"
WEST = {"policy": "region", "buffer_km": 0.5, "regions": {"test": "11.8,57,11.92,58"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("splits") / "data"
    area = Area.from_geometry(shapely.box(*BOX), name="here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (1024, 256))
        build(make_plan(parse_recipe(LABELS + BLOCKS), area, base=Path.cwd()), path, runner=Threads(2))
    return path


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(made, tmp_path / "data"))


def chips(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    table = pq.read_table(path / "chips.parquet")
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    return found


def add(path: Path, policy: dict[str, Any], name: str = "", **given: Any) -> Added:
    return add_policy(path, SplitsModel.model_validate(policy), name=name, base=Path.cwd(), **given)


def test_columns_are_those_of_the_plan_and_the_manifest_tells_them(made: Path, planned: MakePlan) -> None:
    table, told = chips(made), manifest(made)["splits"]["split"]
    plan = planned(BLOCKS, BOX, recipe=LABELS)
    assert plan.split is not None
    names = np.array(["train", "val", "test", "buffer"], object)
    assert (table["split"] == names[plan.split]).all()
    values, n = np.unique(table["split"].astype(str), return_counts=True)
    assert told["chips"] == dict(zip(values.tolist(), n.tolist(), strict=True))
    assert told["buffer_loss"] == plan.buffer_loss
    assert (told["policy"]["block_km"], told["policy"]["buffer_km"]) == (3, 0.5)
    assert verify(made).ok


def test_label_ranks_are_stratified_by_the_majority_class(made: Path) -> None:
    table = chips(made)
    train = table["split"] == "train"
    rank = table["label_rank"]
    assert np.isnan(rank[~train]).all()
    assert np.allclose(np.sort(rank[train]) * train.sum(), np.arange(1, train.sum() + 1))
    shares = np.stack([values for name, values in table.items() if name.startswith("prop_landcover_")], axis=1)
    majority = shares.argmax(axis=1)
    tenth = train & (rank <= 0.1)
    assert tenth.sum() == int(0.1 * train.sum())
    for kind in np.unique(majority[train]):
        expected = (majority[train] == kind).sum() * tenth.sum() / train.sum()
        assert abs((majority[tenth] == kind).sum() - expected) <= 1.01


def test_the_recipe_in_the_dataset_splits_alike(data: Path, planned: MakePlan) -> None:
    recipe, _ = load_recipe(str(data / "recipe.yaml"))
    assert (recipe.splits.block_km, recipe.splits.buffer_km) == (3, 0.5)
    auto = planned("splits: {}", (11.6, 57, 12, 57.15))
    assert auto.splits is not None
    told = f"splits: {{block_km: {auto.splits.block_km}, buffer_km: {auto.splits.buffer_km}}}"
    again = planned(told, (11.6, 57, 12, 57.15), previous=auto)
    assert again.splits == auto.splits
    assert not any("change" in text for text in again.warnings)


def test_a_policy_is_added_without_touching_pixels(data: Path) -> None:
    before = tree(data)
    added = add(data, WEST, "west")
    after = tree(data)
    assert added.is_new
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"chips.parquet", "manifest.json", "splits/split_west.parquet"}
    table = chips(data)
    west = table["lon"] < 11.92 - 0.003
    assert (table["split_west"][west] == "test").all()
    assert set(table["split_west"][~west]) <= {"train", "test", "buffer"}
    assert list(manifest(data)["splits"]) == ["split", "split_west"]
    assert pq.read_schema(data / "chips.parquet").metadata[b"geo"] == pq.read_schema(
        data / "chips.parquet"
    ).metadata.get(b"geo")
    import geopandas

    assert geopandas.read_parquet(data / "chips.parquet").crs == "OGC:CRS84"
    assert verify(data).ok


def test_a_name_means_one_policy(data: Path) -> None:
    add(data, WEST, "west")
    before = tree(data)
    assert not add(data, WEST, "west").is_new
    with pytest.raises(ConfigError, match="another policy of the name 'west'"):
        add(data, WEST | {"buffer_km": 1}, "west")
    with pytest.raises(ConfigError, match="no column"):
        add(data, WEST, "West Side")
    assert tree(data) == before


def test_a_run_that_was_stopped_before_the_manifest_is_made_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rewrite_module, "rewrite", stopped)
        with pytest.raises(KeyboardInterrupt):
            add(data, {"policy": "random"}, "x")
    assert not verify(data, quick=True).ok
    add(data, {"policy": "random"}, "x")
    names = pq.read_schema(data / "chips.parquet").names
    assert names.count("split_x") == names.count("label_rank_x") == 1
    assert verify(data, quick=True).ok


def test_normalizing_goes_by_the_policy_that_is_read(data: Path) -> None:
    add(data, WEST, "west")
    with pytest.raises(ConfigError, match=r"no statistics of 'position' by the policy 'west'[\s\S]*--policy west"):
        ChipDataset(data, layers=["position"], split="train", split_column="split_west", normalize=True)


def test_the_budget_that_a_message_proposes_holds_a_chip(data: Path) -> None:
    table = pq.read_table(data / "chips.parquet")
    for n in (3, 7, 12):  # 1/3, 1/7 and 1/12 are no short decimals
        rank = [place / n for place in range(1, n + 1)] + [np.nan] * (len(table) - n)
        splits = ["train"] * n + ["test"] * (len(table) - n)
        changed = table.set_column(table.column_names.index("split"), "split", pa.array(splits))
        where = table.column_names.index("label_rank")
        changed = changed.set_column(where, "label_rank", pa.array(np.nextafter(np.float32(rank), np.float32(0))))
        write_table(LocalBlobs(data), "chips.parquet", changed)
        with pytest.raises(ConfigError) as caught:
            ChipDataset(data, layers=["position"], split="train", label_budget=0.01)
        proposed = float(str(caught.value.hint).split()[3])
        assert len(ChipDataset(data, layers=["position"], split="train", label_budget=proposed)) == 1


def test_a_budget_needs_splits(data: Path) -> None:
    told = manifest(data)
    rewrite(LocalBlobs(data), told, splits={})
    with pytest.raises(ConfigError, match=r"'split' assigns no chip[\s\S]*--policy blocks"):
        ChipDataset(data, layers=["position"], split="train", label_budget=0.5)


def test_a_dataset_without_its_build_state_takes_a_policy_too(data: Path) -> None:
    other = data.with_name("other")
    shutil.copytree(data, other)
    shutil.rmtree(other / ".m3leo")
    for policy in ({"policy": "bands", "block_km": 3, "angle": 20.0}, {"policy": "random", "stratify": "landcover"}):
        add(data, policy)
        add(other, policy)
    assert tree(other) == tree(data)
    assert verify(other).ok


def test_the_label_pixel_counts_for_a_policy_added_later(data: Path) -> None:
    added = add(data, {"policy": "bands", "block_km": 3})
    assert added.column.policy.buffer_km == pytest.approx(0.32 * np.sqrt(2) + 0.16, abs=0.001)


def test_nothing_is_added_while_somebody_builds(data: Path) -> None:
    with BuildLock(data / ".m3leo"), pytest.raises(StoreError, match="another build writes"):
        add(data, {"policy": "random"})
    with pytest.raises(StoreError, match="no finished dataset"):
        add(data / "nothing", {"policy": "random"})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"policy": "none"}, "adds nothing"),
        ({"policy": "admin"}, "needs administrative units"),
        ({"policy": "random", "stratify": "position"}, "no label proportions of 'position'"),
        ({"policy": "random", "shares": {"train": 0.5}}, "sum to 0.5"),
        ({"policy": "blocks"}, "too small for blocks"),
    ],
)
def test_a_policy_that_cannot_be_added_leaves_all_as_it_was(data: Path, policy: dict[str, Any], message: str) -> None:
    before = tree(data)
    with pytest.raises(ConfigError, match=message):
        add(data, policy)
    assert tree(data) == before


def test_growth_keeps_added_policies_and_gives_them_to_new_chips(data: Path, planned: MakePlan, tmp_path: Path) -> None:
    units = tmp_path / "units.geojson"
    units.write_text(json.dumps(_units()))
    admin = AdminModel(path=str(units), id="code")
    listing = tmp_path / "listed.csv"
    ids = chips(data)["chip_id"]
    listing.write_text(
        "chip_id,split\n" + "\n".join(f"{chip},{'val' if n % 2 else 'train'}" for n, chip in enumerate(ids))
    )
    add(data, WEST, "west")
    add(data, {"policy": "admin", "buffer_km": 0.3}, admin=admin)
    add(data, {"policy": "file", "file": str(listing)}, "listed")
    units.unlink()
    listing.unlink()
    before = chips(data)
    larger = (11.80, 57.08, 12.06, 57.15)
    build(planned(BLOCKS, larger, recipe=LABELS), data, runner=Threads(2))
    after = chips(data)
    n = len(ids)
    assert len(after["chip_id"]) > 1.5 * n
    for name in ("split", "split_west", "split_admin"):
        assert (after[name][:n] == before[name]).all(), name
        assert "train" in after[name][n:], name
    # Chips of two zones on one ground yield in the file's split: nothing else of it changes.
    assert (after["split_listed"][:n] == before["split_listed"]).all()
    assert all(value is None for value in after["split_listed"][n:])
    assert list(manifest(data)["splits"]) == ["split", "split_west", "split_admin", "split_listed"]
    assert verify(data, quick=True).ok


def _units() -> dict[str, Any]:
    from shapely.geometry import box, mapping

    west = np.arange(11.78, 12.1, 0.04)
    features = [
        {"type": "Feature", "properties": {"code": f"u{n}"}, "geometry": mapping(box(w, 57, w + 0.04, 58))}
        for n, w in enumerate(west.tolist())
    ]
    return {"type": "FeatureCollection", "features": features}


def test_a_main_policy_that_changes_leaves_the_added_ones(data: Path, planned: MakePlan) -> None:
    add(data, WEST, "west")
    before, pixels = chips(data), tree(data)
    build(planned("splits: {policy: random}", BOX, recipe=LABELS), data, runner=Threads(2))
    after = chips(data)
    assert (after["split_west"] == before["split_west"]).all()
    assert (after["split"] != before["split"]).any()
    assert manifest(data)["splits"]["split"]["policy"]["policy"] == "random"
    now = tree(data)
    shards = [name for name in pixels if "/c/" in name]
    assert shards
    assert all(now[name] == pixels[name] for name in shards)
    assert verify(data).ok


def test_parts_make_the_same_splits(made: Path, planned: MakePlan, tmp_path: Path) -> None:
    path = tmp_path / "parts"
    for number in (1, 2):
        build(planned(BLOCKS, BOX, recipe=LABELS), path, runner=Threads(1), part=Part(number, 2))
    close(path)
    assert (path / "chips.parquet").read_bytes() == (made / "chips.parquet").read_bytes()


def test_a_lean_dataset_is_verified(planned: MakePlan, tmp_path: Path) -> None:
    path = tmp_path / "lean"
    build(planned("splits: {block_km: 3, buffer_km: 0.5, seed: 3}", BOX, skip_buffer=True), path, runner=Threads(2))
    assert "buffer" not in chips(path)["split"]
    assert manifest(path)["skip_buffer"]
    assert verify(path).ok
    # Built again without saying so: it stays lean, and nothing is made.
    result = build(planned("splits: {block_km: 3, buffer_km: 0.5, seed: 3}", BOX), path, runner=Threads(2))
    assert result.built == 0
    assert "buffer" not in chips(path)["split"]


def _tamper(path: Path, edit: Callable[[dict[str, list[Any]]], None], name: str = "split") -> str:
    """Change split columns as a hand with access to the manifest would, and return what verify says."""
    blobs = LocalBlobs(path)
    table = read_table(blobs, "chips.parquet")
    columns = {key: table[key].to_pylist() for key in (name, name.replace("split", "label_rank"))}
    edit(columns)
    for key, values in columns.items():
        place = table.column_names.index(key)
        table = table.set_column(place, key, pa.array(values, table.schema.field(key).type))
    write_table(blobs, "chips.parquet", table)
    told = manifest(path)
    entries = told["splits"]
    kinds = [value or "none" for value in columns[name]]
    entries[name]["chips"] = {kind: kinds.count(kind) for kind in entries[name]["chips"] if kind in kinds}
    rewrite(blobs, told, ["chips.parquet"], splits=entries)
    return " / ".join(what for _, what in verify(path, quick=True).problems)


def test_verify_finds_chips_that_left_their_block(data: Path) -> None:
    def swap(columns: dict[str, list[Any]]) -> None:
        row = columns["split"].index("test")
        columns["split"][row] = "val"

    assert "split: 1 chips differ from the policy: row" in _tamper(data, swap)


def test_verify_finds_ground_in_two_splits(data: Path) -> None:
    """Under a file nothing but the ground tells: chips across the seam lie on each other."""
    listing = data.parent / "listed.csv"
    table = chips(data)
    lines = [
        f"{chip},{'train' if zone == 32632 else 'test'}"
        for chip, zone in zip(table["chip_id"], table["epsg"], strict=True)
    ]
    listing.write_text("chip_id,split\n" + "\n".join(lines))
    add(data, {"policy": "file", "file": str(listing)})
    assert verify(data, quick=True).ok

    def unyield(columns: dict[str, list[Any]]) -> None:
        n = columns["split_file"].count("train") + columns["split_file"].count("buffer")
        columns["split_file"] = ["train" if value == "buffer" else value for value in columns["split_file"]]
        columns["label_rank_file"] = [None if v == "test" else 0.0 for v in columns["split_file"]]
        ranks = iter(np.arange(1, n + 1) / n)
        columns["label_rank_file"] = [
            next(ranks) if value == "train" else float("nan") for value in columns["split_file"]
        ]

    found = _tamper(data, unyield, "split_file")
    assert "pairs of chips of different splits share" in found
    assert "ranks" not in found


def test_verify_finds_an_unknown_split_and_a_wrong_rank(data: Path) -> None:
    def rename(columns: dict[str, list[Any]]) -> None:
        columns["split"][0] = "trian"

    def rerank(columns: dict[str, list[Any]]) -> None:
        row = columns["split"].index("train")
        columns["label_rank"][row] = 0.123

    def leak(columns: dict[str, list[Any]]) -> None:
        row = columns["split"].index("test")
        columns["label_rank"][row] = 0.5

    copies = [Path(shutil.copytree(data, data.with_name(f"copy{n}"))) for n in range(3)]
    assert "unknown split 'trian'" in _tamper(copies[0], rename)
    assert "the ranks of train are not 1/n" in _tamper(copies[1], rerank)
    assert "chips outside train have a rank" in _tamper(copies[2], leak)


def test_verify_finds_columns_and_counts_that_the_manifest_does_not_tell(data: Path) -> None:
    told = manifest(data)
    told["splits"]["split"]["chips"]["train"] += 1
    rewrite(LocalBlobs(data), told, splits=told["splits"])
    assert any("the manifest says" in what for _, what in verify(data, quick=True).problems)
    rewrite(LocalBlobs(data), told, splits={})
    assert any("knows no policy" in what for _, what in verify(data, quick=True).problems)
    rewrite(LocalBlobs(data), told, splits={"split_gone": told["splits"]["split"]})
    assert any("split_gone: there is no such column" in what for _, what in verify(data, quick=True).problems)


def test_regions_that_are_gone_are_missed(data: Path) -> None:
    add(data, WEST, "west")
    (data / "splits/split_west.parquet").unlink()
    assert not verify(data, quick=True).ok


def test_one_split_and_one_budget_are_read(data: Path) -> None:
    add(data, WEST, "west")
    table = chips(data)
    for column in ("split", "split_west"):
        found = ChipDataset(data, layers=["position"], split="test", split_column=column)
        assert found.ids == table["chip_id"][table[column] == "test"].tolist()
    ranks = table["label_rank_west"]
    few, more = (
        ChipDataset(data, layers=["position"], split="train", split_column="split_west", label_budget=share).ids
        for share in (0.05, 0.2)
    )
    assert set(few) < set(more)
    assert few == table["chip_id"][ranks <= 0.05].tolist()
    assert len(few) == int(0.05 * (table["split_west"] == "train").sum())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "train", "split_column": "split_wst"}, "no split column 'split_wst'"),
        ({"split": "test", "label_budget": 0.1}, "goes with|share above 0 and up to 1 of the train"),
        ({"split": "train", "label_budget": 0}, "a label budget of 0"),
        ({"split": "train", "label_budget": 1e-6}, "holds none"),
    ],
)
def test_what_cannot_be_read_says_so(made: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChipDataset(made, layers=["position"], **given)


def test_strata_know_layers_whose_names_begin_alike() -> None:
    columns = {
        "prop_lc_a": np.array([0.7, 0.2, np.nan]),
        "prop_lc_b": np.array([0.3, 0.8, np.nan]),
        "prop_lc_2021_a": np.array([0.0, 1.0, 0.0]),
    }
    found = strata_of("lc", ["lc", "lc_2021"], columns)
    assert found is not None
    assert found.tolist() == [0, 1, -1]
    assert strata_of("s2", ["lc", "s2"], columns) is None


def test_a_damaged_manifest_is_not_taken_for_one_without_splits(data: Path, planned: MakePlan) -> None:
    add(data, WEST, "west")
    path = data / "manifest.json"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"(?s)manifest.json is damaged.*splits that were added later"):
        build(planned(BLOCKS, BOX, recipe=LABELS), data, runner=Threads(2))
    path.unlink()
    build(planned(BLOCKS, BOX, recipe=LABELS), data, runner=Threads(2))
    assert list(manifest(data)["splits"]) == ["split"]
    assert not (data / "splits").is_dir() or not list((data / "splits").iterdir())
    assert verify(data).ok

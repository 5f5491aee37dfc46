"""What the report says of a real small dataset and of foreign chips, against plain recomputations from the tables."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.splits.policy import Split, SplitPolicy, names_of
from m3leo_prep.pipeline.leakage.ground import Ground
from m3leo_prep.pipeline.leakage.histograms import histogram
from m3leo_prep.pipeline.leakage.report import examine, examine_chips
from m3leo_prep.pipeline.leakage.sharing import shared_pixels, shared_scenes
from m3leo_prep.reader.dataset import Dataset

TRAIN, VAL, TEST, BUFFER, NONE = (np.uint8(split) for split in Split)


@pytest.fixture
def labelled(built, tmp_path):
    """A copy of the small dataset with splits, a policy told, and proportions; returns it with its splits."""
    path = tmp_path / "mini"
    shutil.copytree(built, path)
    table = pq.read_table(path / "chips.parquet").drop_columns(
        [n for n in pq.read_schema(path / "chips.parquet").names if n.startswith(("split", "prop_"))]
    )
    n = len(table)
    split = np.full(n, BUFFER)
    order = np.argsort(table["lon"].to_numpy())
    split[order[: n // 3]], split[order[n // 3 + 1 :]], split[order[-1]] = TRAIN, TEST, VAL
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([1, 1, 1], n).astype(np.float32)
    shares[0] = np.nan
    columns = {"split": pa.array(list(names_of(split)), pa.string())}
    columns["split_empty"] = pa.nulls(n, pa.string())
    columns |= {f"prop_landcover_{name}": shares[:, k] for k, name in enumerate(("trees", "water", "built_up"))}
    owned = pa.array(rng.uniform(0.2, 1, n).astype(np.float32))  # as at a seam of zones
    table = table.set_column(table.column_names.index("owned_fraction"), "owned_fraction", owned)
    for name, values in columns.items():
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    pq.write_table(table, path / "chips.parquet")
    manifest = json.loads((path / "manifest.json").read_text())
    policy = SplitPolicy("blocks", {"train": 0.6, "val": 0.2, "test": 0.2}, block_km=1.0, buffer_km=0.3)
    manifest["splits"] = {"split": {"policy": policy.document(), "chips": {"told": "too"}}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return Dataset(path), split


def test_a_dataset_is_examined_from_its_tables(labelled):
    dataset, split = labelled
    found = examine(dataset)
    assert found.counts == {one.name.lower(): int((split == one).sum()) for one in Split}
    assert found.policy.buffer_km == 0.3
    assert found.promise.metres == pytest.approx(300 - 320 / np.sqrt(2), abs=0.5)
    assert found.gaps["val-test"].metres == 0
    assert not found.promise.kept
    assert len(found.overlap.pairs) == 0
    assert set(found.correlograms) == {"prop_landcover_trees", "prop_landcover_water", "prop_landcover_built_up"}
    document = found.document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_class_histograms_are_weighed_by_owned_labelled_ground(labelled):
    dataset, _ = labelled
    (found,) = examine(dataset).histograms
    frame = dataset.chips
    weight = frame["area_km2"] * frame["owned_fraction"] * frame["valid_landcover"]
    assert found.label == "landcover"
    assert found.classes == ("trees", "water", "built_up")
    for one in ("train", "val", "test"):
        mine = (frame["split"] == one) & frame["prop_landcover_trees"].notna()
        for name, share in zip(found.classes, found.shares[one], strict=True):
            expected = np.average(frame.loc[mine, f"prop_landcover_{name}"], weights=weight[mine])
            assert share == pytest.approx(expected, rel=1e-6)
    assert sum(found.shares["test"]) == pytest.approx(1)
    differences = np.abs(np.array(found.shares["test"]) - found.shares["train"])
    assert found.distance["test"] == pytest.approx(differences.sum() / 2)


def test_weights_and_holes_count_in_a_histogram_worked_out_by_hand():
    shares = {"a": np.array([1.0, 0.0, np.nan, 0.5]), "b": np.array([0.0, 1.0, np.nan, 0.5])}
    split = np.array([TRAIN, TRAIN, TRAIN, TEST])
    found = histogram("x", shares, np.array([3.0, 1.0, 9.0, 1.0]), split)
    assert found.shares["train"] == (0.75, 0.25)
    assert found.distance["test"] == 0.25
    assert np.isnan(found.shares["val"]).all()
    assert np.isnan(found.distance["val"])


def test_shared_scenes_are_those_of_the_provenance_tables(labelled):
    dataset, split = labelled
    by_layer = {one.layer: one for one in shared_scenes(dataset, split)}
    assert set(by_layer) == set(dataset.layers)
    split_of = dict(zip(dataset.chips["chip_id"], split, strict=True))
    for layer, found in by_layer.items():
        parts = sorted((dataset.path / "provenance" / layer).glob("*.parquet"))
        rows = pd.concat(pd.read_parquet(part) for part in parts).explode("items").dropna(subset="items")
        rows["split"] = rows["chip_id"].map(split_of)
        train, test = (set(rows.loc[rows["split"] == one, "items"]) for one in (Split.TRAIN, Split.TEST))
        assert (found.scenes, found.shared) == (len(train | test), len(train & test))
        mine = rows[(rows["split"] == Split.TEST) & rows["items"].isin(train)]
        assert found.chips == mine["chip_id"].nunique()
        assert found.share == found.chips / (split == TEST).sum()
    assert by_layer["s1"].shared > 0


def test_no_scene_is_shared_without_train_chips(labelled):
    dataset, split = labelled
    alone = np.where(split == TRAIN, BUFFER, split)
    assert all((one.shared, one.chips) == (0, 0) for one in shared_scenes(dataset, alone))


def test_coarse_pixels_are_shared_within_their_diagonal():
    cells = Grid().cells(shapely.box(9.0, 47.0, 10.2, 47.1))
    column = cells.col - cells.col.min()
    split = np.where(column < 5, TRAIN, np.where(column < 7, BUFFER, TEST)).astype(np.uint8)
    ground = Ground.of(cells.polygons())
    # Test begins two chips, 8.96 km, from train; the next column lies 13.44 km away.
    found = shared_pixels(ground, split, {"fine": 10.0, "modis": 250.0, "era": 6400.0, "gpm": 9600.0}, 10.0)
    first, second = (int((column == k).sum()) for k in (7, 8))
    assert {one.layer: one.chips for one in found} == {"modis": 0, "era": first, "gpm": first + second}
    assert found[1].share == first / (split == TEST).sum()


def test_bad_columns_say_what_there_is(labelled):
    dataset, _ = labelled
    with pytest.raises(ConfigError, match="no splits 'split_x'"):
        examine(dataset, "split_x")
    with pytest.raises(ConfigError, match="assigns no chip"):
        examine(dataset, "split_empty")


def test_a_layer_that_does_not_tell_its_pixel_is_noted(labelled):
    dataset, _ = labelled
    for name, about in dataset.manifest["layers"].items():
        about["native_pitch"] = None if name == "s1" else 1000.0
    found = examine(dataset)
    assert [note.split(":")[0] for note in found.notes] == ["layer s1"]
    assert {one.layer for one in found.pixels} == set(dataset.layers) - {"s1"}
    assert all(one.chips == found.counts["test"] for one in found.pixels)


def test_the_manifest_tells_how_large_the_sources_pixels_are(built):
    layers = Dataset(built).manifest["layers"]
    assert layers["landcover"]["native_pitch"] == 10.0


def test_foreign_chips_are_examined_too():
    cells = Grid().cells(shapely.box(8, 46, 10, 47.5))
    lon, lat = cells.lon_lat()
    split = np.where(lon < 9, TRAIN, TEST).astype(np.uint8)
    values = {"smooth": np.sin(lon * 8) + np.sin(lat * 9), "flat": np.ones(len(lon)), "none": np.full(len(lon), np.nan)}
    found = examine_chips(cells.polygons(), split, values, native={"coarse": 250.0})
    assert found.promise is None
    assert found.gaps["train-test"].metres == 0
    assert found.gaps["train-val"] is None
    assert [one.layer for one in found.pixels] == ["coarse"]
    assert list(found.correlograms) == ["smooth"]
    assert found.recommended_buffer_km == found.recommended["smooth"]
    assert 5 < found.recommended_buffer_km < 60
    assert found.searched_km == pytest.approx(found.correlograms["smooth"].band_km * 40)
    document = found.document()
    assert document["histograms"] == []
    assert json.loads(json.dumps(document, allow_nan=False)) == document

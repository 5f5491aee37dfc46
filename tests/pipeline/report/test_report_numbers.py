"""Every number of a report equals a recomputation from the tables, made here by other means: pandas, plain Python."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr

from m3leo_prep.core.errors import StoreError
from m3leo_prep.core.reasons import Reason
from m3leo_prep.pipeline.report.figures import figures
from m3leo_prep.reader.dataset import Dataset


@pytest.fixture(scope="module")
def made(whole: Path) -> dict[str, Any]:
    """The numbers, as they come out of JSON."""
    return json.loads(json.dumps(figures(Dataset(whole)).document(), allow_nan=False))


@pytest.fixture(scope="module")
def chips(whole: Path) -> pd.DataFrame:
    return pd.read_parquet(whole / "chips.parquet")


def test_the_dataset_as_a_whole(whole: Path, made: dict[str, Any], chips: pd.DataFrame) -> None:
    about = made["overview"]
    shards = pd.read_parquet(whole / "shards.parquet")
    assert about["n_chips"] == len(chips)
    assert about["chips_km2"] == pytest.approx(sum(chips["area_km2"]))
    assert about["bounds"] == pytest.approx(
        [min(chips["lon"]), min(chips["lat"]), max(chips["lon"]), max(chips["lat"])]
    )
    assert about["zones"] == {f"EPSG:{code}": n for code, n in Counter(chips["epsg"]).items()}
    assert (about["shards"], about["shard_bytes"]) == (len(shards), sum(shards["bytes"]))
    assert (about["first"], about["last"]) == ("2020-06-01", "2020-07-13")


def test_how_much_of_each_layer_is_there(whole: Path, made: dict[str, Any], chips: pd.DataFrame) -> None:
    shards = pd.read_parquet(whole / "shards.parquet")
    assert [layer["name"] for layer in made["layers"]] == ["position", "landcover", "s1"]
    for layer in made["layers"]:
        valid = chips[f"valid_{layer['name']}"].astype(float).tolist()
        mine = shards[shards["path"].str.contains(f"/{layer['name']}/")]
        assert layer["valid_mean"] == pytest.approx(sum(valid) / len(valid))
        assert (layer["valid_min"], layer["valid_median"]) == (min(valid), pytest.approx(np.median(valid)))
        assert (layer["n_full"], layer["n_empty"]) == (valid.count(100), valid.count(0))
        bins = Counter(min(19, int(v // 5)) for v in valid)
        assert layer["valid_histogram"] == [bins[k] for k in range(20)]
        assert (layer["shards"], layer["bytes"]) == (len(mine), sum(mine["bytes"]))
        assert layer["shards_absent"] == sum(mine["bytes"] == 0)


def test_reasons_and_shares_of_every_slot_and_band(whole: Path, made: dict[str, Any]) -> None:
    for one in made["reasons"]:
        parts = [pd.read_parquet(part) for part in (whole / "provenance" / one["layer"]).glob("*.parquet")]
        rows = pd.concat(parts)
        rows = rows[(rows["slot"] == one["slot"]) & (rows["variable"] == one["variable"])]
        expected = Counter(Reason(code).name.lower().replace("_", " ") for code in rows["reason"])
        assert one["reasons"] == dict(expected)
        assert list(one["reasons"].values()) == sorted(one["reasons"].values(), reverse=True)
        stored = xr.open_zarr(whole / "chips.zarr", group=one["layer"], chunks=None, mask_and_scale=False)
        valid = stored[f"{one['variable']}_valid"]
        if "time" in valid.dims:
            slots = [slot["slot"] for slot in made["reasons"] if slot["variable"] == one["variable"]]
            valid = valid.isel(time=slots.index(one["slot"]))
        assert list(one["valid"].values()) == pytest.approx(valid.to_numpy().astype(float).mean(axis=0).tolist())
    slots = [one["slot"] for one in made["reasons"] if one["layer"] == "s1"]
    assert len(slots) == 2
    assert {"no acquisition", "ok"} <= {reason for one in made["reasons"] for reason in one["reasons"]}


def test_chips_nobody_has_looked_at_do_not_count_as_valid(whole: Path, tmp_path: Path) -> None:
    from m3leo_prep.store.codec import ChunkCodec

    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    folder = copy / "chips.zarr/landcover/landcover_valid"
    shape = json.loads((folder / "zarr.json").read_text())["chunk_grid"]["configuration"]["chunk_shape"]
    values = ChunkCodec("uint8").decode((folder / "c/0/0").read_bytes(), shape)
    values[:2] = 255
    (folder / "c/0/0").write_bytes(ChunkCodec("uint8").encode(values))
    reasons = figures(Dataset(copy)).reasons
    (landcover,) = [one for one in reasons if one.layer == "landcover"]
    assert landcover.valid == {"class": 100.0}
    (folder / "c/0/0").unlink()
    with pytest.raises(StoreError, match="this part of an array is not here"):
        figures(Dataset(copy))


def test_which_scenes_were_used(whole: Path, made: dict[str, Any]) -> None:
    for one in made["scenes"]:
        rows = pd.concat(pd.read_parquet(part) for part in (whole / "provenance" / one["layer"]).glob("*.parquet"))
        by_slot = {slot: {item for items in mine["items"] for item in items} for slot, mine in rows.groupby("slot")}
        dates = [pd.Timestamp(date) for dates in rows["datetimes"] for date in dates if not pd.isna(date)]
        assert one["by_slot"] == {slot: len(items) for slot, items in by_slot.items()}
        assert one["scenes"] == len(set().union(*by_slot.values()))
        assert one["first"] == (min(dates).strftime("%Y-%m-%d %H:%M:%S") if dates else None)
        assert one["last"] == (max(dates).strftime("%Y-%m-%d %H:%M:%S") if dates else None)
        assert one["most_observations"] == max(rows["n_observations"])
        assert one["pixels_out_of_range"] == sum(rows["n_out_of_range"])
        assert one["pixels_floored"] == sum(rows["n_floored"])
        orbits = {int(orbit) for orbits in rows["relative_orbits"] for orbit in orbits if not pd.isna(orbit)}
        assert set(one["relative_orbits"]) == orbits
    assert next(one for one in made["scenes"] if one["layer"] == "s1")["scenes"] > 1


def test_what_the_labels_say_of_chips(made: dict[str, Any], chips: pd.DataFrame) -> None:
    (label,) = made["labels"]
    columns = [name for name in chips if name.startswith("prop_landcover_")]
    known = chips[columns].dropna()
    assert (label["known"], label["unknown"]) == (len(known), len(chips) - len(known))
    assert [one["column"] for one in label["classes"]] == columns
    majority = Counter(known.astype(float).idxmax(axis=1))
    for one in label["classes"]:
        assert one["mean"] == pytest.approx(known[one["column"]].astype(float).mean())
        assert one["majority"] == majority[one["column"]]
        for split, mean in one["by_split"].items():
            assert mean == pytest.approx(chips.loc[chips["split"] == split, one["column"]].astype(float).mean())
    names = {one["column"]: (one["name"], one["color"]) for one in label["classes"]}
    assert names["prop_landcover_tree_cover"] == ("Tree cover", "#006400")
    assert sum(one["mean"] for one in label["classes"]) == pytest.approx(1, abs=1e-5)


def test_what_the_labels_say_of_units(whole: Path, made: dict[str, Any]) -> None:
    units = pq.read_table(whole / "units.parquet").drop_columns("geometry").to_pandas()
    found = made["units"]
    assert (found["n"], found["area_km2"]) == (len(units), pytest.approx(units["area_km2"].sum()))
    assert found["with_chips"] == (units["coverage"] > 0).sum()
    assert found["coverage"] == pytest.approx(np.average(units["coverage"], weights=units["area_km2"]))
    assert found["overlaps"] == len(pd.read_parquet(whole / "chip_units.parquet"))
    assert [one["unit"] for one in found["listed"]] == ["wide", "narrow"], "the largest first"
    for one in found["listed"]:
        row = units[units["unit"] == one["unit"]].iloc[0]
        assert (one["area_km2"], one["n_chips"]) == (pytest.approx(row["area_km2"]), row["n_chips"])
        assert one["coverage"] == pytest.approx(row["coverage"])
        for column, value in one["values"].items():
            assert (value is None) == pd.isna(row[column])
            assert value is None or value == pytest.approx(float(row[column]))
        assert "prop_landcover_tree_cover" in one["values"]
        assert "prop_built_landcover_tree_cover" in one["values"]


def test_a_unit_counts_for_the_coverage_by_its_area(whole: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    table = pq.read_table(copy / "units.parquet")
    units = table["unit"].to_pylist()
    covered = [{"wide": 0.5, "narrow": 0.0}[unit] for unit in units]
    pq.write_table(
        table.set_column(table.column_names.index("coverage"), "coverage", [covered]), copy / "units.parquet"
    )
    found = figures(Dataset(copy)).units
    assert found is not None
    area = dict(zip(units, table["area_km2"].to_pylist(), strict=True))
    assert found.coverage == pytest.approx(0.5 * area["wide"] / (area["wide"] + area["narrow"]))
    assert found.with_chips == 1


def test_how_chips_are_split(whole: Path, made: dict[str, Any], chips: pd.DataFrame) -> None:
    (split,) = made["splits"]
    named = chips["split"].fillna("none")
    assert split["column"] == "split"
    assert split["chips"] == dict(Counter(named))
    assert list(split["chips"]) == [n for n in ("train", "val", "test", "buffer", "none") if (named == n).any()]
    for name, km2 in split["km2"].items():
        assert km2 == pytest.approx(chips.loc[named == name, "area_km2"].sum())
    manifest = json.loads((whole / "manifest.json").read_text())
    assert split["policy"] == manifest["splits"]["split"]["policy"]
    rank = chips["label_rank"]
    assert split["budgets"] == {f"{b} %": int((rank <= b / 100).sum()) for b in (1, 5, 10, 25, 50, 100)}
    assert split["budgets"]["100 %"] == (named == "train").sum()
    leakage = made["leakage"]["split"]
    assert {name: n for name, n in leakage["counts"].items() if n} == split["chips"]


def test_statistics_are_those_that_are_stored(whole: Path, made: dict[str, Any]) -> None:
    assert set(made["statistics"]) == {"position", "landcover", "s1"}
    for layer, stored in made["statistics"].items():
        assert stored == json.loads((whole / "stats" / f"{layer}.json").read_text())


def test_what_is_not_there_is_told_with_the_way_to_get_it(whole: Path, built: Path, tmp_path: Path) -> None:
    assert figures(Dataset(whole)).absent == ()
    bare = {one.part: one for one in figures(Dataset(built)).absent}
    assert set(bare) == {"splits", "administrative units"}
    assert bare["splits"].remedy == "m3leo-prep split mini --policy blocks"
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    shutil.rmtree(copy / "stats")
    (lacking,) = figures(Dataset(copy)).absent
    assert lacking.part == "statistics of position, landcover, s1"
    assert lacking.remedy == "m3leo-prep stats copy"
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["layers"]["s1"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert "layer s1" in {one.part for one in figures(Dataset(copy)).absent}

"""Pictures of chips in Parquet: what the Hub's viewer gets to see."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.publish.description import previews
from m3leo_prep.publish.description.previews import PIXELS, as_image, chosen_rows, write_previews
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.picture.looks import looks


def pixels(cell: dict[str, bytes | str]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB"))


def test_every_chip_has_a_picture_of_every_layer(rich_described: Path) -> None:
    chips = pq.read_table(rich_described / "chips.parquet").to_pylist()
    rows = pq.read_table(rich_described / "previews/part-00000.parquet").to_pylist()
    assert [row["chip_id"] for row in rows] == [chip["chip_id"] for chip in chips]
    assert [row["split"] for row in rows] == [chip["split"] for chip in chips]
    for row in rows:
        assert list(row) == ["chip_id", "split", "dem", "s1", "s2", "landcover", "s1_slot", "s2_slot", "lon", "lat"]
        for layer in ("dem", "s1", "s2", "landcover"):
            # 32 and 8 px, each repeated a whole number of times.
            assert pixels(row[layer]).shape == ((96, 96, 3) if layer != "dem" else (PIXELS, PIXELS, 3))
        assert row["s1_slot"] in {"2020-06-01_2020-06-12", "2020-07-07_2020-07-12"}


def test_classes_have_exactly_the_colours_of_their_legend(rich_described: Path) -> None:
    dataset = Dataset(rich_described)
    legend = {entry["code"]: entry["color"] for entry in dataset.layer("landcover").array().about["legend"]}
    for row, cell in enumerate(pq.read_table(rich_described / "previews/part-00000.parquet")["landcover"].to_pylist()):
        codes, _ = dataset.read(row, "landcover")
        shown = pixels(cell)[::3, ::3]
        expected = [
            [[int(legend[code][k : k + 2], 16) for k in (1, 3, 5)] for code in line] for line in codes[0].tolist()
        ]
        assert (shown == np.array(expected)).all()


def test_missing_ground_is_hatched_and_never_black(rich_described: Path) -> None:
    dataset = Dataset(rich_described)
    for row, cell in enumerate(pq.read_table(rich_described / "previews/part-00000.parquet")["s2"].to_pylist()):
        _, valid = dataset.read(row, "s2")
        assert not valid.any()  # this slot is all cloud
        shown = pixels(cell).astype(int)
        assert 220 < shown.mean() < 240
        assert shown.min() > 150


@pytest.mark.parametrize(("percent", "shown"), [([90, 90, 80, 80], "asc"), ([10, 90, 80, 80], "desc")])
def test_the_orbit_that_shows_more_is_drawn(rich_described: Path, percent: list[int], shown: str) -> None:
    array = Dataset(rich_described).layer("s1").array()
    look = previews._best(looks(array, layer="s1"), np.array(percent, np.uint8))
    assert (look.form, {array.bands[band] for band in look.bands}) == ("composite", {f"vv_{shown}", f"vh_{shown}"})
    unbuilt = previews._best(looks(array, layer="s1"), np.array([255, 255, 1, 1], np.uint8))
    assert {array.bands[band] for band in unbuilt.bands} == {"vv_desc", "vh_desc"}


def test_only_what_is_missing_is_hatched() -> None:
    picture = np.full((PIXELS, PIXELS, 3), 0.5)
    picture[:40, :40] = np.nan
    shown = np.asarray(as_image(picture))
    assert (shown[40:] == 128).all()
    assert (shown[:, 40:] == 128).all()
    assert {tuple(colour) for colour in shown[:40, :40].reshape(-1, 3).tolist()} == {(239, 239, 241), (180, 180, 187)}


def test_an_empty_picture_is_all_hatch() -> None:
    shown = np.asarray(as_image(np.full((16, 16, 3), np.nan)))
    assert {tuple(colour) for colour in shown.reshape(-1, 3).tolist()} == {(239, 239, 241), (180, 180, 187)}
    grey = np.asarray(as_image(np.zeros((16, 16, 3))))
    assert (grey == 0).all()  # black is a value


def test_datasets_loads_them_as_images(rich_described: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    part = str(rich_described / "previews/part-00000.parquet")
    loaded = datasets.load_dataset("parquet", data_files=part, cache_dir=str(tmp_path), split="train")
    kinds = {name: type(feature).__name__ for name, feature in loaded.features.items()}
    assert {kinds[name] for name in ("dem", "s1", "s2", "landcover")} == {"Image"}
    assert kinds["chip_id"] == kinds["lon"] == "Value"
    assert loaded[0]["landcover"].size == (96, 96)
    loaded.cleanup_cache_files()


def test_parts_are_bounded_and_the_bytes_the_same(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "ROWS", 3)
    dataset = Dataset(plain)
    one, two = LocalBlobs(tmp_path / "one"), LocalBlobs(tmp_path / "two")
    names = write_previews(dataset, one)
    assert names == write_previews(dataset, two)
    assert [pq.read_metadata(tmp_path / "one" / name).num_rows for name in names][:-1] == [3] * (len(names) - 1)
    assert sum(pq.read_metadata(tmp_path / "one" / name).num_rows for name in names) == len(dataset)
    assert [one.get(name) for name in names] == [two.get(name) for name in names]


@given(st.lists(st.sampled_from(["train", "val", "test", None]), min_size=1, max_size=200), st.integers(1, 50))
def test_chosen_rows_are_spread_over_the_splits(splits: list[str | None], most: int) -> None:
    rows = chosen_rows(splits, most)
    assert len(rows) == min(len(splits), most)
    assert (np.diff(rows) > 0).all()
    whole, few = Counter(splits), Counter(splits[row] for row in rows)
    fair = most // len(whole)
    assert all(few[name] >= min(n, fair) for name, n in whole.items())

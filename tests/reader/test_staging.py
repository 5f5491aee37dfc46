"""Staging: what is needed is copied once, and read ever after without asking the source."""

from __future__ import annotations

import shutil

import pytest

from m3leo_prep.core.errors import StoreError
from m3leo_prep.testing.web import RangeServer

torch = pytest.importorskip("torch")

from m3leo_prep.reader.copies.staging import folder_name  # noqa: E402  it imports torch
from m3leo_prep.reader.dataset import Dataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch


def values(chips):
    return torch.stack([sample["s1"] for sample in chips])


@pytest.fixture
def source(seam, tmp_path):
    """Return a copy of a dataset that a test may take away."""
    return shutil.copytree(seam, tmp_path / "source", ignore=shutil.ignore_patterns(".m3leo"))


def test_the_second_time_nothing_is_asked_of_the_source(source, tmp_path):
    ids = list(Dataset(source).chips["chip_id"])
    truth = ChipDataset(source, layers=["s1"], ids=ids[5:7])
    expected = values(truth)
    first = ChipDataset(source, layers=["s1"], ids=ids[5:7], stage=tmp_path / "ssd")
    assert torch.equal(values(first), expected)
    assert first.datasets[0].path.parent == tmp_path / "ssd"
    shards = [path for path in first.datasets[0].path.glob("chips.zarr/*/*/c/*/*/*/*/*") if path.is_file()]
    assert {path.parts[-8:-4] for path in shards} == {("s1", "backscatter", "c", "1")}  # of four along the chips
    source.rename(tmp_path / "gone")
    second = ChipDataset(source, layers=["s1"], ids=ids[5:7][::-1], stage=str(tmp_path / "ssd"), meta=["mean_time"])
    assert torch.equal(values(second), expected.flip(0))
    # More than was staged needs the source, and then comes in addition.
    with pytest.raises(StoreError, match="no finished dataset here"):
        ChipDataset(source, layers=["s1"], stage=tmp_path / "ssd")
    with pytest.raises(StoreError, match="no finished dataset here"):
        ChipDataset(source, layers=["s1", "coarse"], ids=ids[5:7], stage=tmp_path / "ssd", missing="drop")
    (tmp_path / "gone").rename(source)
    more = ChipDataset(source, layers=["s1", "coarse"], stage=tmp_path / "ssd", missing="drop")
    assert len(more) == 16
    shutil.rmtree(source)
    again = ChipDataset(source, layers=["coarse"], labels=["s1"], stage=tmp_path / "ssd")
    assert torch.equal(values(again)[5:7], expected)


def test_a_dataset_at_an_address_is_read_offline_once_staged(seam, tmp_path, monkeypatch):
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    asked = {"layers": ["s1"], "stage": tmp_path / "ssd"}
    with RangeServer(seam) as server:
        expected = values(ChipDataset(server.url, **asked))
        assert server.requests
        url = server.url
        before = len(server.requests)
        ChipDataset(url, **asked)[3]
        assert len(server.requests) == before
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert torch.equal(values(ChipDataset(url, **asked)), expected)
    assert torch.equal(values(ChipDataset(seam, layers=["s1"])), expected)


def test_several_datasets_have_a_folder_each(source, seam, tmp_path):
    both = ChipDataset([source, seam], layers=["s1"], stage=tmp_path / "ssd")
    assert len({dataset.path for dataset in both.datasets}) == 2
    assert torch.equal(values(both)[:16], values(both)[16:])
    shutil.rmtree(source)
    assert len(ChipDataset([source, seam], layers=["s1"], stage=tmp_path / "ssd")) == 32


def test_a_broken_stage_is_mended(source, tmp_path):
    chips = ChipDataset(source, layers=["s1"], stage=tmp_path / "ssd")
    (chips.datasets[0].path / "manifest.json").unlink()
    assert len(ChipDataset(source, layers=["s1"], stage=tmp_path / "ssd")) == 16


def test_names_tell_locations_apart_and_no_secrets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_name("europe") == folder_name(tmp_path / "europe") == folder_name(f"file://{tmp_path}/europe")
    assert folder_name("s3://bucket/a/europe") != folder_name("s3://bucket/b/europe")
    signed = folder_name("https://me:secret@host/data/europe?X-Signature=abc")
    assert signed == folder_name("https://host/data/europe/")
    assert signed.startswith("europe-")
    assert len(signed) == len("europe-") + 8

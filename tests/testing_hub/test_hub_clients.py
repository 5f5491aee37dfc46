"""The Hub stand-in answers the real clients: huggingface_hub, fsspec, zarr, xarray and datasets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from m3leo_prep.testing.hub import HubStandIn, cut

RANDOM = np.random.default_rng(1)
LARGE = RANDOM.bytes(250_000)
CARD = b"---\nlicense: cc-by-4.0\n---\n# Chips\n"


@pytest.fixture
def api(hub: HubStandIn) -> HfApi:
    api = HfApi()
    api.create_repo("me/chips", repo_type="dataset")
    return api


def commit(api: HfApi, files: dict[str, bytes], **settings: Any) -> str:
    changes = [CommitOperationAdd(name, data) for name, data in files.items()]
    return str(api.create_commit("me/chips", changes, commit_message="files", repo_type="dataset", **settings).oid)


def names(api: HfApi) -> list[str]:
    found = api.list_repo_tree("me/chips", repo_type="dataset", recursive=True)
    return sorted(entry.path for entry in found if hasattr(entry, "size"))


def test_an_account_and_a_repository(hub: HubStandIn) -> None:
    api = HfApi()
    told = api.whoami()
    assert (told["name"], told["auth"]["accessToken"]["role"]) == ("me", "write")
    assert HfApi(token=hub.read_token).whoami()["auth"]["accessToken"]["role"] == "read"
    url = api.create_repo("me/chips", repo_type="dataset", private=True)
    assert url.repo_id == "me/chips"
    assert api.create_repo("me/chips", repo_type="dataset", exist_ok=True).repo_id == "me/chips"
    assert api.create_repo("our-lab/chips", repo_type="dataset").repo_id == "our-lab/chips"
    assert [found.id for found in api.list_datasets(author="me")] == ["me/chips"]
    assert api.dataset_info("me/chips").private
    assert names(api) == [".gitattributes"]
    api.update_repo_settings("me/chips", repo_type="dataset", private=False)
    assert not api.dataset_info("me/chips").private
    api.delete_repo("me/chips", repo_type="dataset")
    assert not api.repo_exists("me/chips", repo_type="dataset")


def test_small_files_travel_in_the_commit_and_large_ones_by_themselves(hub: HubStandIn, api: HfApi) -> None:
    commit(api, {"README.md": CARD, "a/b/0": LARGE, "empty": b"", "deep/er/x.json": b"{}"})
    assert names(api) == [".gitattributes", "README.md", "a/b/0", "deep/er/x.json", "empty"]
    assert [r.name for r in hub.asked("lfs_put")] == [hashlib.sha256(LARGE).hexdigest()]
    assert hub.counts["commit"] == 1
    for name, data in {"README.md": CARD, "a/b/0": LARGE, "empty": b""}.items():
        assert Path(hf_hub_download("me/chips", name, repo_type="dataset")).read_bytes() == data
        assert hub.read("me/chips", name) == data


def test_small_files_may_come_by_a_redirect(hub: HubStandIn, api: HfApi) -> None:
    commit(api, {"a b/x.json": b"{}"})
    hub.holdings.redirects_small = True
    assert Path(hf_hub_download("me/chips", "a b/x.json", repo_type="dataset")).read_bytes() == b"{}"
    assert hub.counts["cache"]


def test_a_very_large_file_goes_up_in_parts(hub: HubStandIn, api: HfApi) -> None:
    hub.holdings.part_bytes = 100_000
    commit(api, {"big.bin": LARGE})
    assert [r.received for r in hub.asked("lfs_part")] == [100_000, 100_000, 50_000]
    assert hub.read("me/chips", "big.bin") == LARGE
    assert sorted(path.name for path in hub.holdings.blobs.folder.iterdir() if "." in path.name) == []


def test_what_is_there_is_not_sent_again(hub: HubStandIn, api: HfApi) -> None:
    files = {"README.md": CARD, "a/0": LARGE}
    first = commit(api, files)
    assert commit(api, files) == first
    commit(api, {"elsewhere/0": LARGE})
    assert max(hub.uploads.values()) == 1
    assert hub.counts["lfs_put"] == 1


def test_history_branches_and_tags(hub: HubStandIn, api: HfApi) -> None:
    first = commit(api, {"x": b"1"})
    api.create_tag("me/chips", tag="v1", repo_type="dataset")
    api.create_branch("me/chips", branch="next/one", repo_type="dataset")
    second = commit(api, {"x": b"2"}, revision="next/one", parent_commit=first)
    refs = api.list_repo_refs("me/chips", repo_type="dataset")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": first, "next/one": second}
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": first}
    for revision, content in {"v1": b"1", "next/one": b"2", first: b"1", second: b"2"}.items():
        found = hf_hub_download("me/chips", "x", repo_type="dataset", revision=revision)
        assert Path(found).read_bytes() == content
    history = api.list_repo_commits("me/chips", repo_type="dataset", revision="next/one")
    assert [c.title for c in history] == ["files", "files", "initial commit"]
    api.delete_branch("me/chips", branch="next/one", repo_type="dataset")
    api.delete_tag("me/chips", tag="v1", repo_type="dataset")
    assert list(hub.repos["me/chips"].branches) == ["main"]


def test_files_and_folders_are_deleted(api: HfApi) -> None:
    commit(api, {"keep": b"1", "a/0": b"2", "a/b/1": b"3", "ab/2": b"4", "c": b"5"})
    changes = [CommitOperationDelete("a/"), CommitOperationDelete("c")]
    api.create_commit("me/chips", changes, commit_message="less", repo_type="dataset")
    assert names(api) == [".gitattributes", "ab/2", "keep"]


def test_long_listings_come_in_pages(hub: HubStandIn, api: HfApi) -> None:
    commit(api, {f"{number % 7}/{number:03d}": b"x" for number in range(50)})
    hub.holdings.page = 9
    hub.requests.clear()
    assert len(names(api)) == 51
    assert hub.counts["tree"] == 7  # 51 files and 7 folders
    found = list(api.list_repo_tree("me/chips", "3", repo_type="dataset"))
    assert [entry.path for entry in found] == [f"3/{number:03d}" for number in range(3, 50, 7)]


def test_a_snapshot_outlives_a_cut(hub: HubStandIn, api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    sha = commit(api, {"README.md": CARD, "a/0": LARGE})
    hub.faults(cut(100_000), "cdn")
    folder = Path(snapshot_download("me/chips", repo_type="dataset"))
    assert folder.name == sha
    assert (folder / "a/0").read_bytes() == LARGE
    assert [r.bytes for r in hub.asked("cdn")] == [100_000, len(LARGE)]


def test_absence_is_told_as_the_client_expects(api: HfApi) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("me/nothing")
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info("me/chips", revision="nothing")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("me/chips", "nothing", repo_type="dataset")
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("me/chips", "nothing", repo_type="dataset"))


def test_the_storage_keeps_its_figures(api: HfApi) -> None:
    commit(api, {"a": LARGE})
    commit(api, {"a": LARGE[::-1], "b": LARGE})
    held = 2 * len(LARGE)
    used = api.dataset_info("me/chips", expand=["usedStorage"]).used_storage
    assert 0 <= used - held < 200  # and .gitattributes
    found = api.dataset_info("me/chips", files_metadata=True).siblings
    assert {f.rfilename: f.lfs.sha256 for f in found if f.lfs}["b"] == hashlib.sha256(LARGE).hexdigest()


def test_fsspec_reads_and_lists(hub: HubStandIn, api: HfApi) -> None:
    commit(api, {"a/0": LARGE, "a/b/x.json": b"{}"})
    system = HfFileSystem()
    found = system.find("datasets/me/chips/a")
    assert found == ["datasets/me/chips/a/0", "datasets/me/chips/a/b/x.json"]
    assert system.cat_file("datasets/me/chips/a/0", start=1000, end=1010) == LARGE[1000:1010]
    assert [r.range.split("-")[0] for r in hub.asked("cdn")] == ["bytes=1000"]  # it reads ahead


def test_zarr_and_xarray_open_a_store(hub: HubStandIn, api: HfApi, tmp_path: Path) -> None:
    import xarray as xr

    pixels = RANDOM.integers(0, 3000, (8, 2, 16, 16)).astype("u2")
    made = xr.Dataset({"s2": (("chip", "band", "y", "x"), pixels)})
    shards = {"s2": {"chunks": (1, 2, 16, 16), "shards": (4, 2, 16, 16)}}
    made.to_zarr(tmp_path / "store.zarr", consolidated=False, encoding=shards)
    api.upload_folder(repo_id="me/chips", repo_type="dataset", folder_path=tmp_path / "store.zarr", path_in_repo="z")
    with xr.open_zarr("hf://datasets/me/chips/z", consolidated=False) as opened:
        np.testing.assert_array_equal(opened["s2"][5].to_numpy(), pixels[5])
    assert any(r.range for r in hub.asked("cdn"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_datasets_loads_the_configurations_of_a_card(api: HfApi, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    datasets = pytest.importorskip("datasets")
    pq.write_table(pa.table({"chip": ["a", "b", "c"], "water": [0.0, 0.5, 1.0]}), tmp_path / "train.parquet")
    card = b"---\nlicense: cc-by-4.0\nconfigs:\n- config_name: chips\n  data_files:\n"
    card += b"  - split: train\n    path: previews/train.parquet\n---\n# Chips\n"
    commit(api, {"README.md": card, "previews/train.parquet": (tmp_path / "train.parquet").read_bytes()})
    found = datasets.load_dataset("me/chips", "chips", split="train", cache_dir=str(tmp_path / "cache"))
    assert found["chip"][:] == ["a", "b", "c"]
    streamed = datasets.load_dataset("me/chips", "chips", split="train", streaming=True)
    assert [row["water"] for row in streamed] == [0.0, 0.5, 1.0]

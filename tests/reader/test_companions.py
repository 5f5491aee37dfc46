"""Small arrays beside the pixels, held against zarr-python."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import zarr

from m3leo_prep.blobs.cached import cached
from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.blobs.web import WebFiles
from m3leo_prep.core.errors import StoreError, VerifyError
from m3leo_prep.reader.companions import open_companion
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.zarr_store import ReadableStore
from m3leo_prep.testing.web import Fault


@pytest.mark.parametrize("name", ["backscatter_valid", "backscatter_reason", "epsg", "x0"])
def test_they_are_read_as_zarr_reads_them(shared_made, name):
    array = zarr.open_array(shared_made.path / "chips.zarr/s1" / name, mode="r")[...]
    companion = open_companion(LocalBlobs(shared_made.path), "s1", name)
    assert companion.shape == array.shape
    assert companion.all().dtype == array.dtype
    assert np.array_equal(companion.all(), array)
    for row in (0, len(array) - 1):
        assert np.array_equal(companion.row(row), array[row])


def test_what_is_absent_or_damaged_is_told(made):
    root = LocalBlobs(made.path)
    with pytest.raises(StoreError, match=r"s1/no_such: this array is not here"):
        open_companion(root, "s1", "no_such")
    folder = made.path / "chips.zarr/s1/backscatter_valid"
    chunk = next(path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")
    data = bytearray(chunk.read_bytes())
    data[20] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(VerifyError, match="crc32c"):
        open_companion(root, "s1", "backscatter_valid").all()
    shutil.rmtree(folder / "c")
    with pytest.raises(StoreError, match="part of an array is not here"):
        open_companion(root, "s1", "backscatter_valid").row(0)
    (folder / "zarr.json").write_text("{}")
    with pytest.raises(StoreError, match="description is damaged"):
        open_companion(root, "s1", "backscatter_valid")


def test_zarr_reads_a_dataset_through_its_blobs(shared_made):
    path = shared_made.path / "chips.zarr"
    ours = zarr.open_group(ReadableStore(LocalBlobs(shared_made.path), "chips.zarr"), mode="r")
    plain = zarr.open_group(path, mode="r")
    assert np.array_equal(ours["s1/backscatter"][1:3], plain["s1/backscatter"][1:3])
    assert ours.attrs == plain.attrs


def test_damage_on_the_way_is_not_kept(made, web, tmp_path, monkeypatch):
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    shutil.rmtree(web.folder)
    web.folder.symlink_to(made.path)
    root = cached(WebFiles(web.url), "digest")
    web.faults.append(Fault(path="*backscatter_valid/c/*", flip=25))
    wanted = open_companion(LocalBlobs(made.path), "s1", "backscatter_valid").all()
    assert np.array_equal(open_companion(root, "s1", "backscatter_valid").all(), wanted)
    asked = len(web.requests)
    assert np.array_equal(open_companion(root, "s1", "backscatter_valid").all(), wanted)
    assert len(web.requests) == asked


def test_a_remote_manifest_without_a_digest_is_none(made, web):
    made.edit_manifest(lambda manifest: manifest.pop("manifest_digest", None))
    shutil.copy(made.path / "manifest.json", web.folder)
    with pytest.raises(StoreError, match="this is not a manifest"):
        Dataset(web.url)

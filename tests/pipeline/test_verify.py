"""Verify finds what is wrong and names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3leo_prep.core.errors import VerifyError
from m3leo_prep.pipeline.verify import verify

from .conftest import plan

SHARD = "chips.zarr/s1/backscatter/c/0/0/0/0/0"


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "d")
    return tmp_path / "d"


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 0x10
    path.write_bytes(bytes(data))


def test_a_good_dataset_has_no_findings(built: Path) -> None:
    report = verify(built)
    assert report.ok
    assert report.notes == []
    assert report.counts["chip slots derived again"] == 4 * 8
    assert report.counts["chips"] == len(plan().cells)


def test_a_flipped_byte_in_any_file_is_found_and_named(copy: Path) -> None:
    """D92: every published file in turn, at three places each."""
    files = [p for p in sorted(copy.rglob("*")) if p.is_file() and ".m3leo" not in p.parts]
    assert len(files) > 60
    for path in files:
        name = str(path.relative_to(copy))
        good = path.read_bytes()
        for share in (0.1, 0.5, 0.97):
            _flip(path, int(share * len(good)))
            report = verify(copy, sample=0)
            assert not report.ok, name
            assert any(where.startswith(name) for where, _ in report.problems), (name, report.problems)
            path.write_bytes(good)
    assert verify(copy, sample=0).ok


def test_a_missing_shard_is_found_even_by_quick(copy: Path) -> None:
    """Zarr alone reads it silently as fill."""
    (copy / SHARD).unlink()
    assert (SHARD, "missing") in verify(copy, quick=True).problems


def test_a_truncated_or_empty_shard_is_found_by_quick(copy: Path) -> None:
    whole = (copy / SHARD).read_bytes()
    for length in (0, len(whole) - 1):
        (copy / SHARD).write_bytes(whole[:length])
        assert any(where == SHARD and "bytes instead of" in what for where, what in verify(copy, quick=True).problems)


def test_a_foreign_file_is_found(copy: Path) -> None:
    foreign = "chips.zarr/s1/backscatter/c/999/0/0/0/0"
    (copy / foreign).parent.mkdir(parents=True)
    shutil.copy(copy / SHARD, copy / foreign)
    assert (foreign, "not part of this dataset") in verify(copy, quick=True).problems


def test_a_foreign_chip_is_found_even_with_a_forged_manifest(copy: Path) -> None:
    """A shard of one place put in the place of another, sizes, hashes and manifest made to fit."""
    a, b = copy / SHARD, copy / SHARD.replace("/c/0/", "/c/1/")
    bytes_a, bytes_b = a.read_bytes(), b.read_bytes()
    a.write_bytes(bytes_b)
    b.write_bytes(bytes_a)
    _forge_shards(copy)
    report = verify(copy, sample=200)
    assert any("differ from what the source gives" in what for _, what in report.problems)


def test_an_edited_table_is_found_even_with_a_forged_manifest(copy: Path) -> None:
    table = pq.read_table(copy / "chips.parquet")
    ids = table["chip_id"].to_pylist()
    ids[3] = ids[4]
    edited = table.set_column(0, "chip_id", pa.array(ids))
    pq.write_table(edited, copy / "chips.parquet")
    assert any(where == "chips.parquet" for where, _ in verify(copy, quick=True).problems)
    _forge(copy, "chips.parquet")
    assert any("chip_id of row 3" in what for _, what in verify(copy, quick=True).problems)


def test_an_edited_manifest_is_found(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["n_chips"] += 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert verify(copy, quick=True).problems[0][0] == "manifest.json"


def test_no_dataset_is_a_finding(tmp_path: Path) -> None:
    assert "missing" in verify(tmp_path).problems[0][1]


def test_without_build_state_it_says_what_it_could_not_check(copy: Path) -> None:
    shutil.rmtree(copy / ".m3leo")
    report = verify(copy)
    assert report.ok
    assert "build state is not here" in report.notes[0]
    _flip(copy / SHARD, 100)
    assert not verify(copy).ok


def test_findings_become_an_error_that_teaches(copy: Path) -> None:
    (copy / SHARD).unlink()
    with pytest.raises(VerifyError, match=r"backscatter.*missing[\s\S]*hint: .*run `build` again"):
        verify(copy).raise_if_bad()


def _forge(copy: Path, name: str) -> None:
    from m3leo_prep.blobs.local import LocalBlobs
    from m3leo_prep.pipeline.manifest import manifest_digest
    from m3leo_prep.store.shard import sha256_of

    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"][name] = sha256_of(LocalBlobs(copy), name)
    manifest["manifest_digest"] = manifest_digest(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))


def _forge_shards(copy: Path) -> None:
    from m3leo_prep.blobs.local import LocalBlobs
    from m3leo_prep.store.ledger import ShardFile
    from m3leo_prep.store.shard import sha256_of
    from m3leo_prep.store.tables import read_shards, write_shards

    blobs = LocalBlobs(copy)
    forged = [
        ShardFile(s.path, blobs.size(s.path) or 0, sha256_of(blobs, s.path)) if s.bytes else s
        for s in read_shards(blobs).values()
    ]
    write_shards(blobs, forged)
    _forge(copy, "shards.parquet")

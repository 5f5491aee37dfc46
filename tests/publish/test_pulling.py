"""Pulling: only what is asked for, checked, resumable; and a pulled part says that it is one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import ConfigError, PublishError, StoreError
from m3leo_prep.pipeline.manifest import rewrite
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.ports.target import Outgoing, Target
from m3leo_prep.publish.publishing import publish
from m3leo_prep.publish.targets.location import open_target
from m3leo_prep.reader.copies import pulling
from m3leo_prep.reader.copies.pulled import Part, read_part
from m3leo_prep.reader.copies.pulling import pull
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.store.ledger import ShardFile
from m3leo_prep.store.tables import read_shards, write_shards
from m3leo_prep.testing.hub import HubStandIn, cut


class Watched(LocalBlobs):
    """A folder that counts what is read, and hands over what a fault says."""

    __slots__ = ("names",)

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        object.__setattr__(self, "names", [])

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self.names.append(name)  # type: ignore[attr-defined]  a slot
        return super().get(name, start, length)


@pytest.fixture
def made(rich_described: Path, tmp_path: Path) -> Path:
    """Return a published dataset with splits, slots and two layers more: a copy, to change."""
    there = tmp_path / "there"
    shutil.copytree(rich_described, there, ignore=shutil.ignore_patterns(".m3leo"))
    return there


def with_pixels(folder: Path) -> set[str]:
    shards = Dataset(folder).shards
    return set(shards["path"][shards["bytes"] > 0])


def shards_in(folder: Path) -> set[str]:
    listed = set(Dataset(folder).shards["path"])
    return {name for name in LocalBlobs(folder).list("chips.zarr") if name in listed}


def pixels(folder: Path, row: int, layer: str) -> bytes:
    return Dataset(folder).read(row, layer, next(iter(Dataset(folder).layer(layer).arrays)))[0].tobytes()


def test_one_layer_of_one_split_is_exactly_its_shards(made: Path, tmp_path: Path) -> None:
    source = Dataset(Watched(made))
    chips = source.chips
    rows = np.flatnonzero(chips["split"] == "test")
    numbers = set((rows // 4).tolist())
    assert 0 < len(numbers) < -(-len(chips) // 4), "the split must not be everywhere"
    source.root.names.clear()  # type: ignore[attr-defined]  it is Watched
    got = pull(source, tmp_path / "here", layers=["s1"], split="test")
    expected = {f"chips.zarr/s1/backscatter/c/{n}/0/0/0/0" for n in numbers}
    assert shards_in(tmp_path / "here") == expected
    listed = with_pixels(made)
    assert set(source.root.names) & listed == expected, "no other shard was read"  # type: ignore[attr-defined]
    assert (got.shards, got.layers, got.has_changed) == (len(expected), ("s1",), False)
    assert not (tmp_path / "here" / "provenance" / "s2").exists()
    assert (tmp_path / "here" / "README.md").read_bytes() == (made / "README.md").read_bytes()
    for row in rows.tolist():
        assert pixels(tmp_path / "here", row, "s1") == pixels(made, row, "s1")
    report = verify(tmp_path / "here")
    assert report.problems == []
    assert f"{len(listed) - len(expected)} of {len(listed)} shards were not pulled from {made}" in report.notes
    empty = len(source.shards) - len(listed)
    assert report.counts["shards"] == len(expected) + empty


def test_more_is_added_and_nothing_comes_twice(made: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    pull(made, here, layers=["dem.slope"], rows=[0, 1])
    part = read_part(here)
    assert part is not None
    assert part.shards == {"dem.slope": frozenset({0})}
    source = Dataset(Watched(made))
    source.root.names.clear()  # type: ignore[attr-defined]  it is Watched
    pull(source, here, layers=["landcover"])
    again = {"manifest.json", "shards.parquet", "chips.parquet"}
    assert not [n for n in source.root.names if "/dem/" in n or ("/" not in n and n not in again)]  # type: ignore[attr-defined]
    done = pull(made, here)
    assert (done.shards, done.layers) == (done.all_shards, tuple(Dataset(made).layers))
    files = {p.relative_to(made).as_posix(): p.read_bytes() for p in made.rglob("*") if p.is_file()}
    assert {
        p.relative_to(here).as_posix(): p.read_bytes()
        for p in here.rglob("*")
        if p.is_file() and ".m3leo" not in p.parts
    } == files
    report = verify(here)
    assert report.ok
    assert not [note for note in report.notes if "pulled" in note]
    assert pull(made, here).files == 0
    assert json.loads((here / ".m3leo/pulled.json").read_text())["from"] == str(made)


def test_what_is_pulled_is_checked_and_what_is_not_is_not(made: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    pull(made, here, layers=["s1"], rows=[0])
    (shard,) = shards_in(here)
    os.truncate(here / shard, (here / shard).stat().st_size - 1)
    assert [where for where, _ in verify(here).problems] == [shard]
    (here / shard).unlink()
    assert verify(here).problems == [(shard, "missing")]
    shutil.copyfile(made / shard, here / shard)
    other = next(name for name in shards_in(made) if "/dem/" in name)
    (here / other).parent.mkdir(parents=True)
    (here / other).write_bytes(b"not asked for, and wrong")
    assert [where for where, _ in verify(here).problems] == [other]


def test_a_cut_pull_goes_on(made: Path, tmp_path: Path) -> None:
    class Cut(Watched):
        def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
            if "/landcover/" in name and name.endswith("/0/0/0/0"):
                raise StoreError("the network is gone")
            return super().get(name, start, length)

    here = tmp_path / "here"
    with pytest.raises(StoreError, match="the network is gone"):
        pull(Dataset(Cut(made)), here)
    assert not (here / "manifest.json").exists()
    part = read_part(here)
    assert part is not None
    assert part.shards == {}
    there = {name for name in LocalBlobs(here).list() if not name.startswith(".m3leo")}
    assert there
    source = Dataset(Watched(made))
    source.root.names.clear()  # type: ignore[attr-defined]  it is Watched
    done = pull(source, here)
    assert done.kept == len(there)
    assert not set(source.root.names) & there - {"shards.parquet"}  # type: ignore[attr-defined]
    assert verify(here).ok
    (here / "stats/.x.1f.part").write_bytes(b"killed")
    with (here / pulling.LOCK).open("w") as other:  # another pull is at work
        fcntl.flock(other, fcntl.LOCK_SH)
        pull(made, here)
        assert (here / "stats/.x.1f.part").exists()
    pull(made, here)
    assert not (here / "stats/.x.1f.part").exists()
    with pytest.raises(StoreError, match=r"can be read, not built on"):
        DatasetFolder(here).check_usable()


def test_damage_on_the_way_is_repeated_and_never_kept(made: Path, tmp_path: Path) -> None:
    shard = min(shards_in(made))
    left = [pulling.ATTEMPTS - 1]

    class Flipping(LocalBlobs):
        __slots__ = ()

        def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
            data = super().get(name, start, length)
            if name == shard and left[0]:
                left[0] -= 1
                return data[:-1] if left[0] % 2 else bytes([data[0] ^ 1]) + data[1:]
            return data

    here = tmp_path / "here"
    pull(Dataset(Flipping(made)), here)
    assert left == [0]
    assert (here / shard).read_bytes() == (made / shard).read_bytes()
    left[0] = 10**6
    with pytest.raises(StoreError, match="came damaged 3 times"):
        pull(Dataset(Flipping(made)), tmp_path / "other")
    assert not (tmp_path / "other" / shard).exists()
    assert not (tmp_path / "other" / "manifest.json").exists()


def test_a_dataset_that_changed_there_is_told_and_followed(made: Path, rich_described: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    pull(made, here, layers=["s1"])
    blobs = LocalBlobs(made)
    blobs.put("stats/s1.json", b"{}")
    blobs.delete("stats/s2.json")
    shard = min(shards_in(here))  # its size stays
    blobs.put(shard, blobs.get(shard)[::-1])
    shards = read_shards(blobs) | {shard: ShardFile(shard, (made / shard).stat().st_size, sha256(made / shard))}
    write_shards(blobs, shards.values())
    rewrite(blobs, json.loads(blobs.get("manifest.json")), ["stats/s1.json", "stats/s2.json", "shards.parquet"])

    class Cut(LocalBlobs):
        __slots__ = ()

        def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
            if "/landcover/" in name and name.endswith("/0/0/0/0"):
                raise StoreError("the network is gone")
            return super().get(name, start, length)

    was = (here / shard).read_bytes()
    with pytest.raises(StoreError, match="the network is gone"):
        pull(Dataset(Cut(made)), here, layers=["landcover"])
    assert (here / shard).read_bytes() != was
    assert not (here / "manifest.json").exists(), "the old one does not speak of these shards"
    shutil.copytree(here, tmp_path / "back")
    pull(rich_described, tmp_path / "back")
    assert (tmp_path / "back" / shard).read_bytes() == was, "and they are not taken for the old ones"
    done = pull(made, here, layers=["landcover"])
    assert done.layers == ("s1", "landcover")
    assert (here / shard).read_bytes() == (made / shard).read_bytes()
    assert (here / "stats/s1.json").read_bytes() == b"{}"
    assert not (here / "stats/s2.json").exists()
    assert not pull(made, here, layers=["landcover"]).has_changed
    assert pull(rich_described, here).has_changed
    assert verify(here).ok


def test_folders_that_hold_something_else(made: Path, plain: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    pull(made, here, layers=["dem"])
    shutil.copytree(here, tmp_path / "copied", ignore=shutil.ignore_patterns(".m3leo"))
    with pytest.raises(StoreError, match="holds a dataset that was not pulled"):
        pull(made, tmp_path / "copied", layers=["dem"])
    with pytest.raises(StoreError, match="another dataset than"):
        pull(plain, here)
    with pytest.raises(StoreError, match="a dataset was built here"):
        pull(made, plain)
    with pytest.raises(ConfigError, match="the dataset's own folder"):
        pull(made, made)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match="holds something else"):
        pull(made, tmp_path / "full")
    with pytest.raises(StoreError, match="a file, not a folder"):
        pull(made, tmp_path / "full" / "thesis.tex")
    (here / ".m3leo/pulled.json").write_text("{")
    with pytest.raises(StoreError, match="note of what was pulled is damaged"):
        pull(made, here)
    with pytest.raises(StoreError, match="no finished dataset"):
        pull(tmp_path / "nowhere", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_is_not_there_is_refused_before_anything_comes(made: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"layers": ["s3"]}, "no layer 's3'"),
        ({"layers": ["dem.elevation"]}, "no variable 'elevation'"),
        ({"split": "tset"}, "no chip is in the split 'tset'"),
        ({"split": "test", "split_column": "split_x"}, "no split column 'split_x'"),
        ({"rows": [10**6]}, "no row 1000000"),
        ({"rows": [-1]}, "no row"),
    ]
    for options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            pull(made, here, **options)
    assert not here.exists()


def test_a_disk_that_is_too_small(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(StoreError, match=r"GB are to come, 0.0 GB are free"):
        pull(made, tmp_path / "here" / "below")
    assert not (tmp_path / "here").exists()


def test_a_part_is_not_published(made: Path, tmp_path: Path) -> None:
    pull(made, tmp_path / "here", layers=["s1"])
    with pytest.raises(PublishError, match="only a part of the dataset was pulled"):
        publish(tmp_path / "here", f"{tmp_path}/copy")
    assert not (tmp_path / "copy").exists()


def put(made: Path, place: Target) -> None:
    place.prepare()
    files = [p for p in made.rglob("*") if p.is_file()]
    place.send([Outgoing(p.relative_to(made).as_posix(), p, p.stat().st_size, sha256(p)) for p in files], "all", int)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_from_the_hub_over_cut_connections(hub: HubStandIn, made: Path, tmp_path: Path) -> None:
    put(made, open_target("me/rich"))
    hub.forget_requests()
    hub.faults(cut(100), "cdn", times=3)
    done = pull("hf://datasets/me/rich", tmp_path / "here", layers=["s1"])
    assert [request.route for request in hub.requests if request.fault] == ["cdn"] * 3
    assert verify(tmp_path / "here").ok
    assert done.url.startswith("hf://datasets/me/rich")
    asked = {request.name for request in hub.requests if request.route == "resolve"}
    assert asked & {name for name in shards_in(made) if "/s1/" not in name} == set()
    assert hub.token not in (tmp_path / "here/.m3leo/pulled.json").read_text()


def test_from_s3_and_https(s3: str, web: Any, made: Path, tmp_path: Path) -> None:
    put(made, open_target(s3))
    shutil.copytree(made, web.folder, dirs_exist_ok=True)
    for place in (s3, web.url):
        here = tmp_path / place.partition(":")[0]
        done = pull(place, here, layers=["landcover"], rows=[3])
        assert done.shards == 1
        assert verify(here).ok
        assert pixels(here, 3, "landcover") == pixels(made, 3, "landcover")


def test_a_part_survives_being_written(tmp_path: Path) -> None:
    part = Part("s3://b/p", "id", "digest", {"a.x": frozenset({0, 1, 2, 9}), "b.y": frozenset()})
    part.write(LocalBlobs(tmp_path))
    assert read_part(tmp_path) == part
    assert part.covers("chips.zarr/a/x/c/9/0/0/0")
    assert not part.covers("chips.zarr/a/x/c/3/0/0/0/0")
    assert not part.covers("chips.zarr/a/other/c/0/0/0/0")
    assert part.covers("chips.zarr/a/other/zarr.json")
    assert part.covers("provenance/b/part-00000.parquet")
    assert not part.covers("provenance/c/part-00000.parquet")
    assert part.covers("previews/map.png")
    assert read_part(tmp_path / "nowhere") is None


def test_each_file_is_told(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "PIECE_BYTES", 1000)  # several requests a file, the last one short or empty
    told: list[tuple[str, int]] = []
    starts: list[tuple[int, int]] = []
    keep: Callable[..., None] = lambda *given: starts.append(given)  # noqa: E731  a typed one
    done = pull(made, tmp_path / "here", on_start=keep, on_file=lambda *given: told.append(given))
    assert starts == [(done.files, int(Dataset(made).shards["bytes"].sum()))]
    assert dict(told) == {name: (made / name).stat().st_size for name, _ in told}
    assert (len(told), sum(size for _, size in told)) == (done.files, done.bytes)

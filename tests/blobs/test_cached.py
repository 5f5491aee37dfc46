"""The cache gives what its source gives, stays in its size, and gets in nobody's way."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from pathlib import Path

import pytest

from m3leo_prep.blobs.cached import Cached, cached
from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.blobs import Readable

DATA = bytes(range(256)) * 16


class Counting:
    """Remote blobs that note what is asked of them."""

    def __init__(self, root: Path) -> None:
        self.blobs = LocalBlobs(root)
        self.asked: list[tuple] = []

    url = "https://example.org/data"
    is_remote = True

    def get(self, name, start=0, length=None):
        self.asked.append((name, start, length))
        return self.blobs.get(name, start, length)

    def size(self, name):
        self.asked.append((name, "size"))
        return self.blobs.size(name)


@pytest.fixture
def source(tmp_path):
    counting = Counting(tmp_path / "source")
    counting.blobs.put("a/b", DATA)
    counting.blobs.put("manifest.json", b"{}")
    return counting


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("M3LEO_PREP_CACHE_GB", raising=False)
    return tmp_path / "cache"


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in kept(folder))


def test_what_was_read_once_is_not_asked_for_again(source, folder):
    blobs = cached(source, "sha256:1")
    ranges = [(0, None), (3, 4), (3, 5), (-3, None), (-3, 2), (4000, 500), (5000, 1)]
    for _ in range(2):
        assert [blobs.get("a/b", *one) for one in ranges] == [source.blobs.get("a/b", *one) for one in ranges]
        assert blobs.size("a/b") == len(DATA)
    assert len(source.asked) == len(ranges) + 1
    assert isinstance(blobs, Readable)
    assert (blobs.url, blobs.is_remote) == (source.url, True)
    another = pickle.loads(pickle.dumps(blobs))  # an epoch later, in another process
    assert another.get("a/b", 3, 4) == DATA[3:7]
    assert another.source.asked == source.asked


def test_another_manifest_sees_nothing_of_an_older_one(source, folder):
    assert cached(source, "sha256:1").get("a/b", 3, 4) == DATA[3:7]
    source.blobs.put("a/b", b"another dataset")
    assert cached(source, "sha256:2").get("a/b", 3, 4) == b"ther"


def test_the_manifest_is_never_kept(source, folder):
    blobs = cached(source, "1")
    for _ in range(2):
        assert blobs.get("manifest.json") == b"{}"
        assert blobs.size("manifest.json") == 2
    assert len(source.asked) == 4
    assert kept(folder) == []


def test_absence_is_asked_each_time_and_errors_are_the_sources(source, folder):
    blobs = cached(source, "1")
    for _ in range(2):
        assert blobs.size("nothing") is None
        with pytest.raises(FileNotFoundError):
            blobs.get("nothing", 1, 2)
    assert len(source.asked) == 4
    assert kept(folder) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:5],
        lambda _: b"",
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data + b"x",
        lambda data: bytes(len(data)),  # what a power cut leaves on some file systems
    ],
)
def test_a_damaged_file_is_fetched_again(source, folder, damage):
    blobs = cached(source, "1")
    blobs.get("a/b", 10, 20)
    [path] = kept(folder)
    path.write_bytes(damage(path.read_bytes()))
    assert blobs.get("a/b", 10, 20) == DATA[10:30]
    assert blobs.get("a/b", 10, 20) == DATA[10:30]
    assert len(source.asked) == 2


def test_a_file_under_the_name_of_another_is_not_taken_for_it(source, folder):
    blobs = cached(source, "1")
    blobs.get("a/b", 10, 20)
    [ours] = kept(folder)
    cached(source, "2").get("a/b", 30, 20)
    [other] = set(kept(folder)) - {ours}
    other.replace(ours)
    assert blobs.get("a/b", 10, 20) == DATA[10:30]


def test_what_a_reader_finds_damaged_can_be_forgotten(source, folder):
    blobs = cached(source, "1")
    assert blobs.get("a/b", 10, 20) == DATA[10:30]
    blobs.forget("a/b", 10, 20)
    blobs.forget("a/b", 99)
    assert blobs.get("a/b", 10, 20) == DATA[10:30]
    assert len(source.asked) == 2


def test_the_size_is_kept_and_what_was_not_used_for_longest_goes(source, folder):
    limit = 16 * 2**17
    blobs = Cached(source, folder, "1", limit)
    source.blobs.put("big", os.urandom(2**23))
    favourite = ("big", 5, 1000)
    most = 0
    for at in range(300):
        assert blobs.get("big", at * 16000, 16000) == source.blobs.get("big", at * 16000, 16000)
        blobs.get(*favourite)
        # Files in use are younger than the others, whatever the clock of this file system can tell apart.
        os.utime(blobs._path(*favourite), ns=(10**18 * 4, 10**18 * 4))
        if at % 4 == 0:
            most = max(most, total(folder))
    assert limit / 2 < most <= limit
    assert source.asked.count(favourite) == 1
    oldest, newest = ("big", 0, 16000), ("big", 299 * 16000, 16000)
    before = len(source.asked)
    blobs.get(*newest)
    assert len(source.asked) == before
    blobs.get(*oldest)
    assert len(source.asked) == before + 1


def test_other_datasets_make_room_too(source, folder):
    limit = 16 * 2**17
    source.blobs.put("big", bytes(2**23))
    for key in ("1", "2", "3"):
        blobs = Cached(source, folder, key, limit)
        for at in range(150):
            blobs.get("big", at * 16000, 16000)
    assert total(folder) <= limit
    assert sum(path.stat().st_size for path in kept(folder / "3")) > limit / 2


def test_something_large_does_not_push_all_out(source, folder):
    source.blobs.put("big", bytes(2**20))
    blobs = Cached(source, folder, "1", 16 * 2**17)
    for at in range(200):  # some in each share
        blobs.get("big", at, 1000)
    before = kept(folder)
    assert blobs.get("big") == bytes(2**20)
    assert kept(folder) == before


def test_switching_it_off(source, folder, monkeypatch):
    monkeypatch.setenv("M3LEO_PREP_CACHE_GB", "0")
    assert cached(source, "1") is source
    assert not folder.exists()
    for wrong in ("-1", "ten", "nan", "inf"):
        monkeypatch.setenv("M3LEO_PREP_CACHE_GB", wrong)
        with pytest.raises(ConfigError, match="M3LEO_PREP_CACHE_GB"):
            cached(source, "1")
    monkeypatch.setenv("M3LEO_PREP_CACHE_GB", "0.5")
    assert cached(source, "1").limit == 500_000_000


def test_a_cache_that_cannot_be_written_is_told_once(source, tmp_path):
    (tmp_path / "file").write_text("no folder")
    blobs = Cached(source, tmp_path / "file", "1", 10**9)
    with pytest.warns(RuntimeWarning, match="nothing more is kept"):
        assert blobs.get("a/b", 3, 4) == DATA[3:7]
    assert blobs.get("a/b", 3, 4) == DATA[3:7]
    assert blobs.size("a/b") == len(DATA)
    assert len(source.asked) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /dev/full")
def test_a_full_disk_loses_nothing(source, folder, monkeypatch):
    blobs = Cached(source, folder, "1", 10**9)
    blobs.get("a/b", 3, 4)
    with Path("/dev/full").open("wb", buffering=0) as full:
        write = os.write
        monkeypatch.setattr(os, "write", lambda _, data: write(full.fileno(), data))
        with pytest.warns(RuntimeWarning, match="No space left on device"):
            assert blobs.get("a/b", 5, 6) == DATA[5:11]
        monkeypatch.undo()
    assert len(kept(folder)) == 1, "no half file"
    assert blobs.get("a/b", 3, 4) == DATA[3:7], "what is there is still used"
    assert len(source.asked) == 2


def test_an_emptied_cache_fills_again(source, folder):
    blobs = cached(source, "1")
    blobs.get("a/b", 3, 4)
    for path in kept(folder):
        path.unlink()
        path.parent.rmdir()
    assert blobs.get("a/b", 3, 4) == DATA[3:7]
    assert len(kept(folder)) == 1


def hammer(blobs: Cached, seed: int) -> bool:
    size = blobs.source.blobs.size("big")
    right = True
    for step in range(400):
        at = (step * 7919 + seed * 104729) % 64 * 9000 % size
        right &= blobs.get("big", at, 9000) == blobs.source.blobs.get("big", at, 9000)
    return right


def test_many_processes_share_it(source, folder):
    """They write, read and remove the same files; nobody sees half of one, and the size is kept."""
    limit = 16 * 2**15
    source.blobs.put("big", os.urandom(2**20))
    blobs = Cached(source, folder, "1", limit)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.starmap(hammer, [(blobs, seed) for seed in range(4)]) == [True] * 4
    assert 0 < total(folder) <= 1.2 * limit  # a look that falls between two writes of others misses them
    assert not [path for path in kept(folder) if path.suffix == ".part"]

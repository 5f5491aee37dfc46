"""Reading over a network: as few requests as the layout allows, several at a time, and every fault told."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from m3leo_prep.blobs.cached import Cached
from m3leo_prep.core.errors import StoreError, VerifyError
from m3leo_prep.core.raster import Kind
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.learning.batch import Job, fill
from m3leo_prep.reader.pixels import held, parallel, shards
from m3leo_prep.reader.pixels.shards import ShardReader
from m3leo_prep.reader.selection import Pick, resolve
from m3leo_prep.testing.layers import make_array, make_layer
from m3leo_prep.testing.web import Fault, RangeServer


@dataclass
class Far:
    """Blobs in memory that count who asks for what; ``together`` makes each wait for so many others at once."""

    blobs: dict[str, bytes]
    requests: list[tuple[str, int, int | None]] = field(default_factory=list)
    together: threading.Barrier | None = None
    most: int = 0
    """Most requests at a time."""
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    url = "mem://far"
    is_remote = True

    def get(self, name, start=0, length=None):
        with self._lock:
            self.requests.append((name, start, length))
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            if self.together is not None:
                self.together.wait(30)
            if name not in self.blobs:
                raise FileNotFoundError(name)
            data = self.blobs[name][start:]
            return data if length is None else data[:length]
        finally:
            with self._lock:
                self._now -= 1

    def size(self, name):
        return len(self.blobs[name]) if name in self.blobs else None

    def __reduce__(self):
        return Far, (self.blobs,)


def far_of(made):
    files = [path for path in made.path.rglob("*") if path.is_file()]
    return Far({path.relative_to(made.path).as_posix(): path.read_bytes() for path in files})


@pytest.fixture
def far(tools, tmp_path):
    """Return (what was written, the dataset opened far away, its blobs): 4 slots of 6 bands in chunks of 3."""
    six = make_array("reflectance", Kind.REFLECTANCE, tuple("abcdef"), band_chunk=3)
    made = tools.write(tmp_path, [make_layer(six, name="s2", n_slots=4, shard_slots=4)], missing=0.0)
    blobs = far_of(made)
    dataset = Dataset(made.path)
    dataset.root, dataset.reader = blobs, ShardReader(blobs)
    return made, dataset, blobs


def pick_of(dataset):
    (pick,) = resolve(dataset, ["s2"], {}, {}).values()
    return pick


def read(dataset, row, slots=None, bands=None):
    stored = dataset.layers["s2"]
    return dataset.reader.read(stored, stored.arrays["reflectance"], row, slots, bands)


def jobs_of(pick, rows):
    shape = (len(pick.slots), len(pick.bands), pick.layer.size, pick.layer.size)
    return [Job(pick, row, np.empty(shape, np.float32), np.empty(shape, bool)) for row in rows]


def check(made, jobs):
    for job in jobs:
        codes = made.codes["s2", "reflectance"][job.row][list(job.pick.slots)][:, list(job.pick.bands)]
        valid = codes != -32768
        np.testing.assert_array_equal(job.valid, valid)
        np.testing.assert_array_equal(job.values, np.where(valid, (codes * 1e-4).astype(np.float32), 0))


def test_a_chip_is_one_request_after_the_index(far):
    """All slots and bands of a chip lie together in its shard."""
    made, dataset, blobs = far
    np.testing.assert_array_equal(read(dataset, 1), made.codes["s2", "reflectance"][1])
    shard = "chips.zarr/s2/reflectance/c/0/0/0/0/0"
    tail = 16 * 4 * 4 * 2 + 4
    assert blobs.requests[-2] == (shard, len(blobs.blobs[shard]) - tail, tail)
    for row in (0, 3, 1):
        blobs.requests.clear()
        np.testing.assert_array_equal(read(dataset, row), made.codes["s2", "reflectance"][row])
        assert len(blobs.requests) == 1
    blobs.requests.clear()
    np.testing.assert_array_equal(
        read(dataset, 2, [2, 1], [5, 3, 0]), made.codes["s2", "reflectance"][2][[2, 1]][:, [5, 3, 0]]
    )
    assert len(blobs.requests) == 1, "a run of chunks"
    blobs.requests.clear()
    read(dataset, 2, None, [1])
    assert len(blobs.requests) == 4, "one of two band chunks, four times: not what lies between"


def test_a_chip_is_one_request_whatever_its_size(far, monkeypatch):
    monkeypatch.setattr(shards, "MERGED_REMOTE", 0)
    made, dataset, blobs = far
    jobs = jobs_of(pick_of(dataset), range(4))
    fill(dataset.reader, jobs)
    blobs.requests.clear()
    fill(dataset.reader, jobs)
    check(made, jobs)
    assert len(blobs.requests) == 4


def test_neighbouring_chips_of_a_batch_share_requests(far):
    made, dataset, blobs = far
    jobs = jobs_of(pick_of(dataset), [9, 3, 2, 0, 5])
    fill(dataset.reader, jobs)
    check(made, jobs)
    blobs.requests.clear()
    fill(dataset.reader, jobs)
    check(made, jobs)
    assert len(blobs.requests) == 4, "chips 2 and 3 together"


def test_sixteen_requests_at_a_time_and_no_more(far, monkeypatch):
    """Each request waits until 16 are under way."""
    made, dataset, blobs = far
    pick = pick_of(dataset)
    pick = Pick(pick.layer, pick.array, pick.slots, (0,))  # every second chunk: nothing is merged
    fill(dataset.reader, jobs_of(pick, range(10)))
    blobs.most = 0
    blobs.together = threading.Barrier(parallel.GETS)
    jobs = jobs_of(pick, range(8))
    fill(dataset.reader, jobs)
    check(made, jobs)
    assert blobs.most == 16


def test_failures_of_one_request_end_the_batch(far):
    made, dataset, blobs = far
    pick = pick_of(dataset)
    fill(dataset.reader, jobs_of(pick, range(10)))
    shard = "chips.zarr/s2/reflectance/c/1/0/0/0/0"
    good = blobs.blobs[shard]
    blobs.blobs[shard] = bytes([good[0] ^ 1]) + good[1:]
    with pytest.raises(VerifyError, match=r"mem://far/.*c/1/0/0/0/0, chunk \(0, 0, 0, 0, 0\), chip c004: .*damaged"):
        fill(dataset.reader, jobs_of(pick, range(10)))
    blobs.blobs[shard] = good
    jobs = jobs_of(pick, range(10))
    fill(dataset.reader, jobs)
    check(made, jobs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: None, r"this shard is not here, though the dataset lists it with \d+ bytes"),
        (lambda data: data[:-1], r"this shard has \d+ bytes, but is listed with \d+"),
        (lambda data: b"x" + data, r"this shard has \d+ bytes, but is listed with \d+"),
    ],
)
def test_a_shard_that_is_not_as_listed(far, change, message):
    """A longer one is told from a damaged one, though its parts can be asked for."""
    _, dataset, blobs = far
    shard = "chips.zarr/s2/reflectance/c/1/0/0/0/0"
    data = change(blobs.blobs.pop(shard))
    if data is not None:
        blobs.blobs[shard] = data
    with pytest.raises(StoreError, match=f"mem://far/{shard}: {message}"):
        read(dataset, 5)


@pytest.mark.parametrize("is_cached", [False, True])
def test_an_answer_that_is_cut_is_an_error(far, tmp_path, monkeypatch, is_cached):
    """And it is not kept."""
    made, dataset, blobs = far
    if is_cached:
        dataset.reader = ShardReader(Cached(blobs, tmp_path / "cache", "key", 10**9))
    read(dataset, 2)
    whole = blobs.get
    monkeypatch.setattr(blobs, "get", lambda *asked: whole(*asked)[:-1])
    with pytest.raises(StoreError, match=r"c/0/0/0/0/0: \d+ bytes came instead of \d+"):
        read(dataset, 3)
    monkeypatch.undo()
    np.testing.assert_array_equal(read(dataset, 3), made.codes["s2", "reflectance"][3])


def test_a_shard_that_shrinks_after_its_index_was_read(far):
    _, dataset, blobs = far
    read(dataset, 3)
    shard = "chips.zarr/s2/reflectance/c/0/0/0/0/0"
    blobs.blobs[shard] = blobs.blobs[shard][:100]
    with pytest.raises(StoreError, match=r"this shard has 100 bytes, but is listed with"):
        read(dataset, 3)


def test_a_damaged_index_is_damage(far):
    _, dataset, blobs = far
    shard = "chips.zarr/s2/reflectance/c/1/0/0/0/0"
    data = bytearray(blobs.blobs[shard])
    data[-40] ^= 1
    blobs.blobs[shard] = bytes(data)
    with pytest.raises(VerifyError, match=r"c/1/0/0/0/0: the shard's index is damaged"):
        read(dataset, 5)


def test_nothing_but_the_address_travels(far, monkeypatch):
    made, dataset, blobs = far
    read(dataset, 1)
    size = len(pickle.dumps(ShardReader(blobs)))
    assert len(pickle.dumps(dataset.reader)) == size
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(read(again, 1), made.codes["s2", "reflectance"][1])
    monkeypatch.setattr(held, "indexes", held.Bounded(0))
    np.testing.assert_array_equal(read(again, 1), made.codes["s2", "reflectance"][1])
    assert len(held.indexes) == 0, "an index larger than all that may be kept is read again"


@pytest.fixture
def served(tools, tmp_path, monkeypatch):
    """Return (what was written, its server): read with a cache on disk."""
    six = make_array("reflectance", Kind.REFLECTANCE, tuple("abcdef"), band_chunk=3)
    made = tools.write(tmp_path / "made", [make_layer(six, name="s2", n_slots=4, shard_slots=4)], missing=0.0)
    made.edit_manifest(lambda manifest: manifest.update(manifest_digest="blake2b:1"))
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("M3LEO_PREP_CACHE_GB", raising=False)
    with RangeServer(made.path) as server:
        yield made, server


def asked(server):
    return [request for request in server.requests if "/c/0/" in request.path]


@pytest.mark.parametrize("cache_gb", ["1", "0"])
@pytest.mark.parametrize(("skipped", "what"), [(0, "index"), (1, "chunk")])
def test_a_byte_that_changes_on_the_way_heals(served, monkeypatch, cache_gb, skipped, what):
    """It is asked for once more, and what was kept of it on disk is what came then."""
    monkeypatch.setenv("M3LEO_PREP_CACHE_GB", cache_gb)
    made, server = served
    shard = "chips.zarr/s2/reflectance/c/0/*"
    server.faults += [Fault(path=shard)] * skipped + [Fault(path=shard, flip=40)]
    written = made.codes["s2", "reflectance"][1]
    np.testing.assert_array_equal(read(Dataset(server.url), 1), written)
    assert not server.faults, f"the {what} was damaged"
    assert len(asked(server)) == 3
    server.requests.clear()
    np.testing.assert_array_equal(read(Dataset(server.url), 1), written)
    assert len(asked(server)) == (0 if cache_gb == "1" else 2)


def test_damage_at_the_source_is_told_until_it_is_repaired(served):
    """Nor is that kept: the address of the same dataset gives the right bytes later."""
    made, server = served
    path = made.shard("s2", "reflectance", 0, 0)
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    for _ in range(2):
        with pytest.raises(VerifyError, match=r"c/0/0/0/0/0, chunk \(0, 0, 0, 0, 0\), chip c000: .*damaged"):
            read(Dataset(server.url), 0)
    path.write_bytes(good)
    np.testing.assert_array_equal(read(Dataset(server.url), 0), made.codes["s2", "reflectance"][0])


def test_a_chip_costs_no_thread_and_a_batch_of_local_files_some(far, monkeypatch):
    """To hand a chunk to another thread costs as much as to decode it."""
    made, _, _ = far
    dataset = Dataset(made.path)
    handed = []
    monkeypatch.setattr(shards, "each", lambda work, items, threads: (handed.append(threads), [*map(work, items)])[1])
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _: range(8), raising=False)
    jobs = jobs_of(pick_of(dataset), range(10))
    fill(dataset.reader, jobs[:1])
    assert set(handed) == {1}
    handed.clear()
    monkeypatch.setattr(parallel, "WORTH_A_THREAD", sum(job.values.size for job in jobs))
    fill(dataset.reader, jobs)
    assert set(handed) == {2}, "int16: two bytes a pixel"
    check(made, jobs)


def test_a_fork_while_the_list_of_shards_is_on_its_way(far):
    """A thread of the parent waits for it, and takes no lock into the child, which reads for itself."""
    made, dataset, blobs = far
    waiting, go_on, whole = threading.Event(), threading.Event(), blobs.get

    def slow(name, *part):
        if name == "shards.parquet" and threading.current_thread() is other:
            waiting.set()
            go_on.wait(30)
        return whole(name, *part)

    blobs.get = slow
    other = threading.Thread(target=read, args=(dataset, 1))
    other.start()
    assert waiting.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if np.array_equal(read(dataset, 2), made.codes["s2", "reflectance"][2]) else 1)
    assert os.waitpid(child, 0)[1] == 0
    go_on.set()
    other.join(30)

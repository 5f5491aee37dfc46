"""Reading over a network: as few requests as the layout allows, several at a time, and every fault told."""

from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from m3leo_prep.core.errors import StoreError, VerifyError
from m3leo_prep.core.raster import Kind
from m3leo_prep.reader import held, parallel, shards
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.pixels.batch import Job, fill
from m3leo_prep.reader.pixels.shards import ShardReader
from m3leo_prep.reader.selection import Pick, resolve
from m3leo_prep.testing.layers import make_array, make_layer


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


def test_an_answer_that_is_cut_is_an_error(far, monkeypatch):
    made, dataset, blobs = far
    read(dataset, 3)
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

"""Whole batches: the same bits as chip by chip, with and without numba, in any number of threads and processes."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3leo_prep.core.errors import StoreError, VerifyError
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.learning.batch import Job, fill
from m3leo_prep.reader.manifest import StoredArray
from m3leo_prep.reader.pixels import compiled, convert, parallel, shards
from m3leo_prep.reader.selection import Pick, resolve
from m3leo_prep.testing.layers import make_array, make_layer

KEYS = ["s1", "s2", "insar", "dem", "cover", "extra"]
CODECS = ["zstd", "lz4", "none"]


@pytest.fixture(scope="module")
def made_by_codec(tools, tmp_path_factory):
    """Return a dataset of all layers by codec."""

    def write(codec):
        layers = [
            dataclasses.replace(layer, arrays=tuple(dataclasses.replace(array, codec=codec) for array in layer.arrays))
            for layer in tools.layers()
        ]
        return tools.write(tmp_path_factory.mktemp("batch") / codec, layers)

    return {codec: write(codec) for codec in CODECS}


@pytest.fixture(params=["numba", "numpy"])
def kernel(request, monkeypatch):
    """Read with and without numba installed, from the first pixel on."""
    convert.fastest.cache_clear()
    monkeypatch.setattr(convert, "COMPILED_AFTER", 0)
    if request.param == "numpy":
        monkeypatch.delitem(sys.modules, "m3leo_prep.reader.pixels.compiled")
        monkeypatch.setitem(sys.modules, "numba", None)
    assert (convert.fastest() is convert.convert) == (request.param == "numpy")
    yield request.param
    convert.fastest.cache_clear()


def job_of(pick, row, statistics=None):
    """Return a job whose places hold rubbish."""
    shape = (len(pick.slots), len(pick.bands), pick.layer.size, pick.layer.size)
    values = np.full(shape, -7, np.int64 if pick.array.is_class else np.float32)
    return Job(pick, row, values, np.random.default_rng(row).random(shape) < 0.5, statistics)


def expected(made, job):
    """Return (values, valid) by the formula, from the codes that were written."""
    layer, array = job.pick.layer, job.pick.array
    codes = made.codes[layer.name, array.name][job.row]
    codes = codes[None] if layer.is_static else codes
    codes = codes[list(job.pick.slots)][:, list(job.pick.bands)]
    return by_formula(codes, array, job.statistics)


def by_formula(codes, array, statistics):
    valid = ~np.isnan(codes) if array.fill is None else codes != array.fill
    if array.is_class:
        return np.where(valid, codes.astype(np.int64), 255), valid
    values = codes if array.fill is None else (codes.astype(np.float64) * array.scale).astype(np.float32)
    if statistics is not None:
        values = (values - statistics[0]) / statistics[1]
    return np.where(valid, values, np.float32(0)), valid


def check(made, jobs):
    for job in jobs:
        values, valid = expected(made, job)
        assert job.values.dtype == values.dtype
        assert job.values.tobytes() == values.tobytes(), job.pick.array.name
        np.testing.assert_array_equal(job.valid, valid)


def statistics_of(n_bands, rng):
    mean, std = rng.normal(0, 5, (n_bands, 1, 1)), rng.uniform(0.5, 9, (n_bands, 1, 1))
    return mean.astype(np.float32), std.astype(np.float32)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.usefixtures("kernel")
def test_every_value_is_that_of_the_formula_bit_by_bit(made_by_codec, codec):
    made = made_by_codec[codec]
    dataset, rng = Dataset(made.path), np.random.default_rng(0)
    picks = resolve(dataset, KEYS, {}, {})
    assert {pick.array.dtype for pick in picks.values()} == {"uint8", "uint16", "int16", "int32", "float32"}
    jobs = [
        job_of(pick, row, statistics)
        for pick in picks.values()
        for statistics in (None, statistics_of(len(pick.bands), rng), statistics_of(1, rng))
        for row in rng.permutation(len(dataset))
    ]
    fill(dataset.reader, jobs)
    check(made, jobs)
    assert not all(job.valid.any() for job in jobs), "some planes are missing"


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_bands_and_slots_in_any_order(made_by_codec, data):
    """Repeated chips, slots and bands as well, in one or several threads."""
    made = made_by_codec[data.draw(st.sampled_from(CODECS))]
    dataset = Dataset(made.path)
    whole = list(resolve(dataset, KEYS, {}, {}).values())
    jobs = []
    for _ in range(data.draw(st.integers(1, 6))):
        pick = data.draw(st.sampled_from(whole))
        slots = data.draw(st.lists(st.sampled_from(pick.slots), min_size=1, max_size=6))
        bands = data.draw(st.lists(st.sampled_from(pick.bands), min_size=1, max_size=8))
        part = Pick(pick.layer, pick.array, tuple(slots), tuple(bands))
        jobs += [job_of(part, row) for row in data.draw(st.lists(st.integers(0, len(dataset) - 1), min_size=1))]
    fill(dataset.reader, jobs, threads=data.draw(st.sampled_from([1, 4])))
    check(made, jobs)


def test_numba_is_loaded_by_a_process_that_converts_much_and_gives_the_same_bits(made_by_codec, monkeypatch):
    """NumPy up to so many pixels, numba's compiled form from there on."""
    made, used = made_by_codec["zstd"], []
    dataset = Dataset(made.path)
    (pick,) = resolve(dataset, ["s1"], {}, {}).values()
    jobs = [job_of(pick, row, statistics_of(1, np.random.default_rng(0))) for row in (0, 3, 3, 0)]
    for module in (convert, compiled):
        form = module.convert
        monkeypatch.setattr(module, "convert", lambda *given, form=form: (used.append(form), form(*given)))
    convert.fastest.cache_clear()
    monkeypatch.setattr(convert, "_converted", 0)
    monkeypatch.setattr(convert, "COMPILED_AFTER", 2 * jobs[0].values.size)
    for job, form in zip(jobs, ["convert", "convert", "compiled", "compiled"], strict=True):
        used.clear()
        fill(dataset.reader, [job])
        assert {one.__module__.rsplit(".", 1)[1] for one in used} == {form}
    convert.fastest.cache_clear()
    check(made, jobs)
    assert jobs[0].values.tobytes() == jobs[3].values.tobytes()


SCALES = [0.01, 0.0001, 0.004, 0.001, 0.00275, 1.0, 3.0, -0.01]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("dtype", "fill_code"), [("uint8", 255), ("uint16", 65535), ("int16", -32768), ("int32", -1)])
def test_numpy_and_numba_give_the_exact_value_of_every_code(dtype, fill_code, scale):
    """All codes of up to 16 bits, with scales that are one over a whole number and others."""
    info = np.iinfo(dtype)
    codes = np.arange(info.min, info.max + 1).astype(dtype) if info.bits <= 16 else np.geomspace(1, 2**31 - 1, 70_000)
    codes = np.stack([codes, codes[::-1]]).astype(dtype)
    array = StoredArray("x", "continuous", ("a", "b"), "1", dtype, fill_code, scale, 2)
    mean, std = (np.array([3.3, -7.7], np.float32), np.array([0.1, 12.3], np.float32))
    for statistics in (None, (mean[:, None], std[:, None])):
        values, valid = by_formula(codes, array, statistics)
        for one in (convert.convert, compiled.convert):
            got, mask = np.full(codes.shape, np.nan, np.float32), np.zeros(codes.shape, bool)
            one(codes, got, mask, array, *(None, None) if statistics is None else (mean, std))
            assert got.tobytes() == values.tobytes()
            np.testing.assert_array_equal(mask, valid)


def test_the_short_cut_is_taken_where_it_is_exact_only():
    assert [convert._divisor("<i2", scale) for scale in (0.01, 0.0001, 1.0, 0.00275, 3.0, -0.01)] == [
        100, 10_000, 1, 0, 0, 0
    ]  # fmt: skip
    assert convert._divisor("<i4", 0.001) == 0


@pytest.mark.parametrize("one", [convert.convert, compiled.convert])
def test_floats_keep_infinity_and_negative_zero_and_lose_nan(one):
    array = StoredArray("x", "continuous", ("a",), "1", "float32", None, 1.0, 1)
    codes = np.array([[-0.0, np.inf, np.nan, -np.nan, 1e-42]], np.float32)
    values, valid = np.ones((1, 5), np.float32), np.zeros((1, 5), bool)
    one(codes, values, valid, array, None, None)
    assert values.tobytes() == np.array([-0.0, np.inf, 0, 0, 1e-42], np.float32).tobytes()
    assert valid.tolist() == [[True, True, False, False, True]]


def test_each_chunk_is_read_once_however_many_jobs_want_it(tools, tmp_path, monkeypatch):
    made = tools.write(tmp_path, [tools.layers()[0]], missing=0.0)
    dataset = Dataset(made.path)
    (pick,) = resolve(dataset, ["s1"], {}, {}).values()
    reads, original = [], os.preadv

    def counting(descriptor, buffers, offset):
        reads.append((descriptor, offset))
        return original(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", counting)
    parts = [Pick(pick.layer, pick.array, (slot,), (band,)) for slot in (1, 0) for band in (1, 0)]
    jobs = [job_of(part, row) for _ in range(3) for part in parts for row in (7, 2, 7)]
    fill(dataset.reader, jobs, threads=1)
    check(made, jobs)
    assert len(reads) == 4, "two shards: an index and the two neighbouring chunks of a chip, of each"
    monkeypatch.setattr(shards, "MERGED_LOCAL", 0)
    whole = [job_of(pick, row) for row in (9, 3, 1, 2, 8, 0)]
    fill(dataset.reader, whole, threads=1)
    reads.clear()
    fill(dataset.reader, whole, threads=1)
    check(made, whole)
    assert len(reads) == len(set(reads)) == 6 * len(pick.slots)
    files = [descriptor for descriptor, _ in reads]
    assert sum(one != other for one, other in pairwise(files)) == len(set(files)) - 1, "one shard after the other"
    for descriptor in set(files):
        offsets = [offset for of, offset in reads if of == descriptor]
        assert offsets == sorted(offsets), "as they lie on disk"


def test_many_callers_share_the_threads(made_by_codec):
    """More callers than the pool has threads, each with several at a time: none waits for ever."""
    made = made_by_codec["zstd"]
    dataset = Dataset(made.path)
    picks = resolve(dataset, KEYS, {}, {})
    batches = [[job_of(pick, row) for pick in picks.values() for row in (k % 10, 3)] for k in range(24)]
    threads = [threading.Thread(target=fill, args=(dataset.reader, jobs), kwargs={"threads": 16}) for jobs in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for jobs in batches:
        check(made, jobs)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("codec", CODECS)
def test_damage_names_shard_and_chip(tools, tmp_path, monkeypatch, codec, threads):
    array = dataclasses.replace(make_array(), codec=codec)
    made = tools.write(tmp_path, [make_layer(array, name="s1", n_slots=3, shard_slots=3)], missing=0.0)
    path = made.shard("s1", "backscatter", 1, 0)
    data = bytearray(path.read_bytes())
    data[3] ^= 1  # in the first chunk: chip 4, slot 0
    path.write_bytes(data)
    dataset = Dataset(made.path)
    (pick,) = resolve(dataset, ["s1"], {}, {}).values()
    with pytest.raises(VerifyError, match=r"c/1/0/0/0/0, chunk \(0, 0, 0, 0, 0\), chip c004: the chunk is damaged"):
        fill(dataset.reader, [job_of(pick, row) for row in range(10)], threads=threads)
    for merged in (shards.MERGED_LOCAL, 0):  # all chunks of a chip at once, or one by one
        monkeypatch.setattr(shards, "MERGED_LOCAL", merged)
        with pytest.raises(VerifyError, match=r"chunk \(0, 0, 0, 0, 0\), chip c004: the chunk is damaged"):
            dataset.reader.read(pick.layer, pick.array, 4)
        np.testing.assert_array_equal(
            dataset.reader.read(pick.layer, pick.array, 5), made.codes["s1", "backscatter"][5]
        )
    others = [job_of(pick, row) for row in range(10) if row != 4]
    fill(dataset.reader, others, threads=threads)
    check(made, others)
    path.unlink()
    with pytest.raises(StoreError, match="c/1/0/0/0/0: this shard is not here"):
        fill(Dataset(made.path).reader, others, threads=threads)


@pytest.mark.parametrize("wrong", ["dtype", "shape", "order", "mask"])
def test_places_that_do_not_fit_are_refused(shared_made, wrong):
    """Values in another order would go to a copy, and be lost."""
    dataset = Dataset(shared_made.path)
    (pick,) = resolve(dataset, ["s1"], {}, {}).values()
    job = job_of(pick, 0)
    changed = {
        "dtype": {"values": job.values.astype(np.float64)},
        "shape": {"values": job.values[1:]},
        "order": {"values": np.asfortranarray(job.values)},
        "mask": {"valid": job.valid[:, :1]},
    }[wrong]
    with pytest.raises(ValueError, match="C-contiguous"):
        fill(dataset.reader, [dataclasses.replace(job, **changed)])


def test_one_thread_in_workers_and_some_elsewhere(shared_made):
    root = Dataset(shared_made.path).root
    assert 1 <= parallel.default_threads(root, 2**30) <= parallel.DECODERS
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(parallel.default_threads, (root, 2**30)) == 1


def sums(dataset, rows):
    """Return what a worker reads, made small: the sum of values and of masks."""
    (pick,) = resolve(dataset, ["s1"], {}, {}).values()
    jobs = [job_of(pick, row) for row in rows]
    fill(dataset.reader, jobs, threads=4)
    return [(float(job.values.sum(dtype=np.float64)), int(job.valid.sum())) for job in jobs]


def test_forked_workers_read_while_threads_of_the_parent_do(shared_made):
    """The pool's threads and whatever locks they hold do not go along."""
    dataset = Dataset(shared_made.path)
    wanted = sums(dataset, range(10))
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            sums(dataset, range(10))

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            read_end, write_end = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    os.write(write_end, pickle.dumps(sums(dataset, range(10))))
                finally:
                    os._exit(0)
            os.close(write_end)
            with os.fdopen(read_end, "rb") as answers:
                assert pickle.loads(answers.read()) == wanted
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_spawned_process_reads(shared_made, tmp_path):
    """Without numba, torch or GDAL being imported: a few chips are not worth it."""
    dataset = Dataset(shared_made.path)
    wanted = sums(dataset, range(10))
    (tmp_path / "opened.pickle").write_bytes(pickle.dumps(dataset))
    code = f"""
import pickle, sys
import numpy as np
from m3leo_prep.reader.learning.batch import Job, fill
from m3leo_prep.reader.selection import resolve
dataset = pickle.load(open({str(tmp_path / "opened.pickle")!r}, "rb"))
(pick,) = resolve(dataset, ["s1"], {{}}, {{}}).values()
shape = (len(pick.slots), len(pick.bands), pick.layer.size, pick.layer.size)
jobs = [Job(pick, row, np.empty(shape, np.float32), np.empty(shape, bool)) for row in range(10)]
fill(dataset.reader, jobs)
print([(float(job.values.sum(dtype=np.float64)), int(job.valid.sum())) for job in jobs])
print([name for name in ("numba", "torch", "rasterio", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(wanted), "[]"]

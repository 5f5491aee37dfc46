"""The shard reader: bit-exact beside zarr-python, reads no more than asked, never takes damage for fill."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import resource
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import StoreError, VerifyError
from m3leo_prep.core.raster import Kind
from m3leo_prep.reader.copies.pulled import Part
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.pixels import held
from m3leo_prep.reader.pixels.shards import ShardReader
from m3leo_prep.store.codec import crc32c
from m3leo_prep.store.shard import decode_index, index_size
from m3leo_prep.testing.layers import make_array, make_layer

VARIABLES = [
    ("s1", "backscatter"),
    ("s2", "reflectance"),
    ("insar", "coherence"),
    ("insar", "phase"),
    ("dem", "height"),
    ("cover", "map"),
    ("extra", "angle"),
    ("extra", "flags"),
]


def read(dataset, layer, variable, row, slots=None, bands=None):
    stored = dataset.layers[layer]
    return dataset.reader.read(stored, stored.arrays[variable], row, slots, bands)


@pytest.fixture
def preads(monkeypatch):
    """Return the list of bytes that each ``os.preadv`` from here on really reads."""
    counted, original = [], os.preadv

    def counting(descriptor, buffers, offset):
        counted.append(original(descriptor, buffers, offset))
        return counted[-1]

    monkeypatch.setattr(os, "preadv", counting)
    return counted


@pytest.mark.parametrize(("layer", "variable"), VARIABLES)
def test_codes_are_those_of_zarr_python(shared_made, layer, variable):
    dataset = Dataset(shared_made.path)
    by_zarr = zarr.open_array(shared_made.path / "chips.zarr" / layer / variable, mode="r")[...]
    written = shared_made.codes[layer, variable]
    for row in range(len(dataset)):
        got = read(dataset, layer, variable, row)
        assert got.dtype == written.dtype
        assert got.tobytes() == by_zarr[row].tobytes() == written[row].tobytes()


@settings(max_examples=40)
@given(st.data())
def test_any_selection_is_that_of_the_whole(shared_made, data):
    """Slots and bands in any order and repeated, chunks holding one or several of either."""
    dataset = Dataset(shared_made.path)
    layer, variable = data.draw(st.sampled_from(VARIABLES))
    stored = dataset.layers[layer]
    row = data.draw(st.integers(0, len(dataset) - 1))
    slots = data.draw(st.lists(st.integers(0, len(stored.slots) - 1), min_size=1, max_size=6))
    bands = data.draw(st.lists(st.integers(0, len(stored.arrays[variable].bands) - 1), min_size=1, max_size=8))
    whole = shared_made.codes[layer, variable][row]
    expected = whole[bands] if stored.is_static else whole[slots][:, bands]
    np.testing.assert_array_equal(read(dataset, layer, variable, row, slots, bands), expected)


def test_whole_chunks_whose_bands_are_dealt_out(tools, tmp_path):
    """Each chunk is wanted whole and in order, but its bands do not lie together in the result."""
    six = make_array("reflectance", Kind.REFLECTANCE, tuple("abcdef"), band_chunk=3)
    made = tools.write(tmp_path, [make_layer(six, name="s2", n_slots=2, shard_slots=2)], missing=0.0)
    bands = [0, 3, 1, 4, 2, 5]
    got = read(Dataset(made.path), "s2", "reflectance", 1, None, bands)
    np.testing.assert_array_equal(got, made.codes["s2", "reflectance"][1][:, bands])


def test_only_the_asked_chunks_are_read(tools, tmp_path, preads):
    """The index once, then exactly the chunks of the asked bands and slots."""
    layers = [layer for layer in tools.layers() if layer.name in {"s1", "dem", "s2"}]
    made = tools.write(tmp_path, layers, missing=0.0)
    dataset = Dataset(made.path)
    read(dataset, "s1", "backscatter", 0, [1], [0])
    # Shard of 4 chips x 2 slots: 16 bytes for each of 8 chunks and a checksum; then one chunk.
    assert preads[0] == 8 * 16 + 4
    assert len(preads) == 2
    index = index_of(dataset, made.shard("s1", "backscatter", 0, 0), "s1", "backscatter")
    preads.clear()
    read(dataset, "s1", "backscatter", 0, [1, 0])
    assert preads == [index[0, :2, 0, 0, 0, 1].sum()], "neighbours in one read"
    preads.clear()
    read(dataset, "s1", "backscatter", 0, [2, 0])
    assert len(preads) == 3, "slots of two shards: index and chunk of the second, chunk of the first"
    preads.clear()
    read(dataset, "dem", "height", 3, None, [1])
    assert len(preads) == 2
    preads.clear()
    read(dataset, "dem", "height", 3)
    assert len(preads) == 1
    preads.clear()
    read(dataset, "s2", "reflectance", 1, [3, 0], [4, 5])
    assert len(preads) == 2, "four slots and three bands are one chunk"


def index_of(dataset, path, layer, variable):
    """Return offset and length of each chunk of a shard, by the key."""
    stored = dataset.layers[layer]
    array = stored.arrays[variable]
    slots = () if stored.is_static else (stored.shard_slots // stored.chunk_slots,)
    grid = (stored.shard_chips, *slots, len(array.bands) // array.band_chunk, 1, 1)
    return decode_index(path.read_bytes()[-index_size(grid) :], grid).astype(int)


def test_a_shard_listed_as_absent_is_all_missing(tools, tmp_path, preads):
    layer = tools.layers()[0]
    made = tools.write(tmp_path, [layer])
    codes = made.codes["s1", "backscatter"]
    codes[4:8] = -32768
    made = tools.write(tmp_path / "second", [layer], codes={("s1", "backscatter"): codes})
    assert not made.shard("s1", "backscatter", 1, 0).exists()
    preads.clear()
    got = read(Dataset(made.path), "s1", "backscatter", 5)
    assert (got == -32768).all()
    assert preads == []


def test_an_absent_shard_is_an_error_and_not_fill(made):
    """Zarr alone gives fill here, silently: that is why we do not read through it."""
    path = made.shard("s1", "backscatter", 1, 0)
    size = path.stat().st_size
    path.unlink()
    assert (zarr.open_array(made.path / "chips.zarr/s1/backscatter", mode="r")[5] == -32768).all()
    dataset = Dataset(made.path)
    with pytest.raises(StoreError, match=rf"c/1/0/0/0/0: .*not here.* {size} bytes") as error:
        read(dataset, "s1", "backscatter", 5)
    assert "not pulled" in error.value.hint
    np.testing.assert_array_equal(read(dataset, "s1", "backscatter", 3), made.codes["s1", "backscatter"][3])


@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b"", lambda b: b"version https://git-lfs", lambda b: b + b"x"]
)
def test_a_shard_of_another_size_is_an_error(made, change):
    path = made.shard("s1", "backscatter", 0, 0)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(StoreError, match=r"c/0/0/0/0/0: this shard has \d+ bytes, but is listed with \d+"):
        read(Dataset(made.path), "s1", "backscatter", 0)


def test_a_shard_that_is_not_listed_is_an_error(made):
    table = pq.read_table(made.path / "shards.parquet")
    pq.write_table(
        table.filter(pa.compute.invert(pa.compute.match_substring(table["path"], "/c/1/"))),
        made.path / "shards.parquet",
    )
    with pytest.raises(StoreError, match="not listed"):
        read(Dataset(made.path), "s1", "backscatter", 5)


def test_every_damaged_byte_of_a_chunk_is_found_and_shard_and_chip_named(made):
    dataset = Dataset(made.path)
    path = made.shard("s1", "backscatter", 1, 0)
    good = path.read_bytes()
    offset, length = index_of(dataset, path, "s1", "backscatter")[2, 1, 0, 0, 0].tolist()
    for position in range(offset, offset + length, 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
        with pytest.raises(VerifyError, match=r"c/1/0/0/0/0, chunk \(2, 1, 0, 0, 0\), chip c006: .*damaged"):
            read(Dataset(made.path), "s1", "backscatter", 6)
        np.testing.assert_array_equal(
            read(Dataset(made.path), "s1", "backscatter", 5), made.codes["s1", "backscatter"][5]
        )


def test_a_damaged_index_is_found(made):
    path = made.shard("s1", "backscatter", 0, 0)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerifyError, match=r"c/0/0/0/0/0: the shard's index is damaged"):
        read(Dataset(made.path), "s1", "backscatter", 0)


def test_an_absent_list_of_shards_is_an_error(made):
    (made.path / "shards.parquet").unlink()
    with pytest.raises(StoreError, match=r"shards\.parquet: this table cannot be read"):
        read(Dataset(made.path), "s1", "backscatter", 0)


@pytest.fixture
def few_files(monkeypatch):
    """Return the number of files that may be open: 2."""
    monkeypatch.setattr(held, "files", held.Bounded(2))
    return 2


@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_reads_that_the_system_cuts_short_are_gone_on_with(tools, tmp_path, monkeypatch, codec):
    """Network file systems and signals do that."""
    layer = make_layer(dataclasses.replace(make_array(), codec=codec), name="s1", n_slots=2)
    made, original = tools.write(tmp_path, [layer], missing=0.0), os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, offset: original(file, [buffers[0][:50]], offset))
    dataset = Dataset(made.path)
    for row in range(len(dataset)):
        np.testing.assert_array_equal(read(dataset, "s1", "backscatter", row), made.codes["s1", "backscatter"][row])
    monkeypatch.setattr(os, "preadv", lambda file, buffers, offset: 0)
    with pytest.raises(StoreError, match=r"this shard has \d+ bytes, but is listed with"):
        read(dataset, "s1", "backscatter", 0)


def test_more_chunks_than_the_system_takes_buffers(tools, tmp_path):
    """Uncompressed neighbours are read straight into their places; of these, one call takes 1024 at most."""
    bands = tuple(f"b{n}" for n in range(600))
    array = dataclasses.replace(make_array("reflectance", Kind.REFLECTANCE, bands, band_chunk=1), codec="none")
    made = tools.write(tmp_path, [make_layer(array, name="s2", size=2)], n_chips=2, missing=0.0)
    got = read(Dataset(made.path), "s2", "reflectance", 1)
    np.testing.assert_array_equal(got, made.codes["s2", "reflectance"][1])


def listed_as(made, digest):
    """Note in the manifest which list of shards it speaks of."""
    made.edit_manifest(lambda manifest: manifest.update(files={"shards.parquet": digest}))


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"x")


def damage(path):
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("change", [lengthen, damage, Path.unlink])
def test_a_dataset_that_changes_while_it_is_open_is_told_from_a_damaged_one(made, change, few_files):
    listed_as(made, "first")
    dataset = Dataset(made.path)
    read(dataset, "s1", "backscatter", 0)
    change(made.shard("s1", "backscatter", 1, 0))
    with pytest.raises((StoreError, VerifyError), match=r"c/1/0/0/0/0") as error:
        read(dataset, "s1", "backscatter", 4)
    assert "changed" not in str(error.value)
    listed_as(made, "second")
    with pytest.raises(StoreError, match=r"c/1/0/0/0/0: the dataset was changed while it was open") as error:
        read(dataset, "s1", "backscatter", 4)
    assert "open it again" in error.value.hint


def test_a_dataset_that_changed_before_its_first_read_is_noticed(made):
    """Nothing is wrong with the shards: but rows and slots may mean others now."""
    listed_as(made, "first")
    dataset, again = Dataset(made.path), pickle.dumps(Dataset(made.path))
    listed_as(made, "second")
    for one in (dataset, pickle.loads(again)):
        with pytest.raises(StoreError, match="changed while it was open"):
            read(one, "s1", "backscatter", 0)
    (made.path / "manifest.json").unlink()
    with pytest.raises(StoreError, match="changed while it was open"):
        read(dataset, "s1", "backscatter", 0)


def test_a_shard_that_was_not_pulled_says_how_to_pull_it(made):
    Part("https://example.org/data", "id", "digest", {"s1.backscatter": frozenset({0, 1})}).write(LocalBlobs(made.path))
    for number in (1, 2):
        made.shard("s1", "backscatter", number, 0).unlink()
    dataset = Dataset(made.path)
    with pytest.raises(StoreError, match=r"c/2/0/0/0/0: this shard of [\d,]+ bytes was not pulled") as error:
        read(dataset, "s1", "backscatter", 9)
    assert error.value.hint == f"m3leo-prep pull https://example.org/data {made.path} --layers s1"
    with pytest.raises(StoreError, match=r"c/1/0/0/0/0: this shard is not here"):
        read(dataset, "s1", "backscatter", 5)


def test_an_offset_beyond_the_end_is_damage(made):
    path = made.shard("s1", "backscatter", 0, 0)
    index = index_of(Dataset(made.path), path, "s1", "backscatter").astype("<u8")
    index[1, 2, 0, 0, 0, 1] += path.stat().st_size
    table = index.tobytes()
    path.write_bytes(path.read_bytes()[: -len(table) - 4] + table + crc32c(table))
    with pytest.raises(VerifyError, match=r"chunk \(1, 2, 0, 0, 0\), chip c001: the chunk reaches beyond"):
        read(Dataset(made.path), "s1", "backscatter", 1)


def n_open():
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("no /proc here to count open files")
    return len(list(folder.iterdir()))


def test_files_stay_few_and_close(tools, tmp_path, few_files):
    made = tools.write(tmp_path, [tools.layers()[0]], missing=0.0)
    dataset, twin = Dataset(made.path), Dataset(made.path)
    read(dataset, "s1", "backscatter", 0)
    del dataset
    before = n_open()
    dataset = Dataset(made.path)
    for row in (0, 4, 8, 0, 4, 8):
        for one in (dataset, twin):
            np.testing.assert_array_equal(read(one, "s1", "backscatter", row), made.codes["s1", "backscatter"][row])
        assert n_open() <= before + few_files, "all datasets together"
    del one, dataset, twin
    gc.collect()
    assert n_open() == before, "what a dataset held goes with it"


def test_20_000_shards_with_256_files_and_little_memory(tools, tmp_path, monkeypatch):
    """A walk over more shards than may be open, and than indexes are kept of."""
    n_shards = 20_000
    layer = make_layer(make_array("map", Kind.CLASSES, ("map",)), name="cover", shard_chips=1, size=2)
    made = tools.write(tmp_path, [layer], n_chips=1, missing=0.0)
    folder = made.path / "chips.zarr/cover/map/c"
    for number in range(1, n_shards):
        (folder / str(number)).symlink_to("0")
    sizes = dict.fromkeys(
        (f"chips.zarr/cover/map/c/{number}/0/0/0" for number in range(n_shards)),
        (folder / "0/0/0/0").stat().st_size,
    )
    monkeypatch.setattr(held, "files", held.Bounded(held.OPEN_FILES))
    monkeypatch.setattr(held, "indexes", held.Bounded(1000))
    dataset = Dataset(made.path)
    reader = ShardReader(dataset.root, sizes=sizes)
    stored = dataset.layers["cover"]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = n_open()
    # 256 in a process of its own; tests before this one may have left some open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(256, before + held.OPEN_FILES + 32), hard))
    try:
        for row in range(n_shards):
            codes = reader.read(stored, stored.arrays["map"], row)
            if row % 1000 == 0:
                np.testing.assert_array_equal(codes, made.codes["cover", "map"][0])
                assert n_open() <= before + held.OPEN_FILES + 1
                assert held.indexes.cost <= 1000
                assert sum(index.nbytes for index, _ in held.indexes._held.values()) == held.indexes.cost
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    del reader
    assert n_open() == before


def test_pickled_open_readers_read(shared_made):
    dataset = Dataset(shared_made.path)
    expected = read(dataset, "s1", "backscatter", 2)
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(read(again, "s1", "backscatter", 2), expected)
    assert len(pickle.dumps(dataset)) == len(pickle.dumps(Dataset(shared_made.path))), "no cache travels"


@pytest.mark.usefixtures("few_files")
def test_many_threads_read_while_shards_drop_out(tools, tmp_path, monkeypatch):
    made = tools.write(tmp_path, [tools.layers()[0]], missing=0.1)
    monkeypatch.setattr(held, "indexes", held.Bounded(200))
    dataset, wrong = Dataset(made.path), []

    def work(seed):
        rows = np.random.default_rng(seed).integers(0, len(dataset), 100)
        codes = made.codes["s1", "backscatter"]
        wrong.extend(row for row in rows if not np.array_equal(read(dataset, "s1", "backscatter", row), codes[row]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []

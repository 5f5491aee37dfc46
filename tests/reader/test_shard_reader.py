"""The shard reader: bit-exact beside zarr-python, reads no more than asked, never takes damage for fill."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from m3leo_prep.core.errors import StoreError, VerifyError
from m3leo_prep.core.raster import Kind
from m3leo_prep.reader import shards
from m3leo_prep.reader.dataset import Dataset
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
    """Return the list of bytes that each ``os.pread`` from here on really reads."""
    counted, original = [], os.pread

    def counting(descriptor, length, offset):
        data = original(descriptor, length, offset)
        counted.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counting)
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
    index = dataset.reader._open.__wrapped__(*_key(dataset, "s1", "backscatter")).index
    preads.clear()
    read(dataset, "s1", "backscatter", 0, [1, 0])
    assert sorted(preads) == sorted(int(index[0, slot, 0, 0, 0, 1]) for slot in (0, 1))
    preads.clear()
    read(dataset, "dem", "height", 3, None, [1])
    assert len(preads) == 2
    preads.clear()
    read(dataset, "dem", "height", 3)
    assert len(preads) == 2
    preads.clear()
    read(dataset, "s2", "reflectance", 1, [3, 0], [4, 5])
    assert len(preads) == 2, "four slots and three bands are one chunk"


def _key(dataset, layer, variable):
    stored = dataset.layers[layer]
    name = f"chips.zarr/{layer}/{variable}/c/0/0/0/0" + ("" if stored.is_static else "/0")
    return name, shards._grid(stored, stored.arrays[variable])


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
    offset, length = (int(n) for n in dataset.reader._open(*_key_of(dataset, 1)).index[2, 1, 0, 0, 0])
    for position in range(offset, offset + length, 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
        with pytest.raises(VerifyError, match=r"c/1/0/0/0/0, chunk \(2, 1, 0, 0, 0\), chip c006: .*damaged"):
            read(Dataset(made.path), "s1", "backscatter", 6)
        np.testing.assert_array_equal(
            read(Dataset(made.path), "s1", "backscatter", 5), made.codes["s1", "backscatter"][5]
        )


def _key_of(dataset, shard):
    stored = dataset.layers["s1"]
    return f"chips.zarr/s1/backscatter/c/{shard}/0/0/0/0", shards._grid(stored, stored.arrays["backscatter"])


def test_a_damaged_index_is_found(made):
    path = made.shard("s1", "backscatter", 0, 0)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerifyError, match=r"c/0/0/0/0/0: the shard's index is damaged"):
        read(Dataset(made.path), "s1", "backscatter", 0)


def test_an_absent_list_of_shards_is_an_error(made):
    (made.path / "shards.parquet").unlink()
    with pytest.raises(StoreError, match="list of shards"):
        read(Dataset(made.path), "s1", "backscatter", 0)


def n_open():
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("no /proc here to count open files")
    return len(list(folder.iterdir()))


def test_files_stay_few_and_close(tools, tmp_path, monkeypatch):
    layer = tools.layers()[0]
    made = tools.write(tmp_path, [layer], missing=0.0)
    monkeypatch.setattr(shards, "OPEN_SHARDS", 2)
    dataset = Dataset(made.path)
    before = n_open()
    for row in (0, 4, 8, 0, 4, 8):
        np.testing.assert_array_equal(read(dataset, "s1", "backscatter", row), made.codes["s1", "backscatter"][row])
        assert n_open() <= before + 2
    dataset.reader._open.cache_clear()
    assert n_open() == before


def test_pickled_open_readers_read(shared_made):
    dataset = Dataset(shared_made.path)
    expected = read(dataset, "s1", "backscatter", 2)
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(read(again, "s1", "backscatter", 2), expected)
    assert len(pickle.dumps(dataset)) == len(pickle.dumps(Dataset(shared_made.path))), "no cache travels"


def test_many_threads_read_while_shards_drop_out(tools, tmp_path, monkeypatch):
    made = tools.write(tmp_path, [tools.layers()[0]], missing=0.1)
    monkeypatch.setattr(shards, "OPEN_SHARDS", 1)
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

"""Shards: exact bytes, exact values in three independent readers, damage found and named (D92, D93)."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numcodecs.blosc
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.encoding import Encoding
from m3leo_prep.core.errors import VerifyError
from m3leo_prep.core.raster import Kind
from m3leo_prep.store.codec import crc32c
from m3leo_prep.store.metadata import array_document, array_grid, chunk_shape, shard_shape
from m3leo_prep.store.shard import (
    MISSING,
    ChunkCodec,
    decode_index,
    decode_shard,
    encode_shard,
    encode_shard_parts,
    index_size,
    is_missing,
    shard_name,
    write_shard,
)
from m3leo_prep.testing.layers import make_array, make_layer, random_codes

FLOAT = Encoding("float32", None, unit="m")
DTYPES = ["uint8", "uint16", "int16", "int32", "float32"]


def write_values(blobs, layer, array, values):
    """Cut a whole array into shards of encoded chunks and write them, as a build does."""
    codec, fill = ChunkCodec(array.encoding.dtype), array.encoding.fill_value
    shard, chunk, grid = shard_shape(layer, array), chunk_shape(layer, array), array_grid(layer, array)
    counts = [-(-n // s) for n, s in zip(values.shape, shard, strict=True)]
    for place in np.ndindex(*counts):
        chunks = {}
        for key in np.ndindex(*grid):
            start = [p * s + k * c for p, s, k, c in zip(place, shard, key, chunk, strict=True)]
            piece = values[tuple(slice(a, a + c) for a, c in zip(start, chunk, strict=True))]
            if piece.shape == chunk and not is_missing(piece, fill):
                chunks[key] = codec.encode(piece)
        write_shard(blobs, shard_name(layer.name, array.variable.name, place), chunks, grid)
    path = f"chips.zarr/{layer.name}/{array.variable.name}"
    blobs.put(f"{path}/zarr.json", json.dumps(array_document(layer, array, len(values))).encode())
    return path


def by_zarr_python(path):
    return zarr.open_array(path, mode="r")[...]


def by_zarrs(path):
    pytest.importorskip("zarrs")
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        return zarr.open_array(path, mode="r")[...]


def by_tensorstore(path):
    ts = pytest.importorskip("tensorstore")
    return ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}).result().read().result()


CASES = {
    "time_two_bands": make_layer(make_array(), n_slots=3, shard_slots=3),
    "slots_do_not_divide": make_layer(make_array(), n_slots=5, shard_slots=2),
    "all_slots_in_one_chunk": make_layer(make_array(), n_slots=4, shard_slots=4, chunk_slots=4),
    "band_chunks": make_layer(make_array(bands=tuple("abcdef"), band_chunk=3), n_slots=2, shard_slots=1, shard_chips=2),
    "static_classes": make_layer(make_array("map", Kind.CLASSES, ("map",))),
    "static_floats": make_layer(make_array("dem", Kind.CONTINUOUS, ("h", "s"), band_chunk=1, encoding=FLOAT)),
    "unwrapped_phase": make_layer(make_array("phase", Kind.UNWRAPPED_PHASE, ("phase",))),
    "angles": make_layer(make_array("angle", Kind.ANGLE, ("inc",))),
}


@pytest.mark.parametrize("read", [by_zarr_python, by_zarrs, by_tensorstore])
@pytest.mark.parametrize("case", CASES)
def test_other_readers_read_bit_exactly(tmp_path, case, read):
    """Nine chips in shards of four or two: the last shard is partial; some chunks, and one whole shard, are omitted."""
    layer = CASES[case]
    (array,) = layer.arrays
    values = random_codes(layer, array, 9, np.random.default_rng(7))
    values[4:8] = array.encoding.fill_value
    path = write_values(LocalBlobs(tmp_path), layer, array, values)
    assert not any(name.startswith(f"{path}/c/1/") for name in LocalBlobs(tmp_path).list()) or layer.shard_chips != 4
    got = np.asarray(read(str(tmp_path / path)))
    assert got.dtype == values.dtype
    np.testing.assert_array_equal(got.view(np.uint8), values.view(np.uint8))


def test_a_wrong_index_order_would_be_seen(tmp_path):
    """The comparison above can fail: two chunks swapped in the index are two chips swapped."""
    layer = CASES["static_classes"]
    (array,) = layer.arrays
    values = random_codes(layer, array, 4, np.random.default_rng(1), missing=0)
    path = write_values(LocalBlobs(tmp_path), layer, array, values)
    name, grid = f"{path}/c/0/0/0/0", array_grid(layer, array)
    chunks = decode_shard(LocalBlobs(tmp_path).get(name), grid)
    first, second = (0, 0, 0, 0), (1, 0, 0, 0)
    chunks[first], chunks[second] = chunks[second], chunks[first]
    write_shard(LocalBlobs(tmp_path), name, chunks, grid)
    assert not np.array_equal(by_zarr_python(str(tmp_path / path)), values)


def test_the_layout_written_out_by_hand():
    """Chunks lie in C order, whatever the order they are given in; then offset and length of each; then crc32c."""
    one, two = b"A" + crc32c(b"A"), b"BBB" + crc32c(b"BBB")
    chunks = {(1, 0): two, (0, 1): one}
    missing = 2**64 - 1
    table = struct.pack("<8Q", missing, missing, 0, 5, 5, 7, missing, missing)
    data = encode_shard(chunks, (2, 2))
    assert data[:-4] == one + two + table
    # crc32c bit by bit, from its definition (reflected polynomial 0x82F63B78)
    crc = 0xFFFFFFFF
    for byte in table:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    assert data[-4:] == struct.pack("<I", crc ^ 0xFFFFFFFF)
    assert index_size((2, 2)) == len(table) + 4
    assert decode_shard(data, (2, 2)) == chunks
    assert b"".join(encode_shard_parts(chunks, (2, 2))) == data


def test_an_empty_shard_is_only_an_index():
    data = encode_shard({}, (4, 1, 1, 1))
    assert len(data) == index_size((4, 1, 1, 1))
    assert (decode_index(data, (4, 1, 1, 1)) == MISSING).all()


@pytest.mark.parametrize("key", [(2, 0), (0, -1), (0,), (0, 0, 0)])
def test_a_chunk_outside_the_grid_is_refused(key):
    with pytest.raises(ValueError, match="outside the grid"):
        encode_shard({key: b"x"}, (2, 2))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_shards_round_trip(data):
    grid = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    keys = st.tuples(*[st.integers(0, n - 1) for n in grid])
    codec = ChunkCodec("uint8")
    raw = data.draw(st.dictionaries(keys, st.binary(min_size=1, max_size=30)))
    chunks = {k: codec.encode(np.frombuffer(v, np.uint8)) for k, v in raw.items()}
    got = decode_shard(encode_shard(chunks, grid), grid)
    assert {k: codec.decode(v, (len(raw[k]),)).tobytes() for k, v in got.items()} == raw


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(DTYPES), st.integers(0, 2**32 - 1), st.sampled_from([(1, 1, 1), (2, 3, 5), (1, 64, 64)]))
def test_chunks_round_trip(dtype, seed, shape):
    rng = np.random.default_rng(seed)
    chunk = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]
    got = ChunkCodec(dtype).decode(ChunkCodec(dtype).encode(chunk), shape)
    assert got.tobytes() == chunk.tobytes()


def test_chunks_that_are_not_contiguous_or_big_endian():
    chunk = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    codec = ChunkCodec("int16")
    expected = codec.encode(chunk)
    assert codec.encode(np.asfortranarray(chunk)) == expected
    assert codec.encode(np.repeat(chunk, 2, axis=2)[:, :, ::2]) == expected


def test_a_chunk_of_another_dtype_is_refused():
    """Casting 300 to uint8 would wrap (D85)."""
    with pytest.raises(TypeError, match="int16"):
        ChunkCodec("uint8").encode(np.full((1, 2, 2), 300, np.int16))


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_one_flipped_bit_is_found_and_named(dtype):
    """Each byte of a small shard in turn: in a chunk, in the index, in a checksum (D92)."""
    rng = np.random.default_rng(3)
    codec, grid = ChunkCodec(dtype), (2, 1, 1)
    raw = rng.integers(0, 100, (2, 1, 3, 3)).astype(dtype)
    data = encode_shard({(i, 0, 0): codec.encode(raw[i]) for i in range(2)}, grid)
    ends = [len(codec.encode(raw[0])), len(codec.encode(raw[0])) + len(codec.encode(raw[1])), len(data)]
    names = [r"chunk \(0, 0, 0\)", r"chunk \(1, 0, 0\)", "index"]
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position % 8)
        what = names[next(i for i, end in enumerate(ends) if position < end)]
        with pytest.raises(VerifyError, match=f"c/7/0: .*{what}"):
            decode_shard(bytes(damaged), grid, where="c/7/0")


def test_damaged_chunk_is_named_by_the_codec():
    codec = ChunkCodec("int16")
    payload = bytearray(codec.encode(np.arange(9, dtype=np.int16)))
    payload[20] ^= 1
    with pytest.raises(VerifyError, match="row 7: the chunk is damaged"):
        codec.decode(bytes(payload), (9,), where="row 7")
    for short in (b"", b"abc", bytes(payload[:15])):
        with pytest.raises(VerifyError):
            codec.decode(short, (9,))


def test_a_chunk_of_another_size_is_refused():
    codec = ChunkCodec("int16")
    payload = codec.encode(np.arange(9, dtype=np.int16))
    with pytest.raises(VerifyError, match="18 bytes, not 16"):
        codec.decode(payload, (8,))


def test_an_index_that_is_short_or_points_outside_is_refused():
    grid = (2, 1)
    data = encode_shard({(0, 0): ChunkCodec("uint8").encode(np.arange(9, dtype=np.uint8))}, grid)
    with pytest.raises(VerifyError, match="index has"):
        decode_index(data[-index_size(grid) :][1:], grid)
    with pytest.raises(VerifyError, match="beyond"):
        decode_shard(data[1:], grid)
    with pytest.raises(VerifyError):
        decode_shard(b"short", grid)


@pytest.fixture
def blosc_threads():
    """Blosc as another library in the process may leave it: with threads of its own."""
    before, n_threads = numcodecs.blosc.use_threads, numcodecs.blosc.set_nthreads(4)
    numcodecs.blosc.use_threads = True
    yield
    numcodecs.blosc.use_threads = before
    numcodecs.blosc.set_nthreads(n_threads)


def noisy_chunk():
    return np.random.default_rng(5).normal(-24, 6, (4, 224, 224)).astype(np.int16)


def test_blosc_threads_would_change_the_bytes(blosc_threads):
    """Why the codec switches them off: this is what the next test would see without."""
    raw = noisy_chunk().reshape(-1)
    assert len({numcodecs.blosc.compress(raw, b"zstd", 3, 2, 0, 2) for _ in range(300)}) > 1


def test_same_bytes_in_threads_and_in_another_process(blosc_threads):
    """D93, whatever Blosc's setting, the time zone and the locale."""
    chunk, codec = noisy_chunk(), ChunkCodec("int16")
    with ThreadPoolExecutor(4) as pool:
        seen = {hashlib.sha256(payload).hexdigest() for payload in pool.map(codec.encode, [chunk] * 40)}
    code = (
        "import hashlib, numpy as np; from m3leo_prep.store.shard import ChunkCodec;"
        "c = np.random.default_rng(5).normal(-24, 6, (4, 224, 224)).astype(np.int16);"
        "print(hashlib.sha256(ChunkCodec('int16').encode(c)).hexdigest())"
    )
    environment = {**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert seen == {other.stdout.strip()}


def test_parts_are_the_chunks_themselves():
    """A shard of 1 GiB must not lie in memory twice."""
    chunks = {(i, 0): bytes(100) for i in range(3)}
    *parts, _index = encode_shard_parts(chunks, (3, 1))
    assert all(part is chunk for part, chunk in zip(parts, chunks.values(), strict=True))


def test_shard_names():
    assert shard_name("s1", "vv", (3, 1)) == "chips.zarr/s1/vv/c/3/1/0/0/0"
    assert shard_name("s1", "vv", (3, 1, 0, 0, 0)) == "chips.zarr/s1/vv/c/3/1/0/0/0"
    assert shard_name("dem", "h", (3,)) == "chips.zarr/dem/h/c/3/0/0/0"
    assert shard_name("dem", "h", (np.int64(3), 0, 0, 0)) == "chips.zarr/dem/h/c/3/0/0/0"


def test_write_shard_tells_what_lies_there(tmp_path):
    blobs = LocalBlobs(tmp_path)
    chunks = {(0, 0): b"abc"}
    made = write_shard(blobs, "x/c/0", chunks, (2, 1))
    data = blobs.get("x/c/0")
    assert data == encode_shard(chunks, (2, 1))
    assert (made.path, made.bytes, made.sha256) == ("x/c/0", len(data), hashlib.sha256(data).hexdigest())
    gone = write_shard(blobs, "x/c/0", {}, (2, 1))
    assert (gone.bytes, gone.sha256) == (0, "")
    assert blobs.size("x/c/0") is None


def test_missing_is_all_fill_and_nothing_less():
    codes = np.full((2, 3, 3), -32768, np.int16)
    assert is_missing(codes, -32768)
    codes[1, 2, 2] = 0
    assert not is_missing(codes, -32768)
    assert not is_missing(np.zeros((1, 2, 2), np.int16), -32768)
    floats = np.full((1, 2, 2), np.nan, np.float32)
    assert is_missing(floats, np.nan)
    floats[0, 1, 1] = 0
    assert not is_missing(floats, float("nan"))
    assert is_missing(np.full((1, 2, 2), 255, np.uint8), 255)

"""The codecs a recipe may choose: exact bytes, the same values in three independent readers, damage found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numcodecs.blosc
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.encoding import Encoding
from m3leo_prep.core.errors import VerifyError
from m3leo_prep.core.layer import Codec, Layer
from m3leo_prep.core.raster import Kind
from m3leo_prep.store.codec import ChunkCodec, crc32c
from m3leo_prep.store.documents import array_document, array_grid
from m3leo_prep.store.shard import shard_name, write_shard
from m3leo_prep.testing.layers import make_array, make_layer, random_codes

CODECS: tuple[Codec, ...] = ("zstd", "lz4", "none")
DTYPES = ("uint8", "uint16", "int16", "int32", "float32")
FLOAT = Encoding("float32", None, unit="m")


def noise(dtype: str, shape: tuple[int, ...] = (2, 16, 16)) -> NDArray[Any]:
    bits = np.random.default_rng(5).integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8)
    made: NDArray[Any] = bits.view(dtype)[..., 0]
    return made


def test_the_default_is_zstd_as_ever() -> None:
    """Bytes that every dataset has so far: blosc's own frame of zstd 3, bitshuffled, then the checksum."""
    chunk = noise("int16")
    numcodecs.blosc.use_threads = False
    expected = numcodecs.blosc.compress(chunk.reshape(-1), b"zstd", 3, numcodecs.blosc.BITSHUFFLE, 0, 2)
    assert ChunkCodec("int16") == ChunkCodec("int16", "zstd")
    assert ChunkCodec("int16").encode(chunk) == expected + crc32c(expected)


def test_none_is_the_values_and_their_checksum() -> None:
    chunk = noise("int16")
    assert ChunkCodec("int16", "none").encode(chunk) == chunk.tobytes() + crc32c(chunk.tobytes())


@pytest.mark.parametrize(("dtype", "shuffle"), [("uint8", "noshuffle"), ("int16", "bitshuffle")])
def test_lz4_is_blosc_of_that_level_and_shuffle(dtype: str, shuffle: str) -> None:
    chunk = np.arange(512).astype(dtype).reshape(2, 16, 16)
    numcodecs.blosc.use_threads = False
    mode = {"noshuffle": numcodecs.blosc.NOSHUFFLE, "bitshuffle": numcodecs.blosc.BITSHUFFLE}[shuffle]
    expected = numcodecs.blosc.compress(chunk.reshape(-1), b"lz4", 5, mode, 0, chunk.itemsize)
    made = ChunkCodec(dtype, "lz4")
    assert made.encode(chunk) == expected + crc32c(expected)
    (blosc,) = [codec["configuration"] for codec in made.document() if codec["name"] == "blosc"]
    assert (blosc["cname"], blosc["clevel"], blosc["shuffle"]) == ("lz4", 5, shuffle)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 16, 16), (1,)])
def test_chunks_round_trip(codec: Codec, dtype: str, shape: tuple[int, ...]) -> None:
    chunk = noise(dtype, shape)
    made = ChunkCodec(dtype, codec)
    assert made.decode(made.encode(chunk), shape).tobytes() == chunk.tobytes()


def test_a_big_endian_or_strided_chunk_is_stored_alike() -> None:
    chunk, codec = noise("int16"), ChunkCodec("int16", "none")
    assert codec.encode(np.asfortranarray(chunk)) == codec.encode(chunk)
    with pytest.raises(TypeError, match="int16"):
        codec.encode(chunk.astype(">i2"))


@pytest.mark.parametrize("codec", CODECS)
def test_damage_and_other_sizes_are_found(codec: Codec) -> None:
    made = ChunkCodec("int16", codec)
    payload = made.encode(np.arange(9, dtype=np.int16))
    for place in (0, len(payload) // 2, len(payload) - 1):
        damaged = bytearray(payload)
        damaged[place] ^= 1
        with pytest.raises(VerifyError, match="row 7: the chunk is damaged"):
            made.decode(bytes(damaged), (9,), where="row 7")
    with pytest.raises(VerifyError, match="18 bytes, not 16"):
        made.decode(payload, (8,))
    with pytest.raises(VerifyError):
        made.decode(payload[:-1], (9,))


def test_chunks_of_another_codec_are_refused_not_misread() -> None:
    chunk = noise("int16")
    with pytest.raises(VerifyError, match="bytes, not 1024"):
        ChunkCodec("int16", "none").decode(ChunkCodec("int16", "zstd").encode(chunk), chunk.shape)
    with pytest.raises(VerifyError, match="bytes, not 1024"):
        ChunkCodec("int16", "zstd").decode(ChunkCodec("int16", "none").encode(chunk), chunk.shape)


# -- other readers -----------------------------------------------------------------------------------------------------


def by_zarr_python(path: str) -> Any:
    return zarr.open_array(path, mode="r")[...]


def by_zarrs(path: str) -> Any:
    pytest.importorskip("zarrs")
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        return zarr.open_array(path, mode="r")[...]


def by_tensorstore(path: str) -> Any:
    ts = pytest.importorskip("tensorstore")
    return ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}).result().read().result()


CASES = {
    "int16": make_layer(make_array(), n_slots=3, shard_slots=3, size=16),
    "uint8": make_layer(make_array("map", Kind.CLASSES, ("map",)), size=16),
    "float32": make_layer(make_array("dem", Kind.CONTINUOUS, ("h",), encoding=FLOAT), size=16),
}


def written(root: Path, case: Layer, codec: Codec) -> tuple[str, NDArray[Any]]:
    """Write a shard of four chips, some of them missing; return its folder and values."""
    layer = replace(case, arrays=tuple(replace(array, codec=codec) for array in case.arrays))
    (array,) = layer.arrays
    values = random_codes(layer, array, 4, np.random.default_rng(7))
    values[1] = array.encoding.fill_value
    made, grid = ChunkCodec(array.encoding.dtype, codec), array_grid(layer, array)
    inner = [values.shape[0] // grid[0], *(n // g for n, g in zip(values.shape[1:], grid[1:], strict=True))]
    chunks = {}
    for key in np.ndindex(*grid):
        piece = values[tuple(slice(k * n, (k + 1) * n) for k, n in zip(key, inner, strict=True))]
        if key[0] != 1:
            chunks[key] = made.encode(piece)
    blobs, path = LocalBlobs(root), f"chips.zarr/{layer.name}/{array.variable.name}"
    at = (0,) if layer.is_static else (0, 0)
    write_shard(blobs, shard_name(layer.name, array.variable.name, at), chunks, grid)
    blobs.put(f"{path}/zarr.json", json.dumps(array_document(layer, array, 4)).encode())
    return str(root / path), values


@pytest.mark.parametrize("read", [by_zarr_python, by_zarrs, by_tensorstore])
@pytest.mark.parametrize("codec", ["lz4", "none"])
@pytest.mark.parametrize("case", CASES)
def test_other_readers_read_bit_exactly(tmp_path: Path, case: str, codec: Codec, read: Any) -> None:
    path, values = written(tmp_path, CASES[case], codec)
    got = np.asarray(read(path))
    assert got.dtype == values.dtype
    np.testing.assert_array_equal(got.view(np.uint8), values.view(np.uint8))

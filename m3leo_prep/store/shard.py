"""Shards: many chunks in one Zarr object, with an index at its end.

zarr-python, zarrs and tensorstore read these bytes (tests prove it); we encode them ourselves because a shard is
written whole, once, from chunks that are compressed already.
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import VerifyError
from m3leo_prep.ports.blobs import Blobs, Readable
from m3leo_prep.store.codec import CRC_BYTES, ChunkCodec, checked, crc32c, is_missing
from m3leo_prep.store.ledger import ShardFile

__all__ = [
    "ChunkCodec",
    "decode_index",
    "decode_shard",
    "encode_shard",
    "encode_shard_parts",
    "index_size",
    "is_missing",
    "shard_name",
    "write_shard",
]

MISSING = 2**64 - 1
HASH_PIECE = 16 * 2**20
ZARR = "chips.zarr"
"""Name of the Zarr root in a dataset."""

Key = tuple[int, ...]
Grid = tuple[int, ...]
"""Chunks per shard along each axis of the array: (N, T / ct, B / bc, 1, 1), static (N, B / bc, 1, 1)."""


def encode_shard_parts(chunks: Mapping[Key, bytes | memoryview], grid: Grid) -> Iterator[bytes | memoryview]:
    """Yield the pieces of a shard: its chunks in C order of their keys, then the index.

    Args:
        chunks: encoded chunks by their place in the grid; absent keys are missing chunks.
        grid: chunks per shard along each axis.

    Raises:
        ValueError: a key outside the grid.
    """
    index = np.full((*grid, 2), MISSING, "<u8")
    offset = 0
    for key in sorted(chunks):
        if len(key) != len(grid) or not all(0 <= k < n for k, n in zip(key, grid, strict=True)):
            msg = f"chunk {key} is outside the grid {grid}"
            raise ValueError(msg)
        index[key] = offset, len(chunks[key])
        offset += len(chunks[key])
        yield chunks[key]
    table = index.tobytes()
    yield table + crc32c(table)


def encode_shard(chunks: Mapping[Key, bytes | memoryview], grid: Grid) -> bytes:
    """Return a whole shard; for large ones write ``encode_shard_parts`` instead, which copies nothing."""
    return b"".join(encode_shard_parts(chunks, grid))


def index_size(grid: Grid) -> int:
    """Return the bytes of a shard's index with its checksum: the tail to read first."""
    return 16 * math.prod(grid) + CRC_BYTES


def decode_index(tail: bytes | memoryview, grid: Grid, *, where: str = "") -> NDArray[np.uint64]:
    """Return offset and length of each chunk: uint64, shape ``(*grid, 2)``, 2**64 - 1 where missing.

    Args:
        tail: the last ``index_size(grid)`` bytes of the shard.
        grid: chunks per shard along each axis.
        where: the shard's name, for the message.

    Raises:
        VerifyError: the index is damaged or short.
    """
    if len(tail) != index_size(grid):
        raise VerifyError(f"the shard's index has {len(tail)} bytes, not {index_size(grid)}", where=where)
    return np.frombuffer(checked(tail, "the shard's index", where), "<u8").reshape(*grid, 2)


def decode_shard(data: bytes | memoryview, grid: Grid, *, where: str = "") -> dict[Key, memoryview]:
    """Return the encoded chunks of a whole shard, as views; missing ones are left out.

    Each chunk's checksum is checked, so that copying chunks from shard to shard never spreads damage.

    Raises:
        VerifyError: index or a chunk damaged; the message names the chunk.
    """
    view = memoryview(data)
    body = len(view) - index_size(grid)
    index = decode_index(view[max(0, body) :], grid, where=where)
    chunks: dict[Key, memoryview] = {}
    for place in np.argwhere(index[..., 1] != MISSING):
        key = tuple(int(k) for k in place)
        offset, length = (int(v) for v in index[key])
        if offset + length > body:
            raise VerifyError(f"chunk {key} reaches beyond the shard's end", where=where)
        chunks[key] = view[offset : offset + length]
        checked(chunks[key], f"chunk {key}", where)
    return chunks


def shard_name(layer: str, variable: str, shard_index: tuple[int, ...]) -> str:
    """Return the name of a shard in the dataset.

    >>> shard_name("s1grd", "backscatter", (7, 0)), shard_name("dem", "height", (7,))
    ('chips.zarr/s1grd/backscatter/c/7/0/0/0/0', 'chips.zarr/dem/height/c/7/0/0/0')

    Args:
        layer: the layer's name.
        variable: the variable's name.
        shard_index: (chip, slot) or, if static, (chip,): a shard always holds all bands, rows and columns.
            The full index with its three zeros is taken too.
    """
    index = shard_index if len(shard_index) > 2 else (*shard_index, 0, 0, 0)
    return f"{ZARR}/{layer}/{variable}/c/{'/'.join(str(int(i)) for i in index)}"


def write_shard(blobs: Blobs, name: str, chunks: Mapping[Key, bytes | memoryview], grid: Grid) -> ShardFile:
    """Write a shard whole, or remove it where nothing is left of it; return what now lies at ``name``."""
    if not chunks:
        blobs.delete(name)
        return ShardFile(name, 0, "")
    digest, n_bytes = hashlib.sha256(), 0

    def parts() -> Iterator[bytes | memoryview]:
        nonlocal n_bytes
        for part in encode_shard_parts(chunks, grid):
            digest.update(part)
            n_bytes += len(part)
            yield part

    blobs.put(name, parts())
    return ShardFile(name, n_bytes, digest.hexdigest())


def sha256_of(blobs: Readable, name: str) -> str:
    """Return the hex SHA-256 of a blob, read in pieces.

    Raises:
        FileNotFoundError: no such blob.
    """
    digest, start = hashlib.sha256(), 0
    while piece := blobs.get(name, start, HASH_PIECE):
        digest.update(piece)
        start += len(piece)
        if len(piece) < HASH_PIECE:
            break
    return digest.hexdigest()

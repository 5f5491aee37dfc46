"""Changing the codes of a finished dataset as somebody's hand might: pixels only, nothing beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.store.codec import ChunkCodec
from m3leo_prep.store.ledger import ShardFile
from m3leo_prep.store.shard import decode_shard, shard_name, write_shard
from m3leo_prep.store.tables import read_shards, write_shards


def change(root: Path, layer: str, row: int, edit: Callable[[NDArray[Any]], None]) -> None:
    """Let ``edit`` change the codes, (slot, band, y, x) or (band, y, x), in the first chunk of a chip, in place."""
    dataset = Dataset(root)
    stored = dataset.layer(layer)
    array = stored.array()
    blobs, codec = LocalBlobs(root), ChunkCodec(array.dtype, array.codec)
    shard, place = divmod(row, stored.shard_chips)
    name = shard_name(layer, array.name, (shard,) if stored.is_static else (shard, 0))
    slots = () if stored.is_static else (stored.shard_slots // stored.chunk_slots,)
    grid = (stored.shard_chips, *slots, len(array.bands) // array.band_chunk, 1, 1)
    chunks: dict[tuple[int, ...], bytes] = {key: bytes(c) for key, c in decode_shard(blobs.get(name), grid).items()}
    key = (place, *(0 for _ in grid[1:]))
    shape = (*(() if stored.is_static else (stored.chunk_slots,)), array.band_chunk, stored.size, stored.size)
    codes = codec.decode(chunks[key], shape)
    edit(codes)
    chunks[key] = codec.encode(codes)
    made: dict[str, ShardFile] = read_shards(blobs) | {name: write_shard(blobs, name, chunks, grid)}
    write_shards(blobs, made.values())

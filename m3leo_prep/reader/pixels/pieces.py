"""Which chunks hold the slots and bands that are asked for, and where their planes go."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from m3leo_prep.core.layer import Codec
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.store.codec import ChunkCodec


@dataclass(frozen=True, slots=True)
class Run:
    """Planes (one slot and band, all pixels) that lie together in a chunk, and together in the result."""

    source: int
    """First plane in the chunk."""
    target: int
    """First plane in the result."""
    planes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk of a chip."""

    slot_shard: int
    place: int
    """Among the chip's chunks in that shard, in the order in which they lie there."""
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How some slots and bands of a variable's chips are read: the same for all chips, and made once."""

    codec: ChunkCodec
    chunk_shape: tuple[int, int]
    """(plane, pixel) of a chunk."""
    dtype: np.dtype[Any]
    """Of its codes."""
    chip_chunks: int
    """Chunks of a chip in one shard; they lie next to each other."""
    shards: tuple[tuple[int, tuple[Piece, ...]], ...]
    """Places of shards along the slots, -1 of a static layer, and the chunks to read of each."""
    n_bytes: int
    """Of all these chunks, decoded."""


def plan(layer: StoredLayer, array: StoredArray, slots: tuple[int, ...], bands: tuple[int, ...]) -> Plan:
    """Return how these slots and bands of a variable are read, in the order of the result."""
    cut = (layer.is_static, layer.shard_slots, layer.chunk_slots, array.band_chunk, len(array.bands))
    return _plan(cut, layer.size**2, array.dtype, array.codec, slots, bands)


@lru_cache(1024)
def _plan(
    cut: tuple[bool, int, int, int, int],
    pixels: int,
    dtype: str,
    codec: Codec,
    slots: tuple[int, ...],
    bands: tuple[int, ...],
) -> Plan:
    is_static, shard_slots, chunk_slots, band_chunk, n_bands = cut
    found = pieces(shard_slots, chunk_slots, band_chunk, n_bands, slots, bands)
    by_shard = groupby(found, attrgetter("slot_shard"))
    shards = tuple((-1 if is_static else shard, tuple(of_shard)) for shard, of_shard in by_shard)
    shape = chunk_slots * band_chunk, pixels
    made = ChunkCodec(dtype, codec)
    stored = made.stored_dtype
    n_bytes = len(found) * math.prod(shape) * stored.itemsize
    return Plan(made, shape, stored, shard_slots // chunk_slots * (n_bands // band_chunk), shards, n_bytes)


def pieces(
    shard_slots: int, chunk_slots: int, band_chunk: int, n_bands: int, slots: tuple[int, ...], bands: tuple[int, ...]
) -> tuple[Piece, ...]:
    """Return the chunks that hold these slots and bands, each once, in the order in which they lie on disk.

    Args:
        shard_slots: slots per shard.
        chunk_slots: slots per chunk.
        band_chunk: bands per chunk.
        n_bands: bands of the variable.
        slots: indices of slots, in the order of the result.
        bands: indices of bands, in the order of the result.
    """
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for to_slot, slot in enumerate(slots):
        shard, inside = divmod(slot, shard_slots)
        for to_band, band in enumerate(bands):
            place = inside // chunk_slots * (n_bands // band_chunk) + band // band_chunk
            source = inside % chunk_slots * band_chunk + band % band_chunk
            found.setdefault((shard, place), []).append((source, to_slot * len(bands) + to_band))
    return tuple(Piece(shard, place, _runs(planes)) for (shard, place), planes in sorted(found.items()))


def _runs(planes: list[tuple[int, int]]) -> tuple[Run, ...]:
    """Return planes (in the chunk, in the result), the latter ascending, as runs.

    >>> _runs([(0, 4), (1, 5), (3, 6)])
    (Run(source=0, target=4, planes=2), Run(source=3, target=6, planes=1))
    """
    runs: list[Run] = []
    for source, target in planes:
        last = runs[-1] if runs else None
        if last and (source, target) == (last.source + last.planes, last.target + last.planes):
            runs[-1] = Run(last.source, last.target, last.planes + 1)
        else:
            runs.append(Run(source, target, 1))
    return tuple(runs)

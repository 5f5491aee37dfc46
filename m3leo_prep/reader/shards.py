"""Pixels out of shards: an index read once, then one read, one check and one decode per chunk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from m3leo_prep.core.errors import StoreError, VerifyError
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.store.codec import ChunkCodec
from m3leo_prep.store.shard import MISSING, decode_index, index_size, shard_name

OPEN_SHARDS = 128
"""Shards whose file and index stay open; six areas opened together stay below the usual limit of 1024 files."""


class ShardReader:
    """Reads the stored codes of chips from a dataset's folder.

    A chunk that is not in its shard's index is missing, and so is a shard that ``shards.parquet`` lists with size 0.
    A shard that is listed with a size but absent, short or long is an error, never fill. Safe in threads, after a
    fork, and when pickled: nothing but the path travels.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._reset()

    def read(
        self,
        layer: StoredLayer,
        array: StoredArray,
        row: int,
        slots: Sequence[int] | None = None,
        bands: Sequence[int] | None = None,
    ) -> NDArray[Any]:
        """Return the codes of one chip: (slot, band, y, x), or (band, y, x) of a static layer, in the stored dtype.

        Args:
            layer: the layer.
            array: one of its variables.
            row: the chip's row.
            slots: indices of slots, in the order of the result; None = all.
            bands: indices of bands, in the order of the result; None = all.

        Raises:
            StoreError: the shard is absent or has another size than listed.
            VerifyError: index or chunk damaged; the message names shard and chip.
        """
        slots = tuple(range(len(layer.slots)) if slots is None else slots)
        bands = tuple(range(len(array.bands)) if bands is None else bands)
        codec = ChunkCodec(array.dtype)
        out = np.empty((len(slots), len(bands), layer.size, layer.size), codec.stored_dtype)
        chip_shard, place = divmod(row, layer.shard_chips)
        chunk = (layer.chunk_slots, array.band_chunk, layer.size, layer.size)
        for piece in _pieces(layer.shard_slots, layer.chunk_slots, array.band_chunk, slots, bands):
            at = (chip_shard,) if layer.is_static else (chip_shard, piece.slot_shard)
            key = (place, piece.band, 0, 0) if layer.is_static else (place, piece.slot, piece.band, 0, 0)
            name = shard_name(layer.name, array.name, at)
            shard = self._open(name, _grid(layer, array))
            try:
                payload = None if shard is None else shard.read(key)
                if payload is None:
                    out[piece.target] = array.fill_value
                elif piece.is_whole:
                    codec.decode_into(payload, out[piece.target])
                else:
                    out[piece.target] = codec.decode(payload, chunk)[piece.source]
            except VerifyError as error:
                where = f"{self.root / name}, chunk {key}, chip {self._chip(row)}"
                raise VerifyError(error.message, hint=error.hint, where=where) from error
        return out[0] if layer.is_static else out

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Bytes of each shard by name; 0 = absent by design."""
        file = self.root / "shards.parquet"
        try:
            # Not pq.read_table: it loads pyarrow's dataset machinery first, a quarter of a second for nothing.
            with pq.ParquetFile(file) as opened:
                table = opened.read(["path", "bytes"])
        except (OSError, ValueError) as error:
            hint = "run `build` again, or pull it again"
            raise StoreError(f"the list of shards cannot be read: {error}", where=str(file), hint=hint) from error
        return dict(zip(table["path"].to_pylist(), table["bytes"].to_pylist(), strict=True))

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.root = state["root"]
        self._reset()

    def _reset(self) -> None:
        # The cache holds the only lasting reference to a shard; one that drops out closes when its last read ends.
        self._open = lru_cache(OPEN_SHARDS)(self._open_shard)

    def _open_shard(self, name: str, grid: tuple[int, ...]) -> _Shard | None:
        """Return a shard ready to read, or None where all of it is missing by design."""
        size = self.sizes.get(name)
        if size == 0:
            return None
        path = self.root / name
        if size is None:
            hint = "run `build` again, or pull shards.parquet and manifest.json again"
            raise StoreError("this shard is not listed in shards.parquet", where=str(path), hint=hint)
        return _Shard(path, size, grid)

    def _chip(self, row: int) -> str:
        """Return the chip's id for a message, or its row where the table cannot be read."""
        try:
            return str(pq.read_table(self.root / "chips.parquet", columns=["chip_id"])["chip_id"][row])
        except (OSError, ValueError, IndexError):
            return f"in row {row}"


class _Shard:
    """An open shard: its file, which all threads read with ``pread``, and its index."""

    __slots__ = ("_descriptor", "index", "size")

    def __init__(self, path: Path, size: int, grid: tuple[int, ...]) -> None:
        self._descriptor = -1
        self.size = size
        hint = "it was not pulled, or the copy broke off: pull it again, or run `build` again"
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError as error:
            message = f"this shard is not here, though the dataset lists it with {size} bytes"
            raise StoreError(message, where=str(path), hint=hint) from error
        except OSError as error:
            raise StoreError(f"this shard cannot be opened: {error.strerror}", where=str(path)) from error
        found = os.fstat(self._descriptor).st_size
        if found != size:
            raise StoreError(f"this shard has {found} bytes, but is listed with {size}", where=str(path), hint=hint)
        tail = min(index_size(grid), size)
        self.index = decode_index(os.pread(self._descriptor, tail, size - tail), grid, where=str(path))

    def read(self, key: tuple[int, ...]) -> bytes | None:
        """Return the encoded chunk, or None if it is missing."""
        offset, length = (int(n) for n in self.index[key])
        if length == MISSING:
            return None
        if offset + length > self.size:
            raise VerifyError("the chunk reaches beyond the shard's end")
        return os.pread(self._descriptor, length, offset)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One chunk to read and where its slots and bands go."""

    slot_shard: int
    slot: int
    """Place of the chunk in its shard, along slots ..."""
    band: int
    """... and along bands."""
    source: Any
    """Index of the wanted values in the chunk."""
    target: Any
    """Index of their place in the result."""
    is_whole: bool
    """True if the chunk is one contiguous run of the result and can be decoded into it."""


def _grid(layer: StoredLayer, array: StoredArray) -> tuple[int, ...]:
    """Return the chunks per shard along each axis."""
    slots = () if layer.is_static else (layer.shard_slots // layer.chunk_slots,)
    return (layer.shard_chips, *slots, len(array.bands) // array.band_chunk, 1, 1)


@lru_cache(1024)
def _pieces(
    shard_slots: int, chunk_slots: int, band_chunk: int, slots: tuple[int, ...], bands: tuple[int, ...]
) -> tuple[_Piece, ...]:
    """Return the chunks that hold these slots and bands, each once."""
    pieces = []
    for slot_chunk, (from_slots, to_slots) in _places(slots, chunk_slots).items():
        slot_shard, slot = divmod(slot_chunk, shard_slots // chunk_slots)
        for band, (from_bands, to_bands) in _places(bands, band_chunk).items():
            full = from_slots == list(range(chunk_slots)) and from_bands == list(range(band_chunk))
            runs = _is_run(to_slots) and _is_run(to_bands)
            is_whole = full and runs and (chunk_slots == 1 or band_chunk == len(bands))
            target: Any = np.ix_(to_slots, to_bands)
            if is_whole:
                target = (slice(to_slots[0], to_slots[-1] + 1), slice(to_bands[0], to_bands[-1] + 1))
            pieces.append(_Piece(slot_shard, slot, band, np.ix_(from_slots, from_bands), target, is_whole))
    return tuple(pieces)


def _places(wanted: tuple[int, ...], per_chunk: int) -> dict[int, tuple[list[int], list[int]]]:
    """Return, by chunk, the places inside the chunk and the places in the result."""
    places: dict[int, tuple[list[int], list[int]]] = {}
    for target, index in enumerate(wanted):
        chunk, source = divmod(index, per_chunk)
        inside, outside = places.setdefault(chunk, ([], []))
        inside.append(source)
        outside.append(target)
    return places


def _is_run(places: list[int]) -> bool:
    return places == list(range(places[0], places[-1] + 1))

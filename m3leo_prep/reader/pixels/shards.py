"""Pixels out of shards: an index read once, then one read, one check and one decode per chunk."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from m3leo_prep.core.errors import VerifyError
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.pixels import held
from m3leo_prep.reader.pixels.faults import Faults
from m3leo_prep.reader.pixels.listed import Listed, listed, read_listed
from m3leo_prep.reader.pixels.parallel import default_threads, each
from m3leo_prep.reader.pixels.pieces import Run, pieces
from m3leo_prep.reader.pixels.ranges import LocalRanges, ShardId, open_ranges
from m3leo_prep.store.codec import CRC_BYTES, ChunkCodec, check, checked
from m3leo_prep.store.shard import MISSING, decode_index, index_size

MERGED_LOCAL = 256 * 2**10
"""Bytes of neighbouring chunks read at once from a file: more would leave the processor's cache before it is used."""
MERGED_REMOTE = 4 * 2**20
"""Bytes of neighbouring chips asked for at once: of more, several requests at a time are faster than a long one."""
_owners = itertools.count()


class Sink(Protocol):
    """Where the planes of one chip's variable go, numbered as in the result: slots, and the bands of each."""

    def straight(self, first: int, planes: int) -> NDArray[Any] | None:
        """Return (plane, pixel) codes to be filled, or None if they must be handed to ``put``."""
        ...

    def put(self, first: int, codes: NDArray[Any]) -> None:
        """Take codes (plane, pixel), which are valid only during the call."""
        ...

    def miss(self, first: int, planes: int) -> None:
        """Take note that these planes are missing."""
        ...


class Want(NamedTuple):
    """One chip of one variable."""

    layer: StoredLayer
    array: StoredArray
    row: int
    slots: tuple[int, ...]
    bands: tuple[int, ...]
    sink: Sink


class ShardReader:
    """Reads the stored codes of chips, of a dataset in a folder or at an address.

    A chunk that is not in its shard's index is missing, and so is a shard that ``shards.parquet`` lists with size 0.
    A shard that is listed with a size but absent, short or long is an error, never fill. Safe in threads, after a
    fork, and when pickled: no cache travels. What is kept is bounded, for all readers of a process together.
    """

    def __init__(self, root: Readable, *, opened: str | None = None, sizes: Mapping[str, int] | None = None) -> None:
        """Read nothing yet.

        Args:
            root: where the dataset is.
            opened: digest of ``shards.parquet`` by the manifest that tells the layers: with it, a dataset that changes
                while it is open is recognized.
            sizes: bytes of each shard by name, where there is no ``shards.parquet`` yet.
        """
        self.root = root
        self._opened, self._sizes = opened, sizes
        self._owner = next(_owners)
        self._faults = Faults(root, opened)
        self._ranges = open_ranges(root, self._owner, self._faults)
        weakref.finalize(self, _forget, self._owner).atexit = False

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
        out = np.empty((len(slots), len(bands), layer.size, layer.size), _codec(array.dtype, array.codec).stored_dtype)
        sink = _Codes(out.reshape(-1, layer.size**2), array.fill_value)
        self.collect([Want(layer, array, row, slots, bands, sink)], threads=None if self.root.is_remote else 1)
        return out[0] if layer.is_static else out

    def collect(self, wants: Sequence[Want], *, threads: int | None = None) -> None:
        """Read what is wanted into its sinks: each chunk once, however many want it, in the order on disk.

        Args:
            wants: chips of variables.
            threads: how many read and decode at a time; None = as fits, see ``default_threads``.

        Raises:
            StoreError: a shard is absent or has another size than listed.
            VerifyError: a shard is damaged; the message names shard and chip.
        """
        threads = default_threads(self.root) if threads is None else threads
        found: dict[ShardId, dict[int, _Uses]] = {}
        for want in wants:
            layer, array = want.layer, want.array
            chip_shard, place = divmod(want.row, layer.shard_chips)
            first = place * _chunks_of_chip(layer, array)
            cut = (layer.shard_slots, layer.chunk_slots, array.band_chunk, len(array.bands))
            for piece in pieces(*cut, want.slots, want.bands):
                shard = ShardId(layer.name, array.name, chip_shard, -1 if layer.is_static else piece.slot_shard)
                found.setdefault(shard, {}).setdefault(first + piece.place, []).append((want, piece.runs))
        located = each(lambda shard: self._locate(shard, found[shard]), sorted(found), threads)
        each(self._read_span, [span for spans in located for span in spans], threads)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(ShardReader, opened=self._opened, sizes=self._sizes), (self.root,)

    @cached_property
    def _listed(self) -> Listed:
        if self._sizes is not None:
            return listed(pa.array(list(self._sizes), pa.string()), pa.array(list(self._sizes.values()), pa.int64()))
        made = read_listed(self.root)
        self._faults.check_unchanged()
        return made

    def _size(self, shard: ShardId) -> int:
        """Return the bytes that a shard must have; 0 if all of it is missing by design."""
        size = self._listed.size(shard.layer, shard.variable, (shard.chip, max(shard.slot, 0)))
        if size is None:
            raise self._faults.not_listed(shard.name)
        return size

    def _index(self, shard: ShardId, want: Want) -> NDArray[np.uint64] | None:
        """Return (chunk, 2) offset and length, or None where all of the shard is missing by design."""
        key = (self._owner, *shard)
        index = held.indexes.get(key)
        if index is None and (size := self._size(shard)):
            grid = (want.layer.shard_chips * _chunks_of_chip(want.layer, want.array),)
            tail = min(index_size(grid), size)
            # Bytes of its own: what is got may lie in memory that is used again.
            data = bytes(self._ranges.get(shard, size, size - tail, tail))
            try:
                index = decode_index(data, grid, where=f"{self.root.url}/{shard.name}")
            except VerifyError:
                self._ranges.check_size(shard, size)
                self._faults.check_unchanged()
                raise
            held.indexes.put(key, index, index.nbytes)
        return index

    def _locate(self, shard: ShardId, chunks: Mapping[int, _Uses]) -> list[_Span]:
        """Return what to read of a shard, neighbours together; sinks are told what is missing."""
        places = sorted(chunks)
        want, _ = chunks[places[0]][0]
        index, size = self._index(shard, want), self._size(shard)
        entries = [(MISSING, MISSING)] * len(places) if index is None else index[places].tolist()
        present: list[_Chunk] = []
        for place, (offset, length) in zip(places, entries, strict=True):
            if length != MISSING:
                present.append(_Chunk(offset, offset + length, place, chunks[place]))
                continue
            for user, runs in chunks[place]:
                for run in runs:
                    user.sink.miss(run.target, run.planes)
        if len(present) < 2:
            return [_Span(shard, size, present)] if present else []
        return self._merged(shard, size, sorted(present, key=itemgetter(0)), _chunks_of_chip(want.layer, want.array))

    def _merged(self, shard: ShardId, size: int, chunks: Sequence[_Chunk], per_chip: int) -> list[_Span]:
        """Return chunks, sorted by where they lie, with neighbours together."""
        is_remote = self.root.is_remote
        spans = [_Span(shard, size, [chunks[0]])]
        for before, chunk in pairwise(chunks):
            last = spans[-1].chunks
            n_bytes = chunk.stop - last[0].start
            is_near = n_bytes <= MERGED_LOCAL
            if is_remote:
                is_near = n_bytes <= MERGED_REMOTE or before.place // per_chip == chunk.place // per_chip
            if before.stop == chunk.start and is_near:
                last.append(chunk)
            else:
                spans.append(_Span(shard, size, [chunk]))
        return spans

    def _read_span(self, span: _Span) -> None:
        """Read neighbouring chunks and hand each to those who want it."""
        shard, size, chunks = span
        chunk, start, stop = chunks[-1], chunks[0].start, chunks[-1].stop
        try:
            if stop > size:
                raise VerifyError("the chunk reaches beyond the shard's end")  # noqa: TRY301  named below as others
            if len(chunks) == 1 and self._read_plain(shard, size, chunk):
                return
            data = memoryview(self._ranges.get(shard, size, start, stop - start))
            for chunk in chunks:
                _hand_out(data[chunk.start - start : chunk.stop - start], chunk.uses)
        except VerifyError as error:
            want, _ = chunk.uses[0]
            raise self._faults.damaged(shard.name, _key(chunk.place, want), want.row, error) from error

    def _read_plain(self, shard: ShardId, size: int, chunk: _Chunk) -> bool:
        """Return whether a chunk was read straight into its place: it is not compressed and all in one file."""
        want, _ = chunk.uses[0]
        if want.array.codec != "none" or not isinstance(self._ranges, LocalRanges):
            return False
        out = _straight(chunk.uses)
        if out is None or out.nbytes + CRC_BYTES != chunk.stop - chunk.start:
            return False
        crc = bytearray(CRC_BYTES)
        self._ranges.get_into(shard, size, chunk.start, [out.data, memoryview(crc)])
        check(out.data, crc, "the chunk")
        return True


_Uses = list[tuple[Want, tuple[Run, ...]]]
"""Who wants a chunk, and which planes of it."""


class _Chunk(NamedTuple):
    """A chunk that is there."""

    start: int
    """In the shard's bytes, to ..."""
    stop: int
    place: int
    """In the shard's index."""
    uses: _Uses


class _Span(NamedTuple):
    """Chunks that lie next to each other and are read at once."""

    shard: ShardId
    size: int
    """Bytes of the shard."""
    chunks: list[_Chunk]


class _Codes(NamedTuple):
    """Stored codes, as they are."""

    planes: NDArray[Any]
    fill: float

    def straight(self, first: int, planes: int) -> NDArray[Any]:
        return self.planes[first : first + planes]

    def put(self, first: int, codes: NDArray[Any]) -> None:
        self.planes[first : first + len(codes)] = codes

    def miss(self, first: int, planes: int) -> None:
        self.planes[first : first + planes] = self.fill


def _hand_out(payload: memoryview, uses: _Uses) -> None:
    """Check and decode a chunk once, and give everyone the planes they want."""
    want, _ = uses[0]
    codec = _codec(want.array.dtype, want.array.codec)
    out = _straight(uses)
    if out is not None:
        codec.decode_into(payload, out)
        return
    codes = _decoded(codec, payload, (_planes(want), want.layer.size**2))
    for user, runs in uses:
        for run in runs:
            user.sink.put(run.target, codes[run.source : run.source + run.planes])


def _straight(uses: _Uses) -> NDArray[Any] | None:
    """Return the place where a whole chunk can be decoded to: one wants it, all of it, in one run."""
    want, runs = uses[0]
    if len(uses) > 1 or len(runs) > 1 or runs[0].planes != _planes(want):
        return None
    return want.sink.straight(runs[0].target, runs[0].planes)


def _decoded(codec: ChunkCodec, payload: memoryview, shape: tuple[int, int]) -> NDArray[Any]:
    """Return a chunk's codes in this thread's scratch memory, or in ``payload`` itself if it is not compressed."""
    dtype = codec.stored_dtype
    n_bytes = shape[0] * shape[1] * dtype.itemsize
    if codec.codec == "none" and len(payload) == n_bytes + CRC_BYTES:
        return np.frombuffer(checked(payload, "the chunk"), dtype).reshape(shape)
    codes = held.scratch.get("codes", n_bytes).view(dtype).reshape(shape)
    codec.decode_into(payload, codes)
    return codes


def _planes(want: Want) -> int:
    return want.layer.chunk_slots * want.array.band_chunk


def _chunks_of_chip(layer: StoredLayer, array: StoredArray) -> int:
    """Return the chunks of a chip in one shard; they lie next to each other."""
    return layer.shard_slots // layer.chunk_slots * (len(array.bands) // array.band_chunk)


def _key(place: int, want: Want) -> tuple[int, ...]:
    """Return a chunk's place in its shard along (chip, [slot,] band, y, x)."""
    slots = () if want.layer.is_static else (want.layer.shard_slots // want.layer.chunk_slots,)
    grid = (want.layer.shard_chips, *slots, len(want.array.bands) // want.array.band_chunk, 1, 1)
    return tuple(int(n) for n in np.unravel_index(place, grid))


@lru_cache(64)
def _codec(dtype: str, codec: Any) -> ChunkCodec:
    return ChunkCodec(dtype, codec)


def _forget(owner: int) -> None:
    held.files.forget(owner)
    held.indexes.forget(owner)

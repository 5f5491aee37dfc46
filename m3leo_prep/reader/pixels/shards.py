"""Pixels out of shards: an index read once, then one read, one check and one decode per chunk."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

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
from m3leo_prep.reader.pixels.pieces import plan
from m3leo_prep.reader.pixels.ranges import LocalRanges, ShardId, open_ranges
from m3leo_prep.reader.pixels.sinks import Codes, Uses, Want, hand_out, straight
from m3leo_prep.store.codec import CRC_BYTES, check
from m3leo_prep.store.shard import MISSING, decode_index, index_size

MERGED_LOCAL = 512 * 2**10
"""Bytes of neighbouring chunks read at once from a file: more would leave the processor's cache before it is used."""
MERGED_REMOTE = 4 * 2**20
"""Bytes of neighbouring chips asked for at once: of more, several requests at a time are faster than a long one."""
MOST_PLACES = 500
"""Chunks read at once into as many places: a system takes 1024 buffers, and each has its checksum."""
_owners = itertools.count()


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
        # No `cached_property`: before Python 3.12 it holds a lock, which a fork may catch while it is held.
        self._listed: Listed | None = None
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
        how = plan(layer, array, slots, bands)
        out = np.empty((len(slots), len(bands), layer.size, layer.size), how.dtype)
        sink = Codes(out.reshape(-1, layer.size**2), array.fill_value)
        self.collect([Want(layer, array, row, how, sink)], threads=None if self.root.is_remote else 1)
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
        found: dict[ShardId, dict[int, Uses]] = {}
        for want in wants:
            layer, variable = want.layer.name, want.array.name
            chip_shard, place = divmod(want.row, want.layer.shard_chips)
            first = place * want.plan.chip_chunks
            for slot_shard, parts in want.plan.shards:
                chunks = found.setdefault(ShardId(layer, variable, chip_shard, slot_shard), {})
                for piece in parts:
                    chunks.setdefault(first + piece.place, []).append((want, piece.runs))
        if threads is None:
            threads = default_threads(self.root, sum([want.plan.n_bytes for want in wants]))
        self._list()  # before several threads ask for it
        located = each(lambda shard: self._locate(shard, found[shard]), sorted(found), threads)
        again = self.root.is_remote
        each(lambda span: self._read_span(span, again=again), [span for spans in located for span in spans], threads)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(ShardReader, opened=self._opened, sizes=self._sizes), (self.root,)

    def _list(self) -> Listed:
        if self._listed is None and self._sizes is not None:
            names, sizes = pa.array(list(self._sizes), pa.string()), pa.array(list(self._sizes.values()), pa.int64())
            self._listed = listed(names, sizes)
        elif self._listed is None:
            made = read_listed(self.root)
            self._faults.check_unchanged()
            self._listed = made
        return self._listed

    def _size(self, shard: ShardId) -> int:
        """Return the bytes that a shard must have; 0 if all of it is missing by design."""
        size = self._list().size(shard.layer, shard.variable, (shard.chip, max(shard.slot, 0)))
        if size is None:
            raise self._faults.not_listed(shard.name)
        return size

    def _index(self, shard: ShardId, size: int, chunks: int) -> NDArray[np.uint64]:
        """Return (chunk, 2) offset and length of a shard of so many bytes and chunks."""
        key = (self._owner, shard)
        index = held.indexes.get(key)
        if index is None:
            index = self._read_index(shard, size, chunks, again=self.root.is_remote)
            held.indexes.put(key, index, index.nbytes)
        return index

    def _read_index(self, shard: ShardId, size: int, chunks: int, *, again: bool) -> NDArray[np.uint64]:
        """Return it from where it lies; ``again`` as in ``_read_span``."""
        tail = min(index_size((chunks,)), size)
        # Bytes of its own: what is got may lie in memory that is used again.
        data = bytes(self._ranges.get(shard, size, size - tail, tail))
        try:
            return decode_index(data, (chunks,), where=f"{self.root.url}/{shard.name}")
        except VerifyError:
            if again:
                self._ranges.forget(shard, size - tail, tail)
                return self._read_index(shard, size, chunks, again=False)
            self._ranges.check_size(shard, size)
            self._faults.check_unchanged()
            raise

    def _locate(self, shard: ShardId, chunks: Mapping[int, Uses]) -> list[_Span]:
        """Return what to read of a shard, neighbours together; sinks are told what is missing."""
        places, size = sorted(chunks), self._size(shard)
        first, last = places[0], places[-1]
        want, _ = chunks[first][0]
        entries = [(MISSING, MISSING)] * len(places)
        if size:
            index = self._index(shard, size, want.layer.shard_chips * want.plan.chip_chunks)
            in_a_row = last - first + 1 == len(places)  # a slice costs less than a list of places
            entries = index[slice(first, last + 1) if in_a_row else places].tolist()
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
        present.sort(key=itemgetter(0))
        return self._merged(shard, size, present, want.plan.chip_chunks)

    def _merged(self, shard: ShardId, size: int, chunks: Sequence[_Chunk], chip_chunks: int) -> list[_Span]:
        """Return chunks, sorted by where they lie, with neighbours together."""
        most = MERGED_REMOTE if self.root.is_remote else MERGED_LOCAL
        spans = [_Span(shard, size, [chunks[0]])]
        for before, chunk in pairwise(chunks):
            last = spans[-1].chunks
            is_near = chunk.stop - last[0].start <= most
            if self.root.is_remote:
                is_near = is_near or before.place // chip_chunks == chunk.place // chip_chunks
            if before.stop == chunk.start and is_near:
                last.append(chunk)
            else:
                spans.append(_Span(shard, size, [chunk]))
        return spans

    def _read_span(self, span: _Span, *, again: bool) -> None:
        """Read neighbouring chunks and hand each to those who want it.

        ``again``: once more if they are damaged, as a network or a cache may have changed a byte that is whole there.
        """
        shard, size, chunks = span
        chunk, start, stop = chunks[-1], chunks[0].start, chunks[-1].stop
        try:
            if stop > size:
                raise VerifyError("the chunk reaches beyond the shard's end")  # noqa: TRY301  named below as others
            if isinstance(self._ranges, LocalRanges) and (places := _plain(chunks)):
                crcs = [bytearray(CRC_BYTES) for _ in places]
                buffers: list[memoryview] = []
                for out, crc in zip(places, crcs, strict=True):
                    buffers += out.data, memoryview(crc)
                self._ranges.get_into(shard, size, start, buffers)
                for chunk, out, crc in zip(chunks, places, crcs, strict=True):  # noqa: B007  named if it is damaged
                    check(out.data, crc, "the chunk")
                return
            data = memoryview(self._ranges.get(shard, size, start, stop - start))
            for chunk in chunks:
                hand_out(data[chunk.start - start : chunk.stop - start], chunk.uses)
        except VerifyError as error:
            if again:
                self._ranges.forget(shard, start, stop - start)
                self._read_span(span, again=False)
                return
            want, _ = chunk.uses[0]
            raise self._faults.damaged(shard.name, _key(chunk.place, want), want.row, error) from error


class _Chunk(NamedTuple):
    """A chunk that is there."""

    start: int
    """In the shard's bytes, to ..."""
    stop: int
    place: int
    """In the shard's index."""
    uses: Uses


class _Span(NamedTuple):
    """Chunks that lie next to each other and are read at once."""

    shard: ShardId
    size: int
    """Bytes of the shard."""
    chunks: list[_Chunk]


def _plain(chunks: Sequence[_Chunk]) -> list[NDArray[Any]] | None:
    """Return the places where neighbouring chunks can be read straight to: they are not compressed, and wanted so."""
    want, _ = chunks[0].uses[0]
    if want.plan.codec.codec != "none" or len(chunks) > MOST_PLACES:
        return None
    places = []
    for chunk in chunks:
        out = straight(chunk.uses)
        if out is None or out.nbytes + CRC_BYTES != chunk.stop - chunk.start:
            return None
        places.append(out)
    return places


def _key(place: int, want: Want) -> tuple[int, ...]:
    """Return a chunk's place in its shard along (chip, [slot,] band, y, x)."""
    slots = () if want.layer.is_static else (want.layer.shard_slots // want.layer.chunk_slots,)
    grid = (want.layer.shard_chips, *slots, len(want.array.bands) // want.array.band_chunk, 1, 1)
    return tuple(int(n) for n in np.unravel_index(place, grid))


def _forget(owner: int) -> None:
    held.files.forget(owner)
    held.indexes.forget(owner)

"""Building one unit: windows are derived, encoded chip by chip, and written as one shard per variable."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.encoding import Encoded, code_range, encode
from m3leo_prep.core.errors import CorruptError, RateLimited, StoreError, TooLarge, TransientError, TriedOut
from m3leo_prep.core.layer import Array
from m3leo_prep.core.raster import Item, Kind, Slot
from m3leo_prep.core.reasons import RETRYABLE, Reason
from m3leo_prep.ops import summary
from m3leo_prep.ops.reference import phase_reference, rereferenced
from m3leo_prep.pipeline.derive import Derived, derive
from m3leo_prep.pipeline.heights import heights_of
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.rows import UnitRows, kept_rows, percent
from m3leo_prep.pipeline.statistics.copied import count_copied
from m3leo_prep.pipeline.statistics.counts import SPLITS, empty_counts, histogram_name
from m3leo_prep.pipeline.task import Task, unchanged
from m3leo_prep.pipeline.windows import Window, cut, is_read_in_parts, parts, working_bytes
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.store.codec import ChunkCodec, is_missing
from m3leo_prep.store.ledger import Record, ShardFile
from m3leo_prep.store.metadata import array_grid
from m3leo_prep.store.shard import MISSING, decode_index, index_size, sha256_of, shard_name, write_shard

WORK_BYTES = 2**30
"""Working memory of one worker's window (the shard's compressed chunks come on top)."""
ATTEMPTS = 3
PAUSE_SECONDS = 1.0
"""Before the second attempt; doubled before each further one."""
ChunkKey = tuple[int, ...]
Made = Callable[[], Derived]
"""Gives the pixels of a job, or raises what went wrong with it."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is derived at once: a window, or a part of one, in one slot."""

    number: int
    """Of the window; its slots come one after the other."""
    window: Window
    slot_index: int
    items: list[Item]
    need: int
    """Bytes of working memory, estimated."""


class UnitBuilder:
    """Builds one unit; use once."""

    def __init__(self, task: Task, blobs: Blobs, *, work_bytes: int = WORK_BYTES) -> None:
        self._task = task
        self._blobs = blobs
        self._work_bytes = work_bytes
        self._layer = task.plan.layer
        self._source = open_source(task.plan.source)
        info = self._source.describe()
        self._composites, self._at_once = info.composites, info.concurrent_reads
        nothing = Reason.NOT_IN_DATASET if self._layer.is_static or self._layer.rule else Reason.NO_ACQUISITION
        self._nothing = nothing if info.nothing is None else info.nothing
        self._heights = heights_of(task.plan, task.cells)
        self._codecs = {a.variable.name: ChunkCodec(a.encoding.dtype, a.codec) for a in self._layer.arrays}
        self._chunks: dict[str, dict[ChunkKey, bytes]] = {a.variable.name: {} for a in self._layer.arrays}
        self._rows = UnitRows.empty(self._layer, len(task.cells), len(task.slots))
        self._series: dict[tuple[str, int], NDArray[Any]] = {}
        self._counts = empty_counts(self._layer)

    def build(self) -> Record:
        """Return the unit's record; its shards are in place when this returns."""
        wanted = ~self._copy_unchanged()
        todo = np.flatnonzero(wanted.any(axis=1))
        if len(todo):
            for _, of_window in groupby(self._derived(self._jobs(todo, wanted)), key=lambda pair: pair[0].number):
                for job, made in of_window:
                    self._take(job.window, job.slot_index, made)
                self._flush_series()
        shards = tuple(self._write(array) for array in self._layer.arrays)
        rows = self._rows
        retryable = sum(int(np.isin(r, [int(x) for x in RETRYABLE]).sum()) for r in rows.reason.values())
        names = sorted({name for chip in rows.used for slot in chip for name in slot})
        rank = {name: i for i, name in enumerate(names)}
        flat = [rank[name] for chip in rows.used for slot in chip for name in slot]
        arrays = rows.arrays() | {
            "digests": self._task.digests,
            "used": np.array(flat, np.int32),
            "used_count": np.array([[len(slot) for slot in chip] for chip in rows.used], np.int32),
            SPLITS: self._task.splits,
        }
        arrays |= {histogram_name(name): counts.sparse() for name, counts in self._counts.items()}
        info = {
            "items": names,
            "damaged": sorted(set(rows.damaged)),
            "holes": sorted(set(rows.holes)),
            "operations": dict(sorted(rows.operations.items())),
            "orbit_files": dict(sorted(rows.orbit_files.items())),
            "rows": [self._task.unit.first_row, self._task.unit.last_row],
        }
        return Record(self._task.unit.id, self._task.digest, shards, retryable, arrays, info)

    # -- windows ---------------------------------------------------------------------------------------------------

    def _jobs(self, todo: NDArray[np.int64], wanted: NDArray[np.bool_]) -> Iterator[Job]:
        """Yield what is derived at once, window by window: parts of it where chips are copied, or memory asks for it.

        Args:
            todo: rows of the unit that are made, not all copied.
            wanted: (chip, slot), True where it is made.
        """
        for number, window in enumerate(cut(self._task.cells[todo], todo)):
            for slot_index in range(len(self._task.slots)):
                for part in parts(window, wanted[:, slot_index], self._chosen(slot_index)):
                    yield from self._within_memory(number, part, slot_index)

    def _chosen(self, slot_index: int) -> Sequence[object] | None:
        """Return by chip what its pixels of a slot are made of, where a rule chooses that; else None."""
        return [slots[slot_index] for slots in self._task.reaching] if self._layer.rule else None

    def _within_memory(self, number: int, window: Window, slot_index: int) -> Iterator[Job]:
        items = self._reaching(window, slot_index)
        need = self._bytes(window, items)
        if is_read_in_parts(need, window, self._work_bytes, self._at_once):
            for part in window.split():
                yield from self._within_memory(number, part, slot_index)
        else:
            yield Job(number, window, slot_index, items, need)

    def _derived(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Made]]:
        """Yield each job with its result, in order.

        Where the source says that it pays, several are derived at once, as far ahead as the working memory reaches.
        """
        n = self._at_once
        if n == 1:
            for job in jobs:
                yield job, partial(self._make, job)
            return
        pool = ThreadPoolExecutor(n, thread_name_prefix="read")
        try:
            waiting: deque[tuple[Job, Future[Derived]]] = deque()
            for job in jobs:
                while waiting and (
                    len(waiting) >= n or job.need + sum(other.need for other, _ in waiting) > self._work_bytes
                ):
                    done, future = waiting.popleft()
                    yield done, future.result
                waiting.append((job, pool.submit(self._make, job)))
            for done, future in waiting:
                yield done, future.result
        finally:
            pool.shutdown(cancel_futures=True)

    def _make(self, job: Job) -> Derived:
        return self._attempt(job.window, job.items, job.slot_index, skip_damaged=len(job.window) == 1)

    def _take(self, window: Window, slot_index: int, made: Made) -> None:
        """Take in the pixels of a window; it is cut smaller where a limit or a damaged item asks for it."""
        try:
            derived = made()
        except TriedOut as error:
            reason = Reason.RATE_LIMITED if isinstance(error, RateLimited) else Reason.PROVIDER_ERROR
            return self._hole(window, slot_index, reason, error)
        except (CorruptError, TooLarge, TransientError) as error:
            if len(window) > 1:
                for part in window.split():
                    job = Job(0, part, slot_index, self._reaching(part, slot_index), 0)
                    self._take(part, slot_index, partial(self._make, job))
                return None
            if isinstance(error, TransientError):
                return self._hole(window, slot_index, Reason.PROVIDER_ERROR, error)
            raise
        self._rows.damaged.extend(derived.damaged)
        for chip, down, right in window.places():
            self._keep(derived, chip, slot_index, down, right)
        return None

    def _attempt(self, window: Window, items: list[Item], slot_index: int, *, skip_damaged: bool) -> Derived:
        geobox = window.geobox(self._layer.pitch)
        slot = self._task.slots[slot_index]
        for attempt in range(1, ATTEMPTS):
            try:
                return self._derive(items, geobox, slot, skip_damaged=skip_damaged)
            except TransientError as error:
                if isinstance(error, TriedOut):
                    raise
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        return self._derive(items, geobox, slot, skip_damaged=skip_damaged)

    def _derive(self, items: list[Item], geobox: GeoBox, slot: Slot, *, skip_damaged: bool) -> Derived:
        heights = self._heights
        return derive(self._source, self._layer, items, geobox, slot, skip_damaged=skip_damaged, heights=heights)

    def _reaching(self, window: Window, slot_index: int) -> list[Item]:
        """Return the items of the slot that may reach a chip of the window: for one chip, exactly its own."""
        wanted = {rank for chip in window.index.tolist() for rank in self._task.reaching[chip][slot_index]}
        return [self._task.items[rank] for rank in sorted(wanted)]

    def _bytes(self, window: Window, items: list[Item]) -> int:
        """Return an estimate of the working memory a window takes."""
        return working_bytes(self._task.plan, window, items)

    # -- chips -----------------------------------------------------------------------------------------------------

    def _keep(self, derived: Derived, chip: int, slot_index: int, down: int, right: int) -> None:
        """Encode one chip of a derived window and note what it is made of."""
        size = self._layer.size
        window = np.s_[:, down * size : (down + 1) * size, right * size : (right + 1) * size]
        for array in self._layer.arrays:
            name = array.variable.name
            look = derived.looks[name]
            if look is None:
                self._note_nothing(array, chip, slot_index, derived)
                continue
            values, valid, observed = look.values[window], look.valid[window], look.observed[window]
            encoded = encode(values, valid, array.encoding)
            n_observed = np.count_nonzero(observed, axis=(1, 2))
            n_valid = np.count_nonzero(encoded.valid, axis=(1, 2))
            rows = self._rows
            rows.valid[name][chip, slot_index] = percent(n_valid, size * size)
            rows.reason[name][chip, slot_index] = [
                self._reason(int(o), int(v), int(r), derived, (name, band))
                for o, v, r, band in zip(n_observed, n_valid, encoded.out_of_range, array.variable.bands, strict=True)
            ]
            counted = self._counted(array, encoded, derived, window, chip, slot_index)
            rows.moments[name][chip, slot_index] = summary.moments(counted, encoded.valid)
            rows.altered[name][chip, slot_index] = np.stack([encoded.out_of_range, encoded.floored], axis=1)
            if name in self._counts:
                self._counts[name].add(int(self._task.splits[chip]), counted, encoded.valid)
            if name in rows.classes:
                rows.classes[name][chip, slot_index] = summary.class_counts(encoded.codes, encoded.valid)
            self._store(array, chip, slot_index, encoded.codes)
        self._note_items(derived, chip, slot_index, down, right)

    def _counted(
        self, array: Array, encoded: Encoded, derived: Derived, window: Any, chip: int, slot_index: int
    ) -> NDArray[Any]:
        """Return the codes as statistics count them: unwrapped phase from the chip's reference, which is noted."""
        name = array.variable.name
        if array.variable.kind is not Kind.UNWRAPPED_PHASE:
            return encoded.codes
        look = derived.looks.get(array.variable.attributes.get("components", ""))
        components = None if look is None else np.where(look.valid[window][0], look.values[window][0], -1)
        reference = phase_reference(encoded.codes, encoded.valid, components)
        self._rows.reference[name][chip, slot_index] = reference
        return rereferenced(encoded.codes, encoded.valid, reference, **code_range(array.encoding))

    def _reason(self, observed: int, valid: int, out_of_range: int, derived: Derived, band: tuple[str, str]) -> Reason:
        if valid:
            return Reason.OK if observed == self._layer.size**2 else Reason.PARTIAL_COVERAGE
        if out_of_range:
            return Reason.OUT_OF_RANGE
        if observed:
            return Reason.ALL_CLOUD
        if derived.damaged:
            return Reason.CORRUPT
        return derived.absent.get(band, self._nothing)

    def _note_nothing(self, array: Array, chip: int, slot_index: int, derived: Derived) -> None:
        name = array.variable.name
        self._rows.reason[name][chip, slot_index] = [
            self._reason(0, 0, 0, derived, (name, band)) for band in array.variable.bands
        ]
        self._rows.valid[name][chip, slot_index] = 0
        self._rows.moments[name][chip, slot_index, :, :3] = 0

    def _hole(self, window: Window, slot_index: int, reason: Reason, error: Exception) -> None:
        """Note that nothing could be had now; the next run asks again."""
        self._rows.holes.append(str(error))
        for chip in window.index.tolist():
            for array in self._layer.arrays:
                name = array.variable.name
                self._rows.reason[name][chip, slot_index] = reason
                self._rows.valid[name][chip, slot_index] = 0
                self._rows.moments[name][chip, slot_index, :, :3] = 0

    def _note_items(self, derived: Derived, chip: int, slot_index: int, down: int, right: int) -> None:
        used = [item for item, chips in derived.used.values() if chips[down, right]]
        if self._composites:
            # Their source only gives the sum: what may reach the chip is taken for what made it.
            reach = {self._task.items[rank].id for rank in self._task.reaching[chip][slot_index]}
            used = [item for item in used if item.id in reach]
        rows = self._rows
        rows.used[chip][slot_index] = [item.id for item in used]
        rows.operations |= dict(derived.operations[item.id] for item in used if item.id in derived.operations)
        told = ((item.id, item.properties.get("orbit_files")) for item in used)
        rows.orbit_files |= {name: str(files) for name, files in told if files}
        rows.acquisitions[chip, slot_index] = len({item.acquisition or item.id for item in used})
        stamps = sorted({round(item.datetime.timestamp() * 1e6) * 1000 for item in used if item.datetime})
        if stamps:
            rows.times[chip, slot_index] = stamps[0], sum(stamps) // len(stamps), stamps[-1]

    # -- chunks ----------------------------------------------------------------------------------------------------

    def _store(self, array: Array, chip: int, slot_index: int, codes: NDArray[Any]) -> None:
        if self._layer.chunk_slots > 1:
            key = (array.variable.name, chip)
            if key not in self._series:
                shape = (len(self._task.slots), *codes.shape)
                self._series[key] = np.full(shape, array.encoding.fill_value, codes.dtype)
            self._series[key][slot_index] = codes
            return
        for band, first in enumerate(range(0, array.n_bands, array.band_chunk)):
            block = codes[first : first + array.band_chunk]
            if not is_missing(block, array.encoding.fill_value):
                place = (chip, band, 0, 0) if self._layer.is_static else (chip, slot_index, band, 0, 0)
                self._chunks[array.variable.name][place] = self._codecs[array.variable.name].encode(block)

    def _flush_series(self) -> None:
        for (name, chip), series in self._series.items():
            array = next(a for a in self._layer.arrays if a.variable.name == name)
            for band, first in enumerate(range(0, array.n_bands, array.band_chunk)):
                block = series[:, first : first + array.band_chunk]
                if not is_missing(block, array.encoding.fill_value):
                    self._chunks[name][chip, 0, band, 0, 0] = self._codecs[name].encode(block)
        self._series.clear()

    def _write(self, array: Array) -> ShardFile:
        unit = self._task.unit
        place = (unit.chip_shard,) if self._layer.is_static else (unit.chip_shard, unit.slot_shard)
        name = shard_name(self._layer.name, array.variable.name, place)
        return write_shard(self._blobs, name, self._chunks[array.variable.name], array_grid(self._layer, array))

    def _copy_unchanged(self) -> NDArray[np.bool_]:
        """Take over what the prior record has as it is to be; return (chip, slot), True where that was done."""
        same = unchanged(self._task)
        prior = self._task.prior
        if prior is not None and same.any() and self._copy_chunks(prior, same):
            self._copy_rows(prior, same)
            count_copied(self._counts, self._layer, self._chunks, prior, same, self._task.splits)
            return same
        return np.zeros_like(same)

    def _copy_chunks(self, prior: Record, same: NDArray[np.bool_]) -> bool:
        copied: dict[str, dict[ChunkKey, bytes]] = {}
        for array, shard in zip(self._layer.arrays, prior.shards, strict=True):
            if shard.bytes == 0:
                continue
            if self._blobs.size(shard.path) != shard.bytes or sha256_of(self._blobs, shard.path) != shard.sha256:
                return False  # a torn run replaced the shard after its record: all of it is built again
            chunks = copied[array.variable.name] = {}
            grid = array_grid(self._layer, array)
            tail = self._blobs.get(shard.path, -index_size(grid))
            index = decode_index(tail, grid, where=shard.path)
            for place in np.argwhere(index[..., 1] != MISSING):
                key = tuple(int(k) for k in place)
                if same[key[0], 0 if self._layer.is_static else key[1]]:
                    start, length = (int(v) for v in index[key])
                    chunks[key] = self._blobs.get(shard.path, start, length)
        self._chunks |= copied
        return True

    def _copy_rows(self, prior: Record, same: NDArray[np.bool_]) -> None:
        rows = self._rows
        where = np.nonzero(same)
        for name, values in rows.arrays().items():
            values[where] = kept_rows(prior, name)[where]
        names: list[str] = list(prior.info["items"])
        counts = prior.arrays["used_count"]
        flat = prior.arrays["used"]
        ends = counts.reshape(-1).cumsum().reshape(counts.shape)
        for chip, slot in zip(*(index.tolist() for index in where), strict=True):
            end = int(ends[chip, slot])
            rows.used[chip][slot] = [names[i] for i in flat[end - int(counts[chip, slot]) : end]]
        rows.damaged.extend(prior.info["damaged"])
        rows.operations |= prior.info["operations"]
        rows.orbit_files |= prior.info.get("orbit_files", {})


def build_unit(task: Task, blobs: Blobs, work_bytes: int = WORK_BYTES) -> Record:
    """Build one unit and return its record; the same bytes wherever and whenever it runs."""
    try:
        return UnitBuilder(task, blobs, work_bytes=work_bytes).build()
    except MemoryError as error:
        raise StoreError(
            f"out of memory in unit {task.unit.id}",
            hint="use fewer --workers or a smaller --memory",
            where=task.unit.layer,
        ) from error

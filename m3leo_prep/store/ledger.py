"""The ledger: which units are done, in append-only segments that survive a crash at any byte.

A segment is ``<writer>-<run>.seg``: frames of ``MAGIC, length of head, length of body, crc32c of head, crc32c of
body, head (JSON), body (compressed arrays)``. A new segment's run number is higher than any in the folder, so later
builds come later, whatever the clocks say; parts that run side by side own different units, so their order is free.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numcodecs import zstd
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.store.codec import crc32c
from m3leo_prep.store.lock import BuildLock

__all__ = ["BuildLock", "Ledger", "Record", "Segment", "ShardFile"]

MAGIC = b"M3LR"
_FRAME = struct.Struct("<4sIQ4s4s")  # magic, bytes of head, bytes of body, crc32c of head, crc32c of body


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One shard of a finished unit."""

    path: str
    bytes: int
    """0: absent by design, all chunks missing."""
    sha256: str
    """Hex digest; empty if absent."""


@dataclass(frozen=True, slots=True)
class Record:
    """One finished unit; the last record of a unit wins."""

    unit: str
    digest: str
    """What went in; a record counts only while it equals the plan's."""
    shards: tuple[ShardFile, ...] = ()
    retryable: int = 0
    """Holes (chip x slot x band) that the next run asks for again."""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Reasons, moments, histograms ... by name; loaded from disk when looked up."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Provenance and counts; JSON values."""


class Ledger:
    """The finished units of a dataset."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is where the segments lie: ``DATASET/.m3leo/ledger``."""
        self.folder = folder

    def open_segment(self, writer: str) -> Segment:
        """Return a new segment of this writer, later than all that are there.

        Raises:
            StoreError: the folder cannot be written.
        """
        if not writer or set(writer) & set("/\\\0"):
            raise ConfigError(f"{writer!r} cannot name a ledger segment")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            runs = [int(path.stem.rpartition("-")[2]) for path in self._segments()]
            run = max(runs, default=0) + 1
            while True:
                try:
                    return Segment(self.folder / f"{writer}-{run:06d}.seg")
                except FileExistsError:  # the same writer was opened in between
                    run += 1
        except OSError as error:
            raise _unwritable(error, self.folder) from error

    def records(self) -> dict[str, Record]:
        """Return the last record of each unit.

        Raises:
            StoreError: a segment is damaged elsewhere than at its torn end.
        """
        found: dict[str, Record] = {}
        for path in self._segments():
            with contextlib.suppress(FileNotFoundError):  # another part had nothing to add and took it away
                found |= {record.unit: record for record in _read(path)}
        return found

    def _segments(self) -> list[Path]:
        """Return the segments in their order: by run, then writer."""
        found = [(int(p.stem.rpartition("-")[2]), p.name, p) for p in self.folder.glob("*-[0-9]*.seg")]
        return [path for _, _, path in sorted(found)]


class Segment:
    """The part of the ledger that one writer adds in one run; ``append`` may be called from many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb", buffering=0)
        self._lock = threading.Lock()
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def append(self, record: Record) -> None:
        """Add a record; durable when it returns. The record's shards must be in place before.

        Raises:
            StoreError: disk full or failing; the segment is as before.
        """
        frame = _pack(record)
        with self._lock:
            start = self._file.tell()
            try:
                view = memoryview(frame)
                while view:
                    view = view[self._file.write(view) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                with contextlib.suppress(OSError):  # what cannot be cut off is a torn tail, which readers ignore
                    self._file.truncate(start)
                    self._file.seek(start)
                raise _unwritable(error, self.path) from error

    def close(self) -> None:
        """Close the file; an empty segment is removed."""
        with self._lock:
            if self._file.closed:
                return
            is_empty = self._file.tell() == 0
            self._file.close()
            if is_empty:
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Arrays(Mapping[str, NDArray[Any]]):
    """A record's arrays, read from the segment when one is looked up."""

    __slots__ = ("_crc", "_length", "_offset", "_path", "_specs")

    def __init__(self, path: Path, offset: int, length: int, crc: bytes, specs: list[Any]) -> None:
        self._path, self._offset, self._length, self._crc = path, offset, length, crc
        self._specs = {name: (dtype, shape, at, n) for name, dtype, shape, at, n in specs}

    def __getitem__(self, name: str) -> NDArray[Any]:
        dtype, shape, at, length = self._specs[name]
        packed = self._body()[at : at + length]
        raw = bytearray(zstd.decompress(packed)) if packed else bytearray()
        return np.frombuffer(raw, dtype).reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def _body(self) -> bytes:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            body = file.read(self._length)
        if crc32c(body) != self._crc:
            raise _damaged(self._path, self._offset)
        return body


def _pack(record: Record) -> bytes:
    """Return a record as one frame."""
    body, specs = bytearray(), []
    for name, array in record.arrays.items():
        packed = zstd.compress(np.ascontiguousarray(array).reshape(-1).view(np.uint8), 3) if array.size else b""
        specs.append([name, array.dtype.str, array.shape, len(body), len(packed)])
        body += packed
    document = {
        "unit": record.unit,
        "digest": record.digest,
        "shards": [[s.path, s.bytes, s.sha256] for s in record.shards],
        "retryable": record.retryable,
        "arrays": specs,
        "info": dict(record.info),
    }
    head = json.dumps(document, separators=(",", ":")).encode()
    packed_body = bytes(body)
    frame = _FRAME.pack(MAGIC, len(head), len(packed_body), crc32c(head), crc32c(packed_body))
    return frame + head + packed_body


def _read(path: Path) -> Iterator[Record]:
    """Yield a segment's records; a torn end is ignored, damage before intact records is not."""
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = 0
        while offset < size:
            file.seek(offset)
            frame = _frame_at(file.read(_FRAME.size))
            end = offset + _FRAME.size + sum(frame[:2]) if frame else size + 1
            head = file.read(frame[0]) if frame and end <= size else b""
            is_whole = frame is not None and end <= size and crc32c(head) == frame[2]
            # Only the last record can have been cut by a crash: its arrays are checked now, others' when used.
            if frame and is_whole and end == size:
                is_whole = crc32c(file.read(frame[1])) == frame[3]
            if not frame or not is_whole:
                if _has_record(path, offset + 1, size):
                    raise _damaged(path, offset)
                return
            given = json.loads(head)
            body = offset + _FRAME.size + frame[0]
            yield Record(
                unit=given["unit"],
                digest=given["digest"],
                shards=tuple(ShardFile(*shard) for shard in given["shards"]),
                retryable=given["retryable"],
                arrays=_Arrays(path, body, frame[1], frame[3], given["arrays"]),
                info=given["info"],
            )
            offset = end


def _frame_at(raw: bytes) -> tuple[int, int, bytes, bytes] | None:
    """Return (bytes of head, bytes of body, crc of head, crc of body), or None if no frame starts here."""
    if len(raw) < _FRAME.size or not raw.startswith(MAGIC):
        return None
    _, head, body, head_crc, body_crc = _FRAME.unpack(raw)
    return head, body, head_crc, body_crc


def _has_record(path: Path, start: int, size: int) -> bool:
    """Return True if an intact record begins anywhere from ``start`` on: then damage is not a torn end.

    Only the first ``size`` bytes count: another part may be adding records now.
    """
    data = path.read_bytes()[:size]
    while (start := data.find(MAGIC, start)) >= 0:
        frame = _frame_at(data[start : start + _FRAME.size])
        if frame:
            head = start + _FRAME.size
            body, end = head + frame[0], head + frame[0] + frame[1]
            if end <= len(data) and crc32c(data[head:body]) == frame[2] and crc32c(data[body:end]) == frame[3]:
                return True
        start += 1
    return False


def _damaged(path: Path, offset: int) -> StoreError:
    return StoreError(
        f"the ledger is damaged at byte {offset}",
        hint="move this file away and run `build` again: the units it records are built anew",
        where=str(path),
    )


def _unwritable(error: OSError, path: Path) -> StoreError:
    return StoreError(
        f"the ledger cannot be written: {error.strerror or error}",
        hint="free space or fix the permissions, then run the same command again: finished units are kept",
        where=str(path),
    )

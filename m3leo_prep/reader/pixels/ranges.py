"""Bytes of shards: from open files into reused memory, or from a network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.blobs.cached import Cached
from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import StoreError
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.reader.pixels import held
from m3leo_prep.reader.pixels.faults import Faults
from m3leo_prep.store.shard import shard_name


class ShardId(NamedTuple):
    """Which shard."""

    layer: str
    variable: str
    chip: int
    """Place along chips."""
    slot: int
    """Place along slots, -1 of a static layer."""

    @property
    def name(self) -> str:
        """Name in the dataset."""
        return shard_name(self.layer, self.variable, (self.chip,) if self.slot < 0 else (self.chip, self.slot))


class Ranges(Protocol):
    """Reads parts of shards that must have a known size."""

    def get(self, shard: ShardId, size: int, start: int, length: int) -> bytes | memoryview:
        """Return a part, valid until this thread asks for the next.

        Raises:
            StoreError: the shard is absent, or has another size.
        """
        ...

    def check_size(self, shard: ShardId, size: int) -> None:
        """Raise StoreError if the shard has another size, which ``get`` need not notice."""
        ...

    def forget(self, shard: ShardId, start: int, length: int) -> None:
        """Keep no copy of a part that is damaged: the next ``get`` reads it from where it comes from."""
        ...


@dataclass(frozen=True, slots=True)
class LocalRanges:
    """Parts of files, which stay open in a bounded cache."""

    root: LocalBlobs
    owner: int
    faults: Faults

    def get(self, shard: ShardId, size: int, start: int, length: int) -> memoryview:
        """Return a part, valid until this thread asks for the next."""
        view = held.scratch.get("bytes", length).data
        self.get_into(shard, size, start, [view])
        return view

    def get_into(self, shard: ShardId, size: int, start: int, buffers: list[memoryview]) -> None:
        """Fill buffers one after the other; errors as in ``get``."""
        file = self._open(shard, size)
        length = sum([buffer.nbytes for buffer in buffers])
        try:
            n_read = os.preadv(file.descriptor, buffers, start)
            if n_read < length and n_read + start < size:  # a signal or a file system may cut a read short
                n_read += _rest(file.descriptor, buffers, start, n_read)
        except OSError as error:
            raise self._unreadable(shard, error) from error
        if n_read != length:
            raise self.faults.another_size(shard.name, start + n_read, size)

    def check_size(self, shard: ShardId, size: int) -> None:
        """Return at once: sizes are checked whenever a file is opened."""

    def forget(self, shard: ShardId, start: int, length: int) -> None:
        """Return at once: this is where it comes from."""

    def _open(self, shard: ShardId, size: int) -> held.File:
        key = (self.owner, *shard)
        file = held.files.get(key)
        if file is None:
            name = shard.name
            try:
                file = held.File(self.root.root / name)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise self.faults.absent(name, size) from error
            except OSError as error:
                raise self._unreadable(shard, error) from error
            if file.size != size:
                raise self.faults.another_size(name, file.size, size)
            held.files.put(key, file)
        return file

    def _unreadable(self, shard: ShardId, error: OSError) -> StoreError:
        message = f"this shard cannot be read: {error.strerror or error}"
        return StoreError(message, where=f"{self.root.url}/{shard.name}", hint="check the disk and your permissions")


@dataclass(frozen=True, slots=True)
class RemoteRanges:
    """Parts of blobs at an address: each is one request."""

    root: Readable
    faults: Faults

    def get(self, shard: ShardId, size: int, start: int, length: int) -> bytes:
        """Return a part."""
        try:
            data = self.root.get(shard.name, start, length)
        except FileNotFoundError as error:
            raise self.faults.absent(shard.name, size) from error
        if len(data) != length:
            self.forget(shard, start, length)
            self.check_size(shard, size)
            where = f"{self.root.url}/{shard.name}"
            raise StoreError(f"{len(data)} bytes came instead of {length}", where=where, hint="try again")
        return data

    def check_size(self, shard: ShardId, size: int) -> None:
        """Ask for the size: a part of a longer blob looks like damage."""
        found = self.root.size(shard.name)
        if found is None:
            raise self.faults.absent(shard.name, size)
        if found != size:
            raise self.faults.another_size(shard.name, found, size)

    def forget(self, shard: ShardId, start: int, length: int) -> None:
        """Let a cache on this machine forget it."""
        if isinstance(self.root, Cached):
            self.root.forget(shard.name, start, length)


def open_ranges(root: Readable, owner: int, faults: Faults) -> LocalRanges | RemoteRanges:
    """Return what reads parts of the shards at ``root``; files are held for ``owner``."""
    return LocalRanges(root, owner, faults) if isinstance(root, LocalBlobs) else RemoteRanges(root, faults)


def _rest(descriptor: int, buffers: list[memoryview], start: int, n_read: int) -> int:
    """Return how many more bytes could be read into buffers of which the first ``n_read`` bytes are filled."""
    more, skipped = 0, 0
    for buffer in buffers:
        flat: NDArray[Any] = np.frombuffer(buffer, np.uint8)
        done = min(len(flat), max(0, n_read + more - skipped))
        skipped += len(flat)
        while done < len(flat):
            got = os.preadv(descriptor, [flat[done:].data], start + n_read + more)
            if not got:
                return more
            done, more = done + got, more + got
    return more

"""What a process keeps of the shards it reads: open files and indexes, both bounded, whatever the dataset's size."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

OPEN_FILES = 128
"""Open shards per process, all datasets together: far below the usual limits of 256 (macOS) and 1024 files."""
INDEX_BYTES = 64 * 2**20
"""Bytes of indexes per process: some 4 million chunks."""

T = TypeVar("T")
Key = tuple[Hashable, ...]
"""The owner first: what it holds goes when it goes."""


class Bounded(Generic[T]):
    """What was used last, up to a total cost; safe in threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.cost = 0
        self._held: OrderedDict[Key, tuple[T, int]] = OrderedDict()
        # Re-entrant: dropping a value may set off the garbage collector, and with it `forget`, in the same thread.
        self._lock = threading.RLock()

    def get(self, key: Key) -> T | None:
        """Return what is held by that key, or None."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                return None
            self._held.move_to_end(key)
            return found[0]

    def put(self, key: Key, value: T, cost: int = 1) -> None:
        """Hold a value, and let go of those used longest ago while all together cost too much."""
        with self._lock:
            self._drop(key)
            self._held[key] = (value, cost)
            self.cost += cost
            while self.cost > self.limit and (oldest := next(iter(self._held), None)) is not None:
                self._drop(oldest)

    def forget(self, owner: Hashable) -> None:
        """Let go of all that belongs to an owner."""
        with self._lock:
            for key in list(self._held):
                if key[0] == owner:
                    self._drop(key)

    def __len__(self) -> int:
        return len(self._held)

    def _drop(self, key: Key) -> None:
        _, cost = self._held.pop(key, (None, 0))
        self.cost -= cost


class File:
    """An open file that all threads read by place; it closes when the last read that uses it has ended."""

    __slots__ = ("descriptor", "size")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.size = os.fstat(self.descriptor).st_size

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # `close` is bound early: when the interpreter ends, modules go before the last files do.
        if self.descriptor >= 0:
            close(self.descriptor)


class Scratch(threading.local):
    """A thread's own buffers, used again and again: fresh memory would cost a page fault every 4 KiB."""

    KEPT = 32 * 2**20
    """Bytes of a larger buffer are not kept."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[np.uint8]] = {}

    def get(self, use: str, n_bytes: int) -> NDArray[Any]:
        """Return (n_bytes,) uint8 with anything in it, valid until this thread asks for the same use again."""
        held = self._held.get(use)
        if held is None or len(held) < n_bytes:
            held = np.empty(n_bytes, np.uint8)
            if n_bytes <= self.KEPT:
                self._held[use] = held
        return held[:n_bytes]


files: Bounded[File] = Bounded(OPEN_FILES)
indexes: Bounded[NDArray[np.uint64]] = Bounded(INDEX_BYTES)
scratch = Scratch()


def _start_anew() -> None:
    """Forget everything in a forked child: another thread of the parent may have held a lock."""
    global files, indexes
    files, indexes = Bounded(files.limit), Bounded(indexes.limit)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)

"""Blocks that all threads of a process share, up to a number of bytes: decoded ones, and coded ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import Future
from typing import Any

from numpy.typing import NDArray

CACHE_BYTES, PIECE_BYTES = 128 * 2**20, 128 * 2**20
"""Of each: half a band of a Sentinel-2 tile of 10 m decoded, more than one coded."""

Block = NDArray[Any]


class BlockCache:
    """The blocks used last. What one thread is decoding, others wait for.

    Args:
        limit: bytes of all blocks that are kept.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit, self._bytes = limit, 0
        self._kept: OrderedDict[Hashable, Block] = OrderedDict()
        self._making: dict[Hashable, Future[Block]] = {}
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._bytes

    def claim(self, key: Hashable) -> Block | Future[Block] | None:
        """Return a block, or what another thread will make of it; None = the caller makes it, and keeps or fails it."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
            making = self._making.get(key)
            if making is None:
                self._making[key] = Future()
            return making

    def keep(self, key: Hashable, block: Block, *, again: bool = True) -> None:
        """Hand over a block that was claimed; it is read-only from now on.

        Args:
            key: of it.
            block: its pixels.
            again: keep it for those who come later; else only those who wait for it have it.
        """
        block.setflags(write=False)
        with self._lock:
            if again:
                self._kept[key] = block
                self._bytes += block.nbytes
            making = self._making.pop(key)
            while self._bytes > self._limit:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        making.set_result(block)

    def fail(self, key: Hashable, error: BaseException) -> None:
        """Tell those who wait for a block that was claimed why there will be none; does nothing if there is one."""
        with self._lock:
            making = self._making.pop(key, None)
        if making is not None:
            making.set_exception(error)

    def clear(self) -> None:
        """Forget all blocks."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


class PieceCache:
    """Coded blocks used last of which only a part was needed: the windows beside need the rest, and decode it.

    Coded they take half of the memory, and the part that a window needs of one takes a fraction of its work to decode.

    Args:
        limit: bytes of all that are kept.
    """

    def __init__(self, limit: int = PIECE_BYTES) -> None:
        self._limit, self._bytes = limit, 0
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> bytes | None:
        """Return a block as it is in its file, if it is there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Hashable, data: bytes) -> None:
        """Hand over a block as it is in its file."""
        with self._lock:
            self._bytes += len(data) - len(self._kept.pop(key, b""))
            self._kept[key] = data
            while self._bytes > self._limit:
                self._bytes -= len(self._kept.popitem(last=False)[1])

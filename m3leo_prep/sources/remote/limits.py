"""How many requests a provider gets at once and in a minute, from all threads of this process, and what they took."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from m3leo_prep.sources.remote.access import Access

MINUTE = 60.0


class Limit:
    """The requests of one provider.

    Args:
        connections: requests under way at once.
        per_minute: requests begun in any minute; 0 = as many as come.
        clock: seconds.
        sleep: waits for so many.
    """

    def __init__(
        self,
        connections: int,
        per_minute: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._free = threading.BoundedSemaphore(connections)
        self._per_minute = per_minute
        self._clock, self._sleep = clock, sleep
        self._begun: deque[float] = deque()
        self._lock = threading.Lock()
        self._requests = self._bytes = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be one of the requests under way, from when there is room until the end of the block."""
        with self._free:
            while (ahead := self._begin()) > 0:
                self._sleep(ahead)
            yield

    def got(self, count: int) -> None:
        """Take note of bytes that came."""
        with self._lock:
            self._bytes += count

    def usage(self) -> tuple[int, int]:
        """Return the requests that began and the bytes that came."""
        with self._lock:
            return self._requests, self._bytes

    def _begin(self) -> float:
        """Count a request and return 0, or return the seconds until there is room in the minute."""
        with self._lock:
            now = self._clock()
            while self._begun and self._begun[0] <= now - MINUTE:
                self._begun.popleft()
            if self._per_minute and len(self._begun) >= self._per_minute:
                return self._begun[0] + MINUTE - now
            if self._per_minute:
                self._begun.append(now)
            self._requests += 1
            return 0.0


def limit(access: Access) -> Limit:
    """Return the limit that all of a provider's accesses share: they are its own, whoever logs in."""
    with _lock:
        key = access.name, access.connections, access.per_minute
        if key not in _limits:
            _limits[key] = Limit(access.connections, access.per_minute)
        return _limits[key]


_limits: dict[tuple[str, int, int], Limit] = {}
_lock = threading.Lock()

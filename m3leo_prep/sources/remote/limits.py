"""How many requests a provider gets at once and in a minute, and what they took.

From all threads of this process; where an access says that its limits are shared, from all processes of this machine.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from m3leo_prep.sources._slots import Slots, folder_of
from m3leo_prep.sources.remote.access import Access

MINUTE = 60.0
LOOK_SECONDS = 0.01
"""Between two looks for a place that another process holds: short beside a request, long beside a look."""


class Limit:
    """The requests of one provider.

    Args:
        connections: requests under way at once.
        per_minute: requests begun in any minute; 0 = as many as come.
        slots: as many places, shared with other processes; None = the limits are this object's.
        clock: seconds, the same in all processes.
        sleep: waits for so many.
    """

    def __init__(
        self,
        connections: int,
        per_minute: int,
        *,
        slots: Slots | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._free = threading.BoundedSemaphore(connections)
        self._per_minute = per_minute
        self._slots = slots
        self._clock, self._sleep = clock, sleep
        self._begun: deque[float] = deque()
        self._lock = threading.Lock()
        self._requests = self._bytes = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be one of the requests under way, from when there is room until the end of the block."""
        with self._free, self._place():
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

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold one of the places that processes share."""
        if self._slots is None:
            yield
            return
        while (place := self._slots.take()) is None:
            self._sleep(LOOK_SECONDS)
        try:
            yield
        finally:
            self._slots.free(place)

    def _begin(self) -> float:
        """Count a request and return 0, or return the seconds until there is room in the minute."""
        with self._lock:
            now = self._clock()
            ahead = 0.0
            if self._slots is not None and self._per_minute:
                ahead = self._slots.begin(now, self._per_minute, MINUTE)
            elif self._per_minute:
                while self._begun and self._begun[0] <= now - MINUTE:
                    self._begun.popleft()
                if len(self._begun) >= self._per_minute:
                    return self._begun[0] + MINUTE - now
                self._begun.append(now)
            self._requests += ahead == 0
            return ahead


def limit(access: Access) -> Limit:
    """Return the limit that all of a provider's accesses share: they are its own, whoever logs in.

    Raises:
        StoreError: it is shared with other processes, and the folder for that cannot be made.
    """
    key = os.getpid(), access.name, access.shared, access.connections, access.per_minute
    with _lock:
        if key not in _limits:
            slots = Slots(folder_of(access.name, access.shared), access.connections) if access.shared else None
            _limits[key] = Limit(access.connections, access.per_minute, slots=slots)
        return _limits[key]


_limits: dict[tuple[int, str, str, int, int], Limit] = {}
_lock = threading.Lock()

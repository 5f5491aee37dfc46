"""How long a source waits for a server, and how all threads of a process wait together."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Never

from m3leo_prep.blobs.http import TRUST_HINT, UNTRUSTED, Patience
from m3leo_prep.core.errors import RateLimited, SourceError, TriedOut

SPREAD = 0.1
"""Of a wait is added by chance, so that those who waited together do not come back together."""


class Gate:
    """When each host may be asked again, for all threads of this process.

    Args:
        clock: seconds.
        sleep: waits for so many.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._opens: dict[str, float] = {}
        self._lock = threading.Lock()

    def hold(self, host: str, seconds: float) -> None:
        """Let nobody ask a host for some time."""
        with self._lock:
            self._opens[host] = max(self._opens.get(host, 0.0), self._clock() + seconds)

    def wait(self, host: str) -> None:
        """Return when the host may be asked."""
        while (ahead := self._opens.get(host, 0.0) - self._clock()) > 0:
            self._sleep(ahead * (1 + random.uniform(0, SPREAD)))

    def sleep(self, seconds: float) -> None:
        """Wait alone."""
        self._sleep(seconds)


GATE = Gate()
"""Of this process."""


class Tries(Patience):
    """The attempts at one thing that a source asks for; a server that says "too often" is left alone by all threads.

    Args:
        where: what is asked for, for messages; without secrets.
        gate: of all threads; this process's, if none is given.
    """

    def __init__(self, where: str, gate: Gate | None = None) -> None:
        super().__init__(where)
        self._gate = gate or GATE
        self._host = ""

    def turn(self, host: str) -> None:
        """Return when ``host``, which is asked next, may be asked."""
        self._host = host
        self._gate.wait(host)

    def pause(self, seconds: float) -> None:
        """Wait alone, where nothing has failed."""
        self._gate.sleep(seconds)

    def wait(self, seconds: float, *, asked: bool) -> None:
        """Wait; with all others if the server said so."""
        if asked or self.status == HTTPStatus.TOO_MANY_REQUESTS:
            self._gate.hold(self._host, seconds)
        else:
            self._gate.sleep(seconds)
        # Another thread may have been told meanwhile to wait longer.
        self._gate.wait(self._host)

    def give_up(self, what: str, hint: str) -> Never:
        """Raise RateLimited if the last answer was 429, else TriedOut."""
        kind = RateLimited if self.status == HTTPStatus.TOO_MANY_REQUESTS else TriedOut
        raise kind(what, where=self.where, hint=hint)

    def distrust(self) -> Never:
        """Raise SourceError."""
        raise SourceError(UNTRUSTED, where=self.where, hint=TRUST_HINT)

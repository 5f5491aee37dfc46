"""How many requests run at once, and when the next one starts: one limiter for a project, shared by all its workers.

Concurrency follows what the service takes: it doubles per round trip until the first refusal, then grows by one per
round trip; a refusal (429) halves it, once per round trip however many requests were refused together. Starts are
spaced, and a ``Retry-After`` holds back every worker. Limits: https://developers.google.com/earth-engine/guides/usage
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from m3leo_prep.sources._slots import Slots

CAP = 40
"""Requests at once of a project at one endpoint: "Max concurrent requests" of the page above."""
OWN_CAP = CAP - 1
"""Requests at once of one process: a ``doctor`` beside a long build must find a place too."""
RATE = 100.0
"""Requests started per second: "Max rate of requests" of the page above."""
BURST = 4
START = 8
"""Requests at once before anything is known of the service."""
RESTRICTED_CAP = 4
"""Requests at once of a project in restricted mode, whose parallelism the service cuts down:
https://developers.google.com/earth-engine/guides/noncommercial_tiers"""
LOOK_SECONDS = 0.05
"""Between two looks for a place that another process holds."""
TELL_SECONDS = 30.0
"""Pauses from here on are told."""

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What this process asked of the service so far."""

    requests: int = 0
    refused: int = 0
    """Of these, answered "too often"."""
    retries: int = 0
    peak: int = 0
    """Most requests at once."""
    waited: float = 0.0
    """Seconds that threads waited for their turn or before another attempt, together."""


class Limiter:
    """Admits requests; every method may be called from any thread."""

    def __init__(
        self,
        slots: Slots,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Admit ``START`` requests at once to begin with.

        Args:
            slots: the project's places and pace.
            clock: seconds; the same clock in all processes.
            sleep: waits so many seconds.
        """
        self._slots = slots
        self._clock = clock
        self._sleep = sleep
        self._changed = threading.Condition()
        self._ceiling = OWN_CAP
        self._window = float(START)
        self._is_searching = True
        self._cut_at = -float("inf")
        self._running = 0
        self._is_looking = False
        self._statistics = Statistics()

    @property
    def window(self) -> int:
        """Requests that may run at once now."""
        return max(1, min(int(self._window), self._ceiling))

    def statistics(self) -> Statistics:
        """Return what was asked so far."""
        with self._changed:
            return self._statistics

    @contextmanager
    def turn(self) -> Iterator[float]:
        """A context in which one request may run; yields when it began. Waits for a place and for its moment."""
        asked = self._clock()
        with self._changed:
            slot = self._place()
            self._running += 1
            self._changed.notify()  # there may be room for another one
        try:
            self._await_moment()
            began = self._clock()
            self._count(requests=1, waited=began - asked)
            yield began
        finally:
            self._slots.free(slot)
            with self._changed:
                self._running -= 1
                self._changed.notify()

    def _place(self) -> int:
        """Return a place, as soon as there is one for this process."""
        while True:
            if self._running < self.window and not self._is_looking:
                slot = self._slots.take()
                if slot is not None:
                    return slot
                # Other processes hold them all, and do not tell when they free one: one thread looks for the others.
                self._is_looking = True
                try:
                    self._changed.wait(LOOK_SECONDS)
                finally:
                    self._is_looking = False
            else:
                self._changed.wait()

    def _await_moment(self) -> None:
        """Wait until no pause holds and the pace allows it."""
        is_kept = False
        while not is_kept:
            now = self._clock()
            start, is_kept = self._slots.reserve(now)
            if start > now:
                self._sleep(start - now)
                # A pause may have been asked for meanwhile.
                is_kept = is_kept and self._slots.held_until(start) <= self._clock()

    def answered(self) -> None:
        """Note that the request of this turn was answered: there may be room for more."""
        with self._changed:
            if self._running >= self.window:  # an idle window proves nothing
                self._window = min(self._window + (1 if self._is_searching else 1 / self._window), self._ceiling)
                self._changed.notify()

    def refused(self, began: float) -> None:
        """Note that a request that began then was one too many."""
        now = self._clock()
        with self._changed:
            self._is_searching = False
            if began >= self._cut_at:
                self._window = max(1.0, min(self._window, self._ceiling) / 2)
                self._cut_at = now
        self._count(refused=1)

    def hold(self, seconds: float) -> None:
        """Let no request of any worker start for so long: the service asked for it. Long pauses are told."""
        now = self._clock()
        is_new = self._slots.held_until(now) <= now
        self._slots.hold(now, seconds)
        if seconds >= TELL_SECONDS and is_new:
            _LOGGER.warning("Earth Engine asks for a pause of %.0f s; all requests wait", seconds)

    def restrict(self, restricted: bool) -> None:  # noqa: FBT001  (the state itself, told by every response)
        """Note whether the service says that the project is in restricted mode; told once."""
        with self._changed:
            ceiling = RESTRICTED_CAP if restricted else OWN_CAP
            is_new, self._ceiling = ceiling != self._ceiling, ceiling
        if is_new and restricted:
            _LOGGER.warning(
                "The project has used up its Earth Engine quota of this month and is in restricted mode: "
                "at most %d requests run at once. "
                "https://developers.google.com/earth-engine/guides/noncommercial_tiers",
                RESTRICTED_CAP,
            )

    def back_off(self, seconds: float) -> None:
        """Wait before another attempt, without a place."""
        self._count(retries=1, waited=seconds)
        self._sleep(seconds)

    def _count(self, *, requests: int = 0, refused: int = 0, retries: int = 0, waited: float = 0.0) -> None:
        with self._changed:
            old = self._statistics
            self._statistics = replace(
                old,
                requests=old.requests + requests,
                refused=old.refused + refused,
                retries=old.retries + retries,
                peak=max(old.peak, self._running),
                waited=old.waited + waited,
            )

"""What requests were charged: watched in whatever thread they are sent from, and added up.

A request that asks for it is answered with the id of a profile, a table of what took how many EECU-seconds
(https://developers.google.com/earth-engine/guides/computation_overview#profiler). The client's own switch for it holds
for one thread; requests are sent from the threads of the session's pool.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
_hook: ContextVar[Callable[[str], None] | None] = ContextVar("_hook", default=None)
_ROW = re.compile(r"^\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s+\S", re.MULTILINE)
"""A row of the table; its first column is EECU-seconds."""


@contextmanager
def watching() -> Iterator[list[str]]:
    """A context in which the profiles of all requests are noted: gives the list of their ids, one an answer."""
    import ee

    seen: list[str] = []
    token = _hook.set(seen.append)
    try:
        with ee.data.profiling(seen.append):
            yield seen
    finally:
        _hook.reset(token)


def watched(request: Callable[[], T]) -> Callable[[], T]:
    """Return a request that is watched wherever it is sent, if its caller's requests are; else as it is."""
    hook = _hook.get()
    if hook is None:
        return request

    def sent() -> T:
        import ee

        with ee.data.profiling(hook):
            return request()

    return sent


def eecu_seconds(table: str) -> float | None:
    """Return the EECU-seconds that a profile's rows add up to; None if it has no row."""
    rows = [float(number) for number in _ROW.findall(table)]
    return sum(rows) if rows else None

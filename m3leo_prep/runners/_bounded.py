"""Feeding a pool without running ahead of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice

from m3leo_prep.ports.runner import Result, Task


def bounded(pool: Executor, fn: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """Yield the results of ``fn`` over ``tasks`` with at most ``workers + 1`` in flight.

    On an exception, or when the caller stops, what is running is finished and nothing more is started.
    """
    queue = iter(tasks)
    flying: set[Future[Result]] = set()
    try:
        while True:
            flying |= {pool.submit(fn, task) for task in islice(queue, workers + 1 - len(flying))}
            if not flying:
                return
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in flying:
            future.cancel()

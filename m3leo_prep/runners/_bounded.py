"""Feeding a pool without running ahead of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice

from m3leo_prep.ports.runner import Result, Task


def bounded(pool: Executor, fn: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """Yield the results of ``fn`` over ``tasks`` with at most ``workers + 1`` in flight.

    On an exception nothing more is started, what is running is finished and yielded, then the exception is raised.
    When the caller stops, what is running is finished.
    """
    queue = iter(tasks)
    flying: set[Future[Result]] = set()
    failure: BaseException | None = None
    try:
        while True:
            if failure is None:
                flying |= {pool.submit(fn, task) for task in islice(queue, workers + 1 - len(flying))}
            if not flying:
                break
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                if (error := future.exception()) is None:
                    yield future.result()
                else:
                    failure = failure or error
                    flying = {other for other in flying if not other.cancel()}
    finally:
        for future in flying:
            future.cancel()
    if failure is not None:
        raise failure

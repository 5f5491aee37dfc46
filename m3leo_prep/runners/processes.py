"""Runs units in processes: for sources that hold the GIL."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from m3leo_prep.core.errors import StoreError
from m3leo_prep.ports.runner import Result, Task
from m3leo_prep.runners._bounded import bounded


@dataclass(frozen=True, slots=True)
class Processes:
    """A pool of ``workers`` processes, started fresh (spawn), so that no open file or lock is inherited."""

    workers: int = 1

    def map(self, fn: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield results as they finish; function, tasks and results must pickle."""
        context = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
                yield from bounded(pool, fn, tasks, self.workers)
        except BrokenProcessPool as error:
            raise StoreError(
                "a worker process was killed, most likely for memory",
                hint="use fewer --workers or a smaller --memory; what is finished is kept",
            ) from error

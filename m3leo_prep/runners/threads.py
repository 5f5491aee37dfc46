"""Runs units in threads of this process: the default, because reading, warping and encoding release the GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from m3leo_prep.ports.runner import Result, Task
from m3leo_prep.runners._bounded import bounded


@dataclass(frozen=True, slots=True)
class Threads:
    """A pool of ``workers`` threads."""

    workers: int = 1

    def map(self, fn: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield results as they finish; at most ``workers + 1`` tasks are taken ahead."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix="m3leo") as pool:
            yield from bounded(pool, fn, tasks, self.workers)

"""Runs units in processes: for sources that hold the GIL."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import threading
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
            with ProcessPoolExecutor(self.workers, mp_context=context, initializer=_settle) as pool:
                yield from bounded(pool, fn, tasks, self.workers)
        except BrokenProcessPool as error:
            raise StoreError(
                "a worker process was killed, most likely for memory",
                hint="use fewer --workers or a smaller --memory; what is finished is kept",
            ) from error


def _settle() -> None:
    """Make a worker one that only its parent ends, that ends with it, and that leaves standard output alone."""
    os.setpgrp()  # Ctrl-C reaches the parent, which lets the running units end
    os.dup2(2, 1)  # what a source prints must not spoil the command's JSON
    atexit.register(gc.freeze)  # a search for garbage in all that was imported would take a third of a second
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent has ended, however: nobody else holds the dataset's lock for it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

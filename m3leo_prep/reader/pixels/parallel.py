"""Work in threads: one pool per process, made when it is first needed."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from m3leo_prep.ports.blobs import Readable

GETS = 16
"""Requests to a network at a time."""
DECODERS = 4
"""Threads that read local files: beyond these, memory is what they wait for."""
WORTH_A_THREAD = 2**20
"""Decoded bytes, about 0.5 ms of work: to hand less to another thread costs more than it saves."""

S = TypeVar("S")
T = TypeVar("T")
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def default_threads(root: Readable, n_bytes: int) -> int:
    """Return how many threads read a batch whose chunks decode to so many bytes.

    Over a network as many as requests are waited for. Of local files one in a worker process, such as a DataLoader's,
    whose siblings keep the other cores busy; elsewhere some, if each has enough to do.
    """
    if root.is_remote:
        return GETS
    if n_bytes < 2 * WORTH_A_THREAD or multiprocessing.parent_process() is not None:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(DECODERS, cores, n_bytes // WORTH_A_THREAD)


def each(work: Callable[[S], T], items: Sequence[S], threads: int) -> list[T]:
    """Return ``work(item)`` of all items, in their order, done in up to ``threads`` threads; the caller is one of them.

    Raises:
        Exception: that of the first item that failed; nothing new is begun after a failure.
    """
    n_threads = min(threads, len(items))
    if n_threads <= 1:
        return [work(item) for item in items]
    todo = iter(range(len(items)))  # one step of it is atomic
    done: dict[int, T] = {}
    failed: dict[int, BaseException] = {}

    def run() -> None:
        for place in todo:
            if failed:
                return
            try:
                done[place] = work(items[place])
            except BaseException as error:  # noqa: BLE001  raised again below, in the caller's thread
                failed[place] = error

    pool = _the_pool()
    others = [pool.submit(run) for _ in range(n_threads - 1)]
    run()
    wait([other for other in others if not other.cancel()])
    if failed:
        raise failed[min(failed)]
    return [done[place] for place in range(len(items))]


def _the_pool() -> ThreadPoolExecutor:
    global _pool  # noqa: PLW0603  one per process
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(GETS, thread_name_prefix="m3leo-prep-read")
        return _pool


def _start_anew() -> None:
    """Forget the pool in a forked child, where none of its threads lives on."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)

"""One builder at a time, or several parts of one build."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from m3leo_prep.core.errors import StoreError

TRIES = 10
PAUSE_SECONDS = 0.05
"""Between tries: whoever only looks whether a build runs holds its lock for less."""


class BuildLock:
    """A context in which nobody else builds this dataset; the system frees it when the process ends, however it ends.

    Parts (``build --part i/n``) share the dataset with the other parts of the same n, but not with a whole build, and
    one part not with itself.
    """

    def __init__(self, state: Path, part: str = "") -> None:
        """``state`` is the dataset's ``.m3leo`` folder, ``part`` such as ``3-of-8``, empty for a whole build."""
        self.state = state
        self._part = part
        self._handles: list[int] = []

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            StoreError: somebody else builds; the message names who.
        """
        try:
            if not self._part:
                self._take("lock", fcntl.LOCK_EX, "another build writes this dataset")
                return self
            number, _, of = self._part.partition("-of-")
            self._take("lock", fcntl.LOCK_SH, "a whole build writes this dataset")
            self._take(f"lock-of-{of}", fcntl.LOCK_SH, "another build is just starting")
            for path in sorted(self.state.glob("lock-of-*")):
                if path.name != f"lock-of-{of}":
                    count = path.name.rpartition("-")[2]
                    # Held for a moment: it tells that no part of another count, which owns other units, is at work.
                    os.close(self._take(path.name, fcntl.LOCK_EX, f"this dataset is being built in {count} parts"))
                    self._handles.pop()
            self._take(f"lock-{self._part}", fcntl.LOCK_EX, f"part {number} of {of} is being built already")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            os.close(self._handles.pop())

    def _take(self, name: str, mode: int, conflict: str) -> int:
        # The file stays: removing it would let two builders lock two files of the same name.
        path = self.state / name
        handle = _open(path)
        self._handles.append(handle)
        try:
            _patiently(lambda: fcntl.flock(handle, mode | fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise _no_locks(error, path) from error
            raise StoreError(
                f"{conflict}: {_holder(handle)}",
                hint="wait for it or stop it, then run the same command again",
                where=str(path),
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        return handle


def planning(state: Path) -> AbstractContextManager[None]:
    """Return a context that one part at a time is in: the first one plans, the others find its plan.

    Raises:
        StoreError: when it is entered, the folder cannot be written.
    """
    return _alone(state / "lock-plan")


def ordering(state: Path) -> AbstractContextManager[None]:
    """Return a context that one part at a time is in: it orders, and the others find what is ordered; errors alike."""
    return _alone(state / "lock-orders")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    handle = _open(path)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise _no_locks(error, path) from error
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StoreError(
            f"the dataset cannot be locked: {error.strerror}", hint="is the folder writable?", where=str(path)
        ) from error


def _no_locks(error: OSError, path: Path) -> StoreError:
    return StoreError(
        f"this file system cannot lock files: {error.strerror}",
        hint="build on a local disk and copy the dataset afterwards",
        where=str(path),
    )


def _patiently(lock: Callable[[], None]) -> None:
    for _ in range(TRIES - 1):
        try:
            return lock()
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS)
    return lock()


def _holder(handle: int) -> str:
    """Return who wrote the lock file last, in words."""
    try:
        given = json.loads(os.pread(handle, 1000, 0))
        return f"process {given['pid']} on {given['host']}"
    except (ValueError, KeyError, TypeError):  # its owner is just starting
        return "a process that is just starting"

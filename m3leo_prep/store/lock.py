"""One builder at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Self

from m3leo_prep.core.errors import StoreError


class BuildLock:
    """A context in which nobody else builds this dataset; the system frees it when the process ends, however it ends.

    Parts (``build --part i/n``) share the dataset with each other, but not with a whole build, and one part not with
    itself.
    """

    def __init__(self, state: Path, part: str = "") -> None:
        """``state`` is the dataset's ``.m3leo`` folder, ``part`` such as ``3-of-8``, empty for a whole build."""
        self.state = state
        self._wanted = [("lock", fcntl.LOCK_SH if part else fcntl.LOCK_EX)]
        if part:
            self._wanted.append((f"lock-{part}", fcntl.LOCK_EX))
        self._handles: list[int] = []

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            StoreError: somebody else builds; the message names who.
        """
        try:
            for name, mode in self._wanted:
                self._take(self.state / name, mode)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            os.close(self._handles.pop())

    def _take(self, path: Path, mode: int) -> None:
        # The file stays: removing it would let two builders lock two files of the same name.
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(
                f"the dataset cannot be locked: {error.strerror}", hint="is the folder writable?", where=str(path)
            ) from error
        self._handles.append(handle)
        try:
            fcntl.flock(handle, mode | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise StoreError(
                    f"this file system cannot lock files: {error.strerror}",
                    hint="build on a local disk and copy the dataset afterwards",
                    where=str(path),
                ) from error
            raise StoreError(
                f"another build writes this dataset: {_holder(handle)}",
                hint="wait for it or stop it, then run the same command again",
                where=str(path),
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)


def _holder(handle: int) -> str:
    """Return who wrote the lock file last, in words."""
    try:
        given = json.loads(os.pread(handle, 1000, 0))
        return f"process {given['pid']} on {given['host']}"
    except (ValueError, KeyError, TypeError):  # its owner is just starting
        return "a process that is just starting"

"""What the processes of one machine share of a provider: places for requests, and when the next one may start.

FOLDER/slot-00 ... slot-39   a place is held by whoever holds the file's lock, so that a dead process frees its own
FOLDER/pace                  two float64: when the next request may start, and before when none may; ``time.monotonic``
FOLDER/begun-2000            an uint64, how many began so far, and a ring of float64: when the last 2000 of them did

The folder lies on this machine, not in a home that several share: the clock is this machine's.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from math import inf
from pathlib import Path

from m3leo_prep.core.errors import StoreError

LONGEST_HOLD = 900.0
"""Seconds; a time that lies further ahead was written before this machine's last start."""
_PACE = struct.Struct("=dd")
_COUNT, _TIME = struct.Struct("=Q"), struct.Struct("=d")


class Slots:
    """Places at a provider, and its pace, shared with all processes that were given the same folder."""

    def __init__(self, folder: Path, count: int, *, interval: float = 0.0, burst: int = 1) -> None:
        """Make the folder.

        Args:
            folder: see ``folder_of``.
            count: places there are.
            interval: for ``reserve``: seconds between the starts of two requests, in the long run.
            burst: for ``reserve``: requests that may start at once.
        """
        self._folder = folder
        self._count = count
        self._interval = interval
        self._tolerance = (burst - 1) * interval
        self._handles: dict[str, int] = {}
        self._held: set[int] = set()
        self._lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(folder, error) from error
        _all.add(self)

    def take(self) -> int | None:
        """Return the number of a place that was free, None if none is."""
        first = os.getpid() % self._count  # processes start to look at different places
        with self._lock:
            for number in chain(range(first, self._count), range(first)):
                if number not in self._held and self._locks(number):
                    self._held.add(number)
                    return number
        return None

    def free(self, number: int) -> None:
        """Give a place back."""
        with self._lock:
            self._held.discard(number)
            fcntl.flock(self._handle(f"slot-{number:02}"), fcntl.LOCK_UN)

    def reserve(self, now: float) -> tuple[float, bool]:
        """Return when one more request may start, and whether that moment is kept for it; if not, ask again then."""
        with self._pace(now) as pace:
            if pace[1] > now:
                return pace[1], False
            start = max(now, pace[0] - self._tolerance)
            pace[0] = max(pace[0], now) + self._interval
            return start, True

    def begin(self, now: float, most: int, span: float) -> float:
        """Note that a request begins now and return 0; or return the seconds until one may, of ``most`` in any span.

        Unlike ``reserve`` this lets them begin as fast as they come until there are so many.
        """
        with self._lock:
            handle = self._handle(f"begun-{most}")
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                stored = os.pread(handle, _COUNT.size, 0)
                count = _COUNT.unpack(stored)[0] if stored else 0
                place = _COUNT.size + count % most * _TIME.size
                before = _TIME.unpack(os.pread(handle, _TIME.size, place))[0] if count >= most else -inf
                # One that lies ahead was written before this machine's last start.
                if before <= now < before + span:
                    return float(before + span - now)
                os.pwrite(handle, _TIME.pack(now), place)
                os.pwrite(handle, _COUNT.pack(count + 1), 0)
                return 0.0
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)

    def hold(self, now: float, seconds: float) -> None:
        """Let nothing start for so long."""
        with self._pace(now) as pace:
            pace[1] = max(pace[1], now + min(seconds, LONGEST_HOLD))

    def held_until(self, now: float) -> float:
        """Return before when nothing may start; a past time if anything may."""
        with self._pace(now) as pace:
            return pace[1]

    def _locks(self, number: int) -> bool:
        try:
            fcntl.flock(self._handle(f"slot-{number:02}"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def _pace(self, now: float) -> Iterator[list[float]]:
        """Yield both times, to be changed by one process and thread at a time."""
        with self._lock:
            handle = self._handle("pace")
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                stored = os.pread(handle, _PACE.size, 0)
                before = list(_PACE.unpack(stored)) if len(stored) == _PACE.size else [0.0, 0.0]
                pace = [time if time <= now + LONGEST_HOLD else 0.0 for time in before]
                yield pace
                if pace != before:
                    os.pwrite(handle, _PACE.pack(*pace), 0)
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)

    def _handle(self, name: str) -> int:
        """Return the open file; kept open, because opening and closing take longer than locking."""
        if name not in self._handles:
            try:
                self._handles[name] = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise _unusable(self._folder, error) from error
        return self._handles[name]

    def _close(self) -> None:
        for handle in self._handles.values():
            os.close(handle)
        self._handles, self._held, self._lock = {}, set(), threading.Lock()

    def __del__(self) -> None:
        if hasattr(self, "_handles"):
            self._close()


_all: weakref.WeakSet[Slots] = weakref.WeakSet()


def _close_all() -> None:
    """In a child of a fork: its copies of the open files would keep the places of a dead parent."""
    for slots in _all:
        slots._close()  # noqa: SLF001  (of this module)


os.register_at_fork(after_in_child=_close_all)


def folder_of(project: str, url: str) -> Path:
    """Return the folder that all processes of this user on this machine share for a project at one endpoint.

    Quotas are the endpoint's own: https://developers.google.com/earth-engine/guides/usage. Elsewhere they are an
    account's or a provider's, which then stands for the project.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    name = hashlib.sha256(f"{project} {url}".encode()).hexdigest()[:16]
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "m3leo-prep" / name
    return Path(tempfile.gettempdir()) / f"m3leo-prep-{os.getuid()}" / name


def _unusable(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"requests cannot be counted here: {error.strerror}",
        where=str(folder),
        hint="set TMPDIR to a folder that you may write",
    )

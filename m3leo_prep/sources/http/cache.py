"""Downloaded files on this machine, up to a size, made once however many threads and processes ask.

FOLDER/DIGEST/NAME      the file; DIGEST is of the whole name, since many a provider calls all its files alike
FOLDER/DIGEST/NAME.new  while it is made, with a ``.part`` behind it for what a download left to go on with
FOLDER/DIGEST/.entry    size and time of the file when it was whole, and whether it is kept; its own time = last use
FOLDER/DIGEST/.making   locked (``flock``) by whoever makes the file ...
FOLDER/DIGEST/.used     ... and this one by its users together, so that a dead process frees both
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PosixPath
from typing import Any

from m3leo_prep.blobs.room import FOLDER_VARIABLE, allowed_bytes, cache_folder
from m3leo_prep.core.errors import PrepError, StoreError

SIZE_VARIABLE, DEFAULT_GB = "M3LEO_PREP_DOWNLOADS_GB", "50"
LOOK_AFTER = 1 / 32
"""Of the limit: written by this process between two looks at what is there."""
TOLERATED, LEFT = 7 / 8, 3 / 4
"""Of the limit: a look that finds more than the first leaves the second, so that processes together stay below it."""
SHARE_OF_DISK = 0.9
"""Of what is free or the cache's: more it never takes, whatever the limit is."""
ENTRY, MAKING, USED = ".entry", ".making", ".used"


class CachedFile(PosixPath):
    """The path of a file in a cache, which is not removed while this object lives."""


@dataclass(slots=True)
class FileCache:
    """Files by name; those used last stay.

    Args:
        folder: where; made when it is needed.
        limit: bytes of all files together that are not kept.
    """

    folder: Path
    limit: int
    _unseen: int = -1
    """Bytes written since this process looked; -1 = it never did."""
    _making: dict[str, Future[None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def file(self, name: str, make: Callable[[Path], object], *, keep: bool = False) -> Path:
        """Return the path of a file, made if it is not there or not as it was made.

        Hold the returned object, not its text, until the file is open: it may be removed when the object is gone.

        Args:
            name: what it is called everywhere, such as an address; what follows its last slash names the file.
            make: makes the file at the path that it is given. Whoever else asks meanwhile waits, in this process and
                in others; those of this process also share what it raises.
            keep: never remove it to make room, now or later.

        Raises:
            StoreError: the folder cannot be used.
        """
        while True:
            try:
                found = self._found(name, keep=keep)
                if found is not None:
                    return found
                with self._lock:
                    making = self._making.get(name)
                    if making is None:
                        mine = self._making[name] = Future()
                if making is None:
                    self._make(name, make, mine, keep=keep)
                else:
                    making.result()
            except PrepError:
                raise
            except OSError as error:
                hint = f"{FOLDER_VARIABLE} names another folder"
                why = error.strerror or str(error)
                raise StoreError(f"the cache cannot be used: {why}", where=str(self.folder), hint=hint) from None

    def forget(self, name: str) -> None:
        """Remove a file that its reader found damaged, so that it is made anew when it is next asked for."""
        with suppress(OSError):
            (self._place(name) / ENTRY).unlink()

    def remove(self, name: str) -> None:
        """Remove a file that is not needed any more, unless it is in use."""
        _remove(self._place(name))

    def _place(self, name: str) -> Path:
        return self.folder / hashlib.blake2b(name.encode(), digest_size=12).hexdigest()

    def _found(self, name: str, *, keep: bool) -> Path | None:
        """Return a file that is there and whole, held for this process."""
        place = self._place(name)
        path = place / _base(name)
        try:
            handle = os.open(place / USED, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            # While we waited it may have been removed, and even made anew with another lock beside it.
            if not _is_there(handle, place / USED) or not _is_whole(path):
                return None
            if keep and not _entry(place).get("keep"):
                _write_entry(path, keep=True)
            with suppress(OSError):  # such as a cache that may only be read
                os.utime(place / ENTRY)
            found = CachedFile(path)
            weakref.finalize(found, os.close, handle).atexit = False
            handle = -1
            return found
        finally:
            if handle >= 0:
                os.close(handle)

    def _make(self, name: str, make: Callable[[Path], object], mine: Future[None], *, keep: bool) -> None:
        """Make a file for all who ask for it in this process, unless another process was first."""
        try:
            place = self._place(name)
            with _alone(place):
                path = place / _base(name)
                if not _is_whole(path):
                    try:
                        self._made(path, make, keep=keep)
                    finally:  # a download that failed leaves much, too
                        self._count(_weight(place)[1])
        except PrepError as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._making[name]
            # After whatever else went wrong here, such as Ctrl-C, the next one tries.
            if not mine.done():
                mine.set_result(None)

    def _made(self, path: Path, make: Callable[[Path], object], *, keep: bool) -> None:
        """Make a file and give it its name; once more where the disk was full and others could make room."""
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        try:
            try:
                make(new)
            except StoreError:
                if not self._make_room():
                    raise
                make(new)
            new.replace(path)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise
        _write_entry(path, keep=keep)

    def _count(self, size: int) -> None:
        """Take note of what was written, and make room now and then."""
        with self._lock:
            is_time = self._unseen < 0 or self._unseen + size > self.limit * LOOK_AFTER
            self._unseen = 0 if is_time else self._unseen + size
        if is_time:
            self._make_room()

    def _make_room(self) -> bool:
        """Remove the files that were not used for longest, if there are too many; none that is in use or kept.

        Returns whether any was removed.
        """
        found = []
        with os.scandir(self.folder) as places:
            for place in places:
                # Another process may be removing it.
                with suppress(OSError):
                    if not _entry(Path(place.path)).get("keep"):
                        found.append((*_weight(Path(place.path)), place.path))
        total = sum(size for _, size, _ in found)
        limit = min(self.limit, (total + shutil.disk_usage(self.folder).free) * SHARE_OF_DISK)
        if total <= limit * TOLERATED:
            return False
        before = total
        for _, size, where in sorted(found):
            if total <= limit * LEFT:
                break
            if _remove(Path(where)):
                total -= size
        return total < before


def downloads() -> FileCache:
    """Return the cache of downloads: ``$M3LEO_PREP_CACHE/downloads``, of ``$M3LEO_PREP_DOWNLOADS_GB`` (50) at most.

    Raises:
        ConfigError: ``$M3LEO_PREP_DOWNLOADS_GB`` is no size.
    """
    limit = allowed_bytes(SIZE_VARIABLE, DEFAULT_GB, hint="such as 50")
    folder = cache_folder() / "downloads"
    with _caches_lock:
        return _caches.setdefault((folder, limit), FileCache(folder, limit))


_caches: dict[tuple[Path, int], FileCache] = {}  # one each, so that threads know of each other's
_caches_lock = threading.Lock()


def _base(name: str) -> str:
    """Return the name of the file itself: what people see, and what readers tell formats by."""
    base = name.rsplit("/", 1)[-1]
    return base if base and not base.startswith(".") else "file"


def _entry(place: Path) -> dict[str, Any]:
    """Return what was noted of a file; nothing if there is no note or a damaged one."""
    try:
        found = json.loads((place / ENTRY).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_entry(path: Path, *, keep: bool) -> None:
    state = path.stat()
    new = path.with_name(f"{ENTRY}.{os.getpid()}.{threading.get_ident()}")
    new.write_text(json.dumps({"size": state.st_size, "mtime_ns": state.st_mtime_ns, "keep": keep}))
    new.replace(path.with_name(ENTRY))


def _is_whole(path: Path) -> bool:
    """Return whether a file is as it was when it was made."""
    noted = _entry(path.parent)
    try:
        state = path.stat()
    except FileNotFoundError:
        return False
    return (state.st_size, state.st_mtime_ns) == (noted.get("size"), noted.get("mtime_ns"))


def _weight(place: Path) -> tuple[int, int]:
    """Return when the files of a folder were used last (ns), and their bytes."""
    with os.scandir(place) as files:
        states = {file.name: file.stat() for file in files}
    last = states[ENTRY] if ENTRY in states else place.stat()
    return last.st_mtime_ns, sum(state.st_size for state in states.values())


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Make a folder and be the only one who makes something in it, among threads and processes."""
    while True:
        place.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # removed by another process meanwhile
            (place / USED).touch()
            handle = os.open(place / MAKING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if _is_there(handle, place / MAKING):
                    yield
                    return
            finally:
                _release(handle)


def _release(handle: int) -> None:
    """Unlock a file and close it: closing alone leaves it locked while a process lives that was forked meanwhile."""
    fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def _is_there(handle: int, path: Path) -> bool:
    """Return whether a locked file still has its name: the one that others find, not one that was removed."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _remove(place: Path) -> bool:
    """Remove a file and all that belongs to it, unless it is being made or used; return whether that was done."""
    handles = []
    try:
        for name in (MAKING, USED):
            # Made if it is gone: whoever began to remove this may have been stopped.
            handles.append(os.open(place / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
            fcntl.flock(handles[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(place)
    except OSError:
        return False
    finally:
        for handle in handles:
            _release(handle)
    return True

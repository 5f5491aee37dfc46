"""Blobs in a local folder: a blob is there whole, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from m3leo_prep.blobs.names import parts_of
from m3leo_prep.core.errors import StoreError
from m3leo_prep.ports.blobs import Blobs

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space (or give another --out) and run the same command again",
    errno.EDQUOT: "your disk quota is used up: free some space and run the same command again",
    errno.EROFS: "the file system is read-only: give another --out",
    errno.EACCES: "you may not write there: change the permissions or give another --out",
    errno.EPERM: "you may not write there: change the permissions or give another --out",
    errno.ENAMETOOLONG: "the path is too long for this file system: give a shorter --out",
}


@dataclass(frozen=True, slots=True)
class LocalBlobs:
    """Blobs as files below ``root``, safe from many threads and processes.

    A blob is written to a hidden file beside its place, synced, renamed, and its folder synced, so that neither a
    reader nor a power cut ever sees half of it.
    """

    root: Path

    @property
    def url(self) -> str:
        """The folder."""
        return str(self.root)

    @property
    def is_remote(self) -> bool:
        """False: files of this machine, or of a file system that hides its network."""
        return False

    def put(
        self, name: str, data: bytes | memoryview | Iterable[bytes | memoryview], *, if_absent: bool = False
    ) -> None:
        """Write all of ``data`` or nothing; durable when it returns.

        Raises:
            FileExistsError: ``if_absent`` and the blob exists.
            StoreError: disk full, read-only, no permission; nothing is left behind.
        """
        path = self._path(name)
        parts = (data,) if isinstance(data, (bytes, bytearray, memoryview)) else data
        temporary = path.with_name(f".{path.name[:200]}.{uuid4().hex}.part")
        with _explained(path):
            _make_folder(path.parent)
            try:
                with temporary.open("xb") as file:
                    for part in parts:
                        file.write(part)
                    file.flush()
                    os.fsync(file.fileno())
                if if_absent:
                    os.link(temporary, path)  # unlike a rename, it fails where the blob exists
                else:
                    temporary.replace(path)
                _sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes ``start ... start + length`` (to the end if None; negative start counts from the end).

        Raises:
            FileNotFoundError: no such blob.
            StoreError: it cannot be read.
        """
        path = self._path(name)
        with _explained(path), path.open("rb", buffering=0) as file:
            if start < 0:
                file.seek(max(0, file.seek(0, os.SEEK_END) + start))
            elif start:
                file.seek(start)
            if length is None:
                return file.readall()
            pieces = []
            while length > 0 and (piece := file.read(length)):  # one read may return less than asked
                pieces.append(piece)
                length -= len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def size(self, name: str) -> int | None:
        """Return the size in bytes, or None if there is no such blob."""
        path = self._path(name)
        return path.stat().st_size if path.is_file() else None

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the names under a folder, sorted; half-written blobs are never seen."""
        folder = self._path(prefix.rstrip("/")) if prefix.strip("/") else self.root
        for path in _walk(folder):
            if not _is_temporary(path.name):
                yield path.relative_to(self.root).as_posix()

    def delete(self, name: str) -> None:
        """Remove a blob; absent is fine."""
        path = self._path(name)
        with _explained(path):
            path.unlink(missing_ok=True)

    def clean(self) -> int:
        """Remove what killed writers left half-written and return how many; only while nobody writes."""
        left = [path for path in _walk(self.root) if _is_temporary(path.name)]
        for path in left:
            with _explained(path):
                path.unlink(missing_ok=True)
        return len(left)

    def _path(self, name: str) -> Path:
        """Return the file of a name."""
        parts = parts_of(name, str(self.root))
        if _is_temporary(parts[-1]):
            raise StoreError(f"{name!r} is kept for half-written files", where=str(self.root))
        return self.root.joinpath(*parts)


_: type[Blobs] = LocalBlobs


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".part")


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder so that their full names are sorted; no folder, no files."""
    try:
        with os.scandir(folder) as entries:
            found = [(e.name + "/" if e.is_dir() else e.name, Path(e.path)) for e in entries]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, path in sorted(found):
        if name.endswith("/"):
            yield from _walk(path)
        else:
            yield path


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, each durable in its own parent."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync folders, and need not
            raise
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the system's errors into ones that say where and how to go on; absence and presence pass as they are."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, StoreError):
        raise
    except (IsADirectoryError, NotADirectoryError):
        raise FileNotFoundError(errno.ENOENT, "no such blob", str(path)) from None
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "check the disk and run the same command again")
        raise StoreError(error.strerror or str(error), hint=hint, where=str(path)) from error

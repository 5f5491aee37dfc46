"""What was read of a remote dataset, kept on this machine, up to a size.

Each range that was asked for is a file, with a checksum at its end, below the folder of its dataset and one of a few
sub-folders that its name falls into by chance. Each of these has an equal share of the space. A write looks at its
own sub-folder now and then, more likely so the more it writes, and removes what was not used for longest: processes
need not know of each other, and what is looked at stays small beside what is written.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import google_crc32c

from m3leo_prep.blobs.room import FOLDER_VARIABLE, allowed_bytes, cache_folder
from m3leo_prep.ports.blobs import Readable

SIZE_VARIABLE, DEFAULT_GB = "M3LEO_PREP_CACHE_GB", "10"
SHARES = 16
"""Sub-folders of a dataset; powers of two up to 256."""
LOOK_AFTER = 1 / 8
"""Of a share: written between two looks at it, on average."""
KEPT = 3 / 4
"""Of a share: left by a look that finds more; with what comes until the next look it is about full."""
NEVER = frozenset({"manifest.json"})
"""It says which dataset this is."""
_TRAILER = struct.Struct("<QI")
"""At the end of each file: bytes before it, and their checksum."""

_failed: set[Path] = set()  # folders that cannot be written, each told once a process


def cached(source: Readable, key: str) -> Readable:
    """Return ``source`` with a local cache before it, or as it is where ``M3LEO_PREP_CACHE_GB`` is 0.

    Args:
        source: remote blobs that do not change while ``key`` stays the same.
        key: digest of the dataset's manifest: another manifest never sees what an older one left.

    Raises:
        ConfigError: ``M3LEO_PREP_CACHE_GB`` is no size.
    """
    limit = allowed_bytes(SIZE_VARIABLE, DEFAULT_GB, hint="such as 10, or 0 for no cache on disk")
    if limit == 0:
        return source
    return Cached(source, cache_folder(), re.sub(r"[^0-9A-Za-z]+", "-", key), limit)


@dataclass(frozen=True, slots=True)
class Cached:
    """Blobs whose ranges are kept on disk once they were read; safe in threads and among processes."""

    source: Readable
    """Where they come from: for those who read much that they will not read again."""
    root: Path
    """Of all caches."""
    key: str
    """Folder of this dataset in there."""
    limit: int
    """Bytes of all caches together."""

    @property
    def url(self) -> str:
        """The source's."""
        return self.source.url

    @property
    def is_remote(self) -> bool:
        """The source's: what is not here yet takes its time."""
        return self.source.is_remote

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes ``start ... start + length``, from here if they were read before; errors as the source's."""
        if name in NEVER:
            return self.source.get(name, start, length)
        path = self._path(name, start, length)
        found = _load(path)
        if found is None:
            found = self.source.get(name, start, length)
            self._keep(path, found)
        return found

    def size(self, name: str) -> int | None:
        """Return the size in bytes, from here if it was asked for before; that a blob is absent is asked each time."""
        if name in NEVER:
            return self.source.size(name)
        path = self._path(name, "size", None)
        found = _load(path)
        if found is not None:
            return int(found)
        size = self.source.size(name)
        if size is not None:
            self._keep(path, b"%d" % size)
        return size

    def forget(self, name: str, start: int = 0, length: int | None = None) -> None:
        """Remove what is kept of a range: for a reader that finds it damaged, and wants to read it anew."""
        with suppress(OSError):
            self._path(name, start, length).unlink()

    def _path(self, name: str, start: int | str, length: int | None) -> Path:
        digest = hashlib.blake2b(f"{name}\0{start}\0{length}".encode(), digest_size=16).hexdigest()
        return self.root / self.key / f"{int(digest[:2], 16) % SHARES:02x}" / digest

    def _keep(self, path: Path, data: bytes) -> None:
        """Write a file, whole or not at all; where that fails, say so once and go on without."""
        share = self.limit // SHARES
        if self.root in _failed or len(data) > share // 2:
            return
        temporary = path.with_name(f"{uuid4().hex}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb", buffering=0) as file:
                    # Not synced: after a power cut the checksum tells.
                    _write(file.fileno(), data, _checksum(path, data))
                temporary.replace(path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
        except FileNotFoundError:
            return  # somebody has emptied the cache meanwhile
        except OSError as error:
            _failed.add(self.root)
            why = error.strerror or str(error)
            warnings.warn(
                f"{self.root}: nothing more is kept of what is read from {self.url}: {why}. "
                f"Set {FOLDER_VARIABLE} to another folder, or {SIZE_VARIABLE}=0",
                RuntimeWarning,
                stacklevel=3,
            )
            return
        if random.random() * share * LOOK_AFTER < len(data) + _TRAILER.size:
            _make_room(self.root, path.parent.name, share)


_: type[Readable] = Cached


def _checksum(path: Path, data: bytes) -> int:
    """Return the CRC32C of a file's name in the cache and its bytes: of another range's file it is another."""
    return int(google_crc32c.extend(google_crc32c.value("/".join(path.parts[-3:]).encode()), data))


def _write(handle: int, data: bytes, checksum: int) -> None:
    """Write data and its trailer: one call writes up to 2 GiB, or less where the disk becomes full."""
    trailer = _TRAILER.pack(len(data), checksum)
    for part in (memoryview(data), memoryview(trailer)):
        written = 0
        while written < len(part):
            written += os.write(handle, part[written:])


def _load(path: Path) -> bytes | None:
    """Return what a file holds; None where there is none, or a damaged one, which is removed."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    body = data[: -_TRAILER.size]
    if len(data) < _TRAILER.size or _TRAILER.unpack(data[-_TRAILER.size :]) != (len(body), _checksum(path, body)):
        with suppress(OSError):
            path.unlink()
        return None
    with suppress(OSError):  # such as a cache that may only be read
        os.utime(path)  # used now
    return body


def _make_room(root: Path, share_name: str, share: int) -> None:
    """Remove the files of a share, of all datasets, that were not used for longest, if there are too many."""
    found: list[tuple[int, int, str]] = []
    with suppress(OSError), os.scandir(root) as datasets:
        for dataset in datasets:
            with suppress(OSError), os.scandir(Path(dataset.path, share_name)) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        known = entry.stat()
                        found.append((known.st_mtime_ns, known.st_size, entry.path))
    total = sum(size for _, size, _ in found)
    if total <= share * (KEPT + LOOK_AFTER):
        return
    for _, size, path in sorted(found):
        if total <= share * KEPT:
            break
        with suppress(OSError):
            Path(path).unlink()
            total -= size

"""Bytes of files on servers: ranges, small files, and whole ones kept on this machine.

Addresses are ``s3://BUCKET/KEY``, ``https://HOST/PATH``, or paths of this machine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from m3leo_prep.core.errors import CorruptError, NoData, StoreError, TooLarge
from m3leo_prep.sources.remote.access import Access

Span = tuple[int, int]
"""Bytes [first, stop) of a file."""

NEAR_BYTES = 64 * 2**10
"""Spans with no more than this between them travel in one request: at 20 MB/s it takes a tenth of a request's 30 ms."""
PIECE_BYTES = 8 * 2**20
"""Of a whole file that is fetched in parts."""
TRIES_OF_CONTENTS = 2
"""A file that is not what was announced is fetched once more."""


def ranges(address: str, spans: Sequence[Span], access: Access) -> list[bytes]:
    """Return bytes [first, stop) of a file for each span, in order; near ones travel in one request.

    Raises:
        NoData: there is no such file.
        CorruptError: it ends before.
        CredentialsError: it may not be read.
        TriedOut, RateLimited: the server does not deliver.
    """
    together = list(_merged(spans))
    if len(together) == 1:
        came = [_complete(address, together[0], access)]
    else:
        with ThreadPoolExecutor(max(1, min(len(together), access.connections))) as pool:
            came = list(pool.map(lambda span: _complete(address, span, access), together))
    found = []
    for first, stop in spans:
        start, data = next((a, data) for (a, b), data in zip(together, came, strict=True) if a <= first and stop <= b)
        found.append(data[first - start : stop - start])
    return found


def head(address: str, count: int, access: Access) -> tuple[bytes, int]:
    """Return the first bytes of a file, at most ``count``, and its size, by one request; errors as in ``ranges``."""
    return _part(address, 0, count, access)


def size(address: str, access: Access) -> int:
    """Return the bytes of a file; errors as in ``ranges``."""
    if address.startswith("s3://"):
        from m3leo_prep.sources.remote import objects

        return objects.size(address, access)
    return head(address, 1, access)[1]


def whole(address: str, access: Access, *, limit: int) -> bytes:
    """Return all of a small file, as a rule by one request; errors as in ``ranges``.

    Raises:
        TooLarge: it has more than ``limit`` bytes.
    """
    data, count = head(address, min(limit, PIECE_BYTES), access)
    if count > limit:
        raise TooLarge(f"the file has {count} bytes, more than {limit}", where=address)
    return data if len(data) == count else data + ranges(address, [(len(data), count)], access)[0]


def fetch(address: str, access: Access, *, size: int = 0, checksum: str = "", magic: tuple[bytes, ...] = ()) -> Path:
    """Return the path of a file on this machine: it is fetched whole once and kept in the cache of downloads.

    Hold the returned object while the file is used: see ``FileCache.file``.

    Args:
        address: of the file; a local path is returned as it is.
        access: how it is opened.
        size: bytes as announced; 0 = not known.
        checksum: ``md5:HEX`` or ``sha256:HEX``, or nothing.
        magic: what the file may begin with; empty = anything.

    Raises:
        CorruptError: what came, twice, is not what was announced.
        StoreError: it cannot be written.
        NoData, CredentialsError, TriedOut, RateLimited: see ``ranges``.
    """
    if "://" not in address:
        if not Path(address).is_file():
            raise NoData("there is no such file", where=address)
        return Path(address)
    from m3leo_prep.sources.http.cache import downloads

    def make(target: Path) -> None:
        if address.startswith("s3://"):
            _copy(address, target, access, size=size, checksum=checksum, magic=magic)
            return
        from m3leo_prep.sources.http.download import download
        from m3leo_prep.sources.remote.limits import limit

        url = access.signing.signed(address) if access.signing is not None else address
        with limit(access).turn():
            download(
                url,
                target,
                auth=access.auth,
                size=size,
                checksum=checksum,
                magic=magic,
                where=address,
                on_bytes=limit(access).got,
            )

    # The size tells a file from one that took its place since.
    path = downloads().file(address, make)
    if size and path.stat().st_size != size:
        downloads().forget(address)
        path = downloads().file(address, make)
    return path


def usage(access: Access) -> tuple[int, int]:
    """Return the requests and the bytes that this process has had from the provider so far."""
    from m3leo_prep.sources.remote.limits import limit

    return limit(access).usage()


def _merged(spans: Sequence[Span]) -> Iterator[Span]:
    """Yield spans in order, with those that are near made one."""
    first = stop = -1
    for a, b in sorted(spans):
        if first < 0:
            first, stop = a, b
        elif a - stop <= NEAR_BYTES:
            stop = max(stop, b)
        else:
            yield first, stop
            first, stop = a, b
    if first >= 0:
        yield first, stop


def _complete(address: str, span: Span, access: Access) -> bytes:
    """Return all bytes of a span; errors as in ``ranges``."""
    first, stop = span
    data, count = _part(address, first, stop, access)
    if len(data) < stop - first:
        raise CorruptError(f"the file ends at byte {count}, before byte {stop} of it", where=address)
    return data


def _part(address: str, first: int, stop: int, access: Access) -> tuple[bytes, int]:
    """Return bytes [first, stop) of a file, fewer where it ends before, and its size."""
    if address.startswith("s3://"):
        from m3leo_prep.sources.remote import objects

        return objects.part(address, first, stop, access)
    if "://" not in address:
        return _local_part(Path(address), first, stop)
    from m3leo_prep.sources.remote import web

    with _lock:
        whole_only = address in _whole_only
    if not whole_only:
        try:
            return web.part(address, first, stop, access)
        except web.NoParts:
            with _lock:
                _whole_only.add(address)
    return _local_part(fetch(address, access), first, stop)


_whole_only: set[str] = set()
"""Files of servers that do not send parts."""
_lock = threading.Lock()


def _local_part(path: Path, first: int, stop: int) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            file.seek(first)
            return file.read(stop - first), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise NoData(f"cannot be read: {error.strerror}", where=str(path)) from error


def _copy(address: str, target: Path, access: Access, *, size: int, checksum: str, magic: tuple[bytes, ...]) -> None:
    """Write an object to a file, some parts of it under way at once, and look whether it is what was announced."""
    from m3leo_prep.sources.http.contents import wrong
    from m3leo_prep.sources.remote import objects

    fault = ""
    for _ in range(TRIES_OF_CONTENTS):
        count = objects.size(address, access)
        spans = [(first, min(first + PIECE_BYTES, count)) for first in range(0, count, PIECE_BYTES)]
        at_once = min(4, access.connections)
        try:
            with target.open("wb") as file, ThreadPoolExecutor(at_once) as pool:
                for k in range(0, len(spans), at_once):  # never more in memory than is under way
                    for data in pool.map(lambda span: _complete(address, span, access), spans[k : k + at_once]):
                        file.write(data)
            fault = wrong(target, size=size, checksum=checksum, magic=magic)
        except OSError as error:
            hint = "make room there; or M3LEO_PREP_CACHE names a folder on a larger disk"
            raise StoreError(
                f"the file cannot be written: {error.strerror or error}", where=str(target), hint=hint
            ) from None
        if not fault:
            return
    raise CorruptError(f"{fault}, twice", where=address, hint="tell the provider; this file is left out")

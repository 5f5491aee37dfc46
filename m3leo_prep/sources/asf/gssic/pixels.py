"""Stored pixels of any rows of a file: fetched once, decoded once, and the whole file as soon as that is cheaper.

A file is 0.9 to 3 MB in strips over its whole width, so that rows are what can be fetched alone: a chip takes a tenth.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError, TransientError
from m3leo_prep.sources.asf.gssic import bucket
from m3leo_prep.sources.asf.gssic.catalogue import Listed
from m3leo_prep.sources.asf.gssic.layout import GROUP_ROWS, HEADER_BYTES, Layout, decode, layout
from m3leo_prep.sources.asf.gssic.tiles import PIXELS, Tile
from m3leo_prep.sources.asf.hosts import hosts

WHOLE_FROM = 0.5
"""Share of a file that its windows may have cost, with the one wanted, before all of it is fetched: never more than one
and a half times its bytes travel."""
CACHE_BYTES = 256 * 2**20
"""Decoded rows kept by a process: about 100 files of a tile."""
FILES = 4096
"""Files whose headers are kept, with what their windows have cost."""


_Name = tuple[str, str, int, int]
"""Address, ETag, rows of a group, number of the group."""


class _Decoded:
    """The last groups of rows used, up to a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._kept: OrderedDict[_Name, NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    def get(self, name: _Name) -> NDArray[Any] | None:
        with self._lock:
            found = self._kept.get(name)
            if found is not None:
                self._kept.move_to_end(name)
            return found

    def keep(self, name: _Name, pixels: NDArray[Any]) -> None:
        pixels.setflags(write=False)
        with self._lock:
            before = self._kept.pop(name, None)
            self._kept[name] = pixels
            self._bytes += pixels.nbytes - (0 if before is None else before.nbytes)
            while self._bytes > self._limit:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes


class _File:
    """One file of the bucket, as far as this process knows it; one thread at a time fetches from it."""

    def __init__(self, file: Listed, tile: Tile, endpoint: str) -> None:
        self.file, self.tile, self.endpoint = file, tile, endpoint
        self._layout: Layout | None = None
        self._is_whole = False
        self._rows = GROUP_ROWS
        self._spent = 0
        self._lock = Lock()

    def rows(self, first: int, stop: int) -> NDArray[Any]:
        with self._lock:
            pieces, missing = self._known(first, stop)
            if missing and not self._is_whole and self._layout is None:
                self._look()
                pieces, missing = self._known(first, stop)
            if missing:
                pieces |= self._fetched(missing)
        groups = sorted(pieces)
        joined = np.concatenate([pieces[group] for group in groups]) if len(groups) > 1 else pieces[groups[0]]
        top = groups[0] * self._rows
        return joined[first - top : stop - top]

    def _known(self, first: int, stop: int) -> tuple[dict[int, NDArray[Any]], list[int]]:
        groups = range(first // self._rows, (stop - 1) // self._rows + 1)
        found = {group: _decoded.get(self._name(group)) for group in groups}
        return (
            {group: pixels for group, pixels in found.items() if pixels is not None},
            [group for group, pixels in found.items() if pixels is None],
        )

    def _look(self) -> None:
        """Read the header; a file whose first bytes do not tell where its blocks lie will be fetched whole."""
        where = bucket.address(self.file.key)
        header, size = bucket.head(self.file.key, HEADER_BYTES)
        self._check_size(size)
        self._spent += len(header)
        self._layout = layout(header, size, self.tile, where)
        if self._layout is None:
            self._is_whole = True
        else:
            self._rows = self._layout.rows

    def _fetched(self, missing: list[int]) -> dict[int, NDArray[Any]]:
        """Return groups of rows that nobody keeps, and keep them."""
        if self._layout is not None and not self._is_whole:
            wanted = [span for group in missing for span in self._layout.spans[group]]
            cost = sum(stop - first for first, stop in wanted)
            if self._spent + cost < WHOLE_FROM * self._layout.size:
                self._spent += cost
                with suppress(CorruptError):  # on the way, perhaps: the whole file tells
                    return self._parts(self._layout, missing, bucket.parts(self.file.key, wanted))
        self._is_whole = True
        return self._all(missing)

    def _parts(self, known: Layout, missing: list[int], data: list[bytes]) -> dict[int, NDArray[Any]]:
        where, left = bucket.address(self.file.key), iter(data)
        found = {group: known.decode(group, [next(left) for _ in known.spans[group]], where) for group in missing}
        for group, pixels in found.items():
            _decoded.keep(self._name(group), pixels)
        return found

    def _all(self, missing: list[int]) -> dict[int, NDArray[Any]]:
        """Return groups from the whole file, which the cache of downloads keeps; one that is damaged is fetched anew.

        Of a file that the archive holds damaged, the rows that can be decoded are good.
        """
        from m3leo_prep.sources.http.cache import downloads

        where = bucket.address(self.file.key)
        name = f"{where}#{self.file.etag}/{Path(self.file.key).name}"
        for _ in range(2):
            file = downloads().file(name, self._download).read_bytes()
            with suppress(CorruptError):
                whole = decode(file, where, self.tile)
                groups = {group: whole[group * self._rows :][: self._rows] for group in range(-(-PIXELS // self._rows))}
                for group, pixels in groups.items():
                    _decoded.keep(self._name(group), pixels)
                return {group: groups[group] for group in missing}
            downloads().forget(name)
        rows = self._rows
        return {group: decode(file, where, self.tile, group * rows, (group + 1) * rows) for group in missing}

    def _download(self, target: Path) -> None:
        data = bucket.whole(self.file.key)
        self._check_size(len(data))
        target.write_bytes(data)

    def _check_size(self, size: int) -> None:
        if self.file.size and size != self.file.size:
            raise TransientError(
                f"has {size:,} bytes, and had {self.file.size:,} when it was listed",
                where=bucket.address(self.file.key),
                hint="build again with --refresh: the archive has a new version of it",
            )

    def _name(self, group: int) -> _Name:
        return f"{self.endpoint}/{self.file.key}", self.file.etag, self._rows, group


_decoded = _Decoded(CACHE_BYTES)
_files: OrderedDict[tuple[str, str, str], _File] = OrderedDict()
_opening = Lock()


def rows(file: Listed, tile: Tile, first: int, stop: int) -> NDArray[Any]:
    """Return rows [first, stop) of a file over its whole width, as stored; read-only.

    Raises:
        Refused: the bucket answers 403 or 404.
        CorruptError: the file is damaged there, or another tile's.
        TransientError: the bucket does not answer, or its file is not the one that was listed.
        StoreError: the cache of downloads cannot be used.
    """
    key = (hosts().bucket, file.key, file.etag)
    with _opening:
        known = _files.get(key)
        if known is None:
            known = _files[key] = _File(file, tile, key[0])
        _files.move_to_end(key)
        while len(_files) > FILES:
            _files.popitem(last=False)
    return known.rows(first, stop)

"""Stored pixels of any window, through a cache of decoded tiles that all threads share."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.local import gdal, netcdf
from m3leo_prep.sources.local.header import Header, Stamp

CACHE_BYTES = 256 * 2**20
"""Decoded tiles kept per process."""
_TILE = 256
"""Tiles are whole blocks of the file, at least this many pixels on a side (strips are grouped)."""

Key = tuple[str, Stamp, int | str, int, int, int]


class TileCache:
    """The last tiles used, up to a number of bytes. Two threads that want one tile decode it once."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._tiles: OrderedDict[Key, NDArray[Any]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        # Striped: a lock per tile would have to be counted and freed.
        self._decoding = [Lock() for _ in range(64)]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._bytes

    def get(self, head: Header, key: int | str, step: int, row: int, col: int) -> NDArray[Any]:
        """Return the tile (row, col) of a band as stored; read-only."""
        name = (head.path, head.stamp, key, step, row, col)
        tile = self._known(name)
        if tile is not None:
            return tile
        with self._decoding[hash(name) % len(self._decoding)]:
            tile = self._known(name)
            if tile is None:
                tile = _decode(head, key, step, row, col)
                tile.setflags(write=False)
                self._keep(name, tile)
        return tile

    def _known(self, name: Key) -> NDArray[Any] | None:
        with self._lock:
            tile = self._tiles.get(name)
            if tile is not None:
                self._tiles.move_to_end(name)
            return tile

    def _keep(self, name: Key, tile: NDArray[Any]) -> None:
        with self._lock:
            self._tiles[name] = tile
            self._bytes += tile.nbytes
            while self._bytes > self._limit:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes


_cache = TileCache()


def read(head: Header, key: int | str, window: Window, step: int = 0) -> NDArray[Any]:
    """Return the pixels of ``window`` (inside the raster, on ``head.geobox``) as stored, (y, x).

    Raises:
        CorruptError: the file is damaged there.
    """
    rows, cols = head.geobox.shape
    r0, r1, c0, c1 = window.row0, window.row1, window.col0, window.col1
    if head.flip_rows:
        r0, r1 = rows - r1, rows - r0
    if head.flip_cols:
        c0, c1 = cols - c1, cols - c0
    height, width = tile_shape(head)
    out: NDArray[Any] | None = None
    for i in range(r0 // height, (r1 - 1) // height + 1):
        for j in range(c0 // width, (c1 - 1) // width + 1):
            top, left = i * height, j * width
            a, b = max(r0, top), min(r1, top + height)
            c, d = max(c0, left), min(c1, left + width)
            try:
                piece = _cache.get(head, key, step, i, j)[a - top : b - top, c - left : d - left]
            except CorruptError:
                # The damage may lie beside what is asked: read only that, so that no more is lost than must be.
                piece = _load(head, key, step, (a, b), (c, d))
            if out is None:
                out = np.empty((r1 - r0, c1 - c0), piece.dtype)
            out[a - r0 : b - r0, c - c0 : d - c0] = piece
    assert out is not None
    return out[:: -1 if head.flip_rows else 1, :: -1 if head.flip_cols else 1]


def tile_shape(head: Header) -> tuple[int, int]:
    """Return (rows, columns) of the tiles of a file."""
    rows, cols = head.block
    return rows * -(-_TILE // rows), cols * -(-_TILE // cols)


def _decode(head: Header, key: int | str, step: int, row: int, col: int) -> NDArray[Any]:
    rows, cols = head.geobox.shape
    height, width = tile_shape(head)
    r = (row * height, min((row + 1) * height, rows))
    c = (col * width, min((col + 1) * width, cols))
    return _load(head, key, step, r, c)


def _load(head: Header, key: int | str, step: int, r: tuple[int, int], c: tuple[int, int]) -> NDArray[Any]:
    """Return stored pixels of rows ``r`` and columns ``c``, half-open."""
    if head.driver == "netCDF":
        return netcdf.load(head, key, r, c, step)
    return gdal.load(head, key, r, c)

"""Where the blocks of a GeoTIFF lie in its bytes, and their pixels, without the rest of the file.

GDAL reads the header and decodes; the parts of the file that are not there are zeros that it never looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources.asf.gssic.tiles import PIXELS, Tile

HEADER_BYTES = 16 * 2**10
"""Fetched first. The files begin with their tags and the table of 200 (8 bit) or 400 (16 bit) strips, below 4 kB."""
GROUP_ROWS = 120
"""Rows that are fetched and decoded together, rounded up to whole blocks: 11 km, a chip and its margin."""
ENV = {"GDAL_NUM_THREADS": "1", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}


@dataclass(frozen=True, slots=True)
class Layout:
    """A file's header and, for each group of rows, the spans of bytes that hold it."""

    size: int
    header: bytes
    rows: int
    """Of a group; the last may have fewer."""
    spans: tuple[tuple[tuple[int, int], ...], ...]
    """By group, [first, stop) of what is contiguous."""

    def decode(self, group: int, parts: list[bytes], where: str) -> NDArray[Any]:
        """Return the pixels (y, x) of a group from the bytes of its spans, as stored.

        Raises:
            CorruptError: they cannot be decoded.
        """
        pieces = [(0, self.header), *((first, part) for (first, _), part in zip(self.spans[group], parts, strict=True))]
        return _decode(_opened(self.size, pieces), where, None, group * self.rows, (group + 1) * self.rows)


def layout(header: bytes, size: int, tile: Tile, where: str) -> Layout | None:
    """Return where the blocks of a file lie; None if its first bytes do not tell, as with the tags at the end."""
    from rasterio.errors import RasterioError

    # What lies beyond these bytes is read as zeros or not at all; then the file is fetched whole, which tells more.
    try:
        with _opened(size, [(0, header)]) as data:
            _check(data, tile, where)
            height, width = data.block_shapes[0]
            columns = -(-PIXELS // width)
            blocks = [[_block(data, row, column) for column in range(columns)] for row in range(-(-PIXELS // height))]
    except (RasterioError, CorruptError, _UnknownBlockError):
        return None
    rows = height * -(-GROUP_ROWS // height)
    if max((stop for line in blocks for _, stop in line), default=0) > size:
        return None
    per_group = rows // height
    spans = tuple(
        _merged(span for line in blocks[start : start + per_group] for span in line)
        for start in range(0, len(blocks), per_group)
    )
    return Layout(size, header, rows, spans)


def decode(file: bytes, where: str, tile: Tile | None = None, first: int = 0, stop: int = PIXELS) -> NDArray[Any]:
    """Return the pixels (y, x) of rows [first, stop) of a file; ``tile`` is checked where it is given.

    Raises:
        CorruptError: the file is damaged there, or is another tile's.
    """
    return _decode(_opened(len(file), [(0, file)]), where, tile, first, stop)


def _decode(file: _opened, where: str, tile: Tile | None, first: int, stop: int) -> NDArray[Any]:
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    stop = min(stop, PIXELS)
    try:
        with file as data:
            if tile is not None:
                _check(data, tile, where)
            return np.asarray(data.read(1, window=Window(0, first, PIXELS, stop - first)))
    except RasterioError as error:
        raise CorruptError(
            f"is damaged: rows {first}-{stop} cannot be decoded ({error.__cause__ or error})",
            where=where,
            hint="the archive's own copy may be damaged; report it to ASF",
        ) from error


class _UnknownBlockError(Exception):
    """The header does not say where a block lies."""


class _opened:  # noqa: N801  used like a function
    """A dataset in memory, from ``with`` until its end: pieces of a file by their offset, between them zeros.

    GDAL's sparse file holds no more than the pieces.
    """

    __slots__ = ("_held", "_pieces", "_size")

    def __init__(self, size: int, pieces: Sequence[tuple[int, bytes]]) -> None:
        self._size, self._pieces, self._held = size, pieces, ExitStack()

    def __enter__(self) -> Any:
        import rasterio
        from rasterio.io import MemoryFile

        with ExitStack() as held:
            held.enter_context(rasterio.Env(**ENV))
            bytes_of = held.enter_context(MemoryFile(b"".join(piece for _, piece in self._pieces)))
            regions, start = "", 0
            for offset, piece in self._pieces:
                regions += (
                    f"<SubfileRegion><Filename relative='0'>{bytes_of.name}</Filename>"
                    f"<DestinationOffset>{offset}</DestinationOffset><SourceOffset>{start}</SourceOffset>"
                    f"<RegionLength>{len(piece)}</RegionLength></SubfileRegion>"
                )
                start += len(piece)
            file = f"<VSISparseFile><Length>{self._size}</Length>{regions}</VSISparseFile>"
            told = held.enter_context(MemoryFile(file.encode()))
            data = held.enter_context(rasterio.open(f"/vsisparse/{told.name}", driver="GTiff"))
            self._held = held.pop_all()
        return data

    def __exit__(self, *about: object) -> None:
        self._held.close()


def _check(data: Any, tile: Tile, where: str) -> None:
    """Raise CorruptError unless the file is the tile's, 1200 x 1200 px on EPSG:4326, of unsigned integers."""
    a = data.transform
    corners = np.array([a.c, a.f, a.c + PIXELS * a.a, a.f + PIXELS * a.e])
    meant = np.array([tile.west, tile.north, tile.west + 1, tile.north - 1])
    placed = data.crs is not None and data.crs.to_epsg() == 4326 and np.abs(corners - meant).max() < 1e-2 / PIXELS
    if (data.height, data.width, data.count) != (PIXELS, PIXELS, 1) or not placed:
        said = f"{data.count} x {data.height} x {data.width} px at {a.c:g} E, {a.f:g} N"
        raise CorruptError(f"is not the tile that its name says ({said})", where=where, hint="report it to ASF")
    if data.dtypes[0] not in {"uint8", "uint16"}:
        raise CorruptError(f"holds {data.dtypes[0]}, not unsigned integers", where=where, hint="report it to ASF")


def _block(data: Any, row: int, column: int) -> tuple[int, int]:
    """Return [first, stop) of a block; empty for one that is not stored: no data."""
    first, length = (data.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE"))
    if first is None or length is None:
        raise _UnknownBlockError
    return int(first), int(first) + int(length)


def _merged(spans: Any) -> tuple[tuple[int, int], ...]:
    """Return spans with those that touch made one."""
    merged: list[tuple[int, int]] = []
    for first, stop in sorted(span for span in spans if span[0] < span[1]):
        if merged and first == merged[-1][1]:
            merged[-1] = merged[-1][0], stop
        else:
            merged.append((first, stop))
    return tuple(merged)

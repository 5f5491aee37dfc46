"""GeoTIFF and COG by their blocks: tags and tables are read here, pixels and georeference by GDAL.

What GDAL gets is a file in memory with the same tags and only the blocks that are wanted; the others are not stored.
TIFF 6.0, sections 2, 14 and 15; BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources.remote.files import Span
from m3leo_prep.sources.remote.layout import Header, Place, Run, header_of, runs
from m3leo_prep.sources.remote.memory import opened

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
GROUP_BYTES = 2 * 2**20
"""Decoded bytes of the strips that count as one block: a strip of its own may be a single row."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by its type."""
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8", 18: "u8"}
_LONG8 = 16
_DIRECTORY_BYTES = 1024
"""That hold most tables of tags."""
_SUBFILE, _REDUCED, _MASK = 254, 1, 4
"""Tag that says what an image is, and its bits: a smaller copy, a mask (TIFF 6.0, section 8)."""
_WIDTH, _HEIGHT, _SAMPLES, _ROWS_PER_STRIP, _PLANAR, _BITS = 256, 257, 277, 278, 284, 258
_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 273, 279, 322, 323, 324, 325
_ELSEWHERE = {330, 34665, 34853}
"""Tags that point to other tables, which are not copied."""

Read = Callable[[Sequence[Span]], list[bytes]]


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of an image, its values as stored."""

    kind: int
    count: int
    values: bytes


@dataclass(frozen=True)
class Tiff:
    """The first image of a file, and its mask as one more plane."""

    address: str
    size: int
    order: str
    """``<`` or ``>``."""
    tags: Mapping[int, Tag]
    """But those of the table of blocks."""
    mask: Mapping[int, Tag] | None
    """The same of the mask."""
    table: tuple[int, int]
    """Tags of the offsets and of the byte counts."""
    shape: tuple[int, int]
    chunk: tuple[int, int]
    """(rows, columns) of a tile or a strip."""
    group: int
    """Strips that are one block."""
    planes: int
    offsets: NDArray[np.int64]
    """(plane, row, column) of tiles or strips; a count of 0 = not stored: no data."""
    counts: NDArray[np.int64]

    @property
    def block(self) -> tuple[int, int]:
        """See ``Layout``."""
        return self.chunk[0] * self.group, self.chunk[1]

    @property
    def cuts(self) -> bool:
        """See ``Layout``: tiles are decoded for each window that meets them, which takes less than to keep them does.

        Strips are kept: many windows meet each of them.
        """
        return self.table[0] == _TILE_OFFSETS

    @cached_property
    def header(self) -> Header:
        """See ``Layout``."""
        with opened(self._file((), (0, 0), b""), "GTiff", self.address) as data:
            found = header_of(data)
        return found if self.mask is None else replace(found, mask=found.count + 1)

    def span(self, place: Place) -> Span | None:
        """See ``Layout``."""
        spans = [(int(a), int(a + n)) for a, n in zip(*self._chunks(place), strict=True) if n]
        return (min(first for first, _ in spans), max(stop for _, stop in spans)) if spans else None

    def plan(self, places: Collection[Place], attempt: int) -> list[Run]:
        """See ``Layout``."""
        del attempt
        found, empty = [], []
        for place in places:
            span = self.span(place)
            if span is None:
                empty.append(place)
                continue
            if span[0] < 0 or span[1] > self.size:
                message = f"is truncated: the block in row {place.row}, column {place.column} lies beyond its end"
                raise CorruptError(message, where=self.address, hint="tell the provider; this file is left out")
            found.append((span, place))
        return runs(found) + ([Run((0, 0), tuple(empty))] if empty else [])

    def decode(self, run: Run, data: bytes) -> Iterator[tuple[Place, NDArray[Any]]]:
        """See ``Layout``."""
        pixels = [place for place in run.places if place.plane < self.planes]
        masks = [place for place in run.places if place.plane == self.planes]
        for places in filter(None, (pixels, masks)):
            yield from self._decoded(places, run.span, data)

    def _decoded(self, places: Sequence[Place], span: Span, data: bytes) -> Iterator[tuple[Place, NDArray[Any]]]:
        """Yield blocks that are all of the image, or all of its mask."""
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        with opened(self._file(places, span, data), "GTiff", self.address) as image:
            for place in places:
                plane, row, col, part = place
                r0, c0 = row * self.block[0], col * self.block[1]
                r1, c1 = min(r0 + self.block[0], self.shape[0]), min(c0 + self.block[1], self.shape[1])
                if part is not None:
                    r0, r1, c0, c1 = part.row0, part.row1, part.col0, part.col1
                bands = list(image.indexes) if self.planes in {1, plane} else [plane + 1]
                try:
                    pixels = image.read(bands, window=Window(c0, r0, c1 - c0, r1 - r0))
                except RasterioError as error:
                    message = f"the block in row {row}, column {col} is damaged: {error.__cause__ or error}"
                    hint = "tell the provider; this file is left out"
                    raise CorruptError(message, where=self.address, hint=hint) from error
                yield place, pixels

    def _chunks(self, place: Place) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return offsets and byte counts of the tile or the strips of a block."""
        plane, row, col, _ = place
        rows = slice(row * self.group, (row + 1) * self.group)
        return self.offsets[plane, rows, col], self.counts[plane, rows, col]

    def _file(self, places: Collection[Place], span: Span, data: bytes) -> bytes:
        """Return a BigTIFF with the tags of the image or of its mask and some blocks of it, which lie in ``data``."""
        offsets, counts = np.zeros_like(self.offsets), np.zeros_like(self.counts)
        of_mask = False
        for place in places:
            plane, row, col, _ = place
            of_mask = plane == self.planes
            rows = slice(row * self.group, (row + 1) * self.group)
            offsets[plane, rows, col], counts[plane, rows, col] = self._chunks(place)
        own = slice(self.planes, None) if of_mask else slice(self.planes)
        offsets, counts = offsets[own], counts[own]
        kind = f"{self.order}i8"
        tags = dict((of_mask and self.mask) or self.tags)
        # Two passes: the blocks lie behind the tables, whose length does not depend on what they say.
        for tag, values in zip(self.table, (offsets, counts), strict=True):
            tags[tag] = Tag(_LONG8, values.size, values.astype(kind).tobytes())
        start = len(_written(tags, self.order))
        offsets[counts > 0] += start - span[0]
        tags[self.table[0]] = Tag(_LONG8, offsets.size, offsets.astype(kind).tobytes())
        return _written(tags, self.order) + data


def tiff(head: bytes, size: int, address: str, read: Read) -> Tiff:
    """Return the layout of a file.

    Args:
        head: its first bytes.
        size: all its bytes.
        address: of it, for messages.
        read: returns bytes [first, stop) of the file for some spans.

    Raises:
        CorruptError: it has no sound table of blocks.
    """
    order = "<" if head[:2] == b"II" else ">"
    try:
        return _layout(*_tags(head, size, order, read), order, size, address)
    except (KeyError, IndexError, ValueError, ZeroDivisionError, struct.error) as error:
        message = f"is no sound GeoTIFF: its tags do not say where its blocks are ({error})"
        raise CorruptError(message, where=address, hint="tell the provider; this file is left out") from None


def _layout(tags: dict[int, Tag], mask: dict[int, Tag], order: str, size: int, address: str) -> Tiff:
    def values(tag: int, tags: dict[int, Tag] = tags) -> NDArray[np.int64]:
        return np.frombuffer(tags[tag].values, order + _INTEGERS[tags[tag].kind]).astype(np.int64)

    def one(tag: int, default: int) -> int:
        return int(values(tag)[0]) if tag in tags else default

    height, width = int(values(_HEIGHT)[0]), int(values(_WIDTH)[0])
    samples = one(_SAMPLES, 1)
    planes = samples if one(_PLANAR, 1) == 2 else 1
    if _TILE_OFFSETS in tags:
        table, group = (_TILE_OFFSETS, _TILE_COUNTS), 1
        chunk = int(values(_TILE_HEIGHT)[0]), int(values(_TILE_WIDTH)[0])
    else:
        table, chunk = (_STRIP_OFFSETS, _STRIP_COUNTS), (min(one(_ROWS_PER_STRIP, height), height), width)
        row_bytes = width * (samples // planes) * one(_BITS, 1) // 8
        group = max(1, GROUP_BYTES // max(1, row_bytes * chunk[0]))
    grid = planes, -(-height // chunk[0]), -(-width // chunk[1])
    sizes = _WIDTH, _HEIGHT, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT
    offsets, counts = (values(tag).reshape(grid) for tag in table)
    if mask:
        if any((values(tag) != values(tag, mask)).any() for tag in sizes if tag in tags):
            raise ValueError("its mask has other blocks")
        apart = (1, *grid[1:])
        offsets, counts = (
            np.concatenate([of_image, values(tag, mask).reshape(apart)])
            for tag, of_image in zip(table, (offsets, counts), strict=True)
        )
    kept, kept_of_mask = (
        {tag: told for tag, told in some.items() if tag not in {*table, *_ELSEWHERE}} for some in (tags, mask)
    )
    shape = height, width
    return Tiff(address, size, order, kept, kept_of_mask or None, table, shape, chunk, group, planes, offsets, counts)


def _tags(head: bytes, size: int, order: str, read: Read) -> tuple[dict[int, Tag], dict[int, Tag]]:
    """Return the tags of the first image and those of its mask; values that lie far away are fetched together."""
    big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    wide, entry, room, number = (8, 20, 8, "Q") if big else (2, 12, 4, "I")
    known = {0: head}

    def have(spans: list[Span]) -> list[bytes]:
        far = [span for span in spans if not any(a <= span[0] and span[1] <= a + len(b) for a, b in known.items())]
        if any(stop > size for _, stop in far):
            raise ValueError("a table lies beyond the end of the file")
        known.update(zip((first for first, _ in far), read(far), strict=True) if far else ())
        found = []
        for first, stop in spans:
            a, data = next((a, b) for a, b in known.items() if a <= first and stop <= a + len(b))
            found.append(data[first - a : stop - a])
        return found

    def entries(place: int) -> tuple[dict[int, tuple[int, int, Span]], int]:
        """Return kind, count and place of the values of each tag of a table, and where the next table is."""
        have([(place, min(place + _DIRECTORY_BYTES, size))])
        count = int.from_bytes(have([(place, place + wide)])[0], "little" if order == "<" else "big")
        stop = place + wide + count * entry
        rows, following = have([(place + wide, stop), (stop, stop + room)])
        told = {}
        for k in range(count):
            tag, kind, n = struct.unpack_from(f"{order}HH{number}", rows, k * entry)
            length = n * _SIZES.get(kind, 1)
            where = place + wide + (k + 1) * entry - room
            if length > room:
                where = struct.unpack_from(f"{order}{number}", rows, (k + 1) * entry - room)[0]
            told[tag] = kind, n, (where, where + length)
        return told, int(struct.unpack(f"{order}{number}", following)[0])

    def tags(told: dict[int, tuple[int, int, Span]]) -> dict[int, Tag]:
        values = have([span for _, _, span in told.values()])
        return {tag: Tag(kind, n, data) for (tag, (kind, n, _)), data in zip(told.items(), values, strict=True)}

    image, place = entries(struct.unpack_from(f"{order}{number}", head, 8 if big else 4)[0])
    seen: set[int] = set()
    while place and place not in seen:
        seen.add(place)
        other, place = entries(place)
        what = tags({_SUBFILE: other[_SUBFILE]})[_SUBFILE].values if _SUBFILE in other else b""
        if int.from_bytes(what, "little" if order == "<" else "big") & (_MASK | _REDUCED) == _MASK:
            return tags(image), tags(other)
    return tags(image), {}


def _written(tags: Mapping[int, Tag], order: str) -> bytes:
    """Return a BigTIFF that holds one image's tags and no block."""
    table = struct.pack(f"{order}Q", len(tags))
    behind, place = b"", 16 + 8 + 20 * len(tags) + 8
    for tag, told in sorted(tags.items()):
        table += struct.pack(f"{order}HHQ", tag, told.kind, told.count)
        if len(told.values) <= 8:
            table += told.values.ljust(8, b"\0")
        else:
            table += struct.pack(f"{order}Q", place + len(behind))
            behind += told.values.ljust(-(-len(told.values) // 8) * 8, b"\0")
    start = b"II" if order == "<" else b"MM"
    return start + struct.pack(f"{order}HHHQ", 43, 8, 0, 16) + table + bytes(8) + behind

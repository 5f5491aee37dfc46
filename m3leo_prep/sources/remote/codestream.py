"""Marker segments of JPEG 2000: the main header, the grid of tiles, and one tile as a file of its own.

ISO/IEC 15444-1 (ITU-T T.800), annex A for the codestream and annex I for the boxes around it. Sentinel-2's files have
one tile-part per tile in the order of the tiles, with PLT in each of them; those of 2018 have no TLM, those of today's
baseline have it (https://github.com/OSGeo/gdal/issues/14516).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SOC, SIZ, TLM, PLM, PPM, COM, SOT, EOC = 0xFF4F, 0xFF51, 0xFF55, 0xFF57, 0xFF60, 0xFF64, 0xFF90, b"\xff\xd9"
SOT_MARK = b"\xff\x90\x00\x0a"
"""Marker and length of the segment that begins each tile-part. Coded data never hold it: behind 0xFF they have no byte
above 0x8F."""
SOT_BYTES = 12
SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
RAW = b"\xff\x4f\xff\x51"
"""Begins a codestream without boxes."""
_UNNEEDED = {TLM, PLM, COM}
"""Segments that say nothing that decoding needs, and not the truth of one tile alone."""


class UnsoundError(Exception):
    """These bytes are no JPEG 2000 file, or one whose tiles cannot be had one by one."""


@dataclass(frozen=True, slots=True)
class TilePart:
    """One tile-part: of which tile, and where in the file."""

    tile: int
    first: int
    length: int
    alone: bool
    """It is all of its tile."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles on the reference grid, in pixels of it: image [x0, x1) x [y0, y1), tiles from their own origin."""

    x1: int
    y1: int
    x0: int
    y0: int
    width: int
    height: int
    tile_x0: int
    tile_y0: int

    @property
    def columns(self) -> int:
        """Of tiles."""
        return -(-(self.x1 - self.tile_x0) // self.width)

    @property
    def rows(self) -> int:
        """Of tiles."""
        return -(-(self.y1 - self.tile_y0) // self.height)

    def tile(self, number: int) -> tuple[int, int, int, int]:
        """Return x0, y0, x1, y1 of a tile, cut at the edges of the image."""
        row, column = divmod(number, self.columns)
        left, top = self.tile_x0 + column * self.width, self.tile_y0 + row * self.height
        return max(left, self.x0), max(top, self.y0), min(left + self.width, self.x1), min(top + self.height, self.y1)


@dataclass(frozen=True, slots=True)
class Main:
    """All that comes before the first tile-part."""

    boxes: bytes
    """Of the file, before the codestream's; empty for a bare codestream."""
    start: int
    """Place of the codestream in the file."""
    stop: int
    """End of its box."""
    first: int
    """Place of the first tile-part in the file."""
    segments: bytes
    """The main header from its SIZ on, without what decoding does not need."""
    grid: Grid
    lengths: tuple[tuple[int, int], ...]
    """Tile and bytes of each tile-part in order, as TLM says; empty without it."""


def main_header(head: bytes, size: int) -> Main:
    """Return the main header of a file from its first bytes.

    Raises:
        UnsoundError: it is none, or it is longer than these bytes.
    """
    try:
        start, stop = _codestream(head, size)
        return _main(head, start, stop)
    except (struct.error, IndexError):
        raise UnsoundError("its main header does not end where it should") from None


def tile_part(data: bytes, place: int, where: int, end: int) -> TilePart | None:
    """Return the tile-part that begins at ``place`` of some bytes; None = none does.

    Args:
        data: bytes of a file.
        place: in them.
        where: they lie in the file.
        end: of the codestream in the file, to which a tile-part reaches that tells no length.
    """
    if data[place : place + 4] != SOT_MARK or len(data) < place + SOT_BYTES:
        return None
    tile, length, number, parts = struct.unpack_from(">HIBB", data, place + 4)
    return TilePart(tile, where + place, length or end - where - place, alone=number == 0 and parts == 1)


def single(main: Main, number: int, parts: bytes) -> bytes:
    """Return a file whose image is one tile, at its place on the reference grid: it decodes to the same pixels.

    Args:
        main: header of the file.
        number: of the tile.
        parts: its one tile-part.
    """
    grid = main.grid
    x0, y0, x1, y1 = grid.tile(number)
    # Capabilities before the sizes, number and depth of the components behind them.
    segments = bytearray(main.segments)
    struct.pack_into(">8I", segments, 6, x1, y1, x0, y0, grid.width, grid.height, x0, y0)
    part = bytearray(parts)
    struct.pack_into(">H", part, 4, 0)
    stream = struct.pack(">H", SOC) + segments + part + (b"" if part.endswith(EOC) else EOC)
    return _boxed(main.boxes, bytes(stream), y1 - y0, x1 - x0)


def without_tiles(main: Main) -> bytes:
    """Return a file of the same size and georeference whose tiles are not there."""
    # Readers go on to the first tile-part.
    begun = SOT_MARK + struct.pack(">HIBB", 0, 14, 0, 1) + b"\xff\x93"
    stream = struct.pack(">H", SOC) + main.segments + begun + EOC
    return _boxed(main.boxes, stream, main.grid.y1 - main.grid.y0, main.grid.x1 - main.grid.x0)


def _boxed(boxes: bytes, stream: bytes, height: int, width: int) -> bytes:
    """Return a codestream in the boxes of its file, which tell its size; as it is where the file had none."""
    if not boxes:
        return stream
    told = bytearray(boxes)
    sizes = told.find(b"ihdr") + 4
    if sizes >= 4:
        struct.pack_into(">2I", told, sizes, height, width)
    return bytes(told) + struct.pack(">I4s", len(stream) + 8, b"jp2c") + stream


def _codestream(head: bytes, size: int) -> tuple[int, int]:
    """Return where the codestream begins and where its box ends."""
    if head.startswith(RAW):
        return 0, size
    if not head.startswith(SIGNATURE):
        raise UnsoundError("it is no JPEG 2000 file")
    place = 0
    while True:
        length, kind = struct.unpack_from(">I4s", head, place)
        content = 8
        if length == 1:
            length, content = struct.unpack_from(">Q", head, place + 8)[0], 16
        if kind == b"jp2c":
            return place + content, place + length if length else size
        if length < content:
            raise UnsoundError("its boxes have no sound lengths")
        place += length


def _main(head: bytes, start: int, stop: int) -> Main:
    if struct.unpack_from(">H", head, start)[0] != SOC:
        raise UnsoundError("its codestream does not begin as one")
    place, kept, grid = start + 2, b"", None
    lengths: list[tuple[int, int]] = []
    while True:
        marker, length = struct.unpack_from(">HH", head, place)
        if marker == SOT:
            break
        if marker < 0xFF00 or length < 2:
            raise UnsoundError("its main header is damaged")
        segment = head[place : place + 2 + length]
        if len(segment) < 2 + length:
            raise UnsoundError("its main header does not end where it should")
        if marker == PPM:
            raise UnsoundError("its packet headers lie apart from its tiles")
        if marker == SIZ:
            grid = Grid(*struct.unpack_from(">8I", segment, 6))
        elif marker == TLM:
            lengths += _told_lengths(segment, len(lengths))
        if marker not in _UNNEEDED:
            kept += segment
        place += 2 + length
    if grid is None or not kept.startswith(struct.pack(">H", SIZ)) or not grid.width or not grid.height:
        raise UnsoundError("its main header does not say how large it is")
    # The codestream's own box is written anew.
    boxes = head[: head.rfind(b"jp2c", 0, start) - 4] if start else b""
    return Main(boxes, start, stop, place, kept, grid, tuple(lengths))


def _told_lengths(segment: bytes, before: int) -> list[tuple[int, int]]:
    """Return tile and bytes of the tile-parts that a TLM names."""
    style = segment[5]
    tile_bytes, wide = (style >> 4) & 3, bool(style & 0x40)
    entry = tile_bytes + (4 if wide else 2)
    told = []
    for k, place in enumerate(range(6, len(segment) - entry + 1, entry)):
        tile = int.from_bytes(segment[place : place + tile_bytes]) if tile_bytes else before + k
        told.append((tile, int.from_bytes(segment[place + tile_bytes : place + entry])))
    return told

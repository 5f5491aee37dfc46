"""Precincts of JPEG 2000: a part of a tile is decoded from the packets that it needs, the others made empty.

ISO/IEC 15444-1 (ITU-T T.800): A.6.1 COD, A.7.3 PLT, B.6 precincts, B.9 packets, B.12 their order. Nearly all the time
of decoding goes into the bits of packets, one of which is a precinct of one resolution: in Sentinel-2's bands of 10 m
256 x 256 px of it, of tiles of 1024.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from m3leo_prep.sources.remote.codestream import SOT_BYTES, Main

COD, COC, POC, RGN, PLT, COM, QCD, QCC, SOD = 0xFF52, 0xFF53, 0xFF5F, 0xFF5E, 0xFF58, 0xFF64, 0xFF5C, 0xFF5D, 0xFF93
EMPTY = b"\0"
"""A packet whose first bit says that nothing is in it (B.10.3)."""
REACH = 3
"""Coefficients on each side, at least those that a pixel depends on at each level: lifting with steps of one sample,
two of the reversible filter and four of the other, two samples to a coefficient (annex F)."""
_BY_RESOLUTION = {0, 1, 2}
"""Orders (LRCP, RLCP, RPCL) that are one, with one layer and one component: by resolution, then as one reads."""
_SOP_OR_EPH = 6

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Precincts:
    """How the tiles of a file are divided, where that is simple enough."""

    exponents: tuple[tuple[int, int], ...]
    """Of two: columns and rows of a precinct, from the coarsest resolution to the finest."""

    def thinned(self, part: bytes, tile: tuple[int, int, int, int], rows: Range, cols: Range) -> bytes | None:
        """Return a tile-part without the packets that some pixels do not need; None = it does not tell its packets.

        Args:
            part: the only tile-part of a tile.
            tile: its x0, y0, x1, y1.
            rows: first and stop of the pixels, on the same grid.
            cols: the same of columns.
        """
        header = _header(part)
        if header is None:
            return None
        kept, lengths, start = header
        needed = list(self._needed(tile, rows, cols))
        if len(needed) != len(lengths) or start + sum(lengths) != len(part):
            return None
        packets = []
        for length, is_needed in zip(lengths, needed, strict=True):
            packets.append(part[start : start + length] if is_needed else EMPTY)
            start += length
        made = bytearray(kept + struct.pack(">H", SOD) + b"".join(packets))
        struct.pack_into(">I", made, 6, len(made))
        return bytes(made)

    def _needed(self, tile: tuple[int, int, int, int], rows: Range, cols: Range) -> Iterator[bool]:
        """Yield for each packet of a tile, in order, whether it is needed."""
        levels = len(self.exponents) - 1
        x0, y0, x1, y1 = tile
        across, down = _reached(cols, levels), _reached(rows, levels)
        for resolution, (wide, high) in enumerate(self.exponents):
            step = 1 << (levels - resolution)
            x = _meets((-(-x0 // step), -(-x1 // step)), wide, across[resolution])
            y = _meets((-(-y0 // step), -(-y1 // step)), high, down[resolution])
            yield from (row and col for row in y for col in x)


def precincts(main: Main) -> Precincts | None:
    """Return how the tiles of a file are divided; None = in a way in which they are decoded whole."""
    style: bytes | None = None
    place = 0
    while place + 4 <= len(main.segments):
        marker, length = struct.unpack_from(">HH", main.segments, place)
        if marker in {COC, POC, RGN}:
            return None
        if marker == COD:
            style = main.segments[place + 4 : place + 2 + length]
        place += 2 + length
    components, spacing = struct.unpack_from(">H", main.segments, 38)[0], main.segments[41:43]
    if style is None or components != 1 or spacing != b"\1\1" or style[0] & _SOP_OR_EPH or not style[0] & 1:
        return None
    order, layers, levels = style[1], struct.unpack_from(">H", style, 2)[0], style[5]
    sizes = style[10:]
    if order not in _BY_RESOLUTION or layers != 1 or len(sizes) != levels + 1:
        return None
    return Precincts(tuple((size & 15, size >> 4) for size in sizes))


def tells_packets(part: bytes) -> bool:
    """Return whether a tile-part that begins with these bytes tells the lengths of its packets."""
    return _header(part) is not None


def _header(part: bytes) -> tuple[bytes, list[int], int] | None:
    """Return the header of a tile-part without its PLT, the lengths that they tell, and where the packets begin."""
    told: list[tuple[int, bytes]] = []
    kept, place = part[:SOT_BYTES], SOT_BYTES
    while place + 4 <= len(part):
        marker, length = struct.unpack_from(">HH", part, place)
        segment = part[place : place + 2 + length]
        if marker == SOD:
            lengths = list(_lengths(b"".join(text for _, text in sorted(told))))
            return (kept, lengths, place + 2) if told else None
        if marker == PLT and length > 2:
            told.append((segment[4], segment[5:]))
        elif marker in {COM, QCD, QCC}:
            kept += segment
        else:
            return None
        place += 2 + length
    return None


def _lengths(told: bytes) -> Iterator[int]:
    """Yield numbers of seven bits a byte, the last of each without the highest bit."""
    value = 0
    for byte in told:
        value = value << 7 | byte & 127
        if byte < 128:
            yield value
            value = 0


def _reached(pixels: Range, levels: int) -> list[Range]:
    """Return by resolution, from the coarsest, the range on its grid whose coefficients some pixels depend on."""
    found = []
    first, stop = pixels
    for _ in range(levels):
        # In the subbands of a resolution two of its pixels are one coefficient.
        first, stop = first // 2 - REACH, -(-stop // 2) + REACH
        found.append((2 * first, 2 * stop))
    return [(first, stop), *reversed(found)]


def _meets(extent: Range, exponent: int, wanted: Range) -> list[bool]:
    """Return for each precinct of a range of pixels, along one axis, whether it meets another range."""
    if extent[0] >= extent[1]:
        return []
    size = 1 << exponent
    numbers = range(extent[0] // size, -(-extent[1] // size))
    return [k * size < wanted[1] and (k + 1) * size > wanted[0] for k in numbers]

"""JPEG 2000 by its tiles: only the tile-parts that are needed are fetched, and each is decoded by itself.

Where a tile-part begins is told by TLM, or found: a guess from those that are known already, a little more than is
needed fetched there, and in it the marks that begin tile-parts, which cannot occur in coded data. OpenJPEG goes from
one to the next instead, which is a request for each tile.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.remote.codestream import SOT_BYTES, SOT_MARK, Main, TilePart, single, tile_part, without_tiles
from m3leo_prep.sources.remote.files import Span
from m3leo_prep.sources.remote.layout import Header, Place, Run, header_of, runs
from m3leo_prep.sources.remote.memory import opened
from m3leo_prep.sources.remote.precincts import precincts, tells_packets

GUESSES = 4
"""Before we go from tile to tile, which always finds them."""
HOP_BYTES = 64
"""Fetched to see where a tile-part ends."""
HOLE = bytes(1024)
"""Zeros that no coder writes in a row: where they are, the file was never written. OpenJPEG reads them as pixels."""


class Jp2:
    """The tiles of one file; what is learned of their places is kept."""

    planes = 1

    def __init__(self, main: Main, head: bytes, size: int, address: str) -> None:
        self.main, self.size, self.address = main, size, address
        self._known: dict[int, TilePart] = {}
        self._lock = threading.Lock()
        self._end = min(main.stop, size)
        place = main.first
        for tile, length in main.lengths:
            self._known[tile] = TilePart(tile, place, length, alone=True)
            place += length
        self._trusts_table = bool(main.lengths)
        self._learn(head, 0)
        self._precincts = precincts(main) if tells_packets(head[main.first :]) else None

    @property
    def block(self) -> tuple[int, int]:
        """See ``Layout``."""
        return self.main.grid.height, self.main.grid.width

    @property
    def cuts(self) -> bool:
        """See ``Layout``."""
        return self._precincts is not None

    @cached_property
    def header(self) -> Header:
        """See ``Layout``."""
        with opened(without_tiles(self.main), "JP2OpenJPEG", self.address) as data:
            return header_of(data)

    @property
    def is_plain(self) -> bool:
        """True where each tile is one tile-part, as far as is known, and the image begins at the grid's origin."""
        grid = self.main.grid
        told = [tile for tile, _ in self.main.lengths]
        with self._lock:
            alone = all(part.alone for part in self._known.values())
        return alone and len(set(told)) == len(told) and (grid.x0, grid.y0, grid.tile_x0, grid.tile_y0) == (0, 0, 0, 0)

    def span(self, place: Place) -> Span | None:
        """See ``Layout``."""
        with self._lock:
            part = self._known.get(self._number(place))
        return None if part is None else (part.first, part.first + part.length)

    def plan(self, places: Collection[Place], attempt: int) -> list[Run]:
        """See ``Layout``."""
        with self._lock:
            if attempt and self._trusts_table:
                # A tile did not lie where the table says: find them all.
                self._known, self._trusts_table = {}, False
            wanted: dict[int, list[Place]] = {}
            for place in places:
                wanted.setdefault(self._number(place), []).append(place)
            known = {tile: self._known[tile] for tile in wanted if tile in self._known}
            exact = [((p.first, p.first + p.length), place) for t, p in known.items() for place in wanted[t]]
            for (_, stop), place in exact:
                if stop > self._end:
                    raise self._bad(place, "the file is truncated: it lies beyond its end")
            missing = sorted(set(wanted) - set(self._known))
            if attempt < GUESSES:
                return runs(exact) + [self._guess(wanted, *some, 0.5 * 2**attempt) for some in _neighbours(missing)]
            if missing and attempt > GUESSES + self.main.grid.rows * self.main.grid.columns:
                raise self._bad(wanted[missing[0]][0], "it is not in the file")
            return runs(exact) + ([self._hop(missing[0], wanted)] if missing else [])

    def decode(self, run: Run, data: bytes) -> Iterator[tuple[Place, NDArray[Any]]]:
        """See ``Layout``."""
        start = run.span[0]
        self._learn(data, start)
        if not run.places and tile_part(data, 0, start, self._end) is None:
            raise CorruptError(f"is damaged: no block begins at byte {start}", where=self.address)
        for place in run.places:
            number = self._number(place)
            with self._lock:
                part = self._known.get(number)
            if part is None or part.first < start or part.first + part.length > start + len(data):
                continue
            piece = data[part.first - start : part.first - start + part.length]
            found = tile_part(piece, 0, part.first, self._end)
            if found is None or (found.tile, found.length) != (number, part.length):
                with self._lock:
                    if self._trusts_table:
                        continue
                raise self._bad(place, "no such block begins where it should")
            if not part.alone:
                raise self._bad(place, "it is in several parts, which is not read")
            yield place, self._decoded(place, number, piece)

    def _decoded(self, place: Place, number: int, piece: bytes) -> NDArray[Any]:
        if HOLE in piece:
            raise self._bad(place, f"it holds {len(HOLE)} zero bytes in a row, which is no coded image")
        x0, y0, x1, y1 = tile = self.main.grid.tile(number)
        part = place.part or Window(y0, y1, x0, x1)
        if self._precincts is not None and place.part is not None:
            piece = self._precincts.thinned(piece, tile, (part.row0, part.row1), (part.col0, part.col1)) or piece
        try:
            with opened(single(self.main, number, piece), "JP2OpenJPEG", self.address) as image:
                if image.shape != (y1 - y0, x1 - x0):
                    raise self._bad(place, f"it decodes to {image.shape} pixels")
                rows, cols = (part.row0 - y0, part.row1 - y0), (part.col0 - x0, part.col1 - x0)
                pixels: NDArray[Any] = image.read(window=(rows, cols))
        except CorruptError as error:
            raise self._bad(place, error.message) from error
        return pixels

    def _number(self, place: Place) -> int:
        return place.row * self.main.grid.columns + place.column

    def _bad(self, place: Place, what: str) -> CorruptError:
        message = f"the block in row {place.row}, column {place.column} is damaged: {what}"
        return CorruptError(message, where=self.address, hint="tell the provider; this file is left out")

    def _learn(self, data: bytes, where: int) -> None:
        """Note all tile-parts that begin in some bytes of the file."""
        count = self.main.grid.rows * self.main.grid.columns
        place = data.find(SOT_MARK, max(0, self.main.first - where))
        while place >= 0:
            part = tile_part(data, place, where, self._end)
            if part is not None and part.tile < count and part.length > SOT_BYTES and not self._trusts_table:
                with self._lock:
                    self._known.setdefault(part.tile, part)
            place = data.find(SOT_MARK, place + 1)

    def _around(self, tile: int) -> tuple[int, int, int, int]:
        """Return the place and number at which known tiles before one end, and those behind it begin."""
        count = self.main.grid.rows * self.main.grid.columns
        before = max((t for t in self._known if t < tile), default=-1)
        behind = min((t for t in self._known if t > tile), default=count)
        start = self._known[before].first + self._known[before].length if before >= 0 else self.main.first
        stop = self._known[behind].first if behind < count else self._end
        return start, before + 1, stop, behind

    def _guess(self, wanted: dict[int, list[Place]], first: int, last: int, more: float) -> Run:
        """Return a request that should hold tiles in a row whose places are not known, and ``more`` on each side."""
        start, low, stop, high = self._around(first)
        mean = (stop - start) / (high - low)
        # Where a neighbour is known the guess is exact, and else off by a tile or so.
        a = start if first == low else round(start + (first - low - more) * mean)
        b = stop if last + 1 == high else round(start + (last + 1 - low + more) * mean)
        span = max(a, start), min(max(b, a + SOT_BYTES), stop)
        if span[0] >= span[1]:
            raise self._bad(wanted[first][0], "there is no room for it in the file")
        return Run(span, tuple(place for t in range(first, last + 1) for place in wanted.get(t, ())))

    def _hop(self, tile: int, wanted: dict[int, list[Place]]) -> Run:
        """Return a request that tells one tile-part more on the way to a tile."""
        start, low, _, _ = self._around(tile)
        if low > tile or start >= self._end:
            raise self._bad(wanted[tile][0], "the file is truncated: it lies beyond its end")
        return Run((start, min(start + HOP_BYTES, self._end)), ())


def _neighbours(tiles: list[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of tiles that follow each other."""
    first = None
    for k, tile in enumerate(tiles):
        if first is None:
            first = tile
        if k + 1 == len(tiles) or tiles[k + 1] != tile + 1:
            yield first, tile
            first = None

"""Windows of many rasters at once: their blocks found in the cache, fetched, decoded and laid into place."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources._native import Window
from m3leo_prep.sources.remote import files
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.remote.blocks import Block, BlockCache, PieceCache
from m3leo_prep.sources.remote.layout import Layout, Place, Run

BLOCKS, PIECES = BlockCache(), PieceCache()
"""Of this process."""
_decoding = threading.BoundedSemaphore(os.cpu_count() or 1)
"""Of this process: more blocks at once than cores take turns, each with memory of its own."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A window of one band of a raster, within it."""

    address: str
    access: Access
    size: int
    layout: Layout
    band: int
    window: Window

    @property
    def _stored(self) -> tuple[int, int]:
        """The plane that holds the band, and the band's place in it; a mask of the file's own is one more plane."""
        return divmod(self.band - 1, self.layout.header.count // self.layout.planes)

    def places(self) -> list[Place]:
        """Return the blocks that the window meets."""
        (rows, cols), w = self.layout.block, self.window
        plane, _ = self._stored
        raster = Window(0, self.layout.header.shape[0], 0, self.layout.header.shape[1])
        found = []
        for row in range(w.row0 // rows, -(-w.row1 // rows)):
            for col in range(w.col0 // cols, -(-w.col1 // cols)):
                block = Window(row * rows, (row + 1) * rows, col * cols, (col + 1) * cols).within(raster)
                part = w.within(block)
                found.append(Place(plane, row, col, part if self.layout.cuts and part != block else None))
        return found

    def lay(self, place: Place, block: Block, out: NDArray[Any]) -> None:
        """Write the pixels of a block (band, y, x) into those of the window."""
        (rows, cols), w = self.layout.block, self.window
        top, left = place.row * rows, place.column * cols
        if place.part is not None:
            top, left = place.part.row0, place.part.col0
        a, b = max(w.row0, top), min(w.row1, top + block.shape[1])
        c, d = max(w.col0, left), min(w.col1, left + block.shape[2])
        _, band = self._stored
        out[a - w.row0 : b - w.row0, c - w.col0 : d - w.col0] = block[band, a - top : b - top, c - left : d - left]


@dataclass(slots=True)
class _File:
    """What one call makes of one file."""

    first: Wanted
    """Any of its windows."""
    missing: set[Place] = field(default_factory=set)
    attempts: int = 0
    under_way: int = 0

    def key(self, place: Place) -> Hashable:
        return self.first.address, self.first.access, self.first.size, place


def read(wanted: Sequence[Wanted], cache: BlockCache = BLOCKS, pieces: PieceCache = PIECES) -> list[NDArray[Any]]:
    """Return the stored pixels (y, x) of each window, read-only; see ``rasters.read_many``."""
    return _Reading(wanted, cache, pieces).run()


class _Reading:
    def __init__(self, wanted: Sequence[Wanted], cache: BlockCache, pieces: PieceCache) -> None:
        self._wanted, self._cache, self._pieces = wanted, cache, pieces
        self._out = [
            np.empty((w.window.row1 - w.window.row0, w.window.col1 - w.window.col0), w.layout.header.dtype)
            for w in wanted
        ]
        self._uses: dict[tuple[int, Place], list[int]] = {}
        self._files: dict[tuple[str, Access], _File] = {}
        self._waited: list[tuple[_File, Place, Future[Block]]] = []

    def run(self) -> list[NDArray[Any]]:
        try:
            self._claim()
            self._fetch()
            for file, place, block in self._waited:
                self._lay(file, place, block.result())
        except BaseException as error:
            # Whoever waits for what this call would have made is told, also after Ctrl-C.
            for file in self._files.values():
                for place in file.missing:
                    self._cache.fail(file.key(place), error)
            raise
        for out in self._out:
            out.setflags(write=False)
        return self._out

    def _claim(self) -> None:
        """Sort the blocks: laid from the cache, made by other threads, made here."""
        for number, one in enumerate(self._wanted):
            file = self._files.setdefault((one.address, one.access), _File(one))
            for place in one.places():
                self._uses.setdefault((id(file), place), []).append(number)
        for file in self._files.values():
            for place in [place for owner, place in self._uses if owner == id(file)]:
                found = self._cache.claim(file.key(place))
                if found is None:
                    file.missing.add(place)
                elif isinstance(found, Future):
                    self._waited.append((file, place, found))
                else:
                    self._lay(file, place, found)

    def _fetch(self) -> None:
        """Make what nobody else makes."""
        files = [file for file in self._files.values() if file.missing]
        if not files:
            return
        at_once = max(file.first.access.connections for file in files) + (os.cpu_count() or 1)
        with ThreadPoolExecutor(at_once) as pool:
            doing: dict[Future[None], _File] = {}
            try:
                for file in files:
                    self._begin(file, pool, doing)
                while doing:
                    for done in wait(doing, return_when=FIRST_COMPLETED).done:
                        file = doing.pop(done)
                        done.result()
                        file.under_way -= 1
                        if not file.under_way and file.missing:
                            self._begin(file, pool, doing)
            except BaseException:
                for one in doing:
                    one.cancel()
                raise

    def _begin(self, file: _File, pool: ThreadPoolExecutor, doing: dict[Future[None], _File]) -> None:
        """Ask for what is missing of a file."""
        layout, away = file.first.layout, []
        for place in sorted(file.missing, key=lambda place: place[:3]):
            span, piece = layout.span(place), self._pieces.get(file.key(place._replace(part=None)))
            if file.attempts or span is None or piece is None:
                away.append(place)
                continue
            doing[pool.submit(self._make, file, Run(span, (place,)), piece)] = file
            file.under_way += 1
        for run in layout.plan(away, file.attempts) if away else ():
            doing[pool.submit(self._get, file, run)] = file
            file.under_way += 1
        file.attempts += 1

    def _get(self, file: _File, run: Run) -> None:
        one = file.first
        first, stop = run.span
        data = files.ranges(one.address, [run.span], one.access)[0] if first < stop else b""
        self._make(file, run, data)
        for place in run.places:
            span = one.layout.span(place)
            if place.part is not None and span is not None and place not in file.missing:
                # The next window needs the rest of it.
                self._pieces.keep(file.key(place._replace(part=None)), data[span[0] - first : span[1] - first])

    def _make(self, file: _File, run: Run, data: bytes) -> None:
        with _decoding:
            for place, block in file.first.layout.decode(run, data):
                self._cache.keep(file.key(place), block, again=place.part is None)
                file.missing.discard(place)
                self._lay(file, place, block)

    def _lay(self, file: _File, place: Place, block: Block) -> None:
        for number in self._uses[id(file), place]:
            self._wanted[number].lay(place, block, self._out[number])

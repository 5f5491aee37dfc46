"""How often the tiles of a Sentinel-2 file are fetched, and its precincts decoded, in units of 256 chips.

python benchmarks/bench_jp2.py

One tile (31TDH: 10980 px of 10 m; blocks of 1024 with precincts of 256, 640 and 256 at 20 m, 192 and 64 at 60 m) and
all chips on it, cut into units of 256 and windows as the pipeline cuts them, each window read with its margin, in the
pipeline's order: window by window, and in each all files, one after the other. What is read is counted, not decoded.
``files`` is bands times dates of a unit: the cache of coded blocks serves neighbouring windows while it holds the rims
of a window of all of them. Prints JSON lines, per block and precinct needed: ``worst`` = decoded within one full unit,
at most; ``decoded`` = in all units together; ``fetched`` = the same of the blocks' bytes; ``once`` = if each unit
decoded what it needs once.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from reading import shown

from m3leo_prep.core.grid import Grid
from m3leo_prep.pipeline.windows import cut
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.local.outline import footprint, windows
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.remote.blocks import PIECE_BYTES, BlockCache, PieceCache
from m3leo_prep.sources.remote.files import Span
from m3leo_prep.sources.remote.layout import Header, Place, Run
from m3leo_prep.sources.remote.reading import Wanted, read

TILE = GeoBox((10_980, 10_980), Affine(10, 0, 399_960, 0, -10, 4_800_000), "EPSG:32631")
LAYOUTS = {10: (10_980, 1024, 256), 20: (5490, 640, 256), 60: (1830, 192, 64)}
CODED = {10: 1_000_000, 20: 400_000, 60: 40_000}
"""Bytes of a block: more than half of its pixels' is rare."""
UNIT = 256
FILES = (1, 12, 48)
DECODED, FETCHED = 1.3, 1.3
"""The targets: within a unit, and with the cache at one file."""
LATTICE = {10: 10, 20: 20, 60: 40}
"""Pitch of the layer by that of the file: 60 does not divide a chip."""


class Counted:
    """A file whose blocks and precincts are counted when they are had, and have no pixels; each block has one byte."""

    planes, cuts = 1, True

    def __init__(self, side: int, block: int, precinct: int) -> None:
        self.block, self._precinct = (block, block), precinct
        self.header = Header((side, side), None, np.dtype(np.uint16), None, 1, np.empty((0, 5)), (), None)
        self.decoded: Counter[tuple[int, ...]] = Counter()
        self.fetched = 0

    def span(self, place: Place) -> Span:
        """Return its byte."""
        number = place.row * -(-self.header.shape[1] // self.block[1]) + place.column
        return number, number + 1

    def plan(self, places: Collection[Place], attempt: int) -> list[Run]:
        """Return one run."""
        del attempt
        self.fetched += len({place[:3] for place in places})
        return [Run((0, 1000), tuple(places))]

    def decode(self, run: Run, data: bytes) -> Iterator[tuple[Place, NDArray[Any]]]:
        """Yield parts that were never touched, and take no memory."""
        del data
        side, block = self.header.shape[0], self.block[0]
        for place in run.places:
            top, left = place.row * block, place.column * block
            part = place.part or Window(top, min(side, top + block), left, min(side, left + block))
            self.decoded.update(cells(part, place, self._precinct))
            yield place, np.empty((1, part.row1 - part.row0, part.col1 - part.col0), np.uint16)


def cells(part: Window, place: Place, precinct: int) -> set[tuple[int, ...]]:
    """Return the precincts of the finest resolution that a part of a tile meets, each with its tile."""
    rows = range(part.row0 // precinct, -(-part.row1 // precinct))
    cols = range(part.col0 // precinct, -(-part.col1 // precinct))
    return {(place.row, place.column, row, col) for row in rows for col in cols}


def main() -> None:
    """Count for each pixel size and number of files."""
    rows = []
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(1000))
        file.flush()
        for pitch in LAYOUTS:
            for files in FILES:
                for name, limit in (("without", 0), ("with", PIECE_BYTES // CODED[pitch])):
                    found = _count(file.name, pitch, files, limit)
                    target = {"at_most": FETCHED if limit and files == 1 else DECODED}
                    case = f"{pitch} m, {files} files, {name} cache"
                    shown.line(bench="jp2", case=case, **found, **target)
                    rows.append([case, *found.values()])
    columns = ("", "chips", "units", "worst unit", "decoded", "fetched", "once a unit")
    shown.table("JP2 blocks had per block needed, N = 256", columns, rows)


def _count(address: str, pitch: int, files: int, limit: int) -> dict[str, Any]:
    side, block, precinct = LAYOUTS[pitch]
    place = GeoBox((side, side), Affine(pitch, 0, 399_960, 0, -pitch, 4_800_000), "EPSG:32631")
    chips = Grid().cells(footprint(TILE))
    chips = chips[chips.epsg == 32631]
    cache, pieces = BlockCache(0), PieceCache(limit)
    total, needed, worst = 0, 0, 0.0
    units = range(0, len(chips), UNIT)
    all_layouts = [Counted(side, block, precinct) for _ in range(files)]
    accesses = [Access(f"bench-{number}", connections=1) for number in range(files)]
    for first in units:
        index = np.arange(first, min(first + UNIT, len(chips)))
        before = [layout.decoded.copy() for layout in all_layouts]
        wanted: set[tuple[int, ...]] = set()
        for window in cut(chips[index], index):
            for pixels, _ in windows(place, window.geobox(LATTICE[pitch])):
                for access, layout in zip(accesses, all_layouts, strict=True):
                    one = Wanted(address, access, 1000, layout, 1, pixels)
                    read([one], cache, pieces)
                for at in one.places():
                    top, left = at.row * block, at.column * block
                    wanted |= cells(at.part or Window(top, top + block, left, left + block), at, precinct)
        made = sum((layout.decoded - old).total() for layout, old in zip(all_layouts, before, strict=True))
        total, needed = total + made, needed + files * len(wanted)
        worst = max(worst, made / (files * len(wanted))) if len(index) == UNIT else worst
    precincts = files * len(set().union(*(layout.decoded for layout in all_layouts)))
    blocks = files * len({cell[:2] for layout in all_layouts for cell in layout.decoded})
    return {
        "chips": len(chips),
        "units": len(units),
        "worst": round(worst, 2),
        "decoded": round(total / precincts, 2),
        "fetched": round(sum(layout.fetched for layout in all_layouts) / blocks, 2),
        "once": round(needed / precincts, 2),
    }


if __name__ == "__main__":
    main()

"""How often the blocks of a Sentinel-2 tile are decoded in units of 256 chips, without the block cache and with it.

python benchmarks/bench_jp2.py [seconds a block]

One tile (31TDH: 10980 px of 10 m, blocks of 1024, 640 at 20 m and 192 at 60 m) and all chips on it, cut into units of
256 and windows as the pipeline cuts them, each window read with its margin, in the pipeline's order: window by window,
and in each all files, one after the other. What is read is counted, not decoded: the blocks have no bytes. ``files`` is
bands times dates of a unit: the cache serves neighbouring windows while it holds a window of all of them. Prints JSON
lines, blocks decoded per block needed: ``worst`` = within one full unit, at most; ``tile`` = in all units of the tile
together; ``once`` = the same if each unit decoded what it needs once.
"""

from __future__ import annotations

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
from m3leo_prep.sources.local.outline import footprint, windows
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.remote.blocks import CACHE_BYTES, BlockCache
from m3leo_prep.sources.remote.layout import Header, Place, Run
from m3leo_prep.sources.remote.reading import Wanted, read

TILE = GeoBox((10_980, 10_980), Affine(10, 0, 399_960, 0, -10, 4_800_000), "EPSG:32631")
LAYOUTS = {10: (10_980, 1024), 20: (5490, 640), 60: (1830, 192)}
UNIT = 256
FILES = (1, 12, 48)
WITHOUT, WITH = 1.7, 1.3
"""The targets, at one file, within a unit."""
LATTICE = {10: 10, 20: 20, 60: 40}
"""Pitch of the layer by that of the file: 60 does not divide a chip."""


class Counted:
    """A file whose blocks are counted when they are decoded, and have no pixels."""

    planes = 1

    def __init__(self, side: int, block: int) -> None:
        self.block = block, block
        self.header = Header((side, side), None, np.dtype(np.uint16), None, 1, np.empty((0, 5)), ())
        self.decoded: Counter[Place] = Counter()

    def plan(self, places: Collection[Place], attempt: int) -> list[Run]:
        """Return one run without bytes."""
        del attempt
        return [Run((0, 0), tuple(places))]

    def decode(self, run: Run, data: bytes) -> Iterator[tuple[Place, NDArray[Any]]]:
        """Yield blocks that were never touched, and take no memory."""
        del data
        side, block = self.header.shape[0], self.block[0]
        for place in run.places:
            self.decoded[place] += 1
            yield place, np.empty((1, *(min(block, side - block * k) for k in place[1:])), np.uint16)


def main() -> None:
    """Count for each pixel size and number of files."""
    rows = []
    for pitch in LAYOUTS:
        for files in FILES:
            for name, limit in (("without", 0), ("with", CACHE_BYTES)):
                found = _count(pitch, files, limit)
                target = {"at_most": WITH if limit else WITHOUT} if files == 1 else {}
                case = f"{pitch} m, {files} files, {name} cache"
                shown.line(bench="jp2", case=case, **found, **target)
                rows.append([case, *found.values()])
    shown.table(
        "JP2 blocks decoded per block needed, N = 256",
        ("", "chips", "units", "worst unit", "tile", "once a unit"),
        rows,
    )


def _count(pitch: int, files: int, limit: int) -> dict[str, Any]:
    side, block = LAYOUTS[pitch]
    place = GeoBox((side, side), Affine(pitch, 0, 399_960, 0, -pitch, 4_800_000), "EPSG:32631")
    cells = Grid().cells(footprint(TILE))
    cells = cells[cells.epsg == 32631]
    cache = BlockCache(limit)
    access = Access("bench", connections=1)
    total, needed, worst = 0, 0, 0.0
    units = range(0, len(cells), UNIT)
    all_layouts = [Counted(side, block) for _ in range(files)]
    for first in units:
        index = np.arange(first, min(first + UNIT, len(cells)))
        before = [layout.decoded.copy() for layout in all_layouts]
        for window in cut(cells[index], index):
            for pixels, _ in windows(place, window.geobox(LATTICE[pitch])):
                for number, layout in enumerate(all_layouts):
                    read([Wanted(f"{number}", access, 1, layout, 1, pixels)], cache)
        made = [layout.decoded - old for layout, old in zip(all_layouts, before, strict=True)]
        wanted = _needed(place, cells[index], pitch, block)
        decoded = sum(one.total() for one in made)
        total, needed = total + decoded, needed + files * wanted
        worst = max(worst, decoded / (files * wanted)) if len(index) == UNIT else worst
    blocks = files * len(set().union(*(layout.decoded for layout in all_layouts)))
    return {
        "chips": len(cells),
        "units": len(units),
        "worst": round(worst, 2),
        "tile": round(total / blocks, 2),
        "once": round(needed / blocks, 2),
    }


def _needed(place: GeoBox, cells: Any, pitch: int, block: int) -> int:
    """Return the blocks that the chips of a unit need, each once."""
    found: set[tuple[int, int]] = set()
    for window in cut(cells, np.arange(len(cells))):
        for pixels, _ in windows(place, window.geobox(LATTICE[pitch])):
            rows = range(pixels.row0 // block, -(-pixels.row1 // block))
            cols = range(pixels.col0 // block, -(-pixels.col1 // block))
            found |= {(row, col) for row in rows for col in cols}
    return len(found)


if __name__ == "__main__":
    main()

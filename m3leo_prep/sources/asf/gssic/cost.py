"""What fetching rows of tiles takes: as ``pixels`` goes about it, worked out from sizes alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from m3leo_prep.ports.cost import Cost
from m3leo_prep.sources.asf.gssic.layout import GROUP_ROWS, HEADER_BYTES
from m3leo_prep.sources.asf.gssic.pixels import WHOLE_FROM
from m3leo_prep.sources.asf.gssic.tiles import GRID, PIXELS, Tile

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.core.raster import Item
    from m3leo_prep.sources._native import Window

NOTE = "rows of tiles are fetched once by each process, and a whole file where half of it is wanted"
GROUPS = PIXELS // GROUP_ROWS
EVERY = tuple(range(group, group + 1) for group in range(GROUPS))
"""Groups of rows of a tile that is read all, from north to south."""


def fetching(items: Sequence[Item], metrics: Collection[str], windows: Sequence[GeoBox]) -> Cost:
    """Return requests and bytes, as if those of a file were spread evenly over its rows; no time is known.

    Args:
        items: tiles in a season or an orbit.
        metrics: names of the files that are wanted of each.
        windows: what is read; none = all.
    """
    wanted = [GRID.window(geobox) for geobox in windows]
    looks = {name: _looks(name, wanted) for name in {str(item.properties["tile"]) for item in items}}
    requests = total = unknown = 0
    for item in items:
        for size in (int(item.properties[metric]) for metric in metrics if metric in item.properties):
            more, some = of_file(size, looks[str(item.properties["tile"])])
            requests, total, unknown = requests + more, total + some, unknown + (size == 0 and more > 0)
    said = f"{unknown:,} files are of unknown size and are not in the download: a list of names does not say it"
    return Cost(requests, total, notes=(NOTE, said) if unknown else (NOTE,))


def of_file(size: int, looks: Iterable[range]) -> tuple[int, int]:
    """Return requests and bytes of one file of ``size`` bytes, from which some groups of rows are wanted in turn."""
    requests, spent, there = 0, 0, set[int]()
    for look in looks:
        missing = set(look) - there
        if not missing:
            continue
        if not requests:
            requests, spent = 1, min(HEADER_BYTES, size)
        requests += 1
        rows = size * len(missing) // GROUPS
        if size and spent + rows >= WHOLE_FROM * size:
            return requests, spent + size
        spent += rows
        there |= missing
    return requests, spent


def _looks(name: str, wanted: Sequence[Window]) -> Sequence[range]:
    """Return the groups of rows of a tile that each window wants, if any."""
    if not wanted:
        return EVERY
    tile = Tile.named(name)
    assert tile is not None
    found = []
    for window in wanted:
        place = tile.window(window)
        inside = window.within(place)
        if not inside.is_empty:
            found.append(
                range((inside.row0 - place.row0) // GROUP_ROWS, (inside.row1 - place.row0 - 1) // GROUP_ROWS + 1)
            )
    return found

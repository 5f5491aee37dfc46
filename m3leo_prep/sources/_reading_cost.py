"""What reading windows of files takes, from what is known before any is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from m3leo_prep.core.raster import Item
from m3leo_prep.ports.cost import Cost

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

BLOCK = 512
"""Pixels along a block, as most COGs have it."""
PIXEL_BYTES = 4.0
"""Of a pixel, where nothing is known of the file: float32 that does not compress."""
HEADER_REQUESTS = 1
NOTE = "bytes are those of the blocks that windows touch"


def reading(
    windows: Sequence[GeoBox],
    items: Sequence[Item],
    files: Sequence[str],
    *,
    pitch: float,
    block: int = BLOCK,
    pixel_bytes: float = PIXEL_BYTES,
) -> Cost:
    """Return requests and bytes of reading windows of files, as if each block were fetched once for each window.

    A window of n pixels touches (n - 1) / block + 1 blocks along an axis, on average over where it lies.

    Args:
        windows: in a projection in metres, or in degrees.
        items: scenes; those that a window does not meet are not read for it.
        files: names of the files that are read of each: an item that has one says so by ``url_NAME``.
        pitch: metres of a pixel of the files.
        block: pixels along their blocks.
        pixel_bytes: of a pixel, compressed.
    """
    import shapely

    from m3leo_prep.sources.local.header import pixel_metres
    from m3leo_prep.sources.local.outline import footprint

    if not windows or not items:
        return Cost()
    tree = shapely.STRtree([item.footprint for item in items])
    requests, total = 0.0, 0.0
    opened: set[tuple[int, str]] = set()
    for window in windows:
        wide, high = pixel_metres(window)
        rows, cols = (n * step / pitch for n, step in zip(window.shape, (high, wide), strict=True))
        blocks = ((rows - 1) / block + 1) * ((cols - 1) / block + 1)
        for number in tree.query(footprint(window), predicate="intersects"):
            for name in files:
                if f"url_{name}" in items[number].properties:
                    requests += blocks
                    total += blocks * block**2 * pixel_bytes
                    opened.add((int(number), name))
    return Cost(round(requests) + HEADER_REQUESTS * len(opened), round(total), notes=(NOTE,))

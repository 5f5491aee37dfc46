"""What reading images takes, and what a person should know of those that were found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import shapely

from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources._backscatter import gaps
from m3leo_prep.sources.copernicus.grd.options import Options

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.ports.cost import Cost

BLOCK = 512
"""Pixels along what is compressed together in a COG."""
SIDE = (25_000, 16_700)
"""Pixels of a usual image, along range and azimuth."""
TYPICAL = 750_000_000
"""Bytes of an image where the catalogue tells none: of S1C_IW_GRDH_1SDV_20250327T154419 as COG."""
BESIDE = 3_100_000
"""Bytes of annotation, calibration and noise of a polarisation: of S1A_IW_GRDH_1SDV_20210119T031653."""
MANIFEST = 25_000
TILT = 1.5
"""Area of the upright box, in the image, around a window that lies slanted in it, over that of the window."""
NOTE = "bytes are those of the blocks that windows touch, from the files' sizes"


def estimate(options: Options, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
    """Return requests and bytes of reading windows in slots; metadata only.

    A window of n pixels touches (n - 1) / block + 1 blocks along an axis, on average over where it lies. Images that
    are no COG are stored by lines: all of each line is read.
    """
    from m3leo_prep.sources.copernicus.service.volume import estimated
    from m3leo_prep.sources.local.outline import footprint

    here = [item for item in items if any(slot.contains(item.datetime) for slot in slots)]
    tree = shapely.STRtree([item.footprint for item in here])
    # By image, the blocks that are read of its whole number of them.
    touched: dict[int, float] = {}
    total = SIDE[0] * SIDE[1] / BLOCK**2
    for window in windows:
        lines, samples = (n * abs(window.transform.a) / 10.0 * TILT**0.5 for n in window.shape)
        blocks = ((lines - 1) / BLOCK + 1) * ((samples - 1) / BLOCK + 1)
        for number in map(int, tree.query(footprint(window), predicate="intersects")):
            read = blocks if here[number].properties["is_cog"] else lines / SIDE[1] * total
            touched[number] = touched.get(number, 0.0) + read
    n_requests, n_bytes, unknown = 0.0, 0.0, 0
    for number, blocks in touched.items():
        item = here[number]
        files = _read(options, item)
        sizes = [int(item.properties.get(f"size_{one}", 0)) for one in files]
        unknown += sizes.count(0)
        read = min(blocks, total)
        n_requests += 1 + len(files) * (4 + read)
        n_bytes += MANIFEST + len(files) * BESIDE + sum(read / total * (size or TYPICAL) for size in sizes)
    notes = (NOTE, "the catalogue tells no sizes: typical ones were taken") if unknown else (NOTE,)
    return estimated(round(n_requests), round(n_bytes), notes=notes)


def advise(options: Options, items: Sequence[Item], slots: Sequence[Slot]) -> list[str]:
    """Return warnings: directions and slots without an image, missing polarisations, images that are no COG."""
    if not items:
        return ["no image at all: Sentinel-1 has none of the wide swath there and then (`orbits:`, `relative_orbits:`)"]
    warnings = gaps(options.bands, items, slots, lambda item: str(item.properties["polarisations"]).split(), "image")
    whole = sum(not item.properties["is_cog"] for item in items)
    if whole:
        warnings.append(f"{whole:,} of {len(items):,} images are no COG: more of each file is fetched than is used")
    return warnings


def _read(options: Options, item: Item) -> list[str]:
    """Return the polarisations of an image that are read."""
    has = str(item.properties["polarisations"]).split()
    way = item.properties["orbit_direction"]
    wanted = dict.fromkeys(band.polarisation for band in options.bands if band.direction == way)
    return [one for one in wanted if one in has]

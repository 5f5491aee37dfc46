"""What reading images takes, and what a person should know of those that were found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import shapely

from m3leo_prep.core.raster import Item, Slot
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
_NAMED = 6
"""Slots that are named one by one."""
NOTE = "bytes are those of the blocks that windows touch, from the files' sizes"


def estimate(options: Options, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
    """Return requests and bytes of reading windows in slots; metadata only.

    A window of n pixels touches (n - 1) / block + 1 blocks along an axis, on average over where it lies.
    """
    from m3leo_prep.sources.copernicus.service.volume import estimated
    from m3leo_prep.sources.local.outline import footprint

    here = [item for item in items if any(slot.contains(item.datetime) for slot in slots)]
    tree = shapely.STRtree([item.footprint for item in here])
    touched: dict[int, float] = {}
    for window in windows:
        pixels = [n * abs(window.transform.a) / 10.0 * TILT**0.5 for n in window.shape]
        blocks = ((pixels[0] - 1) / BLOCK + 1) * ((pixels[1] - 1) / BLOCK + 1)
        for number in tree.query(footprint(window), predicate="intersects"):
            touched[int(number)] = touched.get(int(number), 0.0) + blocks
    total = SIDE[0] * SIDE[1] / BLOCK**2
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
    warnings = []
    for way in dict.fromkeys(band.direction for band in options.bands):
        own = [item for item in items if item.properties["orbit_direction"] == way]
        empty = [slot.label for slot in slots if not any(slot.contains(item.datetime) for item in own)]
        if not own:
            other = "descending" if way == "ascending" else "ascending"
            warnings.append(f"no {way} image at all: `orbits: [{other}]` drops its bands")
        elif empty:
            warnings.append(f"no {way} image in {_names(empty)}")
        for layer in dict.fromkeys(band.polarisation for band in options.bands if band.direction == way):
            without = [item for item in own if layer not in str(item.properties["polarisations"]).split()]
            if without:
                have = sorted({str(item.properties["polarisations"]) for item in without})
                warnings.append(
                    f"{len(without):,} of {len(own):,} {way} images have no {layer}: they have {' or '.join(have)}"
                )
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


def _names(labels: Sequence[str]) -> str:
    rest = len(labels) - _NAMED
    return ", ".join(labels) if rest <= 1 else f"{', '.join(labels[:_NAMED])} and {rest:,} more"

"""What reading images takes, and what a person should know of those that were found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import shapely

from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.ports.cost import Cost
from m3leo_prep.sources._sentinel2.bands import BANDS
from m3leo_prep.sources._sentinel2.choice import AEROSOL, CLOUDY, PITCH_BESIDE, SCL, VAPOUR, Choice
from m3leo_prep.sources._sentinel2.clouds import reach
from m3leo_prep.sources._sentinel2.granules import METADATA

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

TILE = 109_800
"""Metres along a tile (https://sentiwiki.copernicus.eu/web/s2-products)."""
BLOCK = 1024
"""Pixels along what is compressed together in 10-m bands; 640 and 192 in those of 20 and 60 m, a little less."""
BLOCKS = {10: BLOCK, 20: 640, 60: 192}
TYPICAL = {10: 110_000_000, 20: 33_000_000, 60: 3_700_000}
"""Bytes of a band by pitch, where the catalogue tells none: of S2B_MSIL2A_20240623T104619_N0510_R051_T31UFS."""
TYPICAL_BESIDE = {SCL: 2_000_000, AEROSOL: 900_000, VAPOUR: 4_000_000, CLOUDY: 5_000_000, METADATA: 55_000}
AGAIN = 1.3
"""A block is decoded by so many windows at most, with the blocks that are kept."""
HEADER_REQUESTS = 1
_PITCH = {band.code: band.pitch for band in BANDS}
_NAMED = 6
"""Slots that are named one by one."""
NOTE = "bytes are those of the blocks that windows touch, from the files' sizes"


def estimate(choice: Choice, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
    """Return requests and bytes of reading windows in slots; metadata only.

    A window of n pixels touches (n - 1) / block + 1 blocks along an axis, on average over where it lies.
    """
    from m3leo_prep.sources.local.outline import footprint

    here = [item for item in items if any(slot.contains(item.datetime) for slot in slots)]
    if not here or not windows:
        return Cost()
    tree = shapely.STRtree([item.footprint for item in here])
    touched: dict[tuple[int, str], float] = {}
    for window in windows:
        side = [n * abs(pitch) for n, pitch in zip(window.shape, (window.transform.e, window.transform.a), strict=True)]
        for number in tree.query(footprint(window), predicate="intersects"):
            for file in choice.files:
                key = int(number), file
                touched[key] = touched.get(key, 0.0) + _blocks(choice, file, side)
    n_requests, n_bytes, unknown = 0.0, 0.0, 0
    for (number, file), blocks in touched.items():
        size = int(here[number].properties.get(f"size_{file}", 0))
        unknown += size == 0
        total = math.ceil(TILE / _pitch(file) / _block(file)) ** 2
        read = min(blocks, AGAIN * total)
        n_requests += HEADER_REQUESTS + read
        n_bytes += read / total * (size or TYPICAL_BESIDE.get(file) or TYPICAL[_pitch(file)])
    images = {number for number, _ in touched}
    n_requests += len(images)
    n_bytes += len(images) * TYPICAL_BESIDE[METADATA]
    notes = (NOTE, "the catalogue tells no sizes: typical ones were taken") if unknown else (NOTE,)
    return Cost(round(n_requests), round(n_bytes), notes=notes)


def _blocks(choice: Choice, file: str, side: Sequence[float]) -> float:
    pitch, block = _pitch(file), _block(file)
    most = math.ceil(TILE / pitch / block)
    more = 2 * reach(pitch, choice.clouds.dilate) if file == choice.mask else 0
    return math.prod(min((metres / pitch + more - 1) / block + 1, most) for metres in side)


def _pitch(file: str) -> int:
    return _PITCH.get(file, PITCH_BESIDE)


def _block(file: str) -> int:
    return BLOCKS[_pitch(file)]


def advise(choice: Choice, items: Sequence[Item], slots: Sequence[Slot], *, way_out: str = "") -> list[str]:
    """Return warnings: slots without an image, processings left out, what some images lack.

    Args:
        choice: what the layer asks for.
        items: what ``find`` gave, for the whole area.
        slots: of the layer.
        way_out: what to say instead where images may have been shifted already.
    """
    if not items:
        return ["no image at all"]
    warnings = []
    empty = [slot.label for slot in slots if not any(slot.contains(item.datetime) for item in items)]
    if empty:
        warnings.append(f"no image in {_names(empty)}")
    older = sum(int(item.properties.get("older_versions", 0)) for item in items)
    if older:
        warnings.append(f"{older:,} older processings of images that are there in a newer baseline are left out")
    for file in choice.files:
        without = sum(f"url_{file}" not in item.properties for item in items)
        if without:
            what = "none of their pixels can be used" if file == choice.mask else "that band is missing there"
            warnings.append(f"{without:,} of {len(items):,} images have no {file}: {what}")
    doubtful = sum("offset_doubtful" in item.properties for item in items)
    if doubtful:
        warnings.append(
            f"of {doubtful:,} of {len(items):,} images the catalogue says that the radiometric offset is still in "
            f"the files; of some this is known to be wrong, and each is checked against its pixels{way_out}"
        )
    return warnings


def _names(labels: Sequence[str]) -> str:
    rest = len(labels) - _NAMED
    return ", ".join(labels) if rest <= 1 else f"{', '.join(labels[:_NAMED])} and {rest:,} more"

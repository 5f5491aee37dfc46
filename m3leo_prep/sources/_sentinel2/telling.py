"""What reading images takes, and what a person should know of those that were found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import shapely

from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.ports.cost import Cost
from m3leo_prep.ports.source import READ_MARGIN
from m3leo_prep.sources._sentinel2.bands import BANDS
from m3leo_prep.sources._sentinel2.choice import AEROSOL, CLOUDY, PITCH_BESIDE, SCL, VAPOUR, Choice
from m3leo_prep.sources._sentinel2.clouds import reach
from m3leo_prep.sources._sentinel2.granules import METADATA, PROBE
from m3leo_prep.sources.remote.rasters import HEAD_BYTES

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

TILE = 109_800
"""Metres along a tile (https://sentiwiki.copernicus.eu/web/s2-products)."""
BLOCKS = {10: 1024, 20: 640, 60: 192}
"""By pitch, pixels along what is compressed together in products as ESA delivers them."""
BLOCK = 1024
"""The same in copies as COG, of any pitch; Planetary Computer's are smaller, and fewer bytes come."""
TYPICAL = {10: 110_000_000, 20: 33_000_000, 60: 3_700_000}
"""Bytes of a band by pitch, where the catalogue tells none: of S2B_MSIL2A_20240623T104619_N0510_R051_T31UFS."""
TYPICAL_COG = {10: 164_000_000, 20: 41_000_000, 60: 4_600_000}
"""The same of copies as COG, without their overviews: 1.36 bytes a pixel, as in band B04 of Earth Search's
S2B_T10TFR_20231223T190950_L2A, whose blocks of 1024 x 1024 px have 1.0 to 1.6 MB."""
TYPICAL_BESIDE = {SCL: 2_000_000, AEROSOL: 900_000, VAPOUR: 4_000_000, CLOUDY: 5_000_000, METADATA: 55_000}
AGAIN = 1.3
"""A block is decoded by so many windows at most, with the blocks that are kept."""
MARGIN = 2 * (READ_MARGIN + 1)
"""Pixels by which a window is longer than what is asked for."""
_PITCH = {band.code: band.pitch for band in BANDS}
_NAMED = 6
"""Slots that are named one by one."""
NOTE = "bytes are those of the blocks that windows touch, from the files' sizes"
WITHOUT_SIZES = "the catalogue tells no sizes: typical ones were taken"
WITHOUT_INDEX = "JPEG 2000 of older baselines has no index: a few windows of a file take some times as many bytes"
"""Blocks are searched until their places are known: 1.8 to 5 times in T31TDH of 2018, half of which is empty. Those of
today have one (https://github.com/OSGeo/gdal/issues/14516)."""


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
        blocks = {(file, cog): _blocks(choice, file, side, cog=cog) for file in choice.files for cog in (True, False)}
        for number in tree.query(footprint(window), predicate="intersects").tolist():
            for file in choice.files:
                if f"url_{file}" in here[number].properties:
                    more = blocks[file, _is_cog(here[number], file)]
                    touched[number, file] = touched.get((number, file), 0.0) + more
    n_requests, n_bytes, unknown = 0.0, 0.0, False
    for (number, file), n_blocks in touched.items():
        total = _total(file, cog=_is_cog(here[number], file))
        size, is_typical = _size(here[number], file)
        read = min(n_blocks, AGAIN * total)
        n_requests += 1 + read
        n_bytes += min(HEAD_BYTES, size) + read / total * size
        unknown |= is_typical
    for number in {number for number, _ in touched}:
        # Its own metadata, and where its offset is doubted two files as a whole.
        n_requests += 1
        n_bytes += TYPICAL_BESIDE[METADATA] if f"url_{METADATA}" in here[number].properties else 0
        if "offset_doubtful" in here[number].properties:
            n_requests += sum(1 + _total(file, cog=_is_cog(here[number], file)) for file in (PROBE, SCL))
            n_bytes += sum(_size(here[number], file)[0] for file in (PROBE, SCL))
    is_jpeg = not all(_is_cog(here[number], file) for number, file in touched)
    notes = (NOTE, *([WITHOUT_SIZES] if unknown else []), *([WITHOUT_INDEX] if is_jpeg else []))
    return Cost(round(n_requests), round(n_bytes), notes=notes)


def _blocks(choice: Choice, file: str, side: Sequence[float], *, cog: bool) -> float:
    """Return how many blocks of a file a window touches, on average over where it lies."""
    pitch, block = _pitch(file), _block(file, cog=cog)
    most = math.ceil(TILE / pitch / block)
    more = MARGIN + (2 * reach(pitch, choice.clouds.dilate) if file == choice.mask else 0)
    return math.prod(min((metres / pitch + more - 1) / block + 1, most) for metres in side)


def _size(item: Item, file: str) -> tuple[int, bool]:
    """Return the bytes of a file, and whether they are typical ones, for want of what the catalogue tells."""
    told = int(item.properties.get(f"size_{file}", 0))
    typical = TYPICAL_COG if _is_cog(item, file) else TYPICAL
    return told or TYPICAL_BESIDE.get(file) or typical[_pitch(file)], not told


def _total(file: str, *, cog: bool) -> float:
    """Return how many blocks a file has, those at its edges by the part of them that is there."""
    return (TILE / _pitch(file) / _block(file, cog=cog)) ** 2


def _is_cog(item: Item, file: str) -> bool:
    return not str(item.properties.get(f"url_{file}", "")).endswith(".jp2")


def _pitch(file: str) -> int:
    return _PITCH.get(file, PITCH_BESIDE)


def _block(file: str, *, cog: bool) -> int:
    return BLOCK if cog else BLOCKS[_pitch(file)]


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
    most = choice.clouds.max_cloud
    if empty:
        clear = "" if most is None else f" of at most {most:g} % cloud"
        warnings.append(f"no image{clear} in {_names(empty)}")
    unknown = sum("cloud_cover" not in item.properties for item in items)
    if unknown and most is not None:
        warnings.append(f"of {unknown:,} of {len(items):,} images nobody tells the cloud: `max_cloud` leaves none out")
    older = sum(int(item.properties.get("older_versions", 0)) for item in items)
    if older:
        warnings.append(f"{older:,} older processings of images that are there in a newer baseline are left out")
    for file in choice.files:
        without = sum(f"url_{file}" not in item.properties for item in items)
        if without:
            is_mask = file in map(choice.mask_of, choice.variables)
            what = "none of their pixels can be used" if is_mask else "that band is missing there"
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

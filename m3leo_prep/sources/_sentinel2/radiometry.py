"""What the numbers of one image's files mean: its own metadata decide, and where there are none its baseline."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from m3leo_prep.core.errors import CorruptError, NoData, TooLarge
from m3leo_prep.sources._native import Window
from m3leo_prep.sources._sentinel2.bands import Level
from m3leo_prep.sources._sentinel2.baselines import NODATA, OFFSET, Radiometry, by_baseline, by_metadata
from m3leo_prep.sources._sentinel2.granules import METADATA, PROBE
from m3leo_prep.sources.remote import files, rasters

if TYPE_CHECKING:
    from m3leo_prep.core.raster import Item
    from m3leo_prep.sources.remote.access import Access

DARKEST = 800.0
"""Number at the first percentile of a whole tile below which the offset of -1000 is not in it any more: reflectance
would be below -0.02 there."""
_AMAZON = re.compile(r"https://(?P<bucket>[a-z0-9.-]+)\.s3\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<key>[^?]+)$")
_LIMIT = 16 * 2**20
"""Bytes of a metadata file; a product's has 55 kB."""


def radiometry_of(item: Item, level: Level, access: Access) -> Radiometry:
    """Return what the numbers of an image's files mean.

    Raises:
        CorruptError: what is said of the offset does not fit together, or does not fit the pixels.
        TransientError, CredentialsError: from reading its metadata.
    """
    said = item.properties
    stated = said.get("stated_offset")
    return _radiometry(
        item.id,
        level,
        str(said["processing_baseline"]),
        address(item, METADATA, access),
        None if stated is None else float(stated),
        bool(said.get("offset_taken_away")),
        address(item, PROBE, access) if said.get("offset_doubtful") else "",
        access,
    )


def address(item: Item, file: str, access: Access) -> str:
    """Return where a file of an image is read; empty if the image has none.

    Without keys of the object store, the product's files are read by https, each under its own path. A bucket of
    Amazon's that the catalogue names by its host is read as a bucket.
    """
    url = str(item.properties.get(f"url_{file}", ""))
    bucket = _AMAZON.match(url)
    if bucket and bucket["region"] == access.region:
        return f"s3://{bucket['bucket']}/{bucket['key']}"
    root = str(item.properties.get("nodes", ""))
    if access.keys is not None or access.auth is None or not root or not url.startswith("s3://"):
        return url
    parts = url.split("/")
    product = next((number for number, part in enumerate(parts) if part.endswith(".SAFE")), None)
    if product is None:
        return url
    return root + "".join(f"/Nodes({part})" for part in parts[product:]) + "/$value"


@lru_cache(maxsize=4096)
def _radiometry(
    name: str,
    level: Level,
    baseline: str,
    metadata: str,
    stated: float | None,
    taken_away: bool,  # noqa: FBT001
    probe: str,
    access: Access,
) -> Radiometry:
    # What the catalogue states beside the metadata is not asked: the Data Space states one offset for all its assets,
    # also for those that have none.
    if metadata:
        own = by_metadata(_metadata(name, metadata, access), level, baseline, where=name)
        found = own.taken_away() if taken_away else own
    else:
        found = by_baseline(baseline, stated, taken_away=taken_away, where=name)
    if probe:
        _check_pixels(name, probe, access)
    return found


def _metadata(name: str, where: str, access: Access) -> bytes:
    try:
        return files.whole(where, access, limit=_LIMIT)
    except (NoData, TooLarge) as error:
        raise CorruptError(f"its metadata cannot be read: {error.message}", where=name) from error


def _check_pixels(name: str, probe: str, access: Access) -> None:
    """Raise if the pixels deny that their offset is still to be added."""
    raster = rasters.open_remote(probe, access)
    numbers = raster.read(Window(0, raster.shape[0], 0, raster.shape[1]))
    there = numbers[numbers != NODATA]
    darkest = float(np.percentile(there, 1)) if there.size else DARKEST
    if darkest < DARKEST:
        raise CorruptError(
            f"the catalogue says that the radiometric offset of {OFFSET:g} is still in the files, their pixels say "
            f"that it is not: 1 % of {PROBE} is at {darkest:.0f} or below",
            where=name,
            hint="leave the image out, or take another collection: `collection: sentinel-2-c1-l2a`",
        )

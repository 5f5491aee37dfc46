"""What the numbers of one image's files mean: its own metadata decide, and where there are none its baseline."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from m3leo_prep.core.errors import CorruptError, NoData, TooLarge
from m3leo_prep.sources._native import Window
from m3leo_prep.sources._sentinel2.bands import Level
from m3leo_prep.sources._sentinel2.baselines import NODATA, OFFSET, Radiometry, by_baseline, by_metadata, check_stated
from m3leo_prep.sources._sentinel2.choice import SCL
from m3leo_prep.sources._sentinel2.granules import METADATA, PROBE
from m3leo_prep.sources.remote import files, rasters

if TYPE_CHECKING:
    from m3leo_prep.core.raster import Item
    from m3leo_prep.sources.remote.access import Access

DARK = (2, 3, 4, 6)
"""Classes of the scene classification whose coastal aerosol is dark: topographic shadow, cloud shadow, vegetation,
water."""
DARKEST = 800.0
"""Number at the first percentile of those below which the offset of -1000 is not in it any more: reflectance would be
below -0.02 there. With the offset taken away, it is above that only where nothing of them is darker than 0.08."""
ENOUGH = 100
"""Pixels of 60 m without which they tell nothing: a desert, ice, or a sky full of cloud."""
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
    return _radiometry(
        item.id,
        level,
        str(said["processing_baseline"]),
        address(item, METADATA, access),
        tuple(map(float, str(said.get("stated_offset", "")).split())),
        bool(said.get("offset_taken_away")),
        tuple(address(item, file, access) for file in (PROBE, SCL)) if said.get("offset_doubtful") else (),
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
    stated: tuple[float, ...],
    taken_away: bool,  # noqa: FBT001  said by name
    probes: tuple[str, ...],
    access: Access,
) -> Radiometry:
    if metadata:
        own = by_metadata(_metadata(name, metadata, access), level, baseline, where=name)
        # The Data Space states -1000 of all its images, also of those that have none:
        # https://github.com/eu-cdse/eometadatatool, stac/sentinel-2-l2a/template/stac_s2l2a.py
        told = () if stated == (OFFSET,) else stated
        check_stated(own, told, "the product's metadata", taken_away=taken_away, where=name)
        found = own.taken_away() if taken_away else own
    else:
        found = by_baseline(baseline, stated, taken_away=taken_away, where=name)
    if probes:
        _check_pixels(name, probes[0], probes[1], access)
    return found


def _metadata(name: str, where: str, access: Access) -> bytes:
    try:
        return files.whole(where, access, limit=_LIMIT)
    except (NoData, TooLarge) as error:
        raise CorruptError(f"its metadata cannot be read: {error.message}", where=name) from error


def _check_pixels(name: str, probe: str, classes: str, access: Access) -> None:
    """Raise unless the pixels confirm that their offset is still to be added.

    Args:
        name: of the image.
        probe: address of a band, which is asked where the ground is dark.
        classes: address of the scene classification, which tells where.
        access: how both are opened.
    """
    said = f"the catalogue says that the radiometric offset of {OFFSET:g} is still in the files"
    darkest = _darkest(probe, classes, access) if probe and classes else math.nan
    if darkest >= DARKEST:
        return
    seen = f"their pixels say that it is not: over plants, water and shadow 1 % of {PROBE} is at {darkest:.0f} or below"
    raise CorruptError(
        f"{said}, which is known to be wrong of some, and no plants, water or shadow in it tell"
        if math.isnan(darkest)
        else f"{said}, {seen}",
        where=name,
        hint="leave the image out, or take another collection: `collection: sentinel-2-c1-l2a`",
    )


@lru_cache(maxsize=4096)
def _darkest(probe: str, classes: str, access: Access) -> float:
    """Return the first percentile of a band in the pixels whose middle is of a dark class; NaN if they are too few."""
    wanted = [rasters.open_remote(where, access) for where in (probe, classes)]
    whole = [(one, 1, Window(0, one.shape[0], 0, one.shape[1])) for one in wanted]
    numbers, codes = rasters.read_many(whole)
    rows, cols = ((2 * np.arange(n) + 1) * m // (2 * n) for n, m in zip(numbers.shape, codes.shape, strict=True))
    dark = numbers[np.isin(codes[np.ix_(rows, cols)], DARK) & (numbers != NODATA)]
    return float(np.percentile(dark, 1)) if dark.size >= ENOUGH else math.nan

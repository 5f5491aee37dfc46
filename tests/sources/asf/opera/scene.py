"""A hill in two bursts of each of two passes: granules of OPERA RTC-S1 over 9 E, 49.5 N."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.testing.earthdata.files import opera

HERE = box(8.98, 49.44, 9.06, 49.50)
ZONE = "EPSG:32632"
NEXT_ZONE = "EPSG:32631"
UPPER = GeoBox((260, 400), Affine(30, 0, 496_020, 0, -30, 5_485_020), ZONE)
LOWER = GeoBox((260, 400), Affine(30, 0, 496_020, 0, -30, 5_480_010), ZONE)
CHIP = GeoBox((224, 224), Affine(20.0, 0.0, 500_000.0, 0.0, -20.0, 5_482_000.0), ZONE)
FIRST, SECOND = datetime(2020, 6, 3, 17, 16, 20, tzinfo=UTC), datetime(2020, 6, 15, 17, 16, 20, tzinfo=UTC)
MORNING = datetime(2020, 6, 8, 5, 42, 7, tzinfo=UTC)
DONE = datetime(2023, 9, 1, tzinfo=UTC)
TRACKS = {"ascending": 15, "descending": 66}


def power(geobox, seed=0, mean=0.08):
    """Return speckle of four looks."""
    return np.random.default_rng(seed).gamma(4.0, mean / 4, tuple(geobox.shape)).astype(np.float32)


def clear(geobox):
    """Return a mask that discards nothing."""
    return np.zeros(tuple(geobox.shape), np.uint8)


def burst(
    folder,
    geobox=UPPER,
    *,
    number=31_415,
    start=FIRST,
    direction="ascending",
    orbit=32_860,
    images=None,
    mask=None,
    processed=DONE,
    platform="S1A",
    footprint=None,
):
    """Return the granule of one burst, with VV and VH if nothing else is said."""
    if images is None:
        images = {"VV": power(geobox, number), "VH": power(geobox, number + 1, 0.02)}
    return opera.rtc(
        folder,
        geobox,
        images,
        clear(geobox) if mask is None else mask,
        burst=f"T{TRACKS[direction]:03}-{number:06}-IW2",
        start=start,
        processed=processed,
        direction=direction,
        orbit=orbit,
        platform=platform,
        footprint=footprint,
    )

"""Sentinel-2: what is one acquisition, and which of an image's processings is taken.

Properties: https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED#image-properties
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from m3leo_prep.core.errors import SourceError
from m3leo_prep.sources.gee.finding.listed import Listed

SCORES = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
"""Its images have the names of those they score; not all are scored yet
(https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_CLOUD_SCORE_PLUS_V1_S2_HARMONIZED)."""
CLOUDS = "CLOUDY_PIXEL_PERCENTAGE"
PROPERTIES = ("DATATAKE_IDENTIFIER", "MGRS_TILE", "PROCESSING_BASELINE", "PRODUCT_ID", "DATASTRIP_ID", CLOUDS)
_BASELINE = {"DATATAKE_IDENTIFIER": r"_N(\d\d)\.(\d\d)$", "PRODUCT_ID": r"_N(\d\d)(\d\d)_"}
"""Other properties that tell it, and how."""


def datatake(image: Listed) -> str:
    """Return the identifier of the data take without its baseline: all tiles and processings of a pass share it."""
    given = str(image.properties.get("DATATAKE_IDENTIFIER", ""))
    return re.sub(r"_N\d\d\.\d\d$", "", given) or image.index.rpartition("_T")[0]


def tile(image: Listed) -> str:
    """Return the tile, such as 31UGR."""
    return str(image.properties.get("MGRS_TILE", "")) or image.index.rpartition("_T")[2]


def baseline(image: Listed) -> str:
    """Return the processing baseline, such as 05.09, as a property says it; never guessed from a date.

    Raises:
        SourceError: no property says it.
    """
    given = image.properties.get("PROCESSING_BASELINE")
    if isinstance(given, (int, float)):
        return f"{given:05.2f}"
    if given and re.fullmatch(r"\d\d\.\d\d", str(given)):
        return str(given)
    for name, pattern in _BASELINE.items():
        found = re.search(pattern, str(image.properties.get(name, "")))
        if found:
            return f"{found[1]}.{found[2]}"
    raise SourceError(
        "its properties do not say the processing baseline",
        where=image.id,
        hint="leave such images out: `filters: {PROCESSING_BASELINE: [...]}` with those you want",
    )


def newest(images: Sequence[Listed]) -> list[tuple[Listed, int]]:
    """Return the images to be used, each with the number of others of the same data take and tile that it stands for.

    Of several processings, the highest baseline is taken. A tile of a data take may come in two parts, where a data
    strip ends: with the same baseline, both are kept; of one part that is there twice, the last.
    """
    groups: dict[tuple[str, str], list[Listed]] = {}
    for image in images:
        groups.setdefault((datatake(image), tile(image)), []).append(image)
    kept: dict[str, int] = {}
    for group in groups.values():
        highest = max(map(baseline, group))
        parts = {_strip(image): image for image in group if baseline(image) == highest}
        for number, image in enumerate(parts.values()):
            kept[image.id] = 0 if number else len(group) - len(parts)
    return [(image, kept[image.id]) for image in images if image.id in kept]


def _strip(image: Listed) -> str:
    """Return when the data strip's sensing began, or the image itself if nothing tells."""
    found = re.search(r"_S(\d{8}T\d{6})_", str(image.properties.get("DATASTRIP_ID", "")))
    return found[1] if found else image.footprint.wkt

"""Sentinel-2 of Earth Engine: reflectance without clouds.

In the harmonised collections the offset of processing baseline 04.00 is taken away already
(https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED): it is not applied again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from m3leo_prep.core.raster import Item, Kind
from m3leo_prep.sources.gee.choice import Choice, Quantity
from m3leo_prep.sources.gee.reading.composite import first_band, kernel, numbers, observed, sent_bands, statistic
from m3leo_prep.sources.gee.reading.conversion import CODES
from m3leo_prep.sources.gee.reading.requests import Band
from m3leo_prep.sources.gee.reading.stacks import Stack, load, sampled, select

if TYPE_CHECKING:
    import ee

SCORES = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
"""Cloud Score+, by the index of the image in both Sentinel-2 collections
(https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_CLOUD_SCORE_PLUS_V1_S2_HARMONIZED)."""
SCORE = "cs_cdf"
UNKNOWN = -1
"""Score of an image without one: it is not known to be clear, whatever is asked for."""
CLOUD_BITS = 1 << 10 | 1 << 11
"""Of QA60: opaque clouds and cirrus."""


def stacks(choice: Choice, items: Sequence[Item]) -> list[Stack]:
    """Return a stack for each quantity, and that of what was observed where clouds are discarded.

    Reflectance is sent as the asset's own numbers; what is above 32 766 is sent as 32 767, which is out of range.
    """
    found = []
    own = _load(choice)
    for quantity in choice.quantities:
        bands = sent_bands(choice, quantity)
        if quantity.variable.kind is Kind.REFLECTANCE and quantity.dtype == "uint16" and choice.statistic != "count":
            bands = tuple(Band(band.name, "int16", -32_768) for band in bands)
        found.append(Stack(bands, tuple(items), own, _look(choice, quantity), statistic(choice, quantity)))
    if choice.cloud == "none":
        return found

    def seen(image: ee.Image) -> ee.Image:
        there = first_band(choice.quantities[0], image)
        return there.updateMask(_is_data(image)) if choice.cloud == "scl" else there

    return [*found, observed(items, own, seen)]


def _load(choice: Choice) -> Callable[[Item], ee.Image]:
    """Return what loads an item's image, with its score where that decides."""

    def with_score(item: Item) -> ee.Image:
        import ee

        image = load(item)
        if not item.properties.get("has_score"):
            return image.addBands(ee.Image.constant(UNKNOWN).rename(SCORE))
        return image.addBands(ee.Image(f"{SCORES}/{item.id.rpartition('/')[2]}").select(SCORE))

    return with_score if choice.cloud == "cloud_score" else load


def _look(choice: Choice, quantity: Quantity) -> Callable[[ee.Image], ee.Image]:
    def look(image: ee.Image) -> ee.Image:
        values = sampled(numbers(image, quantity), kernel(choice, quantity))
        if quantity.variable.kind in CODES or choice.cloud == "none":
            return values
        # On the lattice, by nearest: before resampling, a 60-m band would see the 20-m classes through a pyramid.
        return values.updateMask(_is_clear(choice, image))

    return look


def _is_data(image: ee.Image) -> ee.Image:
    """Return 1 where the scene classification says anything but no data; never masked inside the image."""
    return select(image, ["SCL"]).unmask(0).neq(0)


def _is_clear(choice: Choice, image: ee.Image) -> ee.Image:
    """Return 1 where a pixel may be used by the rule, else 0: also where the rule says nothing."""
    match choice.cloud:
        case "scl":
            hidden = [0, *choice.cloud_classes]
            return select(image, ["SCL"]).unmask(0).remap(hidden, [0] * len(hidden), 1)
        case "qa60":
            return select(image, ["QA60"]).bitwiseAnd(CLOUD_BITS).eq(0).unmask(0)
        case _:
            return select(image, [SCORE]).unmask(UNKNOWN).gte(choice.clear_from)

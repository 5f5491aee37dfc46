"""Sentinel-1 GRD of Earth Engine: backscatter by orbit direction, in linear power.

From ``COPERNICUS/S1_GRD_FLOAT``, the linear power of which ``COPERNICUS/S1_GRD`` is the logarithm
(https://developers.google.com/earth-engine/guides/sentinel1): averages of dB are no averages. Power of 0 and below is
what noise removal leaves of very dark ground, and stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import DB_FLOOR
from m3leo_prep.core.layer import Statistic
from m3leo_prep.core.raster import Item
from m3leo_prep.sources.gee.choice import Choice, Quantity
from m3leo_prep.sources.gee.reading.composite import COUNTED, Read, Sent
from m3leo_prep.sources.gee.reading.requests import Band, carrier
from m3leo_prep.sources.gee.reading.stacks import Stack, sampled, select
from m3leo_prep.sources.gee.reading.stacks import load as image_of

if TYPE_CHECKING:
    import ee

DIRECTIONS = {"asc": "ascending", "desc": "descending"}
"""By the end of a band's name."""
ANGLE = "angle"
"""Earth Engine's band of the incidence angle."""
RATIO = ("VV", "VH")
CLEAN_BORDERS = 2.9
"""First version of ESA's processor (IPF) whose borders are true zeros, which Earth Engine masks."""
BORDER_NOISE = 10.0**-3
"""Power, -30 dB, below which an older product's co-polarised pixel is taken for border noise."""


def stacks(choice: Choice, items: Sequence[Item]) -> list[Stack]:
    """Return a stack for each direction and set of images: a band is made of the images that have its polarisation."""
    wanted = dict.fromkeys(pair for quantity in choice.quantities for pair in _bands_of(quantity))
    groups: dict[tuple[str, ...], tuple[tuple[Item, ...], list[str]]] = {}
    found = []
    for asset, direction in wanted:
        passes = tuple(item for item in items if item.properties.get("orbit_direction") == DIRECTIONS[direction])
        if asset == ANGLE:
            found.extend(_angles(choice, passes, direction))
        else:
            having = tuple(item for item in passes if asset in polarisations(item))
            key = (direction, *(item.id for item in having))
            groups.setdefault(key, (having, []))[1].append(asset)
    for (direction, *_), (having, assets) in groups.items():
        bands = tuple(_band(choice, asset, direction) for asset in assets)
        found.append(Stack(bands, having, load, _look(choice, assets), choice.statistic))
    return found


def values(_choice: Choice, quantity: Quantity, sent: Sent) -> Read:
    """Return values (band, y, x) and where they are valid; nothing that was seen is discarded.

    The ratio is made here, in double precision, of the composites: dB of VV minus dB of VH, each at least the -50 dB as
    which such power is stored, so that it is the difference of the stored values. Of ``count`` it is the smaller one.
    """
    data, valid = [], []
    for asset, name in zip(quantity.names, quantity.variable.bands, strict=True):
        direction = _direction(name)
        if asset:
            number, there = sent(_sent_name(asset, direction))
        else:
            (co, co_there), (cross, cross_there) = (sent(_sent_name(of, direction)) for of in RATIO)
            there = co_there & cross_there
            number = _decibel(co) - _decibel(cross)
        data.append(np.where(there, number, 0).astype(np.float32))
        valid.append(there)
    return np.stack(data), np.stack(valid), None


def _decibel(power: NDArray[Any]) -> NDArray[np.float64]:
    floor = 10.0 ** (DB_FLOOR / 10)
    return np.asarray(10 * np.log10(np.maximum(power.astype(np.float64), floor)))


def _bands_of(quantity: Quantity) -> list[tuple[str, str]]:
    """Return (Earth Engine's band, end of the name) of all that a quantity is made of."""
    pairs = zip(quantity.names, quantity.variable.bands, strict=True)
    return [(asset, _direction(name)) for own, name in pairs for asset in ((own,) if own else RATIO)]


def _direction(band: str) -> str:
    return band.rpartition("_")[2]


def _sent_name(asset: str, direction: str) -> str:
    return f"{asset}_{direction}"


def _band(choice: Choice, asset: str, direction: str) -> Band:
    name = _sent_name(asset, direction)
    return Band(name, "uint16", COUNTED) if choice.statistic == "count" else carrier(name, "float32")


def polarisations(item: Item) -> list[str]:
    """Return the polarisations of an item, such as VV and VH."""
    return str(item.properties.get("polarisations", "")).split()


# -- on Earth Engine's side ----------------------------------------------------------------------------------------


def load(item: Item) -> ee.Image:
    """Return the image of an item, without the border noise of products before IPF 2.9.

    Those have low numbers instead of zeros along their borders (ESA, MPC-0243, 2015, "Masking no-value pixels on GRD
    products"). The rule is that of Earth Engine's own page of the collection: below -30 dB
    (https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S1_GRD), decided by the co-polarisation for
    both, as MPC-0243 does. It costs calm water in these products; a pixel of 2.9 and later is never touched. A product
    whose version is unknown counts as an old one.
    """
    image = image_of(item)
    co = co_polarisation(item)
    if is_clean(item) or not co:
        return image
    there = select(image, [co]).gte(BORDER_NOISE)
    return select(image, polarisations(item)).updateMask(there).addBands(select(image, [ANGLE]))


def is_clean(item: Item) -> bool:
    """Return whether the product's borders are true zeros."""
    version = re.match(r"\d+\.\d+", str(item.properties.get("ipf", "")))  # 002.84, 002.90, 003.10
    return version is not None and float(version[0]) >= CLEAN_BORDERS


def co_polarisation(item: Item) -> str:
    """Return VV or HH; nothing if the item has neither."""
    return next((name for name in polarisations(item) if name in {"VV", "HH"}), "")


def _look(choice: Choice, assets: Sequence[str]) -> Callable[[ee.Image], ee.Image]:
    return lambda image: sampled(select(image, assets), choice.kernel)


def _angles(choice: Choice, passes: tuple[Item, ...], direction: str) -> list[Stack]:
    """Return the stack of incidence angles: their mean over the passes that see the pixel in their co-polarisation.

    The angle is a grid of 20 km, interpolated whatever the kernel of the pixels is. An image without VV and HH has its
    other polarisation looked at.
    """
    statistic: Statistic = "count" if choice.statistic == "count" else "mean"
    band = _band(choice, ANGLE, direction)
    names = {item.id: co_polarisation(item) or polarisations(item)[0] for item in passes if polarisations(item)}

    def with_power(item: Item) -> ee.Image:
        image = load(item)
        return select(image, [ANGLE]).addBands(select(image, [names[item.id]]).rename(["power"]))

    def look(image: ee.Image) -> ee.Image:
        seen = sampled(select(image, ["power"]), choice.kernel).mask()
        return sampled(select(image, [ANGLE]), "bilinear").updateMask(seen)

    return [Stack((band,), tuple(item for item in passes if item.id in names), with_power, look, statistic)]

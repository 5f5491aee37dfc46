"""Images of a slot become one on Earth Engine's side, on our lattice; what is said here holds for every family.

Each image is masked and resampled first: ``resample()`` "cannot be used on composites"
(https://developers.google.com/earth-engine/apidocs/ee-image-resample), and without it the nearest pixel is taken,
silently (https://developers.google.com/earth-engine/guides/resample). Then the tiles of an acquisition are laid side by
side, then the acquisitions of the window's own zone become one image by the statistic, and those of neighbour zones
another, which only fills what the first does not cover.

Images are loaded by id, in the order of the plan: a resumed build sees the same ones, and a pixel is made of the same
images in the same order whatever window it is asked for in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.layer import Statistic
from m3leo_prep.core.raster import Item
from m3leo_prep.sources.gee.choice import Kernel
from m3leo_prep.sources.gee.reading.requests import Band

if TYPE_CHECKING:
    import ee
    from odc.geo.geobox import GeoBox

HALF = 0.5
"""Least valid weight of a kernel, as in ``ops.warp``: Earth Engine says it as a fractional mask."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Bands that the same images give in the same way."""

    bands: tuple[Band, ...]
    """As they are sent, of one dtype."""
    items: tuple[Item, ...]
    """The images that have them, in the order of the plan."""
    load: Callable[[Item], ee.Image]
    look: Callable[[ee.Image], ee.Image]
    """What one image gives on the lattice: as many bands, in order, masked where it has no value."""
    statistic: Statistic


def together(stacks: Sequence[Stack], lattice: GeoBox) -> ee.Image:
    """Return one image with the bands of all stacks, each composited."""
    import ee

    crs = f"EPSG:{lattice.crs.epsg}" if lattice.crs is not None else ""
    image: ee.Image = ee.Image.cat([composite(stack, crs) for stack in stacks])
    return image


def composite(stack: Stack, crs: str) -> ee.Image:
    """Return the composite of a stack; images in ``crs`` are its own zone's, others only fill."""
    own = [item for item in stack.items if item.properties.get("crs") == crs]
    others = [item for item in stack.items if item.properties.get("crs") != crs]
    image, *fill = [_reduced(stack, part) for part in (own, others) if part]
    if fill:
        image = image.unmask(fill[0], sameFootprint=False)  # beyond the own zone's outline too
    return within(image, stack.bands)


def within(image: ee.Image, bands: Sequence[Band]) -> ee.Image:
    """Return numbers that fit the bands' one dtype: only what is no number may become the one that says so."""
    dtype = np.dtype(bands[0].dtype)
    if dtype.kind not in "iu":
        return image
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    missing = {band.missing for band in bands}
    fitting: ee.Image = image.round().clamp(low + (low in missing), high - (high in missing))
    return fitting


def _reduced(stack: Stack, items: Sequence[Item]) -> ee.Image:
    """Return what the acquisitions of one zone make together."""
    passes = _acquisitions(items)
    if stack.statistic == "first":
        passes.reverse()
    # A mosaic shows its last image on top (https://developers.google.com/earth-engine/guides/ic_composite_mosaic); of
    # tiles the first keeps its place, as in ``ops.composite``. One tile alone is its own mosaic.
    if len(passes) == len(items):
        collection = _looks(stack, [tile for tiles in passes for tile in tiles])
    else:
        collection = _collection([_looks(stack, tiles[::-1]).mosaic() for tiles in passes])
    image = reduced(collection, stack.statistic, len(passes))
    return image.rename([band.name for band in stack.bands])


def _looks(stack: Stack, items: Iterable[Item]) -> ee.ImageCollection:
    looks: ee.ImageCollection = _collection([stack.load(item) for item in items]).map(stack.look)
    return looks


def _collection(images: Iterable[ee.Image]) -> ee.ImageCollection:
    import ee

    collection: ee.ImageCollection = ee.ImageCollection(list(images))
    return collection


def _acquisitions(items: Iterable[Item]) -> list[list[Item]]:
    """Return the items of each acquisition, in order of their first item."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.acquisition or item.id, []).append(item)
    return list(groups.values())


def reduced(collection: ee.ImageCollection, statistic: Statistic, n: int) -> ee.Image:
    """Return one image of a collection of at most ``n``; for ``first`` and ``last`` the last one lies on top."""
    import ee

    match statistic:
        case "mean":
            return collection.mean()
        case "min":
            return collection.min()
        case "max":
            return collection.max()
        case "first" | "last":
            return collection.mosaic()
        case "count":
            count = collection.count()
            return count.updateMask(count.gt(0))
        case "median":
            # Which of the two middle values of an even number is taken, or their mean, the public pages do not say:
            # that of the negatives is the same one from the other side, and the mean of both is exact in any case. Up
            # to `maxRaw` values no histogram is made, https://developers.google.com/earth-engine/apidocs/ee-reducer-median.
            exact: ee.Reducer = ee.Reducer.median(maxRaw=n)
            negative: ee.ImageCollection = collection.map(lambda image: image.multiply(-1))
            return collection.reduce(exact).subtract(negative.reduce(exact)).divide(2)
        case "medoid" | "least_cloudy":
            raise ConfigError(f"statistic: Earth Engine's side has no '{statistic}'")


def sampled(image: ee.Image, kernel: Kernel) -> ee.Image:
    """Return an image, in its own pixels until here, as the kernel samples it: valid where half of its weight is.

    Between a valid and a masked pixel an interpolated mask is a fraction, and a reducer would take that for a weight
    (https://developers.google.com/earth-engine/guides/reducers_weighting): it becomes a yes or a no.
    """
    if kernel != "nearest":
        image = image.resample(kernel)
    return image.mask(image.mask().gte(HALF))


def select(image: ee.Image, names: Iterable[str]) -> ee.Image:
    """Return some bands of an image."""
    chosen: ee.Image = image.select(list(names))
    return chosen


def load(item: Item) -> ee.Image:
    """Return the image of an item."""
    import ee

    image: ee.Image = ee.Image(item.id)
    return image

"""Pixels of one window in one slot: read, align, composite. The same code builds, verifies and explains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import Item, Raster, Slot
from m3leo_prep.ops.composite import Composite, Look, Mosaic
from m3leo_prep.ops.warp import Method, warp
from m3leo_prep.ports.source import Source

MOSAICS = frozenset({"first", "last"})


@dataclass(slots=True)
class Derived:
    """What one window holds in one slot."""

    looks: dict[str, Look | None]
    """Per variable the composite, (band, y, x) over the whole window; None if nothing was there."""
    used: list[tuple[Item, NDArray[np.bool_]]] = field(default_factory=list)
    """Each item that gave pixels, with (rows, columns) of the chips it gave pixels to."""
    damaged: list[str] = field(default_factory=list)
    """Messages of items that could not be read."""


def derive(
    source: Source, layer: Layer, items: Sequence[Item], geobox: GeoBox, slot: Slot, *, skip_damaged: bool = False
) -> Derived:
    """Return the pixels of a window.

    Args:
        source: where the items' pixels come from.
        layer: what to make of them.
        items: those of this slot that may reach the window, in the source's order.
        geobox: the window on the layer's lattice; a whole number of chips.
        slot: the slot.
        skip_damaged: go on without a damaged item (noted in ``damaged``) instead of raising.

    Raises:
        CorruptError: an item is damaged and ``skip_damaged`` is false.
        TransientError, TooLarge: from the source.
    """
    result = Derived({array.variable.name: None for array in layer.arrays})
    mosaics = {array.variable.name: Mosaic() for array in layer.arrays if array.statistic in MOSAICS}
    composites = {
        array.variable.name: Composite(array.statistic) for array in layer.arrays if array.statistic not in MOSAICS
    }
    chips: dict[str, tuple[Item, NDArray[np.bool_]]] = {}
    for tiles in _by_acquisition(items, last_first=all(a.statistic == "last" for a in layer.arrays)):
        passes = {name: Mosaic() for name in composites}
        for item in tiles:
            try:
                rasters = list(source.read([item], geobox, slot))
            except CorruptError as error:
                if not skip_damaged:
                    raise
                result.damaged.append(str(error))
                continue
            for raster in rasters:
                array = _array(layer, raster)
                own = raster.geobox.crs == geobox.crs
                mosaic = mosaics.get(raster.variable) or passes[raster.variable]
                shown = mosaic.add(_align(raster, array, geobox), own=own)
                here = _any_per_chip(shown, layer.size)
                if here.any():
                    before = chips.get(item.id)
                    chips[item.id] = (item, here if before is None else before[1] | here)
        for name, mosaic in passes.items():
            look = mosaic.result()
            if look is not None:
                composites[name].add(look)
    result.looks |= {name: mosaic.result() for name, mosaic in mosaics.items()}
    result.looks |= {name: composite.result() for name, composite in composites.items()}
    result.used = list(chips.values())
    return result


def _by_acquisition(items: Sequence[Item], *, last_first: bool) -> Iterable[list[Item]]:
    """Return the items grouped into acquisitions, in order of each one's first item."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.acquisition or item.id, []).append(item)
    ordered = list(groups.values())
    return reversed(ordered) if last_first else ordered


def _array(layer: Layer, raster: Raster) -> Array:
    for array in layer.arrays:
        if array.variable.name == raster.variable:
            if raster.data.shape[0] != array.n_bands:
                raise ConfigError(
                    f"source gave {raster.data.shape[0]} bands of '{raster.variable}', described {array.n_bands}",
                    where=f"layer {layer.name}, item {raster.item.id}",
                )
            return array
    raise ConfigError(
        f"source gave a variable '{raster.variable}' that it did not describe",
        where=f"layer {layer.name}, item {raster.item.id}",
    )


def _align(raster: Raster, array: Array, geobox: GeoBox) -> Look:
    """Return one raster on the window's lattice."""
    method = Method(array.method)
    if method is Method.component and raster.components is None:
        raise ConfigError(
            "unwrapped phase comes without connected components, across which it must not be interpolated",
            where=f"item {raster.item.id}",
            hint="use `resampling: nearest`",
        )
    values, valid = warp(raster.data, raster.valid, raster.geobox, geobox, method, components=raster.components)
    observed = valid
    if raster.masked is not None:
        flag = raster.masked[None]
        seen, inside = warp(flag.astype(np.uint8), np.ones_like(flag), raster.geobox, geobox, Method.nearest)
        observed = valid | (inside & (seen > 0))
    return Look(values, valid, observed)


def _any_per_chip(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Return (rows, columns) of chips that have any True pixel of (band, y, x)."""
    rows, cols = mask.shape[1] // size, mask.shape[2] // size
    return np.asarray(mask.reshape(-1, rows, size, cols, size).any(axis=(0, 2, 4)))

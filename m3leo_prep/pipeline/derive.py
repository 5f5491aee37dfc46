"""Pixels of one window in one slot: read, align, composite. The same code builds, verifies and explains."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.defaults import COUNT, ONE_ITEM, is_computed, is_count, is_terrain
from m3leo_prep.core.errors import ConfigError, CorruptError, NoData
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot
from m3leo_prep.core.reasons import Reason
from m3leo_prep.ops.composite import Composite, Look, Mosaic, whole
from m3leo_prep.ops.join import Joined, join
from m3leo_prep.ops.terrain import MARGIN, horn
from m3leo_prep.ops.warp import QUADRATURE, Method, coordinate_operation, warp
from m3leo_prep.ports.faults import content_fault, number_fault, place_fault
from m3leo_prep.ports.guarded import Guarded
from m3leo_prep.ports.source import Source

if TYPE_CHECKING:
    from m3leo_prep.ports.heights import Heights, OnHeights

UNMIXED = frozenset({Kind.CLASSES, Kind.BITS})
"""Kinds whose codes stay what they are."""
UNDATED = "\0"
"""Group of the tiles without date and acquisition: one mosaic."""


@dataclass(slots=True)
class Derived:
    """What one window holds in one slot."""

    looks: dict[str, Look | None]
    """Per variable the composite, (band, y, x) over the whole window; None if nothing was there."""
    used: dict[str, tuple[Item, NDArray[np.bool_]]] = field(default_factory=dict)
    """By id, each item that gave pixels, with (rows, columns) of the chips it gave pixels to. Where the source
    composites, each item is noted for all chips that got pixels."""
    damaged: list[str] = field(default_factory=list)
    """Messages of items that could not be read."""
    absent: dict[tuple[str, str], Reason] = field(default_factory=dict)
    """By variable and band, why an item does not hold it."""
    operations: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By item id, ``source CRS -> zone`` and the coordinate operation, where the two CRSs differ."""


@dataclass(frozen=True, slots=True)
class Laid:
    """One raster on its way into the result, for whoever explains it."""

    array: Array
    group: int
    """Number of the acquisition, whose rasters are laid side by side before anything is composited."""
    piece: Joined
    look: Look
    """The raster on the window's lattice."""
    shown: NDArray[np.bool_]
    """Where it showed when it was laid; what is laid later may replace it."""


def derive(
    source: Source,
    layer: Layer,
    items: Sequence[Item],
    geobox: GeoBox,
    slot: Slot,
    *,
    skip_damaged: bool = False,
    observe: Callable[[Laid], None] | None = None,
    heights: Heights | None = None,
    tells_chips: bool = True,
) -> Derived:
    """Return the pixels of a window.

    Args:
        source: where the items' pixels come from.
        layer: what to make of them.
        items: those of this slot that may reach the window, in the source's order.
        geobox: the window on the layer's lattice; a whole number of chips, unless ``tells_chips`` is False.
        slot: the slot.
        skip_damaged: go on without a damaged item (noted in ``damaged``) instead of raising.
        observe: told of every raster, in the order in which they are laid.
        heights: of the ground, for a source that needs them.
        tells_chips: note which items gave pixels to which chips.

    Raises:
        CorruptError: an item is damaged and ``skip_damaged`` is false.
        TransientError, TooLarge: from the source.
    """
    result = Derived({array.variable.name: None for array in layer.arrays})
    arrays = [array for array in layer.arrays if not is_computed(array)]
    margin = MARGIN if any(is_terrain(array) for array in layer.arrays) else 0
    if margin:
        geobox = geobox.pad(margin)
    # A source that composites has applied the statistic: what it gives is laid as one tile.
    info = source.describe()
    composited = info.composites
    laid_only = {array.variable.name for array in arrays if composited or array.statistic in ONE_ITEM}
    mosaics = {name: Mosaic() for name in sorted(laid_only)}
    composites = {a.variable.name: Composite(a.statistic) for a in arrays if a.variable.name not in laid_only}
    seen: dict[str, dict[str, NDArray[np.bool_]]] = {
        array.variable.name.removesuffix(COUNT): {} for array in layer.arrays if is_count(array)
    }
    # The order by cloud is one of images: an own-zone tile replaces only what the same image shows of another zone.
    numbers = _numbers(items) if _by_cloud(layer) else {}
    for group, tiles in enumerate([list(items)] if composited and items else _groups(items, layer)):
        passes = {name: Mosaic() for name in composites}
        together = [tiles] if composited or info.joint else [[tile] for tile in tiles]
        rasters = read_rasters(
            source, layer, together, geobox, slot, result, skip_damaged=skip_damaged, heights=heights
        )
        for array in arrays:
            name = array.variable.name
            joined = join([raster for raster in rasters if raster.variable == name])
            for piece in sorted(joined, key=lambda piece: piece.raster.geobox.crs != geobox.crs):
                own = piece.raster.geobox.crs == geobox.crs
                if not own:
                    pair = f"{crs_name(piece.raster.geobox)} -> {crs_name(geobox)}"
                    operation = coordinate_operation(piece.raster.geobox.crs, geobox.crs)
                    result.operations |= {tile.item.id: (pair, operation) for tile in piece.tiles}
                look = _align(piece.raster, array, geobox)
                mosaic = mosaics.get(name) or passes[name]
                shown = mosaic.add(look, own=own, group=numbers.get(_pass(tiles[0]), 0))
                if name in seen:
                    before = seen[name].get(_pass(tiles[0]))
                    seen[name][_pass(tiles[0])] = look.valid if before is None else before | look.valid
                if observe is not None:
                    observe(Laid(array, group, piece, _inner(look, margin), _within(shown, margin)))
                if not tells_chips:
                    continue
                if composited:
                    chips = _any_per_chip(shown, layer.size, margin)
                    for item in items:
                        before = result.used.get(item.id, (item, chips))[1]
                        result.used[item.id] = (item, chips | before)
                else:
                    _note_used(result, piece, shown, geobox, layer.size, margin)
        for name, mosaic in passes.items():
            laid = mosaic.result()
            if laid is not None:
                composites[name].add(laid)
    result.looks |= {name: mosaic.result() for name, mosaic in mosaics.items()}
    result.looks |= {name: composite.result() for name, composite in composites.items()}
    spectra = {array.variable.name for array in arrays if array.statistic == "medoid"}
    for name, valid in seen.items():
        result.looks[name + COUNT] = _counted(result.looks[name], list(valid.values()), spectra=name in spectra)
    if margin:
        (height,) = (array.variable.name for array in arrays if array.variable.kind is Kind.CONTINUOUS)
        computed = _terrain(layer, result.looks[height])
        result.looks = {name: look and _inner(look, margin) for name, look in result.looks.items()} | computed
    return result


def _counted(look: Look | None, valid: Sequence[NDArray[np.bool_]], *, spectra: bool) -> Look | None:
    """Return of how many acquisitions each pixel could be made; 0 where all that were seen are masked.

    Args:
        look: of what is counted.
        valid: by acquisition.
        spectra: only those count that have all bands.
    """
    if look is None:
        return None
    there = np.stack(valid)
    if spectra:
        there = whole(there, look.observed)[:, None]
    return Look(there.sum(axis=0, dtype=np.uint16) * look.observed, look.observed, look.observed)


def _terrain(layer: Layer, height: Look | None) -> dict[str, Look | None]:
    """Return what is computed from heights, which have a margin."""
    wanted = [array.variable.name for array in layer.arrays if is_terrain(array)]
    if height is None:
        return dict.fromkeys(wanted)
    looks: dict[str, Look | None] = {}
    inner = _inner(height, MARGIN)
    slope, aspect, defined = horn(height.values[0], height.valid[0], layer.pitch)
    for name in wanted:
        values = slope[None] if name == "slope" else aspect
        # Flat ground has no aspect: valid and no number, so that it is counted as impossible and not taken for a cloud.
        shape = values.shape
        looks[name] = Look(values, np.broadcast_to(defined, shape), np.broadcast_to(inner.observed, shape))
    return looks


def _inner(look: Look, margin: int) -> Look:
    """Return a look without its margin."""
    return Look(_within(look.values, margin), _within(look.valid, margin), _within(look.observed, margin))


def _within(values: NDArray[Any], margin: int) -> NDArray[Any]:
    return values[:, margin:-margin, margin:-margin] if margin else values


def in_groups(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return items with those of one acquisition next to each other, acquisitions in order of their first item.

    A plan's items are in this order, so that every window sees the same order whichever items reach it.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(_acquisition(item) or UNDATED, []).append(item)
    return tuple(item for group in groups.values() for item in group)


def _acquisition(item: Item) -> str:
    """Return what an item shares with the other tiles of its pass; nothing for tiles without a date."""
    return item.acquisition or ("" if item.datetime is None else item.id)


def _pass(item: Item) -> str:
    """Return what the tiles of one acquisition share, which count once."""
    return item.acquisition or item.id


def _groups(items: Sequence[Item], layer: Layer) -> Iterable[list[Item]]:
    """Return the items that make one look each: the tiles of a pass, or, in a mosaic, all tiles without a date."""
    if _by_cloud(layer):
        # By the cloud of each tile, not of what a window sees of its pass: no pixel depends on the window.
        return [[item] for item in sorted(items, key=_cloud)]
    mosaic = all(array.statistic in ONE_ITEM for array in layer.arrays)
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(_acquisition(item) or (UNDATED if mosaic else item.id), []).append(item)
    ordered = list(groups.values())
    if all(array.statistic == "last" for array in layer.arrays):
        return [group[::-1] for group in reversed(ordered)]
    return ordered


def _by_cloud(layer: Layer) -> bool:
    return any(array.statistic == "least_cloudy" for array in layer.arrays)


def _numbers(items: Sequence[Item]) -> dict[str, int]:
    """Return a number for each acquisition."""
    return {name: number for number, name in enumerate(dict.fromkeys(map(_pass, items)))}


def check_clouds(layer: Layer, items: Iterable[Item]) -> None:
    """Raise ConfigError if items are to be ordered by their cloud cover, and one does not tell it."""
    if _by_cloud(layer):
        for item in items:
            _cloud(item)


def _cloud(item: Item) -> float:
    cloud = item.properties.get("cloud_cover")
    if isinstance(cloud, str) or cloud is None or math.isnan(cloud):
        raise ConfigError(
            "the item does not tell its cloud cover, by which `statistic: least_cloudy` orders",
            where=f"item {item.id}",
            hint="use `statistic: median`, `medoid` or `first`",
        )
    return cloud


def read_rasters(
    source: Source,
    layer: Layer,
    together: Sequence[Sequence[Item]],
    geobox: GeoBox,
    slot: Slot,
    result: Derived,
    *,
    skip_damaged: bool,
    heights: Heights | None = None,
) -> list[Raster]:
    """Return the rasters of some items, asked for group by group; a damaged one is noted, or raised."""
    rasters: list[Raster] = []
    waiting = deque(together)
    while waiting:
        items = waiting.popleft()
        found: list[Raster] = []
        try:
            for given in _given(source, items, geobox, slot, heights):
                if isinstance(given, Absent):
                    named = {(given.variable, band): given.reason for band in given.bands}
                    result.absent = named | result.absent
                    continue
                _check(source, layer, items, given, geobox)
                found.append(given)
        except NoData:
            pass  # nothing there: a reason, not a failure
        except CorruptError as error:
            if not skip_damaged:
                raise
            whole = [item for item in items if item.id != error.where]
            if len(items) > len(whole) > 0:
                waiting.appendleft(whole)  # still together: frames are fitted to each other
                result.damaged.append(str(error))
                continue
            if len(items) > 1 and not source.describe().composites:
                waiting.extendleft([item] for item in reversed(items))
                continue
            result.damaged.append(str(error))
        rasters += found
    return rasters


def _given(
    source: Source, items: Sequence[Item], geobox: GeoBox, slot: Slot, heights: Heights | None
) -> Iterable[Raster | Absent]:
    if heights is None:
        return source.read(items, geobox, slot)
    # Whoever planned the layer with heights has seen that its source takes them.
    return cast("OnHeights", source).read_on_heights(items, geobox, slot, heights)


def _note_used(
    result: Derived, piece: Joined, shown: NDArray[np.bool_], geobox: GeoBox, size: int, margin: int
) -> None:
    """Note which items gave pixels to which chips or to their margins: each tile of a joined raster for itself."""
    for tile in piece.tiles:
        part = shown
        if len(piece.tiles) > 1:
            valid = np.asarray(tile.valid.any(axis=0, keepdims=True))
            there, inside = warp(valid.astype(np.uint8), np.ones_like(valid), tile.geobox, geobox, Method.nearest)
            part = shown & inside & (there > 0)
        chips = _any_per_chip(part, size, margin)
        if chips.any():
            before = result.used.get(tile.item.id)
            result.used[tile.item.id] = (tile.item, chips if before is None else before[1] | chips)


def crs_name(geobox: GeoBox) -> str:
    """Return a short name of a CRS."""
    crs = geobox.crs
    if crs is None:
        return "no CRS"
    return f"EPSG:{crs.epsg}" if crs.epsg else str(crs.proj.name)


def _check(source: Source, layer: Layer, items: Sequence[Item], raster: Raster, geobox: GeoBox) -> None:
    """Raise ConfigError if a source gives what it did not describe, or what would spoil pixels.

    Place and numbers of our own sources' rasters are checked by their tests, those of others here, each time.
    """
    described = (array.variable for array in layer.arrays if not is_computed(array))
    fault = content_fault(raster, described, {item.id for item in items})
    name = ""
    if isinstance(source, Guarded):
        name = f" '{source.name}'"
        fault = fault or place_fault(raster, geobox) or number_fault(raster)
    if fault is not None:
        where = f"layer {layer.name}, item {items[0].id}"
        raise ConfigError(f"source{name} gave {fault.seen}", where=where, hint=fault.change)


def _align(raster: Raster, array: Array, geobox: GeoBox) -> Look:
    """Return one raster on the window's lattice."""
    method = Method(array.method)
    if method is Method.component and raster.components is None:
        raise ConfigError(
            "unwrapped phase comes without connected components, across which it must not be interpolated",
            where=f"item {raster.item.id}",
            hint="use `resampling: nearest`",
        )
    correlation = array.variable.attributes["correlation"] if method in QUADRATURE else None
    values, valid = warp(
        raster.data,
        raster.valid,
        raster.geobox,
        geobox,
        method,
        components=raster.components if method is Method.component else None,
        correlation=correlation,
    )
    if array.variable.kind not in UNMIXED:
        # One dtype whatever tiles and methods meet in a window; int32 codes need more than float32 has.
        values = values.astype(np.float64 if array.encoding.dtype == "int32" else np.float32, copy=False)
    observed = valid
    if raster.masked is not None:
        # What is valid was observed too, even where the kernel finds too few valid neighbours.
        flag = raster.observed
        seen, inside = warp(flag.astype(np.uint8), np.ones_like(flag), raster.geobox, geobox, Method.nearest)
        observed = valid | (inside & (seen > 0))
    return Look(values, valid, observed)


def _any_per_chip(mask: NDArray[np.bool_], size: int, margin: int) -> NDArray[np.bool_]:
    """Return (rows, columns) of chips that have any True pixel of (band, y, x), in themselves or in their margin."""
    if margin:
        wide = size + 2 * margin
        views = np.lib.stride_tricks.sliding_window_view(mask.any(axis=0), (wide, wide))
        return np.asarray(views[::size, ::size].any(axis=(2, 3)))
    rows, cols = mask.shape[1] // size, mask.shape[2] // size
    return np.asarray(mask.reshape(-1, rows, size, cols, size).any(axis=(0, 2, 4)))

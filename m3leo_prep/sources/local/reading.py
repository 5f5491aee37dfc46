"""Pixels of one scene: bands stacked into variables, with what is discarded, flagged or relative to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.raster import Item, Kind, LegendClass, Raster
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.local import gdal, pixels
from m3leo_prep.sources.local.classes import palette_legend
from m3leo_prep.sources.local.geoid import Geoid
from m3leo_prep.sources.local.grids import nearest, same_grid
from m3leo_prep.sources.local.header import BandHeader, Header
from m3leo_prep.sources.local.options import WHOLE, Mask, resolve
from m3leo_prep.sources.local.quantities import FLAGS, Quantity
from m3leo_prep.sources.local.values import CODES, Values

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Bands = dict[str, tuple[Header, BandHeader]]
Read = Callable[[Header, "int | str", Window, int], NDArray[Any]]
"""Returns the stored pixels (y, x) of a window of a band, at a step in time."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What is made of a scene's files."""

    quantities: tuple[Quantity, ...]
    mask: Mask | None = None
    geoid: Geoid | None = None
    read: Read = pixels.read
    """How stored pixels are had."""

    def bands(self, quantity: Quantity, heads: Mapping[str, Header]) -> Bands:
        """Return file and header of each band of a variable, in order, without those that the scene lacks."""
        return resolve(heads, quantity.bands, self.mask, by_order=quantity.by_order)


def legend_of(quantity: Quantity, head: Header, band: BandHeader) -> tuple[LegendClass, ...]:
    """Return the classes of a variable: the recipe's or the product's, else those of the file's colour table."""
    if quantity.legend or quantity.kind is not Kind.CLASSES:
        return quantity.legend
    how = quantity.conversion
    return palette_legend(head, band, how.remap or {}, merge=how.merge)


def rasters(layout: Layout, heads: Mapping[str, Header], item: Item, window: Window, place: GeoBox) -> Iterator[Raster]:
    """Yield the variables of a scene that it has, each followed by its flags.

    Args:
        layout: what is made of the files.
        heads: the scene's files by role, the one with the grid first.
        item: the scene.
        window: the pixels wanted, on the grid.
        place: where they are.
    """
    step = int(item.properties.get("step", 0))
    dropped = None if layout.mask is None else _discarded(layout.mask, layout.read, heads, window, step)
    stacks = {one.name: _stack(layout, one, heads, window, step) for one in layout.quantities}
    for one in layout.quantities:
        stack = stacks[one.name]
        if one.relative_to and stack is not None:
            base = stacks[one.relative_to]
            stack = None if base is None else _relative(stack, base)
        if stack is None:
            continue
        value = stacks[_value_of(layout, one)] if one.kind is Kind.UNCERTAINTY else None
        if value is not None and value.valid.shape == stack.valid.shape:
            # The error of a pixel that has no value must not count in the error of a mean over those that have one.
            stack = stack._replace(valid=stack.valid & value.valid)
        flagged = stack.flags > 0 if one.flags else None
        yield _raster(one.name, stack.data, stack.valid, flagged, dropped, item, place)
        if one.flags:
            yield _raster(one.name + FLAGS, stack.flags, stack.present, None, dropped, item, place)


def _value_of(layout: Layout, deviation: Quantity) -> str:
    """Return the name of the variable that a standard deviation belongs to; its own if there is not just one."""
    values = [one.name for one in layout.quantities if one.kind not in {Kind.UNCERTAINTY, *CODES}]
    return deviation.relative_to or (values[0] if len(values) == 1 else deviation.name)


def _raster(
    name: str,
    data: NDArray[Any],
    valid: NDArray[np.bool_],
    flagged: NDArray[np.bool_] | None,
    dropped: NDArray[np.bool_] | None,
    item: Item,
    place: GeoBox,
) -> Raster:
    """Return a raster; what is flagged or dropped was seen, but is not valid."""
    masked = None if dropped is None else dropped & (valid if flagged is None else valid | flagged).any(axis=0)
    if flagged is not None:
        masked = flagged if masked is None else flagged | masked
    return Raster(data, valid if masked is None else valid & ~masked, place, item, name, masked)


def _stack(layout: Layout, quantity: Quantity, heads: Mapping[str, Header], window: Window, step: int) -> Values | None:
    """Return the bands of a variable as (band, y, x); None if the scene has none of them."""
    bands = layout.bands(quantity, heads)
    if not bands:
        return None
    names = list(bands) if quantity.bands is None else [band.name for band in quantity.bands]
    read = {name: _band(layout, quantity, *bands[name], window, step) for name in names if name in bands}
    shape = (len(names), window.row1 - window.row0, window.col1 - window.col0)
    data = np.zeros(shape, np.result_type(*(values.data.dtype for values in read.values())))
    valid = np.zeros(shape, bool)
    present, flags = (np.zeros_like(valid), np.zeros(shape, np.uint8)) if quantity.flags else (valid, None)
    for k, name in enumerate(names):
        if name in read:
            data[k], valid[k] = read[name].data, read[name].valid
            if flags is not None:
                present[k], flags[k] = read[name].present, read[name].flags
    return Values(data, valid, present, np.broadcast_to(np.uint8(0), shape) if flags is None else flags)


def _band(layout: Layout, quantity: Quantity, head: Header, band: BandHeader, window: Window, step: int) -> Values:
    stored = layout.read(head, band.key, window, step)
    legend = [one.code for one in legend_of(quantity, head, band)] if quantity.conversion.bins is None else ()
    there = layout.read(head, f"{gdal.MASK}{band.key}", window, 0) if band.has_mask else None
    values = quantity.conversion.apply(stored, band, head.path, legend, there)
    if layout.geoid is not None:
        data, valid = layout.geoid.shift(values.data, values.valid, head.geobox, window)
        values = values._replace(data=data, valid=valid)
    return values


def _relative(share: Values, base: Values) -> Values:
    """Return |base| x share, where both are there; one share may serve all bands of the base."""
    valid = share.valid & base.valid
    with np.errstate(over="ignore", invalid="ignore"):
        data = np.abs(base.data.astype(np.float64)) * share.data
        data = data.astype(np.float32)
    return Values(data, valid & np.isfinite(data), valid, np.zeros(valid.shape, np.uint8))


def _discarded(mask: Mask, read: Read, heads: Mapping[str, Header], window: Window, step: int) -> NDArray[np.bool_]:
    """Return True (y, x) where the mask band has one of the values; a coarser mask by its nearest pixel."""
    grid = next(iter(heads.values()))
    head = heads.get("mask") or heads[WHOLE]
    key = head.band(mask.band.key).key
    if same_grid(head.geobox, grid.geobox):
        return np.isin(read(head, key, window, step), mask.values)
    rows, row_in = nearest(grid.geobox, head.geobox, window, axis=0)
    cols, col_in = nearest(grid.geobox, head.geobox, window, axis=1)
    box = Window(int(rows.min()), int(rows.max()) + 1, int(cols.min()), int(cols.max()) + 1)
    coarse = np.isin(read(head, key, box, step), mask.values)
    return coarse[np.ix_(rows - box.row0, cols - box.col0)] & row_in[:, None] & col_in[None, :]

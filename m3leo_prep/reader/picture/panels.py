"""One chip as panels: pixels become colours, what is missing stays missing, and each panel says what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.raster import Kind
from m3leo_prep.reader.chosen import DATES, ORBIT, chosen, words
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.picture.legend import Shown, paint, shown_classes
from m3leo_prep.reader.picture.looks import Look, looks
from m3leo_prep.reader.picture.quality import Quality, read_quality
from m3leo_prep.reader.picture.stretch import SUN_HEIGHT, Floats, hillshade, shrink, thin

ColourMap = Callable[[str, Floats], Floats]
"""Name of a map and levels 0...1 -> the same with an axis of red, green, blue, 0...1."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of one slot."""

    label: str
    """Of the slot."""
    picture: Floats
    """(n, n, 3) colours, 0...1, NaN where missing."""
    valid: float
    """Share of the chip's pixels that every band of the picture has, 0...1."""
    why: str
    """Why the rest is missing."""
    span: tuple[float, float] | None = None
    """Least and largest value, where colours repeat and cannot tell."""
    about: str = ""
    """Which pair or orbit it is, where that differs from chip to chip."""


@dataclass(frozen=True, slots=True)
class Strip:
    """One look at a variable: a panel per slot, and what explains their colours."""

    look: Look
    panels: tuple[Panel, ...]
    classes: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A variable of a layer."""

    layer: StoredLayer
    array: StoredArray
    strips: tuple[Strip, ...]
    n_slots_left: int
    """Slots that are not drawn."""

    @property
    def bands_left(self) -> list[str]:
        """Bands that no strip shows."""
        shown = {band for strip in self.strips for band in strip.look.bands}
        return [name for band, name in enumerate(self.array.bands) if band not in shown]


def make_block(
    dataset: Dataset,
    row: int,
    layer: StoredLayer,
    array: StoredArray,
    *,
    max_slots: int,
    pixels: int,
    colour: ColourMap,
) -> Block:
    """Return a variable of a chip as panels of at most ``pixels`` pixels a side.

    Raises:
        StoreError: a shard or a table is absent.
        VerifyError: one is damaged.
    """
    quality = read_quality(dataset, row, layer, array)
    slots = chosen_slots(quality, max_slots)
    wanted = looks(array, layer=layer.name, n_slots=len(slots))
    return draw_looks(dataset, row, layer, array, wanted, quality, slots, pixels=pixels, colour=colour)


def draw_looks(
    dataset: Dataset,
    row: int,
    layer: StoredLayer,
    array: StoredArray,
    wanted: Sequence[Look],
    quality: Quality,
    slots: Sequence[int],
    *,
    pixels: int,
    colour: ColourMap,
) -> Block:
    """Return the wanted looks of a chip's slots as panels; only their bands are read. Raises as ``make_block``."""
    bands = sorted({band for look in wanted for band in look.bands})
    given = None if layer.is_static else slots
    values, valid = dataset.read(row, layer.name, array.name, slots=given, bands=bands)
    if layer.is_static:
        values, valid = values[None], valid[None]
    by_band = {band: values[:, place] for place, band in enumerate(bands)}
    valid_by_band = {band: valid[:, place] for place, band in enumerate(bands)}
    named = [words(facts) for facts in chosen(dataset, row, layer, (*DATES, *ORBIT))]
    strips = [
        _strip(look, by_band, valid_by_band, layer, array, quality, slots, named, pixels, colour) for look in wanted
    ]
    return Block(layer, array, tuple(strips), len(layer.slots) - len(slots))


def chosen_slots(quality: Quality, most: int) -> list[int]:
    """Return the slots to draw, in order: all, or ``most`` evenly chosen, first from those that have data."""
    n_slots = len(quality.valid)
    if n_slots <= most:
        return list(range(n_slots))
    has_data = ((quality.valid > 0) & (quality.valid <= 100)).any(axis=1)
    full, empty = np.flatnonzero(has_data), np.flatnonzero(~has_data)
    picked = [*_evenly(full, most), *_evenly(empty, max(0, most - len(full)))]
    return sorted(int(slot) for slot in picked)


def _evenly(places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return places if len(places) <= most else places[np.arange(most) * len(places) // most]


def _strip(
    look: Look,
    values: Mapping[int, NDArray[Any]],
    valid: Mapping[int, NDArray[np.bool_]],
    layer: StoredLayer,
    array: StoredArray,
    quality: Quality,
    slots: Sequence[int],
    named: Sequence[str],
    pixels: int,
    colour: ColourMap,
) -> Strip:
    there = np.logical_and.reduce([valid[band] for band in look.bands])
    classes: tuple[Shown, ...] = ()
    if look.form == "classes":
        codes = values[look.bands[0]]
        classes = shown_classes(array, codes, there, is_components=array.name in components_of(layer))
        pictures = paint(thin(codes, pixels), classes)
    else:
        look = look.fitted(values)
        pictures = _picture(look, values, layer.pitch, pixels, colour)
    panels = []
    for place, slot in enumerate(slots):
        label = layer.slots[slot].label
        share = float(there[place].mean())
        why = quality.words(slot, look.bands) if share < 1 else ""
        span = look.channels[0].span({band: values[band][place] for band in look.bands})
        panels.append(Panel(label, pictures[place], share, why, span, named[slot]))
    return Strip(look, tuple(panels), classes)


def components_of(layer: StoredLayer) -> set[str]:
    """Return the names of variables that number the connected components of an unwrapped phase."""
    phases = (array for array in layer.arrays.values() if array.kind == Kind.UNWRAPPED_PHASE)
    return {str(array.attributes["components"]) for array in phases if "components" in array.attributes}


def _picture(look: Look, values: Mapping[int, Floats], pitch: float, pixels: int, colour: ColourMap) -> Floats:
    """Return (slot, n, n, 3) colours of quantities, NaN where missing."""
    if look.form == "composite":
        levels = np.stack([channel.level(channel.value(values)) for channel in look.channels], axis=1)
        levels[np.broadcast_to(np.isnan(levels).any(axis=1, keepdims=True), levels.shape)] = np.nan
        return np.moveaxis(shrink(levels, pixels), 1, -1)
    (channel,) = look.channels
    value = channel.value(values)
    level = channel.level(shrink(value, pixels) if look.is_smooth else thin(value, pixels))
    made = np.where(np.isnan(level)[..., None], np.nan, colour(look.colours, np.nan_to_num(level)))
    if look.form != "relief":
        return made
    light = np.stack([shrink(hillshade(height, pitch), pixels) for height in value])
    # Level ground keeps its colour; slopes away from the sun darken, slopes towards it brighten.
    return np.asarray(np.clip(made * (0.4 + 0.6 * light / np.sin(np.radians(SUN_HEIGHT)))[..., None], 0.0, 1.0))

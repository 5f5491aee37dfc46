"""Earth Engine layers of a plan, below the chips of a geemap map: the images that a build would read.

They are made by the code that builds, of the images that the plan names, in the numbers that Earth Engine computes;
the browser gets tiles of them from Earth Engine, whose pixels are those of the screen, not of the chip grid.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import PrepError
from m3leo_prep.core.plan import LayerPlan, Plan
from m3leo_prep.core.raster import Item, LegendClass, Slot
from m3leo_prep.maps.colours import BACKGROUND, RAMP
from m3leo_prep.pipeline.origins import open_source

if TYPE_CHECKING:
    import ee

    from m3leo_prep.sources.gee.choice import Choice, Quantity
    from m3leo_prep.sources.gee.reading.stacks import Stack

MOST_IMAGES = 200
"""A map of more is too much to send and to compute for a glance: those nearest to the middle are taken."""
SAMPLED_CHIPS = 6
SAMPLED_PIXELS = 64
"""Along the side of what is looked at in each of them, in the product's own pixels, to choose the colours."""
RGB = ("red", "green", "blue")
ENDS = (2, 98)
"""Percentiles of what was looked at that become the ends of the colours."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is laid on the map of one layer and slot."""

    image: ee.Image
    look: dict[str, Any]
    """Earth Engine's parameters of visualisation."""
    note: str
    """What the colours mean."""
    classes: tuple[LegendClass, ...] = ()
    """Those of the palette, in its order."""


@dataclass(frozen=True, slots=True)
class _Band:
    """One band to show, and how its numbers become those that people read: x scale + offset, or dB of power."""

    name: str
    label: str
    quantity: Quantity | None
    """None where the number is of the radar's power or angle, or a count."""
    is_power: bool = False

    def value(self, number: float) -> float:
        """Return what a number of the picture means."""
        return number if self.quantity is None else number * self.quantity.scale + self.quantity.offset

    @property
    def unit(self) -> str:
        """Unit of ``value``; empty for fractions."""
        unit = "dB" if self.is_power else self.quantity.variable.unit if self.quantity else ""
        return "" if unit == "1" else unit


def lay(shown: Any, plan: Plan) -> list[Any]:
    """Lay the Earth Engine layers of a plan on a ``geemap.Map``; return widgets that tell of them and choose slots.

    What keeps a layer from being shown, such as a login that is missing, is told in its place.
    """
    return [_Laid(shown, plan, layer).panel() for layer in plan.layers if layer.source.name == "gee"]


class _Laid:
    """One layer on the map, in one of its slots."""

    def __init__(self, shown: Any, plan: Plan, layer: LayerPlan) -> None:
        import ipywidgets

        self._shown, self._plan, self._layer = shown, plan, layer
        self._slots = {slot.label: slot for slot in layer.layer.slots}
        self._told = ipywidgets.HTML()

    def panel(self) -> Any:
        """Return what tells of the layer, with a choice of slots where there are several."""
        import ipywidgets

        labels = list(self._slots)
        self._lay(labels[0])
        if len(labels) == 1:
            return self._told
        choice = ipywidgets.Dropdown(options=labels, value=labels[0], description=self._layer.layer.name)
        choice.observe(lambda change: self._lay(change["new"]), names="value")
        return ipywidgets.VBox([choice, self._told])

    def _lay(self, label: str) -> None:
        name = self._layer.layer.name
        self._shown.remove(name)
        try:
            note, classes = self._add(name, self._slots[label])
        except PrepError as error:
            note, classes = f"not shown: {error}", ()
        self._told.value = f"<b>{html.escape(name)}</b> {html.escape(note)} {''.join(map(_spot, classes))}"

    def _add(self, name: str, slot: Slot) -> tuple[str, tuple[LegendClass, ...]]:
        """Add the layer below the chips and return what its colours mean."""
        from m3leo_prep.sources.gee.service.session import session

        service = session()
        made = picture(self._plan, self._layer, slot)
        if made is None:
            return "no image", ()
        add = partial(self._shown.add_layer, made.image, made.look, name)
        service.run(add, what=f"map of {name}, {slot.label}")
        # Tiles first, in the order in which they came: chips and outline stay on top of what is laid later.
        self._shown.layers = tuple(sorted(self._shown.layers, key=lambda one: not hasattr(one, "url")))
        return made.note, made.classes


def picture(plan: Plan, layer: LayerPlan, slot: Slot) -> Picture | None:
    """Return what to show of a layer in one slot, None if the slot has no image.

    Of a layer with several variables the first; red, green and blue together where it has them, else its first band.

    Raises:
        CredentialsError, TriedOut, ConfigError ...: as of ``Session.run``.
    """
    from m3leo_prep.sources.gee.options import choose
    from m3leo_prep.sources.gee.source import EarthEngine

    source = open_source(layer.source)
    assert isinstance(source, EarthEngine)
    choice = replace(choose(source), statistic=layer.layer.arrays[0].statistic)
    there = [item for item in layer.items if slot.contains(item.datetime)]
    items = _nearest(plan, there)
    if not items:
        return None
    crs = f"EPSG:{plan.cells.epsg[len(plan.cells) // 2]}"
    stacks, image = _image(choice, items, slot, crs)
    bands = _bands(choice, stacks)
    some = f", the {len(items)} of {len(there)} images that are nearest" if len(items) < len(there) else ""
    legend = bands[0].quantity.variable.legend if bands[0].quantity else ()
    if legend:
        codes = [entry.code for entry in legend]
        shown = image.select([bands[0].name]).remap(codes, list(range(len(codes))))
        colours = [_colour(entry).removeprefix("#") for entry in legend]
        look = {"min": 0, "max": max(1, len(codes) - 1), "palette": colours}
        return Picture(shown, look, f"{bands[0].label}{some}", legend)
    shown = image.select([band.name for band in bands])
    if bands[0].is_power:
        shown = shown.log10().multiply(10)
    ends = _ends(plan, choice, shown, [band.name for band in bands], f"{layer.layer.name}, {slot.label}")
    if ends is None:
        return Picture(shown, {"min": 0, "max": 1}, f"no value where it was looked at, such as cloud everywhere{some}")
    low, high = ends
    look = {"min": low, "max": high}
    if len(bands) == 1 and not bands[0].is_power:
        look["palette"] = [colour.removeprefix("#") for colour in RAMP]
    first, label = bands[0], ", ".join(band.label for band in bands)
    scale = f"{first.value(low):.3g} to {first.value(high):.3g} {first.unit}".strip()
    return Picture(shown, look, f"{label}, {scale}{some}")


def _colour(entry: LegendClass) -> str:
    return entry.color or BACKGROUND["unknown"]


def _spot(entry: LegendClass) -> str:
    """Return HTML of a class: a spot of its colour, and its name."""
    square = f'<span style="display: inline-block; width: 12px; height: 12px; background: {_colour(entry)}"></span>'
    return f'<span style="white-space: nowrap; margin-right: 8px">{square} {html.escape(entry.name)}</span> '


def _nearest(plan: Plan, items: Sequence[Item]) -> list[Item]:
    """Return the images of a slot, in order; of too many those nearest to the middle of the plan's chips."""
    if len(items) <= MOST_IMAGES:
        return list(items)
    import shapely

    lon, lat = plan.cells[np.array([len(plan.cells) // 2])].lon_lat()
    far = shapely.distance([item.footprint for item in items], shapely.Point(lon[0], lat[0]))
    near = set(np.argsort(far, kind="stable")[:MOST_IMAGES].tolist())
    return [item for k, item in enumerate(items) if k in near]


def _image(choice: Choice, items: Sequence[Item], slot: Slot, crs: str) -> tuple[list[Stack], ee.Image]:
    """Return what is asked for, and the image that has it, composited on Earth Engine's side in every mode."""
    import ee

    from m3leo_prep.sources.gee.custom import computed
    from m3leo_prep.sources.gee.reading import optical, radar
    from m3leo_prep.sources.gee.reading.composite import plain_stacks
    from m3leo_prep.sources.gee.reading.stacks import composite
    from m3leo_prep.sources.gee.scripts import call

    if choice.mode == "computed":
        stacks = plain_stacks(choice, ())
        return stacks, computed(call(choice.script, choice.code, slot)[0], stacks)
    family = {"radar": radar.stacks, "optical": optical.stacks, "plain": plain_stacks}[choice.row.family]
    stacks = [stack for stack in family(choice, items) if stack.items]
    return stacks, ee.Image.cat([composite(stack, crs) for stack in stacks])


def _bands(choice: Choice, stacks: Sequence[Stack]) -> list[_Band]:
    """Return the bands to show: red, green and blue of the first stack if it has them, else its first one."""
    from m3leo_prep.sources.gee.reading.composite import sent_name
    from m3leo_prep.sources.gee.reading.radar import ANGLE

    names = [band.name for band in stacks[0].bands]
    is_count = choice.statistic == "count"
    if choice.row.family == "radar":
        return [_Band(names[0], names[0], None, is_power=not is_count and not names[0].startswith(ANGLE))]
    quantity = choice.quantities[0]
    colours = [sent_name(quantity, colour) for colour in RGB]
    wanted = colours if set(colours) <= set(names) else names[:1]
    known = None if is_count else quantity
    return [_Band(name, name.removeprefix(f"{quantity.variable.name}_"), known) for name in wanted]


def _ends(plan: Plan, choice: Choice, image: ee.Image, names: Sequence[str], what: str) -> tuple[float, float] | None:
    """Return the ends of the colours: percentiles of what a few chips, spread over the plan, have in their middles.

    None where they have no value there.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.gee.reading.pixels import fetch
    from m3leo_prep.sources.gee.reading.requests import carrier

    bands = [carrier(name, "float32") for name in names]
    count = min(SAMPLED_CHIPS, len(plan.cells))
    rows = np.unique((np.arange(count) + 0.5) * len(plan.cells) / count).astype(int)
    chips, pitch = plan.cells[rows], choice.row.pitch
    half = plan.grid.cell_m / 2

    def look(epsg: int, x: float, y: float) -> NDArray[Any]:
        reach = pitch * SAMPLED_PIXELS / 2
        corner = Affine(pitch, 0, x + half - reach, 0, -pitch, y - half + reach)
        values, valid = fetch(image, bands, GeoBox((SAMPLED_PIXELS, SAMPLED_PIXELS), corner, epsg), what=what).stack(
            names
        )
        return values[valid]

    with ThreadPoolExecutor(SAMPLED_CHIPS) as threads:
        found = list(threads.map(look, chips.epsg.tolist(), *(axis.tolist() for axis in chips.upper_left())))
    if not any(part.size for part in found):
        return None
    low, high = np.percentile(np.concatenate(found), ENDS).tolist()
    return (low, high) if high > low else (low, low + 1.0)

"""Which items a layer's plan holds: those the source finds, known ones as frozen, and only what chips can reach."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.area import Area
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.layer import Layer
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.ports.source import Source

KERNEL_REACH = 16
"""Native pixels beyond a chip's edge within which an item is looked for; more than any kernel reaches."""


def find_items(source: Source, area: Area, layer: Layer, native: float) -> tuple[Item, ...]:
    """Return what the source has in and around an area, in the order in which it is used."""
    from m3leo_prep.pipeline.derive import in_groups

    return in_groups(source.find(_search_area(area.geometry, layer.size * layer.pitch, native), layer.slots))


def reaching(items: Sequence[Item], cells: Cells, layer: Layer, native: float) -> tuple[Item, ...]:
    """Return the items that may reach a cell, in the same order.

    What is left out reaches no chip, so that no chip's digest depends on it.

    Args:
        items: found for the whole area, in order: a group's place must not depend on what is left out.
        cells: chips that are built.
        layer: whose items they are.
        native: pitch of the source in metres.
    """
    if not items:
        return ()
    outlines = cells.polygons()
    # A task looks within 8 pixels of its own chips (``items_of``): never less than that is kept.
    margin = KERNEL_REACH * max(layer.pitch, native) / 111_000
    north = np.abs(shapely.bounds(outlines)[:, [1, 3]]).max()
    reach = shapely.buffer(outlines, margin / np.cos(np.radians(min(north, 84.0))), join_style="mitre")
    tree = shapely.STRtree(reach)
    pairs = tree.query([item.footprint for item in items], predicate="intersects")
    return tuple(items[index] for index in np.unique(pairs[0]).tolist())


def _search_area(geometry: BaseGeometry, cell_m: float, native: float) -> BaseGeometry:
    """Return the area widened by more than a chip and a kernel: chips reach over the area's edge, kernels over theirs.

    Args:
        geometry: lon/lat.
        cell_m: side of a chip in metres.
        native: pitch of the source in metres.
    """
    _, south, _, north = geometry.bounds
    reach = (2 * cell_m + KERNEL_REACH * native) / 111_000
    widest = math.cos(math.radians(min(max(abs(south), abs(north)) + reach, 86.0)))
    wide = geometry.buffer(reach / widest)
    # What reaches over 180 degrees comes in again on the other side.
    turns = [translate(wide, by) for by in (-360, 0, 360)]
    return shapely.union_all([shapely.box(-180, -90, 180, 90).intersection(turn) for turn in turns])


def merged(old: tuple[Item, ...], found: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return the found items in the source's order, the known ones as frozen, after those no longer found."""
    from m3leo_prep.pipeline.derive import in_groups

    known = {item.id: item for item in old}
    gone = known.keys() - {item.id for item in found}
    kept = [item for item in old if item.id in gone]
    return in_groups([*kept, *(known.get(item.id, item) for item in found)])


def with_new_slots(
    old: tuple[Item, ...], found: tuple[Item, ...], old_slots: Sequence[Slot], slots: Sequence[Slot]
) -> tuple[Item, ...]:
    """Return the items of a layer whose slots have changed: those of slots it had stay as frozen, found or not."""

    def is_in(item: Item, some: Sequence[Slot]) -> bool:
        return any(slot.contains(item.datetime) for slot in some)

    known = {item.id for item in old}
    fresh = tuple(item for item in found if item.id in known or not is_in(item, old_slots))
    return tuple(item for item in merged(old, fresh) if is_in(item, slots))

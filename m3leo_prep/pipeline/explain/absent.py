"""Why nothing was acquired of a chip in a slot: by the items of the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from m3leo_prep.core.plan import LayerPlan, Plan, Unit
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.pipeline.task import items_of

DIRECTIONS = {"_asc": "ascending", "_desc": "descending"}
"""How a band's name ends where each orbit direction has bands of its own, and what its items say of themselves."""
NAMED = 3
"""Slots that are named."""


def why_nothing(plan: Plan, layer: LayerPlan, row: int, slot: int, band: str) -> str:
    """Return which window of time and which orbit direction had nothing over a chip, and what there is instead.

    Args:
        plan: as it was built.
        layer: the layer.
        row: of the chip.
        slot: index of the slot.
        band: name of the band.
    """
    n_slots = len(layer.layer.slots)
    unit = Unit(layer.layer.name, 0, 0, 0, 1, 0, n_slots)
    slots, (by_slot,) = items_of(plan.cells[row : row + 1], layer, unit)
    window, direction = _window(slots[slot]), _direction(band)
    kind = f"{direction} pass" if direction else "acquisition"
    near = _passes(by_slot[slot], direction)
    if near:
        plural = f"{kind}{'' if near == 1 else 'es' if direction else 's'}"
        verb = "comes" if near == 1 else "come"
        return f"{near} {plural} {verb} near this chip {window}, but no pixel of it was observed"
    said = f"no {kind} {window} over this chip"
    others = Counter(_orbit(item) for item in _first_of_each(by_slot[slot]))
    if direction and others:
        there = ", ".join(f"{way} has {n}" for way, n in others.items())
        return f"{said}; {there}: ask for `orbits: [{', '.join(others)}]` to leave this band out"
    have = {one.label: n for one, items in zip(slots, by_slot, strict=True) if (n := _passes(items, direction))}
    if not have:
        return f"{said}, nor in any other slot"
    some = ", ".join(f"{label} has {n}" for label, n in list(have.items())[:NAMED])
    more = f" and {len(have) - NAMED} more slots have some" if len(have) > NAMED else ""
    return f"{said}; {some}{more}"


def may_give(item: Item, band: str) -> bool:
    """Return whether an item may hold a band: not if that is of the other orbit direction."""
    return _direction(band) in {"", _orbit(item)}


def _direction(band: str) -> str:
    return next((way for end, way in DIRECTIONS.items() if band.endswith(end)), "")


def _orbit(item: Item) -> str:
    return str(item.properties.get("orbit_direction", ""))


def _first_of_each(items: Sequence[Item]) -> list[Item]:
    """Return one item of each acquisition."""
    return list({item.acquisition or item.id: item for item in items}.values())


def _passes(items: Sequence[Item], direction: str) -> int:
    return sum(not direction or _orbit(item) == direction for item in _first_of_each(items))


def _window(slot: Slot) -> str:
    if slot.start is None or slot.end is None:
        return "at any time"
    first, last = slot.start.date(), (slot.end - timedelta(microseconds=1)).date()
    return f"on {first}" if first == last else f"from {first} to {last}"

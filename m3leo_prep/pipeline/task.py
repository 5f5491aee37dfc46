"""A unit of work with all it needs, and the digest that says what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.choice import Choose
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.plan import LayerPlan, Unit, chip_digests, digest_of
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.core.reasons import RETRYABLE
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.store.ledger import Record


@dataclass(frozen=True, slots=True)
class Task:
    """One unit with all it needs; pickles, so that it can be built in another process."""

    unit: Unit
    plan: LayerPlan
    """Without its items: a task travels to other machines, and a layer may have many thousands. Its heights have those
    that reach the unit."""
    cells: Cells
    slots: tuple[Slot, ...]
    items: tuple[Item, ...]
    """Those that may reach any chip of the unit, in the plan's order."""
    reaching: tuple[tuple[tuple[int, ...], ...], ...]
    """Per chip and slot, which of ``items`` may reach it."""
    digests: NDArray[np.uint8]
    """(chip, slot, 16)"""
    prior: Record | None
    """The unit's last record, whose unchanged chips are copied."""
    splits: NDArray[np.uint8]
    """(chip,) ``Split``: which histogram a chip is counted in. In no digest: pixels do not depend on it."""

    @property
    def digest(self) -> str:
        """Digest of the whole unit."""
        return unit_digest(self.plan, self.digests)


def unit_digest(plan: LayerPlan, digests: NDArray[np.uint8]) -> str:
    """Return the digest of a unit from those of its chips."""
    return digest_of([digest_of(plan.settings()), digests.tobytes().hex()])


def unchanged(task: Task) -> NDArray[np.bool_]:
    """Return (chip, slot), True where the unit's last record has the pixels as they are to be: those are copied."""
    chips, slots = len(task.cells), len(task.slots)
    same = np.zeros((chips, slots), bool)
    prior = task.prior
    if prior is None or "digests" not in prior.arrays:
        return same
    old = prior.arrays["digests"]
    part = np.s_[: min(len(old), chips), : min(old.shape[1], slots)]
    same[part] = (old[part] == task.digests[part]).all(axis=-1)
    for array in task.plan.layer.arrays:
        reasons = prior.arrays[f"reason.{array.variable.name}"][part]
        same[part] &= ~np.isin(reasons, [int(r) for r in RETRYABLE]).any(axis=-1)
    if task.plan.layer.chunk_slots > 1:  # all slots of a chip are one chunk
        same &= same.all(axis=1, keepdims=True) & (old.shape[1] == slots)
    return same


def items_of(cells: Cells, plan: LayerPlan, unit: Unit) -> tuple[list[Slot], list[list[list[Item]]]]:
    """Return the unit's slots and, per chip and slot, the items that may reach the chip, in the source's order."""
    slots = list(plan.layer.slots[unit.first_slot : unit.last_slot])
    near = near_items(cells, plan)
    rule = plan.layer.rule
    if rule is None:
        return slots, [[[item for item in items if slot.contains(item.datetime)] for slot in slots] for items in near]
    here = slice(unit.first_slot, unit.last_slot)
    choosers: dict[tuple[int, ...], Choose] = {}
    chosen: list[list[list[Item]]] = []
    for outline, items in zip(cells.polygons(), near, strict=True):
        # Most chips of a unit are reached by the same items: these are put in order once.
        same = tuple(map(id, items))
        if same not in choosers:
            choosers[same] = rule.among(items)
        chosen.append(choosers[same](outline)[here])
    return slots, chosen


def near_items(cells: Cells, plan: LayerPlan, *, beyond: float = 0.0) -> list[list[Item]]:
    """Return per chip the items that may reach it, whatever their slot, in the source's order.

    Args:
        cells: the chips.
        plan: of the layer whose items they are.
        beyond: metres around the chip that they need not leave empty either.
    """
    outlines = cells.polygons()
    margin = (kernel_reach(plan) + beyond) / 111_000
    north = np.abs(shapely.bounds(outlines)[:, [1, 3]]).max()
    reach = shapely.buffer(outlines, margin / np.cos(np.radians(min(north, 84.0))), join_style="mitre")
    pairs = _index(plan.items).tree.query(reach, predicate="intersects")
    chip, index = pairs[:, np.lexsort(pairs[::-1])]
    ends = np.searchsorted(chip, np.arange(len(cells) + 1)).tolist()
    ordered = [plan.items[place] for place in index.tolist()]
    return [ordered[start:end] for start, end in pairwise(ends)]


def kernel_reach(plan: LayerPlan) -> float:
    """Return how far kernels reach over a chip's edge: metres, a few pixels."""
    return 8 * max(plan.layer.pitch, plan.pitch or 0.0)


def near_ground(cells: Cells, plan: LayerPlan) -> list[list[Item]]:
    """Return per chip the items of the layer's heights that decide its pixels; none if it needs no heights.

    A source asks for heights on its own pixels too, which lie as far over the chip's edge as kernels reach, and beyond
    where it says so.
    """
    if plan.heights is None:
        return [[] for _ in range(len(cells))]
    return near_items(cells, plan.heights, beyond=kernel_reach(plan) + plan.ground_reach)


@dataclass(frozen=True, slots=True)
class _Index:
    """Where a layer's items are found quickly."""

    items: tuple[Item, ...]
    tree: shapely.STRtree
    """Of their footprints."""
    place: dict[str, int]
    """By id."""


_indices: dict[int, _Index] = {}
_KEPT = 32
"""Layers whose index is kept: a layer has thousands of units, and making it anew took most of the time of a task."""


def _index(items: tuple[Item, ...]) -> _Index:
    """Return the index of a plan's items, made once for the same tuple."""
    kept = _indices.get(id(items))
    if kept is None:
        place = {item.id: i for i, item in enumerate(items)}
        kept = _Index(items, shapely.STRtree([item.footprint for item in items]), place)
        while len(_indices) >= _KEPT:
            _indices.pop(next(iter(_indices)), None)
        _indices[id(items)] = kept  # it holds the tuple, so that no other tuple gets its number
    return kept


def make_task(
    cells: Cells, plan: LayerPlan, unit: Unit, prior: Record | None, splits: NDArray[np.uint8] | None = None
) -> Task:
    """Return the task of a unit; ``cells`` and ``splits`` are those of the unit alone, None = no splits."""
    slots, per_chip = items_of(cells, plan, unit)
    ground = near_ground(cells, plan)
    told_of = [[[*slot, *heights] for slot in chip] for chip, heights in zip(per_chip, ground, strict=True)]
    digests = chip_digests(cells.ids(), digest_of(plan.settings()), tuple(slots), told_of)
    place = _index(plan.items).place
    found = {item.id: item for chip in per_chip for slot in chip for item in slot}
    items = tuple(sorted(found.values(), key=lambda item: place[item.id]))
    rank = {item.id: i for i, item in enumerate(items)}
    reaching = tuple(tuple(tuple(rank[item.id] for item in slot) for slot in chip) for chip in per_chip)
    told = np.full(len(cells), Split.NONE, np.uint8) if splits is None else splits
    light = replace(plan, items=(), heights=plan.heights and replace(plan.heights, items=ground_items(plan, ground)))
    return Task(unit, light, cells, tuple(slots), items, reaching, digests, prior, told)


def ground_items(plan: LayerPlan, near: Sequence[Sequence[Item]]) -> tuple[Item, ...]:
    """Return the items of a layer's heights that reach any chip, once each, in order."""
    wanted = {item.id for items in near for item in items}
    return () if plan.heights is None else tuple(item for item in plan.heights.items if item.id in wanted)

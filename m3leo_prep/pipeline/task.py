"""A unit of work with all it needs, and the digest that says what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.grid import Cells
from m3leo_prep.core.plan import LayerPlan, Unit, chip_digests, digest_of
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.store.ledger import Record


@dataclass(frozen=True, slots=True)
class Task:
    """One unit with all it needs; pickles, so that it can be built in another process."""

    unit: Unit
    plan: LayerPlan
    cells: Cells
    slots: tuple[Slot, ...]
    items: tuple[Item, ...]
    """Those that may reach any chip of the unit, in the plan's order."""
    reaching: tuple[tuple[tuple[int, ...], ...], ...]
    """Per chip and slot, which of ``items`` may reach it."""
    digests: NDArray[np.uint8]
    """(chip, 16)"""
    prior: Record | None
    """The unit's last record, whose unchanged chips are copied."""

    @property
    def digest(self) -> str:
        """Digest of the whole unit."""
        return unit_digest(self.plan, self.digests)


def unit_digest(plan: LayerPlan, digests: NDArray[np.uint8]) -> str:
    """Return the digest of a unit from those of its chips."""
    return digest_of([digest_of(plan.settings()), digests.tobytes().hex()])


def items_of(cells: Cells, plan: LayerPlan, unit: Unit) -> tuple[list[Slot], list[list[list[Item]]]]:
    """Return the unit's slots and, per chip and slot, the items that may reach the chip, in the source's order."""
    slots = list(plan.layer.slots[unit.first_slot : unit.last_slot])
    outlines = cells.polygons()
    # Kernels reach a few pixels over the chip's edge.
    margin = 8 * max(plan.layer.pitch, plan.pitch or 0.0) / 111_000
    north = np.abs(shapely.bounds(outlines)[:, [1, 3]]).max()
    reach = shapely.buffer(outlines, margin / np.cos(np.radians(min(north, 84.0))), join_style="mitre")
    tree = shapely.STRtree([item.footprint for item in plan.items])
    pairs = tree.query(reach, predicate="intersects")
    per_chip: list[list[list[Item]]] = [[[] for _ in slots] for _ in range(len(cells))]
    for chip, index in sorted(zip(*pairs.tolist(), strict=True)):
        item = plan.items[index]
        for position, slot in enumerate(slots):
            if slot.contains(item.datetime):
                per_chip[chip][position].append(item)
    return slots, per_chip


def make_task(cells: Cells, plan: LayerPlan, unit: Unit, prior: Record | None) -> Task:
    """Return the task of a unit; ``cells`` are the chips of the unit alone."""
    slots, per_chip = items_of(cells, plan, unit)
    digests = chip_digests(cells.ids(), digest_of(plan.settings()), tuple(slots), per_chip)
    found = {item.id for chip in per_chip for slot in chip for item in slot}
    items = tuple(item for item in plan.items if item.id in found)
    rank = {item.id: i for i, item in enumerate(items)}
    reaching = tuple(tuple(tuple(rank[item.id] for item in slot) for slot in chip) for chip in per_chip)
    return Task(unit, plan, cells, tuple(slots), items, reaching, digests, prior)

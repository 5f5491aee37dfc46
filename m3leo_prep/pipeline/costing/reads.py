"""What building a layer reads: every window in every slot, or, where there are many, an even sample with weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.defaults import is_terrain
from m3leo_prep.core.plan import LayerPlan, Plan, Unit
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.pipeline.costing.layout import lay_out
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.task import items_of, unchanged
from m3leo_prep.pipeline.todo import is_whole, task_of
from m3leo_prep.pipeline.windows import Window, cut, is_read_in_parts, parts, working_bytes
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.store.ledger import Record

SAMPLE = 400
"""Windows of a layer that are looked at one by one; those of one shape differ only in the items that reach them."""
LEAST = 2
"""Windows of one shape that are looked at."""
PARTIAL = 100
"""Units looked at of those that are partly there."""
Tasks = Sequence[tuple[Unit, Record | None]]
"""Units to be made, each with its last record: ``todo.find_todo``."""


@dataclass(frozen=True, slots=True)
class Read:
    """One window in one slot, with the items that may reach it."""

    geobox: GeoBox
    slot: Slot
    items: tuple[Item, ...]
    weight: float = 1.0
    """How many such reads it stands for."""

    @property
    def pixels(self) -> int:
        """Of the window."""
        rows, cols = self.geobox.shape
        return int(rows * cols)


def layer_reads(plan: Plan, name: str, tasks: Tasks, blobs: Blobs | None, work_bytes: int) -> list[Read]:
    """Return what making some units of a layer reads, cut as the build cuts it; slots without items are not read.

    Up to ``SAMPLE`` windows all are there. Of more, each shape is there, evenly over the area, and weighted.

    Args:
        plan: of the dataset.
        name: of the layer.
        tasks: units to be made; those of other layers are left out.
        blobs: where their records' shards lie; None = nothing is built.
        work_bytes: working memory of one worker's window.
    """
    layer = plan.layer(name)
    whole: list[tuple[Unit, Record | None]] = []
    partly: list[tuple[Unit, Record | None]] = []
    for unit, prior in tasks:
        if unit.layer == name:
            is_there = prior is not None and blobs is not None and is_whole(prior, blobs)
            (partly if is_there else whole).append((unit, prior))
    found = list(_of_whole_units(plan, layer, [unit for unit, _ in whole], work_bytes))
    some = _evenly(len(partly), PARTIAL)
    for number in some:
        unit, prior = partly[number]
        wanted = ~unchanged(task_of(plan, unit, prior))
        cells = np.arange(unit.first_row, unit.last_row)
        found += _reads(plan, layer, unit, cells, wanted, work_bytes, len(partly) / len(some))
    return found


def unit_reads(plan: Plan, unit: Unit, prior: Record | None, blobs: Blobs, work_bytes: int) -> list[Read]:
    """Return exactly what making one unit reads."""
    rows = np.arange(unit.first_row, unit.last_row)
    wanted = np.ones((len(rows), unit.last_slot - unit.first_slot), bool)
    if prior is not None and is_whole(prior, blobs):
        wanted = ~unchanged(task_of(plan, unit, prior))
    return list(_reads(plan, plan.layer(unit.layer), unit, rows, wanted, work_bytes, 1.0))


def _of_whole_units(plan: Plan, layer: LayerPlan, units: Sequence[Unit], work_bytes: int) -> Iterator[Read]:
    """Yield the reads of units of which nothing is there."""
    by_slots: dict[tuple[int, int], list[Unit]] = {}
    for unit in units:
        by_slots.setdefault((unit.first_slot, unit.last_slot), []).append(unit)
    n_cells = sum(unit.last_row - unit.first_row for unit in units)
    for alike in by_slots.values():
        sizes = [unit.last_row - unit.first_row for unit in alike]
        rows = np.concatenate([np.arange(unit.first_row, unit.last_row) for unit in alike])
        layout = lay_out(plan.cells, rows, np.repeat(np.arange(len(alike)), sizes))
        wanted = max(LEAST, round(SAMPLE * len(rows) / n_cells))
        for window, weight in _sampled(layout.shape, wanted):
            chips = layout.rows(window)
            every = np.ones((len(chips), alike[0].last_slot - alike[0].first_slot), bool)
            yield from _reads(plan, layer, alike[0], chips, every, work_bytes, weight)


def _sampled(shape: NDArray[np.int64], wanted: int) -> list[tuple[int, float]]:
    """Return the windows that are looked at, in order, and how many each stands for.

    Args:
        shape: (window, 2) cells.
        wanted: about so many; each shape has its share by cells, and at least ``LEAST``.
    """
    n = len(shape)
    if n <= wanted:
        return [(window, 1.0) for window in range(n)]
    cells = shape.prod(axis=1)
    _, kind = np.unique(shape, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    found = []
    for number in range(int(kind.max()) + 1):
        alike = np.flatnonzero(kind == number)
        share = cells[alike].sum() / cells.sum()
        some = _evenly(len(alike), max(LEAST, round(wanted * share)))
        found += [(int(alike[k]), len(alike) / len(some)) for k in some]
    return sorted(found)


def _evenly(n: int, wanted: int) -> list[int]:
    """Return ``wanted`` of ``range(n)``, evenly spaced; all if there are no more."""
    if n <= wanted:
        return list(range(n))
    return [int((k + 0.5) * n / wanted) for k in range(wanted)]


def _reads(
    plan: Plan,
    layer: LayerPlan,
    unit: Unit,
    rows: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    work_bytes: int,
    weight: float,
) -> Iterator[Read]:
    """Yield what is read for some chips of a unit, as ``unit.UnitBuilder`` asks for it.

    Args:
        plan: of the dataset.
        layer: of the unit.
        unit: whose slots are read.
        rows: (chip,) of the plan.
        wanted: (chip, slot), True where it is made.
        work_bytes: working memory of one worker's window.
        weight: of these reads.
    """
    todo = np.flatnonzero(wanted.any(axis=1))
    if not len(todo):
        return
    cells = plan.cells[rows]
    margin = _margin(layer)
    at_once = open_source(layer.source).describe().concurrent_reads
    slots, reaching = items_of(cells, layer, unit)

    def within_memory(window: Window, slot: int) -> Iterator[Read]:
        items = {item.id: item for chip in window.index.tolist() for item in reaching[chip][slot]}
        if is_read_in_parts(working_bytes(layer, window, list(items.values())), window, work_bytes, at_once):
            for part in window.split():
                yield from within_memory(part, slot)
        elif items:
            geobox = window.geobox(layer.layer.pitch)
            yield Read(geobox.pad(margin) if margin else geobox, slots[slot], tuple(items.values()), weight)

    for window in cut(cells[todo], todo):
        for slot in range(len(slots)):
            ids = [tuple(item.id for item in chip[slot]) for chip in reaching] if layer.layer.rule else None
            for part in parts(window, wanted[:, slot], ids):
                yield from within_memory(part, slot)


def _margin(layer: LayerPlan) -> int:
    """Return the pixels around a window that are read because something is computed from neighbours."""
    if not any(is_terrain(array) for array in layer.layer.arrays):
        return 0
    from m3leo_prep.ops.terrain import MARGIN

    return MARGIN

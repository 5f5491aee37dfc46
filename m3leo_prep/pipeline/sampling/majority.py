"""Which class most of a cluster's pixels have, read by the code that builds."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import encode
from m3leo_prep.core.errors import CorruptError, TooLarge, TransientError, TriedOut
from m3leo_prep.core.grid import Cells, owned_mask
from m3leo_prep.core.plan import LayerPlan, Unit
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.sample import EDGE, NO_STRATUM, Clusters
from m3leo_prep.ops.composite import Look
from m3leo_prep.ops.summary import class_counts
from m3leo_prep.pipeline.derive import derive
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.task import Task, make_task
from m3leo_prep.pipeline.unit import ATTEMPTS, PAUSE_SECONDS
from m3leo_prep.pipeline.windows import Window, cut

N_CODES = 256


@dataclass(frozen=True, slots=True)
class Majority:
    """Tells clusters' majority classes, asked in batches."""

    plan: LayerPlan
    """A layer with a class variable (its first one counts), and its items."""
    cells: Cells
    clusters: Clusters
    workers: int
    """Threads that read."""
    say: Callable[[str], None]

    def __call__(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the code of each chosen cluster, the lowest of several; ``NO_STRATUM`` where no pixel is valid.

        Pixels of the layer's first slot and the variable's first band count, if they are valid and their centres lie
        in the zone of their cell.

        Raises:
            TransientError: the source could not deliver, after some attempts.
            TooLarge, QuotaReached: from the source.
        """
        self.say(f"looking at {self.plan.layer.name} in {len(chosen):,} clusters of {len(self.clusters):,}")
        rows = np.flatnonzero(np.isin(self.clusters.member, chosen))
        task = make_task(self.cells[rows], self.plan, Unit(self.plan.layer.name, 0, 0, 0, len(rows), 0, 1), None)
        windows = cut(task.cells, np.arange(len(rows)), EDGE)
        counts = np.zeros((len(self.clusters), N_CODES), np.int64)
        with ThreadPoolExecutor(self.workers) as pool:
            for counted in pool.map(lambda window: self._count(task, window), windows):
                for chip, codes in counted:
                    counts[self.clusters.member[rows[chip]]] += codes
        held = counts[chosen]
        return np.where(held.any(axis=1), held.argmax(axis=1), NO_STRATUM)

    def _count(self, task: Task, window: Window) -> list[tuple[int, NDArray[np.int64]]]:
        """Return each chip's place in the task and its pixels per code."""
        layer = self.plan.layer
        array = next(a for a in layer.arrays if a.variable.kind is Kind.CLASSES)
        try:
            look = self._read(task, window, array.variable.name)
        except (CorruptError, TooLarge):
            if len(window) == 1:
                raise
            return [one for part in window.split() for one in self._count(task, part)]
        if look is None:
            return []
        counted = []
        for chip, down, right in window.places():
            part = np.s_[:1, down * layer.size : (down + 1) * layer.size, right * layer.size : (right + 1) * layer.size]
            encoded = encode(look.values[part], look.valid[part], array.encoding)
            epsg, col, row = (int(axis[chip]) for axis in (task.cells.epsg, task.cells.col, task.cells.row))
            owned = owned_mask(task.cells.grid, epsg, col, row, layer.pitch)
            counted.append((chip, class_counts(encoded.codes, encoded.valid & owned)[0]))
        return counted

    def _read(self, task: Task, window: Window, variable: str) -> Look | None:
        """Return the pixels of a window as they would be built, None if there are none."""
        source, layer, box = open_source(self.plan.source), self.plan.layer, window.geobox(self.plan.layer.pitch)
        wanted = sorted({rank for chip in window.index.tolist() for rank in task.reaching[chip][0]})
        items = [task.items[rank] for rank in wanted]
        for attempt in range(ATTEMPTS):
            try:
                derived = derive(source, layer, items, box, task.slots[0], skip_damaged=len(window) == 1)
            except TransientError as error:
                if isinstance(error, TriedOut) or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(PAUSE_SECONDS * 2**attempt)
            else:
                return derived.looks[variable]
        return None

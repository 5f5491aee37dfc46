"""Products that are made on demand: ordered, and fetched as they are ready, before what needs them is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from m3leo_prep.core.errors import CredentialsError, QuotaReached, SourceError
from m3leo_prep.core.plan import LayerPlan, Plan, Unit
from m3leo_prep.core.raster import Item
from m3leo_prep.pipeline.abilities import asked, bare
from m3leo_prep.pipeline.follow.events import RunLog
from m3leo_prep.pipeline.follow.watch import Watch
from m3leo_prep.pipeline.task import unchanged
from m3leo_prep.pipeline.todo import is_whole, task_of
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.ports.ordering import Ordering, Orders
from m3leo_prep.store.ledger import Record
from m3leo_prep.store.lock import ordering

Tasks = Sequence[tuple[Unit, Record | None]]
LOOK_SECONDS = 0.5
"""Between two looks, while waiting, whether the build is to stop."""
FIRST_PAUSE_SECONDS = 0.5
"""Before the second look at orders, doubled up to what the source asks for: what is ready already is not waited for."""
MOST_FAILURES = 10
"""Looks in a row that may fail before the build goes on without what is still to come."""
Refusal = CredentialsError | QuotaReached


@dataclass(frozen=True, slots=True)
class Held:
    """Units that cannot be made now, because what they need was not ordered, and why: by layer."""

    of: dict[str, Refusal] = field(default_factory=dict)
    units: frozenset[str] = frozenset()
    """Their ids."""


def needed_items(plan: Plan, name: str, tasks: Tasks, blobs: Blobs | None) -> dict[str, list[Item]]:
    """Return, by unit, the items that making the units of a layer reads: not those of chips that are only copied."""
    found: dict[str, list[Item]] = {}
    for unit, prior in tasks:
        if unit.layer != name:
            continue
        task = task_of(plan, unit, prior)
        is_there = prior is not None and blobs is not None and is_whole(prior, blobs)
        wanted = ~unchanged(task) if is_there else np.ones((len(task.cells), len(task.slots)), bool)
        ranks = {rank for chip, slot in np.argwhere(wanted).tolist() for rank in task.reaching[chip][slot]}
        found[unit.id] = [task.items[rank] for rank in sorted(ranks)]
    return found


def once(items: dict[str, list[Item]]) -> list[Item]:
    """Return the items of some units, each once, in the order in which they are read."""
    return list({item.id: item for of_unit in items.values() for item in of_unit}.values())


def order_and_fetch(plan: Plan, tasks: Tasks, blobs: Blobs, state: Path, watch: Watch, log: RunLog) -> Held:
    """Order what the units need of sources that make it on demand, wait until it is here, and return what is not.

    What is ordered, and how far it is, is known to the provider and the source: an interrupted wait, or one in another
    process, goes on where it was. Parts of one build order one after the other.

    Args:
        plan: of the dataset.
        tasks: units that are to be made.
        blobs: where their records' shards lie.
        state: the dataset's ``.m3leo`` folder.
        watch: follows the build.
        log: of the run.

    Raises:
        StoreError: the disk is full.
        KeyboardInterrupt: ``watch`` asked to stop.
    """
    waits = []
    held: dict[str, Refusal] = {}
    away: set[str] = set()
    for layer in plan.layers:
        name, source = layer.layer.name, bare(layer.source)
        if not isinstance(source, Ordering):
            continue
        of_unit = needed_items(plan, name, tasks, blobs)
        wait = _Wait(layer, source, of_unit, once(of_unit))
        if not wait.items:
            continue
        refused = wait.order(state, watch)
        if refused is not None:
            held[name] = refused
        if isinstance(refused, CredentialsError):
            away |= of_unit.keys()
        else:
            waits.append(wait)
    _wait_for(waits, watch, log)
    for wait in waits:
        if wait.refused is not None:
            held[wait.layer.layer.name] = wait.refused
            away |= wait.of_unit.keys()
        elif wait.layer.layer.name in held:
            away |= {unit for unit, items in wait.of_unit.items() if any(item.id in wait.absent for item in items)}
    return Held(held, frozenset(away))


@dataclass(slots=True)
class _Wait:
    """What one layer waits for."""

    layer: LayerPlan
    source: Ordering
    of_unit: dict[str, list[Item]]
    items: list[Item]
    absent: frozenset[str] = frozenset()
    refused: CredentialsError | None = None
    """Why nobody is let in any more."""
    is_over: bool = False
    told: str = ""
    failures: int = 0

    def order(self, state: Path, watch: Watch) -> Refusal | None:
        """Order, and return why not all could be; of other trouble the build goes on, and reading tells."""
        name = self.layer.layer.name
        try:
            with ordering(state):
                placed = asked(self.layer.source, "order", partial(self.source.order, self.items))
        except (CredentialsError, QuotaReached) as error:
            watch.warns(f"{name}: {error}")
            return error
        except SourceError as error:  # what was ordered, now or before, is waited for all the same
            watch.warns(f"{name}: not all could be ordered: {error}")
            return None
        if placed:
            watch.says(f"{name}: {placed:,} ordered")
        return None

    def look(self, watch: Watch) -> None:
        """Ask once how far the orders are."""
        name = self.layer.layer.name
        try:
            seen = asked(self.layer.source, "watch", partial(self.source.watch, self.items))
        except CredentialsError as error:  # other layers are built; what is ordered waits for the next run
            watch.warns(f"{name}: {error}")
            self.refused, self.is_over = error, True
            return
        except SourceError as error:
            self.failures += 1
            if self.failures == MOST_FAILURES or isinstance(error, QuotaReached):
                watch.warns(f"{name}: the build goes on without what is still to come: {error}")
                self.is_over = True
            elif self.failures == 1:
                watch.says(f"{name}: {error}; it is asked again")
            return
        self.failures, self.absent = 0, seen.absent
        line = _in_words(seen, len(self.items))
        if line != self.told:
            watch.says(f"{name}: {line}")
        self.told = line
        if not seen.open:
            self.is_over = True
            for failed in seen.failed:
                watch.warns(f"{name}: {failed}")


def _in_words(seen: Orders, of: int) -> str:
    parts = [
        f"{n:,} {word}"
        for n, word in ((seen.waiting, "waiting"), (seen.running, "running"), (len(seen.failed), "failed"))
        if n
    ]
    return ", ".join([f"{seen.done:,} of {of:,} products are here", *parts])


def _wait_for(waits: Sequence[_Wait], watch: Watch, log: RunLog) -> None:
    """Look at the orders until none is open."""
    pause, is_noted = FIRST_PAUSE_SECONDS, False
    while True:
        for wait in waits:
            if not wait.is_over:
                _stop_if_asked(watch)
                wait.look(watch)
        still = [wait for wait in waits if not wait.is_over]
        if not still:
            break
        if not is_noted:
            names = ", ".join(wait.layer.layer.name for wait in still)
            log.waiting(still[0].layer.source.name, None, f"{names}: ordered products are being made")
            is_noted = True
        _pause(min(pause, *(wait.source.poll_seconds for wait in still), 3600.0), watch.stops)
        pause *= 2
    if is_noted:
        log.resumed()


def _pause(seconds: float, stops: Callable[[], bool]) -> None:
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0:
        if stops():
            raise KeyboardInterrupt
        sleep(min(left, LOOK_SECONDS))


def _stop_if_asked(watch: Watch) -> None:
    if watch.stops():
        raise KeyboardInterrupt

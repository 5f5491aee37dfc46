"""What a build has to do: plan minus ledger, and what of it is copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from m3leo_prep.core.plan import Plan, Unit
from m3leo_prep.pipeline.task import Task, make_task, unchanged
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.store.ledger import Record


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a build will do for one layer; chips are counted once per slot."""

    layer: str
    done: int
    """Units that stay as they are."""
    rewritten: int
    """Units that are there and change: unchanged chips are copied, the others made."""
    new: int
    """Units that are made from nothing."""
    chips_copied: int
    chips_made: int

    def __str__(self) -> str:
        """Return a line for people, such as ``s1: 3 shards stay, 1 is rewritten (4 chip slots copied, 2 made)``."""
        told: list[str] = []
        for n, one, many in (
            (self.done, "stays", "stay"),
            (self.rewritten, "is rewritten", "are rewritten"),
            (self.new, "is new", "are new"),
        ):
            if n:
                noun = "" if told else "shard " if n == 1 else "shards "
                told.append(f"{n:,} {noun}{one if n == 1 else many}")
        chips = [f"{n:,} {what}" for n, what in ((self.chips_copied, "copied"), (self.chips_made, "made")) if n]
        if chips:
            chips[0] = chips[0].replace(" ", " chip slot " if chips[0].startswith("1 ") else " chip slots ", 1)
        return f"{self.layer}: {', '.join(told)}" + (f" ({', '.join(chips)})" if chips else "")


@dataclass(frozen=True, slots=True)
class Todo:
    """The units that are not done, each with its last record, and the forecast of each layer."""

    tasks: tuple[tuple[Unit, Record | None], ...]
    done: tuple[Unit, ...]
    forecasts: tuple[Forecast, ...]


def find_todo(plan: Plan, units: Iterable[Unit], records: dict[str, Record], blobs: Blobs) -> Todo:
    """Return what is to be done of ``units``.

    A unit whose shard is gone or of another size is not done, whatever the ledger says.
    """
    tasks: list[tuple[Unit, Record | None]] = []
    done: list[Unit] = []
    counts: dict[str, list[int]] = {}
    for unit in units:
        of_layer = counts.setdefault(unit.layer, [0, 0, 0, 0, 0])
        n_slots = unit.last_slot - unit.first_slot
        n_chips = unit.last_row - unit.first_row
        prior = records.get(unit.id)
        if prior is None:
            tasks.append((unit, None))
            of_layer[2] += 1
            of_layer[4] += n_chips * n_slots
            continue
        task = task_of(plan, unit, prior)
        whole = is_whole(prior, blobs)
        if whole and prior.retryable == 0 and prior.digest == task.digest:
            done.append(unit)
            of_layer[0] += 1
            continue
        tasks.append((unit, prior))
        copied = int(unchanged(task).sum()) if whole else 0
        of_layer[1] += 1
        of_layer[3] += copied
        of_layer[4] += n_chips * n_slots - copied
    forecasts = tuple(Forecast(layer, *numbers) for layer, numbers in counts.items())
    return Todo(tuple(tasks), tuple(done), forecasts)


def is_whole(record: Record, blobs: Blobs) -> bool:
    """Return whether all shards of a record are there, in their size."""
    return all((blobs.size(shard.path) or 0) == shard.bytes for shard in record.shards)


def task_of(plan: Plan, unit: Unit, prior: Record | None) -> Task:
    """Return a unit with all it needs."""
    rows = slice(unit.first_row, unit.last_row)
    splits = None if plan.split is None else plan.split[rows]
    return make_task(plan.cells[rows], plan.layer(unit.layer), unit, prior, splits)

"""The main job: make every unit of the plan that is not done, then close the dataset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.plan import Plan, Unit
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.finalize import finalize
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.task import Task, make_task
from m3leo_prep.pipeline.unit import WORK_BYTES, build_unit
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.ports.runner import Runner
from m3leo_prep.store.ledger import BuildLock, Record

WORKER_BYTES = int(2.5 * 2**30)
"""A worker's peak: its window, its shard's compressed chunks, the libraries."""
COMPRESSED = {1: 0.35, 2: 0.85, 4: 0.9}
"""Expected stored share of raw bytes by item size: class codes compress well, speckle hardly."""
SPACE_MARGIN = 1.1
FILES_PER_UNIT = 8
"""Files and folders that a shard makes, at most."""

OnUnit = Callable[[Unit, Record | None], None]
"""Called for each unit: with None when it is skipped because it is done, else with its new record."""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build did."""

    path: Path
    built: int
    """Units made in this run."""
    skipped: int
    """Units that were done before."""
    retryable: int
    """Holes that the next run asks for again."""
    damaged: tuple[str, ...] = ()
    """What could not be read in this run, item by item."""


def open_plan(out: Path, plan: Plan) -> tuple[DatasetFolder, Plan]:
    """Return the dataset folder and the plan that continues what is in it.

    Raises:
        StoreError: the folder holds something else.
    """
    folder = DatasetFolder(out)
    folder.check_usable()
    frozen = folder.frozen()
    if frozen is None:
        return folder, plan
    check_same_dataset(frozen, plan, out)
    if not _continues(frozen, plan):
        plan = make_plan(plan.recipe, plan.area, base=Path(plan.layers[0].source.base), previous=frozen)
    return folder, plan


def check_same_dataset(frozen: Plan, plan: Plan, out: Path) -> None:
    """Raise StoreError if ``out`` holds a dataset of another recipe or grid."""
    if (frozen.recipe.name, frozen.grid) != (plan.recipe.name, plan.grid):
        raise StoreError(
            f"{out} holds the dataset '{frozen.recipe.name}' of '{frozen.area.name}', "
            f"not '{plan.recipe.name}' on this grid",
            hint="give another --out, or the recipe it was made with",
        )
    gone = {p.layer.name for p in frozen.layers} - {p.layer.name for p in plan.layers}
    if gone:
        raise StoreError(
            f"the dataset has layers that the recipe no longer lists: {', '.join(sorted(gone))}",
            where=str(out),
            hint="put them back (use --layers to build others only), or give another --out",
        )


def _continues(frozen: Plan, plan: Plan) -> bool:
    n = len(frozen.cells)
    if len(plan.cells) < n:
        return False
    pairs = (
        (frozen.cells.epsg, plan.cells.epsg),
        (frozen.cells.col, plan.cells.col),
        (frozen.cells.row, plan.cells.row),
    )
    return all(np.array_equal(old, new[:n]) for old, new in pairs)


def build(
    plan: Plan,
    out: Path,
    *,
    runner: Runner,
    layers: Iterable[str] | None = None,
    work_bytes: int = WORK_BYTES,
    on_unit: OnUnit = lambda _unit, _record: None,
) -> BuildResult:
    """Build what is not done yet and close the dataset.

    Args:
        plan: what to build; a folder that holds an earlier state of it is resumed or grown.
        out: the dataset's folder.
        runner: how units are run; results do not depend on it.
        layers: build only these now.
        work_bytes: working memory of one worker's window.
        on_unit: called for every unit.

    Raises:
        ConfigError: unknown layer.
        StoreError: the folder holds something else, is locked, full or read-only.
        CredentialsError, SourceError: from a source.
    """
    chosen = _chosen(plan, layers)
    folder, plan = open_plan(out, plan)
    with BuildLock(folder.state):
        folder.blobs.clean()
        records = folder.ledger.records()
        tasks, skipped = _todo(plan, chosen, records, folder.blobs, on_unit)
        _check_space(plan, chosen, folder, len(tasks))
        folder.freeze(plan)
        damaged: set[str] = set()
        current = {unit.id for unit in plan.units(chosen)} - {unit.id for unit, _ in tasks}
        with folder.ledger.open_segment("build") as segment:
            work = partial(build_unit, blobs=folder.blobs, work_bytes=work_bytes)
            units = {unit.id: unit for unit, _ in tasks}
            for _, prior in tasks:
                if prior is not None and prior.digest:
                    # From now on its shard may be replaced: the record still tells what can be copied, but not "done".
                    segment.append(replace(prior, digest=""))
            for record in runner.map(work, (_task(plan, unit, prior) for unit, prior in tasks)):
                segment.append(record)
                damaged.update(record.info["damaged"])
                current.add(record.unit)
                on_unit(units[record.unit], record)
        retryable = finalize(folder, plan, current)
    return BuildResult(out, len(tasks), skipped, retryable, tuple(sorted(damaged)))


def _chosen(plan: Plan, layers: Iterable[str] | None) -> frozenset[str]:
    known = [p.layer.name for p in plan.layers]
    chosen = frozenset(known if layers is None else layers)
    for name in sorted(chosen - set(known)):
        raise ConfigError(f"the recipe has no layer '{name}'", hint=near(name, known))
    return chosen


def _task(plan: Plan, unit: Unit, prior: Record | None) -> Task:
    return make_task(plan.cells[unit.first_row : unit.last_row], plan.layer(unit.layer), unit, prior)


def _todo(
    plan: Plan, chosen: frozenset[str], records: dict[str, Record], blobs: Blobs, on_unit: OnUnit
) -> tuple[list[tuple[Unit, Record | None]], int]:
    """Return the units that are not done, each with its last record, and how many are done.

    A unit whose shard is gone or of another size is not done, whatever the ledger says.
    """
    todo: list[tuple[Unit, Record | None]] = []
    skipped = 0
    for unit in plan.units(chosen):
        prior = records.get(unit.id)
        if (
            prior is not None
            and prior.retryable == 0
            and all((blobs.size(shard.path) or 0) == shard.bytes for shard in prior.shards)
            and prior.digest == _task(plan, unit, None).digest
        ):
            skipped += 1
            on_unit(unit, None)
        else:
            todo.append((unit, prior))
    return todo, skipped


def _check_space(plan: Plan, chosen: frozenset[str], folder: DatasetFolder, n_todo: int) -> None:
    """Refuse before the first byte what cannot fit.

    Raises:
        StoreError: too little disk space, or too few files may be made, with the figures and the ways out.
    """
    needed = 0.0
    n_chips = len(plan.cells)
    n_units = sum(1 for _ in plan.units(chosen))
    for layer in plan.layers:
        if layer.layer.name in chosen:
            pixels = layer.layer.size**2 * len(layer.layer.slots) * n_chips
            needed += sum(pixels * a.n_bands * a.itemsize * COMPRESSED[a.itemsize] for a in layer.layer.arrays)
    needed *= SPACE_MARGIN * n_todo / max(1, n_units)
    free = shutil.disk_usage(folder.path).free
    inodes = os.statvfs(folder.path)
    if inodes.f_files and inodes.f_favail < n_todo * FILES_PER_UNIT:
        raise StoreError(
            f"about {n_todo * FILES_PER_UNIT:,} files are needed, {inodes.f_favail:,} may be made in {folder.path}",
            hint="build fewer layers with --layers, or give an --out on another disk",
        )
    if needed > free:
        raise StoreError(
            f"about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free in {folder.path}",
            hint="free space, build fewer layers with --layers, or give an --out on a larger disk",
        )

"""The main job: make every unit of the plan that is not done, then close the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Literal

import numpy as np

from m3leo_prep.core.errors import (
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    ConfigError,
    CredentialsError,
    PrepError,
    QuotaReached,
    StoreError,
)
from m3leo_prep.core.plan import Plan, Unit
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.costing.budget import Budget, BudgetReached, Meter, admit
from m3leo_prep.pipeline.finalize import finalize
from m3leo_prep.pipeline.follow.events import RunLog
from m3leo_prep.pipeline.follow.watch import Watch
from m3leo_prep.pipeline.ordering import order_and_fetch
from m3leo_prep.pipeline.origins import objects_of
from m3leo_prep.pipeline.parts import Part, share
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.proportions.measure import measure
from m3leo_prep.pipeline.space import check_space
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.task import Task
from m3leo_prep.pipeline.todo import Todo, find_todo, is_whole, task_of
from m3leo_prep.pipeline.unit import WORK_BYTES, build_unit
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.ports.runner import Runner
from m3leo_prep.store.ledger import BuildLock, Record, Segment
from m3leo_prep.store.lock import planning

LOOK_SECONDS = 1.0
"""Between two looks, while waiting, whether the build is to stop."""
OnQuota = Literal["wait", "stop"]
UNKNOWN_PAUSE_SECONDS = 900.0
"""Before a provider that named no time is asked again."""
LEAST_PAUSE_SECONDS = 1.0
"""Before any provider is asked again; doubled after each wait that brought nothing."""
MOST_PAUSE_SECONDS = 3600.0
"""Up to which the least pause is doubled."""


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


@dataclass(frozen=True, slots=True)
class Refused:
    """A unit that was not made because its provider lets nobody, or nobody now, in."""

    unit: Unit
    error: CredentialsError | QuotaReached


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
        base = Path(plan.layers[0].source.base)
        plan = make_plan(
            plan.recipe,
            plan.area,
            base=base,
            previous=frozen,
            sample=plan.sample,
            skip_buffer=plan.skip_buffer,
            sources=objects_of(plan),
        )
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
    # What is automatic in the splits was frozen, and a plan that was made without looking here may choose otherwise.
    unpinned = frozen.splits != plan.splits and frozen.recipe.splits == plan.recipe.splits
    if unpinned or frozen.skip_buffer != plan.skip_buffer:
        return False
    old, new = frozen.sample, plan.sample
    if len(plan.cells) < n or (new != old and (new is None or old is None or not new.grows(old))):
        return False
    pairs = (
        (frozen.cells.epsg, plan.cells.epsg),
        (frozen.cells.col, plan.cells.col),
        (frozen.cells.row, plan.cells.row),
    )
    return all(np.array_equal(old, new[:n]) for old, new in pairs)


def freeze_for_parts(folder: DatasetFolder, plan: Plan) -> None:
    """Freeze the plan that all parts of a build share; call it inside ``planning``.

    Raises:
        StoreError: parts with another plan are at work.
    """
    if not folder.holds(plan):
        with BuildLock(folder.state):
            folder.freeze(plan)


def build(
    plan: Plan,
    out: Path,
    *,
    runner: Runner,
    layers: Iterable[str] | None = None,
    part: Part | None = None,
    on_quota: OnQuota = "stop",
    work_bytes: int = WORK_BYTES,
    budget: Budget | None = None,
    watch: Watch | None = None,
) -> BuildResult:
    """Build what is not done yet and, unless it is only a part, close the dataset.

    Args:
        plan: what to build; a folder that holds an earlier state of it is resumed or grown.
        out: the dataset's folder.
        runner: how units are run; results do not depend on it.
        layers: build only these now.
        part: build only the units this part owns; ``close`` then closes the dataset.
        on_quota: where a provider allows no more for now, ``wait`` until it does, or ``stop`` when all else is done.
        work_bytes: working memory of one worker's window.
        budget: what this run, or this part of one, may take from providers.
        watch: follows the build.

    Raises:
        ConfigError: unknown layer, or more than the budget is needed.
        StoreError: the folder holds something else, is locked, full or read-only.
        CredentialsError, QuotaReached: from a source, after what needs it not was built.
        BudgetReached: all that the budget allows was built.
        SourceError: from a source.
        KeyboardInterrupt: ``watch`` asked to stop; what was made is kept.
    """
    watch = watch or Watch()
    chosen = _chosen(plan, layers)
    folder, plan = open_plan(out, plan)
    if part is not None:
        with planning(folder.state):
            freeze_for_parts(folder, plan)
    with BuildLock(folder.state, part.name if part else ""), _log(folder, part, watch) as log:
        if part is None:
            folder.blobs.clean()
        units = list(share(plan, chosen, part))
        todo = find_todo(plan, units, folder.ledger.records(), folder.blobs)
        check_space(plan, [unit for unit, _ in todo.tasks], folder.path)
        meter = None
        if budget is not None:
            meter = admit(
                budget,
                plan,
                todo.tasks,
                layers=chosen,
                blobs=folder.blobs,
                work_bytes=work_bytes,
                say=watch.says,
            )
        watch.expects(todo.forecasts)
        if part is None:
            folder.freeze(plan)
        elif not folder.holds(plan):
            raise StoreError("another build has changed the plan just now", hint="run the same command again")
        log.started(Counter(u.layer for u in units), Counter(u.layer for u in todo.done))
        for unit in todo.done:
            watch.done(unit, None)
        run = _Run(plan, folder, runner, work_bytes, on_quota, watch, log, meter)
        with folder.ledger.open_segment(part.writer if part else "build") as segment:
            run.make(todo, segment)
        retryable = run.retryable
        if part is None:
            current = {unit.id for unit in todo.done} | run.made
            measured = measure(folder, plan, current, partial(_reads_unit, watch))
            retryable = finalize(folder, plan, current, measured.admin)
        run.raise_refusals()
        if part is None:
            measured.raise_trouble()
        log.ended(EXIT_INCOMPLETE if retryable else 0)
    return BuildResult(out, len(run.made), len(todo.done), retryable, tuple(sorted(run.damaged)))


def close(out: Path, layers: Iterable[str] | None = None, *, watch: Watch | None = None) -> BuildResult:
    """Close a dataset that was built in parts.

    Args:
        out: the dataset's folder.
        layers: close it with these only; by default every layer of the plan must be complete.
        watch: follows what is read.

    Raises:
        ConfigError: unknown layer.
        StoreError: no build lies there, somebody still builds it, or a part is missing.
    """
    folder = DatasetFolder(out)
    plan = folder.frozen() if folder.state.is_dir() else None
    if plan is None:
        raise StoreError(f"no build lies in {out}", hint="give the folder that `build --out` was given")
    chosen = _chosen(plan, layers)
    with BuildLock(folder.state):
        folder.blobs.clean()
        units = list(share(plan, chosen, None))
        todo = find_todo(plan, units, folder.ledger.records(), folder.blobs)
        # A unit with holes that may fill is whole; one whose record is of other things is not.
        absent = Counter(u.layer for u, prior in todo.tasks if not _is_current(plan, u, prior, folder.blobs))
        if absent:
            missing = ", ".join(f"{layer}: {n:,} of {_units(plan, layer):,}" for layer, n in absent.items())
            whole = [name for name in plan.recipe.layers if name in chosen and name not in absent]
            closed = f"; or close the layers that are complete: --layers {','.join(whole)}" if whole else ""
            raise StoreError(
                f"shards are not built yet ({missing})",
                where=str(out),
                hint=f"`m3leo-prep status {out}` says which part is missing: run its command again{closed}",
            )
        current = {unit.id for unit in units}
        measured = measure(folder, plan, current, partial(_reads_unit, watch or Watch()))
        retryable = finalize(folder, plan, current, measured.admin)
        measured.raise_trouble()
    return BuildResult(out, 0, len(units), retryable)


def _reads_unit(watch: Watch, layer: str, done: int, of: int) -> None:
    if watch.stops():
        raise KeyboardInterrupt
    watch.reads_units(layer, done, of)


def _is_current(plan: Plan, unit: Unit, prior: Record | None, blobs: Blobs) -> bool:
    return prior is not None and is_whole(prior, blobs) and prior.digest == task_of(plan, unit, None).digest


def _units(plan: Plan, layer: str) -> int:
    return sum(1 for _ in plan.units(frozenset({layer})))


def _chosen(plan: Plan, layers: Iterable[str] | None) -> frozenset[str]:
    known = [p.layer.name for p in plan.layers]
    chosen = frozenset(known if layers is None else layers)
    for name in sorted(chosen - set(known)):
        raise ConfigError(f"the recipe has no layer '{name}'", hint=near(name, known))
    return chosen


@contextmanager
def _log(folder: DatasetFolder, part: Part | None, watch: Watch) -> Iterator[RunLog]:
    """Open the run's log, which learns of every end."""
    writer = part.writer if part else "build"
    with RunLog(folder.state, writer, part=(part.number, part.of) if part else None, warn=watch.warns) as log:
        try:
            yield log
        except PrepError as error:
            log.ended(error.exit_code, str(error))
            raise
        except KeyboardInterrupt:
            log.ended(EXIT_INTERRUPTED, "interrupted")
            raise
        except BaseException as error:
            log.ended(1, repr(error))
            raise


class _Run:
    """The units of one run on their way through the runner."""

    def __init__(
        self,
        plan: Plan,
        folder: DatasetFolder,
        runner: Runner,
        work_bytes: int,
        on_quota: OnQuota,
        watch: Watch,
        log: RunLog,
        meter: Meter | None,
    ) -> None:
        self.made: set[str] = set()
        self.damaged: set[str] = set()
        self.retryable = 0
        self._plan = plan
        self._blobs = folder.blobs
        self._state = folder.state
        self._runner = runner
        self._on_quota = on_quota
        self._watch = watch
        self._log = log
        self._work = partial(_attempt, blobs=folder.blobs, work_bytes=work_bytes)
        self._refused: dict[str, CredentialsError | QuotaReached] = {}
        """By source."""
        self._meter = meter
        self._over: dict[str, BudgetReached] = {}
        """By layer, why no more of it is made in this run."""
        self._left: list[tuple[Unit, Record | None]] = []
        """Not made because their source refused."""

    def make(self, todo: Todo, segment: Segment) -> None:
        """Make the units; where a quota is reached and waiting is wanted, wait and go on."""
        for _, prior in todo.tasks:
            if prior is not None and prior.digest and not is_whole(prior, self._blobs):
                segment.append(
                    replace(prior, digest="")
                )  # whether it is made again in this run or not: it is not there
        self._left, fruitless = list(todo.tasks), 0
        while self._left:
            before = len(self.made)
            self._round(segment)
            self._stop_if_asked()
            fruitless = 0 if len(self.made) > before else fruitless + 1
            quotas = {source: e for source, e in self._refused.items() if isinstance(e, QuotaReached)}
            if not quotas or self._on_quota == "stop":
                return
            self._wait(quotas, fruitless)

    def raise_refusals(self) -> None:
        """Raise what a source refused with, a missing login first.

        Raises:
            CredentialsError, QuotaReached: from a source.
            BudgetReached: no source refused, but the budget did.
        """
        for kind in (CredentialsError, QuotaReached):
            for source, error in self._refused.items():
                if isinstance(error, kind):
                    left = Counter(u.layer for u, _ in self._left if self._source(u) == source)
                    what = ", ".join(f"{n:,} shards of {layer}" for layer, n in left.items())
                    hint = f"{error.hint + '; then ' if error.hint else ''}run the same command again"
                    again = f"{error.message} ({what} are left; everything else is built)"
                    if isinstance(error, QuotaReached):
                        when = f" after {error.until:%Y-%m-%d %H:%M} UTC" if error.until else " later"
                        raise QuotaReached(
                            again, until=error.until, hint=f"{hint}{when}, or with --on-quota wait", where=error.where
                        )
                    raise CredentialsError(again, hint=hint, where=error.where)
        for reached in self._over.values():
            left = Counter(u.layer for u, _ in self._left)
            what = ", ".join(f"{n:,} shards of {layer}" for layer, n in left.items())
            raise BudgetReached(
                f"{reached.message} ({what} are left; everything else is built)",
                hint="run the same command again: --budget counts each run anew",
            )

    def _round(self, segment: Segment) -> None:
        """Hand out what is left, but nothing more of a source once it has refused."""
        units = {unit.id: (unit, prior) for unit, prior in self._left}
        tasks, self._left = self._left, []
        self._refused = {s: e for s, e in self._refused.items() if isinstance(e, CredentialsError)}
        held = order_and_fetch(self._plan, tasks, self._blobs, self._state, self._watch, self._log)
        ready = [(unit, prior) for unit, prior in tasks if unit.id not in held.units]
        for outcome in self._runner.map(self._work, self._handed_out(ready, segment)):
            if isinstance(outcome, Refused):
                self._refused.setdefault(self._source(outcome.unit), outcome.error)
                prior = units[outcome.unit.id][1]
                if prior is not None and is_whole(prior, self._blobs):  # not touched: what it had still stands
                    segment.append(prior)
                self._left.append(units[outcome.unit.id])
                if self._meter is not None:
                    self._meter.give_back(outcome.unit)
                self._log.dropped(outcome.unit.id)
                self._watch.drops(outcome.unit)
            else:
                segment.append(outcome)
                self._note(units[outcome.unit][0], outcome)
        # Only now: other layers of the same source are built all the same.
        for unit, prior in tasks:
            if unit.id in held.units:
                self._left.append((unit, prior))
                self._refused.setdefault(self._source(unit), held.of[unit.layer])

    def _handed_out(self, tasks: list[tuple[Unit, Record | None]], segment: Segment) -> Iterator[Task]:
        for unit, prior in tasks:
            if self._watch.stops():
                return
            if self._source(unit) in self._refused or not self._affords(unit, prior):
                self._left.append((unit, prior))
            else:
                if prior is not None and prior.digest:
                    # From now on its shard may be replaced: the record still tells what can be copied, but not "done".
                    segment.append(replace(prior, digest=""))
                self._log.began(unit.id, unit.layer)
                self._watch.begins(unit)
                yield task_of(self._plan, unit, prior)

    def _affords(self, unit: Unit, prior: Record | None) -> bool:
        if self._meter is not None and unit.layer not in self._over:
            try:
                self._meter.take(unit, prior)
            except BudgetReached as error:
                self._over[unit.layer] = error
        return unit.layer not in self._over

    def _note(self, unit: Unit, record: Record) -> None:
        self.made.add(record.unit)
        self.damaged.update(record.info["damaged"], record.info["holes"])
        self.retryable += record.retryable
        reasons: Counter[str] = Counter()
        for name, codes in record.arrays.items():
            if name.startswith("reason."):
                for code, n in zip(*np.unique(codes, return_counts=True), strict=True):
                    reasons[Reason(int(code)).name] += int(n)
        self._log.finished(
            record.unit,
            unit.layer,
            retryable=record.retryable,
            bytes=sum(shard.bytes for shard in record.shards),
            reasons=reasons,
            damaged=len(record.info["damaged"]) + len(record.info["holes"]),
        )
        self._watch.done(unit, record)

    def _wait(self, quotas: dict[str, QuotaReached], fruitless: int) -> None:
        """Sleep until the first of the sources may allow more."""
        never = datetime.max.replace(tzinfo=UTC)
        source, error = min(quotas.items(), key=lambda pair: pair[1].until or never)
        until = error.until
        seconds = UNKNOWN_PAUSE_SECONDS if until is None else (until - datetime.now(UTC)).total_seconds()
        least = min(MOST_PAUSE_SECONDS, LEAST_PAUSE_SECONDS * 2 ** max(0, fruitless - 1))
        self._log.waiting(source, until, error.message)
        self._watch.waits(source, until, error.message)
        end = monotonic() + max(seconds, least)
        while (left := end - monotonic()) > 0:
            self._stop_if_asked()
            sleep(min(left, LOOK_SECONDS))
        self._log.resumed()
        self._watch.goes_on()

    def _stop_if_asked(self) -> None:
        if self._watch.stops():
            raise KeyboardInterrupt

    def _source(self, unit: Unit) -> str:
        return self._plan.layer(unit.layer).source.name


def _attempt(task: Task, blobs: Blobs, work_bytes: int) -> Record | Refused:
    """Build a unit; a provider's refusal is a result, because other providers' units go on."""
    try:
        return build_unit(task, blobs, work_bytes)
    except (CredentialsError, QuotaReached) as error:
        return Refused(task.unit, error)

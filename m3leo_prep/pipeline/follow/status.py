"""How far a build is, here or on another machine: from the plan's figures, the status files and the locks.

No item, chip, unit or ledger record is read, so that it takes as long for a million units as for ten.
"""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from m3leo_prep.core.errors import StoreError
from m3leo_prep.core.format import FORMAT_VERSION, is_newer
from m3leo_prep.pipeline.follow.events import is_of_plan, layer_plans, read_status_files
from m3leo_prep.pipeline.follow.writers import Doing, Running, Writer, others, writer_of

# As in pipeline/state, whose import would take longer than all that is done here.
STATE = ".m3leo"
PLAN = f"{STATE}/plan/plan.json"

SHOWN_PARTS = 4
"""Named one by one."""
SKEW_SECONDS = 5.0
"""Between the clocks of the machines and of the file server."""


@dataclass(frozen=True, slots=True)
class LayerStatus:
    """One layer."""

    layer: str
    units: int
    done: int
    retryable: int = 0
    """Holes (chip x slot x band) that the next run asks for again."""
    bytes: int = 0
    """Written by the runs that the status files tell of."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Chips x slots x bands by reason, of the same runs."""


@dataclass(frozen=True, slots=True)
class Status:
    """How far a build is."""

    path: Path
    name: str
    area: str
    chips: int
    layers: tuple[LayerStatus, ...]
    writers: tuple[Writer, ...]
    is_closed: bool
    """The tables and the manifest are those of the finished units."""
    now: datetime
    notes: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """Of all layers."""
        return sum(layer.units for layer in self.layers)

    @property
    def done(self) -> int:
        """Units that are made."""
        return sum(layer.done for layer in self.layers)

    @property
    def retryable(self) -> int:
        """Holes that the next run asks for again."""
        return sum(layer.retryable for layer in self.layers)

    @property
    def seconds_left(self) -> float | None:
        """Until the last of the writers that go on is ready; None where nothing goes on, or one cannot be told."""
        left = [writer.seconds_left(self.now) for writer in self.writers if writer.is_alive]
        known = [seconds for seconds in left if seconds is not None]
        return max(known) if left and len(known) == len(left) else None

    @property
    def longest(self) -> Running | None:
        """The unit that has been in a worker's hands for longest."""
        return min(
            (unit for w in self.writers if w.is_alive for unit in w.running), key=lambda u: u.since, default=None
        )

    @property
    def next(self) -> str:
        """What to do now, as a command where there is one; empty while all goes on by itself."""
        again = "run the same `m3leo-prep build` command again"
        lost = [w for w in self.writers if w.doing in {Doing.STOPPED, Doing.MISSING}]
        if parts := _part_options([w.part for w in lost if w.part]):
            return f"run the same `m3leo-prep build` command with {parts}: what is finished is kept"
        if lost or not self.writers:
            return f"{again}: what is finished is kept"
        if any(writer.is_alive for writer in self.writers):
            return ""
        in_parts = any(writer.part for writer in self.writers)
        if self.is_closed and self.retryable:
            return f"{again}{', each part and then finalize' if in_parts else ''}: {self.retryable:,} holes may fill"
        if self.is_closed:
            return f"m3leo-prep verify {shlex.quote(str(self.path))}"
        open_layers = [layer.layer for layer in self.layers if layer.done < layer.units]
        if open_layers:
            return (
                f"build the other layers too: the same `m3leo-prep build` command with --layers {','.join(open_layers)}"
            )
        return f"m3leo-prep finalize {shlex.quote(str(self.path))}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        found = asdict(self) | {
            "path": str(self.path),
            "units": self.units,
            "done": self.done,
            "retryable": self.retryable,
            "seconds_left": self.seconds_left,
            "longest": None if self.longest is None else asdict(self.longest),
            "next": self.next,
        }
        plain: dict[str, Any] = json.loads(json.dumps(found, default=lambda when: when.isoformat()))
        return plain


def read_status(path: Path) -> Status:
    """Return how far the build in a folder is.

    Raises:
        StoreError: no dataset, no plan yet, or a damaged plan.
    """
    now = datetime.now(UTC)
    plan = _read_plan(path)
    units = {
        layer["name"]: math.ceil(plan["n_chips"] / layer["shard_chips"])
        * math.ceil(len(layer["slots"]) / layer["shard_slots"])
        for layer in (entry["layer"] for entry in plan["layers"])
    }
    runs = read_status_files(path / STATE)
    parts = {name: run for name, run in runs.items() if run["part"]}
    notes: list[str] = []
    # A whole build removes the parts' files, so where both are, the whole build is history.
    current, history = (parts, runs.get("build")) if parts else (runs, None)
    writers = [writer_of(run, path / STATE, now) for run in current.values()]
    writers += others(writers, path / STATE)
    if history and any(writer.doing is Doing.MISSING for writer in writers):
        notes.append("what an earlier whole build made is not counted for parts that have not started")
    if runs:
        plans = layer_plans(plan)
        layers = [_sum_up(name, n, plans[name], current, history) for name, n in units.items()]
        known = (counts for run in runs.values() for counts in run["layers"].items() if counts[0] in plans)
        if any(not is_of_plan(counts, plans[name]) for name, counts in known):
            notes.append("the plan has changed: what was made before it is counted when its command runs again")
    else:
        layers = _from_ledger(path, units)
        if any(layer.done for layer in layers):
            notes.append("no run has left a status here: counted from the ledger, changed settings not looked at")
    is_closed = all(layer.done == layer.units for layer in layers) and _is_closed(path, plan, current)
    return Status(
        path=path,
        name=plan["recipe"]["name"],
        area=plan["area"]["name"],
        chips=plan["n_chips"],
        layers=tuple(layers),
        writers=tuple(sorted(writers, key=lambda w: (w.part is not None, w.part or (0, 0)))),
        is_closed=is_closed,
        now=now,
        notes=tuple(notes),
    )


def _part_options(parts: list[tuple[int, int]]) -> str:
    """Return the options of some parts; of many, as ranges, which a Slurm array takes.

    >>> _part_options([(1, 9), (3, 9), (4, 9), (5, 9), (6, 9)])
    '--part I/9 for I = 1,3-6'
    """
    if len(parts) <= SHOWN_PARTS:
        return " and with ".join(f"--part {i}/{n}" for i, n in parts)
    texts = []
    for of in sorted({n for _, n in parts}):
        numbers = sorted(i for i, n in parts if n == of)
        starts = [i for i in numbers if i - 1 not in numbers]
        ends = [i for i in numbers if i + 1 not in numbers]
        ranges = ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
        texts.append(f"--part I/{of} for I = {ranges}")
    return " and ".join(texts)


def _read_plan(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise StoreError(f"there is no dataset at {path}", hint="give the folder that `build --out` made")
    if not (path / STATE).is_dir():
        if (path / "manifest.json").is_file():
            raise StoreError(
                f"{path} is a dataset without the state of its build: there is nothing to follow",
                hint=f"a copy is checked by: m3leo-prep verify {shlex.quote(str(path))}",
            )
        raise StoreError(f"{path} is not a dataset", hint="give the folder that `build --out` made")
    try:
        plan = json.loads((path / PLAN).read_bytes())
        if plan["n_chips"] >= 0 and plan["recipe"]["name"] and plan["area"]["name"]:
            for entry in plan["layers"]:
                layer = entry["layer"]
                if min(layer["shard_chips"], layer["shard_slots"], len(layer["slots"])) < 1 or not layer["name"]:
                    raise KeyError(layer["name"])  # noqa: TRY301  damaged like the rest
        version = str(plan.get("format_version", FORMAT_VERSION))
        if is_newer(version):
            raise StoreError(
                f"the dataset was planned by format {version}, this version knows {FORMAT_VERSION}",
                hint="pip install --upgrade m3leo-prep",
                where=str(path),
            )
    except FileNotFoundError:
        raise StoreError(
            f"nothing is planned in {path} yet", hint="a build that has just started is still planning: ask again soon"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            "the frozen plan is damaged",
            hint="put it back from a backup; or update m3leo-prep, if a newer version made it",
            where=f"{path}/{PLAN}",
        ) from None
    return dict(plan)


def _sum_up(
    name: str, units: int, plan: str, runs: Mapping[str, Any], history: Mapping[str, Any] | None
) -> LayerStatus:
    """Return a layer's counts over all writers whose plan of it is the present one."""

    def of(some: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        found = [run["layers"][name] for run in some if name in run["layers"]]
        return [counts for counts in found if is_of_plan(counts, plan)]

    counts = of(runs.values()) or of([history] if history else [])
    reasons: Counter[str] = Counter()
    for one in counts:
        reasons.update(one["reasons"])
    return LayerStatus(
        name,
        units,
        min(units, sum(one["done"] for one in counts)),
        sum(one["retryable"] for one in counts),
        sum(one["bytes"] for one in counts),
        dict(reasons),
    )


def _from_ledger(path: Path, units: Mapping[str, int]) -> list[LayerStatus]:
    """Return the counts of a state that an older version left: slow, a record at a time."""
    from m3leo_prep.store.ledger import Ledger

    done: Counter[str] = Counter()
    retryable: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for record in Ledger(path / STATE / "ledger").records().values():
        layer = record.unit.split("/")[0]
        if record.digest:
            done[layer] += 1
            retryable[layer] += record.retryable
            size[layer] += sum(shard.bytes for shard in record.shards)
    return [LayerStatus(name, n, min(n, done[name]), retryable[name], size[name]) for name, n in units.items()]


def _is_closed(path: Path, plan: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether the manifest is that of all layers and chips, and not older than the units."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        written = (path / "manifest.json").stat().st_mtime
    except (OSError, ValueError):
        return False
    if manifest["n_chips"] != plan["n_chips"] or manifest["layers"].keys() != {
        e["layer"]["name"] for e in plan["layers"]
    }:
        return False
    made = [datetime.fromisoformat(run["made"]).timestamp() for run in runs.values() if run["made"]]
    return max(made, default=0.0) <= written + SKEW_SECONDS

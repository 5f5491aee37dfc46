"""Who builds a dataset now, and who did: from the status files and the locks."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from m3leo_prep.core.errors import EXIT_INCOMPLETE
from m3leo_prep.pipeline.follow.events import HEARTBEAT_SECONDS

STALE_SECONDS = 3 * HEARTBEAT_SECONDS
"""A writer on another machine, whose lock cannot be seen here, is taken for dead when it is silent for longer."""


class Doing(StrEnum):
    """What a writer does."""

    STARTING = "starting"
    """Holds the dataset, but has not said what it does: it looks what is done, or closes the dataset."""
    RUNNING = "running"
    WAITING = "waiting"
    FINISHED = "finished"
    STOPPED = "stopped"
    """Ended before its share was made: killed, failed, interrupted, or out of quota."""
    MISSING = "missing"
    """A part that never started."""


@dataclass(frozen=True, slots=True)
class Running:
    """A unit in a worker's hands."""

    unit: str
    layer: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """For a source's quota."""

    what: str
    until: datetime | None
    message: str


@dataclass(frozen=True, slots=True)
class Writer:
    """One process that builds: the whole dataset, or a part."""

    name: str
    doing: Doing
    part: tuple[int, int] | None = None
    host: str = ""
    pid: int = 0
    started: datetime | None = None
    updated: datetime | None = None
    units: int = 0
    done: int = 0
    rate: float | None = None
    """Units per second, of late."""
    running: tuple[Running, ...] = ()
    waiting: Waiting | None = None
    exit: int | None = None
    message: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it goes on by itself."""
        return self.doing in {Doing.STARTING, Doing.RUNNING, Doing.WAITING}

    def seconds_left(self, now: datetime) -> float | None:
        """Return the expected time until its share is made, or None where nothing tells."""
        if self.done >= self.units:
            return 0.0
        if not self.rate or (self.waiting and not self.waiting.until):
            return None
        pause = (self.waiting.until - now).total_seconds() if self.waiting and self.waiting.until else 0.0
        return max(0.0, pause) + (self.units - self.done) / self.rate


def writer_of(run: Mapping[str, Any], state: Path, now: datetime) -> Writer:
    """Return what a status file tells, and its lock: whether the process is alive."""
    layers = run["layers"].values()
    ended, wait = run["ended"], run["waiting"]
    holder = _holder(state / _lock_name(run["writer"]))
    mine = (run["host"], run["pid"])
    updated = datetime.fromisoformat(run["updated"])
    message = ""
    if holder and holder != mine:
        doing = Doing.STARTING
    elif ended:
        doing = Doing.FINISHED if ended["exit"] in {0, EXIT_INCOMPLETE} else Doing.STOPPED
        message = ended["message"]
    elif holder or (run["host"] != socket.gethostname() and (now - updated).total_seconds() < STALE_SECONDS):
        doing = Doing.WAITING if wait else Doing.RUNNING
    else:
        doing = Doing.STOPPED
        message = "it was killed, or its machine went down"
    goes_on = doing in {Doing.RUNNING, Doing.WAITING}
    return Writer(
        name=run["writer"],
        doing=doing,
        part=None if run["part"] is None else (int(run["part"][0]), int(run["part"][1])),
        host=run["host"],
        pid=run["pid"],
        started=datetime.fromisoformat(run["started"]),
        updated=updated,
        units=sum(counts["units"] for counts in layers),
        done=sum(counts["done"] for counts in layers),
        rate=run["rate"] if goes_on else None,
        running=tuple(Running(u["unit"], u["layer"], datetime.fromisoformat(u["since"])) for u in run["running"]),
        waiting=Waiting(wait["what"], _time(wait["until"]), wait["message"]) if wait and goes_on else None,
        exit=None if ended is None else ended["exit"],
        message=message,
    )


def others(writers: list[Writer], state: Path) -> list[Writer]:
    """Return the writers that have left no status: those that are just starting, and parts that never started."""
    known = {writer.name for writer in writers}
    found = []
    for path in sorted(state.glob("lock-*-of-*")):
        name = f"part-{path.name.removeprefix('lock-')}"
        if name not in known and (holder := _holder(path)):
            number, _, of = path.name.removeprefix("lock-").partition("-of-")
            found.append(Writer(name, Doing.STARTING, (int(number), int(of)), *holder))
    if "build" not in known and (holder := _holder(state / "lock")):
        found.append(Writer("build", Doing.STARTING, None, *holder))
    counts = {writer.part[1] for writer in [*writers, *found] if writer.part}
    known |= {writer.name for writer in found}
    missing = [(i, n) for n in counts for i in range(1, n + 1) if f"part-{i}-of-{n}" not in known]
    return found + [Writer(f"part-{i}-of-{n}", Doing.MISSING, (i, n)) for i, n in missing]


def _lock_name(writer: str) -> str:
    return "lock" if writer == "build" else f"lock-{writer.removeprefix('part-')}"


def _holder(path: Path) -> tuple[str, int] | None:
    """Return (host, process) of who holds a lock for itself alone, or None.

    To learn it, a free lock is taken for some microseconds, shared. A builder that wants it in that moment tries again
    (``store/lock``); one that has it, or shares it, notices nothing.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            given = json.loads(os.pread(handle, 1000, 0))
            return str(given["host"]), int(given["pid"])
        except (ValueError, KeyError, TypeError):  # its owner is just starting
            return "", 0
    except OSError:  # locks do not work from here
        return None
    finally:
        os.close(handle)
    return None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)

"""One graph at a time in processes of SNAP's own, within bounds of memory and time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from m3leo_prep.blobs.room import allowed_bytes
from m3leo_prep.core.errors import ConfigError, MissingDependency, StoreError
from m3leo_prep.sources.snap import snappy
from m3leo_prep.sources.snap.ends import HOURS, MEMORY, Fault, fault, out_of_memory, out_of_time
from m3leo_prep.sources.snap.installed import INSTALL, Snap

DEFAULT_HOURS = "6"
SHARE = 3 / 4
"""Of this machine's memory, which all of SNAP may take."""
HEAP, CACHE = 0.8, 0.4
"""Of what SNAP may take: for Java's objects; and of those, for tiles. The rest is Java's own, and native libraries'."""
_LOOK_SECONDS = 0.5
"""Between two looks at how much memory is taken."""
_GRACE_SECONDS = 5.0
"""From asking the processes to end until they are ended."""
_TAIL_BYTES = 2**20
_WITH_US = 'exec 3<&0; (read -r _ <&3; kill -KILL 0) & exec "$@" 3<&- </dev/null'
"""Runs a program whose whole group is ended when we are, however that comes: our end of a pipe is closed then."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one graph may take."""

    memory: int
    """Bytes, of all its processes."""
    seconds: float
    threads: int


def bounds() -> Bounds:
    """Return what a graph may take: ``M3LEO_PREP_SNAP_GB`` (3/4 of the memory), ``M3LEO_PREP_SNAP_HOURS`` (6).

    Raises:
        ConfigError: no such size or time.
    """
    default = SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    memory = allowed_bytes(MEMORY, f"{default:.3f}", hint="such as 16")
    given = os.environ.get(HOURS) or DEFAULT_HOURS
    try:
        hours = float(given)
    except ValueError:
        hours = 0.0
    if not hours > 0:
        raise ConfigError(f"{given!r} is no number of hours", where=HOURS, hint="such as 6")
    return Bounds(memory, hours * 3600, len(os.sched_getaffinity(0)))


def run(snap: Snap, graph: Path, log: Path, limits: Bounds, where: str) -> None:
    """Run a graph; all that SNAP says goes to ``log``, which is kept whatever happens.

    The process leads a group of its own, which is ended as a whole: by an error here, by Ctrl-C, when it takes more
    memory or time than it may, and when this process is killed.

    Args:
        snap: what runs it.
        graph: the XML.
        log: a file, written anew.
        limits: what it may take.
        where: what is made, for messages; of damaged input, the item.

    Raises:
        NoData: SNAP finds nothing of the scene where it is asked.
        CorruptError: SNAP cannot read the scene.
        TriedOut: it ran out of memory or time, found no orbit, or failed for another reason.
        ConfigError: this SNAP has other operators or parameters.
        MissingDependency: SNAP is gone.
        StoreError: the disk is full.
    """
    if not os.access(snap.program, os.X_OK):
        raise MissingDependency(f"{snap} cannot be started", where=where, hint=INSTALL)
    try:
        with (
            log.open("wb") as out,
            subprocess.Popen(  # noqa: S603  the user's own program, and paths that we made
                ["/bin/sh", "-c", _WITH_US, "sh", *_command(snap, graph, limits)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=graph.parent,  # Java writes hs_err_pid files where it runs
                start_new_session=True,
            ) as process,
        ):
            try:
                stopped = _watched(process, limits)
            finally:
                _end(process)
        said = "" if stopped else _tail(log)
    except OSError as error:
        raise StoreError(f"SNAP cannot be run: {error.strerror}", where=str(error.filename or log)) from error
    found = stopped or fault(process.returncode, said, snap)
    if found is not None:
        raise found(where, f"the log is {log}")


def _command(snap: Snap, graph: Path, limits: Bounds) -> list[str]:
    if snap.way == "esa_snappy":
        return [str(snap.program), snappy.__file__, str(graph)]
    heap = int(limits.memory * HEAP / 2**20)
    return [
        str(snap.program),
        str(graph),
        "-e",  # whole errors
        "-x",  # tiles that are written are forgotten
        *("-c", f"{int(heap * CACHE)}M"),
        *("-q", str(limits.threads)),
        f"-J-Xmx{heap}M",
    ]


def _watched(process: subprocess.Popen[bytes], limits: Bounds) -> Fault | None:
    """Wait until a process ends, or return why it must be ended."""
    until = time.monotonic() + limits.seconds
    while True:
        try:
            process.wait(min(_LOOK_SECONDS, limits.seconds))
        except subprocess.TimeoutExpired:
            if time.monotonic() > until:
                return out_of_time(limits.seconds)
            if _taken(process.pid) > limits.memory:
                return out_of_memory(f"took more than the {limits.memory / 1e9:.1f} GB that it may, and was ended")
        else:
            return None


def _taken(group: int) -> int:
    """Return the bytes of memory that the processes of a group hold; 0 where the system does not tell."""
    pages = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        # man 5 proc: fields 5 (group) and 24 (resident pages), counted from 3 behind the name.
        if int(fields[2]) == group:
            pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of a process and its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        if number == signal.SIGTERM and process.poll() is None:
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    process.wait()


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace")

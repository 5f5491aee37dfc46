"""One graph at a time in a process of SNAP's own, within bounds of memory and time, and what its end means."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from m3leo_prep.blobs.room import allowed_bytes
from m3leo_prep.core.errors import ConfigError, CorruptError, NoData, PrepError, StoreError, TriedOut
from m3leo_prep.sources.snap import snappy
from m3leo_prep.sources.snap.installed import Snap

MEMORY, HOURS = "M3LEO_PREP_SNAP_GB", "M3LEO_PREP_SNAP_HOURS"
DEFAULT_HOURS = "6"
SHARE = 3 / 4
"""Of this machine's memory, which all of SNAP may take."""
HEAP, CACHE = 0.8, 0.4
"""Of what SNAP may take: for Java's objects; and of those, for tiles. The rest is Java's own, and native libraries'."""
_LOOK_SECONDS = 0.5
"""Between two looks at how much memory is taken."""
_GRACE_SECONDS = 5.0
"""From asking the processes to end until they are ended."""
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
_TAIL_BYTES = 2**20


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

    The process leads a group of its own, which is ended as a whole: by an error here, by Ctrl-C, or when it takes more
    memory or time than it may.

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
        StoreError: the disk is full.
    """
    try:
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603  the user's own program, and paths that we made
                _command(snap, graph, limits),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=graph.parent,  # Java writes hs_err_pid files where it runs
                start_new_session=True,
            )
            try:
                stopped = _watched(process, limits)
            finally:
                _end(process)
    except OSError as error:
        raise StoreError(f"SNAP cannot be started: {error.strerror}", where=str(error.filename or log)) from error
    fault = stopped or _fault(process.returncode, _tail(log), snap)
    if fault is not None:
        raise fault(where, f"the log is {log}")


Fault = Callable[[str, str], PrepError]
"""Makes an error of where it happened and where the log is."""


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
                return lambda where, log: TriedOut(
                    f"SNAP was not done after {limits.seconds / 3600:g} hours, and was ended",
                    where=where,
                    hint=f"{log}; allow more: export {HOURS}=12",
                )
            if _taken(process.pid) > limits.memory:
                return _out_of_memory(f"took more than the {limits.memory / 1e9:.1f} GB that it may, and was ended")
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


def _out_of_memory(what: str) -> Fault:
    return lambda where, log: TriedOut(
        f"SNAP {what}", where=where, hint=f"{log}; allow more memory: export {MEMORY}=32, or build on a larger machine"
    )


def _fault(status: int, said: str, snap: Snap) -> Fault | None:
    """Return what an end means, None if all is well: SNAP ends with 0 after some of its errors, too."""
    if status in _KILLED:
        return _out_of_memory("was killed from outside, as the system does when memory runs out")
    if re.search(r"OutOfMemoryError|Java heap space|GC overhead limit|Cannot allocate memory", said):
        return _out_of_memory("ran out of memory")
    unknown = re.search(r"Unknown (element|operator) '([^']+)'", said)
    if unknown:
        kind = "parameter" if unknown[1] == "element" else "operator"
        return lambda where, log: ConfigError(
            f"{snap} knows no {kind} '{unknown[2]}'", where=where, hint=f"{log}; `make live-snap` tells all differences"
        )
    if "No intersection" in said:
        return lambda where, log: NoData("SNAP finds no intersection with the scene", where=where, hint=log)
    if "No valid orbit file found" in said:
        return lambda where, log: TriedOut(
            "SNAP found neither a precise nor a restituted orbit",
            where=where,
            hint=f"{log}; it names the folder for orbit files. Precise ones come some 20 days after the scene",
        )
    if re.search(r"No space left on device|Disk quota exceeded", said):
        return lambda where, log: StoreError("the disk is full", where=where, hint=f"{log}; make room and build again")
    if re.search(r"No (appropriate )?product reader found|zip END header not found|error in opening zip file", said):
        return lambda where, log: CorruptError("SNAP cannot read the scene", where=where, hint=log)
    if status != 0:
        errors = re.findall(r"^(?:Error: |SEVERE: |Caused by: )(.+)$", said, re.MULTILINE)
        why = f": {errors[-1].strip()[:300]}" if errors else ""
        return lambda where, log: TriedOut(f"SNAP failed ({status}){why}", where=where, hint=log)
    return None

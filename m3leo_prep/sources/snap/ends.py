"""What the end of a run means: SNAP ends with 0 after some of its errors, too."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

from m3leo_prep.core.errors import ConfigError, CorruptError, NoData, PrepError, StoreError, TriedOut
from m3leo_prep.sources.snap.installed import Snap

MEMORY, HOURS = "M3LEO_PREP_SNAP_GB", "M3LEO_PREP_SNAP_HOURS"
Fault = Callable[[str, str], PrepError]
"""Makes an error of where it happened and where the log is."""
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


def fault(status: int, said: str, snap: Snap) -> Fault | None:
    """Return what an end means; None if all is well.

    Args:
        status: of the process.
        said: the end of what it printed.
        snap: what was run.
    """
    if status in _KILLED:
        # Not by its own limit, of which Java would have told: what all processes take is more than the machine has.
        return lambda where, log: TriedOut(
            "SNAP was killed from outside, as the system does when memory runs out",
            where=where,
            hint=f"{log}; allow it less than the machine has left: export {MEMORY}=8, or build on a larger machine",
        )
    if re.search(r"OutOfMemoryError|Java heap space|GC overhead limit|Cannot allocate memory", said):
        return out_of_memory("ran out of memory")
    # DefaultDomConverter and NodeContext.initOperator of snap-engine.
    unknown = re.search(r"Unknown (element) '([^']+)'|SPI not found for (operator) '([^']+)'", said)
    if unknown:
        kind, name = ("parameter", unknown[2]) if unknown[1] else ("operator", unknown[4])
        return lambda where, log: ConfigError(
            f"{snap} knows no {kind} '{name}'", where=where, hint=f"{log}; `make live-snap` tells all differences"
        )
    if "No intersection" in said:
        return lambda where, log: NoData("SNAP finds no intersection with the scene", where=where, hint=log)
    if "No valid orbit file found" in said:  # SentinelPODOrbitFile of the microwave toolbox
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


def out_of_memory(what: str) -> Fault:
    """Return the error of a run that needs more memory than it may take."""
    return lambda where, log: TriedOut(
        f"SNAP {what}", where=where, hint=f"{log}; allow more memory: export {MEMORY}=32, or build on a larger machine"
    )


def out_of_time(seconds: float) -> Fault:
    """Return the error of a run that takes longer than it may."""
    return lambda where, log: TriedOut(
        f"SNAP was not done after {seconds / 3600:g} hours, and was ended",
        where=where,
        hint=f"{log}; allow more: export {HOURS}=12",
    )

"""What failed in this run, told to all its processes: nobody waits for hours for the same end again.

A note lies beside the log. It counts for the processes of the run that wrote it: the next run tries again, and so does
one that allows SNAP more.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from m3leo_prep.core.errors import CorruptError, NoData, RateLimited, SourceError, TriedOut

_KINDS = {kind.__name__: kind for kind in (SourceError, TriedOut, RateLimited, NoData, CorruptError)}
"""Those that are noted: what a person mends while it runs, such as a login or a full disk, is not."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The place of a note.

    Attributes:
        path: the file.
        terms: what the same end would follow from, such as how much memory there was.
    """

    path: Path
    terms: str

    def tell(self) -> None:
        """Raise what was noted by this run under these terms, if anything was."""
        try:
            noted = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return
        if noted["run"] == _run() and noted["terms"] == self.terms:
            raise _KINDS[noted["kind"]](noted["message"], where=noted["where"], hint=noted["hint"])

    def note(self, error: SourceError) -> None:
        """Note an error, if it is one that comes again; a full disk has other errors that tell of it."""
        kind = type(error).__name__
        if kind in _KINDS:
            parts = {"kind": kind, "message": error.message, "where": error.where, "hint": error.hint}
            with suppress(OSError):
                self.path.write_text(json.dumps({"run": _run(), "terms": self.terms, **parts}), encoding="utf-8")

    def forget(self) -> None:
        """Remove the note, if there is one."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def _run() -> str:
    """Return a name that this process shares with those that it starts, and with no other ever."""
    parent = multiprocessing.parent_process()
    pid = os.getpid() if parent is None else parent.pid
    # man 5 proc: field 22, when it started; the number alone comes again.
    started = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    return f"{socket.gethostname()} {pid} {started}"

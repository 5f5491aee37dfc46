"""Tables, sizes and progress for people; plain lines where nobody looks."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

ERR = Console(stderr=True, highlight=False, markup=False)
OUT = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)
LOG_SECONDS = 30.0
"""Between progress lines in a log file."""
LONG_SECONDS = 120.0
"""A part that runs for longer is named."""


def size(n_bytes: float) -> str:
    """Return a size for people.

    >>> size(1_234_567_890)
    '1.23 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


class _Out:
    json: TextIO | None = None
    """Where JSON goes while nothing else may go to standard output."""


def print_json(value: Any) -> None:
    """Print a value as JSON to standard output."""
    out = _Out.json or sys.stdout
    out.write(json.dumps(value, indent=1, default=str) + "\n")
    out.flush()


@contextmanager
def json_alone() -> Iterator[None]:
    """A context in which standard output carries JSON and nothing else.

    What a source prints goes to standard error, also what its libraries and the processes it starts print.
    """
    out = sys.stdout
    try:
        number = out.fileno()
    except (OSError, ValueError, AttributeError):  # a notebook's, or a test's
        _Out.json, kept = out, None
    else:
        out.flush()
        kept = os.dup(number)
        os.dup2(2, number)
        _Out.json = os.fdopen(os.dup(kept), "w")
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            with suppress(OSError):  # whoever reads may have gone
                _Out.json.close()
            os.dup2(kept, number)
            os.close(kept)
        _Out.json = None


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table to standard output; numbers to the right."""
    table = Table(
        title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for position, name in enumerate(columns):
        is_number = bool(rows) and all(isinstance(row[position], (int, float)) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else Text(str(cell)) for cell in row))
    OUT.print(table)


def duration(seconds: float) -> str:
    """Return a time span for people, two units at most.

    >>> duration(18_720)
    '5 h 12 min'
    """
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{max(0.0, seconds):.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


class Bar(Protocol):
    """Progress of several named things at once; callable from any thread."""

    def step(self, name: str, *, skipped: bool = False, unit_id: str = "") -> None:
        """Note that one part of ``name`` is done, which ``began`` as ``unit_id``."""
        ...

    def began(self, unit_id: str) -> None:
        """Note that a part was handed to a worker; one that takes long is named."""
        ...

    def dropped(self, unit_id: str) -> None:
        """Note that a part which began is not being made any more."""
        ...

    def note(self, text: str) -> None:
        """Show a state such as "waiting for gee's quota until 00:00 UTC" until the next note; "" ends it."""
        ...


@contextmanager
def progress(totals: dict[str, int], unit: str, *, made: str = "made") -> Iterator[Bar]:
    """Show bars with rate and time left on a terminal, a line now and then elsewhere; all to standard error.

    Args:
        totals: how many parts each thing has.
        unit: what a part is.
        made: what is done with it, for the last line of a log.
    """
    if not ERR.is_terminal:
        lines = _Lines(totals, unit, made)
        try:
            yield lines
        finally:
            lines.end()
        return
    from rich.live import Live

    bars = _Bars(totals, unit)
    with Live(bars, console=ERR):
        yield bars


class _Running:
    """Which parts are being made, and since when."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._note = ""

    def began(self, unit_id: str) -> None:
        self._since[unit_id] = time.monotonic()

    def dropped(self, unit_id: str) -> None:
        self._since.pop(unit_id, None)

    def note(self, text: str) -> None:
        self._note = text

    def remarks(self) -> list[str]:
        """Return what is to be said now: the note, and the part that has run for longest if that is long."""
        found = [self._note] if self._note else []
        since = self._since.copy()
        if since:
            unit_id = min(since, key=since.__getitem__)
            seconds = time.monotonic() - since[unit_id]
            if seconds >= LONG_SECONDS:
                found.append(f"{unit_id} has been running for {duration(seconds)}")
        return found


class _Bars(_Running):
    def __init__(self, totals: dict[str, int], unit: str) -> None:
        from rich import progress as rich

        super().__init__()
        self._bars = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(bar_width=None),
            rich.TextColumn(f"{{task.completed:,}}/{{task.total:,}} {unit}", justify="right"),
            rich.TextColumn("{task.fields[rate]}", justify="right"),
            rich.TimeElapsedColumn(),
            rich.TextColumn("left"),
            rich.TimeRemainingColumn(),
            expand=True,
        )
        self._tasks = {name: self._bars.add_task(name, total=total, rate="") for name, total in totals.items()}
        self._made = dict.fromkeys(totals, 0)
        self._start = time.monotonic()

    def step(self, name: str, *, skipped: bool = False, unit_id: str = "") -> None:
        self.dropped(unit_id)
        self._made[name] += not skipped
        rate = 60 * self._made[name] / max(1e-9, time.monotonic() - self._start)
        self._bars.update(self._tasks[name], advance=1, rate=f"{rate:.1f}/min" if self._made[name] else "kept")

    def __rich__(self) -> RenderableType:
        return Group(self._bars, *(Text(line) for line in self.remarks()))


class _Lines(_Running):
    """A line every LOG_SECONDS, whether anything has finished or not: who reads the log sees that it lives."""

    def __init__(self, totals: dict[str, int], unit: str, made: str) -> None:
        super().__init__()
        self._totals, self._unit, self._verb = totals, unit, made
        self._done = dict.fromkeys(totals, 0)
        self._made = 0
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="progress", daemon=True)
        self._heart.start()

    def step(self, name: str, *, skipped: bool = False, unit_id: str = "") -> None:
        self.dropped(unit_id)
        with self._lock:
            self._done[name] += 1
            self._made += not skipped

    def note(self, text: str) -> None:
        super().note(text)
        if text:
            ERR.print(f"{_clock()} {text}", soft_wrap=True)

    def end(self) -> None:
        """Write the last line."""
        self._over.set()
        self._heart.join()
        spent = duration(time.monotonic() - self._start)
        ERR.print(f"{_clock()} {self._counts()}, {self._made:,} {self._verb} in {spent}", soft_wrap=True)

    def _beat(self) -> None:
        while not self._over.wait(LOG_SECONDS):
            ERR.print("; ".join([f"{_clock()} {self._counts()}{self._pace()}", *self.remarks()]), soft_wrap=True)

    def _counts(self) -> str:
        with self._lock:
            counts = ", ".join(f"{name} {n:,}/{self._totals[name]:,}" for name, n in self._done.items())
        return f"{counts or 'no'} {self._unit}"

    def _pace(self) -> str:
        rate = self._made / (time.monotonic() - self._start)
        to_do = sum(self._totals.values()) - sum(self._done.values())
        if not rate or not to_do:
            return ""
        return f", {60 * rate:.1f}/min, about {duration(to_do / rate)} left"


def _clock() -> str:
    return f"{datetime.now(UTC):%H:%M:%S} UTC"

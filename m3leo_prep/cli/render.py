"""Tables, sizes and progress for people; plain lines where nobody looks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

ERR = Console(stderr=True, highlight=False, markup=False)
OUT = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)
LOG_SECONDS = 30.0
"""Between progress lines in a log file."""


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


def print_json(value: Any) -> None:
    """Print a value as JSON to standard output."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


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


class Bar(Protocol):
    """Progress of several named things at once."""

    def step(self, name: str, *, skipped: bool = False) -> None:
        """Note that one part of ``name`` is done."""
        ...


@contextmanager
def progress(totals: dict[str, int], unit: str) -> Iterator[Bar]:
    """Show bars with rate and time left on a terminal, a line now and then elsewhere; all to standard error."""
    if not ERR.is_terminal:
        yield _Lines(totals, unit)
        return
    from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn(f"{unit}, {{task.fields[rate]}}"),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=ERR) as bars:
        yield _Bars(bars, totals)


class _Bars:
    def __init__(self, bars: Any, totals: dict[str, int]) -> None:
        self._bars = bars
        self._tasks = {name: bars.add_task(name, total=total, rate="") for name, total in totals.items()}
        self._made = dict.fromkeys(totals, 0)
        self._start = time.monotonic()

    def step(self, name: str, *, skipped: bool = False) -> None:
        self._made[name] += not skipped
        rate = 60 * self._made[name] / max(1e-9, time.monotonic() - self._start)
        self._bars.update(self._tasks[name], advance=1, rate=f"{rate:.1f}/min" if self._made[name] else "done before")


class _Lines:
    def __init__(self, totals: dict[str, int], unit: str) -> None:
        self._totals, self._unit = totals, unit
        self._done = dict.fromkeys(totals, 0)
        self._made = 0
        self._start = self._last = time.monotonic()

    def step(self, name: str, *, skipped: bool = False) -> None:
        self._done[name] += 1
        self._made += not skipped
        now = time.monotonic()
        done, total = sum(self._done.values()), sum(self._totals.values())
        if now - self._last < LOG_SECONDS and done < total:
            return
        self._last = now
        rate = self._made / max(1e-9, now - self._start)
        left = f", about {(total - done) / rate:.0f} s left" if rate and done < total else ""
        parts = ", ".join(f"{n} {d}/{self._totals[n]}" for n, d in self._done.items())
        ERR.print(f"{parts} {self._unit}{left}", soft_wrap=True)

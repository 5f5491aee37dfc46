"""Results as JSON lines on stdout, and as tables for people on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

ERR = Console(stderr=True, width=None if sys.stderr.isatty() else 110)


def line(**values: Any) -> dict[str, Any]:
    """Print one JSON line, numbers to four figures, and return it."""
    made = {key: _short(value) for key, value in values.items() if value is not None}
    print(json.dumps(made), flush=True)
    return made


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Show a table to people."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for k, column in enumerate(columns):
        made.add_column(column, justify="left" if k == 0 else "right")
    for row in rows:
        made.add_row(*("" if cell is None else f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    ERR.print(made, "")


def verdict(value: float, target: float, *, at_least: bool) -> str:
    """Return a ratio beside its target, and whether it is met."""
    met = value >= target if at_least else value <= target
    return f"{value:.2f} ({'>=' if at_least else '<='} {target:g}{'' if met else ', MISSED'})"


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value

"""Paragraphs and numbers for people, in lines that fit 80 columns."""

from __future__ import annotations

from textwrap import fill
from typing import Any

from m3leo_prep.cli.render import OUT

WIDEST = 100
"""Lines are not longer than this, however wide the screen."""


def say(text: str, indent: int = 0, *, bold: bool = False, style: str = "") -> None:
    """Print a paragraph, wrapped below its own beginning."""
    start = "\n" if text.startswith("\n") else ""
    wrapped = fill(
        text.lstrip("\n"),
        min(WIDEST, OUT.width),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 4),
        break_long_words=False,
        break_on_hyphens=False,
    )
    OUT.print(start + wrapped, style=style or ("bold" if bold else None), soft_wrap=True)


def fact(name: str, text: str) -> None:
    """Print a name and what there is to say of it."""
    width = min(WIDEST, OUT.width)
    head = f"  {name:<11}"
    OUT.print(
        fill(
            text,
            width,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_long_words=False,
            break_on_hyphens=False,
        ),
        soft_wrap=True,
    )


def line(text: str) -> None:
    """Print one line of a list, not wrapped."""
    OUT.print(f"    {text}", soft_wrap=True)


def count(n: int) -> str:
    """Return a count in at most six places: exact below 10 000."""
    for size, name in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if n >= size:
            return f"{n / min(size, 1000 if name == 'k' else size):.3g} {name}"
    return f"{n:,}"


def number(value: float | None) -> str:
    """Return three digits of a number."""
    return "-" if value is None else f"{value:.3g}"


def share(value: float | None) -> str:
    """Return a share; 100 % only if all, 0 % only if none."""
    if value is None:
        return "-"
    if value in {0.0, 1.0}:
        return f"{100 * value:.0f} %"
    return f"{min(max(100 * value, 0.01), 99.99):.2f} %"


def short(value: Any) -> str:
    """Return a setting in at most 40 places."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

"""Small help for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED = 60
"""Choices of a hint."""


def near(word: str, choices: Iterable[str], *, most: int = 3) -> str:
    """Return `` Did you mean 'x'?`` for a close match, else the choices, else nothing.

    >>> near("worldcovr", ["s1grd", "worldcover"])
    "did you mean 'worldcover'?"
    """
    known = sorted({str(choice) for choice in choices})
    close = get_close_matches(word, known, n=most, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    if not known:
        return ""
    more = f" and {len(known) - MOST_LISTED:,} more" if len(known) > MOST_LISTED else ""
    return "choose from: " + ", ".join(known[:MOST_LISTED]) + more

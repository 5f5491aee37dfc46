"""Small help for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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
    return "choose from: " + ", ".join(known)

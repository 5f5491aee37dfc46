"""What sources there are, told without failing where one of them is broken."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from m3leo_prep.core.errors import PrepError
from m3leo_prep.ports.guarded import guard
from m3leo_prep.ports.registry import option_names, source_class, source_names


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One installed source."""

    name: str
    about: str = ""
    """First line of its docstring."""
    options: tuple[str, ...] = ()
    problem: str = ""
    """Why it cannot be used here, with the way out; empty if it can."""


def list_installed() -> list[SourceEntry]:
    """Return the installed sources, sorted by name; a broken one is among them with what is wrong."""
    return [_entry(name) for name in source_names()]


def _entry(name: str) -> SourceEntry:
    try:
        with guard(name, "its import"):
            found = source_class(name)
            about = (inspect.getdoc(found) or "").partition("\n")[0]
            return SourceEntry(name, about, tuple(option_names(found)))
    except PrepError as error:
        place = f"{error.where}: " if error.where else ""
        way_out = error.hint if error.hint.startswith("pip install") else ""
        return SourceEntry(name, problem=f"{place}{error.message}" + (f" ({way_out})" if way_out else ""))

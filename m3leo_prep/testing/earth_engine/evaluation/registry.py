"""The functions of Earth Engine that the stand-in knows, by the names that the client sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from m3leo_prep.testing.earth_engine.evaluation.values import EarthEngineError

Function = Callable[..., Any]
_Run = TypeVar("_Run", bound=Function)
IGNORED = {"maxError", "geodesic", "evenOdd", "parallelScale", "maxBuckets", "minBucketWidth", "maxRaw", "version"}
"""Arguments about accuracy and means, which the stand-in's exact shapes and small numbers do not need."""


@dataclass(frozen=True, slots=True)
class _Entry:
    run: Function
    arguments: tuple[str, ...]
    optional: frozenset[str]


_ENTRIES: dict[str, _Entry] = {}


def function(names: str, arguments: str = "") -> Callable[[_Run], _Run]:
    """Return a decorator that registers a function under Earth Engine's names.

    Args:
        names: divided by spaces.
        arguments: names in the order in which the function takes them; a question mark after those that may be absent,
            which then are None.
    """
    words = arguments.split()
    entry_arguments = tuple(word.rstrip("?") for word in words)
    optional = frozenset(word[:-1] for word in words if word.endswith("?"))

    def register(run: _Run) -> _Run:
        for name in names.split():
            _ENTRIES[name] = _Entry(run, entry_arguments, optional)
        return run

    return register


def known() -> list[str]:
    """Return the names of all functions."""
    return sorted(_ENTRIES)


def call(name: str, arguments: Mapping[str, Any]) -> Any:
    """Return a function's value.

    Raises:
        EarthEngineError: the stand-in does not know the function or an argument, or one that it needs is null.
    """
    entry = _ENTRIES.get(name)
    if entry is None:
        raise EarthEngineError(f"stand-in: the function '{name}' is not known here (Earth Engine may have it)")
    for argument in arguments:
        if argument not in entry.arguments and argument not in IGNORED:
            raise EarthEngineError(f"stand-in: the argument '{argument}' of '{name}' is not known here")
    for argument in entry.arguments:
        if arguments.get(argument) is None and argument not in entry.optional:
            raise EarthEngineError(f"{name}: Parameter '{argument}' is required and may not be null.")
    return entry.run(*(arguments.get(argument) for argument in entry.arguments))

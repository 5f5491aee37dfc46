"""What SNAP's operators take, by release: data, in ``schema.yaml`` beside this module."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near

TABLE = Path(__file__).with_name("schema.yaml")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operator."""

    name: str
    type: str
    """text, texts, file, integer, number or boolean."""
    values: tuple[str, ...] = ()
    """What it may be; none = anything."""
    interval: str = ""
    """Between what, such as ``(0, 1]``; ``*`` = without limit."""
    since: int = 0
    """First release that knows it."""
    unset: bool = False
    """The text is left out where there is none: SNAP takes an empty one for a value."""

    def fault(self, written: str) -> str:
        """Return what is wrong with a value as a graph writes it; nothing if it is right."""
        if written == "" and self.type in {"texts", "file"}:
            return ""  # SNAP's converters make null of it
        if not _IS[self.type](written):
            return f"{written!r} is no {self.type}"
        if self.values and written not in self.values:
            return f"'{written}' is none of: {', '.join(self.values)}"
        if self.interval and not _within(float(written), self.interval):
            return f"{written} is not in {self.interval}"
        return ""


@dataclass(frozen=True, slots=True)
class Declared:
    """One operator."""

    name: str
    sources: int
    """How many products it takes; at least, if ``several``."""
    several: bool
    parameters: Mapping[str, Parameter]
    """By name, of one release."""


def declared(name: str, release: int) -> Declared:
    """Return what an operator takes in a release.

    Raises:
        ConfigError: no such operator.
    """
    known = operators(release)
    if name not in known:
        raise ConfigError(f"SNAP has no operator '{name}'", hint=near(name, known))
    return known[name]


@cache
def operators(release: int) -> Mapping[str, Declared]:
    """Return all operators of a release by name; of one newer than all that are known, those of the newest."""
    made = {}
    for name, about in _table()["operators"].items():
        every = {key: _parameter(key, value) for key, value in about["parameters"].items()}
        known = {key: parameter for key, parameter in every.items() if parameter.since <= release}
        made[name] = Declared(name, about["sources"], about.get("several", False), MappingProxyType(known))
    return MappingProxyType(made)


def releases() -> tuple[int, ...]:
    """Return the releases whose operators are known, oldest first."""
    return tuple(_table()["releases"])


def ours(name: str) -> str:
    """Return our name of a parameter: ``externalDEMFile`` is ``external_dem_file``."""
    return _WORDS.sub("_", name).lower()


@cache
def _table() -> dict[str, Any]:
    import yaml

    table: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return table


def _parameter(name: str, about: Mapping[str, Any]) -> Parameter:
    values = tuple(str(value) for value in about.get("values", ()))
    since, unset = about.get("since", 0), about.get("unset", False)
    return Parameter(name, about["type"], values, about.get("interval", ""), since, unset)


def _within(value: float, interval: str) -> bool:
    low, high = (part.strip() for part in interval[1:-1].split(","))
    above = low == "*" or (value >= float(low) if interval[0] == "[" else value > float(low))
    below = high == "*" or (value <= float(high) if interval[-1] == "]" else value < float(high))
    return above and below


_IS: Mapping[str, Callable[[str], bool]] = {
    "text": bool,
    "texts": bool,
    "file": bool,
    "integer": lambda written: re.fullmatch(r"[+-]?\d+", written) is not None,
    "number": lambda written: _NUMBER.fullmatch(written) is not None,
    "boolean": lambda written: written in {"true", "false"},
}

"""Lists in a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from m3leo_prep.core.errors import ConfigError


def names_of(key: str, given: Any) -> tuple[str, ...]:
    """Return a list of a recipe as a tuple of text; a single text is a list of one.

    Raises:
        ConfigError: it is no list, or names one twice.
    """
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Sequence):
        raise ConfigError(f"{key}: {given!r} is not a list")
    names = tuple(str(name) for name in given)
    if len(set(names)) < len(names):
        raise ConfigError(f"{key}: names one twice: {', '.join(names)}")
    return names

"""Words, lists and switches that a recipe says, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources._lists import names_of


def several(key: str, given: Any, known: Sequence[str], default: Sequence[str], where: str) -> tuple[str, ...]:
    """Return names of ``known`` in their order there; none given = ``default``, ``none`` = none of them.

    Raises:
        ConfigError: unknown, or one twice.
    """
    if given in ("none", ["none"], ("none",)):
        return ()
    names = names_of(key, given)
    for name in names:
        one_of(key, name, known, where)
    return tuple(name for name in known if name in (names or default))


def one_of(key: str, given: Any, known: Sequence[Any], where: str) -> Any:
    """Return what was given.

    Raises:
        ConfigError: it is none of ``known``.
    """
    if isinstance(given, bool) or given not in known:
        hint = near(str(given), [str(one) for one in known])
        raise ConfigError(f"{key}: '{given}' is not known", where=where, hint=hint)
    return given


def switch(key: str, given: Any, where: str) -> None:
    """Raise ConfigError if ``given`` is neither true nor false."""
    if not isinstance(given, bool):
        raise ConfigError(f"{key}: say true or false, not {given!r}", where=where)

"""What a recipe may say of OPERA RTC-S1, checked: variables, and what is discarded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources._lists import names_of

DISCARDED = ("shadow", "layover")


def choose_discarded(mask: Any) -> tuple[str, ...]:
    """Return what ``mask:`` discards: ``shadow``, ``layover``, both, or with ``none`` neither.

    Raises:
        ConfigError: anything else.
    """
    if mask in ("none", ["none"], ("none",)):
        return ()
    names = names_of("mask", mask)
    for name in names:
        if name not in DISCARDED:
            raise ConfigError(f"mask: '{name}' is not in the mask of opera-rtc", hint=near(name, (*DISCARDED, "none")))
    if not names:
        raise ConfigError("mask: lists nothing", hint="mask: none keeps shadow and layover")
    return names


def choose_variables(given: Any, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """Return the variables that ``variables:`` asks for, in order.

    Raises:
        ConfigError: unknown, or one twice.
    """
    names = names_of("variables", given)
    for name in names:
        if name not in known:
            raise ConfigError(f"variables: opera-rtc-static has no variable '{name}'", hint=near(name, known))
    return names or tuple(default)

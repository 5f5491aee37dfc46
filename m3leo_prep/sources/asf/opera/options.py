"""What a recipe may say of OPERA RTC-S1, checked: bands, orbit directions, and what is discarded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources.gee.options.radar import SHORT, directions, split_names
from m3leo_prep.sources.gee.options.variables import names_of

POLARISATIONS = ("vv", "vh", "hh", "hv")
MAIN = ("vv", "vh")
BOTH = ("ascending", "descending")
DISCARDED = ("shadow", "layover")


@dataclass(frozen=True, slots=True)
class Band:
    """One band of the layer: a polarisation seen from one direction."""

    name: str
    """``vv_asc``."""
    layer: str
    """What the product calls it: ``VV``."""
    direction: str


def choose_bands(bands: Any, orbits: Any) -> tuple[Band, ...]:
    """Return the bands that ``bands:`` and ``orbits:`` ask for, spelt as those of Earth Engine's Sentinel-1.

    ``[vv, vh]`` is taken from each direction of ``orbits:``; ``[vv_asc, vh_desc]`` names the directions itself.

    Raises:
        ConfigError: unknown or twice, or directions said twice.
    """
    names = names_of("bands", bands)
    plain, named = split_names(names)
    for name in plain:
        if name not in POLARISATIONS:
            raise ConfigError(f"bands: opera-rtc has no band '{name}'", hint=near(name, POLARISATIONS))
    if named and tuple(orbits) != BOTH:
        raise ConfigError("orbits: `bands:` names the directions already")
    ways = directions(orbits)
    every = names if named else [f"{name}_{SHORT[way]}" for way in ways for name in plain or MAIN]
    long = {short: way for way, short in SHORT.items()}
    parts = [(name, *name.split("_")) for name in every]
    return tuple(Band(name, polarisation.upper(), long[short]) for name, polarisation, short in parts)


def choose_directions(orbits: Any) -> tuple[str, ...]:
    """Return the directions that ``orbits:`` asks for.

    Raises:
        ConfigError: unknown, none, or one twice.
    """
    return directions(orbits)


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

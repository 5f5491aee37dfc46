"""What a recipe may say of HyP3's products, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources.gee.options.radar import SHORT, directions, split_names
from m3leo_prep.sources.gee.options.variables import names_of

POLARISATIONS = ("vv", "vh", "hh", "hv")
BOTH = ("ascending", "descending")


@dataclass(frozen=True, slots=True)
class Band:
    """One band of the layer: a polarisation seen from one direction."""

    name: str
    """``vv_asc``."""
    file: str
    """``VV``, as the product's file says it."""
    direction: str


def choose_bands(bands: Any, orbits: Any, where: str) -> tuple[Band, ...]:
    """Return the bands that ``bands:`` and ``orbits:`` ask for, spelt as those of Earth Engine's Sentinel-1.

    ``[vv, vh]`` is taken from each direction of ``orbits:``; ``[vv_asc, vh_desc]`` names the directions itself.

    Raises:
        ConfigError: unknown or twice, or directions said twice.
    """
    names = names_of("bands", bands)
    plain, named = split_names(names)
    for name in plain:
        one_of("bands", name, POLARISATIONS, where)
    if named and tuple(orbits) != BOTH:
        raise ConfigError("orbits: `bands:` names the directions already", where=where)
    ways = directions(orbits)
    every = names if named else tuple(f"{name}_{SHORT[way]}" for way in ways for name in plain or ("vv", "vh"))
    long = {short: way for way, short in SHORT.items()}
    return tuple(Band(name, name.split("_")[0].upper(), long[name.split("_")[1]]) for name in every)


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

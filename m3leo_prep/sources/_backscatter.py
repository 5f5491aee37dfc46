"""Bands of backscatter: a polarisation seen from one orbit direction, spelt as those of Earth Engine's Sentinel-1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources._lists import names_of
from m3leo_prep.sources._radar import SHORT, directions, split_names

POLARISATIONS = ("vv", "vh", "hh", "hv")
MAIN = ("vv", "vh")
BOTH = ("ascending", "descending")


@dataclass(frozen=True, slots=True)
class Band:
    """One band of the layer."""

    name: str
    """``vv_asc``."""
    polarisation: str
    """``VV``, as products name their files."""
    direction: str


def choose_bands(bands: Any, orbits: Any) -> tuple[Band, ...]:
    """Return the bands that ``bands:`` and ``orbits:`` ask for.

    ``[vv, vh]`` is taken from each direction of ``orbits:``; ``[vv_asc, vh_desc]`` names the directions itself.

    Raises:
        ConfigError: unknown or twice, or directions said twice.
    """
    names = names_of("bands", bands)
    plain, named = split_names(names)
    for name in plain:
        if name not in POLARISATIONS:
            raise ConfigError(f"bands: there is no band '{name}'", hint=near(name, POLARISATIONS))
    if named and tuple(orbits) != BOTH:
        raise ConfigError("orbits: `bands:` names the directions already")
    ways = directions(orbits)
    every = names if named else [f"{name}_{SHORT[way]}" for way in ways for name in plain or MAIN]
    long = {short: way for way, short in SHORT.items()}
    parts = [(name, *name.split("_")) for name in every]
    return tuple(Band(name, polarisation.upper(), long[short]) for name, polarisation, short in parts)

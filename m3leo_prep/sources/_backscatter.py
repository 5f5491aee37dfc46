"""Bands of backscatter: a polarisation seen from one orbit direction, spelt as those of Earth Engine's Sentinel-1."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.core.text import near
from m3leo_prep.sources._lists import names_of
from m3leo_prep.sources._radar import SHORT, directions, split_names

POLARISATIONS = ("vv", "vh", "hh", "hv")
MAIN = ("vv", "vh")
BOTH = ("ascending", "descending")
NEEDS_SLC = {
    **dict.fromkeys(("entropy", "alpha", "anisotropy"), "s1-h-a-alpha-snap"),
    **dict.fromkeys(("coherence", "wrapped_phase"), "s1-coherence-snap"),
}
"""What only the phase tells, which detected images have lost -> product of source copernicus that has it."""
_NAMED = 6
"""Slots that are named one by one."""


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
        ConfigError: unknown or twice, directions said twice, or what backscatter does not tell.
    """
    names = names_of("bands", bands)
    plain, named = split_names(names)
    for name in plain:
        if name.lower() in NEEDS_SLC:
            raise ConfigError(
                f"NEEDS_SLC: {name} is made of the phase of complex images (SLC), which backscatter has lost",
                hint=f"source: copernicus, product: {NEEDS_SLC[name.lower()]} makes it with SNAP",
            )
        if name not in POLARISATIONS:
            raise ConfigError(f"bands: there is no band '{name}'", hint=near(name, POLARISATIONS))
    if named and tuple(orbits) != BOTH:
        raise ConfigError("orbits: `bands:` names the directions already")
    ways = directions(orbits)
    every = names if named else [f"{name}_{SHORT[way]}" for way in ways for name in plain or MAIN]
    long = {short: way for way, short in SHORT.items()}
    parts = [(name, *name.split("_")) for name in every]
    return tuple(Band(name, polarisation.upper(), long[short]) for name, polarisation, short in parts)


def gaps(
    bands: Sequence[Band],
    items: Sequence[Item],
    slots: Sequence[Slot],
    polarisations: Callable[[Item], Collection[str]],
    noun: str,
) -> list[str]:
    """Return warnings: directions and slots without an image, and polarisations that images lack.

    Args:
        bands: of the layer.
        items: images, of which ``orbit_direction`` is known.
        slots: of the layer.
        polarisations: tells those of an image.
        noun: what an image is called, in the singular.
    """
    warnings = []
    for way in dict.fromkeys(band.direction for band in bands):
        own = [item for item in items if item.properties["orbit_direction"] == way]
        empty = [slot.label for slot in slots if not any(slot.contains(item.datetime) for item in own)]
        if not own:
            other = next(one for one in BOTH if one != way)
            warnings.append(f"no {way} {noun} at all: `orbits: [{other}]` drops its bands")
        elif empty:
            warnings.append(f"no {way} {noun} in {_some(empty)}")
        for wanted in dict.fromkeys(band.polarisation for band in bands if band.direction == way):
            without = [" ".join(polarisations(item)) for item in own if wanted not in polarisations(item)]
            if without:
                have = " or ".join(sorted(set(without) - {""}))
                told = f": they have {have}" if have else ""
                warnings.append(f"{len(without):,} of {len(own):,} {way} {noun}s have no {wanted}{told}")
    return warnings


def _some(labels: Sequence[str]) -> str:
    """Return some labels as text, the first few by name."""
    rest = len(labels) - _NAMED
    return ", ".join(labels) if rest <= 1 else f"{', '.join(labels[:_NAMED])} and {rest:,} more"

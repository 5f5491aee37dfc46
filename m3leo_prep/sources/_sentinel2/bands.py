"""The bands of Sentinel-2: our names, theirs, and the pixels they come in.

Names are those of ``gee``; numbers are those of the product's metadata (``Spectral_Information bandId``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources._lists import names_of

Level = Literal["2A", "1C"]


@dataclass(frozen=True, slots=True)
class Band:
    """One spectral band."""

    name: str
    code: str
    """As files name it: ``B02``, ``B8A``."""
    number: int
    """As the product's metadata counts: its ``band_id``."""
    pitch: int
    """Metres of a pixel as it was sampled."""


BANDS = (
    Band("coastal", "B01", 0, 60),
    Band("blue", "B02", 1, 10),
    Band("green", "B03", 2, 10),
    Band("red", "B04", 3, 10),
    Band("rededge1", "B05", 4, 20),
    Band("rededge2", "B06", 5, 20),
    Band("rededge3", "B07", 6, 20),
    Band("nir", "B08", 7, 10),
    Band("nir08", "B8A", 8, 20),
    Band("nir09", "B09", 9, 60),
    Band("cirrus", "B10", 10, 60),
    Band("swir1", "B11", 11, 20),
    Band("swir2", "B12", 12, 20),
)
CIRRUS = "cirrus"
"""Holds no signal of the ground: Level-2A has none."""


def bands_of(level: Level) -> tuple[Band, ...]:
    """Return all bands that a level has."""
    return tuple(band for band in BANDS if level == "1C" or band.name != CIRRUS)


def choose_bands(given: Any, level: Level) -> tuple[Band, ...]:
    """Return the bands that ``bands:`` asks for, in order; all of the level if it names none.

    ``red``, ``B04`` and ``B4`` are the same band.

    Raises:
        ConfigError: unknown, one twice, or one that the level does not have.
    """
    names = names_of("bands", given)
    known = {name: band for band in BANDS for name in (band.name, band.code, band.code.replace("B0", "B"))}
    chosen: list[Band] = []
    for name in names:
        band = known.get(name) or known.get(name.upper()) or known.get(name.lower())
        have = bands_of(level)
        if band is None or band not in have:
            raise ConfigError(f"bands: Level-{level} has no band '{name}'", hint=_other(name, band, level))
        if band in chosen:
            raise ConfigError(f"bands: '{name}' is {band.name}, which is there already")
        chosen.append(band)
    return tuple(chosen) or bands_of(level)


def _other(name: str, band: Band | None, level: Level) -> str:
    valid = [band.name for band in bands_of(level)]
    if band is not None:
        return f"product s2-l1c has it; this one has {', '.join(valid)}"
    close = near(name, valid)
    return close if close.startswith("choose") else f"{close} It has {', '.join(valid)}"

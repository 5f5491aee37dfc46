"""What a recipe may say of ``s1-grd``, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources._backscatter import Band, choose_bands
from m3leo_prep.sources._radar import tracks

WHERE = "s1-grd"
RTC = "gamma0_rtc"
CONVENTIONS = ("sigma0_ellipsoid", "gamma0_ellipsoid", "beta0", RTC)
TERRAIN, ELLIPSOID = "terrain", "ellipsoid"
GEOCODINGS = (TERRAIN, ELLIPSOID)
DATUMS = ("ellipsoid", "egm2008", "egm96")
"""What heights may be above."""


@dataclass(frozen=True, slots=True)
class Options:
    """How images are made into backscatter on the lattice."""

    bands: tuple[Band, ...]
    tracks: tuple[int, ...]
    """None = all."""
    convention: str
    noise: bool
    """It is removed."""
    terrain: bool
    """By range and Doppler on heights; else by the tie points alone."""
    force: bool
    """The latter in relief, too."""
    datum: str
    """Of the heights; empty = as their layer tells."""


def choose(
    *,
    bands: Any,
    orbits: Any,
    relative_orbits: Any,
    convention: Any,
    noise: Any,
    geocoding: Any,
    dem_datum: Any,
    force: Any,
) -> Options:
    """Return the options of a layer.

    Raises:
        ConfigError: a value that is not known, or two that do not go together.
    """
    chosen = tracks(relative_orbits)
    if chosen == "best":
        raise ConfigError("relative_orbits: name the tracks, or `all`", where=WHERE, hint="relative_orbits: [37, 110]")
    _one_of("convention", convention, CONVENTIONS)
    _one_of("geocoding", geocoding, GEOCODINGS)
    for key, value in (("noise", noise), ("force", force)):
        if not isinstance(value, bool):
            raise ConfigError(f"{key}: {value!r} is neither true nor false", where=WHERE)
    if geocoding == ELLIPSOID and convention == RTC:
        raise ConfigError(
            f"convention: {RTC} cannot be had with `geocoding: {ELLIPSOID}`: terrain is flattened on heights",
            where=WHERE,
            hint=f"geocoding: {TERRAIN} with `dem:`, or convention: gamma0_ellipsoid",
        )
    for key, given in (("force", force), ("dem_datum", dem_datum)):
        if given and (geocoding == TERRAIN) == (key == "force"):
            raise ConfigError(f"{key}: means nothing with `geocoding: {geocoding}`", where=WHERE, hint="leave it out")
    if dem_datum:
        _one_of("dem_datum", dem_datum, DATUMS)
    return Options(
        choose_bands(bands, orbits),
        chosen if isinstance(chosen, tuple) else (),
        convention,
        noise,
        geocoding == TERRAIN,
        force,
        str(dem_datum or ""),
    )


def _one_of(key: str, given: Any, known: Sequence[str]) -> None:
    if given not in known:
        raise ConfigError(f"{key}: '{given}' is not known", where=WHERE, hint=near(str(given), known))

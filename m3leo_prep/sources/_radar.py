"""What a recipe says of Sentinel-1, whoever provides it: directions, tracks, and bands seen from a direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources._lists import names_of

SHORT = {"ascending": "asc", "descending": "desc"}
"""Direction -> end of the names of its bands."""
TRACKS = 175
"""Relative orbits of Sentinel-1: its cycle of 12 days (https://sentiwiki.copernicus.eu/web/s1-mission)."""


def directions(given: Any) -> tuple[str, ...]:
    """Return the directions that ``orbits:`` asks for, in order.

    Raises:
        ConfigError: unknown, none, or one twice.
    """
    orbits = names_of("orbits", given)
    for orbit in orbits:
        if orbit not in SHORT:
            raise ConfigError(f"orbits: '{orbit}' is no direction", hint=near(orbit, SHORT))
    if not orbits:
        raise ConfigError("orbits: lists nothing", hint=near("", SHORT))
    return orbits


def split_names(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return bands without their direction, and the directions, of names such as ``vv_asc``; none = named without.

    Raises:
        ConfigError: some with a direction, some without.
    """
    parts = [name.rpartition("_") for name in names]
    long = {short: orbit for orbit, short in SHORT.items()}
    with_direction = [short in long for _, _, short in parts]
    if not any(with_direction):
        return tuple(names), ()
    if not all(with_direction):
        plain = [name for name, has in zip(names, with_direction, strict=True) if not has]
        raise ConfigError(
            f"bands: {', '.join(plain)} without a direction beside bands with one",
            hint="bands: [vv_asc, vv_desc, vh_asc], or bands: [vv, vh] and `orbits:`",
        )
    bands = dict.fromkeys(band for band, _, _ in parts)
    return tuple(bands), tuple(dict.fromkeys(long[short] for _, _, short in parts))


def tracks(given: Any) -> Literal["all", "best"] | tuple[int, ...]:
    """Return ``all``, ``best``, or the numbers of relative orbits, sorted.

    Raises:
        ConfigError: anything else.
    """
    if given in ("all", "best"):
        return "all" if given == "all" else "best"
    numbers = [given] if type(given) is int else given
    ok = isinstance(numbers, (list, tuple)) and numbers
    if not ok or not all(type(number) is int and 1 <= number <= TRACKS for number in numbers):
        raise ConfigError(
            f"relative_orbits: {given!r} is neither `all` nor `best` nor a list of numbers from 1 to {TRACKS}",
            hint="relative_orbits: [37, 110]",
        )
    return tuple(sorted(set(numbers)))

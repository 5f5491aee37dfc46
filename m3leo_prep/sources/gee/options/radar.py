"""Options of radar: each direction is a set of bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from m3leo_prep.sources._radar import SHORT
from m3leo_prep.sources.gee.choice import Quantity
from m3leo_prep.sources.gee.options.variables import only


def by_direction(
    quantities: Sequence[Quantity], orbits: Sequence[str], names: Sequence[str] = ()
) -> tuple[Quantity, ...]:
    """Return the quantities with a set of bands for each direction: ``vv_asc, vh_asc, vv_desc, vh_desc``.

    Args:
        quantities: with bands named without direction.
        orbits: directions.
        names: only these bands, in this order; none = all.
    """
    every = _every(quantities, orbits)
    if not names:
        return every
    return tuple(only(one, [name for name in names if name in one.variable.bands]) for one in every)


def _every(quantities: Sequence[Quantity], orbits: Sequence[str]) -> tuple[Quantity, ...]:
    return tuple(
        replace(
            one,
            variable=replace(
                one.variable, bands=tuple(f"{band}_{SHORT[orbit]}" for orbit in orbits for band in one.variable.bands)
            ),
            names=one.names * len(orbits),
        )
        for one in quantities
    )

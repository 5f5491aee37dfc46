"""Chips beside administrative units: which ground of a chip lies in which unit, without counting any ground twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.authalic import areas_km2
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.zones import zone_strip

Shapes = NDArray[np.object_]
Floats = NDArray[np.float64]

MAX_SHARED = 1e-3
"""Of the smaller of two units, that both may claim: borders drawn twice differ by slivers."""


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Pairs of a chip and a unit that share ground, by chip, then unit."""

    chip: NDArray[np.int64]
    unit: NDArray[np.int64]
    area: Floats
    """km2 of the chip's owned ground that lies in the unit."""


def owned_ground(cells: Cells) -> Shapes:
    """Return the lon/lat ground of each cell inside its own zone's strip; together, grounds tile the Earth."""
    ground = cells.polygons()
    for epsg in np.unique(cells.epsg):
        here = np.flatnonzero(cells.epsg == epsg)
        strip = zone_strip(int(epsg))
        shapely.prepare(strip)
        beyond = here[~shapely.covers(strip, ground[here])]
        ground[beyond] = shapely.intersection(ground[beyond], strip)
    return ground


def overlaps(grounds: Shapes, units: Shapes) -> Overlaps:
    """Return which grounds share area with which units, and how much.

    Args:
        grounds: (chip,) lon/lat.
        units: (unit,) lon/lat.
    """
    shapely.prepare(units)
    unit, chip = shapely.STRtree(grounds).query(units, predicate="intersects")
    inside = shapely.covers(units[unit], grounds[chip])
    shared = np.asarray(grounds[chip], object)
    shared[~inside] = shapely.intersection(grounds[chip[~inside]], units[unit[~inside]])
    area = areas_km2(shared)
    kept = np.flatnonzero(area > 0)
    kept = kept[np.lexsort((unit[kept], chip[kept]))]
    return Overlaps(chip[kept].astype(np.int64), unit[kept].astype(np.int64), area[kept])


def check_disjoint(names: list[str], units: Shapes, where: str) -> int:
    """Return how many pairs of units share slivers of ground.

    Raises:
        ConfigError: two units share more than 0.1 % of the smaller; the message names them and the areas.
    """
    one, other = shapely.STRtree(units).query(units, predicate="intersects")
    one, other = one[one < other], other[one < other]
    shared = areas_km2(shapely.intersection(units[one], units[other]))
    one, other, shared = one[shared > 0], other[shared > 0], shared[shared > 0]
    if not len(shared):
        return 0
    involved, place = np.unique(np.concatenate([one, other]), return_inverse=True)
    first, second = areas_km2(units[involved])[place.ravel()].reshape(2, -1)
    too_much = np.flatnonzero(shared > MAX_SHARED * np.minimum(first, second))
    if len(too_much):
        k = int(too_much[np.argmax(shared[too_much])])
        more = f"; {len(too_much) - 1} more pairs do so" if len(too_much) > 1 else ""
        raise ConfigError(
            f"the units '{names[one[k]]}' ({first[k]:.4g} km2) and '{names[other[k]]}' ({second[k]:.4g} km2) "
            f"share {shared[k]:.4g} km2{more}",
            where=where,
            hint="a chip belongs to one unit: give a file of one administrative level, without overlaps",
        )
    return len(shared)

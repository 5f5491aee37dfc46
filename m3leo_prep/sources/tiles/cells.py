"""Cells of a grid of whole degrees that are named after their lower left corner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_NAME = re.compile(r"([NS])(\d{2})([EW])(\d{3})")


class Cell(NamedTuple):
    """Its lower left corner, in whole degrees."""

    south: int
    west: int

    @property
    def name(self) -> str:
        """``N48E006``."""
        return f"{'NS'[self.south < 0]}{abs(self.south):02}{'EW'[self.west < 0]}{abs(self.west):03}"

    @classmethod
    def named(cls, name: str) -> Cell | None:
        """Return the cell of a name, or None if it is none."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        south, west = int(match[2]), int(match[4])
        return cls(-south if match[1] == "S" else south, -west if match[3] == "W" else west)


Bounds = tuple[float, float, float, float]
"""West, south, east, north."""


def that_meet(bounds: Mapping[Cell, Bounds], area: BaseGeometry) -> Iterable[tuple[Cell, BaseGeometry]]:
    """Yield the cells that meet an area (lon/lat) with their outlines inside -180...180, north first, then from west.

    Args:
        bounds: of the cells, which may reach beyond -180.
        area: valid polygons.
    """
    import shapely

    from m3leo_prep.core.polygons import split_antimeridian

    cells = list(bounds)
    west, south, east, north = np.array([bounds[cell] for cell in cells], float).reshape(-1, 4).T
    shapely.prepare(area)
    # What reaches beyond the antimeridian is also on its other side.
    met = np.zeros(len(cells), bool)
    for turn in (0.0, 360.0):
        met |= shapely.intersects(area, shapely.box(west + turn, south, east + turn, north))
    for cell in sorted((cells[k] for k in np.flatnonzero(met)), key=lambda one: (-one.south, one.west)):
        yield cell, split_antimeridian(shapely.box(*bounds[cell]))

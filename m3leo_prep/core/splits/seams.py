"""Chips of two UTM zones on the same ground: which ones overlap, and which of them yields."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core import footprint
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.polygons import split_antimeridian
from m3leo_prep.core.splits import ground
from m3leo_prep.core.splits.policy import Assignment, Split, yields_to
from m3leo_prep.core.zones import NORTH_END, SOUTH_END, is_south, project, unproject, zone_number

SHARED_M2 = 1.0
"""Less ground than this is rounding: edges of two zones' squares that touch."""

_PIECES = 4
"""An edge of 4480 m, straight in its own plane, bends by 20 mm in another zone's; cut into so many it bends by 1 mm."""


def overlapping(cells: Cells) -> NDArray[np.int64]:
    """Return (pair, 2) rows of cells of different zones whose squares share ground, sorted, the lower row first.

    Squares are compared in the plane of one of the two zones, the other's edges bent as they are there.
    """
    shared = np.flatnonzero(cells.zone_shared())
    by_zone = {zone: shared[cells.epsg[shared] == zone] for zone in np.unique(cells.epsg[shared]).tolist()}
    found = [np.empty((0, 2), np.int64)]
    for mine, rows in by_zone.items():
        x0, y0 = cells[rows].upper_left()
        side = cells.grid.cell_m
        squares = np.asarray(shapely.box(x0, y0 - side, x0 + side, y0), object)
        tree = shapely.STRtree(squares)
        for theirs in (zone for zone in by_zone if mine < zone and _adjoin(mine, zone)):
            others = by_zone[theirs]
            quads = ground.quads(*project(mine, *_outline(cells[others])))
            theirs_at, mine_at = tree.query(quads, predicate="intersects")
            much = shapely.area(shapely.intersection(quads[theirs_at], squares[mine_at])) > SHARED_M2
            found.append(np.column_stack([rows[mine_at[much]], others[theirs_at[much]]]))
    pairs = np.sort(np.concatenate(found), axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def around_seams(cells: Cells) -> Cells:
    """Return all cells, built or not, around those that may lie on the ground of another zone's, and these."""
    shared = cells[cells.zone_shared()]
    # A cell reaches at most its diagonal over the edge of one that it overlaps; 1.01 for the zones' scales.
    grow = 1.01 * np.sqrt(2) * cells.grid.cell_m
    lon, lat = footprint.corners(cells.grid.cell_m, shared.epsg, *shared.upper_left(), grow=grow)
    squares = ground.quads(lon, np.clip(lat, SOUTH_END, NORTH_END))
    return cells.grid.cells(shapely.union_all([split_antimeridian(square) for square in squares]))


def yield_overlaps(cells: Cells, assignment: Assignment, yields: tuple[Split, ...]) -> Assignment:
    """Return the assignment with ``BUFFER`` for each chip that overlaps one of a split that it yields to.

    For policies that have no geometric buffer. What a chip is before decides, not what becomes of it, so that the order
    of chips plays no part.
    """
    one, other = overlapping(cells).T
    split = assignment.split.copy()
    for mine, theirs in ((one, other), (other, one)):
        yielding = yields_to(yields, assignment.split[mine], assignment.split[theirs])
        split[mine[yielding]] = Split.BUFFER
    return Assignment(assignment.home, split, assignment.group)


def _outline(cells: Cells) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lon and lat (cell, point) along the edges of cells of one zone, counter-clockwise from the SW corner."""
    side, full = cells.grid.cell_m, np.ones(_PIECES)
    along = np.arange(_PIECES) / _PIECES
    east = side * np.concatenate([along, full, 1 - along, 0 * full])
    north = side * np.concatenate([0 * full, along, full, 1 - along])
    x0, y0 = cells.upper_left()
    return unproject(int(cells.epsg[0]), x0[:, None] + east, y0[:, None] - side + north)


def _adjoin(one: int, other: int) -> bool:
    """Return whether two zones may meet: neighbours, or next but one around Svalbard."""
    apart = abs(zone_number(one) - zone_number(other))
    return is_south(one) == is_south(other) and min(apart, 60 - apart) <= 2

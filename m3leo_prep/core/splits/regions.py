"""Regions: administrative units, or areas that are held out. A chip belongs to the region that covers most of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.polygons import polygon_parts
from m3leo_prep.core.splits import ground
from m3leo_prep.core.splits.policy import Assignment, Split, yields_to
from m3leo_prep.core.splits.seams import SHARED_M2
from m3leo_prep.core.zones import areal_scale, project

Floats = NDArray[np.float64]
Geometries = NDArray[np.object_]

_EDGE_DEG = 0.02
"""Longer edges of a region are cut before they are projected: 2 km along a parallel bend by 0.1 m in UTM at 45 N."""


def assign_regions(
    cells: Cells,
    regions: Sequence[BaseGeometry],
    homes: Sequence[Split],
    *,
    rest: Split,
    buffer_km: float,
    yields: tuple[Split, ...],
) -> Assignment:
    """Return the splits of chips by regions; ``group`` is the region's number, -1 in none.

    A chip yields where its square is nearer than the buffer to any region of a split that it yields to, or to the
    ground outside all regions where that is the ``rest``'s: on the ellipsoid, exact to about 1e-4.

    Args:
        cells: chips.
        regions: valid lon/lat polygons inside -180...180.
        homes: (region,) the split of each.
        rest: the split of chips that no region covers; ``NONE`` keeps them out.
        buffer_km: 0 for none; chips that may lie on the ground of another zone's have a chip diagonal at least.
        yields: splits in the order in which they yield, as ``SplitPolicy.yields`` tells.

    Raises:
        ConfigError: a region without a split, or a buffer that makes no sense.
    """
    if len(regions) != len(homes):
        raise ConfigError(f"{len(regions)} regions, but splits of {len(homes)}", where="splits")
    group = largest_overlap(cells, regions)
    home = np.array([*homes, rest], np.uint8)[group]  # -1 is the last
    split = home.copy()
    margin = ground.buffers(cells, buffer_km)
    dense = _densified(regions)
    # Whether a chip may lie in two zones decides its buffer, so both kinds are asked for apart.
    for metres in np.unique(margin[margin > 0]).tolist():
        for mine in yields[:-1]:
            rows = np.flatnonzero((margin == metres) & (home == mine))
            *foreign, outside = yields_to(yields, np.array(mine, np.uint8), np.array([*homes, rest], np.uint8)).tolist()
            if len(rows) and (any(foreign) or outside):
                split[rows[_nearer(cells[rows], dense, foreign, metres, outside=outside)]] = Split.BUFFER
    return Assignment(home, split, group)


def largest_overlap(cells: Cells, regions: Sequence[BaseGeometry]) -> NDArray[np.int64]:
    """Return (chip,) the region that covers most of each chip's square: the first of equals, -1 where none does.

    Args:
        cells: chips.
        regions: valid lon/lat polygons inside -180...180.
    """
    best = np.full(len(cells), -1, np.int64)
    dense = _densified(regions)
    for zone in _zones(cells):
        pieces, owner = zone.projected(zone.clipped(dense, 0.0))
        if not len(pieces):
            continue
        tree = shapely.STRtree(zone.squares)
        piece, chip = tree.query(pieces, predicate="intersects")
        # Most chips lie in one region whole; that is known faster than their common ground.
        whole_piece, whole_chip = tree.query(pieces, predicate="covers")
        n = len(zone.squares)
        whole = np.isin(piece * n + chip, whole_piece * n + whole_chip)
        area = np.full(len(piece), cells.grid.cell_m**2)
        area[~whole] = shapely.area(shapely.intersection(pieces[piece[~whole]], zone.squares[chip[~whole]]))
        # A region may be there in several pieces.
        pair, place = np.unique(chip * len(regions) + owner[piece], return_inverse=True)
        total = np.bincount(place.reshape(-1), weights=area, minlength=len(pair))
        chip, region = np.divmod(pair, max(len(regions), 1))
        largest = np.zeros(n)
        np.maximum.at(largest, chip, total)
        equal = (total > SHARED_M2) & (total >= largest[chip] - SHARED_M2)
        first, at = np.unique(chip[equal], return_index=True)  # pairs are sorted: the lowest region comes first
        best[zone.rows[first]] = region[equal][at]
    return best


@dataclass(frozen=True, slots=True, eq=False)
class _Zone:
    """The chips of one zone and their squares in its plane."""

    epsg: int
    rows: NDArray[np.int64]
    squares: Geometries
    lon: Floats
    lat: Floats
    """(chip, 4) of their corners, longitudes continuous around the central meridian."""

    def window(self, metres: float) -> BaseGeometry:
        """Return a lon/lat box with all ground nearer than ``metres`` to any of the chips."""
        # Edges of regions that begin inside are whole: what lies in reach does not depend on where the window ends.
        wide, high = ground.reach(np.array([metres]), np.array([np.abs(self.lat).max()]))
        east, north = min(float(wide[0]), 60.0) + 2 * _EDGE_DEG, float(high[0]) + 2 * _EDGE_DEG
        south, top = max(self.lat.min() - north, -90.0), min(self.lat.max() + north, 90.0)
        box: BaseGeometry = shapely.box(self.lon.min() - east, south, self.lon.max() + east, top)
        return box

    def clipped(self, dense: Geometries, metres: float) -> list[tuple[BaseGeometry, int]]:
        """Return the pieces of polygons in the window, each with the polygon's number; turned around the Earth."""
        window = self.window(metres)
        west, _, east, _ = window.bounds
        found: list[tuple[BaseGeometry, int]] = []
        for turn in range(int(np.floor((west + 180) / 360)), int(np.floor((east + 180) / 360)) + 1):
            here = shapely.affinity.translate(window, xoff=-360.0 * turn)
            for number in np.flatnonzero(shapely.intersects(dense, here)).tolist():
                piece = shapely.affinity.translate(shapely.intersection(dense[number], here), xoff=360.0 * turn)
                found += [(part, number) for part in polygon_parts(piece)]
        return found

    def projected(self, parts: list[tuple[BaseGeometry, int]]) -> tuple[Geometries, NDArray[np.int64]]:
        """Return pieces in the zone's plane, and their polygons' numbers."""

        def flat(points: Floats) -> Floats:
            return np.column_stack(project(self.epsg, points[:, 0], points[:, 1]))

        pieces = np.empty(len(parts), object)
        pieces[:] = [part for part, _ in parts]
        return np.asarray(shapely.transform(pieces, flat), object), np.array([n for _, n in parts], np.int64)


def _zones(cells: Cells) -> Iterator[_Zone]:
    side = cells.grid.cell_m
    for epsg in np.unique(cells.epsg).tolist():
        rows = np.flatnonzero(cells.epsg == epsg)
        x0, y0 = cells[rows].upper_left()
        lon, lat = ground.corners(cells[rows])
        squares = np.asarray(shapely.box(x0, y0 - side, x0 + side, y0), object)
        yield _Zone(epsg, rows, squares, lon, lat)


def _densified(regions: Sequence[BaseGeometry]) -> Geometries:
    dense = np.empty(len(regions), object)
    dense[:] = [shapely.segmentize(region, _EDGE_DEG) for region in regions]
    shapely.prepare(dense)
    return dense


def _nearer(
    cells: Cells, dense: Geometries, foreign: Sequence[bool], metres: float, *, outside: bool
) -> NDArray[np.bool_]:
    """Return (chip,) True where a foreign region, or the ground outside all regions, is nearer than ``metres``."""
    near = np.zeros(len(cells), bool)
    for zone in _zones(cells):
        found = zone.clipped(dense, metres)
        parts = [part for part in found if foreign[part[1]]]
        if outside:
            window = shapely.segmentize(zone.window(metres), _EDGE_DEG)
            rest = shapely.difference(window, shapely.union_all([part for part, _ in found]))
            parts += [(part, -1) for part in polygon_parts(rest)]
        pieces, _ = zone.projected(parts)
        if not len(pieces):
            continue
        scale = np.sqrt(areal_scale(zone.epsg, zone.lon, zone.lat))
        on_map = metres * scale.mean(axis=1)
        tree = shapely.STRtree(zone.squares)
        # Scales of a zone differ by 1e-3: only chips between the shortest and the longest reach need their distance.
        _, surely = tree.query(pieces, predicate="dwithin", distance=float(on_map.min()) - 1.0)
        close = np.zeros(len(zone.rows), bool)
        close[surely] = True
        piece, chip = tree.query(pieces, predicate="dwithin", distance=float(on_map.max()))
        piece, chip = piece[~close[chip]], chip[~close[chip]]
        close[chip[shapely.distance(pieces[piece], zone.squares[chip]) < on_map[chip]]] = True
        near[zone.rows[close]] = True
    return near

"""Blocks: squares of one equal-area lattice around the Earth, each of which belongs to one split.

The lattice lies in EPSG:6933 and starts at 180 W and the equator, so that UTM zones play no part; blocks are bounded by
meridians and parallels and have the same area everywhere, which makes them narrow near the poles. A chip belongs to the
block of its centre. Splits are drawn inside super-blocks of 5 x 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.splits import ground
from m3leo_prep.core.splits.policy import LEARNED, Assignment, Split, yields_to
from m3leo_prep.core.splits.shares import Shares, group_keys, shuffled, validate_shares

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUPER = 5
"""Blocks along the side of a super-block."""
_PURPOSE = 1
_CHIPS = 50_000
"""Chips looked at closely at a time, to bound memory."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Blocks of ``side`` metres; the last column, at 180 E, is narrower. ``turn`` counts ways around the Earth."""

    side: float
    shares: Shares
    seed: int

    @property
    def columns(self) -> int:
        """Blocks around the Earth."""
        return math.ceil(2 * ground.HALF_WIDTH / self.side)

    @property
    def first_row(self) -> int:
        """Row at the South Pole."""
        return -math.ceil(7.4e6 / self.side)

    def column(self, lon: Floats) -> Ints:
        """Return columns; beyond 180 E they go on with the first column, and so on."""
        turn = np.floor((lon + 180) / 360)
        inside = np.floor((lon + 180 - 360 * turn) * ground.DEGREE / self.side)
        return np.asarray(turn * self.columns + np.minimum(inside, self.columns - 1), np.int64)

    def row(self, lat: Floats) -> Ints:
        """Return rows, negative south of the equator."""
        return np.floor(ground.northing(lat) / self.side).astype(np.int64)

    def west(self, column: Ints) -> Floats:
        """Return the longitudes of western edges, continuous as the columns are."""
        turn, inside = np.divmod(column, self.columns)
        return np.asarray(-180 + 360 * turn + inside * self.side / ground.DEGREE)

    def south(self, row: Ints) -> Floats:
        """Return the latitudes of southern edges."""
        rows, place = np.unique(row, return_inverse=True)
        return ground.latitude(rows.astype(np.float64) * self.side)[place.reshape(row.shape)]

    def number(self, column: Ints, row: Ints) -> Ints:
        """Return a number of each block, from 0."""
        return (row - self.first_row) * self.columns + column % self.columns

    def split(self, column: Ints, row: Ints) -> NDArray[np.uint8]:
        """Return the split of each block, built or not."""
        column = column % self.columns
        supers = ((row // SUPER + 2**24) << 25) | (column // SUPER)
        known, which = np.unique(supers, return_inverse=True)
        table = shuffled(self.shares, group_keys(self.seed, _PURPOSE, known))
        return np.asarray(table[which.reshape(-1), (row % SUPER) * SUPER + column % SUPER])


def assign_blocks(
    cells: Cells,
    *,
    block_km: float,
    buffer_km: float,
    shares: Mapping[str, float],
    seed: int,
    yields: tuple[Split, ...],
) -> Assignment:
    """Return the splits of chips by blocks; ``group`` is a number of the block.

    A chip yields where its square is nearer than the buffer to any block, built or not, of a split that it yields to:
    on the ellipsoid, exact to a metre for chips of some kilometres.

    Args:
        cells: chips.
        block_km: side of a block in the plane of EPSG:6933.
        buffer_km: 0 for none; chips that may lie on the ground of another zone's have a chip diagonal at least.
        shares: of train, val and test.
        seed: of the draw.
        yields: splits in the order in which they yield, as ``SplitPolicy.yields`` tells.

    Raises:
        ConfigError: shares, block or buffer make no sense.
    """
    lattice = _lattice(cells, block_km, shares, seed)
    margin = ground.buffers(cells, buffer_km)
    lon, lat = cells.lon_lat()
    column, row = lattice.column(lon), lattice.row(lat)
    home = lattice.split(column, row)
    split = home.copy()
    close = np.flatnonzero((home != yields[-1]) & _near_edge(cells, lattice, lon, lat, margin))
    for first in range(0, len(close), _CHIPS):
        part = close[first : first + _CHIPS]
        yielding = _too_near(cells[part], lattice, home[part], margin[part], yields)
        split[part[yielding]] = Split.BUFFER
    return Assignment(home, split, lattice.number(column, row))


def blocks_per_split(cells: Cells, block_km: float, shares: Mapping[str, float], seed: int) -> Ints:
    """Return (3,) how many blocks of train, val and test hold chips (the centres of any, buffered or not)."""
    lattice = _lattice(cells, block_km, shares, seed)
    lon, lat = cells.lon_lat()
    column, row = lattice.column(lon), lattice.row(lat)
    _, first = np.unique(lattice.number(column, row), return_index=True)
    return np.bincount(lattice.split(column[first], row[first]), minlength=len(LEARNED))


def _lattice(cells: Cells, block_km: float, shares: Mapping[str, float], seed: int) -> Lattice:
    if not (math.isfinite(block_km) and block_km * 1000 >= cells.grid.cell_m):
        raise ConfigError(
            f"blocks of {block_km:g} km for chips of {cells.grid.cell_m / 1000:g} km",
            hint="a block is wider than a chip, about 100 km for chips of 4.48 km; or write block_km: auto",
            where="splits.block_km",
        )
    return Lattice(block_km * 1000, validate_shares(shares), seed)


def _near_edge(cells: Cells, lattice: Lattice, lon: Floats, lat: Floats, margin: Floats) -> NDArray[np.bool_]:
    """Return True where the circle around a chip and its buffer may leave the block."""
    radius = margin + 0.71 * cells.grid.cell_m * 1.001
    wide, high = ground.reach(radius, lat)
    column, row = lattice.column(lon), lattice.row(lat)
    leaves = lattice.column(lon - wide) != column
    leaves |= lattice.column(lon + wide) != column
    leaves |= lattice.row(lat - high) != row
    leaves |= lattice.row(lat + high) != row
    return np.asarray(leaves & (margin > 0))


def _too_near(
    cells: Cells, lattice: Lattice, home: NDArray[np.uint8], margin: Floats, yields: tuple[Split, ...]
) -> NDArray[np.bool_]:
    """Return (chip,) True where a block of a split that the chip yields to is nearer than its margin."""
    lon, lat = ground.corners(cells)
    chip, block_column, block_row = _blocks_in_reach(lattice, lon, lat, margin)
    yielded = yields_to(yields, home[chip], lattice.split(block_column, block_row))
    chip, block_column, block_row = chip[yielded], block_column[yielded], block_row[yielded]
    distance = _distances(lattice, lon[chip], lat[chip], block_column, block_row, margin[chip])
    yielding = np.zeros(len(cells), bool)
    yielding[chip[distance < margin[chip]]] = True
    return yielding


def _blocks_in_reach(lattice: Lattice, lon: Floats, lat: Floats, margin: Floats) -> tuple[Ints, Ints, Ints]:
    """Return chip, column and row of all blocks that may be nearer to a chip than its buffer."""
    wide, high = ground.reach(margin, np.abs(lat).max(axis=1))
    west, east = lattice.column(lon.min(axis=1) - wide), lattice.column(lon.max(axis=1) + wide)
    south, north = lattice.row(lat.min(axis=1) - high), lattice.row(lat.max(axis=1) + high)
    columns, rows = east - west + 1, north - south + 1
    count = columns * rows
    chip = np.repeat(np.arange(len(lon)), count)
    nth = np.arange(len(chip)) - np.repeat(np.cumsum(count) - count, count)
    return chip, west[chip] + nth % columns[chip], south[chip] + nth // columns[chip]


def _distances(lattice: Lattice, lon: Floats, lat: Floats, column: Ints, row: Ints, margin: Floats) -> Floats:
    """Return (pair,) metres between a chip's square and a block; inf where far more than ``margin``.

    From a point whose meridian runs through the block the way along that meridian is the shortest. From any other it
    leads to the nearer bounding meridian: the block's other points lie behind it. Of the points between two corners
    that lie over or under the block the nearest is the first or the last, as latitude rises or falls along an edge.
    """
    west, east = lattice.west(column), lattice.west(column + 1)
    _, low = ground.local(np.zeros(len(row)), lattice.south(row))
    _, high = ground.local(np.zeros(len(row)), lattice.south(row + 1))
    _, y = ground.local(np.zeros(lat.shape), lat)
    along = np.maximum(np.maximum(low[:, None] - y, y - high[:, None]), 0)
    distance = np.where((lon >= west[:, None]) & (lon <= east[:, None]), along, np.inf).min(axis=1)
    wide, _ = ground.reach(margin, np.abs(lat).max(axis=1))
    for edge in (west, east):
        near = np.flatnonzero((edge > lon.min(axis=1) - wide) & (edge < lon.max(axis=1) + wide))
        squares = ground.quads(*ground.local(lon[near] - edge[near, None], lat[near]))
        ends = np.stack([np.zeros((len(near), 2)), np.column_stack([low[near], high[near]])], axis=-1)
        straight = ground.flat_to_ground(shapely.distance(squares, shapely.linestrings(ends)))
        distance[near] = np.minimum(distance[near], straight)
    return np.asarray(distance)

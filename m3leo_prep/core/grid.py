"""The fixed chip grid of the Earth: UTM cells, their ids, their geoboxes.

One grid per zone, cells of 4480 m (448 px of 10 m) anchored at easting 500 000 m and the equator. Columns
count eastward from the central meridian and are negative west of it; rows count away from the equator in both
hemispheres, so no cell straddles it. A cell is fixed ground: its id depends on no area, order or float.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from m3leo_prep.core import cover, footprint
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.zones import (
    FALSE_EASTING,
    FALSE_NORTHING_SOUTH,
    is_south,
    unproject,
    zone_number,
    zone_of,
)

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

GRID_VERSION = 1
"""Rises when the same id would name other ground."""

_ID = re.compile(r"u(\d+)_(\d+)_(\d{2})([NS])_([EW])(\d{3,})_(\d{4,})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Grid:
    """The UTM tiling for one chip size."""

    chip_px: int = 448
    """Pixels of a chip's side at ``resolution``."""
    resolution: float = 10.0
    """Finest pixel in metres."""

    def __post_init__(self) -> None:
        cell = float(self.chip_px * self.resolution)
        if self.chip_px < 1 or not cell.is_integer() or not 10 <= cell <= 100_000:
            raise ConfigError(
                f"a chip of {self.chip_px} px of {self.resolution:g} m has a side of {cell:g} m",
                hint="the side must be a whole number of metres from 10 to 100000, as 448 px of 10 m",
                where="grid",
            )

    @property
    def cell_m(self) -> float:
        """Side of a cell in metres."""
        return self.chip_px * self.resolution

    def cells(self, geometry: BaseGeometry) -> Cells:
        """Return all cells that meet the geometry, each zone's cells inside its own strip's part of it.

        Args:
            geometry: valid lon/lat polygons, split at the antimeridian (``Area.geometry``). Slivers thinner
                than a centimetre make no cell, so that rounding never adds one.

        Returns:
            Cells sorted by EPSG code, then in Z-order inside the zone.

        Raises:
            ConfigError: UNSUPPORTED_LATITUDE.
        """
        return Cells(self, *cover.cover(geometry, self.cell_m))

    def chip_id(self, epsg: int, col: int, row: int) -> str:
        """Return the id of a cell, such as ``u1_4480_32N_E012_1234``."""
        return f"{_zone_text(self.cell_m, epsg)}{_column_text(col)}{row:04d}"

    def parse_id(self, chip_id: str) -> tuple[int, int, int]:
        """Return (epsg, col, row) of an id.

        Raises:
            ConfigError: no id of this grid.
        """
        match = _ID.fullmatch(chip_id)
        if match is not None:
            zone, hemisphere, side, column, row = match.groups()[2:]
            epsg = (32700 if hemisphere == "S" else 32600) + int(zone)
            col = -int(column) if side == "W" else int(column)
            if 1 <= int(zone) <= 60 and self.chip_id(epsg, col, int(row)) == chip_id:
                return epsg, col, int(row)
        raise ConfigError(
            f"'{chip_id}' is not a chip id of this grid",
            hint=f"ids look like '{self.chip_id(32632, 12, 1234)}': grid version {GRID_VERSION}, "
            f"side {self.cell_m:g} m, zone, column, row",
        )

    def geobox(self, epsg: int, col: int, row: int, pitch: float | None = None) -> GeoBox:
        """Return the pixels of one chip, north up; ``pitch`` in metres (default: the grid's resolution)."""
        return self.block_geobox(epsg, col, row, 1, 1, pitch)

    def block_geobox(
        self, epsg: int, col0: int, row0: int, n_cols: int, n_rows: int, pitch: float | None = None
    ) -> GeoBox:
        """Return the pixels of a block of cells, north up.

        Args:
            epsg: zone.
            col0: column of the upper-left cell.
            row0: row of the upper-left cell: the highest of the block in the north, the lowest in the south.
            n_cols: cells eastward.
            n_rows: cells southward.
            pitch: pixel in metres, must divide the cell (default: the grid's resolution).

        Raises:
            ConfigError: the pitch does not divide the cell, or no such zone.
        """
        from odc.geo.geobox import GeoBox  # takes longer to import than all else here

        zone_number(epsg)
        pitch = self.resolution if pitch is None else pitch
        size = self.chip_size(pitch)
        x0, y0 = upper_left(self.cell_m, np.int64(epsg), np.int64(col0), np.int64(row0))
        shape = (n_rows * size, n_cols * size)
        return GeoBox(shape, Affine(pitch, 0, float(x0), 0, -pitch, float(y0)), f"EPSG:{epsg}")

    def chip_size(self, pitch: float) -> int:
        """Return the pixels of a chip's side at a pitch in metres.

        Raises:
            ConfigError: the pitch does not divide the cell; the hint names the nearest that do.
        """
        size = round(self.cell_m / pitch) if pitch > 0 else 0
        if size < 1 or abs(size * pitch - self.cell_m) > 1e-9 * self.cell_m:
            cell = int(self.cell_m)
            near = sorted((d for d in range(1, cell + 1) if cell % d == 0), key=lambda d: abs(d - pitch))[:4]
            raise ConfigError(
                f"a pitch of {pitch:g} m does not divide the chip of {cell} m",
                hint="the nearest that do: " + ", ".join(f"{d} m" for d in sorted(near)),
            )
        return size


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of a grid as arrays; whatever is derived from them is computed when asked, so ask in batches."""

    grid: Grid
    epsg: NDArray[np.int32]
    col: NDArray[np.int32]
    row: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.epsg)

    def __getitem__(self, key: slice | NDArray[np.bool_] | NDArray[np.integer]) -> Cells:
        """Return the cells at a slice, mask or index array."""
        return Cells(self.grid, self.epsg[key], self.col[key], self.row[key])

    def ids(self) -> list[str]:
        """Return the chip ids."""
        zone = {epsg: _zone_text(self.grid.cell_m, epsg) for epsg in np.unique(self.epsg).tolist()}
        column = {col: _column_text(col) for col in np.unique(self.col).tolist()}
        triples = zip(self.epsg.tolist(), self.col.tolist(), self.row.tolist(), strict=True)
        return [f"{zone[epsg]}{column[col]}{row:04d}" for epsg, col, row in triples]

    def upper_left(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return easting and northing of the upper-left corners in metres, float64."""
        return upper_left(self.grid.cell_m, self.epsg, self.col, self.row)

    def lon_lat(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return longitude (-180...180) and latitude of the centres in degrees, float64."""
        return footprint.centres(self.grid.cell_m, self.epsg, *self.upper_left())

    def polygons(self) -> NDArray[np.object_]:
        """Return the footprints as lon/lat polygons, those across the antimeridian split into two."""
        return footprint.polygons(self.grid.cell_m, self.epsg, *self.upper_left())

    def area_km2(self) -> NDArray[np.float64]:
        """Return the true (ellipsoidal) ground areas in km2, float64."""
        return footprint.areas(self.grid.cell_m, self.epsg, *self.upper_left()) / 1e6

    def owned_fraction(self) -> NDArray[np.float32]:
        """Return the part of each cell's ground inside its own zone's strip, 0...1, float32."""
        return footprint.owned_fraction(self.grid.cell_m, self.epsg, *self.upper_left())

    def zone_shared(self) -> NDArray[np.bool_]:
        """Return True where a cell of another zone may lie on the same ground.

        Depends on the cell alone, not on the area: True within one cell diagonal of a seam, which is as far
        as a neighbour's cell can reach over it. No cell without the mark overlaps a cell of another zone.
        """
        return footprint.near_seam(self.grid.cell_m, self.epsg, *self.upper_left())


def _zone_text(cell_m: float, epsg: int) -> str:
    return f"u{GRID_VERSION}_{int(cell_m)}_{zone_number(epsg):02d}{'S' if is_south(epsg) else 'N'}_"


def _column_text(col: int) -> str:
    return f"{'W' if col < 0 else 'E'}{abs(col):03d}_"


def upper_left(
    cell_m: float,
    epsg: NDArray[np.integer] | np.integer,
    col: NDArray[np.integer] | np.integer,
    row: NDArray[np.integer] | np.integer,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return easting and northing of the upper-left corners in metres, float64; exact for whole metres."""
    x0 = FALSE_EASTING + np.asarray(col, np.float64) * cell_m
    row = np.asarray(row, np.float64)
    y0 = np.where(np.asarray(epsg) >= 32700, FALSE_NORTHING_SOUTH - row * cell_m, (row + 1) * cell_m)
    return x0, y0


def owned_mask(grid: Grid, epsg: int, col: int, row: int, pitch: float | None = None) -> NDArray[np.bool_]:
    """Return (y, x), True where the pixel's centre lies in the zone's own strip and hemisphere."""
    box = grid.geobox(epsg, col, row, pitch)
    height, width = box.shape
    x0, y0 = upper_left(grid.cell_m, np.int64(epsg), np.int64(col), np.int64(row))
    if footprint.owned_fraction(grid.cell_m, np.array([epsg]), x0[None], y0[None])[0] == 1:
        return np.ones((height, width), bool)
    step = grid.cell_m / width
    x, y = np.meshgrid(x0 + (np.arange(width) + 0.5) * step, y0 - (np.arange(height) + 0.5) * step)
    return np.equal(zone_of(*unproject(epsg, x, y)), epsg)

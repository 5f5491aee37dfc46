"""The Earth's ellipsoid: points in space from map coordinates, exact at nodes and quadratic in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ops._mesh import Origin, cell_step
from m3leo_prep.ops._operation import transform

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

SEMI_MAJOR = 6_378_137.0
"""Metres (WGS 84, NIMA TR8350.2)."""
FLATTENING = 1 / 298.257223563
_E2 = FLATTENING * (2 - FLATTENING)


def surface(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (..., 6): x, y, z in metres (ECEF) of points on the WGS 84 ellipsoid, and the unit vector that points up.

    A point at height h is the first three plus h times the last three.

    Args:
        lon: degrees.
        lat: degrees, geodetic.
    """
    lam, phi = np.radians(lon), np.radians(lat)
    up = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
    # Radius of curvature in the prime vertical.
    normal = SEMI_MAJOR / np.sqrt(1 - _E2 * np.sin(phi) ** 2)
    ground = up * normal[..., None]
    ground[..., 2] *= 1 - _E2
    return np.concatenate([ground, up], axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """The ellipsoid under a block of target pixels: three by three nodes per cell, cells anchored to the lattice.

    A cell is at most 2.6 km long: the quadratic between its nodes errs by less than 0.01 mm, and because cells do not
    follow the block, a pixel has the same bits in every block.
    """

    nodes: NDArray[np.float64]
    """(2 cells_y + 1, 2 cells_x + 1, 6) as ``surface`` gives; NaN where the map has no such place."""
    step: int
    """Target pixels per cell."""
    row: int
    """Row of the block's first pixel inside the first cell."""
    col: int
    shape: tuple[int, int]


def ground(geobox: GeoBox) -> Ground:
    """Return the ellipsoid under ``geobox``.

    Raises:
        ConfigError: the geobox has no CRS.
    """
    if geobox.crs is None:
        raise ConfigError("a geobox without a CRS cannot be placed", hint="give the target its CRS")
    step, origin, affine = cell_step(geobox), Origin.of(geobox), geobox.affine
    (first_col, n_cols), (first_row, n_rows) = (
        (start // step, -(-(start % step + size) // step))
        for start, size in zip(origin.whole, (geobox.shape[1], geobox.shape[0]), strict=True)
    )
    columns = np.arange(2 * n_cols + 1) * (step / 2) + first_col * step + origin.fraction[0]
    rows = np.arange(2 * n_rows + 1) * (step / 2) + first_row * step + origin.fraction[1]
    x = affine.a * columns[None, :] + affine.b * rows[:, None]
    y = affine.d * columns[None, :] + affine.e * rows[:, None]
    lon, lat = transform(geobox.crs, "EPSG:4326", x, y)
    defined = np.isfinite(lon) & np.isfinite(lat)
    nodes = surface(np.where(defined, lon, np.nan), np.where(defined, lat, np.nan))
    return Ground(
        nodes,
        step,
        origin.whole[1] - first_row * step,
        origin.whole[0] - first_col * step,
        (geobox.shape[0], geobox.shape[1]),
    )

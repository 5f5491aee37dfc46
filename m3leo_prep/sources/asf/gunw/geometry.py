"""Viewing geometry of a granule at the heights of the ground: incidence angle and the line-of-sight vector.

A granule holds angles on nodes 0.1 degree (11 km) apart at the heights -1500, 0, 3000 and 9000 m. Along a pass the
incidence angle changes by 0.7 degree from node to node, so the nearest node is not good enough.

What the angles mean is in the code that writes them (ACCESS-Cloud-Based-InSAR/DockerizedTopsApp,
``isce2_topsapp/packaging_utils/makeGeocube.py``, ``Cube.calc_row``):

- ``incidenceAngle``: between the normal of the ellipsoid at the target and the direction target -> satellite.
- ``azimuthAngle``: ``arctan2(north, east)`` of the direction target -> satellite, so counter-clockwise from east.
  Its east and north are the axes of the UTM zone of the scene's centre, which is not recorded: against true north it
  is off by up to 1.5, 2.9 and 3.9 degrees at latitudes 20, 40 and 60 (computed with pyproj). Given as delivered, which
  is how the product's own tides, ARIA-tools and MintPy use it.
- Heights of the nodes are above the ellipsoid. 100 m of geoid change the incidence angle by 0.004 degree.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.ops.cube import Cube
from m3leo_prep.ports.heights import Heights
from m3leo_prep.sources._native import transformer

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.asf.gunw.file import GunwFile

INCIDENCE = "imagingGeometry/incidenceAngle"
AZIMUTH = "imagingGeometry/azimuthAngle"
_WHOLE_PX = 1e-6
"""A target whose pixels are the product's within this share of a pixel is a cut of its grid."""

Floats = NDArray[np.float64]
Valid = NDArray[np.bool_]


def incidence(file: GunwFile, geobox: GeoBox, heights: Heights) -> tuple[NDArray[np.float32], Valid]:
    """Return the incidence angle on the ellipsoid in degrees, (y, x), and where it is known.

    Trilinear in height, latitude and longitude. Not known outside the nodes, and where the height is not.

    Raises:
        CorruptError: the granule has no such cube.
    """
    made = _on_ground(_angles(file)[0], file, geobox, heights).astype(np.float32)
    return made, np.isfinite(made)


def los(file: GunwFile, geobox: GeoBox, heights: Heights) -> tuple[NDArray[np.float32], Valid]:
    """Return the unit vector ground -> satellite, (3, y, x) east, north, up, and where it is known, (y, x).

    Phase that grows towards the satellite times this vector is motion in those directions. Interpolated as vectors
    made from the angles at the nodes and brought back to length 1, never in degrees: 359 and 1 have 0 between them.

    Raises:
        CorruptError: the granule has no such cubes.
    """
    angle, azimuth = _angles(file)
    tilt, turn = np.radians(angle.values), np.radians(azimuth.values)
    nodes = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)])
    vector = _on_ground(Cube(nodes, angle.heights, angle.lats, angle.lons), file, geobox, heights)
    length = np.sqrt((vector**2).sum(axis=0))
    made = (vector / length).astype(np.float32)
    return made, np.isfinite(made).all(axis=0)


def places(file: GunwFile, geobox: GeoBox, lons: Floats) -> tuple[Floats, Floats]:
    """Return latitude and longitude of the pixel centres of ``geobox``, each (y, x) float64.

    The longitudes are within half a turn of the middle of ``lons``, those of the nodes to be used. A pixel of the
    product's own grid has the same coordinates, bit for bit, in every cut of it.
    """
    lat, lon = _centres(geobox, file.geobox if geobox.crs == file.geobox.crs else None)
    middle = (lons[0] + lons[-1]) / 2
    return lat, np.where(np.abs(lon - middle) > 180.0, lon - 360.0 * np.rint((lon - middle) / 360.0), lon)


@lru_cache(maxsize=4)
def _centres(geobox: GeoBox, grid: GeoBox | None) -> tuple[Floats, Floats]:
    to = geobox.transform
    rows, cols = (np.arange(n) + 0.5 for n in geobox.shape)
    if grid is not None:
        of = grid.transform
        down, along = (to.f - of.f) / of.e, (to.c - of.c) / of.a
        ends = down, along, down + to.e / of.e * len(rows), along + to.a / of.a * len(cols)
        if all(abs(end - round(end)) < _WHOLE_PX for end in ends) and round(ends[2] - down) == len(rows):
            to, rows, cols = of, rows + round(down), cols + round(along)
    x, y = np.meshgrid(to.c + to.a * cols, to.f + to.e * rows)
    lon, lat = transformer(str(geobox.crs), "EPSG:4326").transform(x, y)
    lat.flags.writeable = lon.flags.writeable = False  # shared by all who ask for these pixels
    return lat, lon


def _angles(file: GunwFile) -> tuple[Cube, Cube]:
    """Return incidence and azimuth at the nodes; NaN where either is no angle of a radar that looks down."""
    angle, azimuth = file.cube(INCIDENCE), file.cube(AZIMUTH)
    # ISCE2 leaves -9999 where it found no solution; the fill value of the variable is another one, 0.
    known = (angle.values > 0) & (angle.values < 90) & (np.abs(azimuth.values) <= 360)
    kept = np.where(known, angle.values, np.nan)
    return Cube(kept, angle.heights, angle.lats, angle.lons), azimuth


def _on_ground(cube: Cube, file: GunwFile, geobox: GeoBox, heights: Heights) -> Floats:
    height, known = heights(geobox)
    lat, lon = places(file, geobox, cube.lons)
    return cube.at(np.where(known, height, np.nan), lat, lon)

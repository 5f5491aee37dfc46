"""An independent truth for distances: dense points on the ellipsoid, chords through it, one geodesic at the end."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from pyproj import Geod

from m3leo_prep.core.grid import Grid
from m3leo_prep.core.polygons import split_antimeridian
from m3leo_prep.core.zones import unproject

GEOD = Geod(ellps="WGS84")


def around(lon, lat, high=0.9, grid=None):
    """Return the cells of a patch around a place, which may lie across 180 E."""
    wide = high / np.cos(np.radians(lat))
    whole = shapely.box(lon - wide, lat - high, lon + wide, lat + high)
    return (grid or Grid()).cells(split_antimeridian(whole))


def square(cells, k, n=30):
    """Return (point, lon and lat) along the edges of a chip, longitudes continuous."""
    x0, y0 = (float(axis[k]) for axis in cells.upper_left())
    t = np.linspace(0, cells.grid.cell_m, n)
    zero, full = np.zeros(n), np.full(n, cells.grid.cell_m)
    x, y = np.concatenate([t, t, zero, full]), np.concatenate([zero, full, t, t])
    return np.column_stack(unproject(int(cells.epsg[k]), x0 + x, y0 - y))


def _globe(points):
    lon, lat = np.radians(points).T
    e2 = 0.00669437999014
    n = 6378137 / np.sqrt(1 - e2 * np.sin(lat) ** 2)
    return np.column_stack([n * np.cos(lat) * np.cos(lon), n * np.cos(lat) * np.sin(lon), n * (1 - e2) * np.sin(lat)])


def least(points, others):
    """Return the least geodesic distance in metres between two sets of points."""
    a, b = _globe(points), _globe(others)
    squared = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    p, q = np.unravel_index(squared.argmin(), squared.shape)
    return GEOD.inv(*points[p], *others[q])[2]


@pytest.fixture(scope="session")
def truth():
    return SimpleNamespace(around=around, square=square, least=least)

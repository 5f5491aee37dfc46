"""Areas on the WGS 84 ellipsoid by a plane on which they are true: longitude beside the authalic sine of latitude.

The plane is equal-area over the whole Earth, so that areas of many polygons are one vectorised call, and parts of a
polygon add up to it (Snyder 1987, Map Projections: A Working Manual, equations 3-12 and 14-3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SEMI_MAJOR_KM = 6378.137
_FLATTENING = 1 / 298.257223563
_E = np.sqrt(_FLATTENING * (2 - _FLATTENING))
_EDGE_DEG = 0.05
"""Edges are straight in lon/lat; cut this short, they are straight in the plane too (1e-8 of an area)."""


def plane(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Return the place in the plane, float64, such that areas in it are km2 on the ellipsoid.

    Args:
        lon: degrees, any multiple of 360 added.
        lat: degrees.
    """
    sine = np.sin(np.radians(lat))
    q = (1 - _E**2) * (sine / (1 - _E**2 * sine**2) + np.arctanh(_E * sine) / _E)
    return np.radians(lon) * SEMI_MAJOR_KM, q * (SEMI_MAJOR_KM / 2)


def areas_km2(geometries: NDArray[np.object_] | list[Any]) -> Floats:
    """Return the ground areas in km2 of lon/lat polygons whose edges are straight in lon/lat; holes count off."""
    fine = shapely.segmentize(np.asarray(geometries, object), _EDGE_DEG)
    flat = shapely.transform(fine, lambda points: np.column_stack(plane(points[:, 0], points[:, 1])))
    return np.asarray(shapely.area(flat), np.float64)

"""Footprints whose edges may be read in two ways: as straight in longitude and latitude, or as great circles.

The catalogue joins the corners of a polygon by great circles
(https://cmr.earthdata.nasa.gov/search/site/docs/search/api.html#c-polygon), we by straight lines. Of a scene of 250 km
the two are 0.02 degrees apart at 60 N, 0.06 at 80 N: whole chips.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from shapely import Polygon
    from shapely.geometry.base import BaseGeometry

STEP_DEG = 0.25
"""Of longitude between points of a great circle: straight lines between them are 0.0001 degrees from it at most."""
LONGEST_DEG = 90.0
"""An edge of more longitude than that is a mistake, and left as it is."""


def both_readings(polygon: Polygon) -> BaseGeometry:
    """Return what is inside a valid polygon by the one or the other reading of its edges."""
    import shapely

    bent = shapely.Polygon(_bent(polygon.exterior), [_bent(ring) for ring in polygon.interiors])
    return shapely.union(polygon, bent if bent.is_valid else shapely.make_valid(bent))


def _bent(ring: Any) -> NDArray[np.float64]:
    """Return a ring with points of great circles between its corners, (n, 2) degrees."""
    corners = np.asarray(ring.coords)[:, :2]
    parts = [_arc(start, stop) for start, stop in pairwise(corners)]
    return np.concatenate([*parts, corners[-1:]])


def _arc(start: NDArray[np.float64], stop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points of one edge without its last.

    The latitude of a great circle through two places by longitude: https://edwilliams.org/avform147.htm#Int
    """
    width = float(stop[0] - start[0])
    count = int(np.ceil(abs(width) / STEP_DEG))
    if count <= 1 or abs(width) > LONGEST_DEG or max(abs(start[1]), abs(stop[1])) >= 90:
        return start[None]
    share = np.arange(count) / count
    lon = start[0] + share * width
    first, last = np.tan(np.radians([start[1], stop[1]]))
    turned = np.radians(width)
    lat = np.degrees(np.arctan((first * np.sin((1 - share) * turned) + last * np.sin(share * turned)) / np.sin(turned)))
    return np.column_stack([lon, np.where(share == 0, start[1], lat)])

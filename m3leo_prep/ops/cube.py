"""Linear interpolation of values on the nodes of a coarse grid: a cube (height, latitude, longitude) or a plane.

What products hold beside their pixels, such as viewing geometry and delays, lies on nodes kilometres apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Cube:
    """Values on nodes in three dimensions; each axis ascends or descends.

    Raises:
        CorruptError: axes that are not those of the values, or not in order.
    """

    values: Floats
    """(height, lat, lon), NaN where a node has none; with one more axis before these, its parts are alike."""
    heights: Floats
    """Metres."""
    lats: Floats
    """Degrees north."""
    lons: Floats
    """Degrees east; beyond 180 where the cube lies across the antimeridian."""

    def __post_init__(self) -> None:
        """Refuse axes that do not place the values."""
        _check(self.values, (self.heights, self.lats, self.lons))

    def at(self, heights: NDArray[np.floating], lats: Floats, lons: Floats) -> Floats:
        """Return values at points, float64: trilinear, NaN outside the nodes and where one that has a share has none.

        Of the shape of the points, after the cube's parts if it has some. A point's bits do not depend on which others
        are asked for.

        Args:
            heights: metres, any shape; NaN = unknown.
            lats: degrees, same shape.
            lons: degrees, same shape, within half a turn of the cube's.
        """
        from m3leo_prep.ops._linear import trilinear  # numba: only a build needs it

        nodes, (levels, rows, cols) = _rising(self.values, (self.heights, self.lats, self.lons))
        parts = nodes.reshape(-1, *nodes.shape[-3:])
        made = np.empty((len(parts), lats.size))
        trilinear(parts, levels, rows, cols, _flat(heights), _flat(lats), _flat(lons), made)
        return made.reshape(*nodes.shape[:-3], *lats.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Values on nodes in two dimensions; each axis ascends or descends.

    Raises:
        CorruptError: axes that are not those of the values, or not in order.
    """

    values: Floats
    """(lat, lon), NaN where a node has none."""
    lats: Floats
    """Degrees north."""
    lons: Floats
    """Degrees east; beyond 180 where the plane lies across the antimeridian."""

    def __post_init__(self) -> None:
        """Refuse axes that do not place the values."""
        _check(self.values, (self.lats, self.lons))

    def at(self, lats: Floats, lons: Floats) -> Floats:
        """Return values at points of any shape, float64: bilinear, otherwise as ``Cube.at``."""
        from m3leo_prep.ops._linear import bilinear  # numba: only a build needs it

        nodes, (rows, cols) = _rising(self.values, (self.lats, self.lons))
        made = np.empty((1, lats.size))
        bilinear(nodes[None, None], rows, cols, _flat(lats), _flat(lons), made)
        return made.reshape(lats.shape)


def _flat(points: NDArray[np.floating]) -> Floats:
    return np.ascontiguousarray(points, np.float64).ravel()


def _rising(values: Floats, axes: Sequence[Floats]) -> tuple[Floats, list[Floats]]:
    """Return values and axes turned so that each axis ascends, float64 and in one piece."""
    falling = tuple(n - len(axes) for n, axis in enumerate(axes) if axis[0] > axis[-1])
    rising = [np.ascontiguousarray(np.sort(axis), np.float64) for axis in axes]
    return np.ascontiguousarray(np.flip(values, falling), np.float64), rising


def _check(values: Floats, axes: Sequence[Floats]) -> None:
    if values.shape[-len(axes) :] != tuple(map(len, axes)):
        raise CorruptError(f"{values.shape} values on {tuple(map(len, axes))} nodes")
    for axis in axes:
        steps = np.diff(axis)
        if len(axis) < 2 or not (np.isfinite(axis).all() and ((steps > 0).all() or (steps < 0).all())):
            raise CorruptError("coordinates of nodes are not two or more in order, all different")

"""Places that were looked at lately: passes over the same pixels see the same ground, worked out once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources._native import NativeGrid, Window, transformer
from m3leo_prep.sources.synthetic.earth import Ground, ground
from m3leo_prep.sources.synthetic.facts import LONLAT

KEPT_BYTES = 128 * 2**20
"""Of a process, all places together; a larger one is not kept."""
PIXEL_BYTES = 30
"""Of a place: lon, lat and the ground."""


@dataclass(frozen=True)
class Place:
    """Pixels of a grid, and what is there."""

    seed: int
    lon: NDArray[np.float64]
    """(y, x) degrees of the pixel centres."""
    lat: NDArray[np.float64]

    @cached_property
    def ground(self) -> Ground:
        """The ground there."""
        return ground(self.lon, self.lat, self.seed)


_kept: OrderedDict[tuple[int, NativeGrid, Window], Place] = OrderedDict()
_lock = Lock()


def place(seed: int, grid: NativeGrid, window: Window) -> Place:
    """Return a place, the one that is kept if it is; safe to call from many threads."""
    key = (seed, grid, window)
    with _lock:
        found = _kept.get(key)
        if found is not None:
            _kept.move_to_end(key)
            return found
    made = Place(seed, *lonlat(grid, window))
    with _lock:
        _kept[key] = made
        while sum(one.lon.size for one in _kept.values()) * PIXEL_BYTES > KEPT_BYTES:
            _kept.popitem(last=False)
    return made


def lonlat(grid: NativeGrid, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lon and lat of the pixel centres, both (y, x)."""
    x, y = np.meshgrid(*grid.centres(window))
    if grid.is_lonlat:
        return x, y
    lon, lat = transformer(grid.crs, LONLAT).transform(x, y)
    return np.asarray(lon), np.asarray(lat)

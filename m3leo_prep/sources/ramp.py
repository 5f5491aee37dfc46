"""A source whose pixels hold their own position: any misplaced pixel shows its error in its value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.sources._native import NativeGrid

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.source import Source


@dataclass(frozen=True, slots=True)
class Ramp:
    """Band x and band y hold the coordinates of the pixel's centre, in the CRS of the source's grid, float64.

    The grid is endless and made on demand. It has its origin at (0, 0) of its CRS, so with the defaults pixels
    coincide with those of a 10-m chip, and with another pitch or CRS the warp is put to the test: a linear
    kernel must return the exact coordinates of the target pixels.
    """

    crs: str = "utm"
    """``utm``: the CRS of the target; or a CRS such as ``EPSG:4326``, and the values are lon and lat."""
    pitch: float = 10.0
    """Pixel size in units of the CRS."""

    def __post_init__(self) -> None:
        if not 0 < self.pitch < float("inf"):
            raise ConfigError(f"pitch must be a positive number, not {self.pitch!r}", where="source 'ramp'")
        if self.crs != "utm":
            from pyproj import CRS
            from pyproj.exceptions import CRSError

            try:
                CRS.from_user_input(self.crs)
            except CRSError as error:
                hint = "write utm, or a code such as EPSG:4326"
                raise ConfigError(f"unknown crs '{self.crs}'", where="source 'ramp'", hint=hint) from error

    def describe(self) -> SourceInfo:
        """Return one variable, ``position``, with bands x and y."""
        degrees = self.crs != "utm" and self._grid(self.crs).is_lonlat
        position = Variable(
            "position",
            Kind.CONTINUOUS,
            ("x", "y"),
            unit="degrees" if degrees else "m",
            long_name="coordinates of the pixel centre on the native grid",
        )
        metres = self.pitch * 111_320.0 if degrees else self.pitch
        return SourceInfo((position,), version="1", pitch=metres, is_static=True, licence="CC0-1.0 (synthetic)")

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield one item that covers the Earth."""
        from shapely.geometry import box

        if slots and not area.is_empty:
            yield Item("ramp", box(-180.0, -90.0, 180.0, 90.0), version="1")

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:  # noqa: ARG002 static
        """Yield the coordinates around ``geobox``, (2, y, x) float64, all valid."""
        grid = self._grid(str(geobox.crs) if self.crs == "utm" else self.crs)
        window = grid.window(geobox)
        for item in items:
            if window.is_empty:
                return
            x, y = grid.centres(window)
            data = np.stack(np.meshgrid(x, y))
            yield Raster(data, np.ones(data.shape, bool), grid.geobox(window), item, "position")

    def _grid(self, crs: str) -> NativeGrid:
        return NativeGrid(crs, self.pitch)


if TYPE_CHECKING:
    _: type[Source] = Ramp

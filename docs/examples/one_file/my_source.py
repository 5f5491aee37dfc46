"""Solar noon: how high the sun stands at noon of each month's middle, in degrees, from latitude and date alone."""

import math
from datetime import UTC, datetime

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box

from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable

STEP = 0.001
"""Pixel size of the source's own grid, in degrees, counted from (0, 0)."""
MARGIN = 6
"""Pixels beyond the target: four must be there, two more make up for rounding."""


class SolarNoon:
    """Elevation of the sun at local noon, one item a month; `tilt` degrees of the Earth's axis."""

    def __init__(self, tilt: float = 23.44):
        self.tilt = tilt

    def describe(self):
        sun = Variable(
            "elevation", Kind.CONTINUOUS, ("noon",), unit="degree", long_name="sun above the horizon at noon"
        )
        return SourceInfo((sun,), version="1", pitch=80.0, licence="CC0-1.0")

    def find(self, area, slots):
        for year in range(2015, 2031):
            for month in range(1, 13):
                item = Item(
                    f"{year}-{month:02d}",
                    box(-180, -66, 180, 66),
                    version="1",
                    datetime=datetime(year, month, 15, tzinfo=UTC),
                )
                if item.footprint.intersects(area) and any(slot.contains(item.datetime) for slot in slots):
                    yield item

    def read(self, items, geobox, slot):
        to_lonlat = Transformer.from_crs(str(geobox.crs), 4326, always_xy=True)
        west, south, east, north = to_lonlat.transform_bounds(*geobox.pad(4).boundingbox)
        col, row = math.floor(west / STEP) - MARGIN, math.floor(-north / STEP) - MARGIN
        cols, rows = math.ceil(east / STEP) + MARGIN - col, math.ceil(-south / STEP) + MARGIN - row
        grid = GeoBox((rows, cols), Affine(STEP, 0, col * STEP, 0, -STEP, -row * STEP), "EPSG:4326")
        latitude = -(row + np.arange(rows) + 0.5)[:, None] * STEP
        for item in items:
            if abs(latitude).max() > 66:
                continue  # nothing there: no raster
            turn = math.tau * (item.datetime.timetuple().tm_yday - 81) / 365.25
            noon = 90.0 - abs(latitude - self.tilt * math.sin(turn))
            data = np.broadcast_to(noon, (1, rows, cols)).astype("float32")  # (band, y, x)
            yield Raster(data, np.ones(data.shape, bool), grid, item, "elevation")

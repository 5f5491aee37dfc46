"""Sentinel-1 of the example: two passes, two dates, as GRD in both forms and as RTC."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.testing.copernicus.example_tiles import GEOID_M, ground, heights

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.synthetic.earth import Ground
    from m3leo_prep.testing.copernicus.files.radar_image import Image
    from m3leo_prep.testing.copernicus.stand_in import CopernicusStandIn

EPSG = 32_632
LEFT, TOP, PITCH = 278_000.0, 5_502_600.0, 20.0
"""Of the lattice that the radar sees, metres."""
CELLS = (600, 560)
PASSES = (
    (True, datetime(2020, 6, 5, 17, 32, 10, 250_000, UTC), 32_886),
    (False, datetime(2020, 6, 6, 5, 50, 40, 750_000, UTC), 32_894),
)
"""Ascending or not, when the middle is abeam, and absolute orbit."""
CYCLES = (0, 3)
"""Of 12 days after: June and July."""


def fill(copernicus: CopernicusStandIn, folder: Path) -> None:
    """Write products and images, and tell the catalogues."""
    from m3leo_prep.sources.synthetic import radar
    from m3leo_prep.testing.copernicus.files import grd
    from m3leo_prep.testing.copernicus.files.items_s1 import write_rtc

    products, items = [], []
    geobox, there = _rtc_grid()
    for ascending, abeam, orbit in PASSES:
        seen = _image(ascending=ascending)
        power = gamma(there, ascending=ascending)
        hidden = radar.mean_power(there, np.zeros(there.classes.shape), 1.0, ascending=ascending)[1]
        for cycle in CYCLES:
            number = orbit + 175 * cycle
            start = abeam + timedelta(days=12 * cycle)
            scene = grd.Scene(seen, start, number, 0x3D000 + number, seed=number)
            products += [grd.write(folder, scene), grd.write(folder, scene, cog=True)]
            speckled = np.where(hidden, np.nan, radar.speckled(power, 0, 0, number))
            images = dict(zip(scene.polarisations, speckled, strict=True))
            items.append(write_rtc(copernicus.open_services.files, scene, geobox, images))
    copernicus.add(*products)
    copernicus.publish("planetary_computer", (), items)


def gamma(there: Ground, *, ascending: bool) -> NDArray[np.float64]:
    """Return (2, y, x) gamma nought of VV and VH: of the land cover alone, as if all ground were level."""
    from m3leo_prep.sources.synthetic import radar

    level = np.zeros(there.classes.shape, np.float32)
    flat = replace(there, slope_east=level, slope_north=level)
    return radar.mean_power(flat, np.zeros(level.shape), 1.0, ascending=ascending)[0]


def _image(*, ascending: bool) -> Image:
    """Return what a pass sees: land cover of the cells, and GLO-30's relief."""
    from pyproj import Transformer

    from m3leo_prep.testing.copernicus.files import radar_image
    from m3leo_prep.testing.copernicus.files.orbit import Orbit

    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    rows, columns = CELLS
    x, y = np.meshgrid(LEFT + PITCH * np.arange(columns + 1), TOP - PITCH * np.arange(rows + 1))
    lon, lat = (np.asarray(one) for one in to_degrees.transform(x, y))
    middle = [(one[:-1, :-1] + one[1:, 1:]) / 2 for one in (lon, lat)]
    lattice = radar_image.Ground(
        EPSG, LEFT, TOP, PITCH, heights(lon, lat) + GEOID_M, gamma(ground(*middle), ascending=ascending)
    )
    centre = float(lon.mean()), float(lat.mean())
    return radar_image.image(lattice, Orbit(*centre, ascending))


def _rtc_grid() -> tuple[GeoBox, Ground]:
    """Return the grid of the RTC images, and the ground there."""
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

    left, top, rows, columns = 279_700.0, 5_500_900.0, 840, 780
    x, y = np.meshgrid(left + 10 * np.arange(columns) + 5, top - 10 * np.arange(rows) - 5)
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(x, y)
    geobox = GeoBox((rows, columns), Affine(10.0, 0, left, 0, -10.0, top), f"EPSG:{EPSG}")
    return geobox, ground(np.asarray(lon), np.asarray(lat))

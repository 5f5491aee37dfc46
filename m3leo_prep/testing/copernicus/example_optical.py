"""Sentinel-2 of the example: three tiles, clouds, baselines with and without offset, one date processed twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.testing.copernicus.example_tiles import SEED, ground

if TYPE_CHECKING:
    from m3leo_prep.sources.synthetic.earth import Ground
    from m3leo_prep.testing.copernicus.files.s2 import Scene
    from m3leo_prep.testing.copernicus.stand_in import CopernicusStandIn

PIXELS = 420
"""Of a tile, 10 m; the real ones have 10 980."""
TILES = (
    ("32UKA", 32_632, 282_780.0, 5_500_200.0),
    ("32UKV", 32_632, 282_780.0, 5_497_500.0),
    ("31UGR", 31 + 32_600, 714_060.0, 5_500_200.0),
)
"""Name, projection, western and northern edge in metres: a part of the real tile, on its pixels."""


@dataclass(frozen=True, slots=True)
class Take:
    """One datatake."""

    day: datetime
    baselines: tuple[str, ...]
    """One product of each for each tile."""
    cloud: float
    """Share of the ground, 0 ... 1."""
    orbit_number: int


TAKES = (
    Take(datetime(2020, 6, 4, 10, 30, 31, 24_000, UTC), ("02.14",), 0.25, 25_866),
    Take(datetime(2020, 6, 14, 10, 30, 31, 24_000, UTC), ("04.00",), 0.5, 26_009),
    Take(datetime(2020, 6, 24, 10, 30, 31, 24_000, UTC), ("05.09",), 0.1, 26_152),
    Take(datetime(2020, 7, 14, 10, 30, 31, 24_000, UTC), ("02.14", "05.00"), 0.3, 26_438),
    Take(datetime(2020, 8, 13, 10, 30, 31, 24_000, UTC), ("02.14",), 1.0, 26_867),
)
"""June, July with one date processed twice, and August under clouds."""
PART = (0, 2, 4)
"""Of ``TAKES``, those that reach all tiles; the others show the first one only."""
EDGE = 1
"""Of ``TAKES``, the one whose swath ends inside the tiles of the first zone."""
SHADOW_DEG = 0.003
"""From a cloud to its shadow, in degrees west and north."""
CLOUD, SHADOW, VEGETATION, BARE, WATER = 9, 3, 4, 5, 6
"""Of the scene classification."""


def fill(copernicus: CopernicusStandIn, folder: Path) -> None:
    """Write products and copies, and tell the catalogues."""
    from m3leo_prep.testing.copernicus.files import items_s2, s2

    products, copies, blobs = [], [], []
    for scene in _scenes():
        products.append(s2.write(folder, scene))
        copies.append(items_s2.earth_search(scene, folder / "sentinel-cogs", int(scene.baseline == "05.00")))
        if scene.tile == "32UKA":
            blobs.append(items_s2.planetary_computer(scene, copernicus.open_services.files))
    copernicus.add(*products)
    root = folder / "sentinel-cogs"
    copernicus.put("sentinel-cogs", [(str(file.relative_to(root)), file) for file in sorted(root.rglob("*.tif"))])
    copernicus.publish("earth_search", (), copies)
    copernicus.publish("planetary_computer", (), blobs)


def _scenes() -> Iterator[Scene]:
    """Yield each tile of each datatake in each processing."""
    from pyproj import Transformer

    from m3leo_prep.sources.synthetic import optics
    from m3leo_prep.testing.copernicus.files.s2 import Scene

    for name, epsg, left, top in TILES:
        x, y = np.meshgrid(left + 10 * np.arange(PIXELS) + 5, top - 10 * np.arange(PIXELS) - 5)
        lon, lat = (np.asarray(one) for one in Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y))
        there = ground(lon, lat)
        first = round(-top / 10), round(left / 10)  # pixels of a zone are numbered: overlapping tiles show the same
        for number, take in enumerate(TAKES):
            if name != TILES[0][0] and number not in PART:
                continue
            green = optics.greenness(float(lat.mean()), take.day.timetuple().tm_yday)
            clear = optics.reflectance(there, green, *first, SEED)
            at = lon[::2, ::2], lat[::2, ::2]
            cloudy, shadow = (_clouds(*at, take.cloud, number, away=away) for away in (0.0, SHADOW_DEG))
            empty = x + 0.2 * y > 1_385_800 if number == EDGE else np.zeros(x.shape, bool)
            bands, scl = _seen(clear, cloudy, shadow & ~cloudy, empty, there)
            made = Scene(name, epsg, left, top, bands, scl, take.day, take.baselines[0], orbit_number=take.orbit_number)
            for baseline in take.baselines:
                later = timedelta(days=1000 if baseline == "05.00" else 0, hours=4)
                yield replace(made, baseline=baseline, processed=take.day + later)


def _seen(
    clear: NDArray[np.float32],
    cloudy: NDArray[np.bool_],
    shadow: NDArray[np.bool_],
    empty: NDArray[np.bool_],
    there: Ground,
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.uint8]]:
    """Return bands and classification of a clear view (6, y, x) with clouds and their shadows (20 m)."""
    cover, dark = (one.repeat(2, axis=0).repeat(2, axis=1) for one in (cloudy, shadow))
    seen = np.where(cover, 0.55 + 0.3 * clear, np.where(dark, 0.45 * clear, clear)).astype(np.float64)
    blue, green, red, nir, swir1, swir2 = np.where(empty, np.nan, seen)
    fine = {"B02": blue, "B03": green, "B04": red, "B08": nir}
    middle = {
        "B05": 0.7 * red + 0.3 * nir,
        "B06": 0.3 * red + 0.7 * nir,
        "B07": 0.1 * red + 0.9 * nir,
        "B8A": 1.02 * nir,
        "B11": swir1,
        "B12": swir2,
    }
    coarse = {"B01": 0.9 * blue, "B09": 0.8 * nir}
    bands = fine | {name: _coarser(one, 2) for name, one in middle.items()}
    bands |= {name: _coarser(one, 6) for name, one in coarse.items()}
    classes = there.classes[::2, ::2]
    kinds = np.where(classes == 80, WATER, np.where(np.isin(classes, (50, 60)), BARE, VEGETATION))
    scl = np.where(cloudy, CLOUD, np.where(shadow, SHADOW, kinds))
    return bands, np.where(empty[::2, ::2], 0, scl).astype(np.uint8)


def _clouds(
    lon: NDArray[np.float64], lat: NDArray[np.float64], share: float, number: int, *, away: float
) -> NDArray[np.bool_]:
    """Return where there are clouds so far to the south-east, some hundred metres large.

    Those of ``synthetic`` are as large as all of this.
    """
    from m3leo_prep.sources.synthetic import optics

    return optics.cloudy(20 * (lon - 6 + away), 20 * (lat - 49.6 - away), share, SEED + number)


def _coarser(pixels: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Return means of squares of pixels."""
    height, width = pixels.shape
    return np.asarray(pixels.reshape(height // times, times, width // times, times).mean(axis=(1, 3)))

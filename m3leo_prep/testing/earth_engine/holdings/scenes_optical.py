"""Sentinel-2, its cloud score and Dynamic World of the synthetic Earth, in tiles of the military grid.

Ids, bands and properties: https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED,
COPERNICUS_S2_HARMONIZED, GOOGLE_CLOUD_SCORE_PLUS_V1_S2_HARMONIZED and GOOGLE_DYNAMICWORLD_V1. Data types of the
flags beside SCL and QA60 are *unverified*; top of the atmosphere is the surface with some haze, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from m3leo_prep.sources.synthetic.optics import greenness, reflectance
from m3leo_prep.sources.synthetic.passes import Swath, Tile, chance, number
from m3leo_prep.testing.earth_engine.archive import Scene, SceneBand
from m3leo_prep.testing.earth_engine.holdings.land import Arrays, Land, Lattice, Window
from m3leo_prep.testing.earth_engine.holdings.optical_noise import CLEAR, CORE, EDGE, OUTSIDE, SHADOW, clouds, numbers
from m3leo_prep.testing.earth_engine.holdings.schedule import Place, When, millis

SURFACE = "COPERNICUS/S2_SR_HARMONIZED"
TOP = "COPERNICUS/S2_HARMONIZED"
SCORE = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
WORLD = "GOOGLE/DYNAMICWORLD/V1"

_SPECTRAL = {  # pitch; weights of blue, green, red, nir, swir1, swir2
    "B1": (60, (0.9, 0, 0, 0, 0, 0)),
    "B2": (10, (1, 0, 0, 0, 0, 0)),
    "B3": (10, (0, 1, 0, 0, 0, 0)),
    "B4": (10, (0, 0, 1, 0, 0, 0)),
    "B5": (20, (0, 0, 0.7, 0.3, 0, 0)),
    "B6": (20, (0, 0, 0.3, 0.7, 0, 0)),
    "B7": (20, (0, 0, 0.1, 0.9, 0, 0)),
    "B8": (10, (0, 0, 0, 1, 0, 0)),
    "B8A": (20, (0, 0, 0, 1.02, 0, 0)),
    "B9": (60, (0, 0, 0, 0.85, 0, 0)),
    "B10": (60, (0.02, 0, 0, 0.01, 0, 0)),
    "B11": (20, (0, 0, 0, 0, 1, 0)),
    "B12": (20, (0, 0, 0, 0, 0, 1)),
}
_WORLD = ("water", "trees", "grass", "flooded_vegetation", "crops", "shrub_and_scrub", "built", "bare", "snow_and_ice")
_LABELS = {80: 0, 10: 1, 30: 2, 90: 3, 40: 4, 20: 5, 50: 6, 60: 7}
"""Our class -> number of Dynamic World's."""
_QA60_GAP = datetime(2022, 1, 25, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)
"""Masked out between 2022-01-25 and 2024-02-28 inclusive, says the catalogue."""
_BANDS_OF_LATITUDE = "CDEFGHJKLMNPQRSTUVWX"
_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_SIDE_M = 109_800


@dataclass(frozen=True, slots=True)
class View:
    """One tile at one time."""

    tile: Tile
    swath: Swath
    when: datetime
    cloud: float
    again: bool = False
    """Processed a second time, with a later baseline."""

    @property
    def lattice(self) -> Lattice:
        """10 m; its pixels and those of 20 and 60 m begin at multiples of 60 m."""
        return Lattice(f"EPSG:{self.tile.epsg}", 10.0, 10.0)

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the tile's first pixel of 60 m: its corner is the nearest outer multiple."""
        return -(self.tile.y + 1) * 100_000 // 60, self.tile.x * 100_000 // 60

    @property
    def datatake(self) -> str:
        """Its identifier, which ends with the baseline."""
        letter = "AB"[number("platform", self.swath.relative_orbit, self.when) % 2]
        orbit = number("orbit", self.swath.relative_orbit, self.when) % 40_000
        return f"GS2{letter}_{self.when:%Y%m%dT%H%M%S}_{orbit:06d}_N{self.baseline}"

    @property
    def baseline(self) -> str:
        """Of the processing."""
        if self.again:
            return "05.00"
        return "02.14" if self.when.year < 2021 else "03.01"

    @property
    def index(self) -> str:
        """Earth Engine's name of the image in each of its collections."""
        second = self.when + timedelta(days=900 if self.again else 0, seconds=8)
        return f"{self.when:%Y%m%dT%H%M%S}_{second:%Y%m%dT%H%M%S}_T{mgrs(self.tile)}"

    @property
    def seed(self) -> int:
        """Of the clouds, which all tiles of a pass share."""
        return number("clouds", self.swath.relative_orbit, self.when) >> 16


def mgrs(tile: Tile) -> str:
    """Return the tile's name, such as 31UGR, https://en.wikipedia.org/wiki/Military_Grid_Reference_System."""
    zone = tile.epsg % 100
    _, south, _, north = tile.footprint.bounds
    letter = _BANDS_OF_LATITUDE[min(max(int(((south + north) / 2 + 80) // 8), 0), 19)]
    row = _ROWS[(tile.y + (0 if zone % 2 else 5)) % 20]
    return f"{zone:02d}{letter}{_COLUMNS[zone % 3][tile.x - 1]}{row}"


def optical_views(when: When, places: Sequence[Place], cloud: float) -> list[tuple[View, BaseGeometry]]:
    """Return every tile and time with its outline; every fifteenth datatake comes in two baselines."""
    views = []
    for tile, swath, outline, time in when.views(places):
        view = View(tile, swath, time, cloud)
        views.append((view, outline))
        if chance("again", swath.relative_orbit, time) < 1 / 15:
            views.append((View(tile, swath, time, cloud, again=True), outline))
    return views


def surface_scenes(land: Land, views: Sequence[tuple[View, BaseGeometry]]) -> Iterator[Scene]:
    """Yield SURFACE: 12 bands, the scene classification and QA60."""
    names = [name for name in _SPECTRAL if name != "B10"]
    for view, outline in views:
        bands = [
            _band(view, name, "uint16", _SPECTRAL[name][0], partial(_spectral, land, view, name, 0.0)) for name in names
        ]
        bands.append(_band(view, "SCL", "uint8", 20, partial(_classification, land, view)))
        bands.append(_band(view, "QA60", "uint16", 60, partial(_qa60, land, view)))
        yield Scene(f"{SURFACE}/{view.index}", outline, tuple(bands), _properties(view, "MSIL2A"))


def top_scenes(land: Land, views: Sequence[tuple[View, BaseGeometry]]) -> Iterator[Scene]:
    """Yield TOP: 13 bands and QA60."""
    for view, outline in views:
        bands = [
            _band(view, name, "uint16", pitch, partial(_spectral, land, view, name, 0.03))
            for name, (pitch, _) in _SPECTRAL.items()
        ]
        bands.append(_band(view, "QA60", "uint16", 60, partial(_qa60, land, view)))
        yield Scene(f"{TOP}/{view.index}", outline, tuple(bands), _properties(view, "MSIL1C"))


def score_scenes(land: Land, views: Sequence[tuple[View, BaseGeometry]]) -> Iterator[Scene]:
    """Yield SCORE; one image in twelve has none."""
    for view, outline in views:
        if chance("score", view.index) >= 1 / 12:
            bands = tuple(
                _band(view, name, "float32", 10, partial(_score, land, view, name)) for name in ("cs", "cs_cdf")
            )
            properties = _times(view) | {"MGRS_TILE": mgrs(view.tile), "SOURCE_ASSET_ID": f"{TOP}/{view.index}"}
            yield Scene(f"{SCORE}/{view.index}", outline, bands, properties)


def world_scenes(land: Land, views: Sequence[tuple[View, BaseGeometry]]) -> Iterator[Scene]:
    """Yield WORLD, of the images with at most 35 % cloud as the product has it."""
    for view, outline in views:
        if _cloudiness(view) <= 35.0 and not view.again:
            bands = [
                _band(view, name, "float32", 10, partial(_probability, land, view, k)) for k, name in enumerate(_WORLD)
            ]
            bands.append(_band(view, "label", "uint8", 10, partial(_label, land, view)))
            yield Scene(f"{WORLD}/{view.index}", outline, tuple(bands), _times(view))


def _band(view: View, name: str, dtype: str, pitch: int, read: Callable[..., Any]) -> SceneBand:
    times, size = 60 // pitch, _SIDE_M // pitch
    row, col = view.corner[0] * times, view.corner[1] * times
    lattice = Lattice(view.lattice.crs, float(pitch), float(pitch))

    def window(r0: int, r1: int, c0: int, c1: int) -> Any:
        return read(lattice, (row + r0, row + r1, col + c0, col + c1))

    return SceneBand(name, dtype, lattice.crs, lattice.transform(row, col), (size, size), window)


def _times(view: View) -> dict[str, Any]:
    start = millis(view.when)
    return {
        "system:index": view.index,
        "system:time_start": start,
        "system:version": start * 1000 + number("version", view.index) % 1_000_000,
    }


def _properties(view: View, level: str) -> dict[str, Any]:
    tile, base = mgrs(view.tile), view.baseline.replace(".", "")
    letter = view.datatake[3]
    return _times(view) | {
        "CLOUDY_PIXEL_PERCENTAGE": _cloudiness(view),
        "DATATAKE_IDENTIFIER": view.datatake,
        "DATATAKE_TYPE": "INS-NOBS",
        "GENERAL_QUALITY": "PASSED",
        "MGRS_TILE": tile,
        "PROCESSING_BASELINE": view.baseline,
        "PRODUCT_ID": f"S2{letter}_{level}_{view.when:%Y%m%dT%H%M%S}_N{base}_R{view.swath.relative_orbit:03d}_T{tile}",
        "SENSING_ORBIT_DIRECTION": "DESCENDING",
        "SENSING_ORBIT_NUMBER": view.swath.relative_orbit,
        "SPACECRAFT_NAME": f"Sentinel-2{letter}",
    }


def _cloudiness(view: View) -> float:
    """Return the percentage of cloud in a sample of the tile."""
    west, south, east, north = view.tile.footprint.bounds
    lon, lat = np.meshgrid(np.linspace(west, east, 10), np.linspace(south, north, 10))
    found = clouds(lon, lat, view.cloud, view.seed)
    return round(float((found >= EDGE).mean()) * 100.0, 4)


def _sky(land: Land, view: View, lattice: Lattice, window: Window) -> NDArray[np.uint8]:
    """Return for each pixel of a window what is between it and the camera, OUTSIDE where the swath ends."""
    times = round(60 / lattice.width)
    coarse = Lattice(lattice.crs, 60.0, 60.0)

    def compute(block: Window) -> Arrays:
        lon, lat = land.places(coarse, block)
        found = clouds(lon, lat, view.cloud, view.seed)
        found[np.abs(view.swath.across(lon, lat)) > 1.0] = OUTSIDE
        return (found,)

    row0, row1, col0, col1 = window
    around = row0 // times, (row1 - 1) // times + 1, col0 // times, (col1 - 1) // times + 1
    (found,) = land.skies.window((coarse, view.when, view.swath), around, compute)
    rows, cols = np.arange(row0, row1) // times - around[0], np.arange(col0, col1) // times - around[2]
    return np.asarray(found.take(rows, axis=0).take(cols, axis=1), np.uint8)


def _spectral(
    land: Land, view: View, name: str, haze: float, lattice: Lattice, window: Window
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    sky = _sky(land, view, lattice, window)
    month = view.when.month
    middle = round(view.tile.footprint.bounds[1])

    def compute(block: Window) -> Arrays:
        green = greenness(middle, 30 * month - 15)
        return tuple(reflectance(land.ground(lattice, block), green, block[0], block[2], land.seed))

    weights = _SPECTRAL[name][1]
    used = [k for k, weight in enumerate(weights) if weight]
    seen = land.blocks.window(("reflectance", lattice, month, middle), window, compute, used)
    # A weight of 1 first: the sum of a single band is that band.
    surface: NDArray[np.float32] = seen[0] if weights[used[0]] == 1 else seen[0] * np.float32(weights[used[0]])
    for k, each in zip(used[1:], seen[1:], strict=True):
        surface = np.asarray(surface + each * np.float32(weights[k]), np.float32)
    out = np.empty(sky.shape, np.uint16)
    # The later baseline differs a little, so that counting both is seen.
    shift = haze + (0.002 if view.again else 0.0)
    numbers(surface, sky, shift, window[0], window[2], view.seed + list(_SPECTRAL).index(name), out)
    return out, sky != OUTSIDE


def _classification(land: Land, view: View, lattice: Lattice, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return SCL: 3 shadow, 4 vegetation, 5 bare, 6 water, 8 and 9 cloud."""
    sky = _sky(land, view, lattice, window)
    of_class = np.full(256, 4, np.uint8)
    of_class[[50, 60]], of_class[80] = 5, 6
    out = of_class[land.ground(lattice, window).classes]
    for state, code in ((SHADOW, 3), (EDGE, 8), (CORE, 9)):
        out[sky == state] = code
    return out, sky != OUTSIDE


def _qa60(land: Land, view: View, lattice: Lattice, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return 1024 (bit 10) where cloud is opaque, 2048 (bit 11) at its edge; nothing at all in the gap."""
    sky = _sky(land, view, lattice, window)
    out = np.zeros(sky.shape, np.uint16)
    out[sky == CORE], out[sky == EDGE] = 1024, 2048
    return out, (sky != OUTSIDE) & (not _QA60_GAP[0] <= view.when < _QA60_GAP[1])


def _score(
    land: Land, view: View, name: str, lattice: Lattice, window: Window
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return how clear a pixel is, 0 to 1."""
    sky = _sky(land, view, lattice, window)
    levels = np.zeros(256, np.float32)
    levels[[CLEAR, SHADOW, EDGE, CORE]] = (0.93, 0.45, 0.4, 0.05) if name == "cs" else (0.97, 0.5, 0.42, 0.02)
    return levels[sky], sky != OUTSIDE


def _label(land: Land, view: View, lattice: Lattice, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    sky = _sky(land, view, lattice, window)
    of_class = np.zeros(256, np.uint8)
    of_class[list(_LABELS)] = list(_LABELS.values())
    return of_class[land.ground(lattice, window).classes], (sky == CLEAR)


def _probability(
    land: Land, view: View, k: int, lattice: Lattice, window: Window
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    label, clear = _label(land, view, lattice, window)
    return np.where(label == k, np.float32(0.76), np.float32(0.03)), clear

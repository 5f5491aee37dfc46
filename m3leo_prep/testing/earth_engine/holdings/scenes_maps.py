"""The maps of the archive: land cover, built-up surface, vegetation, biomass, heights, GSSIC.

Ids, bands and units: https://developers.google.com/earth-engine/datasets/catalog/ESA_WorldCover_v200,
JRC_GHSL_P2023A_GHS_BUILT_S, JRC_GHSL_P2023A_GHS_BUILT_S_10m, MODIS_061_MOD44B, ESA_CCI_Above_Ground_Biomass_V6_0,
COPERNICUS_DEM_GLO30, USGS_SRTMGL1_003, Earth_Big_Data_GLOBAL_SEASONAL_S1_V2019_COHERENCE and its siblings.
*Unverified*: the ids of single images of GLO30, MOD44B and GSSIC, their data types, the unit of GSSIC's tau.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely import box
from shapely.geometry.base import BaseGeometry

from m3leo_prep.sources.synthetic import radar
from m3leo_prep.sources.synthetic.optics import greenness
from m3leo_prep.testing.earth_engine.archive import Scene, SceneBand
from m3leo_prep.testing.earth_engine.holdings.land import LONLAT, Arrays, Land, Lattice, Window
from m3leo_prep.testing.earth_engine.holdings.schedule import Place, degrees, millis

GSSIC = "Earth_Big_Data/GLOBAL_SEASONAL_S1/V2019"
_WORLD = box(-180.0, -90.0, 180.0, 90.0)
_COVER = Lattice(LONLAT, 1 / 12_000, 1 / 12_000, -180.0, 84.0)
_BIOMASS = Lattice(LONLAT, 1 / 1125, 1 / 1125, -180.0, 80.0)
_SRTM = Lattice(LONLAT, 1 / 3600, 1 / 3600, -180.0 - 0.5 / 3600, 60.0 + 0.5 / 3600)
_MOLLWEIDE = Lattice("ESRI:54009", 100.0, 100.0, -18_041_000.0, 9_000_000.0)
_SINUSOIDAL = Lattice("SR-ORG:6974", 231.656358263958, 231.656358263958, -20_015_109.354, 10_007_554.677)
_BUILT_YEARS = range(1975, 2031, 5)
_BIOMASS_YEARS = (2007, 2010, *range(2015, 2023))
_SEASONS = {"winter": 15, "spring": 105, "summer": 196, "fall": 288}
"""GSSIC's name -> day of the year in its middle."""
_DAYS = (6, 12, 18, 24, 36, 48)
_WATER, _FILL = 200, 253
_TREES = {10: 82, 20: 25, 30: 8, 40: 4, 50: 6, 60: 1, 90: 20}
_OTHER = {10: 15, 20: 55, 30: 80, 40: 85, 50: 30, 60: 8, 90: 70}
_CARBON = {10: 190.0, 20: 35.0, 30: 4.0, 40: 3.0, 50: 5.0, 90: 10.0}
"""Above-ground biomass of a class in Mg/ha."""
Read = Callable[[Window], tuple[NDArray[Any], NDArray[np.bool_] | bool]]


def cover_scenes(land: Land, version: str) -> Iterator[Scene]:
    """Yield ESA/WorldCover: v100 is 2020, v200 is 2021 and another algorithm: every 40th pixel differs."""
    year = 2020 if version == "v100" else 2021

    def read(window: Window) -> Any:
        seen = land.ground(_COVER, window)
        out = seen.classes
        if version == "v200":
            out = np.where(seen.variety % 40 == 0, np.uint8(30), out)
        return out, True

    bands = [map_band("Map", "uint8", _COVER, (0, 1_728_000, 0, 4_320_000), read)]
    yield map_scene(f"ESA/WorldCover/{version}/{year}", bands, box(-180, -60, 180, 84), whole_year(year))


def built_scenes(land: Land) -> Iterator[Scene]:
    """Yield JRC/GHSL/P2023A/GHS_BUILT_S: m2 of each cell of 100 m; all grow alike from year to year."""
    for year in _BUILT_YEARS:

        def read(window: Window, name: str, year: int = year) -> Any:
            part = share(land, _MOLLWEIDE, window, 5, 50)
            built = np.round(10_000 * 0.6 * part * (0.4 + 0.6 * (year - 1975) / 55)).astype(np.uint16)
            return (built if name == "built_surface" else built // 4), True

        names = ("built_surface", "built_surface_nres")
        bands = [map_band(n, "uint16", _MOLLWEIDE, (0, 180_000, 0, 360_820), partial(read, name=n)) for n in names]
        yield map_scene(f"JRC/GHSL/P2023A/GHS_BUILT_S/{year}", bands, _WORLD, whole_year(year))


def built_10m_scenes(land: Land) -> Iterator[Scene]:
    """Yield JRC/GHSL/P2023A/GHS_BUILT_S_10m: m2 of each cell of 10 m in 2018, and whether it is not a home."""
    lattice = _MOLLWEIDE.finer(10)

    def read(window: Window, name: str) -> Any:
        seen = land.ground(lattice, window)
        built = np.where(seen.classes == 50, 40 + seen.variety // 5, 0).astype(np.uint8)
        return (built if name == "built_surface" else (built > 80).astype(np.uint8)), True

    names = ("built_surface", "built_surface_nres")
    bands = [map_band(n, "uint8", lattice, (0, 1_800_000, 0, 3_608_200), partial(read, name=n)) for n in names]
    yield map_scene("JRC/GHSL/P2023A/GHS_BUILT_S_10m/2018", bands, _WORLD, whole_year(2018))


VEGETATION_YEARS = range(2015, 2022)


def vegetation_scenes(land: Land) -> Iterator[Scene]:
    """Yield MODIS/061/MOD44B: percent of a pixel, 200 where water, 253 where there is no data; from day 65 on."""
    names = ["Percent_Tree_Cover", "Percent_NonTree_Vegetation", "Percent_NonVegetated", "Quality"]
    names += ["Percent_Tree_Cover_SD", "Percent_NonVegetated_SD", "Cloud"]
    for year in VEGETATION_YEARS:
        day = datetime(year, 3, 5, tzinfo=UTC) if year % 4 == 0 else datetime(year, 3, 6, tzinfo=UTC)
        bands = [
            map_band(name, "uint8", _SINUSOIDAL, (0, 86_400, 0, 172_800), partial(_vegetation, land, name))
            for name in names
        ]
        yield map_scene(
            f"MODIS/061/MOD44B/{day:%Y_%m_%d}", bands, _WORLD, span(day, datetime(year + 1, 3, 6, tzinfo=UTC))
        )


def _vegetation(land: Land, name: str, window: Window) -> Any:
    if name in ("Quality", "Cloud"):
        return np.zeros((window[1] - window[0], window[3] - window[2]), np.uint8), True
    if name.endswith("_SD"):
        return np.full((window[1] - window[0], window[3] - window[2]), 250, np.uint8), True
    water = share(land, _SINUSOIDAL, window, 5, 80) > 0.5
    trees, other = (_mean(land, _SINUSOIDAL, window, 5, table) for table in (_TREES, _OTHER))
    parts = {"Percent_Tree_Cover": trees, "Percent_NonTree_Vegetation": other}
    percent = parts.get(name, 100.0 - trees - other)
    out = np.where(water, _WATER, np.round(percent)).astype(np.uint8)
    # Some pixels have none: those whose number says so.
    rows, cols = np.ogrid[window[0] : window[1], window[2] : window[3]]
    out[(rows * 7 + cols * 13) % 211 == 0] = _FILL
    return out, True


def biomass_scenes(land: Land) -> Iterator[Scene]:
    """Yield ESA/CCI/Above_Ground_Biomass/V6_0 in Mg/ha, growing by 1 % a year."""
    for year in _BIOMASS_YEARS:

        def read(window: Window, name: str, year: int = year) -> Any:
            mean = _mean(land, _BIOMASS, window, 4, _CARBON) * (1.0 + 0.01 * (year - 2020))
            return np.round(mean if name == "agb" else 0.3 * mean + 1.0).astype(np.uint16), True

        bands = [
            map_band(n, "uint16", _BIOMASS, (0, 157_500, 0, 405_000), partial(read, name=n)) for n in ("agb", "agb_sd")
        ]
        yield map_scene(f"ESA/CCI/Above_Ground_Biomass/V6_0/{year}", bands, box(-180, -60, 180, 80), whole_year(year))


def srtm_scenes(land: Land) -> Iterator[Scene]:
    """Yield USGS/SRTMGL1_003: whole metres, centres on whole arc seconds, from 56 S to 60 N."""

    def read(window: Window) -> Any:
        return np.round(land.ground(_SRTM, window).height).astype(np.int16), True

    bands = [map_band("elevation", "int16", _SRTM, (0, 417_601, 0, 1_296_001), read)]
    yield map_scene("USGS/SRTMGL1_003", bands, box(-180, -56, 180, 60), {"system:time_start": 950_227_200_000})


def height_scenes(land: Land, places: Sequence[Place], release: str) -> Iterator[Scene]:
    """Yield a release of COPERNICUS/DEM: tiles of a degree, centres on whole degrees, longer pixels from 50 degrees."""
    types = {"DEM": "float32", "EDM": "uint8", "FLM": "uint8", "HEM": "float32", "WBM": "uint8"}
    for west, south in degrees(places):
        cols = 3600 if south < 50 else 2400 if south < 60 else 1800
        lattice = Lattice(LONLAT, 1 / cols, 1 / 3600, -0.5 / cols, 0.5 / 3600)
        extent = (-(south + 1) * 3600, -south * 3600, west * cols, (west + 1) * cols)
        bands = [map_band(n, t, lattice, extent, partial(_height, land, lattice, n, t)) for n, t in types.items()]
        name = f"{_degree(west, south, 'N', 'E')}"
        times = span(datetime(2010, 12, 1, tzinfo=UTC), datetime(2015, 1, 31, tzinfo=UTC))
        yield map_scene(f"COPERNICUS/DEM/{release}/{name}", bands, box(west, south, west + 1, south + 1), times)


def _height(land: Land, lattice: Lattice, name: str, dtype: str, window: Window) -> Any:
    seen = land.ground(lattice, window)
    if name == "DEM":
        return seen.height, True
    if name == "WBM":
        return np.where(seen.classes == 80, np.where(seen.height > 0, 3, 1), 0).astype(dtype), True
    return np.full(seen.height.shape, 0.5 if name == "HEM" else 0, dtype), True


def gssic_scenes(land: Land, places: Sequence[Place], kind: str) -> Iterator[Scene]:
    """Yield a collection of GSSIC: BACKSCATTER, COHERENCE or DECAY_MODEL_PARAMETERS, or one of these with ``_RAW``.

    Edge-registered pixels of 3 arc seconds in tiles of a degree. The numbers of ``_RAW`` are rounded, and what is
    scaled comes from them: amplitude 20 log10(n) - 83 dB, coherence n / 100, rho, tau and rmse n / 1000
    (Kellndorfer et al. 2022, doi:10.1038/s41597-022-01189-6).
    """
    raw = kind.endswith("_RAW")
    family = kind.removesuffix("_RAW")
    lattice = Lattice(LONLAT, 1 / 1200, 1 / 1200)
    for west, south in degrees(places):
        bands = []
        for season in _SEASONS:
            for name in _GSSIC_NAMES[family]:
                read = partial(_gssic, land, lattice, family, season, name, south, raw=raw)
                dtype = ("uint8" if family == "COHERENCE" else "uint16") if raw else "float32"
                extent = (-(south + 1) * 1200, -south * 1200, west * 1200, (west + 1) * 1200)
                bands.append(map_band(f"{season}_{name}", dtype, lattice, extent, read))
        tile = _degree(west, south + 1, "N", "E")
        times = span(datetime(2019, 12, 1, tzinfo=UTC), datetime(2020, 12, 1, tzinfo=UTC)) | {"tile_id": tile}
        yield map_scene(f"{GSSIC}/{kind}/{tile}", bands, box(west, south, west + 1, south + 1), times)


_GSSIC_NAMES = {
    "BACKSCATTER": ("vv_AMP", "vh_AMP"),
    "COHERENCE": tuple(f"vv_COH{days:02d}" for days in _DAYS),
    "DECAY_MODEL_PARAMETERS": ("vv_rho", "vv_tau", "vv_rmse"),
}


def _gssic(
    land: Land, lattice: Lattice, family: str, season: str, name: str, south: int, window: Window, *, raw: bool
) -> Any:
    green = greenness(south + 0.5, _SEASONS[season])

    def compute(block: Window) -> Arrays:
        seen = land.ground(lattice, block)
        power, _ = radar.mean_power(seen, np.zeros(seen.classes.shape), green, ascending=True)
        amplitude = np.round(np.sqrt(power * 199_526_231.0)).astype(np.uint16)
        c12, c24, c36, _ = radar.true_coherence(seen, green)
        # c(d) = rho + (1 - rho) x^(d / 12): two differences give x, and that rho.
        first, second = c12 - c24, c24 - c36
        x = np.clip(np.divide(second, first, out=np.zeros_like(first), where=first > 1e-9), 0.0, 0.999)
        rho = np.clip((c12 - x) / (1.0 - x), 0.0, 1.0)
        return amplitude, rho, x, seen.classes

    amplitude, rho, x, classes = land.blocks.window(("gssic", lattice, season, south), window, compute)
    valid = classes != 80
    match family:
        case "BACKSCATTER":
            number = amplitude[("vv_AMP", "vh_AMP").index(name)]
            with np.errstate(divide="ignore"):
                scaled = 20.0 * np.log10(number) - 83.0
            valid = valid & (number > 0)
        case "COHERENCE":
            number = np.round(100.0 * (rho + (1.0 - rho) * x ** (int(name[-2:]) / 12.0))).astype(np.uint8)
            scaled = number / 100.0
        case _:
            with np.errstate(divide="ignore"):
                tau = np.minimum(-12.0 / np.log(x), 65.0)
            value = {"vv_rho": rho, "vv_tau": tau, "vv_rmse": 0.02 + 0.0 * rho}[name]
            number = np.round(1000.0 * value).astype(np.uint16)
            scaled = number / 1000.0
    return (number if raw else scaled.astype(np.float32)), valid


def share(land: Land, lattice: Lattice, window: Window, times: int, code: int) -> NDArray[np.float64]:
    """Return the share of a class in each pixel, from ``times`` x ``times`` points."""
    return _mean(land, lattice, window, times, {code: 1})


def _mean(
    land: Land, lattice: Lattice, window: Window, times: int, table: dict[int, int] | dict[int, float]
) -> NDArray[np.float64]:
    """Return the mean over each pixel of a number that belongs to a class."""
    fine = lattice.finer(times)
    row0, row1, col0, col1 = window
    classes = land.ground(fine, (row0 * times, row1 * times, col0 * times, col1 * times)).classes
    of_class = np.zeros(256)
    of_class[list(table)] = list(table.values())
    points = of_class[classes].reshape(row1 - row0, times, col1 - col0, times)
    return np.asarray(points.mean(axis=(1, 3)))


def map_band(name: str, dtype: str, lattice: Lattice, extent: Window, read: Read) -> SceneBand:
    """Return a band that reads a lattice between some of its rows and columns."""
    row0, row1, col0, col1 = extent

    def window(r0: int, r1: int, c0: int, c1: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        values, valid = read((row0 + r0, row0 + r1, col0 + c0, col0 + c1))
        return values.astype(dtype, copy=False), np.broadcast_to(valid, values.shape)

    return SceneBand(name, dtype, lattice.crs, lattice.transform(row0, col0), (row1 - row0, col1 - col0), window)


def map_scene(name: str, bands: list[SceneBand], outline: BaseGeometry, properties: dict[str, Any]) -> Scene:
    """Return an image; the end of its id is its index."""
    return Scene(name, outline, tuple(bands), {"system:index": name.rsplit("/", 1)[1], **properties})


def whole_year(year: int) -> dict[str, Any]:
    """Return the times of a year, as properties."""
    return span(datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC))


def span(start: datetime, end: datetime) -> dict[str, Any]:
    """Return a span of time, as properties, and a version."""
    begin = millis(start)
    return {"system:time_start": begin, "system:time_end": millis(end), "system:version": begin * 1000 + 1}


def _degree(west: int, north: int, up: str, right: str) -> str:
    down, left = {"N": "S"}[up], {"E": "W"}[right]
    return f"{up if north >= 0 else down}{abs(north):02d}{right if west >= 0 else left}{abs(west):03d}"

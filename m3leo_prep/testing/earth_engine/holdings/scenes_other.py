"""Further maps of the archive: those of single countries, events and depths that the table of products has.

Ids, bands and units: https://developers.google.com/earth-engine/datasets/catalog/CGIAR_SRTM90_V4,
JRC_GHSL_P2023A_GHS_POP, OpenLandMap_SOL_SOL_PH-H2O_USDA-4C1A2A_M_v02, CSP_ERGo_1_0_US_landforms, AAFC_ACI,
ESA_CCI_FireCCI_5_1, GLOBAL_FLOOD_DB_MODIS_EVENTS_V1.
*Unverified*: the ids of single images, the grids and data types, the projection of AAFC/ACI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely import box

from m3leo_prep.testing.earth_engine.archive import Scene
from m3leo_prep.testing.earth_engine.holdings.land import LONLAT, Land, Lattice, Window
from m3leo_prep.testing.earth_engine.holdings.scenes_maps import map_band, map_scene, share, span, whole_year

_HEIGHT = Lattice(LONLAT, 1 / 1200, 1 / 1200, -180.0, 60.0)
_QUARTER = Lattice(LONLAT, 1 / 480, 1 / 480, -180.0, 90.0)
_FIRE = Lattice(LONLAT, 1 / 360, 1 / 360, -180.0, 90.0)
_MOLLWEIDE = Lattice("ESRI:54009", 100.0, 100.0, -18_041_000.0, 9_000_000.0)
_LANDFORM = Lattice(LONLAT, 1 / 10_800, 1 / 10_800, -132.0, 56.0)
_CANADA = Lattice("EPSG:3978", 30.0, 30.0, -2_400_000.0, 4_000_000.0)
_WORLD = box(-180.0, -90.0, 180.0, 90.0)
_LANDFORMS = np.array([11, 12, 13, 14, 15, 21, 22, 23, 24, 31, 32, 33, 34, 41, 42], np.uint8)
_CROPS = np.array([20, 34, 50, 110, 122, 133, 146, 153, 210, 220], np.uint8)
_FIRE_YEARS = range(2016, 2021)
_EVENTS = ((4567, datetime(2018, 1, 5, tzinfo=UTC), 9), (4678, datetime(2018, 10, 9, tzinfo=UTC), 14))
"""Of floods: number, first day, days."""


def _srtm90(land: Land) -> Iterator[Scene]:
    """Yield CGIAR/SRTM90_V4: whole metres."""

    def read(window: Window) -> Any:
        return np.round(land.ground(_HEIGHT, window).height).astype(np.int16), True

    bands = [map_band("elevation", "int16", _HEIGHT, (0, 144_000, 0, 432_000), read)]
    yield map_scene("CGIAR/SRTM90_V4", bands, box(-180, -60, 180, 60), {"system:time_start": 950_227_200_000})


def _people(land: Land) -> Iterator[Scene]:
    """Yield JRC/GHSL/P2023A/GHS_POP: people of each cell of 100 m, where there is built-up land."""
    for year in range(1975, 2031, 5):

        def read(window: Window, year: int = year) -> Any:
            return np.float32(80.0 * (year - 1900) / 120) * share(land, _MOLLWEIDE, window, 5, 50), True

        bands = [map_band("population_count", "float32", _MOLLWEIDE, (0, 180_000, 0, 360_820), read)]
        yield map_scene(f"JRC/GHSL/P2023A/GHS_POP/{year}", bands, _WORLD, whole_year(year))


def _soil(_: Land) -> Iterator[Scene]:
    """Yield OpenLandMap's soil pH times 10, higher with depth."""

    def read(window: Window, depth: int) -> Any:
        return 45 + _steps(window, 40) + depth // 20, True

    depths = (0, 10, 30, 60, 100, 200)
    bands = [map_band(f"b{d}", "uint8", _QUARTER, (0, 72_000, 0, 172_800), partial(read, depth=d)) for d in depths]
    yield map_scene("OpenLandMap/SOL/SOL_PH-H2O_USDA-4C1A2A_M/v02", bands, _WORLD, {})


def _landforms(_: Land) -> Iterator[Scene]:
    """Yield CSP/ERGo/1_0/US/landforms."""

    def read(window: Window) -> Any:
        return _LANDFORMS[_steps(window, 15)], True

    bands = [map_band("constant", "uint8", _LANDFORM, (0, 469_800, 0, 766_800), read)]
    yield map_scene("CSP/ERGo/1_0/US/landforms", bands, box(-132, 12.5, -61, 56), {})


def _crops(_: Land) -> Iterator[Scene]:
    """Yield AAFC/ACI: another crop each year."""
    for year in range(2018, 2022):

        def read(window: Window, year: int = year) -> Any:
            return _CROPS[(_steps(window, 10) + year) % 10], True

        bands = [map_band("landcover", "uint8", _CANADA, (0, 160_000, 0, 190_000), read)]
        yield map_scene(f"AAFC/ACI/{year}", bands, box(-135, 37, -52, 62), whole_year(year))


def _fires(_: Land) -> Iterator[Scene]:
    """Yield ESA/CCI/FireCCI/5_1: each month one pixel in seven burns, on its first day; elsewhere there is no day."""

    def read(window: Window, name: str, month: int, day: int) -> Any:
        burnt = _steps(window, 7) == month % 7
        value = {"BurnDate": day, "ConfidenceLevel": 60 + month, "LandCover": 10, "ObservedFlag": 0}[name]
        return np.full(burnt.shape, value), burnt if name in ("BurnDate", "LandCover") else True

    types = {"BurnDate": "int16", "ConfidenceLevel": "uint8", "LandCover": "uint8", "ObservedFlag": "int16"}
    for year in _FIRE_YEARS:
        for month in range(1, 13):
            start = datetime(year, month, 1, tzinfo=UTC)
            end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
            day = start.timetuple().tm_yday
            bands = [
                map_band(n, t, _FIRE, (0, 64_800, 0, 129_600), partial(read, name=n, month=month, day=day))
                for n, t in types.items()
            ]
            yield map_scene(f"ESA/CCI/FireCCI/5_1/{start:%Y_%m_%d}", bands, _WORLD, span(start, end))


def _floods(_: Land) -> Iterator[Scene]:
    """Yield GLOBAL_FLOOD_DB/MODIS_EVENTS/V1: two events of 2018 in Europe, which wet other pixels."""

    def read(window: Window, name: str, event: int, days: int) -> Any:
        wet = _steps(window, 5) == event % 5
        value = {"flooded": wet, "duration": wet * days, "clear_views": days - 2, "clear_perc": 62.5}
        return np.broadcast_to(value.get(name, _steps(window, 11) == 0), wet.shape), True

    types = {"flooded": "uint8", "duration": "uint16", "clear_views": "uint16", "clear_perc": "float32"}
    place = box(-10, 35, 30, 60)
    lattice = Lattice(LONLAT, 1 / 480, 1 / 480, -10.0, 60.0)
    for event, start, days in _EVENTS:
        end = start.replace(day=start.day + days)
        bands = [
            map_band(n, t, lattice, (0, 12_000, 0, 19_200), partial(read, name=n, event=event, days=days))
            for n, t in (types | {"jrc_perm_water": "uint8"}).items()
        ]
        name = f"DFO_{event}_From_{start:%Y%m%d}_to_{end:%Y%m%d}"
        yield map_scene(f"GLOBAL_FLOOD_DB/MODIS_EVENTS/V1/{name}", bands, place, span(start, end) | {"id": event})


def _steps(window: Window, many: int) -> NDArray[np.int64]:
    """Return numbers from 0 to ``many`` - 1 that differ between neighbours."""
    rows, cols = np.ogrid[window[0] : window[1], window[2] : window[3]]
    return np.asarray((rows * 7 + cols * 3) % many)


IMAGES = ("CGIAR/SRTM90_V4", "OpenLandMap/SOL/SOL_PH-H2O_USDA-4C1A2A_M/v02", "CSP/ERGo/1_0/US/landforms")
MAKERS: Mapping[str, Callable[[Land], Iterable[Scene]]] = {
    "CGIAR/SRTM90_V4": _srtm90,
    "JRC/GHSL/P2023A/GHS_POP": _people,
    "OpenLandMap/SOL/SOL_PH-H2O_USDA-4C1A2A_M/v02": _soil,
    "CSP/ERGo/1_0/US/landforms": _landforms,
    "AAFC/ACI": _crops,
    "ESA/CCI/FireCCI/5_1": _fires,
    "GLOBAL_FLOOD_DB/MODIS_EVENTS/V1": _floods,
}
"""Collection or image -> what makes its scenes."""

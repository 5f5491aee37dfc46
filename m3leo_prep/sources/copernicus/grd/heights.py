"""Heights of a layer's ``dem``, brought above the ellipsoid; the sea, where it has none; and how flat ground is."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.sources._native import transformer

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

    from m3leo_prep.ops.sar.geocode import Heights as Ellipsoidal
    from m3leo_prep.ops.sar.tiepoints import Geolocation
    from m3leo_prep.ports.heights import Heights

ELLIPSOID = "ellipsoid"
_COMPOUND = {"egm2008": "EPSG:9518", "egm96": "EPSG:9707"}
"""WGS 84 with heights above a geoid, each a CRS of the EPSG registry."""
_GRIDS = {"egm2008": "us_nga_egm08_25.tif", "egm96": "us_nga_egm96_15.tif"}
"""PROJ's files of undulations (https://cdn.proj.org)."""
WHICH = (
    "say `dem_datum:` of the layer: egm2008 (Copernicus GLO-30), egm96 (SRTM, NASADEM), or ellipsoid; a wrong one "
    "moves pixels by up to 100 m"
)
AT_SEA = 1.0
"""Metres from 0 within which a tie point is taken for the sea. On open water they are at 0 to a few mm; on land at the
height above sea level (titiler-openeo#345, nansat#308, and the products of our tests)."""
KEPT = 4
"""Grids whose heights are kept above the ellipsoid: the parts of a window of 4 x 4 chips, with what is seen around."""


def datum_of(said: str, told: str, where: str) -> str:
    """Return what heights are above: what the recipe says, else what the ``dem`` tells of itself.

    Args:
        said: ``dem_datum``, or nothing.
        told: ``vertical_datum`` of the heights, as a product or a file words it.
        where: for messages.

    Raises:
        ConfigError: neither does, or they contradict each other.
    """
    told = _known(told)
    if said and told and said != told:
        raise ConfigError(f"dem_datum: {said}, but the heights are above {told}, as their layer tells", where=where)
    if not said and not told:
        raise ConfigError("it is not known what the heights of `dem:` are above", where=where, hint=WHICH)
    return said or told


def check_geoid(datum: str) -> None:
    """Raise MissingDependency if heights above ``datum`` cannot be brought above the ellipsoid."""
    if datum in _COMPOUND:
        _operation(datum)


def ellipsoidal(heights: Heights, datum: str, ties: Geolocation) -> Ellipsoidal:
    """Return what gives the same heights above the ellipsoid of WGS 84, and those of the sea if the ``dem`` lacks it.

    Sea level is taken where the ``dem`` knows nothing, tells that it has no heights of the sea, and a tie point beside
    the place is at sea; so land that it lacks as well stays unknown. Of heights above the ellipsoid sea level is not
    known.

    Raises:
        MissingDependency: PROJ lacks the file of the geoid; it is never replaced by a rougher one.
    """
    if datum == ELLIPSOID:
        return heights
    lifted = _lifted(cast("Hashable", heights), datum)
    return _WithSea(lifted, ties) if heights.missing_is_sea else lifted


@dataclass(frozen=True, slots=True)
class _Lifted:
    """Heights above the ellipsoid, of those above a geoid; where they are not known, those of sea level."""

    heights: Heights
    operation: Transformer

    def __call__(self, geobox: GeoBox) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        height, known = self.heights(geobox)
        up = np.asarray(self.operation.transform(*lonlat(geobox), np.where(known, height, 0.0))[2], np.float32)
        known = known & np.isfinite(up)
        up.flags.writeable = known.flags.writeable = False  # shared by all images of the place
        return up, known


@lru_cache(maxsize=2)
def _lifted(heights: Heights, datum: str) -> Ellipsoidal:
    """Return heights above the ellipsoid; all images of a place share them."""
    return lru_cache(KEPT)(_Lifted(heights, _operation(datum)))


@dataclass(frozen=True, slots=True, eq=False)
class _WithSea:
    """Heights with those of the sea."""

    heights: Ellipsoidal
    ties: Geolocation

    def __call__(self, geobox: GeoBox) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        height, known = self.heights(geobox)
        missing = ~known & np.isfinite(height)
        if not missing.any():
            return height, known
        lon, lat = (part[missing] for part in lonlat(geobox))
        known = known.copy()
        known[missing] = at_sea(self.ties, lon, lat)
        return height, known


def at_sea(ties: Geolocation, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where one of the four tie points around is at sea; beyond the image, of those at its edge.

    Cells are those of a plane through all of them, right to some hundred metres; cells are 10 to 20 km long.

    Args:
        ties: of the image.
        lon: (n,) degrees.
        lat: (n,) degrees.
    """
    east, north = _turned(ties.lon, ties.lon[0, 0]), ties.lat
    row, col = (index.ravel() for index in np.indices(east.shape, np.float64))
    plane = np.stack([east.ravel(), north.ravel(), np.ones(east.size)], axis=1)
    slopes = np.linalg.lstsq(plane, np.stack([row, col], axis=1), rcond=None)[0]
    x = _turned(lon, ties.lon[0, 0])
    i, j = (
        np.clip(slopes[0, k] * x + slopes[1, k] * lat + slopes[2, k], 0, size - 2).astype(np.int64)
        for k, size in enumerate(east.shape)
    )
    low = np.abs(ties.height) < AT_SEA
    beside: NDArray[np.bool_] = (low[:-1, :-1] | low[1:, :-1] | low[:-1, 1:] | low[1:, 1:])[i, j]
    return beside


def _turned(lon: NDArray[np.float64], first: float) -> NDArray[np.float64]:
    """Return degrees east of ``first``, -180...180: no jump at the antimeridian."""
    return (lon - first + 180.0) % 360.0 - 180.0


def relief(height: NDArray[np.floating]) -> float:
    """Return highest minus lowest of some heights, in metres; what is not finite is left out, and nothing gives 0."""
    there = height[np.isfinite(height)]
    return float(np.ptp(there)) if there.size else 0.0


def lonlat(geobox: GeoBox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude of the pixel centres, each (y, x) float64."""
    a = geobox.transform
    rows, cols = np.mgrid[: geobox.shape[0], : geobox.shape[1]] + 0.5
    x, y = a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f
    lon, lat = transformer(str(geobox.crs), "EPSG:4326").transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def _known(told: str) -> str:
    """Return our name of a datum as a product or a file tells it; nothing if that is not clear."""
    said = told.lower().replace(" ", "").replace("_", "").replace("-", "")
    if said.startswith(ELLIPSOID):
        return ELLIPSOID
    return next((name for name in _COMPOUND if name in said), "")


@lru_cache(maxsize=len(_COMPOUND))
def _operation(datum: str) -> Transformer:
    """Return the operation of PROJ from heights above a geoid to those above the ellipsoid; safe between threads."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    try:
        found = Transformer.from_crs(
            _COMPOUND[datum], "EPSG:4979", always_xy=True, allow_ballpark=False, only_best=True
        )
        found.transform(0.0, 0.0, 0.0, errcheck=True)
    except ProjError:
        found = None
    grid = _GRIDS[datum]
    if found is None:
        raise MissingDependency(
            f"heights above {datum} cannot be brought above the ellipsoid: PROJ has no {grid}",
            where="dem_datum",
            hint=f"`pyproj sync --file {grid}` fetches it once (https://cdn.proj.org), or PROJ_NETWORK=ON what is "
            "needed of it; or name as `dem:` a layer of heights above the ellipsoid: source local makes one with "
            "`geoid:`, a file of undulations, and `datum: ellipsoid`",
        )
    return found

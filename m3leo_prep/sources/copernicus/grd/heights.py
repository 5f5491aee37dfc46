"""Heights of a layer's ``dem``, brought above the ellipsoid, and whether they are flat enough to be left out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.ports.heights import Heights
from m3leo_prep.sources._native import transformer

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

ELLIPSOID = "ellipsoid"
_COMPOUND = {"egm2008": "EPSG:9518", "egm96": "EPSG:9707"}
"""WGS 84 with heights above a geoid, each a CRS of the EPSG registry."""
_GRIDS = {"egm2008": "us_nga_egm08_25.tif", "egm96": "us_nga_egm96_15.tif"}
"""PROJ's files of undulations (https://cdn.proj.org)."""
WHICH = (
    "say `dem_datum:` of the layer: egm2008 (Copernicus GLO-30), egm96 (SRTM, NASADEM), or ellipsoid; a wrong one "
    "moves pixels by up to 100 m"
)


def datum_of(said: str, heights: Heights, where: str) -> str:
    """Return what heights are above: what the recipe says, else what the ``dem`` tells of itself (``vertical_datum``).

    Raises:
        ConfigError: neither does, or they contradict each other.
    """
    told = _known(heights.vertical_datum)
    if said and told and said != told:
        raise ConfigError(f"dem_datum: {said}, but the heights are above {told}, as their layer tells", where=where)
    if not said and not told:
        raise ConfigError("it is not known what the heights of `dem:` are above", where=where, hint=WHICH)
    return said or told


def check_geoid(datum: str) -> None:
    """Raise MissingDependency if heights above ``datum`` cannot be brought above the ellipsoid; none said is fine."""
    if datum in _COMPOUND:
        _operation(datum)


def ellipsoidal(heights: Heights, datum: str) -> Heights:
    """Return what gives the same heights above the ellipsoid of WGS 84.

    Raises:
        MissingDependency: PROJ lacks the file of the geoid; it is never replaced by a rougher one.
    """
    if datum == ELLIPSOID:
        return heights
    return _Lifted(heights, _operation(datum))


@dataclass(frozen=True, slots=True)
class _Lifted:
    """Heights above the ellipsoid, of those above a geoid."""

    heights: Heights
    operation: Transformer
    vertical_datum: str = ELLIPSOID

    def __call__(self, geobox: GeoBox, /) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        height, known = self.heights(geobox)
        lon, lat = lonlat(geobox)
        up = self.operation.transform(lon, lat, np.where(known, height, 0.0))[2]
        found = known & np.isfinite(up)
        return np.where(found, up, np.nan).astype(np.float32), found


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
            hint=f"`pyproj sync --file {grid.removesuffix('.tif')}`, or give the `dem:` layer `geoid:` (a file of "
            "undulations) and `datum: ellipsoid`, and say `dem_datum: ellipsoid` here",
        )
    return found

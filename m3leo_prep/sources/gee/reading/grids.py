"""In which pixels an image is stored, band by band, and which of them a window needs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from math import isclose
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.source import READ_MARGIN
from m3leo_prep.sources._native import Window, transformer

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

MODIS = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
"""Sinusoidal on a sphere of the authalic radius: https://modis-land.gsfc.nasa.gov/GCTP.html."""
_CODES = {"SR-ORG:6974": MODIS, "SR-ORG:6842": MODIS}
"""Codes of Earth Engine that PROJ does not know."""
_INTEGERS = ("uint8", "int8", "uint16", "int16", "int32", "uint32")
"""The smallest first."""
_MOST_IMAGES = 4096
"""Whose grids are kept; some kilobytes each."""
_MESH = 65
LONLAT = "EPSG:4326"


@dataclass(frozen=True, slots=True)
class BandGrid:
    """One band of an image: its type, the range it says of itself, and its pixels."""

    name: str
    dtype: str
    """numpy's name of the smallest type that holds the range."""
    legal: tuple[float, float] | None
    """Least and greatest number, where the asset says; None of floats."""
    geobox: GeoBox


def band_grids(asset: Mapping[str, Any], where: str) -> dict[str, BandGrid]:
    """Return the bands of an image by name, from what ``ee.data.getAsset`` says of it.

    Source: https://developers.google.com/earth-engine/reference/rest/v1/ImageBand.

    Raises:
        ConfigError: it is no image, or its pixels are rotated.
    """
    bands = asset.get("bands")
    if not bands:
        kind = str(asset.get("type", "asset")).lower()
        raise ConfigError(f"it is no image, but: {kind}", where=where, hint="name an image, or a collection of images")
    return {band["id"]: _band(band, where) for band in bands}


def _band(band: Mapping[str, Any], where: str) -> BandGrid:
    dtype, legal = _dtype(band.get("dataType", {}))
    return BandGrid(band["id"], dtype, legal, _geobox(band.get("grid", {}), f"{where}, band {band['id']}"))


def _dtype(kind: Mapping[str, Any]) -> tuple[str, tuple[float, float] | None]:
    match kind.get("precision"):
        case "FLOAT":
            return "float32", None
        case "INT":
            # A bound of 0 is left out, as JSON of protocol buffers does; a range that is left out is unknown.
            if "range" not in kind:
                return "int32", None
            low, high = (float(kind["range"].get(end, 0)) for end in ("min", "max"))
            for name in _INTEGERS:
                if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
                    return name, (low, high)
            return "int64", (low, high)
        case _:
            return "float64", None


def _geobox(grid: Mapping[str, Any], where: str) -> GeoBox:
    """Return the pixels of a band, north up and west first, whatever the order in which the asset counts them."""
    from odc.geo.geobox import GeoBox

    size, affine = grid.get("dimensions"), grid.get("affineTransform")
    if not size or not affine:
        raise ConfigError("it has no pixels of its own", where=where, hint="say `pitch:` and make it with `script:`")
    a, b, c, d, e, f = (
        float(affine.get(key, 0.0)) for key in ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    )
    if b or d:
        raise ConfigError(
            "its pixels are rotated",
            where=where,
            hint="let Earth Engine resample them: a `script:`, or `composite: server`",
        )
    cols, rows = int(size["width"]), int(size["height"])
    if a < 0:
        a, c = -a, c + a * cols
    if e > 0:
        e, f = -e, f + e * rows
    return GeoBox((rows, cols), Affine(a, 0.0, c, 0.0, e, f), _crs(grid, where))


def _crs(grid: Mapping[str, Any], where: str) -> str:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    said = str(grid.get("crsCode") or grid.get("crsWkt") or "")
    said = _CODES.get(said, said)
    try:
        return str(CRS.from_user_input(said).to_string())
    except CRSError as error:
        raise ConfigError(
            f"its coordinate system is not known here: {said[:80]!r}", where=where, hint="use `composite: server`"
        ) from error


class Grids:
    """Band grids by image, asked for once however many threads want them."""

    def __init__(self, most: int = _MOST_IMAGES) -> None:
        """Keep those of ``most`` images."""
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], Future[dict[str, BandGrid]]] = OrderedDict()

    def get(self, key: tuple[str, str], ask: Callable[[], dict[str, BandGrid]]) -> dict[str, BandGrid]:
        """Return the bands of an image (id, version); ``ask`` is called if nobody has, and again after it failed."""
        with self._lock:
            known = self._known.get(key)
            if known is None:
                mine: Future[dict[str, BandGrid]] = Future()
                self._known[key] = mine
                while len(self._known) > self._most:
                    self._known.popitem(last=False)
            else:
                self._known.move_to_end(key)
        if known is not None:
            return known.result()
        try:
            mine.set_result(ask())
        except BaseException as error:
            with self._lock:
                if self._known.get(key) is mine:
                    del self._known[key]
            mine.set_exception(error)
            raise
        return mine.result()


def finest(bands: Sequence[BandGrid]) -> GeoBox | None:
    """Return the grid whose pixels all bands can be told on by replication alone; None if there is none."""
    geobox = min((band.geobox for band in bands), key=lambda box: abs(box.transform.a))
    return geobox if all(_divides(geobox, band.geobox) for band in bands) else None


def _divides(fine: GeoBox, coarse: GeoBox) -> bool:
    """Return whether the fine grid cuts each pixel of the coarse one into whole pixels."""
    if fine.crs != coarse.crs:
        return False
    a, b = fine.transform, coarse.transform
    ratios = (b.a / a.a, b.e / a.e)
    offsets = ((b.c - a.c) / a.a, (b.f - a.f) / a.e)
    return all(isclose(n, round(n), abs_tol=1e-3) for n in (*ratios, *offsets))


def windows(grid: GeoBox, target: GeoBox) -> Iterator[tuple[GeoBox, GeoBox]]:
    """Yield the pixels of a grid that cover a target and the margin: as the grid counts them, and as they lie.

    The two differ where an image counts longitudes beyond 180 degrees. A target on the antimeridian may need two
    pieces, from either end of a map of the world.
    """
    from m3leo_prep.sources.local.outline import windows as windows_of

    if _crosses(target) and not (grid.crs is not None and grid.crs.geographic):
        yield from ((piece, piece) for piece in _sides(grid, target))
        return
    for window, place in windows_of(grid, target):
        yield grid[window.row0 : window.row1, window.col0 : window.col1], place


def _mesh(target: GeoBox) -> tuple[Any, Any]:
    """Return x and y of a mesh of points over the target and its margin."""
    wide = target.pad(READ_MARGIN)
    v, u = np.meshgrid(np.linspace(0, wide.shape[0], _MESH), np.linspace(0, wide.shape[1], _MESH), indexing="ij")
    a = wide.transform
    return (a.a * u + a.b * v + a.c).ravel(), (a.d * u + a.e * v + a.f).ravel()


def _crosses(target: GeoBox) -> bool:
    """Return whether a target has ground on both sides of the antimeridian."""
    if target.crs is not None and target.crs.geographic:
        return False
    lon, _ = transformer(str(target.crs), LONLAT).transform(*_mesh(target))
    return bool(np.ptp(lon) > 180.0)


def _sides(grid: GeoBox, target: GeoBox) -> Iterator[GeoBox]:
    """Yield the pixels of a map of the world on either side of the antimeridian, the western hemisphere's first."""
    x, y = _mesh(target)
    lon, lat = transformer(str(target.crs), LONLAT).transform(x, y)
    east, north = transformer(LONLAT, str(grid.crs)).transform(lon, lat)
    inverse = ~grid.transform
    # Between two points of the mesh and the seam there may be as many pixels as between two points.
    step = max(target.shape) / (_MESH - 1) * abs(target.transform.a / grid.transform.a)
    more = int(np.ceil(step)) + READ_MARGIN + 1
    whole = Window(0, grid.shape[0], 0, grid.shape[1])
    for side in (lon < 0, lon >= 0):
        cols, rows = inverse.a * east[side] + inverse.c, inverse.e * north[side] + inverse.f
        window = Window(
            int(np.floor(rows.min())) - more,
            int(np.ceil(rows.max())) + more,
            int(np.floor(cols.min())) - more,
            int(np.ceil(cols.max())) + more,
        ).within(whole)
        if not window.is_empty:
            yield grid[window.row0 : window.row1, window.col0 : window.col1]

"""What a raster file says about itself, in one form for GDAL formats and NetCDF."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError, CorruptError, SourceError
from m3leo_prep.core.text import near

if TYPE_CHECKING:
    from affine import Affine
    from odc.geo.geobox import GeoBox

Stamp = tuple[int, int]
"""Size in bytes and modification time in ns: another stamp, other pixels."""


@dataclass(frozen=True, slots=True)
class BandHeader:
    """One band of a file, or one variable of a NetCDF file."""

    key: int | str
    """How the file's library calls it: 1, 2, ... or the variable's name."""
    name: str
    """Its own name; empty if it has none that tells it from its neighbours."""
    dtype: str
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    """Physical value = stored value x scale + offset, as the file declares."""
    unit: str = ""
    palette: Mapping[int, str] = field(default_factory=dict)
    """Code -> ``#rrggbb``."""
    has_mask: bool = False
    """True if validity lies in a mask or alpha band beside the pixels."""


@dataclass(frozen=True, slots=True)
class Header:
    """A file's grid and bands."""

    path: str
    stamp: Stamp
    driver: str
    geobox: GeoBox
    """Where the pixels are, rows from north to south and columns from west to east unless it is rotated."""
    flip_rows: bool
    """The file stores the southernmost row first."""
    flip_cols: bool
    bands: tuple[BandHeader, ...]
    block: tuple[int, int]
    """(rows, columns) that the file compresses together."""
    vertical: str = ""
    """Vertical datum, if the CRS names one."""
    times: tuple[datetime, ...] = ()
    """Of the time axis; empty without one."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def pitch(self) -> float:
        """The coarser side of a pixel in metres."""
        return max(pixel_metres(self.geobox))

    def band(self, wanted: int | str | None) -> BandHeader:
        """Return a band by number (from 1), by name, or the only one.

        Raises:
            ConfigError: there is none such; lists those that are.
        """
        names = [band.name or str(number) for number, band in enumerate(self.bands, 1)]
        if wanted is None and len(self.bands) == 1:
            return self.bands[0]
        if isinstance(wanted, int) and 1 <= wanted <= len(self.bands):
            return self.bands[wanted - 1]
        for band in self.bands:
            if isinstance(wanted, str) and wanted.lower() in {band.name.lower(), str(band.key).lower()}:
                return band
        what = f"no band '{wanted}'" if wanted is not None else f"holds {len(self.bands)} bands, which one?"
        raise ConfigError(what, where=self.path, hint=near(str(wanted or ""), names))


def read_header(path: str | os.PathLike[str], crs: str = "") -> Header:
    """Return the header of a raster file; cached until the file changes.

    Args:
        path: the file.
        crs: used in place of the file's own.

    Raises:
        ConfigError: no CRS, no georeference, or one that cannot be.
        CorruptError: empty, truncated, or no raster at all.
        SourceError: pixels that are not on a map grid.
    """
    return _cached(str(path), stamp(path), crs)


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """Return size and modification time of a file.

    Raises:
        SourceError: it is gone or may not be read.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  called for every tile: no Path object
    except OSError as error:
        hint = "put it back, or plan again with --refresh"
        raise SourceError(f"cannot be read: {error.strerror}", where=os.fspath(path).__str__(), hint=hint) from error
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=65_536)
def _cached(path: str, stamped: Stamp, crs: str) -> Header:
    if stamped[0] == 0:
        raise CorruptError("is empty (0 bytes)", where=path, hint="fetch it again, or leave it out by `pattern:`")
    with Path(path).open("rb") as file:
        magic = file.read(8)
    if magic.startswith(b"\x89HDF"):
        from m3leo_prep.sources.local.netcdf import header

        return header(path, stamped, crs)
    if magic.startswith(b"CDF"):
        hint = "convert it: nccopy -k nc4 in.nc out.nc"
        raise ConfigError("is NetCDF 3 (classic), which is not read", where=path, hint=hint)
    from m3leo_prep.sources.local.gdal import header as gdal_header

    return gdal_header(path, stamped, crs)


def place(path: str, shape: tuple[int, int], transform: Affine, crs_text: str) -> dict[str, Any]:
    """Return the fields of a Header that say where the pixels are, after checking that they can be there.

    Raises:
        ConfigError: unknown or impossible CRS, or degenerate pixels.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    crs, vertical, geographic = horizontal(crs_text, path)
    if transform.determinant == 0:
        raise ConfigError("its geotransform has pixels of no size", where=path)
    rows, cols = shape
    straight = transform.b == 0 and transform.d == 0
    flip_rows, flip_cols = straight and transform.e > 0, straight and transform.a < 0
    if flip_rows:
        transform = transform * Affine(1, 0, 0, 0, -1, rows)
    if flip_cols:
        transform = transform * Affine(-1, 0, cols, 0, 1, 0)
    geobox = GeoBox(shape, transform, crs)
    if geographic:
        _check_degrees(geobox, path)
    return {"geobox": geobox, "flip_rows": flip_rows, "flip_cols": flip_cols, "vertical": vertical}


@lru_cache(maxsize=512)
def horizontal(text: str, where: str) -> tuple[str, str, bool]:
    """Return the horizontal CRS (a code if it has one, else WKT), the vertical datum's name, and if in degrees.

    Raises:
        ConfigError: not a CRS on the Earth.
    """
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    hint = "name it with `crs:`, such as EPSG:32632"
    if not text:
        raise ConfigError("has no coordinate reference system", where=where, hint=hint)
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise ConfigError(f"unknown CRS '{text[:60]}'", where=where, hint=hint) from error
    vertical = ""
    if crs.is_compound:
        crs, vertical = crs.sub_crs_list[0], crs.sub_crs_list[1].name
    elif len(crs.axis_info) > 2:
        crs, vertical = crs.to_2d(), "ellipsoid"
    if not (crs.is_geographic or crs.is_projected):
        raise ConfigError(f"its CRS '{crs.name}' is no place on the Earth", where=where, hint=hint)
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.to_wkt(), vertical, bool(crs.is_geographic)


def pixel_metres(geobox: GeoBox) -> tuple[float, float]:
    """Return the lengths of a pixel's sides in metres, column step first, about the centre of the raster."""
    a = geobox.transform
    crs = geobox.crs
    assert crs is not None
    if crs.geographic:
        from pyproj import Geod

        x, y = a * (geobox.shape[1] / 2, geobox.shape[0] / 2)
        y = min(max(y, -89.0), 89.0)
        geod = Geod(ellps="WGS84")
        # 1/100 of a degree tells the scale however large the pixel is.
        per_lon = geod.inv(x, y, x + 0.01, y)[2] * 100
        per_lat = geod.inv(x, y - 0.005, x, y + 0.005)[2] * 100
        return hypot(a.a * per_lon, a.d * per_lat), hypot(a.b * per_lon, a.e * per_lat)
    unit = crs.proj.axis_info[0].unit_conversion_factor
    return hypot(a.a, a.d) * unit, hypot(a.b, a.e) * unit


def _check_degrees(geobox: GeoBox, path: str) -> None:
    """Refuse what cannot be degrees: metres with a lon/lat tag are the usual reason."""
    box = geobox.extent.boundingbox
    # Grids with pixel centres on whole degrees reach half a pixel beyond the poles and the antimeridian.
    slack = max(abs(v) for v in (geobox.transform.a, geobox.transform.b, geobox.transform.d, geobox.transform.e))
    slack = min(slack, 5.0)
    wide = box.right - box.left > 360 + 2 * slack
    if wide or box.left < -180 - slack or box.right > 360 + slack or max(-box.bottom, box.top) > 90 + slack:
        bounds = ", ".join(f"{v:.6g}" for v in (box.left, box.bottom, box.right, box.top))
        raise ConfigError(
            f"its CRS is in degrees ({geobox.crs}), its bounds ({bounds}) are outside lon/lat",
            where=path,
            hint="the file's CRS tag is wrong: name the true one with `crs:`, such as EPSG:32632",
        )

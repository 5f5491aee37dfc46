"""NetCDF 4 files through h5netcdf: coordinates are pixel centres, rows may run either way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.sources.local.handles import handle
from m3leo_prep.sources.local.header import BandHeader, Header, Stamp, place

_REGULAR_PX = 0.1
"""Coordinates may leave an even spacing by this much (float32 coordinates do by 0.01)."""
_CONTIGUOUS = (256, 256)
_AGAIN = "fetch it again, or leave it out by `pattern:`"


def header(path: str, stamp: Stamp, crs: str = "") -> Header:
    """Return the header, with one band per variable on the (y, x) grid; see ``_header.read_header``."""
    from affine import Affine

    with _open(path) as file:
        grids = {name: v for name, v in file.variables.items() if _is_pixels(file, v)}
        if not grids:
            hint = "a variable needs dimensions (y, x) or (time, y, x) with coordinate variables"
            raise ConfigError("holds no variable on a regular grid", where=path, hint=hint)
        first = next(iter(grids.values()))
        y_name, x_name = first.dimensions[-2:]
        if any(v.dimensions[-2:] != (y_name, x_name) for v in grids.values()):
            hint = "split it into one file per grid"
            raise ConfigError("holds variables on different grids", where=path, hint=hint)
        steps = {v.dimensions[0] for v in grids.values() if v.ndim == 3}
        if len(steps) > 1:
            raise ConfigError(f"holds several time axes: {', '.join(sorted(steps))}", where=path)
        x0, dx = _axis(file.variables[x_name], path)
        y0, dy = _axis(file.variables[y_name], path)
        # Coordinates are centres, a geotransform is the corner.
        transform = Affine(dx, 0.0, x0 - dx / 2, 0.0, dy, y0 - dy / 2)
        shape = (len(file.variables[y_name]), len(file.variables[x_name]))
        placed = place(path, shape, transform, crs or _crs(file, first, x_name))
        # Without chunks any part can be read by itself.
        block = tuple(first.chunks or _CONTIGUOUS)[-2:]
        times = _times(file.variables[next(iter(steps))], path) if steps else ()
        bands = tuple(_band(name, variable) for name, variable in grids.items())
        tags = {k: _text(v) for k, v in file.attrs.items() if isinstance(v, (str, bytes))}
        return Header(path, stamp, "netCDF", bands=bands, block=block, times=times, tags=tags, **placed)


def load(head: Header, key: int | str, rows: tuple[int, int], cols: tuple[int, int], step: int) -> NDArray[Any]:
    """Return stored pixels (rows, cols) of one time step.

    Raises:
        CorruptError: the file is damaged there.
    """
    file = handle(head.path, head.stamp, _open)
    variable = file.variables[key]
    window = (slice(*rows), slice(*cols))
    try:
        data = np.asarray(variable[(step, *window)] if variable.ndim == 3 else variable[window])
    except (OSError, RuntimeError) as error:  # h5py raises either
        message = f"is damaged: variable {key}, step {step} cannot be decoded ({error})"
        raise CorruptError(message, where=head.path, hint="fetch the file again, then build again") from error
    return data.astype(data.dtype.newbyteorder("="), copy=False).view(_dtype(variable))


def _open(path: str) -> Any:
    import h5netcdf

    try:
        return h5netcdf.File(path, "r", decode_vlen_strings=True)
    except OSError as error:
        raise CorruptError(f"cannot be opened as NetCDF: {error}", where=path, hint=_AGAIN) from error


def _is_pixels(file: Any, variable: Any) -> bool:
    dims = variable.dimensions
    return (
        variable.ndim in {2, 3}
        and variable.dtype.kind in "iuf"
        and all(d in file.variables and file.variables[d].ndim == 1 for d in dims[-2:])
    )


def _axis(variable: Any, path: str) -> tuple[float, float]:
    """Return the first centre and the step of a coordinate."""
    values = np.asarray(variable[:], float)
    name = variable.name.rpartition("/")[2]
    if len(values) < 2:
        raise ConfigError(f"coordinate '{name}' has one value, so pixels have no size", where=path)
    step = float(values[-1] - values[0]) / (len(values) - 1)
    even = values[0] + step * np.arange(len(values))
    if step == 0 or not np.abs(values - even).max() <= _REGULAR_PX * abs(step):
        hint = "grid it to even steps first"
        raise ConfigError(f"coordinate '{name}' is not evenly spaced", where=path, hint=hint)
    return float(values[0]), step


def _crs(file: Any, variable: Any, x_name: str) -> str:
    """Return the CRS by the CF grid mapping, by the older habits of tools, or lon/lat by the axis units."""
    from pyproj import CRS

    mapping = _text(variable.attrs.get("grid_mapping", "")).partition(":")[0].strip()
    if mapping in file.variables:
        attributes = dict(file.variables[mapping].attrs.items())
        for key in ("crs_wkt", "spatial_ref"):
            if key in attributes:
                return _text(attributes[key])
        if "grid_mapping_name" in attributes:
            plain = {k: _text(v) if isinstance(v, bytes) else v for k, v in attributes.items()}
            return str(CRS.from_cf(plain).to_wkt())
    if "crs" in variable.attrs:
        return _text(variable.attrs["crs"])
    units = _text(file.variables[x_name].attrs.get("units", ""))
    return "EPSG:4326" if units.lower().startswith("degree") else ""


def _times(variable: Any, path: str) -> tuple[datetime, ...]:
    """Return the CF times as UTC."""
    import xarray as xr

    attributes = {k: _text(variable.attrs[k]) for k in ("units", "calendar") if k in variable.attrs}
    try:
        raw = xr.Variable(("t",), np.asarray(variable[:]), attributes)
        values = np.asarray(xr.conventions.decode_cf_variable("t", raw).values)
        problem = "" if values.dtype.kind == "M" else f"its units and calendar are {attributes or 'missing'}"
    except (ValueError, TypeError) as error:
        problem = str(error)
    if problem:
        hint = "the time axis needs CF units such as 'days since 1990-01-01', in the standard calendar"
        raise ConfigError(f"its time axis cannot be read: {problem}", where=path, hint=hint)
    return tuple(when.item().replace(tzinfo=UTC) for when in values.astype("datetime64[us]"))


def _band(name: str, variable: Any) -> BandHeader:
    attributes = variable.attrs
    fill = attributes.get("_FillValue", attributes.get("missing_value"))
    dtype = _dtype(variable)
    nodata = None
    if fill is not None:
        stored = np.asarray(fill).reshape(-1)[:1]
        nodata = float(stored.astype(variable.dtype).astype(dtype)[0])
    return BandHeader(
        key=name,
        name=name,
        dtype=dtype.name,
        nodata=nodata,
        scale=float(np.ravel(attributes.get("scale_factor", 1.0))[0]),
        offset=float(np.ravel(attributes.get("add_offset", 0.0))[0]),
        unit=_text(attributes.get("units", "")),
    )


def _dtype(variable: Any) -> np.dtype[Any]:
    """Return the dtype, unsigned where the attribute of NetCDF's convention says so."""
    dtype = np.dtype(variable.dtype).newbyteorder("=")
    unsigned = _text(variable.attrs.get("_Unsigned", "")).lower() == "true"
    return np.dtype(f"u{dtype.itemsize}") if unsigned and dtype.kind == "i" else dtype


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else ""
    return value.decode() if isinstance(value, bytes) else str(value)

"""GeoTIFF, COG, JPEG 2000 and VRT files through rasterio: headers and blocks of pixels."""

from __future__ import annotations

import warnings
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, CorruptError, SourceError
from m3leo_prep.sources.local.handles import handle
from m3leo_prep.sources.local.header import BandHeader, Header, Stamp, place

ENV = {
    # Folders of 100 000 scenes: probe for the few sidecars by name, never list the folder.
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    # Units run in parallel already; and errors in the decoder threads of OpenJPEG are printed, not raised, so that
    # the blocks of a truncated file would come back as zeros.
    "GDAL_NUM_THREADS": "1",
    # Decoded blocks are kept by our own cache, which threads share and which is counted.
    "GDAL_CACHEMAX": 64 * 2**20,
}
MASK = "mask:"
"""Prefix of a band key that asks for the validity mask of the band."""

_opening = Lock()


def header(path: str, stamp: Stamp, crs: str = "") -> Header:
    """Return the header; see ``_header.read_header``."""
    import rasterio
    from rasterio.enums import MaskFlags
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    again = "fetch it again, or leave it out by `pattern:`"
    try:
        # Filters of warnings are global to the process: change them by one thread at a time.
        with _opening, warnings.catch_warnings(), rasterio.Env(**ENV):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            data = rasterio.open(path, sharing=False)
    except RasterioIOError as error:
        raise CorruptError(f"cannot be opened as a raster: {error}", where=path, hint=again) from error
    with data:
        if data.count == 0:
            hint = "name one of its subdatasets as a file of its own"
            raise ConfigError(f"({data.driver}) holds no raster band", where=path, hint=hint)
        identity = data.transform.is_identity
        if identity and (data.gcps[0] or data.rpcs):
            what = "GCP-only" if data.gcps[0] else "RPC-only"
            raise SourceError(
                f"{what}: not terrain corrected, so its pixels are on no map grid",
                where=path,
                hint="terrain-correct it first (SNAP, or order the RTC product), then point `path:` at the result",
            )
        if identity:
            hint = "give it a geotransform (gdal_edit.py -a_ullr -a_srs), or leave it out by `pattern:`"
            raise ConfigError(f"has no georeference (it is a {data.driver} file)", where=path, hint=hint)
        if any("complex" in kind for kind in data.dtypes):
            hint = "detect and geocode it first; complex images are not a local layer"
            raise SourceError("holds complex pixels (an SLC?)", where=path, hint=hint)
        placed = place(path, data.shape, data.transform, crs or (data.crs.to_wkt() if data.crs else ""))
        names = [name or "" for name in data.descriptions]
        flags = data.mask_flag_enums
        bands = []
        for k in range(data.count):
            if data.colorinterp[k].name == "alpha" and data.count > 1:
                continue
            bands.append(
                BandHeader(
                    key=k + 1,
                    name=names[k] if names.count(names[k]) == 1 else "",
                    dtype=str(data.dtypes[k]),
                    nodata=data.nodatavals[k],
                    scale=data.scales[k],
                    offset=data.offsets[k],
                    unit=data.units[k] or "",
                    palette=_palette(data, k + 1),
                    has_mask=MaskFlags.per_dataset in flags[k],
                )
            )
        return Header(
            path, stamp, data.driver, bands=tuple(bands), block=data.block_shapes[0], tags=_tags(data), **placed
        )


def load(head: Header, key: int | str, rows: tuple[int, int], cols: tuple[int, int]) -> NDArray[Any]:
    """Return stored pixels (rows, cols), full resolution; for a ``mask:n`` key bool, True where valid.

    Raises:
        CorruptError: the file is damaged there.
    """
    import rasterio
    from rasterio.errors import RasterioIOError
    from rasterio.windows import Window

    window = Window.from_slices(rows, cols)
    try:
        with rasterio.Env(**ENV):
            data = handle(head.path, head.stamp, lambda path: rasterio.open(path, sharing=False))
            if isinstance(key, str):
                return np.asarray(data.read_masks(int(key.removeprefix(MASK)), window=window)) > 0
            return np.asarray(data.read(key, window=window))
    except RasterioIOError as error:
        raise CorruptError(
            f"is damaged: rows {rows[0]}-{rows[1]}, columns {cols[0]}-{cols[1]} of band {key} cannot be decoded"
            f" ({error.__cause__ or error})",
            where=head.path,
            hint="fetch the file again, then build again",
        ) from error


def _palette(data: Any, band: int) -> dict[int, str]:
    """Return the colours of the codes that have one; GDAL fills the rest of the table with black."""
    if data.colorinterp[band - 1].name != "palette":
        return {}
    colours = data.colormap(band)
    return {code: f"#{r:02x}{g:02x}{b:02x}" for code, (r, g, b, _) in colours.items() if (r, g, b) != (0, 0, 0)}


def _tags(data: Any) -> dict[str, str]:
    return {**data.tags(ns="IMAGERY"), **data.tags()}

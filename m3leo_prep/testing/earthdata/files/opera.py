"""Granules of OPERA RTC-S1 written from arrays: names, GeoTIFFs and tags as the archive's are.

The files follow the producer's code (github.com/opera-adt/RTC, ``save_as_cog``, ``get_metadata_dict``,
``set_mask_fill_value_and_ctable``): one cloud-optimised GeoTIFF for each layer, 512-pixel tiles, deflate, overviews by
4 and 16; images float32 with NaN, the mask uint8 with 255 and colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.testing._rasters import lonlat_outline
from m3leo_prep.testing.earthdata.granules import Granule

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

STATIC_DAY = datetime(2014, 4, 3, tzinfo=UTC)
"""The date of all static layers (recorded: ``VALIDITY_START_DATE``)."""
_BURST = timedelta(seconds=3)
_COLOURS = {0: (175, 175, 175), 1: (64, 64, 64), 2: (255, 255, 255), 3: (0, 255, 255), 255: (0, 0, 0, 0)}
_TILE = 512


def rtc(
    folder: Path,
    geobox: GeoBox,
    images: Mapping[str, NDArray[np.float32]],
    mask: NDArray[np.uint8],
    *,
    burst: str,
    start: datetime,
    processed: datetime,
    direction: str,
    orbit: int,
    platform: str = "S1A",
    footprint: BaseGeometry | None = None,
) -> Granule:
    """Return a burst's granule; its files are in ``folder``.

    Args:
        folder: where to write.
        geobox: the burst's grid.
        images: ``VV``, ``VH`` ... -> (y, x) gamma nought in linear power, NaN where there is none.
        mask: (y, x) 0 valid, 1 shadow, 2 layover, 3 both, 255 fill.
        burst: such as ``T131-279916-IW1``.
        start: of sensing, UTC.
        processed: which of two versions is the newer one, UTC.
        direction: ``ascending`` or ``descending``.
        orbit: the absolute one, which all bursts of a pass share.
        platform: ``S1A``, ``S1B`` ...
        footprint: lon/lat outline that the catalogue tells; None = of the grid.
    """
    name = f"OPERA_L2_RTC-S1_{burst}_{start:%Y%m%dT%H%M%SZ}_{processed:%Y%m%dT%H%M%SZ}_{platform}_30_v1.0"
    tags = _tags(burst, direction, orbit, platform, "RTC-S1") | {
        "ZERO_DOPPLER_START_TIME": f"{start:%Y-%m-%dT%H:%M:%S.%fZ}",
        "PROCESSING_DATETIME": f"{processed:%Y-%m-%dT%H:%M:%SZ}",
        "PROCESSING_INFORMATION_NOISE_CORRECTION_APPLIED": "True",
        "PROCESSING_INFORMATION_OUTPUT_BACKSCATTER_NORMALIZATION_CONVENTION": "gamma0",
    }
    layers: dict[str, NDArray[Any]] = {**images, "mask": mask}
    about = _attributes(burst, direction, orbit, list(images)) | {"NOISE_CORRECTION": "TRUE"}
    files = _write(folder, name, geobox, layers, tags)
    outline = lonlat_outline(geobox) if footprint is None else footprint
    return Granule(name, "opera-rtc", outline, start, start + _BURST, about, files)


def rtc_static(
    folder: Path,
    geobox: GeoBox,
    layers: Mapping[str, NDArray[Any]],
    *,
    burst: str,
    direction: str,
    orbit: int = 5962,
    platform: str = "S1B",
    footprint: BaseGeometry | None = None,
) -> Granule:
    """Return the granule of a burst's static layers; its files are in ``folder``.

    Args:
        folder: where to write.
        geobox: the burst's grid.
        layers: ``local_incidence_angle``, ``incidence_angle``, ``number_of_looks``, ``rtc_anf_gamma0_to_beta0``,
            ``rtc_anf_gamma0_to_sigma0`` (float32) and ``mask`` (uint8) -> (y, x).
        burst: such as ``T161-344054-IW2``.
        direction: ``ascending`` or ``descending``.
        orbit: absolute one of the pass that they were computed with.
        platform: ``S1A``, ``S1B`` ...
        footprint: lon/lat outline that the catalogue tells; None = of the grid.
    """
    name = f"OPERA_L2_RTC-S1-STATIC_{burst}_{STATIC_DAY:%Y%m%d}_{platform}_30_v1.0"
    tags = _tags(burst, direction, orbit, platform, "RTC-S1-STATIC")
    about = _attributes(burst, direction, orbit, ["VV"]) | {"VALIDITY_START_DATE": f"{STATIC_DAY:%Y-%m-%d}"}
    files = _write(folder, name, geobox, layers, tags)
    outline = lonlat_outline(geobox) if footprint is None else footprint
    return Granule(name, "opera-rtc-static", outline, STATIC_DAY, STATIC_DAY, about, files)


def _attributes(burst: str, direction: str, orbit: int, polarisations: Sequence[str]) -> dict[str, Any]:
    return {
        "ASCENDING_DESCENDING": direction.upper(),
        "OPERA_BURST_ID": burst.replace("-", "_"),
        "ORBIT": str(orbit),
        "PATH_NUMBER": str(int(burst[1:4])),
        "POLARIZATION": list(polarisations),
        "PRODUCT_VERSION": "1.0",
        "SUBSWATH_NAME": burst.rpartition("-")[2],
    }


def _tags(burst: str, direction: str, orbit: int, platform: str, product: str) -> dict[str, str]:
    return {
        "ABSOLUTE_ORBIT_NUMBER": str(orbit),
        "BURST_ID": burst.replace("-", "_").lower(),
        "ORBIT_PASS_DIRECTION": direction,
        "PLATFORM": f"Sentinel-1{platform[-1]}",
        "PRODUCT_TYPE": product,
        "PRODUCT_VERSION": "1.0",
        "PROJECT": "OPERA",
        "TRACK_NUMBER": str(int(burst[1:4])),
    }


def _write(
    folder: Path, name: str, geobox: GeoBox, layers: Mapping[str, NDArray[Any]], tags: Mapping[str, str]
) -> dict[str, Path]:
    files = {}
    for layer, values in layers.items():
        path = folder / f"{name}_{layer}.tif"
        _write_layer(path, geobox, values, tags)
        files[path.name] = path
    return files


def _write_layer(path: Path, geobox: GeoBox, values: NDArray[Any], tags: Mapping[str, str]) -> None:
    import rasterio
    from rasterio.enums import ColorInterp, Resampling
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    is_mask = values.dtype == np.uint8
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": geobox.shape[0],
        "width": geobox.shape[1],
        "dtype": values.dtype,
        "crs": str(geobox.crs),
        "transform": geobox.transform,
        "nodata": 255 if is_mask else np.nan,
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with MemoryFile() as memory:
        with memory.open(**profile) as made:
            made.write(values, 1)
            made.update_tags(**tags)
            if is_mask:
                made.colorinterp = [ColorInterp.palette]
                made.write_colormap(1, _COLOURS)
            made.build_overviews([4, 16], Resampling.nearest if is_mask else Resampling.cubic_spline)
        with memory.open() as made, rasterio.Env():
            copy(
                made,
                path,
                driver="GTiff",
                copy_src_overviews=True,
                tiled=True,
                blockxsize=_TILE,
                blockysize=_TILE,
                compress="DEFLATE",
                predictor=2 if is_mask else 3,
            )

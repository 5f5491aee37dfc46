"""Products of HyP3 as it packs them: a folder in a zip, GeoTIFFs in UTM, a parameter file.

Names of files, types and no-data values: docs/guides/rtc_product_guide.md and burst_insar_product_guide.md of
ASFHyP3/hyp3-docs@0d86d88; ``packaging.py`` of ASFHyP3/hyp3-isce2.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_BYTES = frozenset({"ls_map", "conncomp", "water_mask"})
"""Rasters of 8 bits without sign; the others are float32."""


def write_rtc(
    folder: Path, scene: str, rasters: Mapping[str, NDArray[Any]], geobox: GeoBox, *, radiometry: str = "gamma0"
) -> Path:
    """Return the zip of an RTC_GAMMA job of a scene.

    Args:
        folder: where it is written.
        scene: name of the GRD or SLC scene.
        rasters: (y, x) by the end of the file's name: ``VV``, ``VH`` in linear power, 0 = no data; ``ls_map`` bits
            (all 1, tested and free, if not given); ``inc_map`` rad.
        geobox: north-up, in UTM.
        radiometry: ``gamma0`` or ``sigma0``.
    """
    spacing = round(abs(geobox.transform.a))
    name = f"{scene[:6]}_{scene[17:32]}_{scene[14:16]}P_RTC{spacing}_G_{radiometry[0]}puned_{_number(scene)}"
    clear = {"ls_map": np.ones(tuple(geobox.shape), np.uint8)}
    return _pack(folder, name, {**clear, **rasters}, geobox, f"{name}.README.md.txt", f"Source granule: {scene}\n")


def write_burst_pair(
    folder: Path,
    earlier: str,
    later: str,
    rasters: Mapping[str, NDArray[Any]],
    geobox: GeoBox,
    *,
    baseline: float = 58.4,
) -> Path:
    """Return the zip of an INSAR_ISCE_BURST job of two bursts; HyP3 calls the earlier one the reference.

    Args:
        folder: where it is written.
        earlier: name of a burst.
        later: name of the same burst at another date.
        rasters: (y, x) by the end of the file's name: ``unw_phase`` and ``wrapped_phase`` rad, positive away from the
            sensor, ``corr``, ``conncomp``, ``lv_theta`` and ``lv_phi`` rad, ``dem`` m; 0 = no data in all of them.
        geobox: north-up, in UTM.
        baseline: perpendicular, in metres.
    """
    first, second = earlier.split("_"), later.split("_")
    spacing = round(abs(geobox.transform.a))
    dates = f"{first[3][:8]}_{second[3][:8]}"
    name = f"S1_{first[1]}_{first[2]}_{dates}_{first[4]}_INT{spacing}_{_number(earlier, later)}"
    text = f"Reference Granule: {earlier}\nSecondary Granule: {later}\nBaseline: {baseline}\n"
    return _pack(folder, name, rasters, geobox, f"{name}.txt", text)


def _pack(folder: Path, name: str, rasters: Mapping[str, NDArray[Any]], geobox: GeoBox, note: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, zipfile.ZipFile(folder / f"{name}.zip", "w") as product:
        for end, values in rasters.items():
            file = Path(work) / f"{name}_{end}.tif"
            _write(file, values.astype(np.uint8 if end in _BYTES else np.float32), geobox)
            product.write(file, f"{name}/{file.name}", zipfile.ZIP_DEFLATED)
        product.writestr(f"{name}/{note}", text)
    return folder / f"{name}.zip"


def _write(path: Path, values: NDArray[Any], geobox: GeoBox) -> None:
    import rasterio

    height, width = geobox.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=1,
        dtype=values.dtype,
        crs=str(geobox.crs),
        transform=geobox.transform,
        nodata=0,
        tiled=True,
        compress="lzw",
    ) as raster:
        raster.write(values, 1)


def _number(*parts: str) -> str:
    """Return four hexadecimal digits, such as HyP3 gives each product."""
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:4].upper()

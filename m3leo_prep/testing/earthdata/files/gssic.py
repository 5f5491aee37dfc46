"""Tiles of GSSIC as the archive holds them: 1200 x 1200 px, LZW in strips, unsigned integers, 0 = no data.

The header of a real file (N42W090_fall_vv_COH12.tif) is printed in github.com/fsspec/kerchunk/issues/78: GDAL's own
defaults for ``COMPRESS=LZW``, 6 rows a strip, the tags before the pixels.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXELS = 1200
FOLDER = "data/tiles"
_CORNER = re.compile(r"([NS])(\d{2})([EW])(\d{3})")
_EIGHT_BIT = ("COH", "inc", "lsmap")


def stored(metric: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return the stored numbers of physical values; NaN becomes 0, and no value does.

    Args:
        metric: ``AMP`` (linear power), ``COH12`` (0...1), ``rho``, ``tau``, ``rmse``, ``inc`` (degrees) or ``lsmap``.
        values: any shape.
    """
    numbers = np.where(np.isfinite(values), values, 0.0).astype(np.float64)
    if metric == "AMP":
        numbers = 10 ** ((10 * np.log10(np.maximum(numbers, 1e-9)) + 83) / 20)
    elif metric.startswith("COH"):
        numbers = numbers * 100
    elif metric in {"rho", "tau", "rmse"}:
        numbers = numbers * 1000
    top, dtype = (255, np.uint8) if metric.startswith(_EIGHT_BIT) else (65535, np.uint16)
    return np.where(np.isfinite(values), np.clip(np.rint(numbers), 1, top), 0).astype(dtype)


def write_tile(bucket: Path, name: str, pixels: NDArray[Any], **options: Any) -> Path:
    """Return the file of one metric of a tile, written below a folder that stands for the bucket.

    Args:
        bucket: such as ``earthdata.bucket``.
        name: ``N48W090_winter_vv_COH12`` or ``N48W090_124D_inc``.
        pixels: stored numbers, 1200 x 1200.
        options: of the GeoTIFF, in place of the archive's, such as ``tiled=True``.
    """
    import rasterio
    from affine import Affine

    tile = name.partition("_")[0]
    corner = _CORNER.fullmatch(tile)
    if corner is None or pixels.shape != (PIXELS, PIXELS):
        msg = f"{name} of {pixels.shape} is no tile"
        raise ValueError(msg)
    north, west = int(corner[2]) * (1 if corner[1] == "N" else -1), int(corner[4]) * (1 if corner[3] == "E" else -1)
    path = bucket / FOLDER / tile / f"{name}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"driver": "GTiff", "compress": "lzw", "nodata": 0, "crs": "EPSG:4326", "count": 1}
    about |= {"width": PIXELS, "height": PIXELS, "dtype": pixels.dtype}
    place = Affine(1 / PIXELS, 0, west, 0, -1 / PIXELS, north)
    with rasterio.open(path, "w", transform=place, **(about | options)) as file:
        file.write(pixels, 1)
    return path

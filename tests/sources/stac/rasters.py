"""Small GeoTIFFs with a value in each pixel that says where it is."""

from __future__ import annotations

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

ZONE = "EPSG:32632"
SCENE = GeoBox((400, 500), Affine(10, 0, 505_003.0, 0, -10, 5_483_007.0), ZONE)
"""Off every lattice, as scenes are."""
CHIP = GeoBox((64, 64), Affine(10.0, 0.0, 506_000.0, 0.0, -10.0, 5_482_000.0), ZONE)


def write(path, data, geobox=SCENE, *, nodata=None, scale=None, offset=None, south_up=False, **more):
    """Write (band, y, x) or (y, x); with ``south_up`` the southernmost row first."""
    data = np.atleast_3d(np.moveaxis(data, 0, -1)) if data.ndim == 3 else data[..., None]
    transform = geobox.transform
    if south_up:
        data = data[::-1]
        transform = transform * Affine(1, 0, 0, 0, -1, geobox.shape[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"height": data.shape[0], "width": data.shape[1], "count": data.shape[2]}
    more |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "nodata": nodata}
    place = {"crs": geobox.crs, "transform": transform, "dtype": data.dtype}
    with rasterio.open(path, "w", driver="GTiff", **place, **shape, **more) as to:
        to.write(np.moveaxis(data, -1, 0))
        if scale is not None:
            to.scales, to.offsets = [scale] * to.count, [offset or 0.0] * to.count
    return path


def ramp(geobox=SCENE, dtype=np.float32):
    """Return row x 1000 + column + 1."""
    rows, cols = np.indices(tuple(geobox.shape))
    return (rows * 1000 + cols + 1).astype(dtype)


def at(data, raster):
    """Return what ``data`` of SCENE has where a raster's pixels are."""
    col, row = ~SCENE.transform * (raster.geobox.transform * (0, 0))
    row, col = round(row), round(col)
    assert abs(raster.geobox.transform.e) == 10
    return data[row : row + raster.geobox.shape[0], col : col + raster.geobox.shape[1]]

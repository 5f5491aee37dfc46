"""Windows of a product's rasters, which all lie on one north-up grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources._native import NativeGrid, Window

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_AGAIN = "remove this folder and build again: the product is fetched again while HyP3 keeps it"


@dataclass(frozen=True, slots=True)
class Cut:
    """What some rasters of a product hold around a target."""

    data: NDArray[Any]
    """(raster, y, x), as stored."""
    geobox: GeoBox


def cut(product: Path, names: Sequence[str], geobox: GeoBox) -> Cut | None:
    """Return the pixels around ``geobox``, with the port's margin, of rasters of one product; None if none lies there.

    Raises:
        CorruptError: a raster cannot be read, or they are not on one grid.
    """
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.windows import Window as Block

    planes: list[NDArray[Any]] = []
    place: tuple[Any, ...] = ()
    window, grid = Window(0, 0, 0, 0), None
    for name in names:
        path = product / f"{name}.tif"
        try:
            with rasterio.open(path, sharing=False) as raster:
                at = raster.transform
                if at.b or at.d or at.a != -at.e or not raster.crs:
                    raise CorruptError("it is not on a north-up grid of square pixels", where=str(path), hint=_AGAIN)
                if place and place != (at, raster.shape, raster.crs):
                    raise CorruptError("it is not on the grid of the others", where=str(path), hint=_AGAIN)
                place = (at, raster.shape, raster.crs)
                grid = NativeGrid(raster.crs.to_wkt(), at.a, at.c, at.f)
                window = grid.window(geobox).within(Window(0, raster.height, 0, raster.width))
                if window.is_empty:
                    return None
                rows, cols = window.row1 - window.row0, window.col1 - window.col0
                planes.append(raster.read(1, window=Block(window.col0, window.row0, cols, rows)))
        except RasterioError as error:
            raise CorruptError(f"it cannot be read: {error}", where=str(path), hint=_AGAIN) from error
    assert grid is not None, "names lists at least one raster"
    return Cut(np.stack(planes), grid.geobox(window))


def there(product: Path, name: str) -> bool:
    """Return whether a product has a raster."""
    return (product / f"{name}.tif").is_file()

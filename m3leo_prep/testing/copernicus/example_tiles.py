"""The maps of the example: WorldCover and GLO-30, in tiles as large as the real ones, filled around it only."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from m3leo_prep.sources.synthetic.earth import Ground
    from m3leo_prep.testing.copernicus.stand_in import CopernicusStandIn

SEED = 3
"""Of the ground."""
WEST, SOUTH, EAST, NORTH = 5.92, 49.51, 6.09, 49.66
"""Degrees: where heights and classes are written; elsewhere heights are 0 and classes missing."""
ARC_SECOND = 1 / 3600
GEOID_M = 47.0
"""Of the geoid above the ellipsoid: in Luxembourg it is 46 to 48 m, here the same everywhere."""
_MAP_PITCH = 1 / 12_000
_VERSIONS = (("v100", 2020), ("v200", 2021))


def fill(copernicus: CopernicusStandIn, folder: Path) -> None:
    """Write the tiles into the public buckets."""
    copernicus.put("esa-worldcover", _worldcover(folder))
    _write_geoid(copernicus.grids / "us_nga_egm08_25.tif")
    names, tiles = [], []
    for west in (5, 6):
        name = f"Copernicus_DSM_COG_10_N49_00_E{west:03d}_00_DEM"
        names.append(name)
        tiles.append((f"{name}/{name}.tif", _heights_tile(folder / f"{name}.tif", west)))
    copernicus.put("copernicus-dem-30m", [*tiles, ("tileList.txt", "".join(f"{name}\n" for name in names).encode())])


def ground(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Ground:
    """Return the example's ground at places."""
    from m3leo_prep.sources.synthetic import earth

    return earth.ground(lon, lat, SEED)


def heights(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return metres as GLO-30 has them, between its pixels in a straight line."""
    from scipy.ndimage import map_coordinates

    (west, north), pixels = _heights()
    return np.asarray(
        map_coordinates(pixels, [(north - lat) / ARC_SECOND, (lon - west) / ARC_SECOND], order=1, mode="nearest")
    )


@lru_cache(maxsize=1)
def _heights() -> tuple[tuple[float, float], NDArray[np.float32]]:
    """Return lon and lat of the first pixel's centre, and (y, x) metres at whole seconds of arc."""
    lon = WEST + ARC_SECOND * np.arange(round((EAST - WEST) / ARC_SECOND))
    lat = NORTH - ARC_SECOND * np.arange(round((NORTH - SOUTH) / ARC_SECOND))
    return (WEST, NORTH), ground(*np.meshgrid(lon, lat)).height


def _write_geoid(path: Path) -> None:
    """Write the geoid as PROJ reads it (https://proj.org/en/stable/specifications/geodetictiffgrids.html)."""
    import rasterio
    from affine import Affine

    rows, columns = 181, 361  # of whole degrees; the real one has a value every 2.5 minutes
    place = Affine(1.0, 0, -180.5, 0, -1.0, 90.5)
    undulation = np.full((rows, columns), GEOID_M, np.float32)
    how = {"height": rows, "width": columns, "count": 1, "dtype": "float32", "crs": "EPSG:4979", "transform": place}
    with rasterio.open(path, "w", driver="GTiff", **how) as file:
        file.write(undulation, 1)
        kind = "VERTICAL_OFFSET_GEOGRAPHIC_TO_VERTICAL"
        file.update_tags(AREA_OR_POINT="Point", TYPE=kind, target_crs_epsg_code="3855")
        file.set_band_description(1, "geoid_undulation")
        file.units = ("metre",)


def _heights_tile(path: Path, west: int) -> Path:
    """Write a tile of one degree: a pixel's centre is its place, so that it begins half a pixel further out."""
    (left, top), pixels = _heights()
    first = round((left - west) / ARC_SECOND)
    inside = pixels[:, max(0, -first) : max(0, 3600 - first)]
    _write_sparse(
        path,
        inside,
        (round((50 - top) / ARC_SECOND), max(0, first)),
        size=3600,
        pitch=ARC_SECOND,
        origin=(west - ARC_SECOND / 2, 50 + ARC_SECOND / 2),
        block=512,
    )
    return path


def _worldcover(folder: Path) -> Any:
    """Yield key and file of the tiles of three degrees on both sides of 6 E, of both versions."""
    west, south, east, north = 5.95, 49.54, 6.06, 49.63
    lon = west + 2 * _MAP_PITCH * (np.arange(round((east - west) / (2 * _MAP_PITCH))) + 0.5)
    lat = north - 2 * _MAP_PITCH * (np.arange(round((north - south) / (2 * _MAP_PITCH))) + 0.5)
    classes = ground(*np.meshgrid(lon, lat)).classes.repeat(2, axis=0).repeat(2, axis=1)
    for left in (3, 6):
        first = round((west - left) / _MAP_PITCH)
        inside = classes[:, max(0, -first) : max(0, 36_000 - first)]
        path = folder / f"worldcover-{left}.tif"
        place = (round((51 - north) / _MAP_PITCH), max(0, first))
        _write_sparse(path, inside, place, size=36_000, pitch=_MAP_PITCH, origin=(left, 51), block=1024, nodata=0)
        for version, year in _VERSIONS:
            yield f"{version}/{year}/map/ESA_WorldCover_10m_{year}_{version}_N48E{left:03d}_Map.tif", path


def _write_sparse(
    path: Path,
    pixels: NDArray[Any],
    place: tuple[int, int],
    *,
    size: int,
    pitch: float,
    origin: tuple[float, float],
    block: int,
    nodata: float | None = None,
) -> None:
    """Write a square image in degrees of which only a part has values; blocks without any take no room."""
    import rasterio
    from affine import Affine
    from rasterio.windows import Window

    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=size,
        width=size,
        count=1,
        dtype=pixels.dtype,
        crs="EPSG:4326",
        transform=Affine(pitch, 0, origin[0], 0, -pitch, origin[1]),
        nodata=nodata,
        tiled=True,
        blockxsize=block,
        blockysize=block,
        compress="deflate",
        zlevel=1,
        SPARSE_OK=True,
    ) as file:
        file.write(pixels, 1, window=Window(place[1], place[0], pixels.shape[1], pixels.shape[0]))

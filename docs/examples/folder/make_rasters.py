"""Makes the rasters of this example: two dates of vegetation index in UTM, and a map of three classes in lon/lat."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

FOLDER = Path(__file__).parent / "rasters"
UTM = {"crs": "EPSG:32632", "transform": Affine(10, 0, 500_000, 0, -10, 5_321_000), "width": 400, "height": 400}
LONLAT = {"crs": "EPSG:4326", "transform": Affine(5e-4, 0, 8.99, 0, -5e-4, 48.06), "width": 140, "height": 120}


def write(path: Path, data: np.ndarray, where: dict, nodata: float) -> None:
    """Write one band as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype=data.dtype, nodata=nodata, **where) as file:
        file.write(data, 1)


def main() -> None:
    """Write all."""
    rows, cols = np.indices((400, 400))
    for day, green in (("20200515", 0.3), ("20200715", 0.6)):
        index = (green + 0.2 * np.sin(rows / 30) * np.cos(cols / 20)).astype("float32")
        index[:, :40] = -9999  # the edge of the image: no data
        write(FOLDER / "index" / f"ndvi_{day}.tif", index, UTM, -9999)
    classes = (1 + np.indices((120, 140))[1] // 50).astype("uint8")
    write(FOLDER / "map" / "cover.tif", classes, LONLAT, 0)


if __name__ == "__main__":
    main()

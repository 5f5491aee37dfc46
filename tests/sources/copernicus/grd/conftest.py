"""A geoid of ours in PROJ's place."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine

from m3leo_prep.sources.copernicus.grd import heights

FILES = {"egm2008": "us_nga_egm08_25.tif", "egm96": "us_nga_egm96_15.tif"}


@pytest.fixture
def geoids(tmp_path):
    """Give PROJ files of undulations, each the same all over the world: ``geoids(egm2008=45.0)``."""
    before = pyproj.datadir.get_data_dir()

    def given(**metres: float) -> None:
        for name, undulation in metres.items():
            place = {"crs": "EPSG:4979", "transform": Affine(45, 0, -202.5, 0, -45, 112.5)}
            size = {"height": 5, "width": 9, "count": 1, "dtype": "float32"}
            with rasterio.open(tmp_path / FILES[name], "w", driver="GTiff", **size, **place) as file:
                file.update_tags(AREA_OR_POINT="Point", TYPE="VERTICAL_OFFSET_GEOGRAPHIC_TO_VERTICAL")
                file.set_band_description(1, "geoid_undulation")
                file.write(np.full((5, 9), undulation, np.float32), 1)
        heights._operation.cache_clear()
        pyproj.datadir.append_data_dir(str(tmp_path))

    yield given
    pyproj.datadir.set_data_dir(before)
    heights._operation.cache_clear()

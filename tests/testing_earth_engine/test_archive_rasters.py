"""An archive of real files under Earth Engine's ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.testing.earth_engine import FolderArchive

DEM = "dem/Rome-30m-DEM.tif"


def test_values_and_grid_are_the_files_own(shared_data: Path) -> None:
    entry = {"id": "COPERNICUS/DEM/GLO30/rome", "crs": "EPSG:4326", "time": "2020-01-02", "bands": {"DEM": DEM}}
    archive = FolderArchive(shared_data, {"images": [entry]})
    scene = archive.image("COPERNICUS/DEM/GLO30/rome")
    assert scene is not None
    assert archive.collection("COPERNICUS/DEM/GLO30") == [scene]
    assert archive.holdings == ["COPERNICUS/DEM/GLO30"]
    assert scene.properties == {"system:index": "rome", "system:time_start": 1_577_923_200_000}
    (band,) = scene.bands
    with rasterio.open(shared_data / DEM) as file:
        assert (band.crs, band.dtype, band.shape) == ("EPSG:4326", "int16", file.shape)
        assert band.transform == tuple(file.transform)[:6]
        values, valid = band.read(10, 30, 40, 90)
        np.testing.assert_array_equal(values, file.read(1)[10:30, 40:90])
    assert valid.all()
    assert scene.footprint.bounds == pytest.approx((12.0, 41.0, 13.0, 42.0), abs=1.0)


def test_no_data_and_nan_are_masked(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = np.array([[[1.0, -9.0], [np.nan, 4.0]], [[5.0, 6.0], [-9.0, 8.0]]], np.float32)
    profile = {"driver": "GTiff", "width": 2, "height": 2, "count": 2, "dtype": "float32", "nodata": -9.0}
    with rasterio.open(
        path, "w", crs="EPSG:32631", transform=rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000), **profile
    ) as file:
        file.write(pixels)
    (tmp_path / "index.yaml").write_text(
        "images:\n- {id: A/B/one, properties: {kind: x}, bands: {P: a.tif, Q: {path: a.tif, band: 2}}}\n"
    )
    scene = FolderArchive(tmp_path).image("A/B/one")
    assert scene is not None
    assert scene.properties["kind"] == "x"
    masks = [band.read(0, 2, 0, 2)[1].tolist() for band in scene.bands]
    assert masks == [[[True, False], [False, True]], [[True, True], [False, True]]]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (None, "cannot be read"),
        ("images: [", "is no YAML"),
        ("- 1", "is no mapping"),
        ("{}", "no list of images"),
        ("images: [{id: a}]", "an id and bands"),
        ("images: [{id: a, bands: {x: no.tif}}]", "cannot be read"),
        ("images: [{id: a, bands: {x: no.tif}, colour: red}]", "unknown key 'colour'"),
    ],
)
def test_a_bad_index_says_what_is_wrong(tmp_path: Path, index: str | None, message: str) -> None:
    if index is not None:
        (tmp_path / "index.yaml").write_text(index)
    with pytest.raises(ConfigError, match=message):
        FolderArchive(tmp_path)

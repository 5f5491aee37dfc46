"""The Source port's contract on folders made here, on real scenes, and on a NetCDF series."""

import h5netcdf
import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.local import Local
from m3leo_prep.testing.source import SourceContract


def write(path, data, crs, transform):
    profile = {"driver": "GTiff", "count": len(data), "height": data.shape[1], "width": data.shape[2]}
    tiles = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate", "nodata": 0}
    with rasterio.open(path, "w", dtype=data.dtype, crs=crs, transform=transform, **profile, **tiles) as out:
        out.write(data)


class TestFolderOfScenes(SourceContract):
    """Overlapping scenes in the zone's own CRS, in lon/lat and in the neighbour zone, bands in files of their own."""

    @pytest.fixture
    def source(self, tmp_path):
        rng = np.random.default_rng(5)
        for date, crs, transform in (
            ("20200610", "EPSG:32632", Affine(20, 0, 505_000, 0, -20, 5_483_000)),
            ("20200622", "EPSG:4326", Affine(3e-4, 0, 9.07, 0, -3e-4, 49.50)),
            ("20200704", "EPSG:32631", Affine(20, 0, 939_000, 0, -20, 5_500_000)),
            ("20200716", "EPSG:32632", Affine(20, 0, 508_000, 0, -20, 5_480_000)),
        ):
            for band in ("red", "nir"):
                scene = rng.integers(0, 12_000, (1, 400, 300), "uint16")
                write(tmp_path / f"scene_{date}_{band}.tif", scene, crs, transform)
        return Local(path=str(tmp_path), kind="reflectance", scale=1e-4, bands={"red": "*_red.tif", "nir": "*_nir.tif"})


class TestStaticFile(SourceContract):
    """One file without a date, stored in strips from south to north."""

    @pytest.fixture
    def source(self, tmp_path):
        height = np.random.default_rng(6).normal(300, 50, (1, 500, 600)).astype("float32")
        height[0, ::37, ::41] = 0
        write(tmp_path / "dem.tif", height, "EPSG:32632", Affine(30, 0, 500_010, 0, 30, 5_470_000))
        return Local(path=str(tmp_path), kind="continuous", unit="m", bands=["height"])


class TestNetcdfSeries(SourceContract):
    """Three dates in one file, rows from south to north, a mask variable."""

    @pytest.fixture
    def source(self, tmp_path):
        rng = np.random.default_rng(7)
        with h5netcdf.File(tmp_path / "series.nc", "w") as file:
            file.dimensions = {"time": 3, "lat": 200, "lon": 300}
            file.create_variable("lon", ("lon",), data=9.05 + 5e-4 * np.arange(300)).attrs["units"] = "degrees_east"
            file.create_variable("lat", ("lat",), data=49.40 + 5e-4 * np.arange(200))
            file.create_variable("time", ("time",), data=np.array([10, 20, 40])).attrs["units"] = (
                "days since 2020-06-01"
            )
            shape = ("time", "lat", "lon")
            file.create_variable("vv", shape, data=rng.gamma(4, 0.02, (3, 200, 300)).astype("float32"))
            file.create_variable("flag", shape, data=rng.integers(0, 4, (3, 200, 300), "uint8"))
        mask = {"band": "flag", "values": [3]}
        return Local(path=str(tmp_path / "series.nc"), kind="power", bands={"vv": "vv"}, mask=mask)


class TestJammerbugt(SourceContract):
    """Sentinel-1 RTC in dB, on a grid that is no multiple of 10 m."""

    @pytest.fixture
    def source(self, shared_data):
        folder = shared_data / "colocated/terramesh_dk_jammerbugt"
        return Local(path=str(folder), pattern="S1RTC.tif", kind="power", bands=["vv", "vh"], decibel=True)

    @pytest.fixture
    def area(self):
        return box(9.7, 57.1, 9.9, 57.3)

    @pytest.fixture
    def slots(self):
        return parse_slots({"months": 2017})[9:11]

    @pytest.fixture
    def geobox(self):
        return GeoBox((100, 100), Affine(10, 0, 550_500, 0, -10, 6_343_500), "EPSG:32632")


class TestWorldCover(SourceContract):
    """A map of classes in degrees."""

    @pytest.fixture
    def source(self, shared_data):
        return Local(path=str(shared_data / "labels/esa_worldcover_2021_v200_sao_tome.tif"), kind="classes")

    @pytest.fixture
    def area(self):
        return box(6.4, 0.0, 6.8, 0.5)

    @pytest.fixture
    def geobox(self):
        return GeoBox((448, 448), Affine(10, 0, 231_000, 0, -10, 25_000), "EPSG:32632")

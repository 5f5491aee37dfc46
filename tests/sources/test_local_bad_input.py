"""Files that are not what they should be: each message names the file and the way out."""

import re

import h5netcdf
import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.control import GroundControlPoint
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError, CorruptError, PrepError, SourceError
from m3leo_prep.core.raster import STATIC
from m3leo_prep.sources.local import Local

EARTH = box(-180, -90, 180, 90)
UTM = "EPSG:32632"
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_000_000)
TARGET = GeoBox((50, 50), NORTH_UP, UTM)


def write(path, *, crs=UTM, transform=NORTH_UP, data=None, driver="GTiff", **profile):
    """Write an image of noise, so that no byte of it is idle."""
    if data is None:
        data = np.random.default_rng(1).integers(1, 250, (1, 200, 200), "uint8")
    with rasterio.open(
        path,
        "w",
        driver=driver,
        count=len(data),
        height=data.shape[1],
        width=data.shape[2],
        dtype=data.dtype,
        crs=crs,
        transform=transform,
        **profile,
    ) as out:
        out.write(data)
    return path


def source(path, **options):
    return Local(path=str(path), **({"kind": "continuous"} | options))


def items(path, **options):
    return list(source(path, **options).find(EARTH, (STATIC,)))


def test_no_crs_names_the_file_and_the_option_that_helps(tmp_path):
    write(tmp_path / "a.tif", crs=None)
    with pytest.raises(ConfigError, match=r"a\.tif: has no coordinate reference system[\s\S]*`crs:`"):
        items(tmp_path)
    (item,) = items(tmp_path, crs=UTM)
    assert item.footprint.intersects(box(9, 45.1, 9.01, 45.2))


def test_metres_tagged_as_degrees_are_noticed(tmp_path):
    write(tmp_path / "a.tif", crs="EPSG:4326")
    with pytest.raises(ConfigError, match=r"a\.tif: its CRS is in degrees.*outside lon/lat[\s\S]*true one with `crs:`"):
        source(tmp_path).describe()
    assert len(items(tmp_path, crs=UTM)) == 1


def test_a_projection_that_puts_it_off_the_earth_is_noticed(tmp_path):
    write(tmp_path / "a.tif", crs="ESRI:54009", transform=Affine(10, 0, 9e7, 0, -10, 9e7))
    with pytest.raises(ConfigError, match=r"a\.tif: no point of it is on the Earth[\s\S]*`crs:`"):
        items(tmp_path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_gcp_only_is_not_terrain_corrected(tmp_path):
    corners = [GroundControlPoint(r, c, 9 + c / 1e4, 45 - r / 1e4) for r in (0, 200) for c in (0, 200)]
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", count=1, height=200, width=200, dtype="uint8") as out:
        out.gcps = (corners, rasterio.CRS.from_epsg(4326))
    with pytest.raises(SourceError, match=r"a\.tif: GCP-only: not terrain corrected[\s\S]*terrain-correct it first"):
        items(tmp_path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_jpeg_named_tif_has_no_georeference(tmp_path):
    write(tmp_path / "a.jpg", driver="JPEG", crs=None, transform=None)
    (tmp_path / "a.jpg").rename(tmp_path / "a.tif")
    with pytest.raises(ConfigError, match=r"a\.tif: has no georeference \(it is a JPEG file\)[\s\S]*`pattern:`"):
        items(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "a.tif").touch()
    with pytest.raises(CorruptError, match=r"a\.tif: is empty \(0 bytes\)[\s\S]*fetch it again"):
        items(tmp_path)


def test_text_named_tif(tmp_path):
    (tmp_path / "a.tif").write_text("<html>login required</html>")
    with pytest.raises(CorruptError, match=r"a\.tif: cannot be opened as a raster[\s\S]*fetch it again"):
        items(tmp_path)


def test_a_geotiff_with_another_suffix_is_found_by_pattern(tmp_path):
    write(tmp_path / "a.img.data")
    with pytest.raises(
        ConfigError, match=r"no raster matches pattern '\*'[\s\S]*holds files \.data; rasters end in \.tif"
    ):
        items(tmp_path)
    assert len(items(tmp_path, pattern="*.data")) == 1


@pytest.mark.parametrize(
    ("keep", "error"), [(0.002, CorruptError), (0.01, PrepError), (0.3, CorruptError), (0.9, CorruptError)]
)
def test_truncated_geotiff(tmp_path, keep, error):
    path = write(tmp_path / "a.tif", compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(error, match=r"a\.tif: "):
        list(source(tmp_path).read(items(tmp_path), TARGET.pad(150), STATIC))


def test_a_corrupt_block_is_told_at_reading_and_its_neighbours_are_still_read(tmp_path):
    path = write(tmp_path / "a.tif", compress="deflate", tiled=True, blockxsize=64, blockysize=64,
                 data=np.random.default_rng(1).integers(1, 250, (1, 1024, 1024), "uint8"))  # fmt: skip
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 6000] = bytes(6000)
    path.write_bytes(raw)
    (item,) = items(tmp_path)
    (good,) = source(tmp_path).read([item], TARGET, STATIC)
    assert good.valid.all()
    with pytest.raises(
        CorruptError, match=r"a\.tif: is damaged: rows \d+-\d+, columns \d+-\d+ of band 1 cannot be decoded"
    ):
        list(source(tmp_path).read([item], GeoBox((1024, 1024), NORTH_UP, UTM), STATIC))
    (good,) = source(tmp_path).read([item], TARGET, STATIC)
    assert good.valid.all(), "a failed read leaves nothing behind"


def test_truncated_jp2(tmp_path, shared_data):
    (original,) = (shared_data / "s2").rglob("*B01.jp2")
    (tmp_path / "a_20180101.jp2").write_bytes(original.read_bytes()[:1_200_000])
    target = GeoBox((1830, 1830), Affine(60, 0, 399_960, 0, -60, 4_800_000), "EPSG:32631")
    with pytest.raises(CorruptError, match=r"a_20180101\.jp2: "):
        list(source(tmp_path).read(items(tmp_path), target, STATIC))


def test_truncated_netcdf(tmp_path, shared_data):
    original = shared_data / "colocated/openeo_be_antwerp/s2_l2a_ts.nc"
    (tmp_path / "a.nc").write_bytes(original.read_bytes()[:100_000])
    with pytest.raises(CorruptError, match=r"a\.nc: cannot be opened as NetCDF[\s\S]*fetch it again"):
        items(tmp_path)


def test_complex_pixels_are_no_local_layer(tmp_path):
    write(tmp_path / "a.tif", data=np.ones((1, 20, 20), "complex64"))
    with pytest.raises(SourceError, match=r"a\.tif: holds complex pixels"):
        items(tmp_path)


def netcdf(path, *, x, y, attrs=None, **dims):
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"y": len(y), "x": len(x), **{k: len(v) for k, v in dims.items()}}
        file.create_variable("x", ("x",), data=np.asarray(x, float))
        file.create_variable("y", ("y",), data=np.asarray(y, float))
        for name, values in dims.items():
            file.create_variable(name, (name,), data=np.asarray(values))
        shape = (*(len(v) for v in dims.values()), len(y), len(x))
        variable = file.create_variable(
            "height", (*dims, "y", "x"), data=np.arange(np.prod(shape), dtype="f4").reshape(shape)
        )
        for key, value in (attrs or {"crs": UTM}).items():
            variable.attrs[key] = value
    return path


def test_netcdf_centres_become_corners_and_rows_may_run_south_to_north(tmp_path):
    x = 500_005 + 10 * np.arange(30)
    netcdf(tmp_path / "down.nc", x=x, y=4_999_995 - 10 * np.arange(20))
    netcdf(tmp_path / "up.nc", x=x, y=4_999_805 + 10 * np.arange(20))
    down, up = source(tmp_path).read(items(tmp_path), TARGET, STATIC)
    assert down.geobox.transform[:6] == up.geobox.transform[:6] == (10, 0, 500_000, 0, -10, 5_000_000)
    assert (down.data[0] == np.arange(600).reshape(20, 30)).all()
    assert (up.data[0] == down.data[0][::-1]).all()


def test_netcdf_on_uneven_steps_or_without_crs(tmp_path):
    y = 4_999_995 - 10 * np.arange(20)
    netcdf(tmp_path / "a.nc", x=500_005 + np.arange(30) ** 2, y=y)
    with pytest.raises(ConfigError, match=r"a\.nc: coordinate 'x' is not evenly spaced"):
        items(tmp_path)
    netcdf(tmp_path / "a.nc", x=500_005 + 10 * np.arange(30), y=y, attrs={"long_name": "height"})
    with pytest.raises(ConfigError, match=r"a\.nc: has no coordinate reference system[\s\S]*`crs:`"):
        items(tmp_path)


def test_unreadable_time_axis(tmp_path):
    netcdf(tmp_path / "a.nc", x=500_005 + 10 * np.arange(30), y=4_999_995 - 10 * np.arange(20), t=[1, 2])
    with pytest.raises(ConfigError, match=r"a\.nc: its time axis cannot be read[\s\S]*CF units"):
        items(tmp_path)


def test_folder_missing_empty_or_without_a_match(tmp_path):
    (tmp_path / "sentinel").mkdir()
    with pytest.raises(ConfigError, match=r"sentinle: does not exist\s+hint: did you mean 'sentinel'"):
        items(tmp_path / "sentinle")
    with pytest.raises(ConfigError, match=r"sentinel: no raster matches pattern '\*' in the folder[\s\S]*it is empty"):
        items(tmp_path / "sentinel")
    write(tmp_path / "sentinel" / "a.tif")
    with pytest.raises(ConfigError, match=r"no raster matches pattern 'b\*'"):
        items(tmp_path / "sentinel", pattern="b*")
    with pytest.raises(ConfigError, match=r"band vv: no file matches '\*_VV\.tif'[\s\S]*for example, a\.tif"):
        items(tmp_path / "sentinel", bands={"vv": "*_VV.tif"})


def test_one_bad_file_among_many_is_named(tmp_path):
    write(tmp_path / "a.tif")
    write(tmp_path / "b.tif", crs=None)
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "b.tif"))):
        items(tmp_path)


def test_scenes_with_other_bands_than_the_first(tmp_path):
    write(tmp_path / "a.tif")
    write(tmp_path / "b.tif", data=np.ones((2, 20, 20), "uint8"))
    with pytest.raises(ConfigError, match=r"b\.tif: has bands b1, b2, others have b1"):
        items(tmp_path)


@pytest.mark.parametrize(("options", "message"), [
    ({"kind": "powr"}, r"kind: 'powr' is not known\s+hint: did you mean 'power'"),
    ({"kind": ""}, r"kind: say what the numbers mean\s+hint: choose from: amount, "),
    ({"decibel": True}, "decibel: is for kind power, not continuous"),
    ({"amplitude": True}, "amplitude: is for kind power, not continuous"),
    ({"kind": "power", "amplitude": True, "decibel": True}, "one or the other"),
    ({"legend": {1: "a"}}, "legend: a continuous has no classes"),
    ({"kind": "classes", "scale": 2}, "codes of kind classes are not scaled"),
    ({"kind": "classes", "legend": {"x": "a"}}, "legend: code 'x' is not a whole number"),
    ({"remap": {1: 2}}, "remap: is for kind classes, not continuous"),
        ({"kind": "classes", "remap": {1: "x"}}, "remap: .* is not {old code: new code}"),
    ({"nodata": "none"}, "nodata: 'none' is neither a number nor a list"),
    ({"scale": 0}, "scale: 0 would erase the data"),
    ({"scale": "x"}, "scale: 'x' is not a number"),
    ({"crs": "EPSG:0"}, "unknown CRS 'EPSG:0'"),
    ({"date": "%Q"}, r"date: '%Q' is not a pattern: %Q is not one of %Y"),
    ({"date": "("}, r"date: '\(' is not a pattern"),
    ({"mask": {"band": "scl"}}, "mask: needs `values`"),
    ({"mask": {"values": [1]}}, "mask: needs `band`, `file` or `asset`"),
    ({"mask": {"bnd": "scl", "values": [1]}}, r"mask: unknown key 'bnd'\s+hint: did you mean 'band'"),
    ({"bands": {"vv": {"fil": "x"}}}, r"unknown key 'fil'\s+hint: did you mean 'file'"),
    ({"bands": {"vv": "*_VV.tif", "vh": 2}}, "either all have a file"),
    ({"bands": ["a", "a"]}, "a name stands twice"),
    ({"bands": 3}, "bands: 3 is not understood"),
    ({"path": ""}, "path: '' is not a path"),
])  # fmt: skip
def test_options_are_checked_when_the_recipe_is_read(options, message):
    with pytest.raises(PrepError, match=message) as caught:
        Local(**({"path": "somewhere", "kind": "continuous"} | options))
    assert isinstance(caught.value, ConfigError)
    assert caught.value.where == "source 'local'"

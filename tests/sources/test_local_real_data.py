"""Real rasters of every kind, compared with what rasterio, xarray and pyproj say about the same files."""

from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from shapely.geometry import box

from m3leo_prep.core.raster import STATIC
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.local import Local

EARTH = box(-180, -90, 180, 90)


def utm_box(lon, lat, size=40, pitch=10.0):
    """Return a geobox of the place's UTM zone with its centre there, on whole multiples of the pitch."""
    zone = (32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1
    x, y = Transformer.from_crs(4326, zone, always_xy=True).transform(lon, lat)
    x, y = (round(v / pitch) * pitch for v in (x, y))
    half = size // 2 * pitch
    return GeoBox((size, size), Affine(pitch, 0, x - half, 0, -pitch, y + half), f"EPSG:{zone}")


def centre(item):
    point = item.footprint.centroid
    return point.x, point.y


def check_against_rasterio(path, raster, convert, band=1):
    """Each pixel equals the file's pixel at the same place, found by coordinates."""
    with rasterio.open(path) as file:
        stored = file.read(band).astype(float)
        a, b = raster.geobox.transform, ~file.transform
        rows, cols = raster.geobox.shape
        x, y = a * (np.arange(cols) + 0.5, np.zeros(cols))
        x2, y2 = a * (np.zeros(rows), np.arange(rows) + 0.5)
        c = np.floor((b * (x, y))[0]).astype(int)
        r = np.floor((b * (x2, y2))[1]).astype(int)
    np.testing.assert_allclose(raster.data[band - 1], convert(stored[np.ix_(r, c)]), rtol=1e-6)


def one(source, **where):
    items = list(source.find(EARTH, (STATIC,)))
    (raster,) = source.read(items[:1], utm_box(*centre(items[0]), **where), STATIC)
    return items, raster


def test_jammerbugt_s1_decibel(shared_data):
    folder = shared_data / "colocated/terramesh_dk_jammerbugt"
    source = Local(path=str(folder), pattern="S1RTC.tif", kind="power", bands=["vv", "vh"], decibel=True)
    (item,), raster = one(source)
    assert item.datetime == datetime(2017, 10, 30, 5, 32, 30, tzinfo=UTC)
    assert raster.data.dtype == np.float32
    assert raster.valid.all()
    for band in (1, 2):
        check_against_rasterio(folder / "S1RTC.tif", raster, lambda db: 10 ** (db / 10), band)
    assert source.describe().pitch == 10


def test_jammerbugt_s2_reflectance(shared_data):
    path = shared_data / "colocated/terramesh_dk_jammerbugt/S2L2A.tif"
    source = Local(path=str(path), kind="reflectance", scale=1e-4, offset=-0.1, bands={"b2": 2, "b8": 8})
    _, raster = one(source)
    assert raster.data.shape[0] == 2
    with rasterio.open(path) as file:
        stored = file.read((2, 8))
    assert np.isin(np.round((raster.data.astype(float) + 0.1) * 1e4).astype(int), stored).all()


def test_jammerbugt_dem_and_land_cover_differ_by_float_noise_only(shared_data):
    folder = shared_data / "colocated/terramesh_dk_jammerbugt"
    dem, height = one(Local(path=str(folder / "DEM.tif"), kind="continuous", unit="m", bands=["height"]))
    _, cover = one(Local(path=str(folder / "LULC.tif"), legend={2: "trees", 4: "crops", 5: "built", 9: "rangeland"}))
    assert height.data.dtype == np.int16
    assert cover.data.dtype == np.uint8
    assert dem[0].datetime is None
    np.testing.assert_allclose(height.geobox.transform[:6], cover.geobox.transform[:6], atol=1e-6)
    check_against_rasterio(folder / "DEM.tif", height, lambda dn: dn)


def test_alicante_in_degrees(shared_data):
    folder = shared_data / "colocated/sen1floods11_es_alicante"
    source = Local(path=str(folder / "S1.tif"), kind="power", bands=["VV", "VH"], decibel=True)
    items, raster = one(source)
    assert source.describe().pitch == pytest.approx(10, rel=0.01)
    assert str(raster.geobox.crs) == "EPSG:4326"
    check_against_rasterio(folder / "S1.tif", raster, lambda db: 10 ** (db / 10))
    label = Local(path=str(folder / "LABEL.tif"), legend=["land", "water"], nodata=-1)
    (mask,) = label.read(list(label.find(EARTH, (STATIC,))), utm_box(*centre(items[0]), size=600), STATIC)
    with rasterio.open(folder / "LABEL.tif") as file:
        stored = file.read(1)
    assert mask.data.shape[1:] == stored.shape
    assert (mask.valid[0] == (stored != -1)).all()


@pytest.mark.parametrize(("name", "kind", "pitch"), [
    ("DEM_eudem_v11.tif", "continuous", 231),
    ("LULC_clc2018.tif", "bits", 23),
    ("POP_gpw_v411_count.tif", "amount", 925),
])  # fmt: skip
def test_sao_miguel_at_three_resolutions(shared_data, name, kind, pitch):
    path = shared_data / "colocated/sao_miguel_azores" / name
    source = Local(path=str(path), kind=kind)
    _, raster = one(source, size=400)
    assert source.describe().pitch == pytest.approx(pitch, rel=0.01)
    with rasterio.open(path) as file:
        window = (
            rasterio.windows.from_bounds(*raster.geobox.boundingbox, file.transform).round_offsets().round_lengths()
        )
        expected = file.read(1, window=window, masked=True)
    assert (raster.valid[0] == ~np.ma.getmaskarray(expected)).all()
    assert (raster.data[0][raster.valid[0]] == expected.compressed().astype(raster.data.dtype)).all()


def test_antwerp_time_series_with_scl(shared_data):
    path = shared_data / "colocated/openeo_be_antwerp/s2_l2a_ts.nc"
    source = Local(
        path=str(path), kind="reflectance", scale=1e-4, nodata=65535,
        bands={"b04": "S2-L2A-B04", "b08": "S2-L2A-B08"}, mask={"band": "S2-L2A-SCL", "values": [3, 8, 9, 10]},
    )  # fmt: skip
    assert not source.describe().is_static
    april = parse_slots({"periods": [["2023-04-01", "2023-04-15"]]})
    items = list(source.find(EARTH, april))
    with xr.open_dataset(path, engine="h5netcdf", mask_and_scale=False) as file:
        days = file.t.values.astype("datetime64[D]")
        assert len(items) == (days <= np.datetime64("2023-04-15")).sum()
        for item in items:
            (raster,) = source.read([item], utm_box(*centre(item), size=80), april[0])
            step = int(np.flatnonzero(days == np.datetime64(item.datetime.date()))[0])
            scl = file["S2-L2A-SCL"].values[step]
            red = file["S2-L2A-B04"].values[step].view("uint16")
            seen = red != 65535
            cloud = np.isin(scl, [3, 8, 9, 10])
            assert (raster.masked == (cloud & seen)).all()
            assert (raster.valid[0] == (seen & ~cloud)).all()
            np.testing.assert_allclose(raster.data[0][raster.valid[0]], red[seen & ~cloud] * 1e-4, rtol=1e-6)
        x, y = raster.geobox.transform * (0.5, 0.5)
        assert (x, y) == (float(file.x[0]), float(file.y[0])), "coordinates are centres"


def test_antwerp_backscatter_is_amplitude_in_steps_of_83_db(shared_data):
    path = shared_data / "colocated/openeo_be_antwerp/s1_grd_sigma0_ts.nc"
    source = Local(
        path=str(path), kind="power", amplitude=True, scale=10 ** (-83 / 20), nodata=[0, 65535],
        bands={"vv": "S1-SIGMA0-VV", "vh": "S1-SIGMA0-VH"},
    )  # fmt: skip
    items, raster = one(source, size=80)
    assert len(items) == 10
    with xr.open_dataset(path, engine="h5netcdf", mask_and_scale=False) as file:
        vv = file["S1-SIGMA0-VV"].values[-1].view("uint16").astype(float)
    np.testing.assert_allclose(10 * np.log10(raster.data[0]), 20 * np.log10(vv) - 83, rtol=1e-5, atol=1e-5)
    assert -20 < 10 * np.log10(np.median(raster.data[0])) < -5, "a port and fields, not the Moon"
    assert np.median(raster.data[1]) < np.median(raster.data[0])
    assert source.describe().variables[0].attributes["converted_from"] == "amplitude"


def test_hesbaye_monthly_inputs_and_classified_map(shared_data):
    folder = shared_data / "colocated/worldcereal_be_hesbaye"
    inputs = Local(
        path=str(folder / "preprocessed_inputs.nc"), kind="power", amplitude=True, scale=10 ** (-83 / 20),
        nodata=[0, 65535],
        bands={"vv": "S1-SIGMA0-VV", "vh": "S1-SIGMA0-VH"},
    )  # fmt: skip
    months = parse_slots({"months": [2020, 2021]})
    found = list(inputs.find(EARTH, months))
    assert len(found) == 12
    assert found[0].datetime == datetime(2021, 10, 1, tzinfo=UTC)
    product = Local(
        path=str(folder / "cropland_croptype.tif"), legend=["other", "cropland"],
        bands={"cropland": "cropland_classification"},
    )  # fmt: skip
    _, raster = one(product)
    check_against_rasterio(folder / "cropland_croptype.tif", raster, lambda dn: dn)


def test_opera_bursts_pair_their_polarisations(shared_data):
    folder = shared_data / "s1_grd/opera_rtc_ts"
    source = Local(path=str(folder), kind="power", bands={"vv": "*_VV.tif", "vh": "*_VH.tif"})
    items = list(source.find(EARTH, (STATIC,)))
    assert len(items) == len(list(folder.rglob("*_VV.tif"))) == 18
    assert [i.datetime for i in items] == sorted((i.datetime for i in items), reverse=True)
    assert items[0].datetime == datetime(2025, 1, 2, 1, 59, 6, tzinfo=UTC), "acquired, not processed"
    (raster,) = source.read(items[:1], utm_box(*centre(items[0]), size=60), STATIC)
    check_against_rasterio(folder / items[0].properties["path_vv"], raster, lambda power: power)
    winter = parse_slots({"seasons": 2023})[0]
    assert {i.datetime.strftime("%Y-%m") for i in source.find(EARTH, (winter,))} == {"2022-12", "2023-01"}


def test_worldcover_legend_comes_from_the_file(shared_data):
    path = shared_data / "labels/esa_worldcover_2021_v200_sao_tome.tif"
    source = Local(path=str(path), kind="classes")
    legend = source.describe().variables[0].legend
    assert [c.code for c in legend] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100]
    assert (legend[9].name, legend[9].color) == ("Mangroves", "#00cf75")
    _, raster = one(source, size=448)
    assert raster.data.dtype == np.uint8
    check_against_rasterio(path, raster, lambda dn: dn)


def test_mollweide_population_and_its_footprint(shared_data):
    source = Local(path=str(shared_data / "labels/ghsl"), pattern="*POP*", kind="amount", unit="people")
    (item, _), raster = one(source, size=400)
    to_lonlat = Transformer.from_crs("ESRI:54009", 4326, always_xy=True)
    lon, lat = to_lonlat.transform(511_000 + 21_000, 4_022_000 - 15_000)
    assert item.footprint.contains(box(lon, lat, lon + 1e-3, lat + 1e-3))
    assert str(raster.geobox.crs) == "ESRI:54009"
    assert not raster.valid.all() or (raster.data >= 0).all()


def test_modis_sinusoidal(shared_data):
    path = shared_data / "labels/MODIS_ARRAY_sinusoidal.nc"
    source = Local(path=str(path), kind="continuous", bands={"ndvi": "__xarray_dataarray_variable__"})
    (item,), raster = one(source, size=400)
    with xr.open_dataset(path, engine="h5netcdf", mask_and_scale=False) as file:
        col, row = ~raster.geobox.transform * (float(file.x[100]), float(file.y[100]))
        stored = int(file["__xarray_dataarray_variable__"][100, 100])
    assert (col % 1, row % 1) == (pytest.approx(0.5, abs=1e-4), pytest.approx(0.5, abs=1e-4))
    assert raster.data[0, int(row), int(col)] == stored
    # Sinusoidal by hand: y = R lat, x = R lon cos(lat).
    radius, (lon, lat) = 6_371_007.181, centre(item)
    x, y = radius * np.radians(lon) * np.cos(np.radians(lat)), radius * np.radians(lat)
    grid = raster.geobox.boundingbox
    assert grid.left < x < grid.right
    assert grid.bottom < y < grid.top


def test_compound_crs_keeps_its_vertical_datum_as_an_attribute(shared_data):
    source = Local(path=str(shared_data / "dem/Rome-30m-DEM.tif"), kind="continuous", unit="m", bands=["height"])
    _, raster = one(source)
    assert raster.geobox.crs == CRS(4326)
    assert source.describe().variables[0].attributes["vertical_datum"] == "EGM96 height"


def test_pixel_is_point_is_not_shifted_twice(shared_data):
    path = shared_data / "dem/los_angeles_glo30_geoid.tif"
    with rasterio.open(path) as file:
        assert file.tags()["AREA_OR_POINT"] == "Point"
    _, raster = one(Local(path=str(path), kind="continuous", unit="m"))
    lon, lat = raster.geobox.transform * (0.5, 0.5)
    # GLO-30 has its pixel centres on whole arc seconds.
    assert abs(lon * 3600 - round(lon * 3600)) < 1e-3
    assert abs(lat * 3600 - round(lat * 3600)) < 1e-3


def test_jp2_band_declares_dear_blocks(shared_data):
    source = Local(path=str(shared_data / "s2"), pattern="*B01.jp2", kind="reflectance", scale=1e-4, bands=["b01"])
    (item,), raster = one(source, pitch=60.0)
    assert source.describe().dear_blocks
    assert item.datetime == datetime(2018, 1, 1, 10, 54, 41, tzinfo=UTC)
    (path,) = (shared_data / "s2").rglob("*B01.jp2")
    check_against_rasterio(path, raster, lambda dn: dn * 1e-4)


def test_overlapping_dem_tiles_are_items_in_order_of_name(shared_data):
    source = Local(path=str(shared_data / "dem/los_angeles_tiles"), kind="continuous", unit="m")
    items = list(source.find(EARTH, (STATIC,)))
    assert [i.id for i in items] == [f"los_angeles_tile_{k}.tif" for k in range(4)]

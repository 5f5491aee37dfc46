"""Folders made here, with known pixels: what Local finds, where, and with which values."""

import json
import pickle
import threading
from datetime import UTC, datetime

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import STATIC, Slot
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.ports.source import READ_MARGIN, Source
from m3leo_prep.sources.local import Local
from m3leo_prep.sources.local.header import read_header
from m3leo_prep.sources.local.pixels import TileCache, tile_shape

EARTH = shapely.box(-180, -90, 180, 90)
UTM = "EPSG:32632"
ORIGIN = (500_000.0, 5_000_000.0)
NORTH_UP = Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1])
TARGET = GeoBox((20, 20), Affine(10, 0, ORIGIN[0] + 300, 0, -10, ORIGIN[1] - 300), UTM)


def write(path, data, *, crs=UTM, transform=NORTH_UP, names=None, tags=None, **profile):
    """Write a (band, y, x) array as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = data.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=data.dtype,
        crs=crs,
        transform=transform,
        **profile,
    ) as out:
        out.write(data)
        for k, name in enumerate(names or (), 1):
            out.set_band_description(k, name)
        if tags:
            out.update_tags(**tags)
    return path


def ramp(rows=100, cols=100, dtype="float32"):
    """Return an image whose pixel is its row x 1000 + column."""
    return (np.arange(rows)[:, None] * 1000 + np.arange(cols)).astype(dtype)[None]


def only(source, target=TARGET, slot=STATIC, area=EARTH):
    """Return the one raster of the one item."""
    (item,) = source.find(area, (slot,))
    (raster,) = source.read([item], target, slot)
    return raster


def at(raster, x, y, band=0):
    """Return the pixel at a place in the raster's CRS."""
    col, row = ~raster.geobox.transform * (x, y)
    return raster.data[band, int(np.floor(row)), int(np.floor(col))]


class TestFolder:
    def test_it_is_a_source_that_pickles_and_touches_no_disk_when_made(self, tmp_path):
        source = Local(path=str(tmp_path / "not yet"), kind="continuous")
        assert isinstance(source, Source)
        assert pickle.loads(pickle.dumps(source)) == source

    def test_window_has_the_margin_and_every_pixel_is_in_its_place(self, tmp_path):
        write(tmp_path / "a.tif", ramp())
        raster = only(Local(path=str(tmp_path), kind="continuous"))
        inner = raster.geobox.boundingbox
        assert inner.left <= 500_300 - 10 * READ_MARGIN
        assert inner.right >= 500_500 + 10 * READ_MARGIN
        assert max(raster.data.shape[1:]) <= 20 + 4 * READ_MARGIN, "no more than is needed"
        assert at(raster, 500_305, 4_999_695) == 30 * 1000 + 30
        assert raster.valid.all()

    def test_margin_is_the_targets_where_its_pixels_are_coarser(self, tmp_path):
        write(tmp_path / "a.tif", ramp(400, 400))
        target = GeoBox((4, 4), Affine(80, 0, 501_600, 0, -80, 4_998_400), UTM)
        box = only(Local(path=str(tmp_path), kind="continuous"), target).geobox.boundingbox
        assert box.left <= 501_600 - 80 * READ_MARGIN
        assert box.top >= 4_998_400 + 80 * READ_MARGIN

    def test_an_item_beside_the_target_yields_nothing(self, tmp_path):
        write(tmp_path / "a.tif", ramp())
        source = Local(path=str(tmp_path), kind="continuous")
        items = list(source.find(EARTH, (STATIC,)))
        beside = GeoBox((20, 20), Affine(10, 0, ORIGIN[0] + 1000, 0, -10, ORIGIN[1]), UTM)
        assert list(source.read(items, beside, STATIC)) == []
        touching = GeoBox((20, 20), Affine(10, 0, ORIGIN[0] + 990, 0, -10, ORIGIN[1]), UTM)
        assert len(list(source.read(items, touching, STATIC))) == 1

    def test_order_is_newest_first_then_by_name_and_slots_choose(self, tmp_path):
        for name in ("x/20200105.tif", "b_20200107T101112.tif", "a_2020-01-07T101112.tif", "c_20210101.tif"):
            write(tmp_path / name, ramp(8, 8))
        source = Local(path=str(tmp_path), kind="continuous")
        january = parse_slots({"months": 2020})[0]
        found = list(source.find(EARTH, (january,)))
        assert [i.id for i in found] == ["a_2020-01-07T101112.tif", "b_20200107T101112.tif", "x/20200105.tif"]
        assert found[0].datetime == datetime(2020, 1, 7, 10, 11, 12, tzinfo=UTC)

    def test_footprint_decides_exactly_what_the_area_meets(self, tmp_path):
        write(tmp_path / "a.tif", ramp())
        source = Local(path=str(tmp_path), kind="continuous")
        to_lonlat = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True)
        inside = shapely.Point(to_lonlat.transform(ORIGIN[0] + 999, ORIGIN[1] - 500)).buffer(1e-7)
        outside = shapely.Point(to_lonlat.transform(ORIGIN[0] + 1001, ORIGIN[1] - 500)).buffer(1e-7)
        assert len(list(source.find(inside, (STATIC,)))) == 1
        assert len(list(source.find(outside, (STATIC,)))) == 0

    def test_version_changes_with_the_file_and_a_stale_item_is_refused(self, tmp_path):
        path = write(tmp_path / "a.tif", ramp())
        source = Local(path=str(tmp_path), kind="continuous")
        (before,) = source.find(EARTH, (STATIC,))
        write(path, ramp() + 1)
        (after,) = source.find(EARTH, (STATIC,))
        assert before.version != after.version
        assert at(next(iter(source.read([after], TARGET, STATIC))), 500_305, 4_999_695) == 30_031
        with pytest.raises(Exception, match=r"'a.tif' has changed since the plan[\s\S]*--refresh"):
            list(source.read([before], TARGET, STATIC))

    def test_ids_and_paths_do_not_depend_on_where_the_folder_is(self, tmp_path):
        for folder in ("one", "two"):
            write(tmp_path / folder / "a.tif", ramp(8, 8))
        one, two = (
            next(Local(path=str(tmp_path / f), kind="continuous").find(EARTH, (STATIC,))) for f in ("one", "two")
        )
        assert (one.id, one.properties) == (two.id, two.properties)

    def test_glob_and_file_paths(self, tmp_path):
        write(tmp_path / "x" / "s1.tif", ramp(8, 8))
        write(tmp_path / "y" / "s1.tif", ramp(8, 8))
        glob = Local(path=str(tmp_path / "*" / "s1.tif"), kind="continuous")
        assert [i.id for i in glob.find(EARTH, (STATIC,))] == ["x/s1.tif", "y/s1.tif"]
        file = Local(path=str(tmp_path / "x" / "s1.tif"), kind="continuous")
        assert [i.id for i in file.find(EARTH, (STATIC,))] == ["s1.tif"]

    def test_many_threads_get_the_same_pixels_as_one(self, tmp_path):
        data = np.random.default_rng(0).integers(0, 60_000, (3, 600, 600), "uint16")
        write(tmp_path / "a.tif", data, compress="deflate", tiled=True, blockxsize=64, blockysize=64)
        source = Local(path=str(tmp_path), kind="continuous")
        (item,) = source.find(EARTH, (STATIC,))
        wrong = []

        def work(k):
            for j in range(20):
                row, col = (37 * k + 53 * j) % 500, (91 * k + 29 * j) % 500
                box = GeoBox((40, 40), Affine(10, 0, ORIGIN[0] + 10 * col, 0, -10, ORIGIN[1] - 10 * row), UTM)
                (raster,) = source.read([item], box, STATIC)
                c, r = ~raster.geobox.transform * box.transform * (0, 0)
                part = raster.data[:, round(r) : round(r) + 40, round(c) : round(c) + 40]
                wrong.append((part != data[:, row : row + 40, col : col + 40]).any())

        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(wrong) == 160
        assert not any(wrong)


class TestValues:
    @pytest.mark.parametrize(
        ("dtype", "kept"),
        [
            ("uint8", "uint8"),
            ("uint16", "uint16"),
            ("int16", "int16"),
            ("int8", "int16"),
            ("int32", "float32"),
            ("float32", "float32"),
            ("float64", "float32"),
        ],
    )
    def test_native_dtype_is_kept_where_it_can_be(self, tmp_path, dtype, kept):
        write(tmp_path / "a.tif", (ramp(100, 100) % 100).astype(dtype))
        raster = only(Local(path=str(tmp_path), kind="continuous"))
        assert raster.data.dtype == kept
        assert at(raster, 500_305, 4_999_695) == 30

    def test_scale_and_offset_apply_after_the_nodata_test(self, tmp_path):
        data = np.full((1, 100, 100), 2500, "uint16")
        data[0, 30, 30] = 0
        data[0, 31, 31] = 65535
        write(tmp_path / "a.tif", data, nodata=0)
        raster = only(Local(path=str(tmp_path), kind="reflectance", scale=1e-4, offset=-0.1, nodata=[0, 65535]))
        assert raster.data.dtype == np.float32
        assert at(raster, 500_325, 4_999_695) == np.float32(0.15)
        assert (~raster.valid).sum() == 2

    def test_the_files_own_scale_is_used_unless_the_recipe_says_otherwise(self, tmp_path):
        path = write(tmp_path / "a.tif", np.full((1, 100, 100), 7, "int16"))
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (0.5,), (1.0,)
        assert only(Local(path=str(tmp_path), kind="continuous")).data[0, 0, 0] == 4.5
        assert only(Local(path=str(tmp_path), kind="continuous", scale=1, offset=0)).data[0, 0, 0] == 7

    def test_the_recipes_nodata_replaces_the_files(self, tmp_path):
        write(tmp_path / "a.tif", np.zeros((1, 100, 100), "uint8"), nodata=0)
        assert not only(Local(path=str(tmp_path), kind="continuous")).valid.any()
        assert only(Local(path=str(tmp_path), kind="continuous", nodata=255)).valid.all()

    def test_nan_and_infinity_are_never_valid_and_float_nodata_survives_its_decimal_form(self, tmp_path):
        data = np.ones((1, 100, 100), "float32")
        data[0, 30, 30:33] = np.nan, np.inf, np.finfo("float32").min
        write(tmp_path / "a.tif", data, nodata=-3.4028234663852886e38)
        assert (~only(Local(path=str(tmp_path), kind="continuous")).valid).sum() == 3

    def test_decibel_becomes_linear_power_after_masking(self, tmp_path):
        data = np.full((2, 100, 100), -20, "int16")
        data[1] = 10
        data[0, 30, 30] = -9999
        write(tmp_path / "a.tif", data, nodata=-9999)
        source = Local(path=str(tmp_path), kind="power", bands=["vv", "vh"], decibel=True)
        raster = only(source)
        assert at(raster, 500_325, 4_999_695) == np.float32(0.01)
        assert at(raster, 500_325, 4_999_695, band=1) == np.float32(10)
        assert (~raster.valid).sum() == 1
        assert source.describe().variables[0].attributes["converted_from"] == "dB"

    def test_noise_corrected_power_below_zero_is_valid(self, tmp_path):
        write(tmp_path / "a.tif", np.full((1, 100, 100), -0.001, "float32"))
        assert only(Local(path=str(tmp_path), kind="power")).valid.all()

    def test_mask_band_and_alpha_decide_validity(self, tmp_path):
        data = np.full((2, 100, 100), 9, "uint8")
        data[1, 30, 30] = 0
        path = write(tmp_path / "alpha.tif", data, photometric="minisblack", alpha="unspecified")
        with rasterio.open(path, "r+") as file:
            file.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
        raster = only(Local(path=str(path), kind="continuous"))
        assert raster.data.shape[0] == 1
        assert (~raster.valid).sum() == 1
        path = write(tmp_path / "mask.tif", data[:1])
        with rasterio.open(path, "r+") as file:
            file.write_mask(data[1] * 28)
        assert (~only(Local(path=str(path), kind="continuous")).valid).sum() == 1

    def test_overviews_are_never_read(self, tmp_path):
        path = write(tmp_path / "a.tif", ramp(512, 512), tiled=True, blockxsize=128, blockysize=128)
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4])
        coarse = GeoBox((8, 8), Affine(400, 0, ORIGIN[0], 0, -400, ORIGIN[1]), UTM)
        raster = only(Local(path=str(path), kind="continuous"), coarse)
        assert abs(raster.geobox.transform.a) == 10
        assert at(raster, 500_305, 4_999_695) == 30_030


class TestBandsAndScenes:
    def test_names_by_description_number_or_order(self, tmp_path):
        data = np.stack([np.full((100, 100), k, "uint8") for k in (1, 2, 3)])
        write(tmp_path / "named.tif", data, names=["red", "green", "nir"])
        write(tmp_path / "plain.tif", data)

        def values(name, bands):
            source = Local(path=str(tmp_path / name), kind="continuous", bands=bands)
            raster = only(source)
            assert raster.data.shape[0] == len(source.describe().variables[0].bands)
            return raster.data[:, 0, 0].tolist()

        assert values("named.tif", None) == [1, 2, 3]
        assert values("named.tif", ["nir", "red"]) == [3, 1]
        assert values("named.tif", {"a": "NIR", "b": 1}) == [3, 1]
        assert values("plain.tif", ["x", "y", "z"]) == [1, 2, 3]
        assert values("plain.tif", {"z": 3}) == [3]

    def test_unknown_band_lists_near_names(self, tmp_path):
        write(tmp_path / "a.tif", np.zeros((2, 8, 8), "uint8"), names=["green", "nir"])
        with pytest.raises(ConfigError, match=r"a\.tif: no band 'gren'[\s\S]*did you mean 'green'"):
            Local(path=str(tmp_path), kind="continuous", bands=["gren"]).describe()

    def test_bands_in_files_of_their_own_join_by_scene(self, tmp_path):
        for date in ("20200101", "20200113"):
            for band, value in (("VV", 1), ("VH", 2)):
                write(tmp_path / "orbit" / f"S1_{date}_{band}.tif", np.full((1, 100, 100), value, "float32"))
        write(tmp_path / "orbit" / "S1_20200125_VV.tif", np.full((1, 100, 100), 1, "float32"))
        source = Local(path=str(tmp_path), kind="power", bands={"vv": "*_VV.tif", "vh": "*_VH.tif"})
        items = list(source.find(EARTH, (STATIC,)))
        assert [item.id for item in items] == ["orbit/S1_20200125", "orbit/S1_20200113", "orbit/S1_20200101"]
        lone, pair, _ = source.read(items, TARGET, STATIC)
        assert pair.data[:, 0, 0].tolist() == [1, 2]
        assert lone.valid[0].all()
        assert not lone.valid[1].any(), "a band that the scene lacks is missing, not zero"

    def test_bands_on_several_grids_are_refused(self, tmp_path):
        write(tmp_path / "s_B02.tif", ramp())
        write(tmp_path / "s_B05.tif", ramp(50, 50), transform=Affine(20, 0, ORIGIN[0], 0, -20, ORIGIN[1]))
        source = Local(path=str(tmp_path), kind="continuous", bands={"b2": "*_B02.tif", "b5": "*_B05.tif"})
        with pytest.raises(
            ConfigError, match=r"B05\.tif: band b5 lies on another grid \(20 m\)[\s\S]*layer of its own"
        ):
            list(source.find(EARTH, (STATIC,)))

    def test_mask_band_discards_and_is_told_apart_from_nodata(self, tmp_path):
        data = np.full((2, 100, 100), 5, "uint16")
        data[1, 30, 30:33] = 3, 9, 4
        data[0, 30, 31] = 0
        write(tmp_path / "a.tif", data, names=["red", "scl"], nodata=0)
        raster = only(Local(path=str(tmp_path), kind="continuous", mask={"band": "scl", "values": [3, 9]}))
        assert raster.data.shape[0] == 1, "the mask is no band of the layer"
        assert raster.masked.sum() == 1, "what the sensor never saw is not masked"
        assert (~raster.valid).sum() == 2

    def test_coarser_mask_in_its_own_file(self, tmp_path):
        write(tmp_path / "S2_x_10m.tif", np.full((1, 100, 100), 5, "uint16"))
        scl = np.full((1, 50, 50), 4, "uint8")
        scl[0, 20, 20] = 9
        write(tmp_path / "S2_x_SCL.tif", scl, transform=Affine(20, 0, ORIGIN[0], 0, -20, ORIGIN[1]))
        source = Local(path=str(tmp_path), kind="continuous", mask={"file": "*_SCL.tif", "values": [9]})
        (item,) = source.find(EARTH, (STATIC,))
        assert item.id == "S2_x_10m.tif", "a mask is no scene"
        (raster,) = source.read([item], TARGET, STATIC)
        assert raster.masked.sum() == 4
        rows, cols = np.nonzero(raster.masked)
        x, y = raster.geobox.transform * (cols.mean() + 0.5, rows.mean() + 0.5)
        assert (x, y) == (ORIGIN[0] + 20 * 20.5, ORIGIN[1] - 20 * 20.5)

    def test_classes_take_palette_legend_and_remap(self, tmp_path):
        path = write(tmp_path / "a.tif", np.full((1, 100, 100), 255, "uint8"), photometric="palette")
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {10: (0, 100, 0, 255), 255: (1, 2, 3, 255)})
        source = Local(path=str(path), kind="classes", remap={255: 11})
        legend = source.describe().variables[0].legend
        assert [(c.code, c.color) for c in legend] == [(10, "#006400"), (11, "#010203")]
        raster = only(source)
        assert raster.data.dtype == np.uint8
        assert (raster.data == 11).all()
        named = Local(path=str(path), legend={10: "Tree cover", 11: {"name": "Ice", "color": "#ffffff"}})
        assert [(c.code, c.name) for c in named.describe().variables[0].legend] == [(10, "Tree cover"), (11, "Ice")]

    def test_options_survive_json(self):
        given = {"path": "x", "legend": {10: "tree", 20: "ice"}, "remap": {255: 20}}
        source, again = Local(**given), Local(**json.loads(json.dumps(given)))
        assert source._layout == again._layout

    def test_class_codes_in_floats_become_integers_and_fractions_are_refused(self, tmp_path):
        write(tmp_path / "a.tif", np.full((1, 100, 100), 3.0, "float32"))
        assert only(Local(path=str(tmp_path), kind="classes")).data.dtype.kind == "i"
        with pytest.raises(ConfigError, match=r"a\.tif: has no colour table[\s\S]*legend: \{"):
            Local(path=str(tmp_path), kind="classes").describe()
        write(tmp_path / "a.tif", np.full((1, 100, 100), 3.5, "float32"))
        with pytest.raises(ConfigError, match="its values have fractions"):
            only(Local(path=str(tmp_path), kind="classes"))


class TestDates:
    @pytest.mark.parametrize(
        ("name", "date", "expected"),
        [
            ("x_15.06.2020.tif", "%d.%m.%Y", "2020-06-15"),
            ("x_2020166.tif", "%Y%j", "2020-06-14"),
            ("19990101_20200615.tif", r"_(\d{8})\.tif", "2020-06-15"),
            ("v20200101-take2021.tif", r"take(?P<date>\d{4})", "2021-01-01"),
            ("20200615/B04.tif", "", "2020-06-15"),
            ("S2_20201332_20200615T101031.tif", "", "2020-06-15T10:10:31"),
        ],
    )
    def test_from_the_name(self, tmp_path, name, date, expected):
        write(tmp_path / name, ramp(8, 8))
        (item,) = Local(path=str(tmp_path), kind="continuous", date=date).find(EARTH, (STATIC,))
        assert item.datetime == datetime.fromisoformat(expected).replace(tzinfo=UTC)

    def test_acquisition_tag_beats_the_name_and_the_name_beats_the_time_of_writing(self, tmp_path):
        write(tmp_path / "20200615.tif", ramp(8, 8), tags={"TIFFTAG_DATETIME": "2024:01:01 00:00:00"})
        write(tmp_path / "20200616.tif", ramp(8, 8), tags={"datetime": "2019-05-05T01:02:03.123456789"})
        write(tmp_path / "bare.tif", ramp(8, 8), tags={"TIFFTAG_DATETIME": "2018:01:01 06:07:08"})
        found = {i.id: i.datetime for i in Local(path=str(tmp_path), kind="continuous").find(EARTH, (STATIC,))}
        assert found["20200615.tif"] == datetime(2020, 6, 15, tzinfo=UTC)
        assert found["20200616.tif"] == datetime(2019, 5, 5, 1, 2, 3, 123456, tzinfo=UTC)
        assert found["bare.tif"] == datetime(2018, 1, 1, 6, 7, 8, tzinfo=UTC)

    def test_no_date_where_slots_need_one_names_examples(self, tmp_path):
        write(tmp_path / "summer.tif", ramp(8, 8))
        source = Local(path=str(tmp_path), kind="continuous")
        slot = Slot("2020", datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
        with pytest.raises(ConfigError, match=r"1 of 1 scenes have no date, such as summer\.tif[\s\S]*`date: %Y%m%d`"):
            list(source.find(EARTH, (slot,)))
        assert source.describe().is_static


class TestWhereItLies:
    """Grids as they come: each compared with the coordinates that its pixels hold."""

    def test_south_up_is_turned_north_up(self, tmp_path):
        write(tmp_path / "a.tif", ramp(), transform=Affine(10, 0, ORIGIN[0], 0, 10, ORIGIN[1] - 1000))
        raster = only(Local(path=str(tmp_path), kind="continuous"))
        assert raster.geobox.transform.e == -10
        assert at(raster, 500_305, 4_999_695) == (99 - 30) * 1000 + 30

    def test_rotated_pixels_keep_their_affine(self, tmp_path):
        turned = Affine.translation(500_000, 5_000_000) * Affine.rotation(30) * Affine.scale(10, -10)
        write(tmp_path / "a.tif", ramp(200, 200), transform=turned)
        x, y = turned * (100.5, 100.5)
        target = GeoBox((10, 10), Affine(10, 0, x - 50, 0, -10, y + 50), UTM)
        raster = only(Local(path=str(tmp_path), kind="continuous"), target)
        assert at(raster, x, y) == 100_100
        corners = [~raster.geobox.transform * (x + dx, y + dy) for dx in (-90, 90) for dy in (-90, 90)]
        assert all(0 <= c <= raster.data.shape[2] and 0 <= r <= raster.data.shape[1] for c, r in corners)

    def test_pixels_that_are_not_square(self, tmp_path):
        write(tmp_path / "a.tif", ramp(50, 200), transform=Affine(5, 0, ORIGIN[0], 0, -20, ORIGIN[1]))
        source = Local(path=str(tmp_path), kind="continuous")
        assert at(only(source), 500_307, 4_999_695) == 15 * 1000 + 61
        assert source.describe().pitch == 20

    def test_longitudes_of_0_to_360(self, tmp_path):
        write(tmp_path / "a.tif", ramp(180, 360), crs="EPSG:4326", transform=Affine(1, 0, 0, 0, -1, 90))
        source = Local(path=str(tmp_path), kind="continuous")
        (item,) = source.find(shapely.box(-100.5, 10, -100.4, 11), (STATIC,))
        assert item.footprint.bounds == (-180, -90, 180, 90)
        target = GeoBox((10, 10), Affine(0.1, 0, -100.5, 0, -0.1, 10.5), "EPSG:4326")
        (raster,) = source.read([item], target, STATIC)
        assert at(raster, -100.2, 10.2) == 79 * 1000 + 259

    def test_a_scene_across_the_antimeridian_is_split_and_found_on_both_sides(self, tmp_path):
        write(tmp_path / "a.tif", ramp(10, 20), crs="EPSG:4326", transform=Affine(1, 0, 170, 0, -1, 5))
        source = Local(path=str(tmp_path), kind="continuous")
        for west, column in ((178.0, 8), (-178.0, 12)):
            (item,) = source.find(shapely.box(west, 0, west + 1, 1), (STATIC,))
            target = GeoBox((10, 10), Affine(0.1, 0, west, 0, -0.1, 1), "EPSG:4326")
            (raster,) = source.read([item], target, STATIC)
            lon = west if west > 0 else west + 360
            middle = raster.geobox.transform * (raster.data.shape[2] / 2, 0)
            assert at(raster, lon + 0.5 if middle[0] > 0 else lon - 359.5, 0.5) == 4 * 1000 + column
        assert not list(source.find(shapely.box(0, 0, 1, 1), (STATIC,)))

    def test_world_map_gives_both_ends_to_a_target_on_the_antimeridian(self, tmp_path):
        write(tmp_path / "a.tif", ramp(180, 360), crs="EPSG:4326", transform=Affine(1, 0, -180, 0, -1, 90))
        source = Local(path=str(tmp_path), kind="continuous")
        items = list(source.find(EARTH, (STATIC,)))
        east = pyproj.Transformer.from_crs(4326, 32601, always_xy=True).transform(180, 10)[0]
        target = GeoBox((20, 20), Affine(1000, 0, east - 10_000, 0, -1000, 1_110_000), "EPSG:32601")
        rasters = list(source.read(items, target, STATIC))
        assert sorted(float(r.geobox.boundingbox.left // 100) for r in rasters) == [-2.0, 1.0]

    def test_footprint_of_a_polar_raster_holds_the_pole(self, tmp_path):
        write(tmp_path / "a.tif", ramp(20, 20), crs="EPSG:3413", transform=Affine(1e5, 0, -1e6, 0, -1e5, 1e6))
        (item,) = Local(path=str(tmp_path), kind="continuous").find(EARTH, (STATIC,))
        assert item.footprint.contains(shapely.Point(13, 89.9))


class TestCatalogue:
    def make(self, tmp_path, *, shift=0.0):
        write(tmp_path / "data" / "vv.tif", np.full((1, 100, 100), 1, "float32"))
        write(tmp_path / "data" / "vh.tif", np.full((1, 100, 100), 2, "float32"))
        lon, lat = 9.005 + shift, 45.15
        box = shapely.box(lon - 0.01, lat - 0.01, lon + 0.01, lat + 0.01)
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": "pass-1",
            "geometry": shapely.geometry.mapping(box),
            "properties": {
                "datetime": "2020-03-04T05:06:07Z",
                "sat:orbit_state": "ascending",
                "sat:relative_orbit": 15,
                "sat:absolute_orbit": 40000,
            },
            "assets": {
                "vv": {"href": "./data/vv.tif"},
                "vh": {"href": "data/vh.tif"},
                "thumbnail": {"href": "t.png", "roles": ["thumbnail"]},
            },
        }

    bands = {"vv": {"asset": "vv"}, "vh": {"asset": "vh"}}  # noqa: RUF012  a constant of the tests

    def check(self, path):
        source = Local(path=str(path), kind="power", bands=self.bands)
        (item,) = source.find(EARTH, (STATIC,))
        assert item.datetime == datetime(2020, 3, 4, 5, 6, 7, tzinfo=UTC)
        assert item.id == "pass-1"
        (raster,) = source.read([item], TARGET, STATIC)
        assert raster.data[:, 0, 0].tolist() == [1, 2]
        return item

    def test_stac_item_collection_and_features(self, tmp_path):
        stac = self.make(tmp_path)
        (tmp_path / "item.json").write_text(json.dumps(stac))
        item = self.check(tmp_path / "item.json")
        assert item.acquisition == "40000"
        assert item.properties["orbit_direction"] == "ascending"
        assert item.properties["relative_orbit"] == 15
        (tmp_path / "all.json").write_text(json.dumps({"type": "FeatureCollection", "features": [stac]}))
        self.check(tmp_path / "all.json")
        links = [{"rel": "self", "href": "c.json"}, {"rel": "item", "href": "./item.json"}]
        (tmp_path / "c.json").write_text(json.dumps({"type": "Collection", "links": links}))
        self.check(tmp_path / "c.json")

    def test_geoparquet(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        stac = self.make(tmp_path)
        wkb = shapely.to_wkb(shapely.geometry.shape(stac["geometry"]))
        row = {
            "id": stac["id"],
            "geometry": wkb,
            "assets": stac["assets"],
            "datetime": datetime(2020, 3, 4, 5, 6, 7, tzinfo=UTC),
            "sat:orbit_state": "ascending",
        }
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "items.parquet")
        self.check(tmp_path / "items.parquet")

    def test_unknown_asset_remote_file_and_no_catalogue(self, tmp_path):
        stac = self.make(tmp_path)
        path = tmp_path / "item.json"
        path.write_text(json.dumps(stac))
        with pytest.raises(ConfigError, match=r"item 'pass-1': no asset 'VV'[\s\S]*vv"):
            Local(path=str(path), kind="power", bands={"vv": {"asset": "VV"}}).describe()
        stac["assets"]["vv"]["href"] = "https://example.com/vv.tif"
        path.write_text(json.dumps(stac))
        with pytest.raises(ConfigError, match="is not on this machine"):
            Local(path=str(path), kind="power", bands=self.bands).describe()
        path.write_text('{"type": "Nothing"}')
        with pytest.raises(ConfigError, match=r"is no catalogue \(type 'Nothing'\)"):
            Local(path=str(path), kind="power").describe()

    def test_data_that_lie_elsewhere_than_the_catalogue_says_are_refused(self, tmp_path):
        path = tmp_path / "item.json"
        path.write_text(json.dumps(self.make(tmp_path, shift=6.0)))
        with pytest.raises(
            ConfigError, match=r"vv\.tif: the data lie at \(9\.0[\s\S]*the catalogue's footprint at \(14\.99"
        ):
            list(Local(path=str(path), kind="power", bands=self.bands).find(EARTH, (STATIC,)))


class TestTiles:
    def test_the_cache_stays_below_its_limit_and_keeps_the_last_used(self, tmp_path):
        data = np.random.default_rng(0).integers(0, 60_000, (1, 1024, 1024), "uint16")
        path = write(tmp_path / "a.tif", data, tiled=True, blockxsize=256, blockysize=256)
        head, cache = read_header(path), TileCache(limit=3 * 256 * 256 * 2)
        first = cache.get(head, 1, 0, 0, 0)
        for row in range(4):
            for col in range(4):
                assert (cache.get(head, 1, 0, row, col) == data[0, row * 256 :, col * 256 :][:256, :256]).all()
                assert cache.nbytes <= 3 * 256 * 256 * 2
                assert cache.get(head, 1, 0, 0, 0) is first
        with pytest.raises(ValueError, match="read-only"):
            first[0, 0] = 1

    def test_strips_are_grouped_and_declared_dear_where_they_are_wide(self, tmp_path):
        transform = Affine(10, 0, 300_000, 0, -10, 5_000_000)
        data = np.zeros((1, 600, 9000), "uint8")
        strips = write(tmp_path / "strips.tif", data, transform=transform, blockysize=1)
        tiles = write(tmp_path / "tiles.tif", data, transform=transform, tiled=True, blockxsize=256, blockysize=256)
        assert tile_shape(read_header(strips)) == (256, 9000)
        assert Local(path=str(strips), kind="continuous").describe().dear_blocks
        assert not Local(path=str(tiles), kind="continuous").describe().dear_blocks

"""Pixels out of the bucket: what is read, what is asked for, seams, gaps and faults (D20, D33, D72)."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import MultiPolygon, box

from m3leo_prep.core.defaults import default_method, default_statistic
from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.errors import CorruptError, TransientError, TriedOut
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import Absent, Raster, SourceInfo
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.pipeline.derive import derive, in_groups
from m3leo_prep.sources.asf.gssic import pixels
from m3leo_prep.sources.asf.gssic.source import Gssic
from m3leo_prep.testing.earthdata import cut, error, expired
from m3leo_prep.testing.earthdata.files.gssic import FOLDER, write_tile
from tests.sources.asf.gssic.gssic_archive import MEXICO

SUMMER = parse_slots("seasons", year=2020)[2:3]
MEXICO_CHIP = GeoBox((56, 56), Affine(80.0, 0.0, 486_080.0, 0.0, -80.0, 2_154_880.0), "EPSG:32614")
"""A chip of 80 m inside the tile, at 19.46 N, 99.1 W."""
COHERENCE = {"coherence": ["coh12"]}


def chip(lon, lat, epsg, size=56):
    """Return a target of 80 m around a point."""
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    corner = Affine(80.0, 0.0, x // 80 * 80 - 40 * size, 0.0, -80.0, y // 80 * 80 + 40 * size)
    return GeoBox((size, size), corner, f"EPSG:{epsg}")


def outline(geobox):
    """Return a lon/lat box around a target, split at the antimeridian."""
    ends = geobox.boundingbox
    x, y = Transformer.from_crs(geobox.crs, 4326, always_xy=True).transform(
        [ends.left, ends.left, ends.right, ends.right], [ends.bottom, ends.top] * 2
    )
    if max(x) - min(x) < 180:
        return box(min(x), min(y), max(x), max(y))
    east, west = min(one for one in x if one > 0), max(one for one in x if one < 0)
    return MultiPolygon([box(east, min(y), 180, max(y)), box(-180, min(y), west, max(y))])


def find(source, geobox):
    return list(source.find(outline(geobox), SUMMER))


def read(source, geobox, items=None):
    """Return rasters by variable, and what is absent, of the first item."""
    given = list(source.read(find(source, geobox) if items is None else items, geobox, SUMMER[0]))
    return {one.variable: one for one in given if isinstance(one, Raster)}, [
        (one.variable, one.bands, one.reason) for one in given if isinstance(one, Absent)
    ]


def asked(earthdata, route="bucket"):
    return [one for one in earthdata.requests if one.route == route]


def one_file(earthdata, numbers, name="summer_vv_COH12", tile=MEXICO, **options):
    return write_tile(earthdata.bucket, f"{tile}_{name}", numbers, **options)


def noise(seed=0):
    return np.random.default_rng(seed).integers(1, 101, (1200, 1200), np.uint8)


def test_values_lie_where_the_archive_has_them(earthdata, mexico):
    rasters, absent = read(Gssic(variables={"coherence": ["coh24", "coh12"], "backscatter": ["vv"]}), MEXICO_CHIP)
    assert absent == []
    found = rasters["coherence"]
    west, north = found.geobox.transform.c, found.geobox.transform.f
    row, col = round((20 - north) * 1200), round((west + 100) * 1200)
    rows, cols = found.geobox.shape
    assert abs(20 - north - row / 1200) < 1e-12
    for k, name in enumerate(("vv_COH24", "vv_COH12")):
        part = mexico[name][row : row + rows, col : col + cols]
        np.testing.assert_array_equal(found.valid[k], part > 0)
        np.testing.assert_allclose(found.data[k][part > 0], part[part > 0] / 100, rtol=1e-6)
    assert 0 < found.valid.mean() < 1
    part = mexico["vv_AMP"][row : row + rows, col : col + cols].astype(np.float64)
    power = rasters["backscatter"]
    np.testing.assert_allclose(power.data[0][power.valid[0]], (part**2 / 199526231)[part > 0], rtol=1e-6)


def test_a_window_costs_its_rows_and_a_header_and_a_second_one_nothing(earthdata):
    path = one_file(earthdata, noise())
    source = Gssic(variables=COHERENCE)
    items = find(source, MEXICO_CHIP)
    read(source, MEXICO_CHIP, items)
    requests = asked(earthdata)
    assert len(requests) == 2
    assert all(one.range for one in requests)
    assert sum(one.bytes for one in requests) < 0.3 * path.stat().st_size
    read(source, MEXICO_CHIP, items)
    assert len(asked(earthdata)) == 2


def test_the_whole_file_is_fetched_once_when_that_is_cheaper(earthdata):
    path = one_file(earthdata, noise())
    source = Gssic(variables=COHERENCE)
    chips = [chip(-99.5, 19.05 + 0.1 * n, 32614, 28) for n in range(9)]
    items = find(source, chips[0])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda geobox: read(source, geobox, items), chips))
    requests = asked(earthdata)
    assert sum(one.bytes for one in requests) <= 1.5 * path.stat().st_size
    assert [one.range for one in requests].count("") == 1
    assert len(list((path.parents[0]).glob("*"))) == 1
    before = len(requests)
    for geobox in chips:
        read(source, geobox, items)
    assert len(asked(earthdata)) == before


@pytest.mark.parametrize("options", [{"tiled": True}, {"compress": "deflate", "predictor": 2}, {"SPARSE_OK": "TRUE"}])
def test_other_layouts_give_the_same_pixels(earthdata, options):
    numbers = noise(3)
    numbers[:300] = 0
    one_file(earthdata, numbers)
    expected, _ = read(Gssic(variables=COHERENCE), MEXICO_CHIP)
    one_file(earthdata, numbers, **options)
    found, _ = read(Gssic(variables=COHERENCE), MEXICO_CHIP)
    np.testing.assert_array_equal(found["coherence"].data, expected["coherence"].data)
    np.testing.assert_array_equal(found["coherence"].valid, expected["coherence"].valid)


def test_a_file_whose_header_was_forgotten_is_read_the_same(earthdata):
    """Its blocks, and with them the rows that are kept together, are not the archive's: 256 for 120."""
    numbers = noise(4)
    one_file(earthdata, numbers, tiled=True)
    source = Gssic(variables=COHERENCE)
    south, north = chip(-99.5, 19.68, 32614, 28), chip(-99.5, 19.85, 32614, 28)
    items = find(source, south)
    read(source, south, items)
    pixels._files.clear()
    found = read(source, north, items)[0]["coherence"]
    row, col = round((20 - found.geobox.transform.f) * 1200), round((found.geobox.transform.c + 100) * 1200)
    rows, cols = found.geobox.shape
    np.testing.assert_allclose(found.data[0], numbers[row : row + rows, col : col + cols] / 100, rtol=1e-6)


def test_what_a_tile_lacks_is_said_and_the_rest_is_there(earthdata, mexico):
    source = Gssic(variables={"coherence": ["coh12", "coh48"], "backscatter": ["hh", "hv"], "decay": ["rho"]})
    rasters, absent = read(source, MEXICO_CHIP)
    assert absent == [
        ("coherence", ("coh48",), Reason.BAND_NOT_IN_PRODUCT),
        ("backscatter", ("hh", "hv"), Reason.BAND_NOT_IN_PRODUCT),
    ]
    assert set(rasters) == {"coherence", "decay"}
    assert rasters["coherence"].valid[0].any()
    assert not rasters["coherence"].valid[1].any()


def layer_of(info: SourceInfo) -> Layer:
    arrays = tuple(
        Array(
            one,
            default_encoding(one),
            default_method(one.kind, info.pitch, 80),
            default_statistic(one.kind, is_static=False),
            1,
        )
        for one in info.variables
    )
    return Layer("gssic", "input", 80.0, 56, SUMMER, arrays, 64, 1, 1)


class Whole:
    """A source of one raster, without seams."""

    def __init__(self, raster, info):
        self.raster, self.info = raster, info

    def describe(self):
        return self.info

    def read(self, items, geobox, slot):
        yield self.raster


def without_seams(mosaic, north, west, items, info):
    """Return a source that holds some tiles as one raster."""
    rows, cols = mosaic.shape
    geobox = GeoBox((rows, cols), Affine(1 / 1200, 0, west, 0, -1 / 1200, north), "EPSG:4326")
    data = (mosaic[None] / 100).astype(np.float32)
    return Whole(Raster(data, mosaic[None] > 0, geobox, items[0], "coherence"), info)


@pytest.mark.parametrize(
    ("north", "west", "names", "epsg"),
    [
        (20, -100, ("N20W100", "N20W099", "N19W100", "N19W099"), 32614),
        (1, -1, ("N01W001", "N01E000", "N00W001", "N00E000"), 32631),
        (0, 35, ("N00E035", "N00E036", "S01E035", "S01E036"), 32736),
        (-16, 179, ("S16E179", "S16W180", "S17E179", "S17W180"), 32760),
    ],
)
def test_four_tiles_are_one_picture(earthdata, north, west, names, epsg):
    mosaic = np.random.default_rng(1).integers(1, 101, (2400, 2400), np.uint8)
    mosaic[1190:1230, 1150:1180] = 0
    for k, name in enumerate(names):
        one_file(earthdata, mosaic[k // 2 * 1200 :, k % 2 * 1200 :][:1200, :1200], tile=name)
    source = Gssic(variables=COHERENCE)
    geobox = chip(west + 1, north - 1, epsg, 112)
    items = in_groups(find(source, geobox))
    assert {item.properties["tile"] for item in items} == set(names)
    layer = layer_of(source.describe())
    found = derive(source, layer, items, geobox, SUMMER[0]).looks["coherence"]
    meant = derive(
        without_seams(mosaic, north, west, items, source.describe()),
        layer,
        items[:1],
        geobox,
        SUMMER[0],
        tells_chips=False,
    ).looks["coherence"]
    np.testing.assert_array_equal(found.valid, meant.valid)
    np.testing.assert_array_equal(found.values[found.valid], meant.values[meant.valid])
    assert 0.8 < found.valid.mean() < 1


def test_a_pixel_is_the_same_from_both_sides_of_the_antimeridian(earthdata):
    for name, seed in (("S16E179", 1), ("S16W180", 2)):
        one_file(earthdata, noise(seed), tile=name)
    source = Gssic(variables=COHERENCE)
    layer, whole = layer_of(source.describe()), chip(180, -16.5, 32760, 112)
    items = in_groups(find(source, whole))
    assert len(items) == 2

    def made(geobox):
        return derive(source, layer, items, geobox, SUMMER[0]).looks["coherence"].values

    left, right = whole[:, :56], whole[:, 56:]
    np.testing.assert_array_equal(np.concatenate([made(left), made(right)], axis=2), made(whole))


def test_elsewhere_there_is_nothing(earthdata):
    one_file(earthdata, noise())
    source = Gssic(variables=COHERENCE)
    items = find(source, MEXICO_CHIP)
    for away in (chip(80.5, -19.5, 32744), chip(-97.5, 19.5, 32614), chip(-99.5, 21.5, 32614)):
        assert read(source, away, items) == ({}, [])
    assert asked(earthdata) == []


@pytest.mark.parametrize("fault", [error(503), error(429), cut(3000)])
def test_what_passes_is_repeated(earthdata, fault):
    numbers = noise(9)
    one_file(earthdata, numbers)
    expected, _ = read(Gssic(variables=COHERENCE), MEXICO_CHIP)
    one_file(earthdata, numbers)  # written later: nothing of it is known yet
    source = Gssic(variables=COHERENCE)
    items = find(source, MEXICO_CHIP)
    earthdata.faults(fault, "bucket")
    found, _ = read(source, MEXICO_CHIP, items)
    np.testing.assert_array_equal(found["coherence"].data, expected["coherence"].data)


def test_a_file_that_is_gone_is_no_failure(earthdata):
    path = one_file(earthdata, noise())
    one_file(earthdata, noise(1), "summer_vv_COH24")
    source = Gssic(variables={"coherence": ["coh12", "coh24"]})
    items = find(source, MEXICO_CHIP)
    path.unlink()
    earthdata.faults(expired(), "bucket", times=None, when=lambda one: one.path.endswith("COH12.tif"))
    rasters, absent = read(source, MEXICO_CHIP, items)
    assert absent == [("coherence", ("coh12",), Reason.NOT_IN_DATASET)]
    assert rasters["coherence"].valid[1].all()


def test_a_file_that_is_refused_and_still_listed_may_come_later(earthdata):
    one_file(earthdata, noise())
    source = Gssic(variables=COHERENCE)
    items = find(source, MEXICO_CHIP)
    earthdata.faults(expired(), "bucket", times=None)
    with pytest.raises(TransientError, match="lists this file, and refuses it"):
        read(source, MEXICO_CHIP, items)
    earthdata.faults.clear()
    assert read(source, MEXICO_CHIP, items)[0]["coherence"].valid.all()


def test_a_list_that_names_what_is_not_there_is_told(earthdata, tmp_path):
    table = tmp_path / "files.csv"
    table.write_text(f"FILENAME\n{MEXICO}_summer_vv_COH12.tif\n")
    earthdata.lists = False
    source = Gssic(variables=COHERENCE, tile_list=str(table))
    with pytest.raises(TransientError, match=r"leave it out of .*files.csv"):
        read(source, MEXICO_CHIP)
    one_file(earthdata, noise())
    assert read(source, MEXICO_CHIP)[0]["coherence"].valid.all()


def test_another_file_than_was_listed_is_not_mixed_in(earthdata):
    one_file(earthdata, noise())
    source = Gssic(variables=COHERENCE)
    items = find(source, MEXICO_CHIP)
    one_file(earthdata, noise() // 2 + 1)
    with pytest.raises(TransientError, match="--refresh"):
        read(source, MEXICO_CHIP, items)


def test_damage_is_final_and_only_where_it_is(earthdata):
    path = one_file(earthdata, noise(5))
    one_file(earthdata, noise(6), "summer_vv_COH24")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 30_000] = bytes(30_000)
    path.write_bytes(data)
    source = Gssic(variables={"coherence": ["coh12", "coh24"]})
    hit, away = chip(-99.5, 19.5, 32614), chip(-99.5, 19.9, 32614)
    items = find(source, hit)
    given = []
    with pytest.raises(CorruptError, match=r"COH12\.tif: is damaged: rows"):
        given.extend(source.read(items, hit, SUMMER[0]))
    assert given[0].valid.any(axis=(1, 2)).tolist() == [False, True]
    assert read(source, away, items)[0]["coherence"].valid.all()


def test_no_answer_is_told_in_plain_words(earthdata, monkeypatch):
    one_file(earthdata, noise())
    source = Gssic(variables=COHERENCE)
    items = find(source, MEXICO_CHIP)
    earthdata.faults(error(400), "bucket", times=None)
    with pytest.raises(TriedOut, match=r"s3://.*COH12\.tif: the bucket answers 400"):
        read(source, MEXICO_CHIP, items)


def test_a_source_travels_to_other_processes(earthdata):
    one_file(earthdata, noise())
    source = Gssic(variables=COHERENCE, polarisation="vv")
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert read(copy, MEXICO_CHIP)[0]["coherence"].valid.all()


def test_files_are_named_as_they_are(earthdata):
    path = one_file(earthdata, noise())
    assert path.relative_to(earthdata.bucket).as_posix() == f"{FOLDER}/{MEXICO}/{MEXICO}_summer_vv_COH12.tif"

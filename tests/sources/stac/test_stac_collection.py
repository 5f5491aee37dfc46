"""Any collection, read as a recipe says: bands, numbers that items and files declare, masks, classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError, CorruptError, SourceError
from m3leo_prep.core.raster import STATIC, Absent, Kind, Raster
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.local.outline import footprint
from m3leo_prep.sources.remote.access import Access, Keys
from m3leo_prep.sources.stac import Stac, collection
from m3leo_prep.testing.source_rules import Case
from tests.sources.rules import keep_all
from tests.sources.stac.rasters import CHIP, SCENE, ZONE, at, ramp, write
from tests.sources.stac.stac_server import item

OUTLINE = footprint(SCENE)
BANDS = {"bands": {"height": "dem"}, "kind": "continuous", "unit": "m"}


def catalogue_of(folder, *items):
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    return str(path)


def asset(path, **more):
    return {"href": str(path), **more}


def read(source, chip=CHIP, slots=(STATIC,)):
    return [one for found in source.find(OUTLINE, slots) for one in source.read([found], chip, slots[0])]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return a catalogue of two dates of two bands of float32."""
    folder = tmp_path_factory.mktemp("two")
    for k in range(2):
        write(folder / f"red{k}.tif", ramp() + k, nodata=-1)
        write(folder / f"nir{k}.tif", ramp() * 2, nodata=-1)
    rows = [
        item(
            f"s{k}", OUTLINE, f"2020-06-{10 + k}T10:00:00Z", assets={n: asset(f"{n}{k}.tif") for n in ("red", "nir")},
            **{"sat:relative_orbit": 15, "sat:orbit_state": "ascending", "platform": "x"},
        )
        for k in range(2)
    ]  # fmt: skip
    return catalogue_of(folder, *rows)


def test_it_keeps_the_rules_of_every_source(two):
    source = Stac(catalogue=two, bands=["red", "nir"], kind="continuous")
    june = parse_slots({"periods": [["2020-06-01", "2020-07-31"]]})
    keep_all(Case(source, box(9.09, 49.46, 9.13, 49.49), june, CHIP))


def test_bands_are_read_where_they_are_newest_first(two):
    source = Stac(catalogue=two, bands={"b": "red", "c": {"asset": "nir", "band": 1}}, kind="continuous", pitch=10)
    june = parse_slots({"periods": [["2020-06-01", "2020-06-30"]]})
    found = list(source.find(OUTLINE, june))
    assert [one.id for one in found] == ["s1", "s0"]
    assert found[0].properties["relative_orbit"] == 15
    assert not list(source.find(OUTLINE, parse_slots({"periods": [["2021-06-01", "2021-06-30"]]})))
    first = read(source, slots=june)[0]
    np.testing.assert_array_equal(first.data[0], at(ramp() + 1, first))
    np.testing.assert_array_equal(first.data[1], at(ramp() * 2, first))
    assert first.valid.all()
    cost = source.estimate([CHIP], june, found)
    assert cost.requests > 4
    assert cost.bytes >= 2 * 2 * 64 * 64 * 4


def test_numbers_as_the_item_or_the_file_or_the_recipe_says(tmp_path):
    stored = (ramp() % 60_000).astype(np.uint16)
    stored[200] = 0
    path = write(tmp_path / "a.tif", stored)
    said = {"raster:bands": [{"scale": 0.5, "offset": -10, "nodata": 0}]}
    by_item = Stac(catalogue=catalogue_of(tmp_path, item("a", OUTLINE, assets={"dem": asset(path, **said)})), **BANDS)
    (raster,) = read(by_item)
    expected = at(stored, raster)
    np.testing.assert_allclose(raster.data[0][raster.valid[0]], expected[expected > 0] * 0.5 - 10)
    np.testing.assert_array_equal(raster.valid[0], expected > 0)
    new = {"bands": [{"name": "dem", "raster:scale": 0.5, "raster:offset": -10, "nodata": 0}]}
    newer = Stac(catalogue=catalogue_of(tmp_path, item("a", OUTLINE, assets={"dem": asset(path, **new)})), **BANDS)
    np.testing.assert_array_equal(read(newer)[0].data, raster.data)
    by_recipe = Stac(catalogue=by_item.catalogue, **BANDS, scale=2, offset=0, nodata=[1])
    (other,) = read(by_recipe)
    np.testing.assert_allclose(other.data[0][expected != 1], expected[expected != 1] * 2.0)
    assert by_recipe.describe().variables[0].attributes["source_scale"] == 2


def test_an_item_that_contradicts_its_file_is_damaged_unless_the_recipe_decides(tmp_path):
    path = write(tmp_path / "a.tif", ramp(dtype=np.uint16), scale=0.1, offset=0)
    said = {"raster:bands": [{"scale": 0.5}]}
    where = catalogue_of(tmp_path, item("a", OUTLINE, assets={"dem": asset(path, **said)}))
    with pytest.raises(CorruptError, match=r"the file says scale 0\.1, the catalogue 0\.5"):
        read(Stac(catalogue=where, **BANDS))
    assert read(Stac(catalogue=where, **BANDS, scale=0.1))


def test_a_number_that_was_rounded_to_float32_is_the_same(tmp_path):
    path = write(tmp_path / "a.tif", ramp(dtype=np.uint16), scale=float(np.float32(0.0001)), offset=0)
    said = {"raster:bands": [{"scale": 0.0001}]}
    (raster,) = read(
        Stac(catalogue=catalogue_of(tmp_path, item("a", OUTLINE, assets={"dem": asset(path, **said)})), **BANDS)
    )
    np.testing.assert_allclose(raster.data[0], at(ramp(dtype=np.uint16), raster) * 1e-4, rtol=1e-6)


@pytest.mark.parametrize("south_up", [False, True])
def test_where_a_file_masks_itself_there_are_no_data(tmp_path, south_up):
    """By a mask inside, or a band of alpha; beside what it declares as no data."""
    seen = np.add.outer(np.arange(400), np.arange(500)) % 11 > 4
    stored = (ramp() % 250).astype(np.uint8)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        inside = write(tmp_path / "a.tif", stored, nodata=7, south_up=south_up)
        with rasterio.open(inside, "r+") as file:
            file.write_mask(seen[::-1] if south_up else seen)
    beside = write(
        tmp_path / "b.tif", np.stack([stored, stored, stored, 200 * seen.astype(np.uint8)]), south_up=south_up
    )
    assert rasterio.open(beside).colorinterp[3].name == "alpha"
    where = catalogue_of(tmp_path, item("a", OUTLINE, assets={"in": asset(inside), "by": asset(beside)}))
    for key in ({"asset": "in"}, {"asset": "by", "band": 2}):
        (raster,) = read(Stac(catalogue=where, bands={"x": key}, kind="continuous"))
        there = at(seen, raster) & ((at(stored, raster) != 7) | (key["asset"] == "by"))
        assert 0.3 < there.mean() < 0.7
        np.testing.assert_array_equal(raster.valid[0], there)
        np.testing.assert_array_equal(raster.data[0][there], at(stored, raster)[there])
    grey = write(tmp_path / "c.tif", np.stack([stored, 200 * seen.astype(np.uint8)]), alpha="YES")
    only = catalogue_of(tmp_path, item("a", OUTLINE, assets={"grey": asset(grey)}))
    (raster,) = read(Stac(catalogue=only, bands=["grey"], kind="continuous"))
    np.testing.assert_array_equal(raster.valid[0], at(seen, raster))
    # Asked for, it is a band as any other: infrared is often marked so.
    where = catalogue_of(tmp_path, item("a", OUTLINE, assets={"by": asset(beside)}))
    both = {"red": {"asset": "by", "band": 1}, "nir": {"asset": "by", "band": 4}}
    (raster,) = read(Stac(catalogue=where, bands=both, kind="continuous"))
    assert raster.valid.all()
    np.testing.assert_array_equal(raster.data[1], at(200 * seen, raster))


def test_a_file_that_counts_longitudes_from_0_to_360(tmp_path):
    grid = GeoBox((300, 300), Affine(0.0001, 0, 350.49, 0, -0.0001, 49.52), "EPSG:4326")
    path = write(tmp_path / "a.tif", ramp(grid), grid)
    chip = GeoBox((64, 64), Affine(10, 0, 463_500, 0, -10, 5_484_200), "EPSG:32629")
    around = box(-9.51, 49.49, -9.48, 49.52)
    source = Stac(catalogue=catalogue_of(tmp_path, item("a", around, assets={"dem": asset(path)})), **BANDS)
    (found,) = source.find(around, [STATIC])
    (raster,) = source.read([found], chip, STATIC)
    col, row = ~grid.transform * (raster.geobox.transform * (0, 0))
    row, col = round(row), round(col + 360 / 0.0001)
    rows, cols = raster.geobox.shape
    np.testing.assert_array_equal(raster.data[0], ramp(grid)[row : row + rows, col : col + cols])


def test_a_file_of_several_bands_and_one_that_is_south_up(tmp_path):
    both = np.stack([ramp(), ramp() * 3])
    path = write(tmp_path / "a.tif", both, south_up=True)
    where = catalogue_of(tmp_path, item("a", OUTLINE, assets={"all": asset(path)}))
    bands = {"x": {"asset": "all", "band": 2}, "y": {"asset": "all", "band": 1}}
    (raster,) = read(Stac(catalogue=where, bands=bands, kind="continuous"))
    np.testing.assert_array_equal(raster.data[0], at(both[1], raster))
    np.testing.assert_array_equal(raster.data[1], at(both[0], raster))
    with pytest.raises(ConfigError, match="no band '3'"):
        read(Stac(catalogue=where, bands={"x": {"asset": "all", "band": 3}}, kind="continuous"))


def test_classes_and_a_coarser_mask(tmp_path):
    codes = (ramp() % 2).astype(np.uint8)
    cloudy = np.zeros((200, 250), np.uint8)
    cloudy[60:70, 50:90] = 9
    coarse = GeoBox((200, 250), SCENE.transform * SCENE.transform.scale(2), ZONE)
    assets = {"map": asset(write(tmp_path / "m.tif", codes)), "scl": asset(write(tmp_path / "s.tif", cloudy, coarse))}
    where = catalogue_of(tmp_path, item("a", OUTLINE, assets=assets))
    said = {"bands": ["map"], "legend": ["land", "water"], "mask": {"asset": "scl", "values": [8, 9]}}
    source = Stac(catalogue=where, **said)
    assert source.describe().variables[0].kind is Kind.CLASSES
    (raster,) = read(source)
    hidden = at(np.kron(cloudy == 9, np.ones((2, 2), bool)), raster)
    assert hidden.any()
    np.testing.assert_array_equal(raster.masked, hidden)
    np.testing.assert_array_equal(raster.valid[0], ~hidden)
    np.testing.assert_array_equal(raster.data[0], at(codes, raster))
    with pytest.raises(ConfigError, match="class codes that the legend lacks: 1"):
        read(Stac(catalogue=where, bands=["map"], legend=["land"]))


def test_a_band_that_an_item_lacks_is_told(tmp_path):
    a, b = write(tmp_path / "a.tif", ramp()), write(tmp_path / "b.tif", ramp())
    rows = [item("both", OUTLINE, assets={"a": asset(a), "b": asset(b)}), item("one", OUTLINE, assets={"a": asset(a)})]
    source = Stac(catalogue=catalogue_of(tmp_path, *rows), bands=["a", "b"], kind="continuous")
    came = read(source)
    assert [type(one) for one in came] == [Raster, Absent, Raster]
    assert (came[1].bands, came[1].reason) == (("b",), Reason.BAND_NOT_IN_PRODUCT)
    assert came[2].valid[0].all()
    assert not came[2].valid[1].any()
    with pytest.raises(ConfigError, match="none of 2 items has an asset 'c'"):
        read(Stac(catalogue=source.catalogue, bands=["c"], kind="continuous"))


def test_files_that_do_not_lie_where_the_catalogue_says(tmp_path):
    path = write(tmp_path / "a.tif", ramp())
    far = item("far", box(20, 10, 21, 11), assets={"dem": asset(path)})
    source = Stac(catalogue=catalogue_of(tmp_path, far), **BANDS)
    (found,) = source.find(box(20, 10, 21, 11), [STATIC])
    with pytest.raises(CorruptError, match=r"do not lie where the catalogue says.*its CRS is wrong"):
        list(source.read([found], CHIP, STATIC))
    (tmp_path / "a.tif").write_bytes(path.read_bytes()[:4000])
    near = Stac(catalogue=catalogue_of(tmp_path, item("a", OUTLINE, assets={"dem": asset(path)})), **BANDS)
    with pytest.raises(CorruptError, match=r"a\.tif"):
        read(near)
    other = GeoBox((200, 250), SCENE.transform * SCENE.transform.scale(2), ZONE)
    assets = {"a": asset(write(tmp_path / "x.tif", ramp())), "b": asset(write(tmp_path / "y.tif", ramp(other), other))}
    mixed = Stac(
        catalogue=catalogue_of(tmp_path, item("a", OUTLINE, assets=assets)), bands=["a", "b"], kind="continuous"
    )
    with pytest.raises(ConfigError, match="has pixels of 20 m"):
        read(mixed)


@pytest.mark.parametrize(
    "href",
    [
        "https://example.org/a.tif?X-Amz-Signature=s3cr3t", "https://example.org/a.tif?se=1&sig=s3cr3t",
        "https://example.org/a.tif?api_key=s3cr3t", "https://example.org/a.tif?Ocp-Apim-Subscription-Key=s3cr3t",
        "https://s3cr3t@example.org/a.tif", "https://me:s3cr3t@example.org/a.tif",
    ],
)  # fmt: skip
def test_a_signed_link_is_refused_without_showing_it(tmp_path, href):
    source = Stac(catalogue=catalogue_of(tmp_path, item("a", OUTLINE, assets={"dem": {"href": href}})), **BANDS)
    with pytest.raises(SourceError, match="signed") as caught:
        list(source.find(OUTLINE, [STATIC]))
    assert "s3cr3t" not in str(caught.value)


def test_without_keys_of_its_store_files_of_the_data_space_are_read_by_https(tmp_path):
    """Their items name both ways; only the item is looked at here."""
    other = {"alternate": {"https": {"href": "https://download.example.org/a"}}}
    assets = {"dem": {"href": "s3://eodata/a.tif", **other}}
    source = Stac(catalogue=catalogue_of(tmp_path, item("a", OUTLINE, assets=assets)), **BANDS)
    (found,) = source.find(OUTLINE, [STATIC])
    none, keys, login = Access("x"), Access("x", keys=Keys("a", "b")), Access("x", auth=object())
    ways = [collection._address(found, "height", way) for way in (none, keys, login)]
    assert ways == ["s3://eodata/a.tif", "s3://eodata/a.tif", "https://download.example.org/a"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"bands": None}, "bands: say which assets"),
        ({"bands": {"a": {"file": "x"}}}, "unknown key 'file'"),
        ({"bands": {"a": 1}}, "is not understood"),
        ({"kind": "hight"}, "'hight' is not known"),
        ({"kind": "", "legend": None}, "say what the numbers mean"),
        ({"kind": "classes"}, "legend: classes need names"),
        ({"catalogue": "https://example.org/stac"}, "collection: say which"),
        ({"mask": {"band": 1, "values": [1]}}, "mask: names no asset"),
        ({"query": {"a": {"about": 1}}}, "no operator 'about'"),
        ({"filter": "a < 1"}, "filter: is no CQL2 JSON"),
        ({"pitch": 0}, "pitch: 0 is no size"),
        ({"decibel": True}, "has no option 'decibel'"),
    ],
)
def test_what_is_refused_at_once(said, why):
    with pytest.raises(ConfigError, match=why):
        Stac(**{"catalogue": "x/catalog.json", **BANDS, **said})

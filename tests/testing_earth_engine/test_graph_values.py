"""Values of the evaluator that are no pixels: dates, filters, features, JSON; the client is Earth Engine's own."""

import json

import ee
import numpy as np
import pytest
from ee import apitestcase, serializer
from shapely import box

from m3leo_prep.testing.earth_engine.archive import Scene, SceneBand
from m3leo_prep.testing.earth_engine.evaluation.graph import EarthEngineError, evaluate, to_json

START = 1_577_836_800_000
"""2020-01-01, UTC."""
DAY = 86_400_000


def read(row0, row1, col0, col1):
    shape = (row1 - row0, col1 - col0)
    return np.ones(shape, "uint16"), np.ones(shape, bool)


def scene(index, moment, lon=6.0, **properties):
    name = f"S/{index}"
    bands = tuple(
        SceneBand(band, "uint16", "EPSG:32631", (10.0, 0.0, 5e5, 0.0, -10.0, 5.5e6), (30, 40), read)
        for band in ("B4", "B8")
    )
    own = {"system:index": index, "system:time_start": moment, "system:version": 7}
    return Scene(name, box(lon, 49, lon + 1, 50), bands, own | properties)


SCENES = (
    scene("a", START - 1, orbit=1, pass_="ASCENDING", pols=["VV"]),
    scene("b", START, orbit=2, pass_="ASCENDING", pols=["VV", "VH"]),
    scene("c", START + 31 * DAY - 1, lon=8.0, orbit=3, pass_="DESCENDING", pols=["VV", "VH"]),
    scene("d", START + 31 * DAY, orbit=4, pass_="DESCENDING", pols=["HH"], cloud=12.5),
)


class Shelf:
    """An archive of one collection."""

    def image(self, name):
        return next((each for each in SCENES if each.id == name), None)

    def collection(self, name):
        return SCENES if name == "S" else None


@pytest.fixture(autouse=True, scope="module")
def _client():
    case = apitestcase.ApiTestCase()
    kept = ee.data.getAlgorithms, ee.data._install_cloud_api_resource, ee.deprecation._FetchDataCatalogStac
    names = ["computeValue", "getMapId", "getDownloadId", "getThumbId", "getTableDownloadId"]
    others = {name: getattr(ee.data, name) for name in names}
    case.InitializeApi()
    yield
    ee.data.getAlgorithms, ee.data._install_cloud_api_resource, ee.deprecation._FetchDataCatalogStac = kept
    for name, value in others.items():
        setattr(ee.data, name, value)
    ee.Reset()


def run(thing):
    return evaluate(json.loads(json.dumps(serializer.encode(thing, for_cloud_api=True))), Shelf())


def indices(collection):
    return "".join(run(collection.aggregate_array("system:index")))


class TestFilters:
    def test_dates_are_half_open_at_both_ends(self):
        images = ee.ImageCollection("S")
        assert indices(images.filterDate("2020-01-01", "2020-02-01")) == "bc"
        assert indices(images.filterDate("2020-01-01", "2020-01-31")) == "b"
        assert indices(images.filterDate(ee.Date(START - 1), ee.Date("2020-01-01"))) == "a"
        assert indices(images.filterDate(START)) == "b"

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            (lambda: ee.Filter.eq("orbit", 2), "b"),
            (lambda: ee.Filter.neq("orbit", 2), "acd"),
            (lambda: ee.Filter.gt("orbit", 2), "cd"),
            (lambda: ee.Filter.gte("orbit", 2), "bcd"),
            (lambda: ee.Filter.lt("orbit", 2), "a"),
            (lambda: ee.Filter.lte("orbit", 2), "ab"),
            (lambda: ee.Filter.eq("pass_", "ASCENDING"), "ab"),
            (lambda: ee.Filter.inList("orbit", [1, 4]), "ad"),
            (lambda: ee.Filter.inList("system:index", ["d", "a", "x"]), "ad"),
            (lambda: ee.Filter.listContains("pols", "VH"), "bc"),
            (lambda: ee.Filter.stringContains("pass_", "SC"), "abcd"),
            (lambda: ee.Filter.stringStartsWith("pass_", "DESC"), "cd"),
            (lambda: ee.Filter.stringEndsWith("pass_", "DING"), "abcd"),
            (lambda: ee.Filter.rangeContains("orbit", 2, 3), "bc"),
            (lambda: ee.Filter.And(ee.Filter.gt("orbit", 1), ee.Filter.lt("orbit", 4)), "bc"),
            (lambda: ee.Filter.Or(ee.Filter.eq("orbit", 1), ee.Filter.eq("orbit", 4)), "ad"),
            (lambda: ee.Filter.eq("orbit", 1).Not(), "bcd"),
            (lambda: ee.Filter.notNull(["cloud"]), "d"),
            (lambda: ee.Filter.lt("cloud", 50), "d"),
            (lambda: ee.Filter.calendarRange(12, 1, "month"), "abc"),
            (lambda: ee.Filter.calendarRange(2, 2, "month"), "d"),
            (lambda: ee.Filter.calendarRange(2020, 2020, "year"), "bcd"),
            (lambda: ee.Filter.dayOfYear(1, 31), "bc"),
            (lambda: ee.Filter.bounds(ee.Geometry.Point([6.5, 49.5])), "abd"),
            (lambda: ee.Filter.bounds(ee.Geometry.BBox(7.5, 49.1, 8.5, 49.2)), "c"),
            (lambda: ee.Filter.bounds(ee.FeatureCollection([ee.Feature(ee.Geometry.Point([8.5, 49.5]))])), "c"),
        ],
    )
    def test_conditions(self, condition, expected):
        assert indices(ee.ImageCollection("S").filter(condition())) == expected

    def test_joins(self):
        images = ee.ImageCollection("S")
        odd = images.filter(ee.Filter.inList("orbit", [1, 3]))
        same = ee.Filter.equals(leftField="orbit", rightField="orbit")
        later = ee.Filter.lessThan(leftField="system:time_start", rightField="system:time_start")
        assert indices(ee.ImageCollection(ee.Join.simple().apply(images, odd, same))) == "ac"
        assert indices(ee.ImageCollection(ee.Join.inverted().apply(images, odd, same))) == "bd"
        pairs = run(ee.Join.inner().apply(images, images, later))
        assert [pair.get("primary").id + pair.get("secondary").id for pair in pairs.items] == [
            "S/aS/b",
            "S/aS/c",
            "S/aS/d",
            "S/bS/c",
            "S/bS/d",
            "S/cS/d",
        ]
        first = ee.Join.saveFirst("m", "system:time_start", False).apply(images, images, later)
        assert [item.get("m").get("system:index") for item in run(first).items] == ["d", "d", "d"]
        every = ee.Join.saveAll("m", "system:time_start", True, outer=True).apply(images, images, later)
        assert [len(item.get("m") or []) for item in run(every).items] == [3, 2, 1, 0]


class TestCollections:
    def test_order_and_size(self):
        images = ee.ImageCollection("S")
        assert indices(images) == "abcd"
        assert indices(images.sort("system:time_start", False)) == "dcba"
        assert indices(images.sort("orbit").limit(2)) == "ab"
        assert run(images.size()) == 4
        assert run(images.first()).id == "S/a"
        assert run(images.filter(ee.Filter.eq("orbit", 9)).first()) is None
        assert run(ee.Image(images.toList(2, 1).get(-1)).get("orbit")) == 3
        assert indices(images.distinct("pass_")) == "ac"
        assert run(images.merge(images).aggregate_array("system:index"))[3:5] == ["1_d", "2_a"]
        assert run(images.aggregate_array("cloud")) == [12.5]
        assert run(images.aggregate_max("orbit")) == 4
        assert run(images.aggregate_histogram("pass_")) == {"ASCENDING": 2, "DESCENDING": 2}
        assert run(images.iterate(lambda image, total: ee.Number(total).add(image.getNumber("orbit")), 0)) == 10

    def test_map_to_features_as_compute_features_asks_for_them(self):
        def row(image):
            properties = {
                "id": image.id(),
                "t": image.date().millis(),
                "crs": image.select(0).projection().crs(),
                "none": image.get("cloud"),
            }
            return ee.Feature(image.geometry(), properties)

        found = to_json(run(ee.FeatureCollection(ee.ImageCollection("S").map(row))))
        assert found["type"] == "FeatureCollection"
        one = found["features"][1]
        assert one["type"] == "Feature"
        assert one["id"] == "b"
        assert one["properties"] == {"id": "S/b", "t": START, "crs": "EPSG:32631"}
        assert one["geometry"]["type"] == "Polygon"
        assert sorted(one["geometry"]["coordinates"][0][:-1]) == [[6, 49], [6, 50], [7, 49], [7, 50]]
        assert found["features"][3]["properties"]["none"] == 12.5
        json.dumps(found)

    def test_to_bands_and_selection(self):
        bands = ee.ImageCollection("S").limit(2).toBands()
        assert run(bands.bandNames()) == ["a_B4", "a_B8", "b_B4", "b_B8"]
        assert run(bands.select("b_.*").bandNames()) == ["b_B4", "b_B8"]
        assert run(bands.select([0, -1], ["x", "y"]).bandNames()) == ["x", "y"]
        image = ee.Image("S/a")
        assert run(image.addBands(image).bandNames()) == ["B4", "B8", "B4_1", "B8_1"]
        assert run(image.addBands(image.add(1), None, True).bandNames()) == ["B4", "B8"]
        assert run(ee.Image.cat([image, image.rename("p", "q")]).bandNames()) == ["B4", "B8", "p", "q"]

    def test_properties(self):
        image = ee.Image("S/d")
        assert run(image.get("cloud")) == 12.5
        assert run(image.get("missing")) is None
        assert run(image.set("cloud", 1, "k", "v").toDictionary(["cloud", "k"])) == {"cloud": 1, "k": "v"}
        assert run(image.set({"cloud": 3}).get("cloud")) == 3
        assert "orbit" in run(image.propertyNames())
        assert run(image.add(1).get("cloud")) is None
        assert run(image.select("B4").get("cloud")) == 12.5
        assert run(image.updateMask(1).get("cloud")) == 12.5
        assert run(image.add(1).copyProperties(image, ["cloud"]).get("cloud")) == 12.5
        assert run(image.get("system:id")) == "S/d"


class TestValues:
    @pytest.mark.parametrize(
        ("thing", "expected"),
        [
            (lambda: ee.Number(7).divide(2), 3.5),
            (lambda: ee.Number(300).toUint8(), 255),
            (lambda: ee.Number(7).gt(3), 1),
            (lambda: ee.Number(1.7).toInt(), 1),
            (lambda: ee.Number.parse("12").add(1), 13),
            (lambda: ee.String("a").cat("b").toUpperCase(), "AB"),
            (lambda: ee.String("S1A_IW_2020").split("_").get(1), "IW"),
            (lambda: ee.String("S1A_IW").slice(0, 3), "S1A"),
            (lambda: ee.String("a-b-c").replace("-", "+", "g"), "a+b+c"),
            (lambda: ee.List([1, 2]).map(lambda value: ee.Number(value).add(1)), [2, 3]),
            (lambda: ee.List.sequence(0, 1, 0.25), [0, 0.25, 0.5, 0.75, 1]),
            (lambda: ee.List([3, 1]).sort().cat([9]).reverse(), [9, 3, 1]),
            (lambda: ee.List([1, [2, 3]]).flatten().length(), 3),
            (lambda: ee.Dictionary({"b": 1, "a": 2}).keys(), ["a", "b"]),
            (lambda: ee.Dictionary({"b": 1}).set("c", 2).get("c"), 2),
            (lambda: ee.Algorithms.If(ee.Number(0), "yes", "no"), "no"),
            (lambda: ee.Date("2020-01-31").advance(1, "month").format("YYYY-MM-dd"), "2020-02-29"),
            (lambda: ee.Date("2020-02-29").advance(-1, "year").millis(), START - 307 * DAY),
            (lambda: ee.Date("2020-01-01").advance(36, "hour").format(), "2020-01-02T12:00:00"),
            (lambda: ee.Date("2020-03-01").difference(ee.Date("2020-02-01"), "day"), 29),
            (lambda: ee.Date.fromYMD(2020, 1, 1).millis(), START),
            (lambda: ee.Date("2020-07-09").get("month"), 7),
            (lambda: ee.Date("2020-02-09").getRange("month").end().format("YYYYMMdd"), "20200301"),
            (lambda: ee.DateRange("2020-01-01", "2020-01-02").contains(ee.Date("2020-01-02")), False),
            (lambda: ee.Geometry.BBox(6, 49, 7, 50).intersects(ee.Geometry.Point([6, 49.5])), True),
            (lambda: ee.Geometry.BBox(6, 49, 7, 50).contains(ee.Geometry.Point([7.1, 49.5])), False),
            (lambda: ee.Geometry.Point([6, 49]).coordinates(), [6, 49]),
            (lambda: ee.Geometry.MultiPolygon([[[[0, 0], [1, 0], [1, 1], [0, 0]]]]).bounds().type(), "Polygon"),
            (lambda: ee.Image("S/a").select("B4").projection().nominalScale(), 10),
            (lambda: ee.ImageCollection("S").mean().projection().crs(), "EPSG:4326"),
        ],
    )
    def test_basics(self, thing, expected):
        assert to_json(run(thing())) == expected

    def test_shapes_are_true_on_the_ground(self):
        assert run(ee.Geometry.Point([6, 49]).buffer(1000).area()) == pytest.approx(np.pi * 1e6, rel=0.01)
        square = ee.Geometry.Rectangle([500_000, 5_500_000, 501_000, 5_501_000], "EPSG:32631", False)
        assert run(square.area()) == pytest.approx(1e6 / 0.9996**2, rel=1e-5)

    def test_json_of_an_image(self):
        found = to_json(run(ee.Image("S/d").select("B4")))
        assert found["type"] == "Image"
        assert found["id"] == "S/d"
        assert found["version"] == 7
        assert found["properties"]["cloud"] == 12.5
        assert found["bands"] == [
            {
                "id": "B4",
                "data_type": {"type": "PixelType", "precision": "int", "min": 0, "max": 65535},
                "crs": "EPSG:32631",
                "crs_transform": [10, 0, 500_000, 0, -10, 5_500_000],
            }
        ]
        assert to_json(run(ee.ImageCollection("S").limit(1)))["type"] == "ImageCollection"
        assert to_json(run(ee.Date(START))) == {"type": "Date", "value": START}

    @pytest.mark.parametrize(
        ("thing", "dtype"),
        [
            (lambda image: image, "uint16"),
            (lambda image: image.toFloat(), "float32"),
            (lambda image: image.gt(3), "uint8"),
            (lambda image: image.multiply(0.5), "float64"),
            (lambda image: image.add(1), "int64"),
            (lambda image: image.unmask(-1, False), "int32"),
            (lambda image: image.unmask(0, False), "uint16"),
            (lambda image: image.toFloat().unmask(-9999, False), "float32"),
            (lambda image: image.resample("bilinear"), "float32"),
            (lambda image: ee.ImageCollection([image, image]).mean(), "float64"),
            (lambda image: ee.ImageCollection([image, image]).max(), "uint16"),
        ],
    )
    def test_types_are_known_before_any_pixel(self, thing, dtype):
        assert run(thing(ee.Image("S/a"))).bands["B4"].dtype == dtype


class TestErrors:
    @pytest.mark.parametrize(
        ("thing", "message"),
        [
            (
                lambda: ee.Image("S/x"),
                "Image.load: Image asset 'S/x' not found (does not exist or caller does not have access).",
            ),
            (
                lambda: ee.ImageCollection("T"),
                (
                    "ImageCollection.load: ImageCollection asset 'T' not found "
                    "(does not exist or caller does not have access)."
                ),
            ),
            (
                lambda: ee.Image("S/a").select("B99"),
                "Image.select: Band pattern 'B99' did not match any bands. Available bands: [B4, B8]",
            ),
            (
                lambda: ee.Image(ee.ImageCollection("S").limit(0).first()).select("B4"),
                "Image.select: Parameter 'input' is required and may not be null.",
            ),
            (
                lambda: ee.Image("S/a").glcmTexture(),
                "stand-in: the function 'Image.glcmTexture' is not known here (Earth Engine may have it)",
            ),
            (lambda: ee.Date("2020-13-01"), "Date: Bad date/time '2020-13-01'."),
            (
                lambda: ee.Image("S/a").rename("one"),
                "Image.rename: The number of names (1) must match the number of bands (2).",
            ),
        ],
    )
    def test_speak_as_earth_engine_does(self, thing, message):
        with pytest.raises(EarthEngineError) as raised:
            run(thing())
        assert str(raised.value) == message

    def test_an_argument_that_is_not_known_is_refused(self):
        with pytest.raises(
            EarthEngineError, match=r"stand-in: the argument 'transformWkt' of 'Projection' is not known here"
        ):
            run(ee.Projection("EPSG:4326", None, "PARAM_MT[]"))

    def test_what_does_not_depend_on_a_mapped_element_is_computed_once(self):
        asked = []

        class Counting(Shelf):
            def collection(self, name):
                asked.append(name)
                return super().collection(name)

        images = ee.ImageCollection("S")
        counted = images.map(
            lambda image: image.set("n", images.size(), "m", images.filter(ee.Filter.gt("orbit", 1)).size())
        )
        expression = serializer.encode(counted.aggregate_array("m"), for_cloud_api=True)
        assert evaluate(expression, Counting()) == [3, 3, 3, 3]
        assert asked == ["S"]

    def test_functions_of_functions_keep_their_arguments_apart(self):
        lists = ee.List([1, 2]).map(lambda one: ee.List([10, 20]).map(lambda two: ee.Number(two).add(one)))
        assert run(lists) == [[11, 21], [12, 22]]

    def test_a_projection_of_several_is_refused(self):
        mixed = ee.Image("S/a").addBands(ee.Image("S/a").reproject("EPSG:32632", None, 10).rename("p", "q"))
        with pytest.raises(EarthEngineError, match="contains different projections"):
            run(mixed.projection())

"""Polygons as classes: by the centre of the pixel, in any projection, and refusals that name the polygons."""

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError, CorruptError, SourceError
from m3leo_prep.core.raster import STATIC
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.vector import Vector
from m3leo_prep.testing.source import SourceContract

EARTH = box(-180, -90, 180, 90)
UTM = "EPSG:32632"
TARGET = GeoBox((40, 40), Affine(10, 0, 500_000, 0, -10, 5_000_400), UTM)


def write(path, shapes, crs=UTM, **columns):
    geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs).to_file(path)
    return str(path)


def read(source, target=TARGET):
    (item,) = source.find(EARTH, (STATIC,))
    (raster,) = source.read([item], target, STATIC)
    pad = (raster.geobox.shape[0] - target.shape[0]) // 2
    inner = np.s_[pad : pad + target.shape[0], pad : pad + target.shape[1]]
    return np.where(raster.valid[0], raster.data[0].astype(int), -1)[inner]


def centres(target):
    x, y = np.meshgrid(np.arange(target.shape[1]) + 0.5, np.arange(target.shape[0]) + 0.5)
    a = target.transform
    return a.a * x + a.c, a.e * y + a.f


class TestUnits(SourceContract):
    """Three units in lon/lat, one of two parts, with a hole."""

    @pytest.fixture
    def source(self, tmp_path):
        parts = shapely.MultiPolygon([box(9.0, 49.42, 9.1, 49.5), box(9.25, 49.42, 9.28, 49.45)])
        holed = box(9.1, 49.42, 9.2, 49.5) - shapely.Point(9.15, 49.46).buffer(0.01)
        return Vector(
            write(tmp_path / "units.gpkg", [parts, holed, box(9.2, 49.42, 9.25, 49.5)], "EPSG:4326", name=list("abc")),
            column="name",
        )


class TestBackground(TestUnits):
    """Where no unit lies, there is sea, everywhere."""

    @pytest.fixture
    def source(self, tmp_path):
        path = write(tmp_path / "units.gpkg", [box(9.0, 49.42, 9.1, 49.5)], "EPSG:4326", name=["a"])
        return Vector(path, column="name", classes={"a": 7}, background={"code": 0, "name": "sea"})


def test_a_pixel_has_the_class_of_the_polygon_under_its_centre(tmp_path):
    triangle = shapely.Polygon([(500_003, 5_000_007), (500_391, 5_000_101), (500_166, 5_000_377)])
    path = write(tmp_path / "t.geojson", [triangle], name=["field"])
    x, y = centres(TARGET)
    assert np.array_equal(
        read(Vector(path, column="name", classes={"field": 3})) == 3, shapely.contains_xy(triangle, x, y)
    )


def test_holes_parts_and_slivers_below_a_pixel(tmp_path):
    ring = box(500_100, 5_000_100, 500_300, 5_000_300) - box(500_150, 5_000_150, 500_250, 5_000_250)
    speck = box(500_001, 5_000_391, 500_004, 5_000_394)  # no pixel centre in it
    dot = box(500_014, 5_000_394, 500_016, 5_000_396)  # a few metres, around a centre
    path = write(tmp_path / "t.gpkg", [shapely.MultiPolygon([ring, speck]), dot], name=["ring", "dot"])
    got = read(Vector(path, column="name", classes={"ring": 1, "dot": 2}))
    assert (got == 1).sum() == 20 * 20 - 10 * 10
    assert np.argwhere(got == 2).tolist() == [[0, 1]]


def test_edges_in_degrees_are_bent_as_they_are_on_the_ground(tmp_path):
    """A parallel is no straight line in UTM: 80 km of it bend by 190 m, 19 pixels."""
    path = write(tmp_path / "t.gpkg", [box(10.0, 60.0, 11.5, 61.0)], "EPSG:4326", name=["a"])
    (x, y), across = Transformer.from_crs(4326, UTM, always_xy=True).transform(10.75, 60.0), 200
    target = GeoBox((across, across), Affine(10, 0, round(x, -1) - 1000, 0, -10, round(y, -1) + 1000), UTM)
    _, lat = Transformer.from_crs(UTM, 4326, always_xy=True).transform(*centres(target))
    got = read(Vector(path, column="name"), target) >= 0
    sure = np.abs(lat - 60.0) > 1e-7  # a centimetre
    assert np.array_equal(got[sure], (lat >= 60.0)[sure])
    assert 0.3 < got.mean() < 0.7


def test_pixels_do_not_depend_on_the_window_or_the_pitch_of_tiles(tmp_path):
    rng = np.random.default_rng(2)
    at = shapely.points(500_000 + 8000 * rng.random(60), 5_000_000 + 8000 * rng.random(60))
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.MultiPoint(list(at))))
    path = write(tmp_path / "t.gpkg", list(cells), name=[str(k) for k in range(len(cells))])
    source = Vector(path, column="name")
    whole = GeoBox((600, 600), Affine(10, 0, 500_000, 0, -10, 5_008_000), UTM)
    truth = read(source, whole)
    assert len(np.unique(truth)) > 20
    for rows, cols in ((slice(0, 37), slice(500, 600)), (slice(480, 560), slice(3, 599))):
        assert np.array_equal(read(source, whole[rows, cols]), truth[rows, cols])
    coarse = read(source, GeoBox((40, 40), Affine(130, 0, 500_000, 0, -130, 5_008_000), UTM))
    assert np.array_equal(coarse, truth[6::13, 6::13][:40, :40])


def test_codes_by_sorted_values_are_written_down(tmp_path):
    shapes = [box(500_000 + 100 * k, 5_000_000, 500_100 + 100 * k, 5_000_400) for k in range(4)]
    path = write(tmp_path / "t.gpkg", shapes, kind=[10.0, 9.0, 9.0, 2.0])
    (variable,) = Vector(path, column="kind").describe().variables
    assert [(one.code, one.name) for one in variable.legend] == [(0, "2"), (1, "9"), (2, "10")]
    assert variable.attributes["class_of_value"] == {"2": 0, "9": 1, "10": 2}
    assert read(Vector(path, column="kind"))[0, ::10].tolist() == [2, 1, 1, 0]


def test_the_same_table_after_a_journey_through_json(tmp_path):
    path = write(tmp_path / "t.gpkg", [box(500_000, 5_000_000, 500_400, 5_000_400)], kind=[3])
    for classes in ({3: 7}, {"3": 7}, {3: {"code": 7, "name": "3"}}):
        assert np.unique(read(Vector(path, column="kind", classes=classes))).tolist() == [7]


def test_unknown_values_are_named_and_counted_or_become_no_class(tmp_path):
    shapes = [box(500_000 + 100 * k, 5_000_000, 500_100 + 100 * k, 5_000_400) for k in range(4)]
    path = write(tmp_path / "t.gpkg", shapes, name=["a", "x", "x", None])
    with pytest.raises(ConfigError, match=r"t\.gpkg: has polygons whose value is no class: '' \(1\), 'x' \(2\)\s+hint"):
        Vector(path, column="name", classes={"a": 1}).describe()
    got = read(Vector(path, column="name", classes={"a": 1}, unknown="ignore"))
    assert got[0, ::10].tolist() == [1, 255, 255, 255], "no code of a class: encoding masks and counts it"


def test_overlaps_of_different_classes_are_refused_and_slivers_are_not(tmp_path):
    left, right = box(500_000, 5_000_000, 500_200, 5_000_400), box(500_150, 5_000_000, 500_400, 5_000_400)
    path = write(tmp_path / "t.gpkg", [right, left], name=["r", "l"])
    with pytest.raises(ConfigError, match=r"polygons 1 \('r'\) and 2 \('l'\) of different classes overlap on 2\.00 ha"):
        Vector(path, column="name").describe()
    got = read(Vector(path, column="name", classes={"l": 1, "r": 2}, overlap="first"))
    assert (got[0, :15], got[0, 15:]) == (pytest.approx(1), pytest.approx(2))
    same = write(tmp_path / "same.gpkg", [right, left], name=["one", "one"])
    assert (read(Vector(same, column="name")) == 0).all()
    thin = write(tmp_path / "thin.gpkg", [left, box(500_199.6, 5_000_000, 500_400, 5_000_400)], name=["l", "r"])
    assert (read(Vector(thin, column="name")) >= 0).all()


def test_a_dataset_with_slots_has_no_undated_polygons(tmp_path):
    path = write(tmp_path / "t.gpkg", [box(500_000, 5_000_000, 500_400, 5_000_400)], name=["a"])
    assert Vector(path, column="name").describe().is_static
    assert not list(Vector(path, column="name").find(EARTH, parse_slots({"months": 2020})))


def test_a_file_that_changed_since_the_plan(tmp_path):
    path = write(tmp_path / "t.gpkg", [box(500_000, 5_000_000, 500_400, 5_000_400)], name=["a"])
    items = list(Vector(path, column="name").find(EARTH, (STATIC,)))
    (tmp_path / "t.gpkg").unlink()
    write(tmp_path / "t.gpkg", [box(500_000, 5_000_000, 500_200, 5_000_400)], name=["a"])
    with pytest.raises(SourceError, match="has changed since the plan"):
        list(Vector(path, column="name").read(items, TARGET, STATIC))


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(("shapes", "options", "message"), [
    ([box(0, 0, 1, 1)], {"column": "nam"}, r"has no column 'nam'\s+hint: did you mean 'name'"),
    ([shapely.Point(9, 49)], {}, "holds Point, and only polygons cover pixels"),
    ([box(0, 0, 1, 1)], {"classes": {"a": "x"}}, "classes: a: code 'x' is not a whole number"),
    ([box(0, 0, 1, 1)], {"classes": {"a": 255}}, "code 255 does not fit one byte"),
    ([box(0, 0, 1, 1)], {"classes": {"a": 1, "b": 1}}, "code 1 is 'a' and 'b'"),
    ([box(0, 0, 1, 1)], {"classes": {"a": {"cod": 1}}}, r"unknown key 'cod'\s+hint: did you mean 'code'"),
    ([box(0, 0, 1, 1)], {"classes": {"a": 1}, "background": {"code": 1, "name": "sea"}}, "is the class 'a' already"),
    ([box(0, 0, 1, 1)], {"overlap": "last"}, "overlap: 'last' is not known"),
    ([box(0, 0, 1, 1)], {"unknown": "warn"}, "unknown: 'warn' is not known"),
])  # fmt: skip
def test_what_cannot_be_is_told(tmp_path, shapes, options, message):
    path = write(tmp_path / "t.gpkg", shapes, "EPSG:4326", name=["a"])
    with pytest.raises(ConfigError, match=message):
        Vector(path, **({"column": "name"} | options)).describe()


def test_missing_crs_file_and_garbage(tmp_path):
    with pytest.warns(UserWarning, match="crs"):
        path = write(tmp_path / "t.shp", [box(500_000, 5_000_000, 500_400, 5_000_400)], None, name=["a"])
    with pytest.raises(ConfigError, match=r"t\.shp: has no coordinate reference system\s+hint: name it with `crs:`"):
        Vector(path, column="name").describe()
    assert (read(Vector(path, column="name", crs=UTM)) == 0).all()
    with pytest.raises(ConfigError, match=r"u\.shp: does not exist"):
        Vector(str(tmp_path / "u.shp"), column="name").describe()
    (tmp_path / "x.gpkg").write_text("<html>")
    with pytest.raises(CorruptError, match=r"x\.gpkg: cannot be read as polygons"):
        Vector(str(tmp_path / "x.gpkg"), column="name").describe()


def test_municipalities_of_sao_miguel_have_their_area(shared_data):
    """Real units, their borders drawn twice: pixels times their area is the area on the ellipsoid."""
    path = shared_data / "colocated/sao_miguel_azores/ADMIN_concelhos.gpkg"
    source = Vector(str(path), column="name")
    legend = source.describe().variables[0].legend
    assert [one.name for one in legend][:2] == ["Lagoa", "Nordeste"]
    target = GeoBox((700, 1700), Affine(40, 0, 598_000, 0, -40, 4_198_000), "EPSG:32626")
    got = read(source, target)
    frame = geopandas.read_file(path)
    truth = frame.to_crs(target.crs.to_wkt()).area
    for one in legend:
        area = float(truth[frame["name"] == one.name].iloc[0])
        assert (got == one.code).sum() * 1600 == pytest.approx(area, rel=0.003), one.name

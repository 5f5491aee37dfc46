"""What may stand after ``--aoi``: packaged names, countries, files, WKT, boxes; checks D5, D8, D9 on files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.geometry import Point, mapping, shape

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.core.grid import Grid
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.shipped import list_areas

AOI = Path(__file__).parents[2] / "aoi"
SQUARE = shapely.box(9, 50, 10, 51)

# Golden: these change only together with GRID_VERSION or a reviewed polygon.
PACKAGED = {
    "benelux": (3889, 70381.6),
    "china": (474621, 9374087.1),
    "colombia-ne": (3708, 69037.3),
    "conus": (402624, 7940098.9),
    "demo": (16, 263.6),
    "europe": (406400, 7894913.1),
    "luxembourg": (188, 2622.5),
    "middleeast": (300263, 5920121.0),
    "pakin": (204102, 4016504.8),
    "southamerica": (894402, 17690873.7),
}

# Places that a reviewed polygon has and has not: name -> ((lon, lat) inside, (lon, lat) outside).
PLACES = {
    "europe": (
        [(2.35, 48.85), (37.6, 55.75), (-19, 65), (26.5, 41.6), (-6.9, 62.1), (24.9, 35.2), (13, 55.7), (23, 70)],
        # French Guiana, Asian Turkey, Cyprus, Madeira, Azores, Ceuta, Jan Mayen, Svalbard, Tunisia, Georgia, Kazakhstan
        [
            (-53, 4),
            (32.8, 39.9),
            (33.2, 35),
            (-17, 32.7),
            (-25.5, 37.8),
            (-5.3, 35.89),
            (-8.4, 71),
            (16, 78),
            (9.5, 35.5),
            (44, 42),
            (50, 50),
            (46, 52),
        ],
    ),
    "conus": ([(-100, 40), (-81, 26), (-124, 44)], [(-152, 63), (-155.5, 19.6), (-66.2, 18.3), (-100, 51), (-100, 25)]),
    "china": ([(116.4, 40.2), (109.8, 19.2), (80, 40)], [(121, 23.8), (106, 47), (85, 28)]),
    "middleeast": (
        [(32.8, 39.9), (45, 24), (53, 33), (33.2, 35), (47.5, 15)],
        [(26.8, 41.3), (30, 27), (54, 12.5), (66, 34)],
    ),
    "pakin": ([(70, 30), (78, 20), (77.1, 35.5), (94, 27)], [(92.8, 12), (90, 24), (81, 7.5), (84, 28), (66, 34)]),
    "southamerica": ([(-60, -10), (-53, 4), (-70, -53), (-61.3, 10.4)], [(-90.5, -0.7), (-109.3, -27.1), (-80, 8.5)]),
    "luxembourg": ([(6.1, 49.7)], [(5.5, 49.7), (6.1, 48.9)]),
    "benelux": ([(4.5, 50.8), (5.5, 52.2), (6.1, 49.7)], [(-68.9, 12.2), (7.5, 51.5), (3, 49.5)]),
    "colombia-ne": ([(-72.6, 7.2), (-71, 6.5)], [(-74.1, 4.7), (-71.5, 8)]),
    "demo": ([(9.45, 57.2)], [(9.0, 57.2)]),
}


def test_the_packaged_areas_are_these():
    assert [info.name for info in list_areas()] == sorted(PACKAGED)
    for info in list_areas():
        assert info.title
        assert info.source
        assert info.licence in {"public domain (Natural Earth)", "CC0-1.0"}
        assert info.note


@pytest.mark.parametrize("name", PACKAGED)
def test_golden_size_and_chips(name):
    area = load_area(name, yes=True)
    chips, km2 = PACKAGED[name]
    info = next(info for info in list_areas() if info.name == name)
    assert (info.chips, info.area_km2) == (chips, km2)
    assert area.area_km2 == pytest.approx(km2, abs=0.1)
    assert area.geometry.is_valid
    assert area.warnings == ()
    assert len(Grid().cells(area.geometry)) == chips


@pytest.mark.parametrize("name", PLACES)
def test_reviewed_polygons_hold_what_they_say(name):
    geometry = load_area(name, yes=True).geometry
    inside, outside = PLACES[name]
    assert [place for place in inside if not geometry.covers(Point(place))] == []
    assert [place for place in outside if geometry.covers(Point(place))] == []


def test_the_label_proportion_areas_have_about_the_published_size():
    assert load_area("benelux").area_km2 == pytest.approx(72_213, rel=0.03)
    assert load_area("colombia-ne").area_km2 == pytest.approx(69_193, rel=0.01)


def test_the_readme_table_is_the_truth():
    text = (AOI / "README.md").read_text(encoding="utf-8").replace(" ", "").replace("\u202f", "")
    for name, (chips, km2) in PACKAGED.items():
        row = next(line for line in text.splitlines() if line.startswith(f"|`{name}`"))
        assert row.endswith(f"|{chips}|{km2:.0f}|")


def test_packaged_files_are_small():
    assert sum(file.stat().st_size for file in AOI.iterdir()) < 1.5e6


def test_the_areas_come_out_of_the_script_again(shared_data, tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "make_areas.py"
    topology = shared_data / "vector" / "world-atlas-countries-50m.topo.json"
    subprocess.run([sys.executable, str(script), str(topology), str(tmp_path)], check=True, capture_output=True)
    for made in sorted(tmp_path.glob("*.geojson")):
        was, now = (json.loads((folder / made.name).read_text(encoding="utf-8")) for folder in (AOI, tmp_path))
        assert now["properties"] == was["properties"]
        assert shape(now["geometry"]).equals(shape(was["geometry"]))
    assert len(list(tmp_path.glob("*.geojson"))) == len(PACKAGED)


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Luxembourg", " luxembourg ", "LUXEMBOURG", "Colombia NE", "colombia_ne"])
def test_packaged_names_do_not_mind_case_or_spaces(text):
    assert load_area(text).name in {"luxembourg", "colombia-ne"}


@pytest.mark.parametrize(
    ("text", "km2"),
    [
        ("Germany", 357000),
        ("DEU", 357000),
        ("de", 357000),
        ("Fiji", 18300),
        ("greenland", 2166000),
        ("Democratic Republic of the Congo", 2345000),
        ("Côte d'Ivoire", 322000),
        ("Micronesia", 2940),
    ],
)
def test_countries_by_name_and_code(text, km2):
    assert load_area(text, yes=True).area_km2 == pytest.approx(km2, rel=0.05)


def test_continents_and_regions_join_their_countries():
    africa = load_area("AFRICA", yes=True)
    assert africa.area_km2 == pytest.approx(30e6, rel=0.02)
    assert "Nigeria" in africa.note
    assert len(load_area("Central Asia", yes=True).note.split(", ")) == 5
    # A state comes with its territories, as in geetiles; its code with a 1 is found without it.
    denmark = load_area("Denmark", yes=True)
    assert denmark.note == "Denmark, Faeroe Is., Greenland"
    assert load_area("DN", yes=True).geometry.equals(denmark.geometry)


@pytest.mark.parametrize(
    ("code", "note"),
    [("CH", "Switzerland"), ("IS", "Iceland"), ("GL", "Greenland"), ("CHN", "China"), ("DK", "Denmark")],
)
def test_iso_codes_win_over_the_state_codes_of_natural_earth(code, note):
    assert load_area(code, yes=True).note == note


def test_d5_fiji_is_small_and_far_from_greenwich():
    fiji = load_area("Fiji")
    cells = Grid().cells(fiji.geometry)
    assert set(cells.epsg.tolist()) == {32760, 32701}
    assert (np.abs(cells.lon_lat()[0]) > 170).all()
    assert 900 < len(cells) < 3000


@pytest.mark.slow
def test_d5_all_land_has_no_chip_in_zone_27_south_and_no_phantoms():
    import gzip

    raw = json.loads(gzip.decompress((AOI / "countries.geojson.gz").read_bytes()))["features"]
    assert len(raw) == 241
    outlines = [shape(f["geometry"]) for f in raw if f["properties"]["name"] != "Antarctica"]
    assert all(outline.is_valid for outline in outlines)
    land = Area.from_geometry(shapely.union_all(outlines), name="land")
    cells = Grid().cells(land.geometry)
    assert not (cells.epsg == 32727).any()
    # Zone 27 N is Greenland and zone 1 N the tip of Chukotka: ground, not rings around the Earth.
    assert len(cells) == 6_837_338
    assert land.area_km2 == pytest.approx(135e6, rel=0.01)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("France", ["4.0 N, 53.0 W", "46.7 N, 2.2 E"]),
        ("US", ["63.1 N, 152.0 W", "19.6 N, 155.4 W"]),
        ("Spain", ["28.2 N, 16.6 W"]),
        ("Chile", ["27.1 S, 109.3 W"]),
    ],
)
def test_far_flung_parts_are_listed_and_asked_for(text, parts):
    with pytest.raises(ConfigError, match="parts far from each other") as error:
        load_area(text)
    for part in parts:
        assert part in error.value.message
    assert "km2 around" in error.value.message
    assert "--yes" in error.value.hint
    assert load_area(text, yes=True).area_km2 > 0


@pytest.mark.parametrize(("text", "chips"), [("Russia", "about 845,"), ("southamerica", "894,402 chips")])
def test_many_chips_are_asked_for(text, chips):
    with pytest.raises(ConfigError, match=chips) as error:
        load_area(text)
    assert "--yes" in error.value.hint
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "near"), [("europ", "europe"), ("luxemburg", "luxembourg"), ("Germny", "Germany"), ("pakinn", "pakin")]
)
def test_unknown_names_list_near_ones(text, near):
    with pytest.raises(ConfigError, match=f"unknown area '{text}'") as error:
        load_area(text)
    assert f"'{near}'" in error.value.hint


@pytest.mark.parametrize("text", ["", "xyzzy"])
def test_a_name_like_nothing_lists_the_packaged_areas(text):
    with pytest.raises(ConfigError, match="unknown area") as error:
        load_area(text)
    assert "europe" in error.value.hint


def test_d7_antarctica_is_refused():
    with pytest.raises(ConfigError, match="UNSUPPORTED_LATITUDE"):
        load_area("Antarctica", yes=True)


# --- boxes and WKT -----------------------------------------------------------------------------------------


def test_a_box():
    assert load_area("9,50,10,51").geometry.equals(SQUARE)
    assert load_area(" 9.0, 50, 10, 51.0 ").geometry.equals(SQUARE)
    assert load_area("-10,-5,-9,-4").geometry.equals(shapely.box(-10, -5, -9, -4))


def test_d5_a_box_with_west_above_east_crosses_the_antimeridian():
    area = load_area("177,-20,-178,-15")
    halves = shapely.MultiPolygon([shapely.box(177, -20, 180, -15), shapely.box(-180, -20, -178, -15)])
    assert area.geometry.equals(halves)
    assert area.warnings == ()


def test_a_box_wider_than_half_the_earth_stays_wide():
    assert load_area("-170,10,170,20").geometry.area == pytest.approx(3400)
    assert load_area("-180,-60,180,60").geometry.equals(shapely.box(-180, -60, 180, 60))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9,51,10,50", "has no extent"),
        ("9,50,9,51", "has no extent"),
        ("9,84,10,86", "UNSUPPORTED_LATITUDE"),
        ("50,100,51,101", "seem to be swapped"),
    ],
)
def test_bad_boxes(text, message):
    with pytest.raises(ConfigError, match=message):
        load_area(text)


def test_wkt():
    assert load_area(SQUARE.wkt).geometry.equals(SQUARE)
    assert load_area(f"SRID=4326;{SQUARE.wkt}").geometry.equals(SQUARE)
    assert load_area("SRID=32632;POLYGON((500000 5000000,510000 5000000,510000 5010000,500000 5010000,500000 5000000))")
    assert any("repaired" in text for text in load_area("POLYGON((0 0,2 2,2 0,0 2,0 0))").warnings)
    for text, message in [
        ("POLYGON((0 0,1 1", "no valid WKT"),
        ("POLYGON EMPTY", "holds no polygon"),
        ("POINT (3 4)", "holds no polygon"),
        ("POLYGON((0 0,1 1,0 0,0 0))", "less than one 10 m pixel"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_area(text)


# --- files ------------------------------------------------------------------------------------------------


def feature(geometry) -> dict:
    return {"type": "Feature", "properties": {}, "geometry": mapping(geometry) if geometry else None}


@pytest.mark.parametrize(
    "document",
    [
        mapping(SQUARE),
        feature(SQUARE),
        {"type": "FeatureCollection", "features": [feature(None), feature(SQUARE)]},
        {"type": "GeometryCollection", "geometries": [mapping(SQUARE)]},
        {**feature(SQUARE), "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}},
    ],
)
def test_geojson_of_every_shape(tmp_path, document):
    path = tmp_path / "my place.geojson"
    path.write_text(json.dumps(document), encoding="utf-8")
    area = load_area(str(path))
    assert area.geometry.equals(SQUARE)
    assert area.name == "my place"


def test_geojson_in_another_crs(tmp_path):
    path = tmp_path / "utm.json"
    old = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    path.write_text(json.dumps({**feature(shapely.box(5e5, 5e6, 5.1e5, 5.01e6)), "crs": old}), encoding="utf-8")
    assert load_area(str(path)).area_km2 == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize(
    "text", ["{", "[1, 2]", '{"type": "Feature"}', '{"type": "Polygon", "coordinates": [[1]]}', "null"]
)
def test_broken_geojson_is_named(tmp_path, text):
    path = tmp_path / "broken.geojson"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="no valid GeoJSON") as error:
        load_area(str(path))
    assert "broken.geojson" in str(error.value)


def test_d8_a_geojson_without_features_is_no_area(tmp_path):
    path = tmp_path / "empty.geojson"
    path.write_text('{"type": "FeatureCollection", "features": []}', encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no polygon"):
        load_area(str(path))


def test_a_wkt_file(tmp_path):
    path = tmp_path / "place.wkt"
    path.write_text("\ufeff" + SQUARE.wkt + "\n", encoding="utf-8")
    assert load_area(str(path)).geometry.equals(SQUARE)


def test_luxembourg_wkt_of_the_first_release(shared_data):
    assert load_area(str(shared_data / "vector" / "luxembourg.wkt")).area_km2 == pytest.approx(2586, rel=0.03)


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_area("nowhere.geojson")
    with pytest.raises(ConfigError, match=r"no area can be read from a '\.tif' file"):
        load_area(str(tmp_path / "x.tif"))


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet", ".shp"])
@pytest.mark.parametrize("crs", [4326, 3035])
def test_geopandas_formats(tmp_path, suffix, crs):
    geopandas = pytest.importorskip("geopandas")
    path = tmp_path / f"place{suffix}"
    frame = geopandas.GeoDataFrame(geometry=[SQUARE.segmentize(0.01)], crs=4326).to_crs(crs)
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_file(path)
    area = load_area(str(path))
    assert area.area_km2 == pytest.approx(load_area("9,50,10,51").area_km2, rel=1e-4)
    assert shapely.hausdorff_distance(area.geometry, SQUARE) < 0.01


def test_d9_a_shapefile_without_prj_is_refused_with_the_way_out(tmp_path):
    geopandas = pytest.importorskip("geopandas")
    geopandas.GeoDataFrame(geometry=[SQUARE], crs=4326).to_file(tmp_path / "place.shp")
    (tmp_path / "place.prj").unlink()
    with pytest.raises(ConfigError, match=r"its \.prj file is missing") as error:
        load_area(str(tmp_path / "place.shp"))
    assert "ogr2ogr -a_srs" in error.value.hint


def test_a_geopackage_of_several_layers_is_refused_by_name(tmp_path):
    geopandas = pytest.importorskip("geopandas")
    for layer in ("one", "two"):
        geopandas.GeoDataFrame(geometry=[SQUARE], crs=4326).to_file(tmp_path / "both.gpkg", layer=layer)
    with pytest.raises(ConfigError, match="2 layers: one, two"):
        load_area(str(tmp_path / "both.gpkg"))


@pytest.mark.parametrize("name", ["broken.gpkg", "broken.parquet", "broken.shp"])
def test_broken_files_are_named(tmp_path, name):
    pytest.importorskip("geopandas")
    (tmp_path / name).write_bytes(b"this is no such file" * 50)
    with pytest.raises(ConfigError, match="cannot be read") as error:
        load_area(str(tmp_path / name))
    assert name in str(error.value)


def test_without_geopandas_the_install_line_is_told(tmp_path, monkeypatch):
    (tmp_path / "place.gpkg").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "geopandas", None)
    with pytest.raises(MissingDependency) as error:
        load_area(str(tmp_path / "place.gpkg"))
    assert "m3leo-prep[build]" in error.value.hint
    # GeoJSON and names need nothing.
    shutil.copy(AOI / "demo.geojson", tmp_path / "mine.geojson")
    assert load_area(str(tmp_path / "mine.geojson")).geometry.equals(load_area("demo").geometry)

"""Which images a layer is made of: what is asked, at which instants, and what is taken of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from shapely.geometry import MultiPolygon, Point, Polygon, box, mapping
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.raster import STATIC, Item
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.ports.faults import item_fault
from m3leo_prep.sources.gee import EarthEngine
from m3leo_prep.sources.gee.finding import catalogue
from m3leo_prep.sources.gee.finding.places import outline
from m3leo_prep.testing.earth_engine.archive import Scene

from .scenes import Shelf, band

S1, S2, SCORES = (
    "COPERNICUS/S1_GRD_FLOAT",
    "COPERNICUS/S2_SR_HARMONIZED",
    "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED",
)
EARTH = (-180.0, -90.0, 180.0, 90.0)
HERE = box(6.0, 49.6, 6.2, 49.8)
AROUND = box(5, 49, 7, 51)
JUNE = parse_slots({"periods": [["2020-06-01", "2020-06-30"]]})


def scene(collection: str, name: str, when: str, where: BaseGeometry = AROUND, **of: Any) -> Scene:
    time = datetime.fromisoformat(when).replace(tzinfo=UTC)
    stamp = round((time - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    bands = tuple(band(b, np.zeros((2, 2))) for b in ("VV", "VH", "B4", "SCL", "cs_cdf"))
    return Scene(f"{collection}/{name}", where, bands, {"system:index": name, "system:time_start": stamp, **of})


def radar(name: str, when: str, where: BaseGeometry = AROUND, **of: Any) -> Scene:
    usual = {
        "instrumentMode": "IW",
        "resolution_meters": 10,
        "orbitProperties_pass": "ASCENDING",
        "relativeOrbitNumber_start": 15,
        "transmitterReceiverPolarisation": ["VV", "VH"],
        "platform_number": "A",
        "segmentStartTime": f"{name}",
    }
    return scene(S1, name, when, where, **(usual | of))


def optical(name: str, when: str, where: BaseGeometry = AROUND, **of: Any) -> Scene:
    day = name.partition("_")[0]
    usual = {
        "DATATAKE_IDENTIFIER": f"GS2A_{day}_000001_N02.14",
        "MGRS_TILE": name.rpartition("_T")[2],
        "PROCESSING_BASELINE": "02.14",
        "CLOUDY_PIXEL_PERCENTAGE": 10.0,
    }
    return scene(S2, name, when, where, **(usual | of))


def found(
    server: Any, scenes: Sequence[Scene], slots: Any = JUNE, area: BaseGeometry = HERE, **options: Any
) -> list[Item]:
    """Return the items of a layer, checked as any source's are."""
    server.archive = Shelf(scenes)
    source = EarthEngine(**({"product": "s1-grd"} | options))
    items = list(source.find(area, parse_slots(slots) if isinstance(slots, dict) else slots))
    known: list[str] = []
    for item in items:
        assert item_fault(item, known) is None
        known.append(item.id)
    return items


def names(items: Sequence[Item]) -> list[str]:
    return [item.id.rpartition("/")[2] for item in items]


# -- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "asked"),
    [
        (
            {"seasons": 2020},
            [("2019-12-01", "2020-03-01"), ("2020-03-01", "2020-06-01"), ("2020-06-01", "2020-09-01"),
             ("2020-09-01", "2020-12-01")],
        ),
        ({"periods": [["2020-02-01", "2020-02-29"]]}, [("2020-02-01", "2020-03-01")]),
        ({"years": [2020]}, [("2020-01-01", "2021-01-01")]),
        # Near slots are one request, what lies between distant ones is not asked for.
        (
            {"dates": ["2020-01-01", "2020-01-13", "2020-03-15"]},
            [("2020-01-01", "2020-01-14"), ("2020-03-15", "2020-03-16")],
        ),
    ],
)  # fmt: skip
def test_the_dates_asked_for_are_half_open_and_hold_the_last_day(
    earth_engine: Any, slots: dict[str, Any], asked: list[tuple[str, str]]
) -> None:
    found(earth_engine, [radar("a", "2020-02-29"), radar("b", "2020-01-01")], slots)
    spans = [span for request in earth_engine.asked("computeFeatures") for span in request.expression.dates]
    assert sorted(spans) == [(f"{start}T00:00:00", f"{end}T00:00:00") for start, end in asked]


def test_slots_begin_and_end_to_the_millisecond(earth_engine: Any) -> None:
    edges = {
        "before": "2019-11-30T23:59:59.999",
        "first": "2019-12-01T00:00:00",
        "leap": "2020-02-29T23:59:59.999",
        "spring": "2020-03-01T00:00:00",
        "last": "2020-11-30T23:59:59.999",
        "after": "2020-12-01T00:00:00",
    }
    slots = parse_slots({"seasons": 2020})
    items = found(earth_engine, [radar(name, when) for name, when in edges.items()], slots)
    assert names(items) == ["first", "leap", "spring", "last"]
    labels = [[slot.label for slot in slots if slot.contains(item.datetime)] for item in items]
    assert labels == [["winter_2020"], ["winter_2020"], ["spring_2020"], ["fall_2020"]]


def test_images_between_slots_that_are_listed_together_are_left_out(earth_engine: Any) -> None:
    scenes = [radar(f"d{day}", f"2020-01-{day}") for day in ("01", "05", "13")]
    assert names(found(earth_engine, scenes, {"dates": ["2020-01-01", "2020-01-13"]})) == ["d01", "d13"]


def test_images_come_in_order_of_time_and_name_and_once(earth_engine: Any) -> None:
    scenes = [radar("b", "2020-06-05T06:00"), radar("a", "2020-06-05T06:00"), radar("c", "2020-06-01T06:00")]
    assert names(found(earth_engine, [*scenes, scenes[0]])) == ["c", "a", "b"]


def test_a_layer_without_slots_has_items_without_times(earth_engine: Any) -> None:
    tiles = [scene("COPERNICUS/DEM/GLO30", "N49E006", "2015-01-01")]
    (item,) = found(earth_engine, tiles, (STATIC,), product="glo30")
    assert item.datetime is None
    assert earth_engine.asked("computeFeatures")[0].expression.dates == []


def test_images_of_a_users_collection_tell_their_dates_where_no_slot_does(earth_engine: Any) -> None:
    scenes = [scene("me/mine", "a", "2020-06-02"), scene("me/mine", "b", "2021-06-02")]
    items = found(earth_engine, scenes, (STATIC,), **MINE)
    assert sorted(str(item.properties["date"]) for item in items) == ["2020-06-02", "2021-06-02"]
    assert "date" not in found(earth_engine, scenes, **MINE)[0].properties


def test_the_one_year_of_a_layer_without_slots_is_asked_for(earth_engine: Any) -> None:
    scenes = [radar("old", "2019-12-31T23:59:59.999"), radar("in", "2020-12-31T23:59"), radar("new", "2021-01-01")]
    items = found(earth_engine, scenes, (STATIC,), year=2020)
    assert (names(items), items[0].datetime) == (["in"], None)


# -- refused before anything is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "slots", "area", "words"),
    [
        ({"product": "s1-grd"}, {"years": [2013]}, HERE, "no data of slot 2013.*from 2014-10-03 on"),
        ({"product": "s1-grd"}, {"years": [2020, 2014]}, HERE, None),
        ({"product": "cci-agb"}, {"years": [2012]}, HERE, "no data of slot 2012.*2007, 2010, 2015 to"),
        ({"product": "cci-agb"}, {"years": [2015, 2013]}, HERE, "no data of slot 2013"),
        ({"product": "worldcover-v100"}, {"years": [2021]}, HERE, "no data of slot 2021.*2020-01-01 to 2020-12-31"),
        ({"product": "srtm"}, None, box(10, 70, 11, 71), "no data here.*56S to 60N"),
        ({"product": "srtm"}, {"years": [2000]}, HERE, "one image without dates.*leave out `slots:`"),
        ({"product": "s1-grd"}, None, HERE, "many dates.*slots: {seasons: 2020}"),
        ({"product": "cci-agb"}, None, HERE, "many dates.*year: 2020"),
        ({"product": "ghs-pop"}, None, HERE, "many dates.*year: 2020"),  # and not 2030, a projection
        ({"product": "floods"}, None, HERE, "many dates.*year: 2018"),
        ({"product": "mod44b", "year": 2020}, {"years": [2020]}, HERE, "year: 2020.*without slots.*remove `year:`"),
        ({"product": "s2-sr", "cloud": "qa60"}, {"months": 2022}, HERE, "clouds pass in slot 2022-01.*cloud: scl"),
        ({"product": "s2-sr", "cloud": "qa60"}, {"periods": [["2021-12-01", "2022-01-24"]]}, HERE, None),
        ({"product": "s2-sr", "cloud": "scl"}, {"months": 2023}, HERE, None),
        ({"product": "s2-l1c", "cloud": "qa60"}, {"years": [2023]}, HERE, "say `cloud: cloud_score`$"),
    ],
)
def test_what_cannot_be_there_is_refused_before_any_request(
    earth_engine: Any, options: dict[str, Any], slots: Any, area: BaseGeometry, words: str | None
) -> None:
    there = [radar("a", "2010-01-01"), optical("20100101T1_T31UGR", "2010-01-01")]
    if words is None:
        assert found(earth_engine, there, slots or (STATIC,), area, **options) == []
        assert earth_engine.requests
        return
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        found(earth_engine, there, slots or (STATIC,), area, **options)
    assert earth_engine.requests == []


# -- place -----------------------------------------------------------------------------------------------------------


def test_an_area_of_many_corners_is_asked_for_simply_and_tested_exactly(earth_engine: Any) -> None:
    angles = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    radius = np.where(np.arange(2000) % 2, 0.5, 0.499)
    ring = Polygon(np.column_stack([6 + radius * np.cos(angles), 49.6 + radius * np.sin(angles)]))
    bay = ring - box(5.9, 49.7, 6.1, 51) - box(5.9, 49.5, 6.1, 49.65)
    scenes = [
        radar("in_the_bay", "2020-06-02", box(5.99, 49.9, 6.01, 49.95)),
        radar("in_the_hole", "2020-06-02", box(5.99, 49.57, 6.01, 49.58)),
        radar("inside", "2020-06-03", box(5.8, 49.7, 5.81, 49.71)),
        radar("outside", "2020-06-04", box(7, 50, 8, 51)),
    ]
    assert names(found(earth_engine, scenes, area=bay)) == ["inside"]
    request = earth_engine.asked("computeFeatures")[0]
    (corners,) = [given["coordinates"] for name, given in request.expression.calls if name.endswith("Polygon")]
    assert len(corners[0]) <= 101
    assert Polygon(corners[0]).covers(bay)
    assert [given["geodesic"] for name, given in request.expression.calls if name.endswith("Polygon")] == [False]


def test_pixels_outside_an_images_outline_are_reached(earth_engine: Any) -> None:
    # 1000 m is what the table says of Sentinel-1.
    metre = 1 / 111_320 / np.cos(np.radians(49.7))
    near, far = (box(6.2 + d * metre, 49, 8, 51) for d in (700, 3000))
    items = found(earth_engine, [radar("near", "2020-06-02", near), radar("far", "2020-06-02", far)])
    assert names(items) == ["near"]
    assert items[0].footprint.distance(Point(6.2, 49.7)) == 0


def test_an_image_on_the_180th_meridian_is_found_from_both_sides(earth_engine: Any) -> None:
    over = MultiPolygon([box(179.5, 0, 180, 1), box(-180, 0, -179.5, 1)])
    for area in (box(179.6, 0.2, 179.7, 0.3), box(-179.7, 0.2, -179.6, 0.3)):
        (item,) = found(earth_engine, [radar("a", "2020-06-02", over)], area=area)
        assert item.footprint.intersects(area)
        assert item.footprint.area < 2
    jumping = Polygon([(179.5, 0), (-179.5, 0), (-179.5, 1), (179.5, 1)])
    assert outline(mapping(jumping), EARTH, 0).equals(over)


@pytest.mark.parametrize(
    "given",
    [
        None,
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]},
        {
            "type": "Polygon",
            "coordinates": [[["-Infinity", -90], ["Infinity", -90], ["Infinity", 90], ["-Infinity", -90]]],
        },
        {"type": "LinearRing", "coordinates": [[0, 80], [90, 80], [180, 80], [-90, 80], [0, 80]]},
        {"type": "Point", "coordinates": [3, 4]},
    ],
)
def test_an_image_of_everywhere_is_never_lost(given: Any) -> None:
    assert outline(given, EARTH, 500).equals(box(*EARTH))


def test_a_footprint_that_is_a_ring_or_crosses_itself_is_repaired() -> None:
    ring = {"type": "LinearRing", "coordinates": [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]}
    assert outline(ring, EARTH, 0).equals(box(0, 0, 1, 1))
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    assert outline(bow, EARTH, 0).is_valid
    parts = {"type": "GeometryCollection", "geometries": [ring, {"type": "Point", "coordinates": [9, 9]}]}
    assert outline(parts, EARTH, 0).equals(box(0, 0, 1, 1))


# -- radar -----------------------------------------------------------------------------------------------------------


def test_radar_asks_for_one_mode_resolution_direction_and_polarisations(earth_engine: Any) -> None:
    scenes = [
        radar("yes", "2020-06-02"),
        radar("ew", "2020-06-02", instrumentMode="EW"),
        radar("medium", "2020-06-02", resolution_meters=40),
        radar("single", "2020-06-02", transmitterReceiverPolarisation=["VV"]),
        radar("other", "2020-06-02", transmitterReceiverPolarisation=["HH", "HV"]),
        radar("descending", "2020-06-02", orbitProperties_pass="DESCENDING"),
        radar("track", "2020-06-02", relativeOrbitNumber_start=88),
    ]
    assert names(found(earth_engine, scenes, orbits=["ascending"], relative_orbits=[15, 16])) == ["yes"]
    filters = earth_engine.asked("computeFeatures")[0].expression.filters
    assert ("listContains", "relativeOrbitNumber_start", [15, 16]) in filters
    assert ("listContains", "orbitProperties_pass", ["ASCENDING"]) in filters
    assert ("listContains", "transmitterReceiverPolarisation", "VH") in filters
    # What a composite is made of decides: VV alone is in single images too, a ratio needs both.
    assert names(found(earth_engine, scenes, bands=["vv"], orbits=["ascending"])) == ["single", "track", "yes"]
    assert "single" not in names(found(earth_engine, scenes, variables=["ratio"]))


def test_what_an_item_of_radar_tells(earth_engine: Any) -> None:
    of = {"GRD_Post_Processing_software_version": "002.84", "system:version": 1581.0, "relativeOrbitNumber_start": 15.0}
    (item,) = found(earth_engine, [radar("a", "2020-06-02T06:00", **of)])
    assert item.version == "1581"
    assert dict(item.properties) == {
        "crs": "EPSG:32631",
        "orbit_direction": "ascending",
        "relative_orbit": 15,
        "polarisations": "VV VH",
        "ipf": "002.84",
    }
    (bare,) = found(earth_engine, [radar("a", "2020-06-02T06:00")])
    assert (bare.version, bare.properties["ipf"]) == ("", "")


def test_slices_of_one_pass_are_one_acquisition(earth_engine: Any) -> None:
    pass_ = {"segmentStartTime": 1591055990000.0}
    scenes = [
        radar("before", "2020-06-01T23:59:50", orbitNumber_start=100, **pass_),
        radar("midnight", "2020-06-02T00:00:15", orbitNumber_start=100, **pass_),
        radar("equator", "2020-06-02T00:00:40", orbitNumber_start=101, relativeOrbitNumber_start=16, **pass_),
        radar("again", "2020-06-02T00:00:15", orbitNumber_start=100, **pass_),
        radar("later", "2020-06-14T00:00:15", segmentStartTime=1592092815000.0),
        radar("twin", "2020-06-02T00:00:15", platform_number="B", **pass_),
        radar("whole", "2020-06-03T00:00:15", segmentStartTime=None, missionDataTakeID=77.0),
    ]
    items = found(earth_engine, scenes)
    groups = {name: item.acquisition for name, item in zip(names(items), items, strict=True)}
    assert groups["before"] == groups["midnight"] == groups["equator"] == groups["again"] == "S1A_1591055990000"
    assert len(set(groups.values())) == 4
    assert groups["whole"] == "S1A_77"


def test_the_best_tracks_cover_most_in_each_direction(earth_engine: Any) -> None:
    west, east = box(5, 49, 6.15, 51), box(6.05, 49, 7, 51)
    ways = {
        7: ("ASCENDING", west, 4),
        9: ("ASCENDING", east, 2),
        11: ("ASCENDING", box(6.19, 49, 6.2, 51), 9),
        20: ("DESCENDING", AROUND, 1),
        21: ("DESCENDING", AROUND, 2),
        22: ("DESCENDING", AROUND, 2),
    }
    scenes = [
        radar(
            f"t{number}_{k}", f"2020-06-{k + 1:02}", where, relativeOrbitNumber_start=number, orbitProperties_pass=way
        )
        for number, (way, where, count) in ways.items()
        for k in range(count)
    ]
    items = found(earth_engine, scenes, relative_orbits="best")
    # 7 covers three quarters, 9 the rest, 11 nothing more. Of 20 ... 22, alike, the lower one with most passes.
    assert {item.properties["relative_orbit"] for item in items} == {7, 9, 21}


def test_the_best_track_is_seen_in_most_slots(earth_engine: Any) -> None:
    scenes = [radar("once", "2020-01-05", AROUND, relativeOrbitNumber_start=1)]
    scenes += [
        radar(f"m{m}", f"2020-{m:02}-05", box(5, 49, 6.15, 51), relativeOrbitNumber_start=2) for m in range(1, 13)
    ]
    items = found(earth_engine, scenes, {"months": 2020}, relative_orbits="best", orbits=["ascending"])
    # Three quarters of the area in all months come before all of it in one; that one adds 1/4 of 1/12: 2 %.
    assert {item.properties["relative_orbit"] for item in items} == {1, 2}
    items = found(
        earth_engine,
        [*scenes, *[radar(f"n{m}", f"2020-{m:02}-06", AROUND, relativeOrbitNumber_start=3) for m in range(1, 13)]],
        {"months": 2020},
        relative_orbits="best",
        orbits=["ascending"],
    )
    assert {item.properties["relative_orbit"] for item in items} == {3}


# -- Sentinel-2 ------------------------------------------------------------------------------------------------------


def test_of_several_processings_the_highest_baseline_is_taken(earth_engine: Any) -> None:
    new = {"PROCESSING_BASELINE": "05.00", "DATATAKE_IDENTIFIER": "GS2A_20200605T103629_000001_N05.00"}
    old = {"PROCESSING_BASELINE": "02.09", "DATATAKE_IDENTIFIER": "GS2A_20200605T103629_000001_N02.09"}
    when = "2020-06-05T10:36:29"
    scenes = [
        optical("20200605T103629_1_T31UGR", when, **old),
        optical("20200605T103629_0_T31UGR", when, **new),
        optical("20200605T103629_1_T32ULV", when, **old),
    ]
    items = found(earth_engine, scenes, product="s2-sr")
    assert names(items) == ["20200605T103629_0_T31UGR", "20200605T103629_1_T32ULV"]
    assert {item.acquisition for item in items} == {"GS2A_20200605T103629_000001"}
    first, second = (dict(item.properties) for item in items)
    assert first == {"crs": "EPSG:32631", "tile": "31UGR", "baseline": "05.00", "older_processings": 1}
    assert second == {"crs": "EPSG:32631", "tile": "32ULV", "baseline": "02.09"}


def test_two_parts_of_a_tile_are_both_kept(earth_engine: Any) -> None:
    strip = "S2A_OPER_MSI_L2A_DS_EPAE_20200605T140000_S20200605T10{}_N02.14"
    parts = [
        optical(f"20200605T103629_{k}_T31UGR", "2020-06-05T10:36:29", DATASTRIP_ID=strip.format(start))
        for k, start in enumerate(("3020", "3600", "3600"))
    ]
    assert names(found(earth_engine, parts, product="s2-sr")) == [
        "20200605T103629_0_T31UGR",
        "20200605T103629_2_T31UGR",
    ]


@pytest.mark.parametrize(
    ("of", "baseline"),
    [
        ({"PROCESSING_BASELINE": "05.09"}, "05.09"),
        ({"PROCESSING_BASELINE": 2.1}, "02.10"),
        ({"PROCESSING_BASELINE": "", "DATATAKE_IDENTIFIER": "GS2A_20180605T103629_000001_N05.00"}, "05.00"),
        (
            {"PROCESSING_BASELINE": "", "DATATAKE_IDENTIFIER": "x", "PRODUCT_ID": "S2A_MSIL2A_20180605T1_N0500_R1"},
            "05.00",
        ),
    ],
)
def test_the_baseline_is_told_by_a_property(earth_engine: Any, of: dict[str, Any], baseline: str) -> None:
    (item,) = found(earth_engine, [optical("20200605T1_0_T31UGR", "2020-06-05", **of)], product="s2-sr")
    assert item.properties["baseline"] == baseline


def test_the_baseline_is_never_guessed(earth_engine: Any) -> None:
    nothing = optical("20200605T1_0_T31UGR", "2020-06-05", PROCESSING_BASELINE="", DATATAKE_IDENTIFIER="GS2A")
    with pytest.raises(SourceError, match=r"(?s)do not say the processing baseline.*filters: {PROCESSING_BASELINE"):
        found(earth_engine, [nothing], product="s2-sr")


def test_images_without_a_cloud_score_are_told(earth_engine: Any) -> None:
    scenes = [optical(f"2020060{k}T1_0_T31UGR", f"2020-06-0{k}") for k in (1, 2)]
    scenes.append(scene(SCORES, "20200602T1_0_T31UGR", "2020-06-02"))
    items = found(earth_engine, scenes, product="s2-sr", cloud="cloud_score")
    assert [item.properties["has_score"] for item in items] == [0, 1]
    assert [request.expression.assets for request in earth_engine.asked("computeFeatures")] == [[S2], [SCORES]]
    assert "has_score" not in found(earth_engine, scenes, product="s2-sr")[0].properties


def test_cloudy_images_are_left_out_on_the_server(earth_engine: Any) -> None:
    scenes = [
        optical(f"2020060{k}T1_0_T31UGR", f"2020-06-0{k}", CLOUDY_PIXEL_PERCENTAGE=cloud)
        for k, cloud in enumerate((20.0, 20.1, None), 1)
    ]
    assert names(found(earth_engine, scenes, product="s2-sr", max_cloud=20)) == ["20200601T1_0_T31UGR"]


# -- other collections -----------------------------------------------------------------------------------------------

MINE = {
    "product": "",
    "collection": "me/mine",
    "pitch": 10,
    "variables": {"v": {"kind": "continuous", "bands": ["B4"]}},
}


def test_the_filters_of_a_recipe_are_asked_for(earth_engine: Any) -> None:
    scenes = [
        scene("me/mine", name, "2020-06-02", **of)
        for name, of in {
            "yes": {"kind": "a", "number": 2, "share": 5},
            "kind": {"kind": "b", "number": 2, "share": 5},
            "number": {"kind": "a", "number": 3, "share": 5},
            "low": {"kind": "a", "number": 2, "share": 3},
            "high": {"kind": "a", "number": 2, "share": 8},
            "absent": {"kind": "a", "number": 2},
        }.items()
    ]
    filters = {"kind": "a", "number": [1, 2], "share": {"min": 4, "max": 7}}
    items = found(earth_engine, scenes, **MINE, filters=filters)
    assert names(items) == ["yes"]
    assert dict(items[0].properties) == {"crs": "EPSG:32631"}
    assert items[0].acquisition == ""


def test_an_unknown_band_of_a_collection_is_told_with_those_it_has(earth_engine: Any) -> None:
    wrong = MINE | {"variables": {"v": {"kind": "continuous", "bands": ["B44"]}}}
    with pytest.raises(ConfigError, match=r"(?s)no band 'B44'.*'B4'.*VV, VH, B4, SCL"):
        found(earth_engine, [scene("me/mine", "a", "2020-06-02")], **wrong)


def test_a_collection_that_is_not_there_is_told(earth_engine: Any) -> None:
    with pytest.raises(ConfigError, match=r"me/mine.*not found"):
        found(earth_engine, [], **MINE)


def test_one_image_is_looked_up_by_its_name(earth_engine: Any) -> None:
    image = Scene("USGS/SRTMGL1_003", box(-180, -56, 180, 60), (band("elevation", np.zeros((2, 2)), crs="EPSG:4326"),))
    (item,) = found(earth_engine, [image], (STATIC,), product="srtm")
    assert (item.id, item.datetime, dict(item.properties)) == ("USGS/SRTMGL1_003", None, {"crs": "EPSG:4326"})
    assert [request.route for request in earth_engine.requests if request.route != "algorithms"] == ["asset"]


# -- pages -----------------------------------------------------------------------------------------------------------


def test_all_pages_are_taken(earth_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "PAGE", 3)
    scenes = [radar(f"s{k}", f"2020-06-{k + 1:02}") for k in range(10)]
    assert names(found(earth_engine, scenes)) == [f"s{k}" for k in range(10)]
    pages = earth_engine.asked("computeFeatures")
    assert [request.body["pageSize"] for request in pages] == [3] * 4
    assert len(earth_engine.asked("compute")) == 1


@pytest.mark.parametrize("wrong", ["short", "twice"])
def test_pages_that_do_not_hold_all_images_are_an_error(
    earth_engine: Any, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    import ee

    monkeypatch.setattr(catalogue, "PAGE", 3)
    real, pages = ee.data.computeFeatures, []

    def broken(request: dict[str, Any]) -> dict[str, Any]:
        page: dict[str, Any] = real(request)
        pages.append(page["features"])
        if len(pages) % 2 == 0:
            page["features"] = page["features"][:-1] if wrong == "short" else pages[-2]
        return page

    monkeypatch.setattr(ee.data, "computeFeatures", broken)
    with pytest.raises(SourceError, match="do not hold all"):
        found(earth_engine, [radar(f"s{k}", f"2020-06-{k + 1:02}") for k in range(5)])
    assert len(pages) == 4  # tried twice


# -- nothing there ---------------------------------------------------------------------------------------------------


def test_the_trap_of_a_place_that_is_seen_on_one_pass_only_is_explained(earth_engine: Any) -> None:
    scenes = [radar(f"s{k}", f"2020-06-0{k}", relativeOrbitNumber_start=k) for k in (1, 2)]
    with pytest.raises(ConfigError) as error:
        found(earth_engine, scenes, {"months": 2020}, orbits=["descending"])
    text = str(error.value)
    assert "none of the 2 images here in 2020-01 to 2020-12" in text
    assert "ascending tracks 1, 2; with VV VH" in text
    assert "seen on ascending passes only" in text
    assert len(earth_engine.asked("computeFeatures")) == 4 + 1  # a quarter each, and one to explain


def test_a_limit_of_cloud_that_nothing_meets_is_explained(earth_engine: Any) -> None:
    scenes = [optical(f"2020060{k}T1_0_T31UGR", f"2020-06-0{k}", CLOUDY_PIXEL_PERCENTAGE=40.0 + k) for k in (1, 2)]
    with pytest.raises(ConfigError, match=r"(?s)none of the 2 images.*the clearest has 41 % cloud"):
        found(earth_engine, scenes, product="s2-sr", max_cloud=20)


def test_filters_that_leave_all_out_are_named(earth_engine: Any) -> None:
    scenes = [scene("me/mine", name, "2020-06-02", kind=name) for name in "ac"]
    with pytest.raises(ConfigError, match=r"(?s)none of the 2 images.*`filters:` kind is a, c$"):
        found(earth_engine, scenes, **MINE, filters={"kind": "b"})
    with pytest.raises(ConfigError, match=r"(?s)`filters:` kidn is a property that none of them has"):
        found(earth_engine, scenes, **MINE, filters={"kidn": "a"})
    with pytest.raises(ConfigError, match=r"(?s)there are: ascending.*`filters:` mode is a property that none"):
        found(earth_engine, [radar("a", "2020-06-02")], filters={"mode": "b"})


def test_where_nothing_is_nothing_is_blamed(earth_engine: Any) -> None:
    assert found(earth_engine, [radar("a", "2020-07-02")], orbits=["descending"]) == []

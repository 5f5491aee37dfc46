"""Records of the catalogue to items: exact times, one item for each frame of a pair, newest processing, warnings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from shapely.geometry import box

from m3leo_prep.core.choice import parse_rule
from m3leo_prep.core.errors import SourceError
from m3leo_prep.core.raster import Item
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.asf.gunw.finding import advise, find, newest, times
from m3leo_prep.sources.asf.gunw.names import TRACKS, parse
from m3leo_prep.sources.asf.gunw.source import Gunw
from m3leo_prep.sources.asf.orbits import orbit_day
from m3leo_prep.testing.earthdata import Granule
from tests.sources.asf.gunw.pairs import name

AREA = box(-99.2, 19.3, -99.0, 19.5)
GROUND = box(-100, 18.5, -97.5, 20)
SLOTS = parse_rule({"pairs": {"year": 2018}}).slots()
SCENE = "S1A_IW_SLC__1SDV_{}_{}_020375_022CEB_6BE7"


def record(called, *, frame=21_001, ground=GROUND, start=None, inputs=(), collection="", **about):
    dates = called.split("-tops-")[1]
    began = start or datetime.strptime(dates[:8] + dates[18:24], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    told = {"PATH_NUMBER": str(int(called.split("-R-")[1][:3])), "PERPENDICULAR_BASELINE": "-47.25", **about}
    if frame is not None:
        told["FRAME_NUMBER"] = str(frame)
    stop = began + timedelta(seconds=40)
    return Granule(called, "gunw", ground, began, stop, told, inputs=inputs, collection=collection)


def found(earthdata, *granules, area=AREA, slots=SLOTS, versions=(2, 3), tracks=()):
    for granule in granules:
        earthdata.add(granule)
    return list(find(area, slots, versions=versions, tracks=tracks))


def test_cost_is_each_granule_once_by_its_size():
    def item(n, size):
        return Item(f"g{n}", GROUND, properties={"url": f"https://data/{n}.nc", "size": size})

    source = Gunw()
    assert source.describe().fetches_once
    cost = source.estimate([], [], [item(1, 90_000_000), item(2, 80_000_000)])
    assert (cost.requests, cost.bytes) == (2, 170_000_000)
    assert len(cost.notes) == 1
    unsized = source.estimate([], [], [item(1, 90_000_000), item(2, 0)])
    assert (unsized.requests, unsized.bytes) == (2, 90_000_000)
    assert "1 of 2 files are of unknown size" in unsized.notes[1]


def test_an_item_says_all_that_rules_and_companions_need(earthdata):
    inputs = [
        SCENE.format("20180130T004227", "20180130T004254"),
        SCENE.format("20180130T004252", "20180130T004319"),
        SCENE.format("20180106T004228", "20180106T004255"),
    ]
    (item,) = found(earthdata, record(name(), inputs=inputs))
    about = dict(item.properties)
    assert about.pop("url").endswith(f"/{name()}.nc")
    assert about.pop("checksum") == item.version
    assert about == {
        "size": 0,
        "reference_time": "2018-01-30T00:42:27+00:00",
        "secondary_time": "2018-01-06T00:42:28+00:00",
        "relative_orbit": 5,
        "orbit_direction": "descending",
        "product_version": "3.0.1",
        "frame": 21_001,
        "perp_baseline": -47.25,
    }
    assert item.id == name()
    assert item.datetime == datetime(2018, 1, 30, 0, 42, 27, tzinfo=UTC)
    assert item.footprint.symmetric_difference(GROUND).area < 0.01  # straight edges bulge by their great circles


def test_without_scenes_the_secondary_is_at_the_references_time_of_day():
    start = datetime(2018, 1, 30, 0, 42, 40, tzinfo=UTC)
    assert times(parse(name()), start, ()) == (start, datetime(2018, 1, 6, 0, 42, 40, tzinfo=UTC))


def test_a_catalogue_that_counts_from_the_secondary_date_does_not_move_the_reference():
    start = datetime(2018, 1, 6, 0, 42, 40, tzinfo=UTC)
    reference, secondary = times(parse(name()), start, ())
    assert reference == datetime(2018, 1, 30, 0, 43, 1, tzinfo=UTC)
    assert secondary == datetime(2018, 1, 6, 0, 43, 1, tzinfo=UTC)


def test_a_pass_across_midnight_has_both_its_dates(shared_data):
    import json

    about = json.loads((shared_data / "gunw/midnight_crossing_metadata.json").read_text())
    scenes = [one["sceneName"] for key in ("reference", "secondary") for one in about[f"{key}_properties"]]
    called = parse("S1-GUNW-D-R-048-tops-20230106_20221214-235959-00090E_00040N-PP-c254-v3_0_1")
    reference, secondary = times(called, datetime(2023, 1, 6, 23, 59, 34, tzinfo=UTC), scenes)
    assert reference == datetime(2023, 1, 6, 23, 59, 34, tzinfo=UTC)
    assert secondary == datetime(2022, 12, 13, 23, 59, 35, tzinfo=UTC)
    assert (reference - secondary).days == 23  # 24 repeat days less a second


def test_frames_on_both_sides_of_midnight_are_one_pair(earthdata, shared_data):
    """Names have the date of a frame's middle, which midnight may part: of the reference, the secondary, or both."""
    import json

    about = json.loads((shared_data / "gunw/midnight_crossing_metadata.json").read_text())
    first, second = (about[f"{key}_properties"] for key in ("reference", "secondary"))
    ground = box(89.7, 39.7, 93.3, 42)
    frames = [
        ("20230106_20221213-235947", [first[0]], [second[0]], "aaaa", (40.07, 42)),
        ("20230107_20221214-000012", [first[1]], [second[1]], "bbbb", (39.7, 40.03)),
        ("20230106_20221214-235959", first, second, "cccc", (40.02, 40.08)),
    ]
    granules = [
        record(
            f"S1-GUNW-D-R-048-tops-{dates}-00090E_00040N-PP-{digest}-v3_0_1",
            frame=number,
            ground=box(89.7, south, 93.3, north),
            inputs=[one["sceneName"] for one in (*later, *earlier)],
            start=datetime(2023, 1, 6, 23, 59, 34 + 10 * number, tzinfo=UTC),
        )
        for number, (dates, later, earlier, digest, (south, north)) in enumerate(frames)
    ]
    rule = parse_rule({"pairs": {"period": ["2022-01-01", "2023-12-31"], "windows": {"days": [24, 24]}}})
    items = found(earthdata, *granules, area=ground, slots=rule.slots())
    assert len(items) == 3
    assert {item.acquisition for item in items} == {"048-20230106-20221213"}
    (chosen,) = rule.choose(box(91, 40, 91.1, 40.1), items)
    assert {item.id for item in chosen} == {granule.name for granule in granules}
    for item in items:  # each alone is 24 days too, however its dates are written
        assert rule.choose(box(91, 40, 91.1, 40.1), [item]) == [[item]]


def test_all_frames_of_an_orbit_share_its_day_and_no_other_orbit_of_the_track_does():
    for track in range(1, TRACKS + 1):
        began = datetime(2023, 1, 6, 23, 21, 35, tzinfo=UTC) + (track - 48) * timedelta(days=12) / 175
        days = {orbit_day(track, began + timedelta(minutes=m)) for m in (-20, 0, 24, 49, 75, 98, 118)}
        assert days == {began.date()}
        assert orbit_day(track, began + timedelta(days=1, minutes=30)) == began.date() + timedelta(days=1)


def test_both_dates_lie_in_the_slot(earthdata):
    inside, across = name(), name(("20180106", "20171231"))
    items = found(earthdata, record(inside), record(across))
    assert [item.id for item in items] == [inside]
    both = found(earthdata, slots=parse_slots({"periods": [["2017-01-01", "2018-12-31"]]}))
    assert [item.id for item in both] == [across, inside]


def test_versions_and_tracks_choose(earthdata):
    old = name(("20180307", "20180106"), version="v2_0_6")
    other = name(("20180308", "20180107"), track=78, direction="A")
    granules = record(name()), record(old, frame=None, collection="SENTINEL-1_INTERFEROGRAMS"), record(other)
    assert len(found(earthdata, *granules)) == 3
    assert [item.id for item in found(earthdata, versions=(2,))] == [old]
    assert [item.id for item in found(earthdata, tracks=(78,))] == [other]
    assert "frame" not in found(earthdata, versions=(2,))[0].properties


def test_frames_of_a_pair_share_an_acquisition_and_stand_together(earthdata):
    north = record(name(), ground=box(-100, 19.4, -97.5, 21))
    south = record(name(clock="004325", digest="aaaa"), frame=21_006, ground=box(-100, 18, -97.5, 19.45))
    between = record(name(("20180131", "20180107"), track=12), frame=9)
    again = record(name(("20180307", "20180106")), frame=21_001)
    items = found(earthdata, south, between, again, north)
    assert [item.id for item in items] == [north.name, south.name, between.name, again.name]
    assert items[0].acquisition == items[1].acquisition != items[2].acquisition
    assert len({item.acquisition for item in items}) == 3


def test_the_newest_processing_of_a_frame_counts_and_says_so(earthdata):
    old, older, new = name(version="v3_0_0"), name(version="v2_0_6"), name()
    small = box(-100, 18.5, -97.5, 19.99)
    items = found(
        earthdata, record(old, ground=GROUND.buffer(0.01)), record(older, frame=None, ground=small), record(new)
    )
    assert [item.id for item in items] == [new]
    assert items[0].properties["older_versions"] == 2
    (line,) = advise(items)
    assert line.startswith("2 older processings")


def test_what_newer_frames_do_not_cover_stays(earthdata):
    old = record(name(version="v2_0_6"), frame=None, ground=box(-100, 18, -97.5, 20))
    new = record(name(clock="004325"), ground=box(-100, 19, -97.5, 21))
    items = found(earthdata, old, new)
    assert [item.id for item in items] == [new.name, old.name]
    (line,) = advise(items)
    assert line.startswith("1 of 2 interferograms are of version 2, without unfiltered coherence")


def test_frames_of_one_version_never_replace_each_other():
    when = datetime(2018, 1, 30, tzinfo=UTC)
    both = [(parse(name(digest=each)), Item(each, GROUND, datetime=when)) for each in ("aaaa", "bbbb")]
    assert [item.id for item in newest(both)] == ["aaaa", "bbbb"]


def test_single_layers_and_other_names_are_no_granules(earthdata):
    layer = record(f"{name(version='v2_0_6')}-amplitude", frame=None)
    assert found(earthdata, layer) == []


def test_a_pair_the_wrong_way_round_is_never_chosen_and_told(earthdata):
    wrong = record(name(("20180106", "20180130")), frame=21_002)
    items = found(earthdata, wrong, record(name()))
    rule = parse_rule({"pairs": {"year": 2018, "pick": "all", "count": 3}})
    chosen = rule.choose(AREA, items)
    assert [item.id for slot in chosen for item in slot] == [name()]
    (line,) = advise(items)
    assert "not later" in line
    assert wrong.name in line


def test_a_record_without_a_file_is_an_error(earthdata):
    granule = record(name())
    earthdata.add(
        Granule(granule.name, "gunw", GROUND, granule.start, granule.stop, granule.attributes, {"x.png": None})
    )
    with pytest.raises(SourceError, match=r"names no file") as caught:
        list(Gunw().find(AREA, SLOTS))
    assert granule.name in str(caught.value)


def test_an_area_without_granules_has_none(earthdata):
    assert found(earthdata, record(name()), area=box(10, 10, 11, 11)) == []
    (line,) = advise([])
    assert line.startswith("no interferogram at all")

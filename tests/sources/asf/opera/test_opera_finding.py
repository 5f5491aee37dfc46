"""Which granules become items: directions, slots, newest versions, passes; static layers whatever the dates say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.choice import OrbitRule
from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.raster import STATIC
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.asf import Asf
from m3leo_prep.sources.asf.opera.finding import spans
from m3leo_prep.sources.asf.opera.names import Name, layer_of, parse
from m3leo_prep.testing.earthdata.files import opera
from tests.sources.asf.opera.scene import DONE, FIRST, HERE, LOWER, MORNING, SECOND, UPPER, burst, clear, power

JUNE = parse_slots({"periods": [["2020-06-01", "2020-06-30"]]})


def test_names_are_those_of_the_archive():
    name = "OPERA_L2_RTC-S1_T131-279916-IW1_20231202T162856Z_20231202T232622Z_S1A_30_v1.0"
    assert parse(name) == Name("T131-279916-IW1", 131, "20231202T162856Z", "20231202T232622Z", "S1A", (1, 0))
    static = "OPERA_L2_RTC-S1-STATIC_T161-344054-IW2_20140403_S1B_30_v1.0"
    assert parse(static) == Name("T161-344054-IW2", 161, "20140403", "", "S1B", (1, 0))
    assert parse(static.replace("_S1B", "_20231205T032754Z_S1B")).processed == "20231205T032754Z"
    with pytest.raises(SourceError, match="not named as OPERA"):
        parse("OPERA_L2_CSLC-S1_T160-342208-IW3_20141028T161143Z_20230929T095254Z_S1A_VV_v1.0")


def test_files_tell_their_layer():
    name = "OPERA_L2_RTC-S1-STATIC_T161-344054-IW2_20140403_S1B_30_v1.0"
    base = f"https://datapool.asf.alaska.edu/RTC-STATIC/OPERA-S1/{name}"
    assert layer_of(f"{base}_local_incidence_angle.tif", name) == "local_incidence_angle"
    for other in (f"{base}.iso.xml", f"{base}_mask.tif.md5", f"{base}_BROWSE.png", f"https://h/other_{name}_mask.tif"):
        assert layer_of(other, name) == ""


def test_slots_that_touch_are_asked_for_at_once():
    months = parse_slots({"months": 2020})
    assert spans(months) == [(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))]
    assert spans([months[0], months[2]])[1][0] == datetime(2020, 3, 1, tzinfo=UTC)
    with pytest.raises(ConfigError, match="of which time"):
        spans([STATIC])


def test_bursts_come_by_time_with_what_reading_needs(earthdata, tmp_path):
    for one in (
        burst(tmp_path, start=SECOND, orbit=33_035),
        burst(tmp_path),
        burst(tmp_path, LOWER, number=31_414, start=FIRST - timedelta(seconds=3)),
        burst(tmp_path, start=datetime(2020, 7, 9, tzinfo=UTC), orbit=33_385),
        burst(tmp_path, start=datetime(2020, 5, 31, 23, 59, 58, tzinfo=UTC), orbit=32_816),  # until the first of June
        burst(tmp_path, start=MORNING, direction="descending", orbit=32_926, number=140_000),
    ):
        earthdata.add(one)
    items = list(Asf(product="opera-rtc", orbits=["ascending"], bands=["vv"]).find(HERE, JUNE))
    assert [item.datetime for item in items] == [FIRST - timedelta(seconds=3), FIRST, SECOND]
    assert [item.acquisition for item in items] == ["S1A-T015-20200603"] * 2 + ["S1A-T015-20200615"]
    about = items[0].properties
    assert (about["relative_orbit"], about["orbit_direction"], about["polarisations"]) == (15, "ascending", "VH VV")
    files = [key for key in about if key.startswith("url_")]
    assert files == ["url_VV", "url_mask"]
    assert str(about["url_VV"]).endswith(f"{items[0].id}_VV.tif")
    assert str(about["checksum_VV"]).startswith("md5:")
    both = list(Asf(product="opera-rtc").find(HERE, JUNE))
    assert [item.properties["orbit_direction"] for item in both].count("descending") == 1
    assert list(Asf(product="opera-rtc").find(box(20, 20, 20.1, 20.1), JUNE)) == []


@pytest.mark.parametrize(
    ("burst", "crossing"),
    [
        ("T131-279916-IW1", 131),  # recorded: 65 N, descending
        ("T161-344054-IW2", 161),  # recorded: 65 N, ascending
        ("T015-032211-IW2", 16),
        ("T016-032224-IW2", 16),
        ("T175-375870-IW3", 1),
        ("T001-000004-IW3", 1),
    ],
)
def test_a_pass_is_that_of_the_orbit_which_begins_in_it(burst, crossing):
    assert parse(f"OPERA_L2_RTC-S1_{burst}_20231202T162856Z_20231202T232622Z_S1A_30_v1.0").crossing == crossing


def test_bursts_on_both_sides_of_the_equator_and_of_midnight_are_one_pass(earthdata, tmp_path):
    """The orbits' numbers change at the equator: one pass would count twice there."""
    grid = GeoBox((8, 8), Affine(30.0, 0, 500_000.0, 0, -30.0, 120.0), "EPSG:32632")
    for name, seconds, orbit in (("T015-032211-IW2", -20, 32_860), ("T016-032224-IW2", 16, 32_861)):
        start = datetime(2020, 6, 4, tzinfo=UTC) + timedelta(seconds=seconds)
        made = {"burst": name, "start": start, "processed": start, "direction": "ascending", "orbit": orbit}
        earthdata.add(opera.rtc(tmp_path, grid, {"VV": power(grid)}, clear(grid), **made))
    items = list(Asf(product="opera-rtc", bands=["vv_asc"]).find(box(8.9, -0.1, 9.1, 0.1), JUNE))
    assert [item.properties["relative_orbit"] for item in items] == [15, 16]
    assert len({item.acquisition for item in items}) == 1


def test_the_newest_of_two_versions_is_taken_and_the_plan_says_so(earthdata, tmp_path):
    earthdata.add(burst(tmp_path, processed=DONE))
    earthdata.add(burst(tmp_path, processed=DONE + timedelta(days=200)))
    source = Asf(product="opera-rtc", orbits=["ascending"])
    (item,) = source.find(HERE, JUNE)
    assert "_20240319T000000Z_" in item.id
    assert source.advise([item], JUNE) == ["older versions of bursts that were processed again are left out: 1"]


def test_a_files_other_bytes_are_another_version(earthdata, tmp_path):
    versions = []
    for seed in (1, 2, 1):
        earthdata.reset()
        earthdata.add(burst(tmp_path / f"{len(versions)}", images={"VV": power(UPPER, seed)}))
        (item,) = Asf(product="opera-rtc", orbits=["ascending"]).find(HERE, JUNE)
        versions.append((item.id, item.version))
    assert versions[0] == versions[2]
    assert versions[0][0] == versions[1][0]
    assert versions[0][1] != versions[1][1]


def test_the_plan_is_told_what_is_missing(earthdata, tmp_path):
    earthdata.add(burst(tmp_path, images={"HH": power(UPPER)}))
    source = Asf(product="opera-rtc")
    said = list(source.advise(list(source.find(HERE, JUNE)), JUNE))
    assert said == [
        "1 of 1 ascending bursts have no VV: they have HH",
        "1 of 1 ascending bursts have no VH: they have HH",
        "no descending burst at all: `orbits: [ascending]` drops its bands",
    ]
    assert "2016-04-14" in source.advise([], JUNE)[0]


def test_cost_is_each_file_once_by_its_size(earthdata, tmp_path):
    granules = [burst(tmp_path), burst(tmp_path, start=SECOND, orbit=33_035)]
    for one in granules:
        earthdata.add(one)
    source = Asf(product="opera-rtc", bands=["vv_asc"])
    cost = source.estimate([], JUNE, list(source.find(HERE, JUNE)))
    assert source.describe().fetches_once
    sizes = [path.stat().st_size for one in granules for name, path in one.files.items() if "_VH" not in name]
    assert (cost.requests, cost.bytes) == (4, sum(sizes))


def test_static_layers_are_found_though_dates_are_asked_for(earthdata, tmp_path):
    for number, direction in ((31_415, "ascending"), (31_414, "ascending"), (140_000, "descending")):
        track = {"ascending": 15, "descending": 66}[direction]
        earthdata.add(
            opera.rtc_static(
                tmp_path,
                UPPER,
                {"local_incidence_angle": power(UPPER, mean=40.0)},
                burst=f"T{track:03}-{number:06}-IW2",
                direction=direction,
            )
        )
    source = Asf(product="opera-rtc-static")
    for slots in (JUNE, OrbitRule(2).slots()):
        items = list(source.find(HERE, slots))
        assert [item.properties["relative_orbit"] for item in items] == [15, 15, 66]
        assert {item.datetime for item in items} == {None}
        assert items[0].properties["valid_from"] == "2014-04-03"
    assert len(list(Asf(product="opera-rtc-static", orbits=["descending"]).find(HERE, JUNE))) == 1
    assert source.describe().slot_kinds == ("orbit",)
    chosen = OrbitRule(2).choose(box(9.0, 49.46, 9.01, 49.47), items)
    assert [{item.properties["relative_orbit"] for item in slot} for slot in chosen] == [{15}, {66}]
    assert len({item.acquisition for item in chosen[0]}) == 1

"""What a STAC API is asked and what is made of its pages: all items, each once, or an error."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point, box

from m3leo_prep.blobs import http
from m3leo_prep.core.errors import ConfigError, CredentialsError, RateLimited, SourceError, TriedOut
from m3leo_prep.sources.stac.catalogues import Catalogue, catalogue
from m3leo_prep.sources.stac.items import told
from m3leo_prep.sources.stac.question import MOST_IN_ADDRESS, MOST_VERTICES, questions, satisfies
from m3leo_prep.sources.stac.search import search
from m3leo_prep.testing.answers import Answer, to_json
from tests.sources.stac.stac_server import HTML, StacApi, item

AREA = box(9.2, 49.2, 9.4, 49.4)
JUNE = datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 7, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.0005)


def found(api, area=AREA, times=JUNE, names=("things",), **more):
    return search(Catalogue("test", api.url), names, area, *times, **more)


def many(count):
    return [item(f"i{k:04}", when=f"2020-06-{1 + k % 30:02}T10:00:00Z") for k in range(count)]


@pytest.mark.parametrize("style", ["body", "merge", "get"])
@pytest.mark.parametrize("counts", [True, False])
def test_every_item_of_many_pages_is_found_once(style, counts):
    with StacApi(style, counts, always_next=style == "body", items=many(251)) as api:
        items = found(api)
    assert sorted(one.id for one in items) == [f"i{k:04}" for k in range(251)]
    assert [(one.start, one.id) for one in items] == sorted((one.start, one.id) for one in items)
    assert api.pages() == (4 if style == "body" else 3)


def test_2501_items_are_all_found():
    with StacApi(items=many(2501), always_next=True) as api:
        assert len(found(api)) == 2501


def once(spoil):
    """Spoil one page only."""
    left = [1]

    def wrapped(number, page):
        if number == 2 and left:
            left.clear()
            return spoil(page)
        return page

    return wrapped


SPOILED = {
    "short": lambda page: page[:-1],
    "empty": lambda _page: [],
    "twice": lambda page: [*page[:-1], page[0]],
}


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("counts", [True, False])
def test_a_page_that_is_wrong_once_is_asked_again(how, counts):
    with StacApi(counts=counts, items=many(210), spoil=once(SPOILED[how])) as api:
        assert len(found(api)) == 210
    assert api.pages() >= 6


@pytest.mark.parametrize("how", SPOILED)
def test_pages_that_are_always_wrong_are_an_error_and_never_fewer_items(how):
    """Each time at another place, as it is where items move."""
    chance = random.Random(1)

    def spoil(_number, page):
        chance.shuffle(page)
        return SPOILED[how](page)

    with StacApi(items=many(210), spoil=spoil) as api, pytest.raises(TriedOut, match="do not fit together"):
        found(api)


def test_items_that_move_to_another_page_are_seen_by_the_one_that_came_twice():
    """Without a count: an item is added before all others after the first page, and pushes one over the border."""
    items = many(300)

    def spoil(number, page):
        if number == 1:
            api.items = [*items, item("a-new-one")]
        return page

    with StacApi(counts=False, items=items, spoil=spoil) as api:
        assert {one.id for one in found(api)} == {one["id"] for one in items} | {"a-new-one"}


def test_a_count_that_is_too_low_is_no_reason_to_drop_items_and_one_too_high_is_an_error():
    class Lying(StacApi):
        off = 0

        def _page(self, method, asked):
            answer = super()._page(method, asked)
            told = json.loads(answer.body)
            return to_json(told | {"numberMatched": told["numberMatched"] + self.off})

    with Lying(items=many(150)) as api:
        api.off = -100
        assert len(found(api)) == 150
        api.off = 1
        with pytest.raises(TriedOut, match="150 items came, it counts 151"):
            found(api)


def test_a_count_that_ends_early_hides_no_short_page():
    """As of servers that count no further than 10,000."""

    class Capped(StacApi):
        def _page(self, method, asked):
            told = json.loads(super()._page(method, asked).body)
            return to_json(told | {"numberMatched": min(told["numberMatched"], 100)})

    with Capped(items=many(210), spoil=once(SPOILED["short"])) as api:
        assert len(found(api)) == 210


def test_a_page_that_leads_to_itself_ends():
    class Turning(StacApi):
        def _page(self, method, asked):
            return super()._page(method, asked | {"token": "0"})

    with Turning(items=many(300)) as api, pytest.raises(TriedOut):
        found(api)


def test_one_id_with_two_contents_is_an_error():
    other = item("i0003", when="2020-06-09T10:00:00Z")
    with StacApi(items=[*many(9), other]) as api, pytest.raises(TriedOut, match="'i0003' came twice, with different"):
        found(api)


def test_limits_pages_of_html_and_cut_answers_are_waited_out():
    busy = Answer(b"", 429, headers={"Retry-After": "0"})
    page = Answer(b"<html>login</html>", 200, "text/html")
    half = Answer(b'{"type": "FeatureCollection", "fea', 200)
    with StacApi(items=many(20), faults=[busy, HTML, page, half]) as api:
        assert len(found(api)) == 20
    with StacApi(items=many(20), faults=[busy] * 9) as api, pytest.raises(RateLimited):
        found(api)
    with StacApi(items=many(20), faults=[page] * 9) as api, pytest.raises(TriedOut, match="no JSON"):
        found(api)


def test_a_refusal_is_told_in_the_servers_words():
    refused = to_json({"code": "BadRequest", "description": "unknown operator"}, 400)
    with StacApi(items=many(2), faults=[refused]) as api, pytest.raises(SourceError, match=r"400.*unknown operator"):
        found(api)
    with StacApi(items=many(2), faults=[to_json({}, 401)]) as api, pytest.raises(CredentialsError) as caught:
        found(api)
    assert "copy of its items" in caught.value.hint


def test_an_unknown_collection_is_named_with_those_that_there_are():
    with StacApi(items=many(2)) as api, pytest.raises(ConfigError, match="has no collection 'thing'") as caught:
        found(api, names=("thing",))
    assert "things" in caught.value.hint
    with StacApi(items=many(2)) as api, pytest.raises(ConfigError, match="has no collection"):
        found(api, names=("../search?x",))
    assert api.requests[-2][1].endswith("/collections/../search?x")


def test_addresses_of_files_that_are_not_whole_count_from_the_item():
    one = item("a", assets={"dem": {"href": "../files/a.tif"}, "web": {"href": "s3://b/c.tif"}})
    one["links"] = [{"rel": "self", "href": "https://example.org/stac/items/a"}]
    with StacApi(items=[one, item("b", assets={"dem": {"href": "b.tif"}})]) as api:
        a, b = found(api)
    assert a.assets["dem"].href == "https://example.org/stac/files/a.tif"
    assert a.assets["web"].href == "s3://b/c.tif"
    assert b.assets["dem"].href == f"{api.url}/b.tif"


def test_nothing_found_is_no_error():
    with StacApi(items=many(2)) as api:
        assert found(api, area=box(0, 0, 1, 1)) == []
        assert found(api, times=(JUNE[1], JUNE[0])) == []


def test_times_are_half_open_and_intervals_count():
    items = [
        item("before", when="2020-05-31T23:59:59.999Z"),
        item("first", when="2020-06-01T00:00:00Z"),
        item("last", when="2020-06-30T23:59:59.999999Z"),
        item("after", when="2020-07-01T00:00:00Z"),
        item("long", when=None, start_datetime="2020-05-01T00:00:00Z", end_datetime="2020-06-02T00:00:00Z"),
    ]
    with StacApi(items=items) as api:
        assert [one.id for one in found(api)] == ["long", "first", "last"]
        assert len(found(api, times=(None, None))) == 5


def test_items_that_lack_something():
    bare = item("bare")
    del bare["assets"]
    nowhere = item("nowhere") | {"geometry": None, "bbox": [9, 49, 0, 10, 50, 900]}
    undated = item("undated", when=None)
    for one in (bare, nowhere, undated):
        assert told(one, "here").footprint.equals(box(9, 49, 10, 50))
    assert told(bare, "here").assets == {}
    assert told(undated, "here").start is None
    with StacApi(items=[bare, undated]) as api:
        assert [one.id for one in found(api)] == ["bare"]
        assert {one.id for one in found(api, times=(None, None))} == {"bare", "undated"}
    with pytest.raises(SourceError, match=r"item gone: .*no outline"):
        told(item("gone") | {"geometry": None, "bbox": None}, "here")
    with pytest.raises(SourceError, match="has no id"):
        told(item(""), "here")
    with pytest.raises(SourceError, match="'soon' is no time"):
        told(item("when", when="soon"), "here")
    assert told(item("spot", Point(9, 49)) | {"bbox": [9, 49, 9.1, 49.1]}, "here").footprint.equals(
        box(9, 49, 9.1, 49.1)
    )


def test_across_the_antimeridian():
    """An area in two parts; an item whose ring jumps across, and a box whose west is beyond its east."""
    ring = {"type": "Polygon", "coordinates": [[[179, -17], [-179, -17], [-179, -16], [179, -16], [179, -17]]]}
    jumps = item("jumps") | {"geometry": ring}
    boxed = item("boxed") | {"geometry": None, "bbox": [179, -17, -179, -16]}
    both = MultiPolygon([box(179, -17, 180, -16), box(-180, -17, -179, -16)])
    for one in (jumps, boxed):
        assert told(one, "here").footprint.symmetric_difference(both).area < 1e-9
    east = item("east", box(179.2, -16.8, 179.4, -16.2))
    west = item("west", box(-179.4, -16.8, -179.2, -16.2))
    with StacApi(items=[east, west, item("far")]) as api:
        assert [one.id for one in found(api, area=both)] == ["east", "west"]


@settings(max_examples=6)
@given(st.integers(0, 10**6), st.booleans())
def test_what_is_found_is_what_brute_force_finds(seed, counts):
    chance = np.random.default_rng(seed)
    items = []
    for k in range(chance.integers(1, 130)):
        x, y = chance.uniform(8, 10), chance.uniform(48, 50)
        when = JUNE[0] + timedelta(hours=float(chance.uniform(-300, 1000)))
        items.append(item(f"n{k}", Point(x, y).buffer(chance.uniform(0.05, 0.5)), when.isoformat()))
    area = Point(9, 49).buffer(chance.uniform(0.1, 1)).difference(Point(9, 49).buffer(0.05))
    with StacApi(counts=counts, items=items) as api:
        names = {one.id for one in found(api, area=area)}
    expected = {
        one["id"]
        for one in items
        if shapely.geometry.shape(one["geometry"]).intersects(area)
        and JUNE[0] <= datetime.fromisoformat(one["properties"]["datetime"]) < JUNE[1]
    }
    assert names == expected


@settings(max_examples=4)
@given(st.integers(0, 10**6))
def test_a_long_outline_is_asked_about_from_outside_and_tested_exactly(seed):
    chance = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 1500, endpoint=False)
    radius = 1 + 0.2 * chance.standard_normal(1500).cumsum() / np.sqrt(1500)
    area = shapely.make_valid(shapely.Polygon(np.stack([9 + radius * np.cos(angles), 49 + radius * np.sin(angles)], 1)))
    area = max(shapely.get_parts(area), key=lambda part: part.area)
    (asked,) = questions(area)
    assert shapely.get_num_coordinates(asked) <= MOST_VERTICES
    assert asked.contains(area)
    (shorter,) = questions(area, MOST_IN_ADDRESS)
    assert shapely.get_num_coordinates(shorter) <= MOST_IN_ADDRESS
    assert shorter.contains(area)
    assert asked.difference(area).area < 0.2 * area.area


def test_a_long_outline_at_the_edge_of_the_world_stays_in_it():
    corners = [(180 - 2 * abs(np.sin(k)), k / 100) for k in range(900)]
    area = shapely.make_valid(shapely.Polygon([(180, 0), *corners, (180, 9)])).buffer(0)
    (asked,) = questions(area)
    assert shapely.get_num_coordinates(asked) <= MOST_VERTICES
    assert asked.buffer(1e-9).contains(area)
    assert asked.bounds[2] <= 180


def scattered(count):
    """Return small squares all over the world, and their lower left corners."""
    chance = np.random.default_rng(3)
    spots = np.stack([chance.uniform(-179, 179, count), chance.uniform(-60, 75, count)], 1)
    return shapely.multipolygons(shapely.box(*spots.T, *(spots + 0.05).T)), spots


@pytest.mark.parametrize("most", [MOST_IN_ADDRESS, MOST_VERTICES])
def test_parts_far_from_each_other_are_not_asked_about_as_one_world(most):
    area, _ = scattered(150)
    asked = questions(area, most)
    assert shapely.get_num_coordinates(asked).max() <= most
    assert shapely.union_all(asked).contains(area)
    assert sum(one.area for one in asked) < 100
    assert len(asked) < 6000 / most


def test_what_lies_far_apart_is_found_by_addresses_that_servers_take():
    area, spots = scattered(40)
    with StacApi("get", items=[item(f"i{k}", box(x, y, x + 1, y + 1)) for k, (x, y) in enumerate(spots)]) as api:
        assert len(found(api, area=area)) == 40
        addresses = [json.dumps(query) for _, path, query in api.requests if path.endswith("/search")]
    assert len(addresses) > 1
    assert max(map(len, map(quote, addresses))) < 8000


def test_a_server_that_answers_more_than_was_asked():
    class Wide(StacApi):
        def _page(self, method, asked):
            return super()._page(
                method, {key: value for key, value in asked.items() if key in {"collections", "limit"}}
            )

    near_only_by_its_box = item("corner", shapely.Polygon([(8, 48), (9.5, 48), (9.5, 49.1), (8, 48)]))
    with Wide(items=[*many(40), item("far", box(0, 0, 1, 1)), near_only_by_its_box]) as api:
        assert len(found(api)) == 40
        assert [one.id for one in found(api, times=(JUNE[0], JUNE[0] + timedelta(days=1)))] == ["i0000", "i0030"]


def test_query_is_asked_and_tested():
    items = [item(f"c{cover}", **{"eo:cloud_cover": cover}) for cover in (5, 50, 95)] + [item("unknown")]
    with StacApi(items=items) as api:  # which ignores it
        assert [one.id for one in found(api, query={"eo:cloud_cover": {"lt": 60}})] == ["c5", "c50"]
        assert {"eo:cloud_cover": {"lt": 60}} in [body.get("query") for _, _, body in api.requests if body]
        with pytest.raises(ConfigError, match="does not know it"):
            found(api, filter={"op": "="})
        assert [one.id for one in found(api, query={"eo:cloud_cover": 50})] == ["c50"]
        assert api.requests[-1][2]["query"] == {"eo:cloud_cover": {"eq": 50}}
    assert satisfies({"a": ["x", "y"], "b": "xyz"}, {"a": {"contains": "x"}, "b": {"startsWith": "xy", "in": ["xyz"]}})
    assert not satisfies({"a": 1}, {"a": {"gte": 1, "neq": 1}})
    with pytest.raises(ConfigError, match="no operator 'less'"):
        satisfies({"a": 1}, {"a": {"less": 1}})
    with pytest.raises(ConfigError, match="created: gt: 2020-01-01: a date needs quotes"):
        satisfies({}, {"created": {"gt": date(2020, 1, 1)}})
    with pytest.raises(ConfigError, match="cannot be compared"):
        satisfies({"a": "x"}, {"a": {"lt": 1}})


def test_names_of_catalogues(monkeypatch):
    assert catalogue("earth-search").url == "https://earth-search.aws.element84.com/v1"
    assert catalogue("planetary-computer").collection("s1-rtc") == "sentinel-1-rtc"
    monkeypatch.setenv("M3LEO_PREP_CDSE", "localhost:1")
    assert catalogue("cdse").url == "https://localhost:1/v1"
    with pytest.raises(ConfigError, match="'s1-rtc'") as caught:
        catalogue("earth-search").collection("s1-rtc")
    assert "planetary-computer" in caught.value.hint
    with pytest.raises(ConfigError, match="did you mean 'earth-search'"):
        catalogue("earthsearch")
    secrets = (
        "https://me:abc@example.org/stac",
        "https://abc@example.org/stac",
        "s3://k:abc@b/c.json",
        "http://e/?t=abc",
    )
    for secret in secrets:
        with pytest.raises(ConfigError, match="login or a question") as caught:
            catalogue(secret)
        assert "abc" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"'ftp://example.org/c.json' is no address") as caught:
        catalogue("ftp://me:abc@example.org/c.json?t=abc")
    assert "abc" not in str(caught.value)
    assert catalogue("s3://bucket/catalog.json").is_file
    for name in ("s3://bucket/catalog.json", "earth-search"):
        assert "source: local" in catalogue(name).access().hint
    # However it is named, its files open as its own do.
    assert catalogue("https://planetarycomputer.microsoft.com/api/stac/v1/") == catalogue("planetary-computer")
    assert catalogue("https://example.org/stac").name == "example.org"
    assert catalogue("data/catalog.json").is_file
    assert not catalogue("https://example.org/stac").is_file
    link = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/a/B04.tif"
    assert catalogue("earth-search").address(link) == "s3://sentinel-cogs/a/B04.tif"
    assert catalogue("https://example.org/stac").address(link) == link


@pytest.mark.parametrize(
    ("file", "where"),
    [
        ("cdse_stac/search_queried.json", (2.44, 35.69)),
        ("eodag/earth_search_search.json", (-20.9, 63.0)),
        ("stac_items/S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json", (-148.0, 63.0)),
    ],
)
def test_recorded_items_are_understood(shared_data, file, where):
    data = json.loads((shared_data / "api" / file).read_text())
    for one in data.get("features", [data]):
        seen = told(one, "recorded")
        assert seen.start.year in {2019, 2023, 2024}
        assert seen.footprint.distance(Point(where)) < 3
        assert seen.assets
        assert all(asset.href for asset in seen.assets.values())


def test_recorded_pages_of_earth_search_are_read_to_the_end(shared_data):
    """Its last full page links an empty one."""
    yaml = pytest.importorskip("yaml")
    cassette = yaml.safe_load((shared_data / "api/stac_cassettes/test_multiple_collections.yaml").read_text())
    pages = [
        one["response"]["body"]["string"] for one in cassette["interactions"] if one["request"]["method"] == "POST"
    ]

    class Recorded(StacApi):
        def _page(self, method, asked):
            text = pages[1 if "next" in asked else 0]
            return Answer(text.replace("https://earth-search.aws.element84.com/v1", self.url).encode())

    boulder = Point(-105.1019, 40.1672).buffer(0.01)
    day = datetime(2023, 10, 8, tzinfo=UTC), datetime(2023, 10, 9, tzinfo=UTC)
    with Recorded() as api:
        items = found(api, boulder, day, ("sentinel-2-l2a", "landsat-c2-l2"))
    assert [one.collection for one in items] == ["landsat-c2-l2", "sentinel-2-l2a"]
    assert api.pages() == 2

"""Rules that choose pairs and orbits for a chip: checked against brute force, and where the rules meet their edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon, box

from m3leo_prep.core.choice import OrbitRule, PairRule, covered, parse_rule, rule_of
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item

CHIP = box(10.0, 50.0, 10.05, 50.04)
YEAR = {"year": 2020, "windows": {"short": [0, 60], "long": [61, 216]}}
WEST, EAST = box(9.0, 49.0, 10.02, 51.0), box(10.01, 49.0, 12.0, 51.0)
AROUND = box(9.0, 49.0, 12.0, 51.0)


def frame(
    reference: str, days: int, *, track: int = 44, way: str = "ascending", where: Polygon = AROUND, name: str = ""
) -> Item:
    later = datetime.fromisoformat(reference).replace(hour=5, tzinfo=UTC)
    earlier = later - timedelta(days=days)
    pair = f"{track}-{later:%Y%m%d}_{earlier:%Y%m%d}"
    properties = {
        "reference_time": later.isoformat(),
        "secondary_time": earlier.isoformat(),
        "relative_orbit": track,
        "orbit_direction": way,
    }
    return Item(name or pair, where, "1", later, pair, properties)


def rule(**said: Any) -> PairRule:
    made = parse_rule({"pairs": YEAR | said})
    assert isinstance(made, PairRule)
    return made


def chosen(of: PairRule | OrbitRule, items: Sequence[Item]) -> list[list[str]]:
    return [[item.id for item in slot] for slot in of.choose(CHIP, items)]


def test_far_and_near_take_the_longest_and_the_shortest_baseline_of_each_window() -> None:
    items = [frame("2020-06-01", days) for days in (6, 12, 60, 61, 72, 120, 217)]
    assert chosen(rule(pick="far"), items) == [[items[2].id], [items[5].id]]
    assert chosen(rule(pick="near"), items) == [[items[0].id], [items[3].id]]


def test_both_dates_lie_in_the_period() -> None:
    late = frame("2021-01-01", 12)
    early = frame("2020-01-08", 12)
    first = frame("2020-01-13", 12)
    assert chosen(rule(), [late, early, first]) == [[first.id], []]


def test_equals_are_settled_by_the_newest_reference_and_not_by_the_order_given() -> None:
    items = [frame("2020-06-01", 12), frame("2020-08-12", 12), frame("2020-07-07", 12)]
    for given_order in (items, items[::-1]):
        assert chosen(rule(), given_order)[0] == [items[1].id]


def test_pairs_that_cover_the_chip_come_before_longer_ones_that_cover_a_part() -> None:
    part, whole = frame("2020-06-01", 60, where=WEST), frame("2020-06-01", 12, track=117)
    assert chosen(rule(), [part, whole])[0] == [whole.id]
    assert chosen(rule(), [part])[0] == [part.id]
    assert chosen(rule(min_coverage=0.9), [part])[0] == []


def test_of_partial_ones_the_larger_part_wins() -> None:
    west, east = frame("2020-06-01", 60, where=WEST), frame("2020-06-01", 12, track=117, where=EAST)
    assert covered(CHIP, [east]) > covered(CHIP, [west])
    assert chosen(rule(), [west, east])[0] == [east.id]


def test_frames_of_one_pair_are_chosen_together_and_cover_the_chip_together() -> None:
    west, east = (frame("2020-06-01", 48, where=where, name=name) for where, name in ((WEST, "w"), (EAST, "e")))
    shorter = frame("2020-06-01", 12)
    assert chosen(rule(), [west, shorter, east])[0] == ["w", "e"]


def test_all_takes_the_oldest_first_up_to_the_count() -> None:
    items = [frame("2020-06-25", 12), frame("2020-06-01", 12), frame("2020-06-13", 12), frame("2020-06-13", 24)]
    made = rule(pick="all", count=3)
    assert [slot.label for slot in made.slots()] == ["short_1", "short_2", "short_3", "long_1", "long_2", "long_3"]
    assert chosen(made, items)[:3] == [[items[1].id], [items[3].id], [items[2].id]]
    assert chosen(made, items)[3:] == [[], [], []]


def test_most_frequent_takes_the_reference_that_most_pairs_share() -> None:
    lonely = [frame("2020-09-01", 12), frame("2020-09-01", 24)]
    shared = [frame("2020-06-01", days) for days in (12, 24, 36)]
    other = [frame("2020-06-01", days, track=117) for days in (12, 24)]
    assert chosen(rule(pick="most-frequent"), [*lonely, *shared, *other])[0] == [shared[0].id]


@pytest.mark.parametrize(
    ("direction", "taken"),
    [
        ("any", "117-20200601_20200402"),
        ("ascending", "44-20200601_20200520"),
        ("descending", "117-20200601_20200402"),
        ("ascending_first", "44-20200601_20200520"),
        ("descending_first", "117-20200601_20200402"),
    ],
)
def test_directions(direction: str, taken: str) -> None:
    items = [frame("2020-06-01", 12), frame("2020-06-01", 60, track=117, way="descending")]
    assert chosen(rule(direction=direction), items)[0] == [taken]


def test_the_other_direction_serves_only_where_the_first_has_none() -> None:
    items = [frame("2020-06-01", 60, track=117, way="descending")]
    assert chosen(rule(direction="ascending_first"), items)[0] == [items[0].id]
    assert chosen(rule(direction="ascending"), items)[0] == []


DAY = st.integers(0, 365).map(lambda n: str(datetime(2020, 1, 1, tzinfo=UTC).date() + timedelta(days=n)))
FRAMES = st.builds(
    frame, DAY, st.integers(6, 216), track=st.sampled_from([44, 117]), where=st.sampled_from([WEST, EAST, AROUND])
)


@given(st.lists(FRAMES, max_size=12, unique_by=lambda item: item.id), st.randoms())
def test_far_is_the_longest_full_one_in_any_order(items: list[Item], random: Any) -> None:
    """Against the plain definition, for pairs of one frame each."""
    shuffled = sorted(items, key=lambda _: random.random())
    taken = chosen(rule(), shuffled)
    assert taken == chosen(rule(), items)
    for ids, (low, high) in zip(taken, ((0, 60), (61, 216)), strict=True):
        inside = {
            item.id: (item.datetime - datetime.fromisoformat(str(item.properties["secondary_time"]))).days
            for item in items
            if item.datetime
            and datetime.fromisoformat(str(item.properties["secondary_time"])).year == item.datetime.year == 2020
        }
        here = {key: days for key, days in inside.items() if low <= days <= high}
        full = {item.id for item in items if item.footprint.covers(CHIP)} & here.keys()
        assert bool(ids) == bool(here)
        if full:
            assert ids[0] in full
            assert here[ids[0]] == max(here[key] for key in full)


def orbit(number: int, way: str, where: Polygon = AROUND) -> Item:
    return Item(f"{number}{way}{where.bounds}", where, properties={"relative_orbit": number, "orbit_direction": way})


def test_orbits_that_cover_most_are_kept_and_stand_in_a_fixed_order() -> None:
    tiles = [orbit(168, "descending"), orbit(15, "ascending", WEST), orbit(44, "ascending"), orbit(66, "descending")]
    made = OrbitRule(3)
    assert [slot.label for slot in made.slots()] == ["orbit_1", "orbit_2", "orbit_3"]
    assert not made.slots()[0].is_static
    assert chosen(made, tiles) == [[tiles[2].id], [tiles[3].id], [tiles[0].id]]
    assert chosen(OrbitRule(5), tiles)[4] == []


def test_tiles_of_one_orbit_are_one_slot() -> None:
    tiles = [orbit(44, "ascending", WEST), orbit(44, "ascending", EAST), orbit(44, "descending", EAST)]
    assert chosen(OrbitRule(2), tiles) == [[tiles[0].id, tiles[1].id], [tiles[2].id]]


@pytest.mark.parametrize(
    "said",
    [{"orbits": 4}, {"pairs": YEAR}, {"pairs": {"period": ["2020-03-01", "2020-05-31"], "pick": "all", "count": 3}}],
)
def test_a_rule_comes_back_from_its_document(said: dict[str, Any]) -> None:
    made = parse_rule(said)
    assert made is not None
    assert rule_of(made.document()) == made


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"pairs": {"windows": {"a": [0, 6]}}}, "say in which `year`"),
        ({"pairs": YEAR | {"period": ["2020-01-01", "2020-02-01"]}}, "say in which `year`"),
        ({"pairs": YEAR | {"pik": "far"}}, "did you mean 'pick'"),
        ({"pairs": YEAR | {"pick": "best"}}, "'best' is not known"),
        ({"pairs": YEAR | {"direction": "up"}}, "'up' is not known"),
        ({"pairs": YEAR | {"count": 0}}, "not a whole number from 1"),
        ({"pairs": YEAR | {"count": 900}}, "more than 1000 slots"),
        ({"pairs": YEAR | {"min_coverage": 2}}, "not a share"),
        ({"pairs": YEAR | {"windows": {"a": [60, 0]}}}, "hold nothing"),
        ({"pairs": YEAR | {"windows": {"a": 60}}}, "[least days, most days]"),
        ({"pairs": YEAR | {"windows": [0, 60]}}, "give each a name"),
        ({"pairs": YEAR | {"year": "last"}}, "not a year"),
        ({"orbits": "all"}, "orbits: 'all' is not a whole number"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_rule(said)
    assert says in str(caught.value)


def test_items_without_dates_of_a_pair_are_told_so() -> None:
    with pytest.raises(ConfigError, match="does not say the dates of its pair"):
        rule().choose(CHIP, [Item("scene", AROUND)])


def test_days_are_counted_in_revolutions_not_from_date_to_date() -> None:
    """The secondary date began a second later than the reference did 12 days on, at midnight."""
    item = frame("2020-06-01", 12)
    times = {"reference_time": "2020-05-31T23:59:59+00:00", "secondary_time": "2020-05-20T00:00:00+00:00"}
    across = replace(item, properties={**item.properties, **times})
    assert chosen(rule(windows={"days": [12, 12]}), [across]) == [[across.id]]
    assert chosen(rule(windows={"days": [11, 11]}), [across]) == [[]]


def test_a_pair_whose_reference_is_not_later_is_never_chosen() -> None:
    item = frame("2020-06-01", 0)
    earlier = replace(item, properties={**item.properties, "secondary_time": "2020-06-01T05:30:00+00:00"})
    assert chosen(rule(), [item, earlier]) == [[], []]


def test_the_most_frequent_reference_is_counted_across_midnight() -> None:
    """Three pairs of one pass that began at 23:59:50 or, seen from the next frame, at 00:00:15; two of another one."""

    def at(text: str, days: int) -> Item:
        later = datetime.fromisoformat(text)
        item = frame("2020-06-01", days)
        times = {"reference_time": text, "secondary_time": (later - timedelta(days=days)).isoformat()}
        return replace(item, id=f"{text}-{days}", acquisition=f"{text}-{days}", properties={**item.properties, **times})

    shared = [
        at("2020-06-01T23:59:50+00:00", 12),
        at("2020-06-02T00:00:15+00:00", 24),
        at("2020-06-01T23:59:50+00:00", 36),
    ]
    other = [at("2020-08-01T23:59:50+00:00", 12), at("2020-08-01T23:59:50+00:00", 24)]
    (slot, _) = chosen(rule(pick="most_frequent"), [*shared, *other])
    assert slot == [shared[1].id]


def test_what_chooses_for_many_chips_chooses_as_for_one() -> None:
    items = [frame("2020-06-01", days, where=where) for days in (12, 48, 96) for where in (AROUND, WEST, EAST)]
    items = [replace(item, id=f"{n}", acquisition=f"{n // 2}") for n, item in enumerate(items)]
    for of in (rule(pick="all", count=3), rule(direction="descending_first"), OrbitRule(2)):
        among = of.among(items)
        for west in (9.9, 10.0, 10.01, 10.05):
            outline = box(west, 50.0, west + 0.05, 50.04)
            assert among(outline) == of.choose(outline, items)


def test_a_chip_inside_one_frame_needs_no_other_one() -> None:
    """Frames that do not fit to each other lose pixels: one that lies beside the chip must not decide about its own."""
    west, east = replace(frame("2020-06-01", 12, where=WEST), id="west"), frame("2020-06-01", 12, where=EAST)
    whole, beside = (
        replace(east, id="whole", footprint=AROUND),
        replace(east, id="beside", footprint=box(9, 49, 9.99, 51)),
    )
    assert chosen(rule(), [beside, west, whole])[0] == ["whole"]
    assert chosen(rule(), [beside, west, east])[0] == ["west", east.id]

"""D54: what ``slots:`` means, to the instant."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import STATIC, Slot
from m3leo_prep.core.slots import FORMS, RULES, parse_slots

TICK = timedelta(microseconds=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc]


def refused(value: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_slots(value)
    return str(caught.value)


@pytest.mark.parametrize("value", [None, "static"])
def test_a_static_layer_has_one_slot_that_takes_everything(value: str | None) -> None:
    assert parse_slots(value) == (STATIC,)
    assert STATIC.is_static
    assert STATIC.contains(None)
    assert STATIC.contains(utc(1999, 1, 1))


def test_february_2020_has_its_29th_to_the_last_instant() -> None:
    february = parse_slots({"months": 2020})[1]
    assert (february.label, february.start, february.end) == ("2020-02", utc(2020, 2, 1), utc(2020, 3, 1))
    assert february.contains(utc(2020, 2, 29, 23, 59, 59, 999_999))
    assert not february.contains(utc(2020, 3, 1))
    assert february.contains(utc(2020, 2, 1))
    assert not february.contains(utc(2020, 2, 1) - TICK)
    assert not february.contains(None)


@pytest.mark.parametrize("month", range(1, 13))
def test_every_month_has_its_last_day(month: int) -> None:
    slot = parse_slots({"months": 2021})[month - 1]
    last = calendar.monthrange(2021, month)[1]
    assert slot.contains(utc(2021, month, last, 23, 59))
    assert slot.end is not None
    assert slot.end - TICK == utc(2021, month, last, 23, 59, 59, 999_999)


def test_winter_crosses_the_year() -> None:
    winter, spring, summer, fall = parse_slots({"seasons": 2020})
    assert [s.label for s in (winter, spring, summer, fall)] == [
        "winter_2020",
        "spring_2020",
        "summer_2020",
        "fall_2020",
    ]
    assert winter.contains(utc(2019, 12, 1))
    assert winter.contains(utc(2019, 12, 31, 23, 59, 59))
    assert winter.contains(utc(2020, 2, 29, 12))
    assert not winter.contains(utc(2020, 12, 1))
    assert not winter.contains(utc(2019, 12, 1) - TICK)
    assert (fall.start, fall.end) == (utc(2020, 9, 1), utc(2020, 12, 1))


def test_slots_are_in_utc_whatever_the_zone_of_an_acquisition() -> None:
    (june,) = parse_slots({"dates": ["2020-06-01"]})
    assert june.start is not None
    assert june.start.utcoffset() == timedelta(0)
    newfoundland = timezone(timedelta(hours=-3, minutes=-30))
    assert june.contains(datetime(2020, 5, 31, 20, 30, tzinfo=newfoundland))
    assert not june.contains(datetime(2020, 6, 1, 20, 30, tzinfo=newfoundland))


def test_dates_and_periods_include_their_last_day() -> None:
    (day,) = parse_slots({"dates": date(2020, 6, 1)})
    assert (day.label, day.start, day.end) == ("2020-06-01", utc(2020, 6, 1), utc(2020, 6, 2))
    (period,) = parse_slots({"periods": [["2020-01-01", date(2020, 1, 15)]]})
    assert (period.start, period.end) == (utc(2020, 1, 1), utc(2020, 1, 16))
    assert period.contains(utc(2020, 1, 15, 23, 59, 59))
    (one,) = parse_slots({"periods": [["2020-01-01", "2020-01-01"]]})
    assert (one.start, one.end) == (utc(2020, 1, 1), utc(2020, 1, 2))


def test_slots_come_in_order_of_time_however_written() -> None:
    assert [s.label for s in parse_slots({"years": [2021, 2019]})] == ["2019", "2021"]
    assert [s.label for s in parse_slots({"dates": ["2020-06-02", "2020-06-01"]})] == ["2020-06-01", "2020-06-02"]
    assert [s.label for s in parse_slots({"seasons": [2021, 2020]})][3:5] == ["fall_2020", "winter_2021"]


@pytest.mark.parametrize(
    "value",
    [
        {"dates": ["2020-06-01", "2020-06-01"]},
        {"months": [2020, 2020]},
        {"years": [2020, 2020]},
        {"periods": [["2020-01-01", "2020-01-12"], ["2020-01-12", "2020-01-20"]]},
        {"periods": [["2020-01-01", "2020-12-31"], ["2020-03-01", "2020-03-02"]]},
    ],
)
def test_overlaps_are_refused(value: Any) -> None:
    assert "overlap" in refused(value)


def test_periods_that_touch_do_not_overlap() -> None:
    first, second = parse_slots({"periods": [["2020-01-12", "2020-01-20"], ["2020-01-01", "2020-01-11"]]})
    assert first.end == second.start


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"month": 2020}, "did you mean 'months'?"),
        ({"weeks": 2020}, "choose from: " + ", ".join(sorted((*FORMS, *RULES)))),
        ("months", "months, seasons"),
        (2020, "months, seasons"),
        ({"months": 2020, "years": 2020}, "one of"),
        ({}, "one of"),
        ({"months": []}, "lists nothing"),
        ({"months": "2020"}, "not a year"),
        ({"months": True}, "not a year"),
        ({"years": 20200}, "not a year"),
        ({"dates": ["June"]}, "2020-06-01"),
        ({"dates": ["2021-02-29"]}, "not a date"),
        ({"periods": [["2020-01-02", "2020-01-01"]]}, "ends before it starts"),
        ({"periods": ["2020-01-01", "2020-01-02"]}, "[first day, last day]"),
        ({"periods": [["2020-01-01"]]}, "[first day, last day]"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_forms(value: Any, says: str) -> None:
    assert says in refused(value)


@pytest.mark.parametrize(
    "value",
    [
        {"dates": [datetime(2020, 6, 1, 12)]},
        {"periods": [[datetime(2020, 6, 1, 12), date(2020, 6, 3)]]},
    ],
)
def test_a_time_of_day_is_refused_instead_of_dropped(value: Any) -> None:
    assert "not a date" in refused(value)


def _tile(slots: tuple[Slot, ...]) -> None:
    for before, after in pairwise(slots):
        assert before.end == after.start


@given(first=st.integers(1901, 2190), n=st.integers(1, 4))
def test_months_tile_the_years_without_gap_or_overlap(first: int, n: int) -> None:
    years = list(range(first, first + n))
    months = parse_slots({"months": years})
    _tile(months)
    assert (months[0].start, months[-1].end) == (utc(first, 1, 1), utc(first + n, 1, 1))
    assert len(months) == 12 * n
    seasons = parse_slots({"seasons": years})
    _tile(seasons)
    assert (seasons[0].start, seasons[-1].end) == (utc(first - 1, 12, 1), utc(first + n - 1, 12, 1))
    _tile(parse_slots({"years": years}))


@given(when=st.datetimes(datetime(2019, 12, 1), datetime(2022, 11, 30, 23, 59), timezones=st.just(UTC)))
def test_every_instant_falls_into_exactly_one_season(when: datetime) -> None:
    hits = [slot.label for slot in parse_slots({"seasons": [2020, 2021, 2022]}) if slot.contains(when)]
    name = {12: "winter", 1: "winter", 2: "winter"} | dict.fromkeys((3, 4, 5), "spring")
    name |= dict.fromkeys((6, 7, 8), "summer") | dict.fromkeys((9, 10, 11), "fall")
    assert hits == [f"{name[when.month]}_{when.year + (when.month == 12)}"]


def test_bare_seasons_are_those_of_the_only_year() -> None:
    assert (
        parse_slots("seasons", year=2020) == parse_slots({"seasons": 2020}) == parse_slots({"seasons": 2020}, year=2020)
    )
    assert len(parse_slots("months", year=2020)) == 12
    assert "say of which year" in refused("seasons")

"""Names of granules: parts and back, dates in order, nothing else taken for one (D40)."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources.asf.gunw.names import parse

REAL = (
    "S1-GUNW-A-R-064-tops-20210723_20210711-015000-00119W_00033N-PP-6267-v2_0_6",
    "S1-GUNW-A-R-035-tops-20240816_20230717-020815-00124W_00037N-PP-cf9c-v3_0_1",
    "S1-GUNW-D-R-144-tops-20200305_20200222-135950-38726N_36751N-PP-0915-v2_0_2",
    "S1-GUNW-D-R-163-tops-20250527_20250503-212910-00121E_00010S-PP-07c7-v3_0_1",
    "S1-GUNW_CUSTOM-A-R-064-tops-20241216_20241204-015210-00120W_00038N-PP-ba76-v3_0_1",
)
"""Of granules in the archive, and one that somebody processed with other settings."""


@pytest.mark.parametrize("name", REAL)
def test_real_names_survive(name):
    assert str(parse(name)) == name
    assert parse(f"{name}.nc") == parse(name)


def test_parts_mean_what_they_say():
    found = parse(REAL[1])
    assert (found.direction, found.look, found.track, found.version) == ("ascending", "R", 35, (3, 0, 1))
    assert (found.reference, found.secondary, found.days) == (date(2024, 8, 16), date(2023, 7, 17), 396)
    assert found.reference_time == datetime(2024, 8, 16, 2, 8, 15, tzinfo=UTC)
    assert not found.custom
    assert parse(REAL[4]).custom
    assert parse(REAL[2]).direction == "descending"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("S1-GUNW", "S1-GUNX"),
        ("-A-", "-B-"),
        ("-064-", "-64-"),
        ("-064-", "-176-"),
        ("20210723", "20211323"),
        ("-015000-", "-250000-"),
        ("-6267-", "-62-"),
        ("v2_0_6", "v2_0"),
        ("v2_0_6", "v2_0_6-amplitude"),
        ("00119W", "119W"),
    ],
)
def test_broken_names_are_refused(old, new):
    broken = REAL[0].replace(old, new)
    assert broken != REAL[0]
    with pytest.raises(CorruptError, match="no name of a GUNW granule") as caught:
        parse(broken)
    assert broken in str(caught.value)


@pytest.mark.parametrize("dates", ["20210711_20210723", "20210723_20210723"])
def test_the_reference_is_the_later_date(dates):
    name = REAL[0].replace("20210723_20210711", dates)
    with pytest.raises(CorruptError, match="not later"):
        parse(name)
    assert str(parse(name, any_order=True)) == name

"""What a plan tells of the images that were found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from shapely.geometry import box

from m3leo_prep.core.raster import STATIC, Item
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.gee import EarthEngine
from m3leo_prep.sources.gee.finding.advice import advise

HERE = box(6, 49, 7, 50)


def item(name: str, month: int, acquisition: str = "", year: int = 2020, **properties: Any) -> Item:
    return Item(name, HERE, "", datetime(year, month, 5, tzinfo=UTC), acquisition, properties)


def told(items: Sequence[Item], slots: Any = None, **options: Any) -> list[str]:
    source = EarthEngine(**({"product": "s2-sr"} | options))
    return advise(source._choice, items, parse_slots(slots or {"periods": [["2020-01-01", "2020-02-29"]]}))


def test_nothing_is_said_of_a_full_layer() -> None:
    assert told([item(f"i{k}", 1) for k in range(3)]) == []


def test_slots_without_images_are_named() -> None:
    items = [item(f"i{k}", 1) for k in range(3)]
    (warning,) = told(items, {"months": 2020})
    assert warning == "no image in 2020-02, 2020-03, 2020-04, 2020-05, 2020-06, 2020-07 and 5 more"


def test_few_acquisitions_are_told_by_pass_and_not_by_tile() -> None:
    items = [item(f"i{k}", 1, acquisition="one pass") for k in range(9)]
    assert told(items) == ["fewer than 3 acquisitions for the median in 2020-01-01_2020-02-29"]
    assert told(items, statistic="count") == []


def test_a_direction_without_images_is_told_with_its_bands_and_the_way_out() -> None:
    items = [item(f"i{k}", 1, orbit_direction="ascending") for k in range(3)]
    assert told(items, product="s1-grd") == [
        "no descending image at all (bands ..._desc): only ascending passes here; `orbits: [ascending]` drops them"
    ]
    mixed = [*items, item("d", 1, orbit_direction="descending")]
    assert told(mixed, product="s1-grd") == [
        "fewer than 3 descending acquisitions (bands ..._desc) for the mean in 2020-01-01_2020-02-29"
    ]


def test_what_the_archive_lacks_is_told() -> None:
    items = [item(f"i{k}", 1, year=2018) for k in range(3)]
    slots = {"periods": [["2018-01-01", "2018-03-01"]]}
    assert told(items, slots) == [
        "before 2019, Level-2A of Sentinel-2 in Earth Engine is not global: images may be missing"
    ]
    assert told(items, slots, product="s2-l1c") == []


def test_older_processings_and_missing_scores_are_counted() -> None:
    items = [item(f"i{k}", 1, has_score=int(k > 1), older_processings=1) for k in range(3)]
    assert told(items, cloud="cloud_score") == [
        "3 older processings of images that are there in a newer baseline were left out",
        "2 of 3 images have no cloud score yet: none of their pixels count as clear",
    ]


def test_a_collection_of_many_dates_without_slots_is_told() -> None:
    said = {"veg": {"kind": "continuous", "bands": ["B4"]}}
    own: dict[str, Any] = {"product": "", "collection": "me/mine", "pitch": 10, "variables": said}
    items = [Item(f"i{k}", HERE, properties={"date": f"202{k}-01-05"}) for k in (1, 0)]
    assert advise(EarthEngine(**own)._choice, items, (STATIC,)) == [
        "images of 2020-01-05 to 2021-01-05 become one: say `slots:` or `year:` to keep dates apart"
    ]
    assert advise(EarthEngine(**own)._choice, items[:1], (STATIC,)) == []
    assert advise(EarthEngine(**own, year=2020)._choice, items, (STATIC,)) == []

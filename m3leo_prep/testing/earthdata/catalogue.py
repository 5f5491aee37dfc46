"""The catalogue (CMR): granules by collection, place, time and attributes, page by page.

https://cmr.earthdata.nasa.gov/search/site/docs/search/api.html; the parameters are those that asf_search 14.1 sends
(``CMR/field_map.py``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from m3leo_prep.testing.answers import Answer, to_json
from m3leo_prep.testing.earthdata.calls import Call, refused
from m3leo_prep.testing.earthdata.granules import Granule, utc

LARGEST_PAGE = 2000


def search(call: Call) -> Answer:
    """Return one page of granules, and how many there are in all."""
    size = int(call.one("page_size", "10"))
    if not 0 <= size <= LARGEST_PAGE:
        return refused(400, f"page_size must be a number between 0 and {LARGEST_PAGE}")
    found = _ordered(call)
    after = call.headers.get("cmr-search-after", "")
    start = int(json.loads(after)[0]) if after else 0
    page = found[start : start + size]
    following = start + len(page)
    fault = call.fault
    if fault is not None and fault.kind == "repeated":
        page = found[max(0, start - size) : start] or page
    elif fault is not None and fault.kind == "short":
        page = page[: -fault.size]
    elif fault is not None and fault.kind == "twice":
        page = [*page[:-1], page[0]]
    elif fault is not None and fault.kind == "reordered":
        page = found[::-1][start : start + size]
    headers = {"CMR-Hits": str(len(found))}
    if page and size:
        headers["CMR-Search-After"] = json.dumps([following, "x"])  # absent once a page is empty
    items = [granule.record(number, call.base) for number, granule in page]
    answer = to_json({"hits": len(found), "took": 5, "items": items}, **headers)
    kind = "application/vnd.nasa.cmr.umm_results+json; version=1.6.6; charset=utf-8"
    return Answer(answer.body, 200, kind, answer.headers)


def collections(call: Call) -> Answer:
    """Return no collections: asked only to see whether a token is taken."""
    known = call.headers.get("authorization", "") == f"Bearer {call.held.token}"
    return to_json({"hits": 0, "items": []}) if known else refused(401, "Token does not exist")


def _ordered(call: Call) -> list[tuple[int, Granule]]:
    """Return what is found, newest first and by name, as the client asks; kept for the pages that follow."""
    key = (repr(sorted(call.request.query.items())), len(call.held.granules))
    if call.held.answered[0] != key:
        found = sorted(_found(call), key=lambda one: one[1].native_id)
        found.sort(key=lambda one: utc(one[1].stop), reverse=True)
        call.held.answered = (key, found)
    return call.held.answered[1]


def _found(call: Call) -> Iterator[tuple[int, Granule]]:
    names, concepts = call.all("shortName", "short_name"), call.all("echo_collection_id", "collection_concept_id")
    readable, natives = call.all("readable_granule_name"), call.all("granule_ur", "native_id")
    attributes = call.all("attribute")
    times = _times(call.one("temporal"))
    places = list(_places(call))
    orbits = call.all("orbit_number")
    for number, granule in enumerate(call.held.granules):
        if names and granule.short_name not in names:
            continue
        if concepts and granule.concept not in concepts:
            continue
        if readable and not {granule.name, granule.native_id} & set(readable):
            continue
        if natives and granule.native_id not in natives:
            continue
        if orbits and not set(granule.orbits) & set(orbits):
            continue
        if not all(_has(granule, asked) for asked in attributes):
            continue
        first, last = times
        if (last and utc(granule.start) > last) or (first and utc(granule.stop) < first):
            continue
        if places and not any(granule.footprint.intersects(place) for place in places):
            continue
        yield number, granule


def _times(temporal: str) -> tuple[datetime | None, datetime | None]:
    first, _, rest = temporal.partition(",")
    last = rest.partition(",")[0]
    return _time(first), _time(last)


def _time(text: str) -> datetime | None:
    return utc(datetime.fromisoformat(text)) if text else None


def _has(granule: Granule, asked: str) -> bool:
    """Return whether a granule has an attribute: ``type,name,value`` or ``type,name,least,most``."""
    kind, name, *values = asked.split(",")
    held = granule.values.get(name, ())
    if kind == "string":
        return any(value.lower() == values[0].lower() for value in held)
    if len(values) == 1:
        return any(float(value) == float(values[0]) for value in held)
    least, most = (float(value) if value else None for value in values)
    return any((least is None or float(v) >= least) and (most is None or float(v) <= most) for v in held)


def _places(call: Call) -> Iterator[Any]:
    """Yield the places that are asked for, planar: the true catalogue joins points by great circles."""
    from shapely.geometry import LineString, Point, Polygon, box

    for text in call.all("polygon"):
        yield Polygon(_pairs(text))
    for text in call.all("line"):
        yield LineString(_pairs(text))
    for text in call.all("point"):
        yield Point(_pairs(text)[0])
    for text in call.all("bounding_box"):
        west, south, east, north = (float(number) for number in text.split(","))
        parts = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
        for left, right in parts:
            yield box(left, south, right, north)


def _pairs(text: str) -> list[tuple[float, float]]:
    numbers = [float(number) for number in text.split(",")]
    return list(zip(numbers[::2], numbers[1::2], strict=True))

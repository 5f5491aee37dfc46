"""The pages of one question to a STAC API, put together: all of its items, each once, or an error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from m3leo_prep.core.errors import TriedOut
from m3leo_prep.sources.stac.asking import ApiIO

# After the other import of pystac_client, which explains its absence.
from pystac.link import Link  # isort: skip
from pystac_client import ItemSearch  # isort: skip

SIZES = (100, 70, 90)
"""Items that are asked for on a page, at each attempt. Earth Search runs where an answer has 6 MB at most, an item of
Sentinel-2 30 kB. Another size puts other items at the borders of pages, where they are lost."""
MOST_EMPTY = 5
"""Pages without an item in a row that are turned: a server may have filtered them afterwards."""


@dataclass(slots=True)
class _Told:
    """What the pages of one attempt told."""

    items: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    counted: int | None = None
    """Items that there are, as the server says (``numberMatched``); None if it does not."""
    faults: list[str] = field(default_factory=list)
    contradicts: str = ""
    """An item that came twice, with different content."""


def complete(url: str, method: str, where: str, **options: Any) -> list[Mapping[str, Any]]:
    """Return the items that answer a question, each once.

    Pages may come short, empty, twice, or in another order while items are added. What betrays it: fewer items than
    the server counts, an item on two pages (another one fell off), fewer on a page than it says or than on the pages
    before, a page that leads to itself. Then all is asked again with pages of another size. An attempt that nothing
    betrays is believed; so are two that told of the same items, where the server counts no more.

    Args:
        url: of the search.
        method: ``POST`` or ``GET``.
        where: the catalogue, for messages.
        options: of ``pystac_client.ItemSearch``.

    Raises:
        TriedOut: no attempt was complete.
        SourceError, CredentialsError, RateLimited: from asking.
    """
    before: list[frozenset[tuple[str, str]]] = []
    faults: list[str] = []
    for size in SIZES:
        told = _turned(url, method, where, size, options)
        faults = _faults(told)
        if not faults:
            return list(told.items.values())
        names = frozenset(told.items)
        counted_all = told.counted is None or len(names) >= told.counted
        if names in before and counted_all and not told.contradicts:
            return list(told.items.values())
        before.append(names)
    raise TriedOut(
        f"the catalogue's pages do not fit together: {faults[0]}",
        where=where,
        hint="run the same command again; nothing is built from half an answer",
    )


def _faults(told: _Told) -> list[str]:
    missing = (
        []
        if told.counted is None or len(told.items) >= told.counted
        else [f"{len(told.items):,} items came, it counts {told.counted:,}"]
    )
    twice = [f"the item '{told.contradicts}' came twice, with different content"] if told.contradicts else []
    return twice + missing + told.faults


def _turned(url: str, method: str, where: str, size: int, options: Mapping[str, Any]) -> _Told:
    """Return what all pages tell, from the first on."""
    told = _Told()
    client = ApiIO(where)
    question = ItemSearch(url, method=method, stac_io=client, limit=size, **options)
    parameters = question.get_parameters()
    page: dict[str, Any] = client.read_json(url, method=method, parameters=parameters)
    told.counted = _count(page)
    lengths: list[int] = []
    seen: set[str] = set()
    empty = 0
    while True:
        features = page.get("features") or []
        _take(told, features, page)
        lengths.append(len(features))
        empty = 0 if features else empty + 1
        link = next((one for one in page.get("links", ()) if one.get("rel") == "next"), None)
        if link is None or empty == MOST_EMPTY:
            break
        # Both, since some tell the next page in the address and some in the body.
        mark = json.dumps([link.get("href"), link.get("body")], sort_keys=True)
        if mark in seen:
            told.faults.append("a page leads to one that was there before")
            break
        seen.add(mark)
        page = client.read_json(
            Link.from_dict({**link, "href": urljoin(url, str(link.get("href")))}), parameters=parameters
        )
    full = lengths[: max((k for k, length in enumerate(lengths) if length), default=0)]
    counts_all = told.counted is not None and told.counted >= len(told.items)  # some count only to 10,000
    if not counts_all and len(set(full)) > 1:
        told.faults.append(f"pages have {min(full)} to {max(full)} items, and it does not say how many there are")
    return told


def _take(told: _Told, features: Sequence[dict[str, Any]], page: Mapping[str, Any]) -> None:
    """Add the items of a page."""
    said = page.get("numberReturned", (page.get("context") or {}).get("returned"))
    if isinstance(said, int) and said != len(features):
        told.faults.append(f"a page has {len(features)} items and says {said}")
    for feature in features:
        key = str(feature.get("collection") or ""), str(feature.get("id") or "")
        known = told.items.get(key)
        if known is None:
            told.items[key] = feature
            continue
        told.faults.append(f"the item '{key[1]}' came twice")
        if _content(known) != _content(feature):
            told.contradicts = key[1]


def _count(page: Mapping[str, Any]) -> int | None:
    """Return how many items there are, as the server says."""
    said = page.get("numberMatched", (page.get("context") or {}).get("matched"))
    return said if isinstance(said, int) else None


def _content(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item without its links, which may differ by page."""
    return {key: value for key, value in item.items() if key != "links"}

"""What a catalogue holds over an area and time: all of it, or an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources.stac.catalogues import Catalogue
from m3leo_prep.sources.stac.found import Found
from m3leo_prep.sources.stac.items import told
from m3leo_prep.sources.stac.question import MOST_IN_ADDRESS, MOST_VERTICES, check_query, questions, satisfies

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


def search(
    catalogue: Catalogue,
    collections: Sequence[str],
    area: BaseGeometry,
    start: datetime | None,
    end: datetime | None,
    *,
    query: Mapping[str, Any] | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002  as the API calls it
) -> list[Found]:
    """Return the items of some collections whose footprint meets ``area`` and whose times meet [start, end).

    Sorted by start and id, each id once; of one id in several collections, the item of the collection named first.
    The server's answer is tested exactly here: footprints with straight edges in longitude and latitude (RFC 7946),
    times, and ``query``, which servers may ignore. An item without dates meets only a question without times.

    Args:
        catalogue: where.
        collections: their names there; none = all that a static catalogue has.
        area: valid lon/lat polygons, split at the antimeridian.
        start: UTC if it names no zone; None = from the beginning.
        end: exclusive; None = until now.
        query: of the API's query extension, ``{"eo:cloud_cover": {"lt": 60}}``.
        filter: of the API's filter extension, as CQL2 JSON.

    Raises:
        TriedOut, RateLimited: the catalogue does not answer, or its pages do not fit together.
        SourceError: it refuses the question, or an item lacks what is needed.
        ConfigError: no such collection or operator, or the catalogue does not know what ``filter`` asks.
    """
    import shapely

    first, last = _utc(start), _utc(end)
    if area.is_empty or (first is not None and last is not None and first >= last):
        return []
    where = f"catalogue '{catalogue.name}'"
    root = None if catalogue.is_file else _root(catalogue.url, where)
    if root is None or _search_link(root) is None:
        from m3leo_prep.sources.stac.static import items

        if filter:
            raise ConfigError("filter: a catalogue of files cannot be asked", where=where, hint="use `query:`")
        rows: Iterable[Mapping[str, Any]] = items(catalogue, tuple(collections))
    else:
        rows = _asked(root, catalogue, collections, area, (first, last), query, filter)
    shapely.prepare(area)
    found: dict[str, Found] = {}
    for row in rows:
        if not satisfies(row.get("properties") or {}, query or {}):
            continue
        one = told(row, where)
        if meets(one, first, last) and area.intersects(one.footprint):
            known = found.get(one.id)
            if known is not None and known.collection != one.collection and not collections:
                raise ConfigError(
                    f"the collections '{known.collection}' and '{one.collection}' both have an item '{one.id}'",
                    where=where,
                    hint="collection: name one of them",
                )
            if known is None or _rank(one, collections) < _rank(known, collections):
                found[one.id] = one
    beginning = datetime.min.replace(tzinfo=UTC)
    return sorted(found.values(), key=lambda one: (one.start or beginning, one.id))


def answers(catalogue: Catalogue) -> str:
    """Return that a catalogue answers, in one line.

    Raises:
        SourceError: it does not.
        ConfigError: its file is not there.
    """
    if catalogue.is_file:
        from m3leo_prep.sources.stac.static import items

        return f"{sum(1 for _ in items(catalogue, ())):,} items in {catalogue.url}"
    where = f"catalogue '{catalogue.name}'"
    root = _root(catalogue.url, where)
    return f"{root.get('title') or root.get('id') or catalogue.name} answers, without a login"


def meets(one: Found, start: datetime | None, end: datetime | None) -> bool:
    """Return whether an item's times meet [start, end)."""
    if one.start is None or one.end is None:
        return start is None and end is None
    return (end is None or one.start < end) and (start is None or one.end >= start)


def _asked(
    root: Mapping[str, Any],
    catalogue: Catalogue,
    collections: Sequence[str],
    area: BaseGeometry,
    times: tuple[datetime | None, datetime | None],
    query: Mapping[str, Any] | None,
    filter: Mapping[str, Any] | None,  # noqa: A002  as the API calls it
) -> list[Mapping[str, Any]]:
    """Return the items that an API tells of."""
    import shapely

    from m3leo_prep.sources.stac.pages import complete
    from m3leo_prep.sources.stac.static import at_home

    where = f"catalogue '{catalogue.name}'"
    if not collections:
        raise ConfigError("collection: say which", where=where, hint=near("", _names(root, where)))
    if filter and not any("filter" in str(one) for one in root.get("conformsTo", ())):
        raise ConfigError("filter: the catalogue does not know it", where=where, hint="use `query:`")
    options: dict[str, Any] = {}
    if any(times):
        options["datetime"] = "/".join(".." if time is None else _written(time) for time in times)
    if query:
        options["query"] = dict(check_query(query))
    if filter:
        options["filter"] = dict(filter)
    link = _search_link(root)
    assert link is not None
    rows: list[Mapping[str, Any]] = []
    for part in questions(area, MOST_IN_ADDRESS if link[1] == "GET" else MOST_VERTICES):
        outline = shapely.geometry.mapping(part)
        rows += complete(*link, where, collections=list(collections), intersects=outline, **options)
    rows = [at_home(row, link[0]) for row in rows]
    if not rows:
        _check_collections(root, catalogue.url, collections, where)
    return rows


@lru_cache(maxsize=64)
def _root(url: str, where: str) -> Mapping[str, Any]:
    from m3leo_prep.sources.stac.asking import ask

    return ask(url, where)


def _search_link(root: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return where and by which method an API is asked, POST where it can be; None of what is no API."""
    links = [link for link in root.get("links", ()) if link.get("rel") == "search" and link.get("href")]
    for link in links:
        if str(link.get("method", "")).upper() == "POST":
            return str(link["href"]), "POST"
    return (str(links[0]["href"]), "GET") if links else None


def _check_collections(root: Mapping[str, Any], url: str, names: Sequence[str], where: str) -> None:
    """Raise ConfigError if an API has no such collection: it answers then that there is no item.

    Raises:
        ConfigError: names those that it has.
    """
    from m3leo_prep.sources.stac.asking import Absent, ask

    for name in names:
        try:
            ask(f"{url}/collections/{quote(name, safe='')}", where)
        except Absent:
            hint = near(name, _names(root, where))
            raise ConfigError(f"has no collection '{name}'", where=where, hint=hint) from None


def _names(root: Mapping[str, Any], where: str) -> list[str]:
    from m3leo_prep.sources.stac.asking import ask

    href = next((str(link["href"]) for link in root.get("links", ()) if link.get("rel") == "data"), "")
    return [str(one.get("id")) for one in ask(href, where).get("collections", ())] if href else []


def _rank(one: Found, collections: Sequence[str]) -> int:
    return list(collections).index(one.collection) if one.collection in collections else len(collections)


def _utc(time: datetime | None) -> datetime | None:
    if time is None:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _written(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")

"""Catalogues of files: items, ItemCollections and trees of JSON, and GeoParquet; here or on a server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from m3leo_prep.core.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from m3leo_prep.sources.remote.access import Access
    from m3leo_prep.sources.stac.catalogues import Catalogue

PARQUET = (".parquet", ".geoparquet")
MOST_BYTES = 512 * 2**20
"""Of one file of a catalogue."""
AT_ONCE = 16
"""Files that are asked for together."""


def items(catalogue: Catalogue, collections: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the items of a catalogue of files, their assets with whole addresses.

    Links ``item`` and ``child`` are followed, each file once. Extents of collections are not believed: all is read.

    Args:
        catalogue: whose address is the file's.
        collections: names of those wanted; none = all.

    Raises:
        ConfigError: no such file, or it is no catalogue; no such collection.
        SourceError: a file that is linked is not there, or two items have one id.
        TriedOut, RateLimited: a server does not answer.
    """
    access = catalogue.access()
    known: dict[tuple[str, str], Mapping[str, Any]] = {}
    seen_collections: set[str] = set()
    for row, base in _tree(catalogue.url, access):
        name = str(row.get("collection") or "")
        seen_collections.add(name)
        if collections and name not in collections:
            continue
        key = name, str(row.get("id") or "")
        if key in known and known[key] != row:
            raise SourceError(
                f"the item '{key[1]}' stands twice, with different content",
                where=f"catalogue '{catalogue.name}'",
                hint="each item of a collection needs an id of its own",
            )
        if key not in known:
            known[key] = row
            yield _whole(row, base)
    for name in collections:
        if name not in seen_collections:
            have = ", ".join(sorted(filter(None, seen_collections))) or "its items name no collection"
            raise ConfigError(
                f"has no item of collection '{name}'",
                where=f"catalogue '{catalogue.name}'",
                hint=f"it has: {have}" if any(seen_collections) else f"{have}: leave `collection:` out",
            )


def _tree(url: str, access: Access) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield items and the address that their links count from, level by level in the order of the links."""
    url = url if _is_remote(url) else os.path.normpath(url)
    seen, level = {url}, [url]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        first = True
        while level:
            nodes = pool.map(partial(_nodes, access=access, is_first=first), level)
            following: list[str] = []
            for base, (rows, links) in zip(level, nodes, strict=True):
                yield from ((row, base) for row in rows)
                for link in links:
                    if link not in seen:
                        seen.add(link)
                        following.append(link)
            level, first = following, False


def _nodes(url: str, access: Access, *, is_first: bool) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return the items of one file, and the addresses of those that it links."""
    if url.lower().endswith(PARQUET):
        from m3leo_prep.sources.local.catalogue import parquet_items
        from m3leo_prep.sources.remote.files import fetch

        path = fetch(url, access) if _is_remote(url) else Path(url)
        return [row for row, _ in parquet_items(path)], []
    data = _json(url, access, is_first=is_first)
    match data.get("type"):
        case "Feature":
            return [data], []
        case "FeatureCollection":
            return list(data.get("features") or ()), []
        case "Collection" | "Catalog":
            links = [
                link for link in data.get("links", ()) if link.get("rel") in {"item", "child"} and link.get("href")
            ]
            return [], [_joined(url, str(link["href"])) for link in links]
    hint = "a STAC Item, FeatureCollection, Collection or Catalog has one of these in `type`"
    raise ConfigError(f"is no catalogue (type {data.get('type')!r})", where=url, hint=hint)


def _json(url: str, access: Access, *, is_first: bool) -> dict[str, Any]:
    if urlsplit(url).scheme in {"http", "https"}:
        from m3leo_prep.sources.stac.asking import Absent, ask

        try:
            return ask(url, url.partition("?")[0])
        except Absent as error:
            raise _gone(url, is_first=is_first) from error
    try:
        if _is_remote(url):
            from m3leo_prep.sources.remote.files import whole

            text = whole(url, access, limit=MOST_BYTES)
        else:
            text = Path(url).read_bytes()
        found = json.loads(text)
    except FileNotFoundError:
        raise _gone(url, is_first=is_first) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"is no readable JSON: {error}", where=url) from error
    if not isinstance(found, dict):
        raise ConfigError("is no catalogue: it holds no JSON object", where=url)
    return found


def _gone(url: str, *, is_first: bool) -> Exception:
    url = url.partition("?")[0]
    if is_first:
        return ConfigError("does not exist", where=url, hint="`catalogue:` names a STAC API, or a file of a catalogue")
    return SourceError("is linked by the catalogue, but is not there", where=url, hint="mend the catalogue")


def at_home(item: Mapping[str, Any], api: str) -> Mapping[str, Any]:
    """Return an item of an API; addresses of its assets that are not whole count from its own."""
    if all("://" in str(one.get("href")) for one in (item.get("assets") or {}).values() if one):
        return item
    return _whole(item, next((str(link["href"]) for link in item.get("links", ()) if link.get("rel") == "self"), api))


def _whole(item: Mapping[str, Any], base: str) -> Mapping[str, Any]:
    """Return an item, the addresses of its assets whole."""
    assets = {name: dict(one) for name, one in (item.get("assets") or {}).items() if one}
    for one in assets.values():
        if one.get("href"):
            one["href"] = _joined(base, str(one["href"]))
    return {**item, "assets": assets}


def _joined(base: str, href: str) -> str:
    """Return the whole address of a link in a file."""
    scheme = urlsplit(href).scheme
    if scheme == "file":
        return unquote(urlsplit(href).path)
    if scheme:
        return href
    if _is_remote(base):
        kind, _, rest = base.partition("://")  # of which some are unknown to `urljoin`, such as s3
        return f"{kind}://{urljoin(f'http://{rest}', href).removeprefix('http://')}"
    return os.path.normpath(Path(base).parent / href)  # one file has one name, or a circle has no end


def _is_remote(url: str) -> bool:
    return "://" in url

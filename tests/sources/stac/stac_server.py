"""A STAC API on this machine that pages as the real ones do, and goes wrong on demand."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from shapely.geometry import box, mapping, shape

from m3leo_prep.sources.local.dates import parse
from m3leo_prep.testing.answers import Answer, file_part, to_json
from m3leo_prep.testing.serving import Handler, Server

ROOT = "/api/stac/v1"
HTML = Answer(b"<html><body><h1>502 Bad Gateway</h1></body></html>", 502, "text/html")


def item(identity, geometry=None, when="2020-06-10T10:00:00Z", collection="things", assets=None, **properties):
    """Return the JSON of an item."""
    geometry = box(9, 49, 10, 50) if geometry is None else geometry
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": identity,
        "collection": collection,
        "geometry": mapping(geometry),
        "bbox": list(geometry.bounds),
        "properties": {"datetime": when, **properties},
        "links": [],
        "assets": assets or {},
    }


@dataclass
class StacApi:
    """What the server holds and how it answers; use it as a context."""

    style: str = "body"
    """Of links to the next page: ``body`` repeats the question (Planetary Computer), ``merge`` holds what is to be
    added to it, ``get`` is an address."""
    counts: bool = True
    """It tells ``numberMatched``."""
    always_next: bool = False
    """The last page has a link, too, to an empty one (Earth Search)."""
    items: list[dict[str, Any]] = field(default_factory=list)
    spoil: Any = None
    """Called with the number of a page (from 1, over all searches) and its items; returns other items."""
    faults: list[Answer] = field(default_factory=list)
    """Answered in place of searches, first."""
    folder: Any = None
    """Of blobs."""
    token_answer: Any = None
    """Called for each token, returns the answer."""
    ahead: float = 0.0
    """Seconds by which the server's clock is ahead of ours."""
    requests: list[tuple[str, str, Any]] = field(default_factory=list)

    def __enter__(self):
        self._server = _Served(self)
        self._server.start()
        self._pages, self._known = 0, {}
        return self

    def __exit__(self, *_):
        self._server.stop()

    @property
    def host(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self):
        return f"{self.host}{ROOT}"

    def pages(self):
        """Return how many pages of items were asked for."""
        return sum(path == f"{ROOT}/search" for _, path, _ in self.requests)

    def answer(self, method, path, query, body, headers):
        self.requests.append((method, path, body or query))
        if path == ROOT:
            href = f"{self.url}/search"
            links = [{"rel": "search", "href": href, "method": one} for one in self._methods()]
            links.append({"rel": "data", "href": f"{self.url}/collections"})
            return to_json({"type": "Catalog", "id": "test", "title": "Test", "links": links, "conformsTo": []})
        if path.startswith(f"{ROOT}/collections"):
            names = sorted({one["collection"] for one in self.items})
            name = path.removeprefix(f"{ROOT}/collections").strip("/")
            if name:
                return to_json({"id": name}) if name in names else to_json({"detail": "not found"}, 404)
            return to_json({"collections": [{"id": one} for one in names]})
        if path == f"{ROOT}/search":
            return self.faults.pop(0) if self.faults else self._page(method, body or query)
        if "/sas/v1/token/" in path:
            return self.token_answer(path)
        if path.startswith("/blob/") and "sig=" in query.get("_raw", ""):
            return file_part(self.folder / path.removeprefix("/blob/"), headers.get("Range", ""), {})
        return to_json({"detail": "no such page"}, 404 if "/blob/" not in path else 403)

    def _methods(self):
        return ("GET",) if self.style == "get" else ("GET", "POST")

    def _page(self, method, asked):
        if method == "GET":
            asked = {key: json.loads(value) if key == "intersects" else value for key, value in asked.items()}
            asked["collections"] = asked["collections"].split(",")
        question = json.dumps([asked.get(key) for key in ("collections", "intersects", "datetime")] + [len(self.items)])
        if question not in self._known:
            rows = [one for one in self.items if _meets(one, asked)]
            self._known = {question: sorted(rows, key=lambda one: one["id"])}
        known = self._known[question]
        size, first = int(asked.get("limit", 10)), int(asked.get("token", 0))
        self._pages += 1
        page = known[first : first + size]
        shown = page if self.spoil is None else self.spoil(self._pages, page)
        found = {"type": "FeatureCollection", "features": shown, "numberReturned": len(shown), "links": []}
        if self.counts:
            found["numberMatched"] = len(known)
        if first + size < len(known) or (self.always_next and page):
            token, href = str(first + size), f"{self.url}/search"
            if self.style == "get":
                plain = "&".join(f"{k}={v}" for k, v in asked["_plain"].items() if k != "token")
                link = {"rel": "next", "method": "GET", "href": f"{href}?{plain}&token={token}"}
            elif self.style == "merge":
                link = {"rel": "next", "method": "POST", "href": href, "body": {"token": token}, "merge": True}
            else:
                link = {"rel": "next", "method": "POST", "href": href, "body": {**asked, "token": token}}
            found["links"].append(link)
        return to_json(found)


def _meets(one, asked):
    if one["collection"] not in asked["collections"]:
        return False
    if "intersects" in asked and not shape(asked["intersects"]).intersects(shape(one["geometry"])):
        return False
    start, _, end = asked.get("datetime", "../..").partition("/")
    when = parse(one["properties"].get("start_datetime") or one["properties"].get("datetime") or "")
    until = parse(one["properties"].get("end_datetime") or "") or when
    if when is None:
        return True
    return (start == ".." or until >= parse(start)) and (end == ".." or when <= parse(end))


class _Served(Server):
    def __init__(self, owner):
        self.owner = owner
        super().__init__(0, _Requests)


class _Requests(Handler):
    def date_time_string(self, timestamp=None):
        return super().date_time_string((timestamp or time.time()) + self.server.owner.ahead)

    def respond(self):
        asked = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        query = {key: values[0] for key, values in parse_qs(asked.query).items()}
        if self.command == "GET" and asked.path.endswith("/search"):
            query["_plain"] = dict(part.split("=", 1) for part in asked.query.split("&") if part)
        else:
            query["_raw"] = asked.query
        answer = self.server.owner.answer(self.command, unquote(asked.path), query, body, self.headers)
        self.send_answer(answer, size=answer.size, ends=answer.size)

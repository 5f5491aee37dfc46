"""Which function answers which address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from m3leo_prep.testing.earthdata import bucket, catalogue, data, hyp3, login
from m3leo_prep.testing.earthdata.calls import Route

_READ, _POST = ("GET", "HEAD"), ("POST",)
_FILE = r"(?P<dataset>gunw|opera-rtc|opera-rtc-static|slc|grd|burst)/(?P<name>[^/]+)"
_BUCKET = r"/(?P<bucket>[a-z0-9.-]{3,})"

_TABLE: tuple[tuple[str, tuple[str, ...], str, Route], ...] = (
    ("search", _POST, "/search/granules.umm_json", catalogue.search),
    ("collections", _READ, "/search/collections(?:.umm_json)?", catalogue.collections),
    ("token", _POST, "/api/users/find_or_create_token", login.token),
    ("token_user", _POST, "/oauth/tokens/user", login.token_user),
    ("authorize", _READ, "/oauth/authorize", login.authorize),
    ("login", _READ, "/login", login.login),
    ("data", _READ, f"/{_FILE}", data.data),
    ("signed", _READ, f"/signed/{_FILE}", data.signed),
    ("user", _READ, "/user", hyp3.user),
    ("costs", _READ, "/costs", hyp3.costs),
    ("submit", _POST, "/jobs", hyp3.submit),
    ("jobs", _READ, "/jobs", hyp3.jobs),
    ("job", _READ, "/jobs/(?P<id>[^/]+)", hyp3.job),
    ("product", _READ, "/product/(?P<id>[^/]+)/(?P<name>[^/]+)", hyp3.product),
)
_PUBLIC: tuple[tuple[str, tuple[str, ...], str, Route], ...] = (
    ("listing", _READ, f"{_BUCKET}/?", bucket.listing),
    ("bucket", _READ, f"{_BUCKET}/(?P<key>.+)", bucket.get),
)
_ROUTES = {
    public: tuple((name, methods, re.compile(pattern), answer) for name, methods, pattern, answer in table)
    for public, table in ((False, _TABLE), (True, _PUBLIC))
}


def routed(method: str, path: str, *, public: bool) -> tuple[str, Mapping[str, str], Route | None]:
    """Return the name of a route, what the path says, and who answers; ``public`` is the bucket's own server."""
    for name, methods, pattern, answer in _ROUTES[public]:
        match = pattern.fullmatch(path)
        if match and method in methods:
            return name, {key: unquote(value) for key, value in match.groupdict().items()}, answer
    return "unknown", {}, None

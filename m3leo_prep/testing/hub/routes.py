"""Which function answers which address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from m3leo_prep.testing.hub import api, commits, transfer
from m3leo_prep.testing.hub.calls import Route

_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/datasets/{_REPO}"
_REV = r"(?P<rev>[^/]+)"
_OID = r"(?P<oid>[0-9a-f]{64})"
_READ, _POST, _PUT, _DELETE = ("GET", "HEAD"), ("POST",), ("PUT",), ("DELETE",)

_TABLE: tuple[tuple[str, tuple[str, ...], str, Route], ...] = (
    ("whoami", _READ, "/api/whoami-v2", api.whoami),
    ("create_repo", _POST, "/api/repos/create", api.create_repo),
    ("delete_repo", _DELETE, "/api/repos/delete", api.delete_repo),
    ("validate_card", _POST, "/api/validate-yaml", api.validate_card),
    ("datasets", _READ, "/api/datasets", api.datasets),
    ("info", _READ, _API, api.info),
    ("info", _READ, rf"{_API}/revision/{_REV}", api.info),
    ("settings", _PUT, rf"{_API}/settings", api.settings),
    ("refs", _READ, rf"{_API}/refs", api.refs),
    ("commits", _READ, rf"{_API}/commits/{_REV}", api.commits),
    ("tree", _READ, rf"{_API}/tree/{_REV}(?:/(?P<path>.*))?", api.tree),
    ("paths_info", _POST, rf"{_API}/paths-info/{_REV}", api.paths_info),
    ("preupload", _POST, rf"{_API}/preupload/{_REV}", commits.preupload),
    ("commit", _POST, rf"{_API}/commit/{_REV}", commits.commit),
    ("branch", _POST, rf"{_API}/branch/{_REV}", commits.add_branch),
    ("tag", _POST, rf"{_API}/tag/{_REV}", commits.add_tag),
    ("remove_ref", _DELETE, rf"{_API}/(?P<kind>branch|tag)/{_REV}", commits.remove_ref),
    ("lfs_batch", _POST, rf"/datasets/{_REPO}\.git/info/lfs/objects/batch", transfer.lfs_batch),
    ("lfs_verify", _POST, rf"/datasets/{_REPO}\.git/info/lfs/objects/verify", transfer.lfs_verify),
    ("lfs_put", _PUT, rf"/lfs/{_OID}", transfer.lfs_put),
    ("lfs_part", _PUT, rf"/lfs/{_OID}/(?P<part>\d+)", transfer.lfs_part),
    ("lfs_complete", _POST, rf"/lfs/{_OID}/complete", transfer.lfs_complete),
    ("resolve", _READ, rf"/datasets/{_REPO}/resolve/{_REV}/(?P<path>.+)", transfer.resolve),
    ("cache", _READ, rf"/api/(?P<cache>resolve-cache)/datasets/{_REPO}/{_REV}/(?P<path>.+)", transfer.resolve),
    ("cdn", _READ, rf"/cdn/{_OID}", transfer.cdn),
)
_ROUTES = tuple((name, methods, re.compile(pattern), answer) for name, methods, pattern, answer in _TABLE)


def routed(method: str, path: str) -> tuple[str, Mapping[str, str], Route | None]:
    """Return the name of a route, what the path says, and who answers; the path is quoted as it came."""
    for name, methods, pattern, answer in _ROUTES:
        match = pattern.fullmatch(path)
        if match and method in methods:
            return name, {key: unquote(value) for key, value in match.groupdict().items() if value is not None}, answer
    return "unknown", {}, None

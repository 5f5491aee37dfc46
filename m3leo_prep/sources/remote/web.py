"""Bytes of files on web servers: parts of them, with the login or the signature of an access."""

from __future__ import annotations

import re
from http import HTTPStatus

from m3leo_prep.blobs.http import said, status_text
from m3leo_prep.core.errors import CorruptError, NoData, SourceError
from m3leo_prep.sources.http.hops import Landing, follow, refuse
from m3leo_prep.sources.http.patience import Tries
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.remote.limits import limit

# After the other import of urllib3, which explains its absence.
from urllib3 import BaseHTTPResponse  # isort: skip
from urllib3.exceptions import HTTPError  # isort: skip

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PAGE = "text/html"


class NoParts(Exception):
    """The server sends whole files only."""


def part(address: str, first: int, stop: int, access: Access) -> tuple[bytes, int]:
    """Return bytes [first, stop) of a file, fewer where it ends before, and its size.

    Raises:
        NoParts: the server does not send parts.
        NoData: there is no such file.
        CorruptError: it has no byte ``first``.
        CredentialsError: it may not be read.
        TriedOut, RateLimited: the server does not deliver.
        SourceError: an answer without meaning here.
    """
    tries = Tries(address)
    while True:
        url = access.signing.signed(address) if access.signing is not None else address
        asked = {"Range": f"bytes={first}-{stop - 1}"}
        with limit(access).turn(), follow(url, asked, tries, access.auth) as landing:
            found = _taken(landing, address, access, tries)
        if found is None:
            continue
        data, start, size = found
        if start == first and len(data) == min(stop, size) - first:
            return data, size
        tries.failed("the server sends another part than we asked for")


def _taken(landing: Landing, address: str, access: Access, tries: Tries) -> tuple[bytes, int, int] | None:
    """Return what came, where it begins, and the file's size; None if the file is to be asked for again."""
    response = landing.response
    match response.status:
        case HTTPStatus.PARTIAL_CONTENT:
            return _body(response, access, tries)
        case HTTPStatus.OK:
            if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == _PAGE:
                refuse(response, address, access.auth)
            raise NoParts
        case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise CorruptError("the file ends before it should", where=address)
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN if landing.is_signed or access.signing is not None:
            # Its time was over, or our clocks differ: the next attempt gets a new one.
            tries.failed(f"the signed address answers {status_text(response.status)}")
            return None
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            refuse(response, address, access.auth)
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            raise NoData("the server has no such file", where=address)
    raise SourceError(f"the server answers {status_text(response.status)}", where=address)


def _body(response: BaseHTTPResponse, access: Access, tries: Tries) -> tuple[bytes, int, int] | None:
    fault = ""
    try:
        data = response.read()
    except HTTPError as caught:
        fault, data = said(caught), b""
    # Outside of `except`: the library's error holds the whole address, with its secrets.
    if fault:
        tries.failed(fault)
        return None
    limit(access).got(len(data))
    place = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if place is None:
        tries.failed("the server does not say which part of the file it sends")
        return None
    return data, int(place[1]), int(place[3])

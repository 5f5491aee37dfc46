"""One request through its redirects: each host sees what is meant for it, and a refusal is told in its own words."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from http.cookiejar import CookieJar
from types import SimpleNamespace
from typing import Any, Never, cast
from urllib.parse import parse_qs, urljoin, urlsplit
from urllib.request import Request

from m3leo_prep.blobs.http import answer, status_text
from m3leo_prep.core.errors import CredentialsError, SourceError
from m3leo_prep.sources.http.auth import Auth, Renewing
from m3leo_prep.sources.http.patience import Tries

# After the other import of urllib3, which explains its absence.
from urllib3 import BaseHTTPResponse  # isort: skip
from urllib3.exceptions import HTTPError  # isort: skip
from urllib3.util import Url, parse_url  # isort: skip

MOST_HOPS = 12
"""Of one request: a first login takes four or five."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TOLD_BYTES = 16 * 2**10
"""Of a refusal's body are read."""
TOLD_LENGTH = 300
"""Characters of a server's own words are shown."""


@dataclass(frozen=True, slots=True)
class Landing:
    """Where the redirects of a request ended."""

    response: BaseHTTPResponse
    is_signed: bool
    """It was redirected to an address that opens without our login: the signature in it is the key, for some time."""


@contextmanager
def follow(url: str, headers: Mapping[str, str], tries: Tries, auth: Auth | None) -> Iterator[Landing]:
    """Yield the answer to a GET after all redirects, its body unread; its status may be any that is not transient.

    Cookies are kept for all requests of an equal login in this process, and sent as servers ask for it. A login that
    can be renewed is shown once more where it is refused.

    Raises:
        CredentialsError: a redirect says that the login is refused, or there is no end of redirects.
        SourceError: a redirect leads to an address that is not encrypted or none at all; an untrusted certificate.
        TriedOut, RateLimited: see ``Tries``.
    """
    jar = CookieJar() if auth is None else _jar(os.getpid(), auth)
    was_redirected = was_renewed = False
    for _ in range(MOST_HOPS):
        url = plain(url, tries.where)
        host = host_of(url, tries.where)
        ours: dict[str, str] = {}
        request = Request(url)  # noqa: S310  (never opened: the form in which the jar of cookies takes an address)
        if auth is not None and url.startswith("https:"):
            ours |= auth.headers(host)
            jar.add_cookie_header(request)
            if cookie := request.get_header("Cookie"):
                ours["Cookie"] = cookie
        tries.turn(host)
        with answer("GET", url, {**headers, **ours}, tries, follow=False) as response:
            jar.extract_cookies(cast("Any", SimpleNamespace(info=lambda: response.headers)), request)
            if response.status == HTTPStatus.UNAUTHORIZED and not was_renewed and isinstance(auth, Renewing):
                was_renewed = True
                if auth.renew(ours):
                    continue
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or not location:
                yield Landing(response, was_redirected and not ours and "signature=" in url.lower())
                return
        url = _next(url, location, tries.where, auth)
        was_redirected = True
    message = f"the request was redirected {MOST_HOPS} times"
    if auth is not None:
        raise CredentialsError(f"{message}, as after a login that does not hold", where=tries.where, hint=auth.hint)
    raise SourceError(message, where=tries.where)


def refuse(response: BaseHTTPResponse, where: str, auth: Auth | None) -> Never:
    """Raise CredentialsError for an answer 401 or 403, with the words of its body where they are made to be shown."""
    said = f"the server answers {status_text(response.status)}"
    try:
        found = json.loads(response.read(TOLD_BYTES))
    except (HTTPError, ValueError):
        found = None
    told = {key: [str(value)] for key, value in found.items()} if isinstance(found, dict) else {}
    text = _told(told)
    hint = auth.hint if auth is not None else "this needs a login, or it may not be read from here"
    raise CredentialsError(f"{said}: {text}" if text else said, where=where, hint=hint)


def plain(url: str, where: str) -> str:
    """Return an address as the HTTP library reads it, written so that nobody can read another host in it.

    What one reader takes for the host may be a user's name or a path to another: cookies would go astray.

    Raises:
        SourceError: this is no address of a web server.
    """
    return _parsed(url, where)._replace(auth=None, fragment=None).url


def host_of(url: str, where: str) -> str:
    """Return the host that a request to ``url`` is sent to, with a port unless it is the usual one.

    Raises:
        SourceError: this is no address of a web server.
    """
    found = _parsed(url, where)
    host = str(found.host).lower()
    usual = {"http": 80, "https": 443}[str(found.scheme)]
    return host if found.port in {None, usual} else f"{host}:{found.port}"


def _parsed(url: str, where: str) -> Url:
    try:
        found = parse_url(url)
    except HTTPError:
        found = None
    if found is None or not found.host or found.scheme not in {"http", "https"}:
        raise SourceError("there is no web server at this address", where=where)
    return found


def _next(url: str, location: str, where: str, auth: Auth | None) -> str:
    """Return the address that a redirect leads to."""
    try:
        target = urljoin(url, location)
        text = refused_by(target)
    except ValueError:
        target = text = ""
    if not target:
        raise SourceError("a redirect leads to what is no address", where=where)
    if url.lower().startswith("https:") and not target.lower().startswith("https:"):
        raise SourceError("a redirect leads to an address that is not encrypted", where=where)
    if text:
        raise CredentialsError(f"the login is refused: {text}", where=where, hint=auth.hint if auth is not None else "")
    return target


def refused_by(location: str) -> str:
    """Return why a redirect says that a login is refused; nothing if it does not.

    Earthdata tells so of a profile that lacks something: ``hyp3_sdk/util.py`` reads the same two words.
    """
    return _told(parse_qs(urlsplit(location).query)) if "error_msg=" in location else ""


def _told(found: Mapping[str, list[str]]) -> str:
    """Return what Earthdata says of a refusal: its reason, and the page where one can mend it."""
    reason = next((found[key][0] for key in ("error_msg", "error_description", "error") if found.get(key)), "")
    page = found.get("resolution_url", [""])[0]
    text = " ".join(part for part in (reason, page and f"See {page}") if part)
    return "".join(letter if letter.isprintable() else " " for letter in text)[:TOLD_LENGTH]


@lru_cache(maxsize=8)
def _jar(process: int, auth: Auth) -> CookieJar:
    """Return the cookies of a login."""
    del process, auth  # by which one is told from another
    return CookieJar()

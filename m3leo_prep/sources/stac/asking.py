"""The connection by which ``pystac_client`` asks a STAC API: patient, without a login, and JSON or an error."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from m3leo_prep.blobs.http import answer, status_text
from m3leo_prep.core.errors import CredentialsError, MissingDependency, SourceError
from m3leo_prep.sources.http.hops import REDIRECTS, host_of
from m3leo_prep.sources.http.patience import Tries

# After the other import of urllib3, which explains its absence.
from urllib3.exceptions import HTTPError  # isort: skip

try:
    from pystac_client.stac_api_io import StacApiIO
except ImportError as missing:
    raise MissingDependency(
        f"searching a STAC API needs {missing.name}", hint="pip install 'm3leo-prep[copernicus]'"
    ) from missing

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

TOLD_BYTES, TOLD_LENGTH = 64 * 2**10, 300
"""Of a refusal's body are read, and characters of it shown."""
MOST_HOPS = 5


class Absent(SourceError):
    """There is nothing at this address."""


class ApiIO(StacApiIO):
    """How the client sends requests: as everything here does.

    Its own way takes a page of HTML for an answer, waits for nothing that a server asks for, and repeats no POST
    (pystac-client 0.9, ``stac_api_io.py``).
    """

    def __init__(self, where: str) -> None:
        super().__init__(max_retries=None)
        self._where = where

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the text of an answer, which is a JSON object; errors as in ``ask``."""
        if (method or "GET").upper() == "POST":
            return _asked(href, self._where, dict(parameters or {}), headers or {})[0]
        joined = "&" if urlsplit(href).query else "?"
        flat = {key: value if isinstance(value, str) else _text(value) for key, value in (parameters or {}).items()}
        return _asked(f"{href}{joined}{urlencode(flat)}" if flat else href, self._where, None, headers or {})[0]


def ask(url: str, where: str) -> dict[str, Any]:
    """Return the JSON object at an address.

    Raises:
        Absent: there is nothing there.
        SourceError: the question is refused, or the server not trusted.
        CredentialsError: it wants a login.
        TriedOut, RateLimited: no answer, or none that is JSON.
    """
    return ask_with_headers(url, where)[0]


def ask_with_headers(url: str, where: str) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Return the JSON object at an address and the headers of the answer; errors as in ``ask``."""
    text, headers = _asked(url, where, None, {})
    return json.loads(text), headers


def _asked(
    url: str, where: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
) -> tuple[str, Mapping[str, str]]:
    """Return the text of a JSON object and the headers of the answer; with ``body`` by POST."""
    sent = None if body is None else json.dumps(body).encode()
    more = {"Accept": "application/geo+json, application/json", "Accept-Encoding": "gzip", **headers}
    if sent is not None:
        more["Content-Type"] = "application/json"
    tries = Tries(where)
    for _ in range(MOST_HOPS):
        while True:
            tries.turn(host_of(url, where))
            method = "GET" if sent is None else "POST"
            with answer(method, url, more, tries, body=sent, follow=False) as response:
                location = response.headers.get("Location")
                if response.status in REDIRECTS and location:
                    break
                if response.status >= 400:
                    raise _refusal(response, where)
                text, fault = _read(response)
            if not fault:
                return text, response.headers
            tries.failed(fault)
        url = _next(url, location, where)
    raise SourceError(f"the request was redirected {MOST_HOPS} times", where=where)


def _read(response: BaseHTTPResponse) -> tuple[str, str]:
    """Return the text of a body, and what is wrong with it if it is not a JSON object."""
    try:
        text = response.read(decode_content=True).decode()
        found = json.loads(text)
    except (HTTPError, OSError, zlib.error):
        return "", "the connection was cut"
    except ValueError:
        found = None
    return (text, "") if isinstance(found, dict) else ("", "the server answers with what is no JSON object")


def _refusal(response: BaseHTTPResponse, where: str) -> Exception:
    said = f"the server answers {status_text(response.status)}"
    try:
        found = json.loads(response.read(TOLD_BYTES, decode_content=True))
    except (HTTPError, OSError, ValueError, zlib.error):
        found = None
    if isinstance(found, dict):
        reason = next((found[key] for key in ("description", "detail", "message") if found.get(key)), "")
        text = reason if isinstance(reason, str) else json.dumps(reason)
        said += f": {''.join(letter if letter.isprintable() else ' ' for letter in text)[:TOLD_LENGTH]}" if text else ""
    if response.status == 404:
        return Absent(said, where=where, hint="check the address of the catalogue")
    if response.status in {401, 403}:
        hint = "`catalogue:` names one that needs no login, or the path of a copy of its items"
        return CredentialsError(said, where=where, hint=hint)
    return SourceError(said, where=where, hint="check `query:` and `filter:`, or report it with the recipe")


def _next(url: str, location: str, where: str) -> str:
    target = urljoin(url, location)
    if url.lower().startswith("https:") and not target.lower().startswith("https:"):
        raise SourceError("a redirect leads to an address that is not encrypted", where=where)
    return target


def _text(value: Any) -> str:
    """Return a parameter as GET writes it: lists with commas, objects as JSON."""
    if isinstance(value, (list, tuple)) and not any(isinstance(one, (dict, list)) for one in value):
        return ",".join(map(str, value))
    return json.dumps(value)

"""Files below an address of the web, read in ranges."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Never, Protocol
from urllib.parse import quote, unquote, urlsplit

from m3leo_prep.blobs.http import PIECE, Patience, answer, said, status_text
from m3leo_prep.blobs.names import names_server, parts_of, shown
from m3leo_prep.core.errors import ConfigError, CredentialsError, StoreError
from m3leo_prep.ports.blobs import Readable

# After the other import of urllib3, which explains its absence.
from urllib3 import BaseHTTPResponse, make_headers  # isort: skip
from urllib3.exceptions import HTTPError  # isort: skip

WHOLE_BYTES = 2**20
"""A file up to this size may come whole where a part of it is asked for ..."""
WASTED = 16
"""... and one up to so many times the part: `pull` works without byte ranges, reading chip by chip does not."""
_ABSENT = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_SIGNATURES = ("signature", "sig=", "token", "expires")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class WebFiles:
    """Files below ``https://…``; the address's own query goes along with every request, and is never shown.

    Raises:
        ConfigError: the address names no server.
    """

    address: str = field(repr=False)
    """As it was given, secrets and all."""

    def __post_init__(self) -> None:
        if not names_server(self.address):
            raise ConfigError("this address names no server", where=self.url, hint="such as https://example.org/data")

    @property
    def url(self) -> str:
        """The address without user, password and query."""
        return shown(self.address)

    @property
    def is_remote(self) -> bool:
        """True."""
        return True

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes ``start ... start + length`` (to the end if None; negative start counts from the end).

        A body that is cut goes on from where it was cut.

        Raises:
            FileNotFoundError: no such file.
            StoreError: the server cannot be reached, fails again and again, or has no ranges.
            CredentialsError: it may not be read.
        """
        if length == 0:
            if self.size(name) is None:
                raise self._absent(name)
            return b""
        return read(self, name, start, length)

    def size(self, name: str) -> int | None:
        """Return the size in bytes, or None if there is no such file; errors as in ``get``."""
        target, headers = self.request(name)
        patience = Patience(f"{self.url}/{name}")
        with answer("HEAD", target, headers, patience) as response:
            status, length = response.status, response.headers.get("Content-Length")
        if status in _ABSENT:
            return None
        if status == HTTPStatus.OK and length is not None:
            return int(length)
        # Some servers know no HEAD, and an address that is signed for GET refuses it.
        with answer("GET", target, {**headers, "Range": "bytes=0-0"}, patience) as response:
            if response.status in _ABSENT:
                return None
            total = (
                response.headers.get("Content-Length")
                if response.status == HTTPStatus.OK
                else (_content_range(response) or (0, 0, None))[2]
            )
            if total is None:
                self.refuse(name, response.status)
        return int(total)

    def request(self, name: str) -> tuple[str, dict[str, str]]:
        """Return the full address of a file, with its secrets, and the headers of a request for it."""
        path = quote("/".join(parts_of(name, self.url)))
        found = urlsplit(self.address)
        user, _, host = found.netloc.rpartition("@")
        target = found._replace(netloc=host, path=f"{found.path.rstrip('/')}/{path}", fragment="").geturl()
        return target, make_headers(basic_auth=unquote(user)) if user else {}

    def landed(self, name: str, address: str) -> None:
        """Take no note of where a redirect led."""

    def refuse(self, name: str, status: int) -> Never:
        """Raise what an answer without the file means."""
        if status in _ABSENT:
            raise self._absent(name)
        where = f"{self.url}/{name}"
        if status in _REFUSED:
            query = urlsplit(self.address).query.lower()
            if any(word in query for word in _SIGNATURES):
                raise CredentialsError(
                    f"the server answers {status_text(status)}: this signed address has probably expired",
                    where=where,
                    hint="ask whoever gave it to you for a new one",
                )
            hint = "ask its owner for access; a password goes into the address: https://USER:PASSWORD@…"
            raise CredentialsError(f"the server answers {status_text(status)}", where=where, hint=hint)
        raise StoreError(f"the server answers {status_text(status)}", where=where, hint="check the address")

    def _absent(self, name: str) -> FileNotFoundError:
        return FileNotFoundError(f"{self.url}/{name}: no such file")


_: type[Readable] = WebFiles


class Located(Protocol):
    """Files that each have an address."""

    @property
    def url(self) -> str:
        """Where they are, without secrets."""
        ...

    def request(self, name: str) -> tuple[str, dict[str, str]]:
        """Return the full address of a file, with its secrets, and the headers of a request for it."""
        ...

    def landed(self, name: str, address: str) -> None:
        """Take note of the address that answered, after redirects."""
        ...

    def refuse(self, name: str, status: int) -> Never:
        """Raise what an answer without the file means."""
        ...


def read(files: Located, name: str, start: int, length: int | None) -> bytes:
    """Return part of a file, as ``Readable.get`` does; ``length`` is not 0.

    Raises:
        StoreError: the server cannot be reached, fails again and again, or has no ranges.
        Exception: what ``refuse`` raises.
    """
    if start < 0:
        return _Body(files, name, start, None).read()[:length]
    return _Body(files, name, start, None if length is None else start + length).read()


class _Body:
    """One read of a file, which may take several requests.

    Args:
        files: where it is.
        name: its name.
        start: first byte; negative counts from the end.
        stop: the byte after the last; None = the end.
    """

    def __init__(self, files: Located, name: str, start: int, stop: int | None) -> None:
        self.files, self.name = files, name
        self.start, self.stop = start, stop
        self.is_whole = start == 0 and stop is None
        self.pieces: list[bytes] = []
        self.have = 0
        self.version: str | None = None
        self.patience = Patience(f"{files.url}/{name}")

    def read(self) -> bytes:
        """Return its bytes."""
        target, headers = self.files.request(self.name)
        done = None
        while done is None:
            asked = self._range()
            with answer("GET", target, {**headers, "Range": asked} if asked else headers, self.patience) as response:
                if response.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                    self.files.landed(self.name, response.geturl() or target)
                if response.status == HTTPStatus.OK:
                    done = self._take_whole(response)
                elif response.status == HTTPStatus.PARTIAL_CONTENT and asked:
                    done = self._take_part(response)
                elif response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and not self.have:
                    done = b""  # the file ends before
                else:
                    self.files.refuse(self.name, response.status)
        return done

    def _range(self) -> str | None:
        """Return the Range header for what is still to come."""
        if self.is_whole and not self.have:
            return None
        if self.start < 0:
            return f"bytes={self.start}"
        return f"bytes={self.start + self.have}-{'' if self.stop is None else self.stop - 1}"

    def _wanted(self, size: int) -> int:
        """Return how many bytes of a file are wanted at most."""
        return -self.start if self.start < 0 else (size if self.stop is None else self.stop) - self.start

    def _take_whole(self, response: BaseHTTPResponse) -> bytes | None:
        """Return what is wanted of a whole file, or None where it was cut."""
        self._forget()  # such a server begins anew
        size = response.headers.get("Content-Length")
        if not self.is_whole and (size is None or int(size) > max(WHOLE_BYTES, WASTED * self._wanted(int(size)))):
            raise StoreError(
                "this server has no byte ranges: parts of a file cannot be read there",
                where=f"{self.files.url}/{self.name}",
                hint=f"fetch the dataset with `m3leo-prep pull {self.files.url} FOLDER` and read the copy",
            )
        self.version = response.headers.get("ETag")
        if self._take(response):
            return b"".join(self.pieces)[self.start : self.stop]
        if not self.is_whole:
            self._forget()
        return None

    def _take_part(self, response: BaseHTTPResponse) -> bytes | None:
        """Return the range, or None where there is more to come."""
        found = _content_range(response)
        if found is None:
            self.files.refuse(self.name, response.status)
        first, last, total = found
        version = response.headers.get("ETag")
        if self.have and version != self.version:
            self._forget()
            self.patience.failed("the file changes while it is read")
            return None
        if self.start < 0:
            self.start, self.stop = first, last + 1  # where that is, is known from now on
        if first != self.start + self.have:
            self.patience.failed("the server sends another range than it was asked for")
            return None
        if total is not None:
            self.stop = total if self.stop is None else min(self.stop, total)
        self.version = version
        before = self.have
        if self._take(response) and self.have - before < max(1, last - first + 1):
            self.patience.failed("the server sends less than it says")
        whole = self.stop is not None and self.have >= self.stop - self.start
        return b"".join(self.pieces)[: self.stop - self.start] if whole and self.stop is not None else None

    def _take(self, response: BaseHTTPResponse) -> bool:
        """Keep what arrives; returns whether the connection lived until the end."""
        fault, before = "", self.have
        try:
            for piece in response.stream(PIECE):
                self.pieces.append(piece)
                self.have += len(piece)
                self.patience.got(len(piece))
        except HTTPError as error:
            fault = said(error)
        if fault:
            self.patience.failed(f"{fault} after {self.have - before} bytes")
        return not fault

    def _forget(self) -> None:
        self.pieces.clear()
        self.have = 0


def _content_range(response: BaseHTTPResponse) -> tuple[int, int, int | None] | None:
    """Return first byte, last byte and size (None if unknown) of a Content-Range; of ``bytes */5``: 0, -1, 5."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None:
        return None
    first, last, total = found.groups()
    size = None if total == "*" else int(total)
    return (0, -1, size) if first is None else (int(first), int(last), size)

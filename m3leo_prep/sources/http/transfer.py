"""Bytes of one file from a server into a ``.part``, through cuts, pauses and redirects, until all have come."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from m3leo_prep.blobs.http import said, status_text
from m3leo_prep.core.errors import CredentialsError, NoData, SourceError, TriedOut
from m3leo_prep.sources.http.auth import Auth
from m3leo_prep.sources.http.contents import begins, is_page
from m3leo_prep.sources.http.hops import Landing, follow, refuse
from m3leo_prep.sources.http.patience import Tries

# After the other import of urllib3, which explains its absence.
from urllib3 import BaseHTTPResponse  # isort: skip
from urllib3.exceptions import HTTPError  # isort: skip

PIECE = 2**18
"""Bytes taken from a connection at once, at most."""
POLL_SECONDS = 2.0
"""Between two looks at a file that is being made (202); half as long again after each, unless the server says when."""
LONGEST_POLL_SECONDS = 15.0
POLLS = 20
"""About four minutes. ``asf_search`` gives a burst 90 s."""
WATCHED_SECONDS = 60.0
SLOWEST = 2**16
"""Bytes in so many seconds: with fewer a connection counts as lost, however alive it looks."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(slots=True)
class Transfer:
    """The way of one file into ``part``; ``run`` once."""

    url: str = field(repr=False)
    part: Path
    where: str
    auth: Auth | None = None
    size: int = 0
    magic: tuple[bytes, ...] = ()
    on_bytes: Callable[[int], None] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the last answer that brought bytes."""
    _polls: int = 0
    _furthest: int = 0
    """Byte of the file that was reached: bytes before it are no progress when they come again."""

    def run(self) -> None:
        """Return when all bytes have come that the server has, which may not be those that were announced.

        Raises:
            OSError: the part cannot be written.
        """
        tries = Tries(self.where)
        while True:
            start = self.part.stat().st_size if self.part.exists() else 0
            if self.size and start == self.size:
                return
            if self.size and start > self.size:
                self.part.unlink()
                start = 0
            ask = {"Range": f"bytes={start}-"} if start else {}
            with follow(self.url, ask, tries, self.auth) as landing:
                if self._take(landing, start, tries):
                    return

    def _take(self, landing: Landing, start: int, tries: Tries) -> bool:
        """Return whether all bytes have come; otherwise the file is to be asked for again."""
        response = landing.response
        match response.status:
            case HTTPStatus.OK | HTTPStatus.PARTIAL_CONTENT:
                return self._body(response, start, tries)
            case HTTPStatus.ACCEPTED:
                self._poll(response, tries)
            case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE if start:
                # Not the file of which we have the beginning.
                self.part.unlink()
                tries.failed(f"the server has no byte {start}")
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN if landing.is_signed:
                # Its time was over, or our clocks differ: the next attempt gets a new one.
                tries.failed(f"the address that we were sent to answers {status_text(response.status)}")
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                refuse(response, self.where, self.auth)
            case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
                raise NoData("the server has no such file", where=self.where)
            case _:
                raise SourceError(f"the server answers {status_text(response.status)}", where=self.where)
        return False

    def _body(self, response: BaseHTTPResponse, start: int, tries: Tries) -> bool:
        place = _place(response)
        if place is None:
            self.part.unlink(missing_ok=True)
            tries.failed("the server sends a part of the file that we did not ask for")
            return False
        first, total = place
        known, told = self.headers.get("ETag"), response.headers.get("ETag")
        changed = bool(first and known and told) and known != told
        if first not in {0, start} or changed:
            self.part.unlink(missing_ok=True)
            tries.failed("the file changed between two parts of it" if changed else "the server sends another part")
            return False
        self.headers = response.headers
        with self.part.open("ab" if first else "wb", buffering=0) as file:
            fault, count = self._copy(response, file, first, tries)
        if not first and self._is_page(response):
            self._reject_page()
        if not fault and total is not None and first + count < total:
            fault = "the body ends early"
        if fault:
            response.close()  # what may still trickle in is not waited for
            tries.failed(fault)
        return not fault

    def _copy(self, response: BaseHTTPResponse, file: BinaryIO, first: int, tries: Tries) -> tuple[str, int]:
        """Write a body, which begins at byte ``first`` of the file, as it comes.

        Returns what went wrong, in words, and how many bytes came.
        """
        count = watched = 0
        since = time.monotonic()
        while True:
            fault = ""
            try:
                piece = response.read1(PIECE)
            except HTTPError as caught:
                fault = said(caught)
            # Outside of `except`: the library's error holds the whole address, with its secrets.
            if fault or not piece:
                return fault, count
            _write(file, piece)
            count += len(piece)
            watched += len(piece)
            new = max(0, first + count - self._furthest)
            self._furthest += new
            tries.got(new)
            if self.on_bytes is not None:
                self.on_bytes(len(piece))
            if (now := time.monotonic()) - since > WATCHED_SECONDS:
                if watched < SLOWEST:
                    return f"the server sends less than {SLOWEST} bytes in {WATCHED_SECONDS:g} s", count
                since, watched = now, 0

    def _poll(self, response: BaseHTTPResponse, tries: Tries) -> None:
        """Wait for a file that the server is making."""
        self._polls += 1
        if self._polls > POLLS:
            raise TriedOut(
                f"the server is still making the file after {POLLS} looks",
                where=self.where,
                hint="run the same command again later",
            )
        usual = min(POLL_SECONDS * 1.5 ** (self._polls - 1), LONGEST_POLL_SECONDS)
        asked = response.headers.get("Retry-After", "")
        tries.pause(min(float(asked), LONGEST_POLL_SECONDS) if asked.isdecimal() else usual)

    def _is_page(self, response: BaseHTTPResponse) -> bool:
        """Return whether a page for people came: one that looks so, or is said to be one and is not of our kind."""
        if is_page(self.part):
            return True
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return kind == "text/html" and not (self.magic and begins(self.part, self.magic))

    def _reject_page(self) -> None:
        self.part.unlink(missing_ok=True)
        hint = self.auth.hint if self.auth is not None else "this may need a login"
        message = "a page for people came in place of the file, as for one who is not logged in"
        raise CredentialsError(message, where=self.where, hint=hint)


def _write(file: BinaryIO, piece: bytes) -> None:
    """Write all of a piece: one call may write less where the disk becomes full, and the next says why."""
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _place(response: BaseHTTPResponse) -> tuple[int, int | None] | None:
    """Return where a body begins in the file, and the file's size if it is told; None if it is not told right."""
    if response.status == HTTPStatus.OK:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return None if found is None else (int(found[1]), int(found[2]) if found[2] != "*" else None)

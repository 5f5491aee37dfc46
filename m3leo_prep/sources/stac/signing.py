"""Addresses of Planetary Computer's files: they open with a token that anybody may ask for, for some time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from m3leo_prep.core.errors import CredentialsError, TriedOut
from m3leo_prep.sources.local.dates import parse

BLOBS = ".blob.core.windows.net"
"""End of the hosts whose files need a token (https://planetarycomputer.microsoft.com/docs/concepts/sas)."""
REAL = "planetarycomputer.microsoft.com"
EARLY_SECONDS = 120.0
"""Before a token expires, another one is fetched: a request that is tried again still holds."""
LEAST_SECONDS = 60.0
"""That a new token must hold."""


@dataclass(slots=True, eq=False)
class Tokens:
    """Tokens of containers, each kept until shortly before it expires; one request for all threads.

    Tokens hold 45 minutes and more (microsoft/PlanetaryComputer#415). Their time is counted from the server's own
    clock, so that a wrong one here does not matter.
    """

    clock: Callable[[], float] = time.monotonic
    _held: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    """By address of the token: the token, and until when on ``clock`` it is good."""
    _locks: dict[str, threading.Lock] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def token(self, address: str) -> str:
        """Return a token that holds for at least a minute.

        Args:
            address: where it is asked for.

        Raises:
            CredentialsError: it is not given without an account.
            TriedOut, RateLimited: the service does not answer, or with what is no token.
        """
        with self._lock:
            lock = self._locks.setdefault(address, threading.Lock())
        with lock:
            token, until = self._held.get(address, ("", 0.0))
            if not token or self.clock() >= until:
                asked = self.clock()
                token, seconds = _fetched(address)
                self._held[address] = token, asked + max(seconds - EARLY_SECONDS, 0.0)
            return token


_TOKENS = Tokens()
"""Of this process."""


@dataclass(frozen=True, slots=True)
class Sas:
    """How addresses at Azure's blob storage are signed; others are left as they are."""

    root: str
    """Of the STAC API; the service that gives tokens lies beside it."""
    tokens: Tokens = field(default=_TOKENS, repr=False, compare=False)

    def signed(self, address: str) -> str:
        """Return an address with its token.

        A stand-in holds the files itself: those of ``https://ACCOUNT.blob.core.windows.net/CONTAINER/KEY`` are at
        ``/blob/ACCOUNT/CONTAINER/KEY`` of its own host.
        """
        link = urlsplit(address)
        host = (link.hostname or "").lower()
        container, _, key = link.path.lstrip("/").partition("/")
        if link.scheme != "https" or not host.endswith(BLOBS) or not container or not key:
            return address
        account = host.removesuffix(BLOBS)
        token = self.tokens.token(urljoin(f"{self.root}/", f"../../sas/v1/token/{account}/{container}"))
        plain = address.partition("?")[0]
        if urlsplit(self.root).hostname != REAL:
            plain = urljoin(self.root, f"/blob/{account}/{container}/{key}")
        return f"{plain}?{token}"


def _fetched(address: str) -> tuple[str, float]:
    """Return a token and for how many seconds it holds."""
    from m3leo_prep.sources.stac.asking import ask_with_headers

    where = f"the tokens of {urlsplit(address).hostname}"
    try:
        found, headers = ask_with_headers(address, where)
    except CredentialsError as error:
        raise CredentialsError(
            f"{error.message} to who asks for {'/'.join(address.split('/')[-2:])} without an account",
            where=where,
            hint="take another catalogue or source for this layer",
        ) from None
    token, expiry = str(found.get("token") or ""), parse(str(found.get("msft:expiry") or ""))
    seconds = 0.0 if expiry is None else (expiry - _now(headers)).total_seconds()
    if not token or seconds < LEAST_SECONDS:
        said = f"holds for {seconds:.0f} s only" if token and expiry else "is not there"
        raise TriedOut(f"the answer's token {said}", where=where, hint="run the same command again later")
    return token.lstrip("?"), seconds


def _now(headers: Mapping[str, Any]) -> datetime:
    """Return the server's time; ours where it does not say."""
    try:
        found = parsedate_to_datetime(str(headers.get("Date")))
    except ValueError:
        return datetime.now(UTC)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)

"""The account's access token: one session on this machine, shared by all threads and processes.

A token lives for 10 minutes and may be renewed for 60; a user has at most 100 sessions
(https://documentation.dataspace.copernicus.eu/Quotas.html). A worker that logs in for itself takes one each: with many
of them the identity server refuses good passwords. So the tokens lie in a file of the cache's folder, readable by its
owner alone, and whoever finds them too old renews them for all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from m3leo_prep.blobs.room import FOLDER_VARIABLE, cache_folder
from m3leo_prep.core.errors import CredentialsError, SourceError, StoreError
from m3leo_prep.sources._secrets import write_secret
from m3leo_prep.sources.copernicus.service.hosts import hosts
from m3leo_prep.sources.copernicus.service.login import LOG_IN, TOTP, Login, login

CLIENT = "cdse-public"
"""https://documentation.dataspace.copernicus.eu/APIs/Token.html"""
EARLY_SECONDS = 30.0
"""Before its end a token counts as old, so that it lives as long as the request that shows it needs to arrive."""
EARLY_SHARE = 0.1
"""Of a token's life at most, for the same."""
CODE_SECONDS = 30
"""A code of two-factor authentication lives (RFC 6238)."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of one session; times are seconds since 1970."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    until: float
    """The access token holds, ..."""
    refresh_until: float
    """... and the other one, by which a new pair is had."""


class TokenManager:
    """The login as requests carry it: ``sources.http.auth.Auth``.

    Args:
        login: name and password.
        folder: for the file with the tokens; made when it is needed.
        clock: seconds since 1970.
    """

    hint = f"{LOG_IN}; with two-factor authentication also set {TOTP}"

    def __init__(self, login: Login, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._login = login
        self._clock = clock
        there = hosts()
        self._host, self._url = there.identity, there.token_url
        digest = hashlib.blake2b(f"{self._url} {login.user}".encode(), digest_size=12).hexdigest()
        self._file = folder / f"{digest}.json"
        self._lock = threading.Lock()
        self._tokens: Tokens | None = None

    def __repr__(self) -> str:
        return f"TokenManager(user={self._login.user!r})"

    def headers(self, host: str) -> Mapping[str, str]:
        """Return the token for hosts of the Data Space, nothing for others.

        Raises:
            CredentialsError: the identity server refuses the login.
            TriedOut, RateLimited: it does not answer, or nonsense.
            StoreError: the session cannot be noted.
        """
        return {"Authorization": f"Bearer {self.token()}"} if hosts().trusts(host) else {}

    def renew(self, headers: Mapping[str, str]) -> bool:
        """Return whether there is another token than the one of these headers, which a server refused.

        Errors are those of ``headers``.
        """
        refused = headers.get("Authorization", "").removeprefix("Bearer ")
        return bool(refused) and self.token(refused) != refused

    def renewed(self) -> None:
        """Ask the identity server once: for a new token, or where there is no session, for one; errors as above."""
        stored = self._read()
        self.token(stored.access if stored is not None else "")

    def token(self, refused: str = "") -> str:
        """Return an access token that still holds, and is not the refused one; errors as in ``headers``."""
        with self._lock:
            if self._tokens is None or not self._holds(self._tokens, refused):
                with self._alone():
                    stored = self._read()  # another process may have been here before
                    if stored is None or not self._holds(stored, refused):
                        stored = self._refreshed(stored) or self._logged_in()
                        self._write(stored)
                    self._tokens = stored
            return self._tokens.access

    def _holds(self, tokens: Tokens, refused: str) -> bool:
        return tokens.access != refused and self._clock() < tokens.until

    def _refreshed(self, tokens: Tokens | None) -> Tokens | None:
        """Return the session's next tokens, None where it has ended."""
        if tokens is None or self._clock() >= tokens.refresh_until:
            return None
        return self._asked({"grant_type": "refresh_token", "refresh_token": tokens.refresh})

    def _logged_in(self) -> Tokens:
        form = {"grant_type": "password", "username": self._login.user, "password": self._login.password}
        if self._login.totp:
            form["totp"] = code(self._login.totp, self._clock())
        found = self._asked(form)
        assert found is not None
        return found

    def _asked(self, form: Mapping[str, str]) -> Tokens | None:
        """Return new tokens; None where a refresh token is refused, which is no reason to stop."""
        from m3leo_prep.blobs.http import answer
        from m3leo_prep.sources.http.hops import refuse
        from m3leo_prep.sources.http.patience import Tries
        from urllib3.exceptions import HTTPError  # isort: skip  (the first import explains its absence)

        body = urlencode({"client_id": CLIENT, **form}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        tries = Tries(self._host)
        while True:
            tries.turn(self._host)
            now = self._clock()
            with answer("POST", self._url, kind, tries, body=body, follow=False) as response:
                if response.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                    if form["grant_type"] == "refresh_token":
                        return None
                    refuse(response, f"user {self._login.user} by {self._login.where}", self)
                if response.status != HTTPStatus.OK:
                    raise SourceError(f"the identity server answers {response.status}", where=self._host)
                with suppress(HTTPError, ValueError, KeyError, TypeError):
                    return _tokens(json.loads(response.read()), now)
            # A cut, or a page: it may pass. Outside of `except`: that error may hold tokens.
            tries.failed("the identity server's answer cannot be read")

    def _read(self) -> Tokens | None:
        """Return the tokens that the file holds.

        None if there are none, somebody else might have written them, or they were had by another password: one that
        does not hold is told at once, not when the session of the one before it ends.
        """
        try:
            with self._file.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_uid != os.getuid() or state.st_mode & 0o077:
                    return None
                found: dict[str, Any] = json.loads(file.read())
                if not hmac.compare_digest(str(found["proof"]), self._proof(bytes.fromhex(found["salt"]))):
                    return None
                return Tokens(
                    str(found["access"]), str(found["refresh"]), float(found["until"]), float(found["refresh_until"])
                )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, tokens: Tokens) -> None:
        salt = secrets.token_bytes(16)
        kept = {**asdict(tokens), "salt": salt.hex(), "proof": self._proof(salt)}
        write_secret(self._file, json.dumps(kept).encode())

    def _proof(self, salt: bytes) -> str:
        """Return what tells the password from others, and not what it is: trying one takes 4 MB and 10 ms."""
        return hashlib.scrypt(self._login.password.encode(), salt=salt, n=2**12, r=8, p=1, dklen=16).hex()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A context that one thread of one process is in."""
        from filelock import FileLock

        path = self._file.with_suffix(".lock")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(path, mode=0o600)
            lock.acquire()
        except (OSError, NotImplementedError) as error:  # the second: filelock's, of a file system without locks
            why = (isinstance(error, OSError) and error.strerror) or str(error)
            hint = f"{FOLDER_VARIABLE} names another folder"
            raise StoreError(f"the session cannot be noted: {why}", where=str(path), hint=hint) from None
        try:
            yield
        finally:
            lock.release()


def tokens() -> TokenManager:
    """Return the manager of this user's session; one for each login in a process.

    Raises:
        CredentialsError: there is no login.
    """
    found = login()
    if found is None:
        raise CredentialsError("there is no login for the Copernicus Data Space", hint=LOG_IN)
    return _manager(os.getpid(), hosts().token_url, found, cache_folder() / "logins")


def code(totp: str, now: float) -> str:
    """Return the six digits of two-factor authentication: as they are, or made from their secret (RFC 6238).

    Raises:
        CredentialsError: it is neither.
    """
    if len(totp) == 6 and totp.isdecimal():
        return totp
    try:
        secret = base64.b32decode(totp.upper() + "=" * (-len(totp) % 8))
    except (binascii.Error, ValueError):
        raise CredentialsError(
            "this is neither six digits nor a secret in base32", where=f"${TOTP}", hint="see your authenticator"
        ) from None
    digest = hmac.digest(secret, struct.pack(">Q", int(now) // CODE_SECONDS), "sha1")
    start = digest[-1] & 0xF
    return f"{(struct.unpack('>I', digest[start : start + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"


@lru_cache(maxsize=8)
def _manager(process: int, url: str, login: Login, folder: Path) -> TokenManager:
    del process, url  # by which one is told from another
    return TokenManager(login, folder)


def _tokens(found: Mapping[str, Any], now: float) -> Tokens:
    """Return the tokens of an answer to a request that was sent ``now``."""
    life, refresh_life = float(found["expires_in"]), float(found["refresh_expires_in"])
    return Tokens(
        str(found["access_token"]),
        str(found["refresh_token"]),
        now + life - min(EARLY_SECONDS, EARLY_SHARE * life),
        now + refresh_life - min(EARLY_SECONDS, EARLY_SHARE * refresh_life),
    )

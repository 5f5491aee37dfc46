"""Requests over HTTP: one set of connections a process, repeated where that can help, told in plain words."""

from __future__ import annotations

import logging
import os
import random
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import Never
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from m3leo_prep.core.errors import MissingDependency, StoreError

try:
    from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Retry, Timeout
    from urllib3.exceptions import (
        ConnectTimeoutError,
        HTTPError,
        InvalidHeader,
        MaxRetryError,
        NameResolutionError,
        NewConnectionError,
        ProxyError,
        ReadTimeoutError,
        SSLError,
    )
    from urllib3.util import make_headers, parse_url
except ImportError as error:
    raise MissingDependency(
        f"reading over a network needs {error.name}", hint="pip install 'm3leo-prep[remote]'"
    ) from error

# The library logs whole addresses, signatures and all: requests at DEBUG, redirects at INFO, answers with a damaged
# header as a warning. Only to who asks for its log by name.
_QUIET = {
    "connectionpool": logging.INFO,
    "util.retry": logging.INFO,
    "poolmanager": logging.WARNING,
    "connection": logging.ERROR,
}
for _name, _level in _QUIET.items():
    if (_log := logging.getLogger(f"urllib3.{_name}")).level == logging.NOTSET:
        _log.setLevel(_level)

ATTEMPTS = 6
"""Of one read that get nowhere."""
PROGRESS_BYTES = 2**20
"""After so many bytes more the count of attempts starts anew: a large file may be cut often."""
BACKOFF_SECONDS = 0.5
"""Before the second attempt; twice as long before each one after that."""
LONGEST_WAIT_SECONDS = 120.0
"""That a server may ask for; with a longer one we give up and say so."""
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""Without a byte, until a connection counts as lost."""
REDIRECTS = 5
TRANSIENT = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Answers that may be others in a moment."""
POOLED = 32
"""Connections kept to one host."""
HOSTS = 16
DRAINED = 64 * 2**10
"""Bytes of a body nobody wants that are cheaper to read than a new connection."""
PIECE = 2**20
"""Bytes read at once; what a cut loses at most."""


UNTRUSTED = "the server's certificate is not trusted"
TRUST_HINT = "behind a proxy that opens connections, SSL_CERT_FILE names the file with its certificate"


class Patience:
    """How often one read is tried again, and how long is waited before.

    Args:
        where: the blob, for messages; without secrets.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._failed = self._since = 0
        self.status: int | None = None
        """Of the last answer that did not help; None if there was no answer."""

    def failed(self, what: str, after: float | None = None, status: int | None = None) -> None:
        """Wait until the next attempt.

        Args:
            what: went wrong, in words.
            after: seconds that the server asks for.
            status: of its answer.

        Raises:
            StoreError: enough attempts were made, or the server asks for too long.
        """
        self._failed += 1
        self._since = 0
        self.status = status
        if self._failed >= ATTEMPTS:
            hint = "check the network and run the same command again; what was fetched before is not lost"
            self.give_up(f"{what}, {self._failed} times in a row", hint)
        if after is not None and after > LONGEST_WAIT_SECONDS:
            self.give_up(f"{what}; the server asks to wait {after:.0f} s", "try again then")
        # Spread, so that many readers of one server do not come back together.
        backoff = BACKOFF_SECONDS * 2 ** (self._failed - 1) * random.uniform(0.5, 1)
        self.wait(max(backoff, after or 0), asked=after is not None)

    def wait(self, seconds: float, *, asked: bool) -> None:  # noqa: ARG002  (who slows others down asks)
        """Sleep; ``asked`` if the server named a time."""
        time.sleep(seconds)

    def give_up(self, what: str, hint: str) -> Never:
        """Raise what more attempts do not help against now."""
        raise StoreError(what, where=self.where, hint=hint)

    def distrust(self) -> Never:
        """Raise that the server does not prove who it is: no attempt helps, and we never go on without."""
        raise StoreError(UNTRUSTED, where=self.where, hint=TRUST_HINT)

    def got(self, count: int) -> None:
        """Take note of bytes that arrived."""
        self._since += count
        if self._since >= PROGRESS_BYTES:
            self._failed = 0


@contextmanager
def answer(
    method: str,
    address: str,
    headers: Mapping[str, str],
    patience: Patience,
    *,
    body: bytes | None = None,
    follow: bool = True,
) -> Iterator[BaseHTTPResponse]:
    """Yield an answer that is not transient, its body unread; its connection is kept if the body was read.

    Redirects are followed, to another host without the header ``Authorization``. Unless ``follow`` is False: then a
    redirect is the answer, and also the body of a refusal can be read.

    Raises:
        StoreError: nothing but transient answers, or none; or the server's certificate is not trusted.
    """
    server = urlsplit(address)
    pool = _pool(os.getpid(), _proxy(server.scheme, server.netloc.rpartition("@")[2]))
    while True:
        fault, is_trusted = "", True
        try:
            response = pool.request(
                method,
                address,
                body=body,
                headers={"Accept-Encoding": "identity", **headers},
                retries=Retry(
                    total=None,
                    connect=0,
                    read=0,
                    other=0,
                    redirect=REDIRECTS,
                    status=0,
                    respect_retry_after_header=False,
                ),
                timeout=Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                redirect=follow,
                preload_content=False,
                decode_content=False,
            )
        except HTTPError as caught:
            fault, is_trusted = said(caught), not is_certificate(caught)
        # Outside of `except`: the library's error holds the whole address, with its secrets.
        if not is_trusted:
            patience.distrust()
        if fault:
            patience.failed(fault)
        elif response.status in TRANSIENT:
            after = _asked_wait(response)
            _drain(response)
            response.close()
            patience.failed(f"the server answers {status_text(response.status)}", after, response.status)
        else:
            break
    try:
        if follow and response.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            _drain(response)  # nobody reads it
        yield response
        _drain(response)
    finally:
        response.close()  # does nothing to a connection that was read to the end: that one is kept


def said(error: HTTPError) -> str:
    """Return what went wrong on the way, without the address."""
    reason = error.reason if isinstance(error, MaxRetryError) else error
    match reason:
        case NameResolutionError():
            return "there is no host of this name"
        case ConnectTimeoutError() if not isinstance(reason, NewConnectionError):
            return "the server cannot be reached"
        case NewConnectionError():
            return "the server takes no connections"
        case ReadTimeoutError():
            return f"the server is silent for {READ_SECONDS:g} s"
        case ProxyError():
            return "the proxy does not let us through"
        case SSLError():
            return "the connection cannot be encrypted (TLS)"
    return "the connection was cut"


def is_certificate(error: Exception) -> bool:
    """Return whether the server's certificate is why."""
    reason = error.reason if isinstance(error, MaxRetryError) else error
    causes = (reason, *reason.args) if isinstance(reason, SSLError) else ()
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)


def status_text(status: int) -> str:
    """Return a status with its name.

    >>> status_text(503)
    '503 Service Unavailable'
    """
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _drain(response: BaseHTTPResponse) -> None:
    """Read what is left of a short body, so that its connection can be kept."""
    if response.length_remaining is not None and response.length_remaining <= DRAINED:
        response.drain_conn()


def _asked_wait(response: BaseHTTPResponse) -> float | None:
    """Return the seconds of a Retry-After header, which may also be a date."""
    header = response.headers.get("Retry-After")
    try:
        return Retry().parse_retry_after(header) if header else None
    except InvalidHeader:
        return None


@lru_cache(maxsize=64)
def _proxy(scheme: str, host: str) -> str:
    """Return the proxy of the environment (``HTTPS_PROXY`` and such) for a server, or nothing."""
    proxy = getproxies().get(scheme, "")
    return "" if not proxy or proxy_bypass(host) else proxy


@lru_cache(maxsize=4)
def _pool(process: int, proxy: str) -> PoolManager:
    """Return the connections of a process: after a fork, two would talk on the same one."""
    del process
    if proxy:
        login = parse_url(proxy).auth  # which the library does not send by itself
        headers = make_headers(proxy_basic_auth=unquote(login)) if login else None
        return ProxyManager(proxy, num_pools=HOSTS, maxsize=POOLED, proxy_headers=headers)
    return PoolManager(num_pools=HOSTS, maxsize=POOLED)

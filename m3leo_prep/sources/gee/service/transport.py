"""HTTP for the Earth Engine client: sees every answer, renews the token once for all, and lets nothing last for ever.

The client takes any object with httplib2's ``request`` (``ee.Initialize(http_transport=...)``, a public argument).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError

from m3leo_prep.core.errors import SourceError, TransientError
from m3leo_prep.sources.gee.service.credentials import Token

QUOTA_STATUS = "x-earth-engine-quota-status"
"""Of every answer in restricted mode; the client turns it into a Python warning each time."""
CONNECT_SECONDS = 20.0
READ_SECONDS = 330.0
"""Without a byte: the service computes up to 5 minutes before it sends the first one
(https://developers.google.com/earth-engine/guides/computation_overview)."""
TOTAL_SECONDS = 600.0
"""Of one request, however steadily it drips: 48 MiB within them need 0.2 MB/s."""
_PART = 256 * 1024
"""Bytes of a body that are taken from the connection at once; they stay in the processor's cache."""
_thread = threading.local()


class Body:
    """The body of an answer, as it arrives."""

    def __init__(self, raw: Any) -> None:
        """Read from urllib3's response."""
        self._raw = raw

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of the buffer and return how much; 0 at the end."""
        part: bytes = self._raw.read(min(len(buffer), _PART), decode_content=True)
        buffer[: len(part)] = part
        return len(part)


@contextmanager
def read_by(reader: Callable[[Body], None]) -> Iterator[None]:
    """A context in which ``reader`` gets the bodies of this thread's good answers; the client then sees empty ones.

    Tens of megabytes cost more to gather and allocate (measured: 27 ms for the 9.6 MB of a chip of 24 bands) than to
    read part by part (2 ms).

    Raises:
        TransientError: nothing came by this transport, so that the reader saw nothing.
    """
    _thread.reader, _thread.has_read = reader, False
    try:
        yield
    finally:
        _thread.reader = None
    if not _thread.has_read:
        raise TransientError("the answer came by another connection: was ee.Initialize called meanwhile?")


def _content(response: requests.Response) -> bytes:
    """Return the body of an answer; of one that a reader waits for, nothing, once it has read it."""
    reader: Callable[[Body], None] | None = getattr(_thread, "reader", None)
    if reader is None or not response.ok or "text/html" in response.headers.get("content-type", ""):
        return response.content
    _thread.has_read = True
    try:
        reader(Body(response.raw))
    except BaseException:
        response.close()  # what is left of the body must not be taken for the next answer
        raise
    return b""


class Answer(dict[str, str]):
    """Headers by lower-case name, and the status: what the client expects of ``httplib2.Response``."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__({name.lower(): value for name, value in response.headers.items()})
        self.status = response.status_code
        self.reason = response.reason or ""


class Transport:
    """One for a session; ``request`` may be called from many threads."""

    def __init__(
        self,
        token: Token,
        url: str,
        *,
        connections: int,
        on_restricted: Callable[[bool], None],
        read_seconds: float = READ_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        """Open nothing yet.

        Args:
            token: sent with every request.
            url: where they all go.
            connections: kept open at most.
            on_restricted: told whether the project is in restricted mode, as often as an answer says so.
            read_seconds: longest time without a byte.
            total_seconds: longest time of one request.
        """
        self._token = token
        self._on_restricted = on_restricted
        self._timeout = (CONNECT_SECONDS, read_seconds)
        self._total_seconds = total_seconds
        self._session = requests.Session()
        # What the environment says of proxies and certificates is looked up once, not for each request; and a login of
        # a netrc file never replaces the token.
        self._session.proxies.update(requests.utils.get_environ_proxies(url))
        self._session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        self._session.trust_env = False
        self._watch = _Watch(total_seconds)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pool_maxsize=connections))

    def request(  # the client's own names
        self,
        uri: str,
        method: str = "GET",
        body: str | bytes | None = None,
        headers: dict[str, str] | None = None,
        redirections: int = 0,  # noqa: ARG002  (what httplib2 takes)
        connection_type: Any = None,  # noqa: ARG002  (the same)
    ) -> tuple[Answer, bytes]:
        """Return the answer and its body, whatever its status.

        A token that is refused while others renew it, or just now, is renewed and the request sent once more.

        Raises:
            TransientError: no answer, or not all of it.
            CredentialsError: the token cannot be renewed.
        """
        token = self._token.current()
        answer, content = self._send(uri, method, body, headers, token)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            answer, content = self._send(uri, method, body, headers, self._token.renewed(token))
        state = answer.pop(QUOTA_STATUS, "").replace(" ", "")
        if "parallelism_restricted=" in state:
            self._on_restricted("parallelism_restricted=true" in state)
        if answer.status < HTTPStatus.BAD_REQUEST and "text/html" in answer.get("content-type", ""):
            raise TransientError("a web page came instead of data: is there a proxy or a login page in between?")
        return answer, content

    def close(self) -> None:
        """Close idle connections."""
        self._watch.close()
        self._session.close()

    def _send(
        self, uri: str, method: str, body: str | bytes | None, headers: dict[str, str] | None, token: str
    ) -> tuple[Answer, bytes]:
        sent = {**(headers or {}), "authorization": f"Bearer {token}"}
        # The exceptions of requests hold what was sent, token and all: none is handed on.
        with self._watch.limited() as exchange:
            try:
                response = self._session.request(
                    method, uri, data=body, headers=sent, timeout=self._timeout, allow_redirects=False, stream=True
                )
                content = _content(response)
                expected = response.headers.get("content-length", "")
                if exchange.is_ended:
                    raise self._too_long()
                # urllib3 checks it from version 2 on.
                if expected.isdigit() and response.raw.tell() < int(expected):
                    raise TransientError(f"the answer was cut: {response.raw.tell()} of {expected} bytes came")
                # What is cut within its headers looks like an empty success.
                if response.ok and not response.raw.tell():
                    raise TransientError("the answer was cut: nothing came after its headers")
            except requests.exceptions.SSLError as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise SourceError(
                        "the certificate of Earth Engine's server is not accepted here",
                        hint="behind a proxy that reads along, set REQUESTS_CA_BUNDLE to its certificate",
                    ) from None
                raise TransientError("the connection broke") from None
            except (requests.exceptions.Timeout, ReadTimeoutError):
                raise TransientError(f"no answer: nothing came for {self._timeout[1]:g} s") from None
            except (requests.exceptions.RequestException, HTTPError, OSError) as error:
                if exchange.is_ended:
                    raise self._too_long() from None
                raise TransientError(_told(error)) from None
        return Answer(response), content

    def _too_long(self) -> TransientError:
        return TransientError(f"the answer took more than {self._total_seconds:g} s")


def _told(error: Exception) -> str:
    """Return why no answer came, without address and headers."""
    if isinstance(error, requests.exceptions.ProxyError):
        return "no answer: the proxy refuses the connection"
    text = str(error)
    for sign, told in (
        ("NameResolution", "no answer: the server's name is not known here; is there a network?"),
        ("refused", "no answer: the server refuses the connection"),
        ("timed out", "no answer: nothing came in time"),
    ):
        if sign in text:
            return told
    return "the connection broke"


class _Watch:
    """Ends exchanges that take too long: a socket's timeout counts from byte to byte, and what drips never meets it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._under_way: set[_Exchange] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def limited(self) -> Iterator[_Exchange]:
        """A context that ends this thread's exchange after so long."""
        exchange = _Exchange(time.monotonic() + self._seconds)
        with self._lock:
            self._under_way.add(exchange)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="earth-engine-watch", daemon=True)
                self._thread.start()
        _thread.exchange = exchange
        try:
            yield exchange
        finally:
            with self._lock:
                self._under_way.discard(exchange)

    def close(self) -> None:
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(min(self._seconds / 10, 5.0)):
            with self._lock:  # held while sockets are shut down: none of them may serve the next request already
                for exchange in self._under_way:
                    if exchange.ends <= time.monotonic():
                        exchange.end()


@dataclass(eq=False, slots=True)
class _Exchange:
    """A request and its answer on their way."""

    ends: float
    """``time.monotonic``."""
    sockets: list[socket.socket] = field(default_factory=list)
    is_ended: bool = False

    def end(self) -> None:
        self.is_ended = True
        for one in self.sockets:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own: that would take the TLS layer away under the reader's feet.
                socket.socket.shutdown(one, socket.SHUT_RDWR)


class _Noted:
    """A connection that tells which socket this thread's exchange uses."""

    sock: socket.socket | None

    def getresponse(self) -> Any:
        if self.sock is not None:
            _thread.exchange.sockets.append(self.sock)
        return super().getresponse()  # type: ignore[misc]  # of the connection it is mixed into


class _Connection(_Noted, HTTPConnection):
    pass


class _SecureConnection(_Noted, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    """Requests' own, with these connections."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager

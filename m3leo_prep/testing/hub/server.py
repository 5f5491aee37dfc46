"""The stand-in's HTTP side: threads, kept connections, faults, records."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from m3leo_prep.testing.answers import Answer
from m3leo_prep.testing.hub import holdings
from m3leo_prep.testing.hub.answers import Refused
from m3leo_prep.testing.hub.calls import Call, Route
from m3leo_prep.testing.hub.faults import Fault, Faults
from m3leo_prep.testing.hub.record import Request
from m3leo_prep.testing.hub.repositories import Blobs, Repository
from m3leo_prep.testing.hub.routes import routed
from m3leo_prep.testing.serving import Handler, Server

_PIECE = 1 << 16


class HubStandIn:
    """A running stand-in, as a context: ``with HubStandIn() as hub: ... hub.endpoint``.

    Attributes:
        token: of the user ``me``, who may write under ``me`` and ``our-lab``.
        read_token: of the same user, for reading only.
        stranger_token: of another user, who may not see what is private.
        requests: what was asked, in order of arrival.
        faults: call it to plan a fault; see faults.Faults.
        latency: seconds that every answer waits, however many wait at once.
    """

    token = holdings.WRITE
    read_token = holdings.READ
    stranger_token = holdings.STRANGER

    def __init__(self, folder: Path | None = None, *, port: int = 0, latency: float = 0.0) -> None:
        """Listen on 127.0.0.1; port 0 takes any that is free.

        Args:
            folder: where contents are kept; None = a temporary one.
            port: to listen on.
            latency: see the attribute.
        """
        self._bind(port)  # first: what else there is need not be cleared away where the port is taken
        self.requests: list[Request] = []
        self.faults = Faults()
        self.latency = latency
        self._open = contextlib.ExitStack()
        self._folder = folder or Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="hub")))
        self.holdings = holdings.Holdings(Blobs(self._folder))
        self._lock = threading.Lock()
        self._server.start()

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT is set to: ``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def repos(self) -> dict[str, Repository]:
        """The repositories by ``owner/name``."""
        return self.holdings.repos

    @property
    def uploads(self) -> Counter[str]:
        """How often each content came in whole, by hash; nothing was sent twice where none is above 1."""
        return self.holdings.uploads

    @property
    def counts(self) -> Counter[str]:
        """How many requests each route got."""
        with self._lock:
            return Counter(request.route for request in self.requests)

    def asked(self, route: str) -> list[Request]:
        """Return the requests of one route."""
        with self._lock:
            return [request for request in self.requests if request.route == route]

    def read(self, repo: str, name: str, revision: str = "main") -> bytes:
        """Return what a repository holds under a name.

        Raises:
            KeyError: no such repository, revision or file.
        """
        commit = self.repos[repo].find(revision)
        if commit is None:
            raise KeyError(revision)
        return self.holdings.blobs.path(commit.tree[name].key).read_bytes()

    def expire(self) -> None:
        """Let all addresses of large files expire that were given away so far."""
        self.holdings.expire()

    def forget_requests(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self.requests.clear()
        self.uploads.clear()

    def reset(self) -> None:
        """Forget repositories, requests and faults."""
        self.faults.clear()
        self.latency = 0.0
        self.holdings = holdings.Holdings(Blobs(self._folder))
        for path in self._folder.iterdir():
            path.unlink()
        self.forget_requests()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections inside, on the same port."""
        self._server.stop()
        try:
            yield
        finally:
            self._bind(self.port)
            self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self._open.close()

    def begin(self, method: str, target: str, headers: Mapping[str, str]) -> tuple[Request, Mapping[str, str], Any]:
        """Return the record of a request that has come in, what its path says and who answers it."""
        path = urlsplit(target).path
        route, parts, answer = routed(method, path)
        name = parts.get("path") or parts.get("oid", "")
        request = Request(method, unquote(path), route, parts.get("repo", ""), name, headers.get("range", ""))
        request.authorized = "authorization" in headers
        with self._lock:
            self.requests.append(request)
        return request, parts, answer

    def _bind(self, port: int) -> None:
        self._server = _Server(port, _Handler)
        self._server.hub = self
        self.port = self._server.server_port


class _Server(Server):
    hub: HubStandIn


class _Handler(Handler):
    server: _Server

    def respond(self) -> None:
        hub = self.server.hub
        headers = {key.lower(): value for key, value in self.headers.items()}
        request, parts, route = hub.begin(self.command, self.path, headers)
        body = self._pieces(headers, request)
        fault = hub.faults.take(request)
        request.fault = fault.kind if fault else ""
        if fault and fault.kind == "cut_upload":
            while request.received < fault.size and next(body, b""):
                pass
            self.reset()
            return
        if fault and fault.kind == "reset":
            self.reset()
            return
        time.sleep(hub.latency + (fault.seconds if fault else 0.0))
        answer = self._answer(request, parts, route, headers, body, fault)
        for _ in body:  # a kept connection has no rest of an old body
            pass
        if fault and fault.kind == "lost":
            self.reset()
            return
        self._send(request, answer, fault)

    def _answer(
        self,
        request: Request,
        parts: Mapping[str, str],
        route: Route | None,
        headers: Mapping[str, str],
        body: Iterator[bytes],
        fault: Fault | None,
    ) -> Answer:
        hub = self.server.hub
        if fault and fault.kind == "error":
            return Refused(fault.status, fault.text, "", **dict(fault.headers)).answer()
        if route is None:
            return Refused(404, f"stand-in: {request.method} {request.path} is not built").answer()
        try:
            token = headers.get("authorization", "").removeprefix("Bearer ").strip()
            query: dict[str, str] = {}
            for key, value in parse_qsl(urlsplit(self.path).query):
                query[key] = f"{query[key]},{value}" if key in query else value
            cdn = f"http://localhost:{hub.port}"
            drop = fault is not None and fault.kind == "drop"
            return route(Call(hub.holdings, hub.endpoint, cdn, token, parts, query, headers, lambda: body, drop))
        except Refused as refused:
            return refused.answer()
        except ConnectionError:  # whoever asked has gone
            return Refused(400, "stand-in: the request did not come whole").answer()
        except Exception as error:  # noqa: BLE001 a mistake of ours: a dropped connection would be asked again for long
            traceback.print_exc()
            return Refused(400, f"stand-in: its own mistake: {type(error).__name__}: {error}").answer()

    def _pieces(self, headers: Mapping[str, str], request: Request) -> Iterator[bytes]:
        """Yield the body as it comes in."""
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        left = int(self.rfile.readline(), 16) if chunked else int(headers.get("content-length") or 0)
        while left:
            piece = self.rfile.read(min(left, _PIECE))
            if not piece:
                raise ConnectionResetError
            request.received += len(piece)
            left -= len(piece)
            yield piece
            if chunked and not left:
                self.rfile.readline()
                left = int(self.rfile.readline(), 16)
        if chunked:
            self.rfile.readline()

    def _send(self, request: Request, answer: Answer, fault: Fault | None) -> None:
        ends = min(fault.size, answer.size) if fault and fault.kind == "cut" else answer.size
        # Before the answer: a client that has it may look at the record.
        request.status = answer.status
        request.bytes = 0 if self.command == "HEAD" else ends
        flip = fault.size if fault and fault.kind == "flip" else None
        self.send_answer(answer, size=answer.size, ends=ends, flip=flip)

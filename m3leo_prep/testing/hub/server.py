"""The stand-in's HTTP side: threads, kept connections, faults, records."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from m3leo_prep.testing.hub import holdings
from m3leo_prep.testing.hub.answers import Answer, Refused
from m3leo_prep.testing.hub.calls import Call, Route
from m3leo_prep.testing.hub.faults import Fault, Faults
from m3leo_prep.testing.hub.record import Request
from m3leo_prep.testing.hub.repositories import Blobs, Repository
from m3leo_prep.testing.hub.routes import routed

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER by which closing a socket resets the connection."""
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
        self._start()

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
        self._stop()
        try:
            yield
        finally:
            self._bind(self.port)
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
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
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.hub = self
        self.port = self._server.server_port

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    hub: HubStandIn

    def __init__(self, *arguments: Any) -> None:
        self._kept: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._kept.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._kept.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep."""
        for kept in list(self._kept):
            with suppress(OSError):
                kept.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where the client went away; anything else is an error of ours."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        """Say nothing: requests are recorded."""

    def finish(self) -> None:
        """Close both ways, also where the client went away with something unsent."""
        with suppress(OSError):
            super().finish()
        self.rfile.close()

    def _handle(self) -> None:
        hub = self.server.hub
        headers = {key.lower(): value for key, value in self.headers.items()}
        request, parts, route = hub.begin(self.command, self.path, headers)
        body = self._pieces(headers, request)
        fault = hub.faults.take(request)
        request.fault = fault.kind if fault else ""
        if fault and fault.kind == "cut_upload":
            while request.received < fault.size and next(body, b""):
                pass
            self._reset()
            return
        if fault and fault.kind == "reset":
            self._reset()
            return
        time.sleep(hub.latency + (fault.seconds if fault else 0.0))
        answer = self._answer(request, parts, route, headers, body, fault)
        for _ in body:  # a kept connection has no rest of an old body
            pass
        if fault and fault.kind == "lost":
            self._reset()
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
        is_cut = fault is not None and fault.kind == "cut"
        ends = min(fault.size, answer.size) if fault and is_cut else answer.size
        # Before the answer: a client that has it may look at the record.
        request.status = answer.status
        request.bytes = 0 if self.command == "HEAD" else ends
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(answer.size))
        for key, value in answer.headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            flip = fault.size if fault and fault.kind == "flip" else None
            self._write(answer, ends, flip)
        self.wfile.flush()
        if is_cut:
            self.close_connection = True
            self.connection.close()

    def _write(self, answer: Answer, ends: int, flip: int | None) -> None:
        if answer.file is None:
            self.wfile.write(answer.body[:ends])
            return
        with answer.file.open("rb") as file:
            file.seek(answer.start)
            sent = 0
            while sent < ends and (piece := file.read(min(_PIECE, ends - sent))):
                if flip is not None and sent <= flip < sent + len(piece):
                    turned = bytearray(piece)
                    turned[flip - sent] ^= 1
                    piece = bytes(turned)
                self.wfile.write(piece)
                sent += len(piece)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # The base class's own way to close would first flush and shut down in good order.
        self.connection.close()

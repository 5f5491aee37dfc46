"""How a request is received and answered: TLS, threads, kept connections, faults."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import time
import traceback
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from m3leo_prep.testing.earthdata.calls import Call, Route, refused
from m3leo_prep.testing.earthdata.faults import Fault
from m3leo_prep.testing.earthdata.record import Request
from m3leo_prep.testing.earthdata.routes import routed
from m3leo_prep.testing.hub.answers import Answer

if TYPE_CHECKING:
    from m3leo_prep.testing.earthdata.server import EarthdataStandIn

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER by which closing a socket resets the connection."""
_PIECE = 1 << 16


class Server(ThreadingHTTPServer):
    """One of the stand-in's two servers: with ``tls`` that of all services, without that of the public bucket."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, owner: EarthdataStandIn, port: int, tls: ssl.SSLContext | None) -> None:
        self.owner = owner
        self._tls = tls
        self._kept: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def public(self) -> bool:
        """It is the bucket's."""
        return self._tls is None

    def get_request(self) -> tuple[Any, Any]:
        """Return a new connection; its handshake is left to the thread that answers it."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._kept.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._kept.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep."""
        for kept in list(self._kept):
            with contextlib.suppress(OSError):
                kept.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where the client went away or does not trust us; anything else is an error of ours."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError, ssl.SSLError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        """Say nothing: requests are recorded."""

    def finish(self) -> None:
        """Close both ways, also where the client went away with something unsent."""
        with contextlib.suppress(OSError):
            super().finish()
        self.rfile.close()

    def _handle(self) -> None:
        owner = self.server.owner
        headers = {key.lower(): value for key, value in self.headers.items()}
        asked = urlsplit(self.path)
        route, parts, answers = routed(self.command, asked.path, public=self.server.public)
        body = self.rfile.read(int(headers.get("content-length") or 0))
        query = parse_qs(asked.query)
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            query |= parse_qs(body.decode())
        host = headers.get("host", "").rpartition(":")[0]
        request = Request(self.command, host, unquote(asked.path), route, query, headers.get("range", ""))
        request.authorized = "authorization" in headers
        fault = owner.begin(request)
        request.fault = fault.kind if fault else ""
        if fault and fault.kind == "reset":
            self._reset()
            return
        time.sleep(owner.latency + (fault.seconds if fault else 0.0))
        if fault and fault.kind == "unranged":
            request.range, headers["range"] = "", ""
        self._send(request, self._answer(request, parts, answers, headers, body, fault), fault)

    def _answer(
        self,
        request: Request,
        parts: Mapping[str, str],
        answers: Route | None,
        headers: Mapping[str, str],
        body: bytes,
        fault: Fault | None,
    ) -> Answer:
        owner = self.server.owner
        if fault and fault.kind == "error":
            return Answer(fault.text.encode(), fault.status, fault.content_type, dict(fault.headers))
        if answers is None:
            return refused(404, f"stand-in: {request.method} {request.path} is not built")
        port = self.server.server_port
        base, signed = f"https://localhost:{port}", f"https://127.0.0.1:{port}"
        try:
            return answers(Call(owner.held, request, base, signed, parts, headers, body, fault))
        except Exception as error:  # noqa: BLE001 a mistake of ours: a dropped connection would be asked again for long
            traceback.print_exc()
            return refused(400, f"stand-in: its own mistake: {type(error).__name__}: {error}")

    def _send(self, request: Request, answer: Answer, fault: Fault | None) -> None:
        size, ends = answer.size, answer.size
        if fault and fault.kind == "truncated":
            size = ends = max(0, size - fault.size)
        elif fault and fault.kind == "cut":
            ends = min(fault.size, size)
        # Before the answer: a client that has it may look at the record.
        request.status = answer.status
        request.bytes = 0 if self.command == "HEAD" else ends
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(size))
        for key, value in answer.headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self._write(answer, ends, fault.size if fault and fault.kind == "flipped" else None)
        self.wfile.flush()
        if ends < size:
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
                self.server.owner.wait_for_line(len(piece))
                self.wfile.write(piece)
                sent += len(piece)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # The base class's own way to close would first flush and shut down in good order.
        self.connection.close()

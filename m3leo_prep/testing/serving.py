"""What the stand-ins' servers have in common: threads, kept connections, resets, a line of some bandwidth."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from m3leo_prep.testing.answers import Answer

BURST_SECONDS = 0.002
"""Of the bandwidth that an idle line saves up: sleeping is no more exact than that."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER by which closing a socket resets the connection."""
_PIECE = 1 << 16


class Server(ThreadingHTTPServer):
    """A server on 127.0.0.1 of which each connection is a thread's.

    Args:
        port: to listen on; 0 takes any that is free.
        handler: what answers.
        tls: with it, connections are encrypted.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler], *, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self._kept: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), handler)

    def start(self) -> None:
        """Answer from now on."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, and end the connections that clients keep."""
        self.shutdown()
        self.server_close()
        for kept in list(self._kept):
            with contextlib.suppress(OSError):
                kept.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def get_request(self) -> tuple[Any, Any]:
        """Return a new connection; its handshake is left to the thread that answers it."""
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._kept.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._kept.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where the client went away or does not trust us; anything else is an error of ours."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError, ssl.SSLError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection: HTTP/1.1, quiet, its answers sent at once."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def respond(self) -> None:
        """Answer a request of any method."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Respond."""
        self.respond()

    def do_HEAD(self) -> None:
        """Respond."""
        self.respond()

    def do_POST(self) -> None:
        """Respond."""
        self.respond()

    def do_PUT(self) -> None:
        """Respond."""
        self.respond()

    def do_DELETE(self) -> None:
        """Respond."""
        self.respond()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        """Say nothing: requests are recorded."""

    def finish(self) -> None:
        """Close both ways, also where the client went away with something unsent."""
        with contextlib.suppress(OSError):
            super().finish()
        self.rfile.close()

    def send_answer(self, answer: Answer, *, size: int, ends: int, flip: int | None = None) -> None:
        """Send ``ends`` bytes of a body that is said to have ``size``, with one bit of byte ``flip`` turned."""
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(size))
        for key, value in answer.headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self._write(answer, ends, flip)
        self.wfile.flush()
        if ends < size:
            self.hang_up()

    def wait_for_line(self, size: int) -> None:
        """Wait until the line would have sent so many bytes of a file; this one is as fast as it can."""

    def reset(self) -> None:
        """End the connection without an answer, so that the other side sees a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.hang_up()

    def hang_up(self) -> None:
        """End the connection at once."""
        self.close_connection = True
        # The base class's own way to close would first flush and shut down in good order.
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
                self.wait_for_line(len(piece))
                self.wfile.write(piece)
                sent += len(piece)


class Line:
    """A line that all connections of a server share."""

    def __init__(self) -> None:
        self._free = 0.0  # when it has sent what it was given
        self._lock = threading.Lock()

    def ahead(self, size: int, bandwidth: float) -> float:
        """Return for how many seconds ``size`` bytes more keep it busy, at ``bandwidth`` bytes a second."""
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now - BURST_SECONDS) + size / bandwidth
            return max(0.0, self._free - now)

"""A web server of a folder with byte ranges, slow and faulty on demand: what streaming is tested against.

    with RangeServer(folder) as server:
        server.faults.append(Fault(status=503))
        Dataset(server.url)
        assert server.requests[0].status == 503

By hand: ``python -m m3leo_prep.testing.web FOLDER``.
"""

from __future__ import annotations

import argparse
import re
import secrets
import socket
import struct
import sys
import threading
from collections import deque
from dataclasses import dataclass
from email.utils import formatdate
from fnmatch import fnmatchcase
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from m3leo_prep.testing.serving import Line, Server

PIECE = 64 * 2**10
"""Bytes that are written at once."""
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was answered."""

    method: str
    path: str
    """Without the query, as it was sent: percent-encoded."""
    range: str | None
    """The Range header, such as ``bytes=0-99``."""
    status: int
    sent: int
    """Bytes of the body; a client that went away got fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request; several at once may be set."""

    path: str = "*"
    """Only a request for a path like this, without the leading slash, such as ``chips.zarr/*``."""
    method: str = "*"
    """Only ``GET`` or ``HEAD``."""
    status: int | None = None
    """Answered with this status instead, such as 401, 403, 404, 429, 500 or 503."""
    retry_after: str | None = None
    """Header of such an answer: seconds, or an HTTP date."""
    cut: int | None = None
    """The connection is reset after so many bytes of the body."""
    truncate: int = 0
    """The body ends so many bytes early, and Content-Length agrees with that; Content-Range does not."""
    flip: int | None = None
    """The byte at this place of the body has its bits turned over."""
    ignore_range: bool = False
    """Answered 200 with the whole file."""
    stall: float = 0
    """Seconds without an answer."""


class RangeServer:
    """A folder over HTTP/1.1 on a free port of 127.0.0.1, from ``with`` until its end.

    Args:
        folder: what is served, below ``/``.
        latency: seconds before each answer.
        bandwidth: bytes a second of all connections together; None = no limit.
        signed: requests need the query of ``url``, as presigned addresses do; ``expire`` ends it.
    """

    def __init__(
        self, folder: str | Path, *, latency: float = 0, bandwidth: float | None = None, signed: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.latency = latency
        self.bandwidth = bandwidth
        self.faults: deque[Fault] = deque()
        """What goes wrong next: each request takes the first that is meant for it."""
        self.requests: list[Request] = []
        """What was answered, in the order of the answers; may be cleared."""
        self._signature = secrets.token_hex(8) if signed else None
        self._lock = threading.Lock()
        self._line = Line()
        self._closing = threading.Event()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """The address of the folder, with its signature if it needs one."""
        assert self._server is not None, "use the server in a `with`"
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}" + (f"?X-Signature={self._signature}" if self._signature else "")

    def expire(self) -> None:
        """End the validity of the signature: requests with it get 403; ``url`` has a new one."""
        self._signature = secrets.token_hex(8)

    def __enter__(self) -> Self:
        self._closing.clear()
        self._server = _Server(self)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._closing.set()
        self._server.stop()
        self._server = None

    def allows(self, query: str) -> bool:
        """Return whether a request with this query may be answered."""
        return self._signature is None or parse_qs(query).get("X-Signature") == [self._signature]

    def take(self, method: str, path: str) -> Fault:
        """Return what goes wrong with a request, taken from the queue."""
        with self._lock:
            for fault in self.faults:
                if fault.method in {"*", method} and fnmatchcase(path, fault.path):
                    self.faults.remove(fault)
                    return fault
        return Fault()

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than the server runs."""
        if seconds > 0:
            self._closing.wait(seconds)

    def send(self, connection: socket.socket, data: memoryview) -> None:
        """Send bytes, no faster than the line that all connections share."""
        if self.bandwidth is None:
            connection.sendall(data)
            return
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self.wait(self._line.ahead(len(piece), self.bandwidth))
            connection.sendall(piece)


class _Server(Server):
    def __init__(self, owner: RangeServer) -> None:
        self.owner = owner
        super().__init__(0, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name of the base class
        """Keep quiet: the requests are recorded."""

    def _answer(self) -> None:
        owner, asked = self.server.owner, urlsplit(self.path)
        path = unquote(asked.path).lstrip("/")
        fault = owner.take(self.command, path)
        owner.wait(owner.latency + fault.stall)
        file = self._file(path)
        if fault.status is not None:
            self._refuse(fault.status, {"Retry-After": fault.retry_after} if fault.retry_after else {})
        elif not owner.allows(asked.query):
            self._refuse(HTTPStatus.FORBIDDEN)
        elif file is None:
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            self._send_file(file, fault)

    def _file(self, path: str) -> Path | None:
        """Return what a path means, or None where there is no such file or it leads out of the folder."""
        file = self.server.owner.folder / path
        return file if ".." not in path.split("/") and file.is_file() else None

    def _send_file(self, file: Path, fault: Fault) -> None:
        whole = file.stat()
        size = whole.st_size
        header = None if fault.ignore_range else self.headers.get("Range")
        start, end = _bounds(header, size)
        partial = header is not None and _RANGE.fullmatch(header) is not None
        if partial and start >= end:
            self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
            return
        with file.open("rb", buffering=0) as opened:
            opened.seek(start)
            body = bytearray(opened.read(end - start) if self.command == "GET" else b"")
        if fault.flip is not None:
            body[fault.flip] ^= 0xFF
        length = max(0, end - start - fault.truncate)
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{whole.st_mtime_ns:x}-{size:x}"',
            "Last-Modified": formatdate(whole.st_mtime, usegmt=True),
        }
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        status = HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK
        self._send(status, headers, memoryview(body)[:length], length, fault.cut)

    def _refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        text = f"{status}\n".encode()
        body = text if self.command == "GET" else b""
        self._send(status, headers or {}, memoryview(body), len(text))

    def _send(
        self, status: int, headers: dict[str, str], body: memoryview, length: int, cut: int | None = None
    ) -> None:
        sent = body if cut is None else body[:cut]
        path = urlsplit(self.path).path
        # Before the bytes: whoever has got them all finds the record.
        self.server.owner.requests.append(
            Request(self.command, path, self.headers.get("Range"), int(status), len(sent))
        )
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.server.owner.send(self.connection, sent)
        if cut is not None:
            self._reset()

    def _reset(self) -> None:
        """Drop the connection so that the other side sees a reset, not an end."""
        self.close_connection = True
        # Give the bytes time to arrive: a reset discards what the client has not read yet.
        self.server.owner.wait(0.02)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Not shutdown: that would end the connection in order first.
        self.connection.close()


def _bounds(header: str | None, size: int) -> tuple[int, int]:
    """Return the first byte of a range and the one after its last (RFC 9110 §14.1.2); all of it without a range."""
    found = _RANGE.fullmatch(header) if header else None
    if found is None:
        return 0, size
    first, last = found.groups()
    if first:
        return int(first), min(size, int(last) + 1) if last else size
    return (max(0, size - int(last)), size) if last else (0, size)


def main(arguments: list[str] | None = None) -> int:
    """Serve a folder until interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m m3leo_prep.testing.web",
        description="Serves a folder over HTTP with byte ranges, as slowly as a network. Ctrl-C ends it.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="before each answer (default: 0)")
    parser.add_argument("--bandwidth", type=float, metavar="BYTES", help="a second, of all connections together")
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is not a folder")
    try:
        with RangeServer(given.folder, latency=given.latency, bandwidth=given.bandwidth) as server:
            sys.stdout.write(f"{server.url}\n")
            sys.stdout.flush()
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A TCP proxy that cuts connections: what a client does with a real server behind a bad line.

with FaultProxy("127.0.0.1", 8333) as proxy:
    proxy.cuts.append(Cut(after=100_000, sending=True))
    ...  # a client that talks to proxy.port
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PIECE = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Cut:
    """One connection that is reset on both sides."""

    after: int
    """Bytes that get through first; what came with them does not."""
    sending: bool = False
    """Count what the client sends, such as an upload, not what it gets."""


class FaultProxy:
    """A proxy of one server on a free port of 127.0.0.1, from ``with`` until its end.

    Args:
        host: the server's.
        port: the server's.
    """

    def __init__(self, host: str, port: int) -> None:
        self.server = host, port
        self.cuts: deque[Cut] = deque()
        """Each is for the connection over which the bytes go that it counts, of those from then on."""
        self.is_down = False
        """Whether connections are reset at once."""
        self.latency = 0.0
        """Seconds that what a client sends is held back, once for each piece: a request that fits into one waits so."""
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    @property
    def port(self) -> int:
        """Where clients connect to."""
        assert self._listener is not None, "use the proxy in a `with`"
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None
        self._thread.join()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.is_down:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self.server)
            except OSError:
                _reset(client)
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(one)
            both = threading.Barrier(2)
            for source, sink, sending in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._carry, args=(source, sink, sending, both), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, sending: bool, both: threading.Barrier) -> None:  # noqa: FBT001  a direction
        """Carry bytes one way until that ends, or is cut."""
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                carried += len(data)
                cut = self._take(sending, carried)
                if cut is not None:
                    sink.sendall(data[: max(0, len(data) - (carried - cut.after))])
                    for one in (source, sink):
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        one.shutdown(socket.SHUT_RD)  # wakes the other direction
                    break
                if sending and self.latency:
                    time.sleep(self.latency)
                sink.sendall(data)
            else:
                sink.shutdown(socket.SHUT_WR)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait()
        # Both directions have ended: now one thread may close what the other no longer uses.
        self._open.discard(source)
        source.close()

    def _take(self, sending: bool, carried: int) -> Cut | None:  # noqa: FBT001  a direction
        with self._lock:
            for cut in self.cuts:
                if cut.sending == sending and carried > cut.after:
                    self.cuts.remove(cut)
                    return cut
        return None


def _reset(connection: socket.socket) -> None:
    """Close a connection so that the other side sees a reset, not an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

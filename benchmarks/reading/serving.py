"""A web server of a folder in a process of its own, so that its work is not ours, and what it was asked."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from m3leo_prep.testing.web import RangeServer


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    url: str
    _line: Connection

    def asked(self) -> list[tuple[str, int]]:
        """Return (path, bytes sent) of the requests since the last time."""
        self._line.send(True)
        found: list[tuple[str, int]] = self._line.recv()
        return found


@contextmanager
def serving(folder: Path, *, latency: float, bandwidth: float | None = None) -> Iterator[Served]:
    """Serve a folder until the end of the block."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(folder, latency, bandwidth, theirs), daemon=True)
    process.start()
    try:
        yield Served(mine.recv(), mine)
    finally:
        mine.send(False)
        process.join()


def _serve(folder: Path, latency: float, bandwidth: float | None, line: Connection) -> None:
    with RangeServer(folder, latency=latency, bandwidth=bandwidth) as server:
        line.send(server.url)
        while line.recv():
            asked = list(server.requests)
            del server.requests[: len(asked)]
            line.send([(one.path, one.sent) for one in asked])

"""How long a read takes: CPU of all threads and wall time, contestants in turn, the best of several rounds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Read = Callable[[int], object]


def in_turn(
    contestants: Mapping[str, Read], order: Sequence[int], *, rounds: int = 5, seconds: float = 0.25
) -> dict[str, tuple[float, float]]:
    """Return (CPU, wall) milliseconds a chip by contestant, warm: each round lets all of them read, one by one.

    Whoever is slow reads fewer chips, so that a round takes about ``seconds`` each.
    """
    counts = {}
    for name, read in contestants.items():
        read(order[0])
        start = time.perf_counter()
        read(order[1])
        counts[name] = max(4, min(len(order), int(seconds / (time.perf_counter() - start))))
    best = dict.fromkeys(contestants, (float("inf"), float("inf")))
    for at in range(rounds):
        for name, read in contestants.items():
            n = counts[name]
            rows = [order[(at * n + k) % len(order)] for k in range(n)]
            best[name] = tuple(map(min, best[name], once(read, rows)))  # type: ignore[assignment]  # two floats
    return best


def once(read: Read, rows: Sequence[int]) -> tuple[float, float]:
    """Return (CPU, wall) milliseconds a chip of one pass."""
    cpu, wall = time.process_time(), time.perf_counter()
    for row in rows:
        read(row)
    return 1e3 * (time.process_time() - cpu) / len(rows), 1e3 * (time.perf_counter() - wall) / len(rows)


def evict(path: Path) -> None:
    """Drop a file, or all below a folder, from the page cache."""
    for file in files_of(path):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def files_of(path: Path) -> list[Path]:
    """Return a file, or all files below a folder."""
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def weight(path: Path) -> dict[str, Any]:
    """Return bytes and number of files."""
    files = files_of(path)
    return {"bytes": sum(file.stat().st_size for file in files), "files": len(files)}

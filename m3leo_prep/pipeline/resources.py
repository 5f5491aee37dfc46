"""How many workers fit, and how much memory each may take."""

from __future__ import annotations

import os
import re

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.pipeline.unit import WORK_BYTES

WORKER_BYTES = int(2.5 * 2**30)
"""A worker's peak: its window, its shard's compressed chunks, the libraries."""
WAITING_WORKERS = 8
"""At least so many where providers are waited for: two kept only a quarter of Earth Engine's 40 requests under way."""
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
LEAST_WORK_BYTES = 64 * 2**20


def default_workers(memory: int | None = None, *, waits: bool = False) -> int:
    """Return one worker per core, more where providers are waited for, as far as the memory goes.

    Args:
        memory: bytes that all workers together may take; None = what is free now.
        waits: whether a layer's source says that several reads at once pay.
    """
    free = memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    wanted = max(len(os.sched_getaffinity(0)), WAITING_WORKERS if waits else 1)
    return max(1, min(wanted, free // WORKER_BYTES))


def work_bytes(memory: int | None, workers: int) -> int:
    """Return the working memory of one worker's window when all workers together may take ``memory`` bytes."""
    if memory is None:
        return WORK_BYTES
    return max(LEAST_WORK_BYTES, min(WORK_BYTES, int(memory / workers * WORK_BYTES / WORKER_BYTES)))


def parse_bytes(text: str) -> int:
    """Return a size such as ``2.5GB`` or ``512MiB`` in bytes.

    Raises:
        ConfigError: not a size.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", text)
    if not found or found[2].upper() not in UNITS:
        raise ConfigError(f"'{text}' is not a size", hint="write it as 8GB or 512MiB")
    return int(float(found[1]) * UNITS[found[2].upper()])

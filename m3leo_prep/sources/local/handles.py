"""Open files, few per thread: a GDAL dataset must never be used by two threads."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from threading import local
from typing import Any

from m3leo_prep.sources.local.header import Stamp

MAX_OPEN = 16
"""Per thread; with 32 threads well below the usual limit of 1024 open files."""

_thread = local()


def handle(path: str, stamp: Stamp, opener: Callable[[str], Any]) -> Any:
    """Return this thread's open handle of a file, opened anew if the file changed; the oldest is closed."""
    if getattr(_thread, "pid", None) != os.getpid():
        # A forked child must not move the file positions of its parent's handles.
        _thread.pid, _thread.open = os.getpid(), OrderedDict()
    handles: OrderedDict[tuple[str, Stamp], Any] = _thread.open
    key = (path, stamp)
    if key not in handles:
        while len(handles) >= MAX_OPEN:
            handles.popitem(last=False)[1].close()
        handles[key] = opener(path)
    handles.move_to_end(key)
    return handles[key]

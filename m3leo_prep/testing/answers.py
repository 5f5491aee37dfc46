"""What the stand-ins answer: JSON, bytes, or parts of files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a body in memory, or part of a file."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    start: int = 0
    length: int = 0
    """Bytes of ``file`` from ``start``."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body) if self.file is None else self.length


def to_json(value: Any, status: int = 200, /, **headers: str) -> Answer:
    """Return a JSON answer."""
    return Answer(json.dumps(value).encode(), status, headers=headers)


def file_part(path: Path, asked: str, headers: Mapping[str, str]) -> Answer:
    """Return a file, or the one range of it that is asked for (RFC 9110, section 14)."""
    size = path.stat().st_size
    headers = {"Accept-Ranges": "bytes"} | dict(headers)
    kind = "application/octet-stream"
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match[1] == match[2] == "":
        return Answer(b"", 200, kind, headers, path, 0, size)
    start = int(match[1]) if match[1] else max(0, size - int(match[2]))
    end = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
    if start > end:
        return Answer(b"", 416, kind, headers | {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Answer(b"", 206, kind, headers, path, start, end - start + 1)

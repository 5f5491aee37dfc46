"""Whether a downloaded file is what was announced."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from m3leo_prep.core.errors import SourceError

_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_HEAD = 512
"""Bytes in which a page says that it is one."""
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


def wrong(path: Path, *, size: int, checksum: str, magic: tuple[bytes, ...]) -> str:
    """Return what is not as announced, in words; nothing if all is.

    Raises:
        SourceError: the checksum is of a kind that we do not know.
    """
    found = path.stat().st_size
    if size and found != size:
        return f"the file has {found} bytes, {size} were announced"
    if magic and not begins(path, magic):
        return f"the file begins with {_head(path, 8)!r}, which no file of its kind does"
    if not checksum:
        return ""
    kind, _, wanted = checksum.partition(":")
    if kind not in {"md5", "sha256"}:
        raise SourceError(f"there is no checksum of kind {kind!r}", where=path.name)
    with path.open("rb") as file:
        # Against damage on the way, which is all that it has to find.
        digest = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    return "" if digest == wanted.lower() else f"the file's checksum ({kind}) is not the announced one"


def is_page(path: Path) -> bool:
    """Return whether a file is a page for people, such as a login."""
    return _PAGE.match(_head(path, _HEAD).removeprefix(b"\xef\xbb\xbf")) is not None


def begins(path: Path, magic: tuple[bytes, ...]) -> bool:
    """Return whether a file begins with one of these."""
    return _head(path, max(map(len, magic))).startswith(magic)


def _head(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def digest_of(headers: Mapping[str, str]) -> str:
    """Return the checksum that an object store tells of what it holds, or nothing.

    Amazon's ETag is the MD5 of an object that was uploaded in one piece and is not encrypted with a key of its own:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
    """
    if headers.get("Server") != "AmazonS3" or headers.get("x-amz-server-side-encryption", "AES256") != "AES256":
        return ""
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return ""
    found = _MD5.fullmatch(headers.get("ETag", ""))
    return f"md5:{found[1]}" if found else ""

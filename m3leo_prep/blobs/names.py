"""Names of blobs, and addresses as they may be shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from m3leo_prep.core.errors import StoreError


def parts_of(name: str, where: str) -> list[str]:
    """Return the parts of a blob's name; names from outside (a manifest, a repository) must not leave the root.

    Args:
        name: a relative path with ``/``.
        where: the root, for the message.

    Raises:
        StoreError: it is none.
    """
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\0" in name or "\\" in name:
        raise StoreError(
            f"{name!r} is not a name inside the dataset",
            hint="names are relative paths with single slashes and no '..'",
            where=where,
        )
    return parts


def shown(address: str) -> str:
    """Return an address without what may be secret: user and password, query and fragment; no slash at the end.

    >>> shown("https://me:word@example.org:8080/data/?X-Amz-Signature=1f")
    'https://example.org:8080/data'
    """
    # Not urlsplit: it refuses what a slip of the fingers makes of an address, which is to be shown all the same.
    kind, _, rest = re.split(r"[?#]", address, maxsplit=1)[0].partition("://")
    server, slash, path = rest.partition("/")
    return f"{kind.lower()}://{server.rpartition('@')[2]}{slash}{path}".rstrip("/")


def names_server(address: str) -> bool:
    """Return whether an address names a server, or a bucket, and a port that can be.

    >>> names_server("https://example.org:8080/data"), names_server("https:///data"), names_server("http://[::1/data")
    (True, False, False)
    """
    try:
        found = urlsplit(address)
        return bool(found.hostname) and found.port != 0  # asked for, a port that is no number is an error
    except ValueError:
        return False

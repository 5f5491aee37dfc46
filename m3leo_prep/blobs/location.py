"""From what a person writes, a folder or an address, to what can be read there."""

from __future__ import annotations

import re
from pathlib import Path

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.blobs import Readable

OBJECT_STORES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def scheme(location: str | Path) -> str:
    """Return the scheme of an address in lower case, or ``file`` for a folder.

    >>> scheme("hf://datasets/me/europe"), scheme("out/demo")
    ('hf', 'file')
    """
    found = None if isinstance(location, Path) else _SCHEME.match(location)
    return found.group(1).lower() if found else "file"


def open_root(location: str | Path) -> Readable:
    """Return what can be read at a location; nothing is asked for yet, except the revision of a Hub repository.

    Args:
        location: a folder; ``hf://datasets/OWNER/NAME[@REVISION]``; ``https://…``; ``s3://BUCKET/PREFIX`` and other
            object stores; or an address that fsspec knows.

    Raises:
        ConfigError: an address of no known kind.
        CredentialsError: the place may not be read with these credentials, or without any.
        MissingDependency: reading there needs an extra.
        StoreError: there is no such repository.
    """
    kind = scheme(location)
    if kind == "file":
        return LocalBlobs(local_path(location))
    address = str(location)
    if kind == "hf":
        from m3leo_prep.blobs.hub import open_hub

        return open_hub(address)
    if kind in {"http", "https"}:
        from m3leo_prep.blobs.web import WebFiles

        return WebFiles(address)
    if kind in OBJECT_STORES:
        from m3leo_prep.blobs.objects import ObjectBlobs

        return ObjectBlobs(address)
    from m3leo_prep.blobs.other import open_other

    return open_other(address)


def local_path(location: str | Path) -> Path:
    """Return the folder that a location without a network means.

    Raises:
        ConfigError: it is an address.
    """
    if isinstance(location, Path):
        return location
    if scheme(location) != "file":
        raise ConfigError(
            "this needs a folder of this machine, not an address",
            where=location,
            hint=f"fetch it first: `m3leo-prep pull {location}`",
        )
    return Path(re.sub(r"^file://", "", location, flags=re.IGNORECASE))

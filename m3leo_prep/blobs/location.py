"""From what a person writes, a folder or an address, to what can be read there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.blobs.names import shown
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.blobs import Readable

OBJECT_STORES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_FILE = re.compile(r"file://(localhost(?=/))?", re.IGNORECASE)
_TORN = re.compile(rf"(hf|https?|{'|'.join(OBJECT_STORES)}):/(?!/)")
"""What is left of an address that went through ``Path``."""


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
        ConfigError: it is an address, or was one.
    """
    if torn := _TORN.match(str(location)):
        address = f"{torn[1]}://{str(location)[torn.end() :]}"
        raise ConfigError(
            "this address lacks a slash", where=shown(address), hint="give it as a text: a Path takes one away"
        )
    if isinstance(location, Path):
        return location
    if scheme(location) != "file":
        address = shown(location)
        hint = f"fetch it first: `m3leo-prep pull {address} FOLDER`"
        raise ConfigError("this needs a folder of this machine, not an address", where=address, hint=hint)
    found = _FILE.match(location)
    return Path(unquote(location[found.end() :]) if found else location)  # ``Path.as_uri`` has %20 for a space

"""How the files of ``eodata`` are opened: with keys of the object store, or by https with the account's token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m3leo_prep.core.errors import CredentialsError, SourceError
from m3leo_prep.sources.copernicus.service.hosts import BUCKET, hosts
from m3leo_prep.sources.copernicus.service.login import KEYS_PAGE, LOG_IN, keys, login
from m3leo_prep.sources.remote.access import Access

if TYPE_CHECKING:
    from m3leo_prep.sources.stac.found import Asset

NAME = "cdse"
REGION = "default"
"""Of the object store, as its documentation says."""
CONNECTIONS = 4
"""At once, of a general user (https://documentation.dataspace.copernicus.eu/Quotas.html)."""
PER_MINUTE = 2000
"""Requests to the object store; the same page."""
MONTHLY_BYTES = 12 * 10**12
"""In any 30 days; more of them come with 1 MB/s over one connection. The same page."""


def access() -> Access:
    """Return how this user opens ``s3://eodata/...`` and what ``download.dataspace.copernicus.eu`` serves.

    With keys of the object store the files are read from it; without them by https (see ``address``).

    Raises:
        CredentialsError: there is neither a key nor a login.
    """
    found = keys()
    if found is None and login() is None:
        raise CredentialsError("there is no login for the Copernicus Data Space", hint=LOG_IN)
    from m3leo_prep.sources.copernicus.service.tokens import tokens

    there = hosts()
    return Access(
        NAME,
        endpoint=there.objects,
        region=REGION,
        keys=found,
        auth=tokens() if login() is not None else None,
        connections=CONNECTIONS,
        per_minute=PER_MINUTE,
        shared=f"{there.download} {there.objects}",
        hint=LOG_IN if found is None else f"keys expire: make new ones at {KEYS_PAGE}, then {LOG_IN}",
    )


def address(asset: Asset, way: Access) -> str:
    """Return where a file of an item is read: the object store if there are keys for it, else the address by https.

    Items name the object store's, and by the extension "alternate" the other one.

    Raises:
        SourceError: there is no key, and the item names no address by https.
    """
    if way.keys is not None or not asset.href.startswith(f"s3://{BUCKET}/"):
        return asset.href
    other = asset.properties.get("alternate", {}).get("https", {}).get("href", "")
    if not other:
        hint = f"{LOG_IN}, with keys of the object store"
        raise SourceError("the catalogue tells of no way to this file without keys", where=asset.href, hint=hint)
    return str(other)

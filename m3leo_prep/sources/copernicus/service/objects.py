"""The bucket ``eodata``: a client for what only a listing tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from m3leo_prep.blobs.objects import CLIENT, RETRIES
from m3leo_prep.core.errors import CredentialsError, NoData, TriedOut
from m3leo_prep.sources.copernicus.service.access import REGION
from m3leo_prep.sources.copernicus.service.hosts import BUCKET, hosts
from m3leo_prep.sources.copernicus.service.login import KEYS_PAGE, LOG_IN
from m3leo_prep.sources.remote.access import Keys

# After the other import of it, which explains its absence.
import obstore  # isort: skip
from obstore import exceptions  # isort: skip
from obstore.store import S3Store  # isort: skip

_REFUSED = ("status code: 401", "status code: 403")
"""In the library's words where it has no error of its own for them, as for listings."""


def listing(prefix: str, keys: Keys) -> list[tuple[str, int]]:
    """Return key and bytes of all objects in a folder, sorted.

    Raises:
        NoData: there are none.
        CredentialsError: the keys are refused.
        TriedOut: the object store does not answer.
    """
    with _explained(f"s3://{BUCKET}/{prefix}"):
        pages = list(obstore.list(store(keys), prefix, chunk_size=1000))
    found = sorted((str(one["path"]), int(one["size"])) for page in pages for one in page)
    if not found:
        raise NoData("the object store has no such folder", where=f"s3://{BUCKET}/{prefix}")
    return found


def check(keys: Keys, where: str) -> None:
    """Return where the object store takes the keys, which ``where`` holds; by listing the top of the bucket.

    Raises:
        CredentialsError: it refuses them.
        TriedOut: it does not answer.
    """
    with _explained(where):
        obstore.list_with_delimiter(store(keys))


def store(keys: Keys) -> Any:
    """Return the client of the bucket."""
    return _store(hosts().objects, keys)


@lru_cache(maxsize=4)
def _store(endpoint: str, keys: Keys) -> Any:
    """Return the client. All is said here: what the environment says (``AWS_*``) is of somebody's own store."""
    options: Any = {"client_options": {**CLIENT, "allow_http": endpoint.startswith("http://")}, "retry_config": RETRIES}
    return S3Store(
        BUCKET,
        region=REGION,
        endpoint=endpoint,
        virtual_hosted_style_request=False,
        access_key_id=keys.access,
        secret_access_key=keys.secret,
        **options,
    )


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn the library's errors into ours; cut connections, 429 and 5xx it has repeated before."""
    try:
        yield
    except exceptions.BaseError as error:
        known = isinstance(error, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError))
        is_refusal = known or any(word in str(error) for word in _REFUSED)
    else:
        return
    # Outside of `except`: the library's error holds the whole address.
    if is_refusal:
        hint = f"keys expire: make new ones at {KEYS_PAGE}, then {LOG_IN}"
        raise CredentialsError("the object store refuses these keys", where=where, hint=hint)
    raise TriedOut("the object store does not answer", where=where, hint="run the same command again later")

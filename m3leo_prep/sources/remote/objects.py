"""Bytes of objects in buckets, with the keys of an access or without any; ``AWS_*`` of the environment is not read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

from m3leo_prep.blobs.objects import CLIENT
from m3leo_prep.core.errors import CorruptError, CredentialsError, NoData
from m3leo_prep.sources.http.patience import Tries
from m3leo_prep.sources.remote import regions
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.remote.limits import limit

# After the other import of it, which explains its absence.
import obstore  # isort: skip
from obstore import exceptions  # isort: skip
from obstore.store import S3Store  # isort: skip

T = TypeVar("T")

_STATUS = re.compile(r"status code: (\d{3})([\w ]*)")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_ELSEWHERE = "redirect without LOCATION"
"""How the library tells that Amazon's store sends it to another region."""
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Amazon's stores say 503 SlowDown where others say 429."""


def part(address: str, first: int, stop: int, access: Access) -> tuple[bytes, int]:
    """Return bytes [first, stop) of an object, fewer where it ends before, and its size.

    Raises:
        NoData: there is no such object.
        CorruptError: it has no byte ``first``.
        CredentialsError: it may not be read.
        TriedOut, RateLimited: the store does not deliver.
    """
    bucket, _, key = address.removeprefix("s3://").partition("/")

    def got(store: Any) -> tuple[bytes, int]:
        found = obstore.get(store, key, options={"range": (first, stop)})
        return bytes(found.bytes()), int(found.meta["size"])

    tries = Tries(address)
    while True:
        data, size = _asked(got, bucket, address, access, tries)
        limit(access).got(len(data))
        # Bodies that are cut short are not always told by the library.
        if len(data) == min(stop, size) - first:
            return data, size
        tries.failed("the store sends less than it says")


def size(address: str, access: Access) -> int:
    """Return the bytes of an object; errors as in ``part``."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return _asked(lambda store: int(obstore.head(store, key)["size"]), bucket, address, access, Tries(address))


def listing(address: str, access: Access) -> list[tuple[str, int, str]]:
    """Return key, bytes and ETag of the objects in a folder of a bucket, sorted; of all pages, or none.

    Raises as ``part``.
    """
    bucket, _, prefix = address.removeprefix("s3://").partition("/")

    def got(store: Any) -> list[tuple[str, int, str]]:
        pages = list(obstore.list(store, prefix or None, chunk_size=1000))
        return sorted(
            (one["path"], int(one["size"]), (one["e_tag"] or "").strip('"')) for page in pages for one in page
        )

    return _asked(got, bucket, address, access, Tries(address))


def check(bucket: str, access: Access) -> None:
    """Return where the store takes the keys of an access, by listing the top of a bucket; raises as ``part``."""
    address = f"s3://{bucket}"
    _asked(obstore.list_with_delimiter, bucket, address, access, Tries(address))


def _asked(call: Callable[[Any], T], bucket: str, address: str, access: Access, tries: Tries) -> T:
    """Return what a request returns, made again where that can help; while it is made, it counts as one under way."""
    while True:
        region = regions.region(bucket, access.region)
        store = _store(os.getpid(), access, bucket, region)
        tries.turn(_endpoint(access, bucket, region))
        try:
            with limit(access).turn():
                return call(store)
        except FileNotFoundError:
            raise NoData("the store has no such object", where=address) from None
        except exceptions.BaseError as error:
            fault = error
        # Outside of `except`: the library's text may hold a signed address.
        if _ELSEWHERE in str(fault) and _endpoint(access, bucket, region) == regions.AMAZON.format(region):
            regions.find(bucket, region, address)
            continue
        _pause(fault, address, access, tries)


def _pause(error: Exception, address: str, access: Access, tries: Tries) -> None:
    """Wait until the next attempt, or raise what no attempt helps against."""
    text = str(error)
    found = _STATUS.search(text)
    code = _CODE.search(text)
    status = int(found[1]) if found else 0
    refused = isinstance(error, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError))
    if refused or status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        _refused(code[1] if code else "", address, access)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise CorruptError("the object ends before it should", where=address)
    if status == HTTPStatus.NOT_FOUND:
        raise NoData("the store has no such object", where=address)
    said = f"the store answers {found[1]}{found[2]}" if found else "the store cannot be reached, or the line was cut"
    tries.failed(said, None, HTTPStatus.TOO_MANY_REQUESTS if status in _BUSY else status)


def _refused(code: str, address: str, access: Access) -> NoReturn:
    said = f" ({code})" if code else ""
    raise CredentialsError(f"the store refuses to show this{said}", where=address, hint=access.hint)


def _endpoint(access: Access, bucket: str, region: str) -> str:
    own = (access.endpoints or {}).get(bucket, "")
    return own or access.endpoint or regions.AMAZON.format(region)


@lru_cache(maxsize=64)
def _store(process: int, access: Access, bucket: str, region: str) -> Any:
    """Return the client of a bucket; all is said here, so that nothing comes from the environment."""
    del process  # after a fork, the parent's connections are of no use
    endpoint = _endpoint(access, bucket, region)
    options: Any = {
        "client_options": {
            **CLIENT,
            "allow_http": endpoint.startswith("http://"),
            "pool_max_idle_per_host": str(access.connections),
        },
        # Repeated here, where all threads wait together.
        "retry_config": {"max_retries": 0},
    }
    return S3Store(
        bucket,
        region=region,
        endpoint=endpoint,
        virtual_hosted_style_request=False,
        skip_signature=access.keys is None,
        # Keys as arguments would be joined by a session token of the environment.
        credential_provider=_credentials(access),
        **options,
    )


def _credentials(access: Access) -> Callable[[], Any] | None:
    """Return what the client asks for its keys; None for public buckets."""
    keys = access.keys
    if keys is None:
        return None
    return lambda: {"access_key_id": keys.access, "secret_access_key": keys.secret, "token": None, "expires_at": None}

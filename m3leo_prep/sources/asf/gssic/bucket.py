"""The open bucket: what it lists and the bytes of its objects, without a login."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from m3leo_prep.blobs.objects import CLIENT, RETRIES
from m3leo_prep.core.errors import TransientError, TriedOut
from m3leo_prep.sources.asf.hosts import hosts

# After the other import of it, which explains its absence.
import obstore  # isort: skip
from obstore import exceptions  # isort: skip
from obstore.store import S3Store  # isort: skip

BUCKET = "sentinel-1-global-coherence-earthbigdata"
REGION = "us-west-2"
SHORT_ANSWERS = 3
"""With fewer bytes than were asked for, until we give up."""
_STATUS = re.compile(r"status code: (\d{3}[\w ]*)")


class Refused(Exception):
    """The bucket answers 403 or 404: to who may not list it, an object that is not there is forbidden."""


def listing(prefix: str) -> list[tuple[str, int, str]]:
    """Return key, bytes and ETag of the objects in a folder, sorted; of all pages, or none.

    Raises:
        Refused: the bucket may not be listed.
        TriedOut: it does not answer.
    """
    with _explained(prefix):
        pages = list(obstore.list(_store(hosts().bucket), prefix, chunk_size=1000))
    return sorted((one["path"], int(one["size"]), (one["e_tag"] or "").strip('"')) for page in pages for one in page)


def head(key: str, length: int) -> tuple[bytes, int]:
    """Return the first bytes of an object, at most ``length``, and its size; errors as in ``parts``."""
    with _explained(key):
        found = obstore.get(_store(hosts().bucket), key, options={"range": (0, length)})
        size = int(found.meta["size"])
        data = bytes(found.bytes())
    if len(data) != min(length, size):
        return parts(key, [(0, min(length, size))])[0], size
    return data, size


def whole(key: str) -> bytes:
    """Return an object; errors as in ``parts``."""
    for _ in range(SHORT_ANSWERS):
        with _explained(key):
            found = obstore.get(_store(hosts().bucket), key)
            size = int(found.meta["size"])
            data = bytes(found.bytes())
        if len(data) == size:
            return data
    raise _short(key)


def parts(key: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return bytes [first, stop) of an object for each span; near ones travel in one request.

    Raises:
        Refused: the object is not there, or forbidden.
        TriedOut: the bucket does not answer, or with fewer bytes than asked for.
    """
    starts, ends = [first for first, _ in spans], [stop for _, stop in spans]
    for _ in range(SHORT_ANSWERS):
        with _explained(key):
            found = obstore.get_ranges(_store(hosts().bucket), key, starts=starts, ends=ends)
        data = [bytes(one) for one in found]
        if [len(one) for one in data] == [stop - first for first, stop in spans]:
            return data
    raise _short(key)


def address(key: str) -> str:
    """Return how a message names an object."""
    return f"s3://{BUCKET}/{key}"


@lru_cache(maxsize=4)
def _store(endpoint: str) -> Any:
    """Return the client. All is said here: what the environment says (``AWS_*``) is of somebody's own store."""
    endpoint = endpoint or f"https://s3.{REGION}.amazonaws.com"
    options: Any = {"client_options": {**CLIENT, "allow_http": endpoint.startswith("http://")}, "retry_config": RETRIES}
    return S3Store(
        BUCKET,
        region=REGION,
        endpoint=endpoint,
        virtual_hosted_style_request=False,
        skip_signature=True,
        access_key_id="none",
        secret_access_key="none",  # noqa: S106  never sent: nothing is signed
        **options,
    )


@contextmanager
def _explained(key: str) -> Iterator[None]:
    """Turn the library's errors into ours; cut connections, 429 and 5xx it has repeated before."""
    try:
        yield
    except (FileNotFoundError, exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
        raise Refused(address(key)) from None
    except exceptions.BaseError as error:
        status = _STATUS.search(str(error))
        if status and status[1][:3] in {"401", "403", "404"}:
            raise Refused(address(key)) from None
        said = f"answers {status[1].strip()}" if status else "cannot be reached, or the connection was cut"
        raise TriedOut(f"the bucket {said}", where=address(key), hint="run the same command again later") from None


def _short(key: str) -> TransientError:
    return TriedOut("the bucket sends less than it says", where=address(key), hint="run the same command again later")

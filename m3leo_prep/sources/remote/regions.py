"""In which of Amazon's regions a bucket lies: its store tells whoever asks in another one."""

from __future__ import annotations

from m3leo_prep.blobs.http import answer
from m3leo_prep.core.errors import SourceError
from m3leo_prep.sources.http.patience import Tries

AMAZON = "https://s3.{}.amazonaws.com"
"""Endpoint of a region."""
_TOLD = "x-amz-bucket-region"
"""With each answer to HeadBucket, whoever may read the bucket (the S3 API's reference)."""
_known: dict[str, str] = {}


def region(bucket: str, usual: str) -> str:
    """Return the region of a bucket as far as it is known here, else the usual one."""
    return _known.get(bucket, usual)


def find(bucket: str, asked_in: str, address: str) -> None:
    """Learn the region of a bucket.

    Args:
        bucket: its name.
        asked_in: the region that sent us away.
        address: of the object that is wanted, for messages.

    Raises:
        SourceError: the store does not tell, or not the truth.
        TriedOut, RateLimited: it does not answer.
    """
    if region(bucket, asked_in) != asked_in:
        return  # another thread has asked meanwhile
    with answer("HEAD", f"{AMAZON.format(asked_in)}/{bucket}", {}, Tries(address), follow=False) as response:
        told = response.headers.get(_TOLD, "")
    if told in {"", asked_in} or bucket in _known:
        raise SourceError("the bucket lies in another region, and its store does not say in which", where=address)
    _known[bucket] = told

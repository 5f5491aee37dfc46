"""The public bucket of GSSIC over the protocol of S3: objects and their listing, without a login.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from xml.sax.saxutils import escape

from m3leo_prep.testing.answers import Answer, file_part
from m3leo_prep.testing.earthdata.calls import Call
from m3leo_prep.testing.earthdata.data import storage_error

PAGE = 1000
"""Keys that one listing tells at most."""


def get(call: Call) -> Answer:
    """Return an object or a range of it; what is not there is forbidden, unless ``missing`` says 404."""
    bucket, key = call.held.folder / "buckets" / call.parts["bucket"], call.parts["key"]
    file = bucket / key
    if ".." in Path(key).parts or not file.is_file():
        return storage_error(call.held.missing, "AccessDenied", "Access Denied")
    status = file.stat()
    changed = format_datetime(datetime.fromtimestamp(int(status.st_mtime), UTC), usegmt=True)
    return file_part(file, call.request.range, {"ETag": _etag(file), "Last-Modified": changed})


def listing(call: Call) -> Answer:
    """Return the keys with a prefix, in order, a page at a time."""
    bucket = call.held.folder / "buckets" / call.parts["bucket"]
    if not call.held.lists:
        return storage_error(403, "AccessDenied", "Access Denied")
    if not bucket.is_dir():
        return storage_error(404, "NoSuchBucket", "The specified bucket does not exist")
    prefix, delimiter = call.one("prefix"), call.one("delimiter")
    after = call.one("continuation-token") or call.one("start-after")
    keys = sorted(str(file.relative_to(bucket)) for file in bucket.rglob("*") if file.is_file())
    entries: dict[str, Path | None] = {}
    for key in keys:
        if not key.startswith(prefix):
            continue
        head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        entries[f"{prefix}{head}{cut}" if cut else key] = None if cut else bucket / key
    wanted = [name for name in entries if name > after]
    page = wanted[: min(PAGE, int(call.one("max-keys", str(PAGE))))]
    more = len(page) < len(wanted)
    parts = [f"<Name>{call.parts['bucket']}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"]
    parts += [f"<MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"]
    parts += [f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>"] if more else []
    for name in page:
        file = entries[name]
        parts.append(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" if file is None else _told(name, file)
        )
    told = f'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(parts)}'
    return Answer(f"{told}</ListBucketResult>".encode(), 200, "application/xml")


def _told(key: str, file: Path) -> str:
    status = file.stat()
    changed = f"{datetime.fromtimestamp(status.st_mtime, UTC):%Y-%m-%dT%H:%M:%S.000Z}"
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>{changed}</LastModified><ETag>{escape(_etag(file))}</ETag>"
        f"<Size>{status.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def _etag(file: Path) -> str:
    status = file.stat()
    return '"' + hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:32] + '"'

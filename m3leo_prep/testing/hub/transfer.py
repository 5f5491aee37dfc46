"""Contents on their way: large files up (LFS), all files down.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md; parts and their completion are those that
huggingface_hub's ``lfs.py`` sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from m3leo_prep.testing.answers import Answer, file_part, to_json
from m3leo_prep.testing.hub.answers import Refused
from m3leo_prep.testing.hub.calls import Call
from m3leo_prep.testing.hub.faults import NO_SPACE

_LFS = "application/vnd.git-lfs+json"
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>{}</Message></Error>'
_PIECE = 1 << 20


def lfs_batch(call: Call) -> Answer:
    """Say where to send large files that are not there yet."""
    repo = call.hub.writable(call.repo_id, call.token)
    given = call.json()
    new = [found for found in given["objects"] if not call.hub.blobs.has(found["oid"])]
    limit = call.hub.storage_limit
    if limit is not None and call.hub.stored(repo.owner) + sum(found["size"] for found in new) > limit:
        raise Refused(403, NO_SPACE)
    in_parts = "multipart" in given.get("transfers", ())
    told = []
    is_multipart = False
    for found in given["objects"]:
        one: dict[str, Any] = {"oid": found["oid"], "size": found["size"]}
        if found in new:
            upload = _upload(call, found["oid"], found["size"], in_parts=in_parts)
            is_multipart |= "header" in upload
            verify = {"href": f"{call.base}/datasets/{repo.id}.git/info/lfs/objects/verify"}
            one["actions"] = {"upload": upload, "verify": verify}
        told.append(one)
    answer = to_json({"transfer": "multipart" if is_multipart else "basic", "objects": told})
    return Answer(answer.body, 200, _LFS)


def lfs_put(call: Call) -> Answer:
    """Take a large file."""
    _check(call, call.parts["oid"])
    _keep(call, call.parts["oid"], call.pieces())
    return Answer(headers={"ETag": f'"{call.parts["oid"]}"'})


def lfs_part(call: Call) -> Answer:
    """Take a part of a large file."""
    oid, number = call.parts["oid"], call.parts["part"]
    _check(call, oid)
    sha, _ = call.hub.blobs.receive(call.pieces(), key=f"{oid}.{number}")
    return Answer(headers={"ETag": f'"{sha}"'})


def lfs_complete(call: Call) -> Answer:
    """Join the parts of a large file."""
    oid = call.parts["oid"]
    _check(call, oid)
    numbers = [part["partNumber"] for part in call.json()["parts"]]
    missing = [number for number in numbers if not call.hub.blobs.has(f"{oid}.{number}")]
    if missing:
        raise Refused(400, f"Part {missing[0]} was not uploaded")
    _keep(call, oid, _joined(call, oid, numbers))
    for number in numbers:
        call.hub.blobs.forget(f"{oid}.{number}")
    return to_json({})


def lfs_verify(call: Call) -> Answer:
    """Say whether a large file arrived."""
    call.hub.writable(call.repo_id, call.token)
    oid = call.json()["oid"]
    if not call.hub.uploads[oid] and not call.hub.blobs.has(oid):
        raise Refused(404, "Object does not exist")
    return to_json({})


def resolve(call: Call) -> Answer:
    """Return a file; of a large one only where it can be fetched, on another host and for a while."""
    repo = call.hub.content(call.repo_id, call.token)
    commit = call.commit_of(repo)
    entry = commit.tree.get(call.parts["path"])
    if entry is None:
        raise Refused(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": commit.sha})
    headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes", "X-Linked-Size": str(entry.size)}
    if not entry.sha256:
        headers["ETag"] = f'"{entry.oid}"'
        if call.hub.redirects_small and "cache" not in call.parts:
            path = quote(f"/api/resolve-cache/datasets/{repo.id}/{commit.sha}/{call.parts['path']}")
            return Answer(b"", 307, "text/plain", {"X-Repo-Commit": commit.sha, "Location": path})
        return file_part(call.hub.blobs.path(entry.oid), call.headers.get("range", ""), headers)
    headers |= {"X-Linked-ETag": f'"{entry.sha256}"', "ETag": f'"{entry.oid}"'}
    headers["Location"] = f"{call.cdn}/cdn/{entry.sha256}?{call.hub.signed(entry.sha256)}"
    return Answer(f"Found. Redirecting to {headers['Location']}".encode(), 302, "text/plain", headers)


def cdn(call: Call) -> Answer:
    """Return a large file, or a range of it, to who has a signed address."""
    oid = call.parts["oid"]
    if call.token:
        return _storage_error(400, "InvalidArgument", "Only one auth mechanism allowed")
    if not call.hub.check_signed(oid, call.query):
        return _storage_error(403, "AccessDenied", "Request has expired")
    if not call.hub.blobs.has(oid):
        return _storage_error(404, "NoSuchKey", "The specified key does not exist.")
    return file_part(call.hub.blobs.path(oid), call.headers.get("range", ""), {"ETag": f'"{oid}"'})


def _storage_error(status: int, code: str, text: str) -> Answer:
    """Return an error of the storage behind the Hub, which is that of S3."""
    return Answer(_ERROR.format(code, text).encode(), status, "application/xml")


def _upload(call: Call, oid: str, size: int, *, in_parts: bool) -> dict[str, Any]:
    """Return the action that sends one large file."""
    signed = call.hub.signed(oid)
    if not in_parts or size <= call.hub.part_bytes:
        return {"href": f"{call.cdn}/lfs/{oid}?{signed}"}
    count = -(-size // call.hub.part_bytes)
    header = {f"{number:05d}": f"{call.cdn}/lfs/{oid}/{number}?{signed}" for number in range(1, count + 1)}
    # The client completes without a token: the address is what lets it.
    complete = f"{call.base}/lfs/{oid}/complete?{signed}"
    return {"href": complete, "header": {"chunk_size": str(call.hub.part_bytes), **header}}


def _keep(call: Call, oid: str, pieces: Iterator[bytes]) -> None:
    sha, _ = call.hub.blobs.receive(pieces, key=oid)
    if sha != oid:
        raise Refused(400, "The content does not have the hash that was said")
    with call.hub.lock:
        call.hub.uploads[oid] += 1
    if call.drop:
        call.hub.blobs.forget(oid)


def _joined(call: Call, oid: str, numbers: list[int]) -> Iterator[bytes]:
    for number in numbers:
        with call.hub.blobs.path(f"{oid}.{number}").open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece


def _check(call: Call, oid: str) -> None:
    if not call.hub.check_signed(oid, call.query):
        raise Refused(403, "Request has expired")

"""Changes of a repository: commits, branches and tags."""

from __future__ import annotations

import base64
import codecs
import json
from typing import Any

from m3leo_prep.testing.answers import Answer, to_json
from m3leo_prep.testing.hub.answers import Refused
from m3leo_prep.testing.hub.calls import Call
from m3leo_prep.testing.hub.card import examine
from m3leo_prep.testing.hub.faults import STALE
from m3leo_prep.testing.hub.repositories import Entry, Repository, large, small

_LARGE = 10 << 20
"""From this size on no file is git's own: https://huggingface.co/docs/hub/repositories-getting-started."""
_LARGE_ENDINGS = (".bin", ".parquet", ".tar", ".npy", ".npz", ".zip", ".gz", ".tif", ".png", ".jpg", ".arrow", ".zst")


def preupload(call: Call) -> Answer:
    """Say of each file how it is to be sent, and what is there under its name."""
    repo = call.hub.writable(call.repo_id, call.token)
    there = call.commit_of(repo).tree
    told = []
    for file in call.json()["files"]:
        sample = base64.b64decode(file.get("sample", ""))
        is_large = file["size"] >= _LARGE or file["path"].endswith(_LARGE_ENDINGS) or not _is_text(sample)
        mode = "lfs" if is_large else "regular"
        entry = there.get(file["path"])
        # The client compares this with the sha256 of large files, else with git's hash; see its ``_local_oid``.
        oid = entry.key if entry else None
        told.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return to_json({"files": told})


def commit(call: Call) -> Answer:
    """Make a commit of lines of JSON: a header, then what changes."""
    repo = call.hub.writable(call.repo_id, call.token)
    lines = [json.loads(line) for line in call.body().splitlines() if line.strip()]
    branch = call.parts["rev"]
    with call.hub.lock:
        if branch not in repo.branches:
            raise Refused(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        header = lines[0]["value"] if lines and lines[0]["key"] == "header" else {}
        if not header.get("summary"):
            raise Refused(400, "A commit needs a summary")
        if header.get("parentCommit") not in {None, repo.branches[branch]}:
            raise Refused(412, STALE)
        files = dict(repo.commits[repo.branches[branch]].tree)
        for line in lines[1:]:
            _apply(call, files, line["key"], line["value"])
        made = repo.commit(branch, files, header["summary"])
    url = f"{call.base}/datasets/{repo.id}/commit/{made.sha}"
    return to_json({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})


def add_branch(call: Call) -> Answer:
    """Make a branch."""
    repo, given = call.hub.writable(call.repo_id, call.token), call.json()
    start = repo.find(given.get("startingPoint") or "main")
    if start is None:
        raise Refused(404, f"Invalid rev id: {given['startingPoint']}", "RevisionNotFound")
    return _add_ref(call, repo.branches, call.parts["rev"], start.sha)


def add_tag(call: Call) -> Answer:
    """Make a tag at a revision."""
    repo, given = call.hub.writable(call.repo_id, call.token), call.json()
    return _add_ref(call, repo.tags, given["tag"], call.commit_of(repo).sha)


def remove_ref(call: Call) -> Answer:
    """Remove a branch or a tag."""
    repo = call.hub.writable(call.repo_id, call.token)
    found = _refs(repo, call.parts["kind"])
    with call.hub.lock:
        if found.pop(call.parts["rev"], None) is None:
            raise Refused(404, f"Invalid rev id: {call.parts['rev']}", "RevisionNotFound")
    return to_json({})


def _refs(repo: Repository, kind: str) -> dict[str, str]:
    return repo.branches if kind == "branch" else repo.tags


def _add_ref(call: Call, refs: dict[str, str], name: str, sha: str) -> Answer:
    with call.hub.lock:
        if name in refs:
            raise Refused(409, f"Reference already exists: {name}")
        refs[name] = sha
    return to_json({})


def _apply(call: Call, files: dict[str, Entry], key: str, value: dict[str, Any]) -> None:
    """Change the files as one line of a commit says."""
    name = value["path"]
    if key == "file":
        data = base64.b64decode(value["content"])
        if name == "README.md" and (errors := examine(data.decode()).errors):
            raise Refused(400, f"Invalid metadata in README.md: {errors[0]}")
        entry = small(data)
        call.hub.blobs.receive([data], key=entry.oid)
        call.hub.uploads[entry.oid] += 1
        files[name] = entry
    elif key == "lfsFile":
        if not call.hub.blobs.has(value["oid"]):
            raise Refused(400, f"LFS pointer pointed to a file that does not exist: {name}")
        files[name] = large(value["oid"], call.hub.blobs.path(value["oid"]).stat().st_size)
    elif key == "deletedFile":
        if files.pop(name, None) is None:
            raise Refused(404, f"{name} does not exist on this repo", "EntryNotFound")
    elif key == "deletedFolder":
        for below in [other for other in files if other.startswith(name.rstrip("/") + "/")]:
            del files[below]
    else:
        raise Refused(400, f"Unknown operation: {key}")


def _is_text(sample: bytes) -> bool:
    """Return whether the beginning of a file is text; its last character may be cut."""
    if b"\0" in sample:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True

"""What the Hub tells: accounts, repositories and their files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode

from m3leo_prep.testing.answers import Answer, to_json
from m3leo_prep.testing.hub.answers import Refused
from m3leo_prep.testing.hub.calls import Call
from m3leo_prep.testing.hub.card import examine
from m3leo_prep.testing.hub.repositories import Commit, Entry, folders, git_hash

_NAME = re.compile(r"(?!.*(--|\.\.))(?!.*\.git$)[A-Za-z0-9_]([\w.-]{0,94}[A-Za-z0-9_])?")
_DAY = "2026-01-01T00:00:00.000Z"


def whoami(call: Call) -> Answer:
    """Return the account of the token."""
    account = call.hub.account(call.token)
    if account is None:
        raise Refused(401, "Invalid username or password.")
    access = {"displayName": "stand-in", "role": account.role}
    organisations = [{"type": "org", "name": name, "roleInOrg": "write"} for name in account.organisations]
    told = {"type": "user", "name": account.name, "orgs": organisations}
    return to_json(told | {"auth": {"type": "access_token", "accessToken": access}})


def create_repo(call: Call) -> Answer:
    """Make a repository."""
    given = call.json()
    account = call.hub.account(call.token)
    if account is None:
        raise Refused(401, "Invalid username or password.")
    if given.get("type", "model") != "dataset":
        raise Refused(501, "stand-in: only dataset repositories are built")
    namespace, name = given.get("organization") or account.name, str(given.get("name", ""))
    if not _NAME.fullmatch(name):
        raise Refused(400, f"Invalid repo name: {namespace}/{name}")
    if account.role != "write" or not account.owns(namespace):
        raise Refused(403, f'You don\'t have the rights to create a dataset under the namespace "{namespace}"')
    repo_id = f"{namespace}/{name}"
    url = f"{call.base}/datasets/{repo_id}"
    with call.hub.lock:
        if repo_id in call.hub.repos:
            # The client reads the address also from this answer.
            text = "You already created this dataset repo"
            return to_json({"error": text, "url": url}, 409, **{"X-Error-Message": text})
        private = given.get("visibility") == "private" or bool(given.get("private"))
        call.hub.create(repo_id, private=private)
    return to_json({"url": url, "name": repo_id})


def delete_repo(call: Call) -> Answer:
    """Remove a repository."""
    given = call.json()
    account = call.hub.account(call.token)
    namespace = given.get("organization") or (account.name if account else "")
    repo = call.hub.writable(f"{namespace}/{given.get('name')}", call.token)
    with call.hub.lock:
        del call.hub.repos[repo.id]
    return to_json({})


def settings(call: Call) -> Answer:
    """Make a repository private, public or gated."""
    repo, given = call.hub.writable(call.repo_id, call.token), call.json()
    if "visibility" in given or "private" in given:
        repo.private = given.get("visibility") == "private" or bool(given.get("private"))
    if "gated" in given:
        repo.gated = bool(given["gated"])
    return to_json({"private": repo.private, "gated": repo.gated})


def validate_card(call: Call) -> Answer:
    """Say what is wrong with a card."""
    found = examine(str(call.json().get("content", "")))
    said = {
        "errors": [{"message": text} for text in found.errors],
        "warnings": [{"message": text} for text in found.warnings],
    }
    return to_json(said, 400 if found.errors else 200)


def info(call: Call) -> Answer:
    """Return what a repository is, at a revision."""
    repo = call.hub.readable(call.repo_id, call.token)
    commit = call.commit_of(repo)
    with_blobs = call.query.get("blobs", "").lower() in {"1", "true"}
    siblings = [
        {"rfilename": name} | (_sibling(entry) if with_blobs else {}) for name, entry in sorted(commit.tree.items())
    ]
    gated: Any = "auto" if repo.gated else False
    told: dict[str, Any] = {
        "_id": git_hash(repo.id.encode())[:24],
        "id": repo.id,
        "author": repo.owner,
        "sha": commit.sha,
    }
    told |= {"private": repo.private, "gated": gated, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
    told |= {"lastModified": _DAY, "createdAt": _DAY, "siblings": siblings}
    if "expand" in call.query:
        told["usedStorage"] = sum({entry.key: entry.size for c in repo.history for entry in c.tree.values()}.values())
        told = {key: told.get(key) for key in ("_id", "id", *call.query["expand"].split(","))}
    return to_json(told)


def datasets(call: Call) -> Answer:
    """Return the repositories of an owner that the token may see."""
    account = call.hub.account(call.token)
    owner = call.query.get("author", "")
    may_all = account is not None and account.owns(owner)
    with call.hub.lock:
        repos = [repo for repo in call.hub.repos.values() if repo.owner == owner and (may_all or not repo.private)]
    return to_json([{"_id": git_hash(repo.id.encode())[:24], "id": repo.id, "tags": []} for repo in repos])


def refs(call: Call) -> Answer:
    """Return branches and tags."""
    repo = call.hub.readable(call.repo_id, call.token)
    branches, tags = (
        [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in found.items()]
        for kind, found in (("heads", repo.branches), ("tags", repo.tags))
    )
    return to_json({"branches": branches, "tags": tags, "converts": []})


def commits(call: Call) -> Answer:
    """Return the history of a revision, newest first."""
    repo = call.hub.readable(call.repo_id, call.token)
    author = [{"user": repo.owner}]
    found = repo.back_from(call.commit_of(repo))
    return to_json([{"id": c.sha, "title": c.title, "message": "", "authors": author, "date": _DAY} for c in found])


def tree(call: Call) -> Answer:
    """Return a folder's entries, or all below it, in pages."""
    repo = call.hub.readable(call.repo_id, call.token)
    commit = call.commit_of(repo)
    folder = call.parts.get("path", "").strip("/")
    known = folders(commit.tree)
    if folder and folder not in known:
        raise Refused(404, f"{folder} does not exist on this repo", "EntryNotFound")
    is_deep = call.query.get("recursive", "").lower() in {"1", "true"}
    prefix = f"{folder}/" if folder else ""

    def wanted(name: str) -> bool:
        return name.startswith(prefix) and (is_deep or "/" not in name[len(prefix) :])

    found = [_described(commit, name, call.query) for name in sorted({*commit.tree, *known}) if wanted(name)]
    size = min(int(call.query.get("limit", call.hub.page)), call.hub.page)
    start = int(call.query.get("cursor", 0))
    more = ""
    if start + size < len(found):
        rest = f"{call.base}/api/datasets/{repo.id}/tree/{commit.sha}/{folder}".rstrip("/")
        query = urlencode({**call.query, "cursor": start + size})
        more = f'<{rest}?{query}>; rel="next"'
    return to_json(found[start : start + size], **({"Link": more} if more else {}))


def paths_info(call: Call) -> Answer:
    """Return the entries of some paths; what is not there is left out."""
    commit = call.commit_of(call.hub.readable(call.repo_id, call.token))
    is_json = "json" in call.headers.get("content-type", "")
    query: Mapping[str, Any] = call.json() if is_json else parse_qs(call.body().decode())
    given = query.get("paths", [])
    known = folders(commit.tree)
    names = [given] if isinstance(given, str) else given
    expand = query.get("expand", "")
    asked = {"expand": str(expand[0] if isinstance(expand, list) else expand)}
    return to_json([_described(commit, name, asked) for name in names if name in commit.tree or name in known])


def _described(commit: Commit, name: str, query: Mapping[str, str]) -> dict[str, Any]:
    entry = commit.tree.get(name)
    if entry is None:
        told: dict[str, Any] = {"type": "directory", "oid": git_hash(name.encode()), "size": 0, "path": name}
    else:
        told = {"type": "file", "oid": entry.oid, "size": entry.size, "path": name}
        if entry.sha256:
            told["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 134}
    if query.get("expand", "").lower() in {"1", "true"}:
        told["lastCommit"] = {"id": commit.sha, "title": commit.title, "date": _DAY}
    return told


def _sibling(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = {"size": entry.size, "blobId": entry.oid}
    if entry.sha256:
        told["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": 134}
    return told

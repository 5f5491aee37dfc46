"""Publish a small dataset to the real Hub and ask what no stand-in can show; prints a report to paste into an issue.

Needs a login that may write (``m3leo-prep login hub``). Makes a private repository of yours and deletes it at the end;
``--public`` makes it a public one for those minutes, since the Hub shows private data in its viewer only to some
accounts. Run it with ``make live-hub``. Nothing in the report is secret.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import huggingface_hub
import urllib3
from huggingface_hub import CommitOperationAdd, HfApi

import m3leo_prep as mp
from m3leo_prep.blobs.hub import endpoint
from m3leo_prep.core.errors import PrepError
from m3leo_prep.publish.publishing import Published, publish
from m3leo_prep.reader.dataset import Dataset

VIEWER = "https://datasets-server.huggingface.co"
VIEWER_SECONDS = 300
"""That the viewer is given to look at a new repository."""
Answer = tuple[bool | None, str]
"""Whether it is as m3leo-prep takes for granted (None: only told), and what was seen."""


@dataclass(frozen=True, slots=True)
class Session:
    """A dataset here, and the same on the Hub."""

    folder: Path
    repo: str
    api: HfApi
    web: urllib3.PoolManager
    is_public: bool
    published: Published

    @property
    def shard(self) -> tuple[str, bytes]:
        """Name and bytes of the largest shard."""
        shards = Dataset(self.folder).shards
        name = str(shards.sort_values("bytes")["path"].iloc[-1])
        return name, (self.folder / name).read_bytes()

    def send(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Return the answer to a request of the Hub's own API, redirects not followed."""
        login = {"Authorization": f"Bearer {huggingface_hub.get_token()}"}
        address = path if "://" in path else f"{endpoint()}{path}"
        return self.web.request(method, address, json=body, headers={**login, **(headers or {})}, redirect=False)

    def located(self) -> tuple[Any, str]:
        """Return what the Hub says of the largest shard, and where it lies."""
        answer = self.send("HEAD", f"/datasets/{self.repo}/resolve/main/{self.shard[0]}")
        return answer.headers, answer.headers["Location"]


def main(arguments: list[str] | None = None) -> int:
    """Print the report; return how many answers differ from what is taken for granted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", type=Path, help="folder of a small dataset; without it, one is made")
    parser.add_argument("--public", action="store_true", help="so that the viewer shows it to every account")
    given = parser.parse_args(arguments)
    api = HfApi(endpoint=endpoint())
    repo = f"{api.whoami()['name']}/m3leo-prep-live-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder:
        dataset = given.dataset or _made(Path(folder))
        try:
            published = publish(dataset, f"hf://datasets/{repo}", private=not given.public)
            return _report(Session(dataset, repo, api, urllib3.PoolManager(), given.public, published))
        finally:
            api.delete_repo(repo, repo_type="dataset", missing_ok=True)
            print(f"\n{repo} is deleted.")


def _made(folder: Path) -> Path:
    mp.build(mp.plan("demo", "demo", out=folder / "demo", yes=True), folder / "demo")
    return folder / "demo"


def _report(session: Session) -> int:
    xet = "off" if os.environ.get("HF_HUB_DISABLE_XET") else "on"
    print(f"# {urlsplit(endpoint()).hostname}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    print(f"\nhuggingface_hub {huggingface_hub.__version__}, Xet {xet}; {session.repo}\n")
    print("| | question | taken for granted | seen |\n|---|---|---|---|")
    wrong = 0
    for number, (question, expected, ask) in enumerate(QUESTIONS, 1):
        try:
            fine, seen = ask(session)
        except (PrepError, urllib3.exceptions.HTTPError, KeyError, ValueError) as error:
            fine, seen = False, f"failed: {type(error).__name__}: {str(error).splitlines()[0]}"
        wrong += fine is False
        print(f"| {number} {'' if fine is None else 'yes' if fine else '**NO**'} | {question} | {expected} | {seen} |")
    print(f"\n{wrong} of {len(QUESTIONS)} are not as expected." if wrong else "\nAll as expected.")
    return wrong


def _first(session: Session) -> Answer:
    there = {entry.path for entry in session.api.list_repo_tree(session.repo, repo_type="dataset", recursive=True)}
    here = {path.relative_to(session.folder).as_posix() for path in session.folder.rglob("*") if path.is_file()}
    missing = {name for name in here if not name.startswith(".")} - there
    done = session.published
    return not missing, f"{done.sent} files, {done.sent_bytes:,} bytes, {done.steps} steps; {len(missing)} missing"


def _again(session: Session) -> Answer:
    done = publish(session.folder, f"hf://datasets/{session.repo}", private=not session.is_public)
    return done.sent == 0, f"{done.sent} files sent"


def _read(session: Session) -> Answer:
    root = Dataset(f"hf://datasets/{session.repo}").root
    name, data = session.shard
    ends = (root.get(name, 0, 100), root.get(name, len(data) // 2, 1000), root.get(name, -100))
    same = ends == (data[:100], data[len(data) // 2 :][:1000], data[-100:]) and root.size(name) == len(data)
    return same, "same bytes" if same else "other bytes"


def _place(session: Session) -> Answer:
    headers, address = session.located()
    names = ("X-Repo-Commit", "X-Linked-Size", "X-Linked-ETag", "X-Xet-Hash")
    told = ", ".join(name for name in names if name in headers)
    host = urlsplit(address).hostname
    return host != urlsplit(endpoint()).hostname, f"{host}; {told}"


def _expiry(session: Session) -> Answer:
    query = parse_qs(urlsplit(session.located()[1]).query)
    until = query.get("Expires", query.get("X-Amz-Expires", ["?"]))[0]
    seconds = int(until) - time.time() if len(until) > 8 else until
    return None, f"{seconds:.0f} s" if isinstance(seconds, float) else f"{seconds} s, by {', '.join(sorted(query))}"


def _forged(session: Session) -> Answer:
    address = session.located()[1]
    forged = address[:-2] + ("AA" if address[-2:] != "AA" else "BB")
    status = session.web.request("GET", forged, headers={"Range": "bytes=0-9"}).status
    return status in {400, 401, 403}, f"{status}"


def _ranges(session: Session) -> Answer:
    address, (_, data) = session.located()[1], session.shard
    last = session.web.request("GET", address, headers={"Range": "bytes=-16"})
    beyond = session.web.request("GET", address, headers={"Range": f"bytes={len(data)}-"})
    head = session.web.request("HEAD", address)
    fine = last.status == 206 and last.data == data[-16:] and beyond.status == 416
    return fine, f"the last 16 bytes: {last.status}; beyond the end: {beyond.status}; HEAD: {head.status}"


def _used(session: Session) -> int:
    return int(session.api.dataset_info(session.repo, expand=["usedStorage"]).used_storage or 0)


def _copies(session: Session) -> Answer:
    name, data = session.shard
    before, began = _used(session), time.monotonic()
    copy = CommitOperationAdd(f"copies/{name}", data)
    session.api.create_commit(session.repo, [copy], commit_message="A copy of a shard", repo_type="dataset")
    took = time.monotonic() - began
    grew = _used(session) - before
    return None, f"storage grew by {grew:,} of {len(data):,} bytes, in {took:.1f} s"


def _cards(session: Session) -> Answer:
    told = []
    for field in ("license: nonsense", "size_categories: [1K<n<5K]", "task_categories: [mapping]", "configs: chips"):
        body = {"content": f"---\n{field}\n---\n", "repoType": "dataset"}
        answer = session.send("POST", "/api/validate-yaml", body)
        said = json.loads(answer.data)
        texts = [note["message"][:60] for kind in ("errors", "warnings") for note in said.get(kind, [])]
        told.append(f"`{field}`: {answer.status} {'; '.join(texts)}".replace("|", "/"))
    return told[0].split(": ")[2].startswith("400"), "<br>".join(told)


def _stranger(session: Session) -> Answer:
    answer = session.web.request("GET", f"{endpoint()}/api/datasets/{session.repo}-nothing", redirect=False)
    return answer.status == 401, f"{answer.status} {answer.headers.get('X-Error-Code', 'without X-Error-Code')}"


def _viewer(session: Session) -> Answer:
    if urlsplit(endpoint()).hostname != "huggingface.co":
        return None, "not asked: this is not the real Hub"
    ends = time.monotonic() + VIEWER_SECONDS
    while True:
        answer = session.send("GET", f"{VIEWER}/splits?dataset={session.repo}")
        if answer.status == 200 or time.monotonic() > ends:
            break
        time.sleep(10)
    said = json.loads(answer.data)
    if answer.status != 200:
        return (False if session.is_public else None), f"{answer.status} {said.get('error', '')}"
    seen = []
    for split in said["splits"]:
        query = f"dataset={session.repo}&config={split['config']}&split={split['split']}"
        rows = json.loads(session.send("GET", f"{VIEWER}/first-rows?{query}").data)
        images = [f["name"] for f in rows.get("features", []) if f["type"].get("_type") == "Image"]
        seen.append(f"{split['config']}/{split['split']}: {', '.join(images) or 'no pictures'}")
    return any("no pictures" not in text for text in seen), "<br>".join(seen)


QUESTIONS: tuple[tuple[str, str, Callable[[Session], Answer]], ...] = (
    ("a first `publish`", "card accepted, all files there", _first),
    ("the same again", "nothing is sent", _again),
    ("parts of a shard by `hf://`", "the same bytes", _read),
    ("where large files lie", "on another host", _place),
    ("how long their address is good", "only told", _expiry),
    ("an address with a wrong signature", "400, 401 or 403", _forged),
    ("ranges there", "206; 416 beyond the end", _ranges),
    ("a copy of a shard under another name", "only told", _copies),
    ("wrong cards", "400 for a licence it does not know", _cards),
    ("a repository that is not there, without a login", "401", _stranger),
    ("the viewer", "pictures in `previews`", _viewer),
)

if __name__ == "__main__":
    if not huggingface_hub.get_token():
        sys.exit("error: there is no Hugging Face login here: run `m3leo-prep login hub`")
    try:
        sys.exit(1 if main() else 0)
    except PrepError as error:
        sys.exit(f"error: {error}")

"""Repositories of the stand-in: references, commits, trees, and blobs by their hash."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tree."""

    size: int
    """Bytes of the content."""
    oid: str
    """Git's hash of the content, or of the pointer of a large file."""
    sha256: str = ""
    """Of the content of a large file (LFS); empty for one that git itself holds."""

    @property
    def key(self) -> str:
        """Name of the content among the blobs."""
        return self.sha256 or self.oid


@dataclass(frozen=True, slots=True)
class Commit:
    """A state of a repository."""

    sha: str
    tree: Mapping[str, Entry]
    parent: str
    title: str


@dataclass(slots=True)
class Repository:
    """A dataset repository."""

    id: str
    """``owner/name``."""
    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """The user or organisation."""
        return self.id.split("/")[0]

    @property
    def files(self) -> Mapping[str, Entry]:
        """What ``main`` holds."""
        return self.commits[self.branches["main"]].tree

    @property
    def history(self) -> list[Commit]:
        """The commits of ``main``, newest first."""
        return self.back_from(self.commits[self.branches["main"]])

    def back_from(self, commit: Commit) -> list[Commit]:
        """Return a commit and all before it, newest first."""
        found = [commit]
        while found[-1].parent:
            found.append(self.commits[found[-1].parent])
        return found

    def find(self, revision: str) -> Commit | None:
        """Return the commit of a branch, a tag or a full hash."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(sha)

    def commit(self, branch: str, tree: Mapping[str, Entry], title: str) -> Commit:
        """Add a commit to a branch; one that changes nothing leaves the branch as it is."""
        parent = self.branches.get(branch, "")
        if parent and self.commits[parent].tree == tree:
            return self.commits[parent]
        sha = hashlib.sha1(f"{self.id} {parent} {len(self.commits)} {title}".encode()).hexdigest()  # noqa: S324 git's
        made = Commit(sha, dict(tree), parent, title)
        self.commits[sha] = made
        self.branches[branch] = sha
        return made


def folders(names: Iterable[str]) -> set[str]:
    """Return all folders above these names."""
    found = set()
    for name in names:
        parts = name.split("/")
        found |= {"/".join(parts[:depth]) for depth in range(1, len(parts))}
    return found


def git_hash(data: bytes) -> str:
    """Return git's hash of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 git's


def small(data: bytes) -> Entry:
    """Return the entry of a file that git itself holds."""
    return Entry(len(data), git_hash(data))


def large(sha256: str, size: int) -> Entry:
    """Return the entry of a large file."""
    return Entry(size, git_hash(POINTER.format(sha256, size).encode()), sha256)


@dataclass(frozen=True, slots=True)
class Blobs:
    """Contents in a folder, each under its hash, shared by all repositories."""

    folder: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def path(self, key: str) -> Path:
        """Return the file of a content, which may not be there."""
        return self.folder / key

    def has(self, key: str) -> bool:
        """Return whether it is there."""
        return self.path(key).is_file()

    def forget(self, key: str) -> None:
        """Lose a content; absent is fine."""
        self.path(key).unlink(missing_ok=True)

    def receive(self, pieces: Iterable[bytes], *, key: str = "") -> tuple[str, int]:
        """Keep what comes in and return its sha256 and size; under ``key``, or under its hash.

        A content of another hash than a ``key`` of 64 digits is not kept.
        """
        hasher, size = hashlib.sha256(), 0
        part = self.folder / f".{uuid4().hex}"
        try:
            with part.open("wb") as file:
                for piece in pieces:
                    hasher.update(piece)
                    size += file.write(piece)
            sha = hasher.hexdigest()
            if len(key) != len(sha) or key == sha:
                part.replace(self.path(key or sha))
            return sha, size
        finally:
            part.unlink(missing_ok=True)

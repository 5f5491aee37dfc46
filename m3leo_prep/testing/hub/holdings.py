"""What the stand-in holds: accounts with their tokens, repositories, contents, and what was sent."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from m3leo_prep.testing.hub.answers import Refused
from m3leo_prep.testing.hub.repositories import Blobs, Repository, small

WRITE, READ, STRANGER = "hf_standinwrite", "hf_standinread", "hf_standinstranger"
USER, ORGANISATION = "me", "our-lab"
LIFETIME = 3600
"""Seconds that the address of a large file is good for."""
_ATTRIBUTES = b"*.bin filter=lfs diff=lfs merge=lfs -text\n*.parquet filter=lfs diff=lfs merge=lfs -text\n"


@dataclass(frozen=True, slots=True)
class Account:
    """Who a token speaks for."""

    name: str
    role: str
    """``write`` or ``read``."""
    organisations: tuple[str, ...] = ()

    def owns(self, namespace: str) -> bool:
        """Return whether repositories of a namespace are this account's."""
        return namespace == self.name or namespace in self.organisations


ACCOUNTS: Mapping[str, Account] = {
    WRITE: Account(USER, "write", (ORGANISATION,)),
    READ: Account(USER, "read", (ORGANISATION,)),
    STRANGER: Account("someone-else", "write"),
}


@dataclass(slots=True)
class Holdings:
    """The state behind the routes; whoever changes it holds ``lock``."""

    blobs: Blobs
    repos: dict[str, Repository] = field(default_factory=dict)
    uploads: Counter[str] = field(default_factory=Counter)
    """How often each content came in whole, by hash (sha256 of large files, git's of small ones)."""
    storage_limit: int | None = None
    """Bytes that all repositories of a namespace may hold; more is refused as the Hub does."""
    part_bytes: int = 5 << 20
    """Larger contents are sent in parts of this size."""
    redirects_small: bool = False
    """Small files, too, come by a redirect, to another address of the Hub; the Hub does so or not as it likes."""
    page: int = 1000
    """Entries of one page of a listing."""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    lock: threading.RLock = field(default_factory=threading.RLock)

    def account(self, token: str) -> Account | None:
        """Return whom a token speaks for, None without one.

        Raises:
            Refused: no such token.
        """
        if not token:
            return None
        if token not in ACCOUNTS:
            raise Refused(401, "Invalid credentials in Authorization header")
        return ACCOUNTS[token]

    def readable(self, repo_id: str, token: str) -> Repository:
        """Return a repository for reading; to whom may not know of it, it is not there.

        Raises:
            Refused: not there, or not for this token.
        """
        account = self.account(token)
        repo = self.repos.get(repo_id)
        if repo is None or (repo.private and not (account and account.owns(repo.owner))):
            if account is None:
                raise Refused(401, "Invalid username or password.", "RepoNotFound")
            raise Refused(404, "Repository not found", "RepoNotFound")
        return repo

    def content(self, repo_id: str, token: str) -> Repository:
        """Return a repository whose files are asked for: a gated one has conditions.

        Raises:
            Refused: not there, or not for this token.
        """
        repo = self.readable(repo_id, token)
        account = self.account(token)
        if repo.gated and not (account and account.owns(repo.owner)):
            text = f"Access to dataset {repo_id} is restricted. You must have access to it and be authenticated"
            raise Refused(401 if account is None else 403, f"{text} to access it. Please log in.", "GatedRepo")
        return repo

    def writable(self, repo_id: str, token: str) -> Repository:
        """Return a repository for writing.

        Raises:
            Refused: not there, or not for this token.
        """
        repo = self.readable(repo_id, token)
        account = self.account(token)
        if account is None:
            raise Refused(401, "Invalid username or password.")
        if account.role != "write" or not account.owns(repo.owner):
            # https://github.com/huggingface/huggingface_hub/issues/1182
            raise Refused(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return repo

    def create(self, repo_id: str, *, private: bool = False) -> Repository:
        """Make a repository, with the first commit that the Hub makes."""
        with self.lock:
            repo = Repository(repo_id, private)
            attributes = small(_ATTRIBUTES)
            self.blobs.receive([_ATTRIBUTES], key=attributes.oid)
            repo.commit("main", {".gitattributes": attributes}, "initial commit")
            self.repos[repo_id] = repo
            return repo

    def stored(self, namespace: str) -> int:
        """Return the bytes that a namespace holds, each content once."""
        with self.lock:
            held = {
                entry.key: entry.size
                for repo in self.repos.values()
                if repo.owner == namespace
                for commit in repo.commits.values()
                for entry in commit.tree.values()
            }
        return sum(held.values())

    def signed(self, key: str) -> str:
        """Return the query by which a content may be fetched for a while."""
        until = int(time.time()) + LIFETIME
        return f"Expires={until}&Signature={self._signature(key, str(until))}"

    def check_signed(self, key: str, query: Mapping[str, str]) -> bool:
        """Return whether such a query is true and not expired."""
        until, signature = query.get("Expires", ""), query.get("Signature", "")
        is_true = hmac.compare_digest(signature, self._signature(key, until))
        return is_true and int(until) >= time.time()

    def expire(self) -> None:
        """Let all addresses of large files expire that were given away so far."""
        self.secret = secrets.token_bytes(16)

    def _signature(self, key: str, until: str) -> str:
        return hmac.new(self.secret, f"{key} {until}".encode(), hashlib.sha256).hexdigest()[:32]

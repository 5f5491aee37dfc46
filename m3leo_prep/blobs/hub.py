"""Files of a dataset repository of the Hugging Face Hub, at one commit."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Never
from urllib.parse import quote, unquote, urlsplit

from m3leo_prep.blobs.http import Patience, answer, said, status_text
from m3leo_prep.blobs.names import parts_of, shown
from m3leo_prep.blobs.web import read
from m3leo_prep.core.errors import ConfigError, CredentialsError, MissingDependency, PrepError, StoreError
from m3leo_prep.core.text import near
from m3leo_prep.ports.blobs import Readable

# After the other import of urllib3, which explains its absence.
from urllib3.exceptions import HTTPError  # isort: skip

FORM = "hf://datasets/OWNER/NAME, with @REVISION (a branch, tag or commit) and a folder after it if need be"
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
REMEMBERED = 2048
"""Addresses of files that are kept, at least; each is some hundred bytes."""
_ADDRESS = re.compile(r"(?i:hf)://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@]+))?(?:/(?P<folder>[^@]*))?")
_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}


def open_hub(address: str) -> Readable:
    """Return the files of a dataset repository, at the commit that its revision names now.

    Later commits are not seen: files of two commits are never mixed.

    Args:
        address: ``hf://datasets/OWNER/NAME[@REVISION][/FOLDER]``; a ``/`` in a revision is written ``%2F``.

    Raises:
        ConfigError: another form.
        CredentialsError: it may not be read with this login, or without one.
        MissingDependency: huggingface_hub is not installed.
        StoreError: no such repository or revision, or the Hub does not answer.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        where = shown(address)
        raise ConfigError("this is not the address of a dataset on the Hub", where=where, hint=_form(where))
    repo, revision = match["repo"], unquote(match["revision"] or "main")
    folder = (match["folder"] or "").strip("/")
    hub = _Hub(endpoint(), repo)
    if folder:
        parts_of(folder, address)
    return HubFiles(hub.endpoint, repo, hub.commit(revision), folder)


def endpoint() -> str:
    """Return the address of the Hub: ``HF_ENDPOINT``, else huggingface_hub's own.

    Raises:
        MissingDependency: huggingface_hub is not installed.
    """
    return (os.environ.get("HF_ENDPOINT") or str(_library().HfApi().endpoint)).rstrip("/")


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependency(
            f"reading from the Hub needs {error.name}", hint="pip install 'm3leo-prep[hub]'"
        ) from error
    return huggingface_hub


def _login() -> dict[str, str]:
    """Return the headers of the login that huggingface_hub finds now; none is kept anywhere."""
    token = _library().get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


class HubFiles:
    """Files of one commit.

    Where a large file really lies, the Hub tells with each answer; that address is good for about an hour and kept, so
    that a read is one request. Copies in other processes find their own.
    """

    def __init__(self, endpoint: str, repo: str, commit: str, folder: str = "") -> None:
        self._parts = (endpoint, repo, commit, folder)
        # Two generations instead of an order of use: single dict operations need no lock, which a fork could leave
        # held.
        self._new: dict[str, str] = {}
        self._old: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Repository and commit, ``hf://datasets/OWNER/NAME@0123…``: opened again, it is the same files."""
        _, repo, commit, folder = self._parts
        return f"hf://datasets/{repo}@{commit}" + (f"/{folder}" if folder else "")

    @property
    def is_remote(self) -> bool:
        """True."""
        return True

    def __repr__(self) -> str:
        return f"HubFiles({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HubFiles) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __reduce__(self) -> tuple[type[HubFiles], tuple[str, str, str, str]]:
        return HubFiles, self._parts

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes ``start ... start + length`` (to the end if None; negative start counts from the end).

        Raises:
            FileNotFoundError: no such file in this commit.
            StoreError: the Hub or its storage does not answer, after some attempts.
            CredentialsError: it may not be read with this login, or without one.
        """
        if length == 0:
            if self.size(name) is None:
                raise FileNotFoundError(f"{self.url}/{name}: no such file")
            return b""
        known = self._new.get(name) or self._old.get(name)
        if known is not None:
            try:
                return read(_Attempt(self, known), name, start, length)
            except _ExpiredError:
                self._new.pop(name, None)
                self._old.pop(name, None)
        return read(_Attempt(self), name, start, length)

    def size(self, name: str) -> int | None:
        """Return the size in bytes, or None if there is no such file; errors as in ``get``."""
        attempt = _Attempt(self)
        target, headers = attempt.request(name)
        patience = Patience(f"{self.url}/{name}")
        with answer("HEAD", target, headers, patience, follow=False) as response:
            status, told = response.status, response.headers
        if status in _GONE:
            return None
        if status >= HTTPStatus.BAD_REQUEST:
            attempt.refuse(name, status)
        if "Location" in told:
            attempt.landed(name, told["Location"])
        if status >= HTTPStatus.MULTIPLE_CHOICES and "X-Linked-Size" not in told:  # to another place of the Hub
            with answer("HEAD", target, headers, patience) as response:
                status, told = response.status, response.headers
            if status in _GONE:
                return None
            if status >= HTTPStatus.BAD_REQUEST:
                attempt.refuse(name, status)
        return int(told.get("X-Linked-Size") or told["Content-Length"])

    def address(self, name: str) -> str:
        """Return where the Hub is asked for a file."""
        base, repo, commit, folder = self._parts
        path = "/".join([*([folder] if folder else []), *parts_of(name, self.url)])
        return f"{base}/datasets/{repo}/resolve/{commit}/{quote(path)}"

    def keep(self, name: str, address: str) -> None:
        """Remember where a file lies, unless that is the Hub itself."""
        host = urlsplit(address).netloc
        if not host or host == urlsplit(self._parts[0]).netloc:
            return
        if len(self._new) >= REMEMBERED:
            self._old, self._new = self._new, {}
        self._new[name] = address

    def refused(self, name: str, status: int) -> Never:
        """Raise what an answer of the Hub without the file means."""
        if status in _GONE:
            raise FileNotFoundError(f"{self.url}/{name}: no such file")
        where = f"{self.url}/{name}"
        if status in _REFUSED:
            base, repo, _, _ = self._parts
            hint = f"{LOGIN}; if its owner asks for conditions, accept them at {base}/datasets/{repo}"
            raise CredentialsError(f"the Hub answers {status_text(status)}", where=where, hint=hint)
        raise StoreError(f"the Hub answers {status_text(status)}", where=where)


_: type[Readable] = HubFiles


class _ExpiredError(Exception):
    """A kept address is no longer good."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One read: at the address that is known, or by way of the Hub."""

    files: HubFiles
    known: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return self.files.url

    def request(self, name: str) -> tuple[str, dict[str, str]]:
        # The storage behind the Hub is another's: it gets no token, here and when a redirect leads there.
        return (self.known, {}) if self.known else (self.files.address(name), _login())

    def landed(self, name: str, address: str) -> None:
        self.files.keep(name, address)

    def refuse(self, name: str, status: int) -> Never:
        if self.known:
            raise _ExpiredError
        self.files.refused(name, status)


@dataclass(frozen=True, slots=True)
class _Hub:
    """The Hub's word on one repository."""

    endpoint: str
    repo: str

    @property
    def where(self) -> str:
        return f"hf://datasets/{self.repo}"

    def commit(self, revision: str) -> str:
        """Return the commit that a revision names now."""
        status, headers, told = self._ask(f"/api/datasets/{self.repo}/revision/{quote(revision, safe='')}?expand=sha")
        if status == HTTPStatus.OK:
            return str(told["sha"])
        if headers.get("X-Error-Code") == "RevisionNotFound":
            raise StoreError(f"there is no revision '{revision}'", where=self.where, hint=self._revisions(revision))
        raise self._refusal(status, headers.get("X-Error-Message", ""))

    def _refusal(self, status: int, text: str) -> PrepError:
        """Return what an answer without the repository means; the Hub does not tell a private one from none."""
        has_token = bool(_login())
        if status == HTTPStatus.UNAUTHORIZED and has_token:
            return CredentialsError("the Hub does not know this token", where=self.where, hint=LOGIN)
        if status == HTTPStatus.UNAUTHORIZED:
            hint = f"check the name; if it is private, {LOGIN}"
            return CredentialsError("there is no public dataset of this name", where=self.where, hint=hint)
        if status == HTTPStatus.FORBIDDEN:
            hint = f"{LOGIN}; if its owner asks for conditions, accept them at {self.endpoint}/datasets/{self.repo}"
            return CredentialsError(f"the Hub refuses it{f': {text}' if text else ''}", where=self.where, hint=hint)
        if status in _GONE:
            text = "there is no dataset of this name that your login may see"
            return StoreError(text, where=self.where, hint=self._names() or "check the owner and the name")
        return StoreError(f"the Hub answers {status_text(status)}", where=self.where)

    def _revisions(self, revision: str) -> str:
        if re.fullmatch(r"[0-9a-f]{4,39}", revision):
            return "a commit is named by all 40 digits of its hash"
        _, _, told = self._ask(f"/api/datasets/{self.repo}/refs")
        names = [ref["name"] for kind in ("branches", "tags") for ref in told.get(kind, [])]
        return near(revision, names)

    def _names(self) -> str:
        owner, name = self.repo.split("/")
        status, _, told = self._ask(f"/api/datasets?author={quote(owner)}&limit=100")
        names = [str(found["id"]).split("/")[-1] for found in told] if status == HTTPStatus.OK else []
        return near(name, names)

    def _ask(self, path: str) -> tuple[int, Mapping[str, str], Any]:
        patience = Patience(self.where)
        while True:
            with answer("GET", self.endpoint + path, _login(), patience) as response:
                try:
                    body = response.read()
                except HTTPError as error:
                    fault = said(error)
                else:
                    return response.status, response.headers, _parsed(body)
            patience.failed(fault)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return {}


def _form(address: str) -> str:
    """Return how to write an address, with this one's names where they can be seen."""
    path = address.partition("://")[2].strip("/")
    parts = path.split("/")
    if len(parts) == 2 and parts[0] != "datasets":
        return f"did you mean hf://datasets/{path}? The form is {FORM}"
    return f"the form is {FORM}"

"""A dataset repository of the Hugging Face Hub: many files a commit, compared by hash."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from m3leo_prep.core.errors import CredentialsError, MissingDependency, PublishError
from m3leo_prep.ports.target import Limits, Outgoing, Step, Target
from m3leo_prep.publish.limits import hub_limits
from m3leo_prep.publish.targets.patience import patiently

try:
    import huggingface_hub
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.hf_api import RepoFile
except ImportError as error:
    raise MissingDependency("the Hub needs huggingface-hub", hint="pip install 'm3leo-prep[publish]'") from error

from m3leo_prep.publish.targets.hub_errors import LOGIN, RAISED, explained

T = TypeVar("T")

STEP = Step(files=99, bytes=10 * 10**9, is_atomic=True)
"""The Hub recommends less than 100 files a commit, and limits commits by the hour."""
UPLOADS = 8
"""Files sent at once."""
GROUP_BYTES = 10**9
"""Sent before their progress shows; large files go before the commit that names them."""
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class _There:
    """A file in the repository."""

    size: int
    sha256: str
    """Of a large file; empty for one that is kept in git itself."""
    blob: str
    """Git's own hash."""

    def is_same(self, file: Outgoing) -> bool:
        if self.size != file.size:
            return False
        return self.sha256 == file.sha256 if self.sha256 else self.blob == _git_hash(file.path)


class HubTarget:
    """A branch of a dataset repository."""

    def __init__(self, repo: str, *, private: bool, branch: str, say: Callable[[str], None]) -> None:
        """``repo`` is ``OWNER/NAME``; ``say`` is told of waits."""
        self._repo, self._private, self._branch, self._say = repo, private, branch, say
        self._head = ""
        self._tree: dict[str, _There] | None = None
        """What the branch holds; None = not known."""

    @property
    def url(self) -> str:
        """What readers open."""
        return f"hf://datasets/{self._repo}" + (f"@{self._branch}" if self._branch != "main" else "")

    @property
    def page(self) -> str:
        """The repository's web page."""
        tree = f"/tree/{self._branch}" if self._branch != "main" else ""
        return f"{_endpoint()}/datasets/{self._repo}{tree}"

    @property
    def revision(self) -> str:
        """The commit that was made or seen last."""
        return self._head

    @property
    def limits(self) -> Limits:
        """What a repository takes."""
        return hub_limits(private=self._private)

    @property
    def step(self) -> Step:
        """What is sent in one commit."""
        return STEP

    def check(self) -> None:
        """Check that there is a login, that it is not for reading only, and that what shall be private is not public.

        Raises:
            CredentialsError: there is none, it has ended, or it may only read.
            PublishError: the repository is public where a private one is asked for.
        """
        if not huggingface_hub.get_token():
            raise CredentialsError("there is no Hugging Face login here", where=self.url, hint=LOGIN)
        who: Mapping[str, Any] = self._ask(lambda api: api.whoami())
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise CredentialsError("this login may only read", where=self.url, hint=LOGIN)
        self._check_private()

    def prepare(self) -> None:
        """Make the repository and the branch where they do not exist.

        Raises:
            CredentialsError: no login that may write here.
            PublishError: the name is not allowed, or the repository is public where a private one is asked for.
        """
        private = True if self._private else None  # None: what the owner has chosen
        self._ask(lambda api: api.create_repo(self._repo, repo_type="dataset", private=private, exist_ok=True))
        self._check_private()
        if self._branch != "main":
            self._ask(
                lambda api: api.create_branch(self._repo, repo_type="dataset", branch=self._branch, exist_ok=True)
            )
        self._tree = None  # the dataset was checked meanwhile: look again

    def manifest(self) -> bytes | None:
        """Return the manifest that is there, or None."""

        def read(api: HfApi) -> bytes | None:
            if MANIFEST not in self._listing():
                return None
            with TemporaryDirectory() as folder:  # not the client's cache: nobody asks for it again
                path = api.hf_hub_download(
                    self._repo, MANIFEST, repo_type="dataset", revision=self._head, local_dir=folder
                )
                return Path(path).read_bytes()

        return self._ask(read)

    def missing(self, files: Sequence[Outgoing]) -> list[Outgoing]:
        """Return those that the branch does not hold with the same bytes."""
        tree = self._listing()
        return [file for file in files if file.name not in tree or not tree[file.name].is_same(file)]

    def listed(self) -> set[str]:
        """Return the names of all files of the branch."""
        return set(self._listing())

    def send(self, files: Sequence[Outgoing], note: str, on_bytes: Callable[[int], None]) -> None:
        """Make one commit of files, or none; after any failure it is looked first what has arrived."""
        told: set[str] = set()

        def tell(done: Sequence[Outgoing]) -> None:
            for file in done:
                if file.name not in told:
                    told.add(file.name)
                    on_bytes(file.size)

        def work(api: HfApi) -> None:
            left = self.missing(files)
            tell([file for file in files if file not in left])
            if not left:
                return  # the answer to the commit was lost, the commit was not
            additions = [_addition(file) for file in left]
            for group in _groups(left):
                api.preupload_lfs_files(
                    self._repo,
                    additions[group],
                    repo_type="dataset",
                    revision=self._branch,
                    num_threads=UPLOADS,
                    free_memory=False,
                )
                tell(left[group])
            self._commit(api, additions, note)
            self._listing().update({file.name: _There(file.size, file.sha256, "") for file in left})

        self._ask(work)

    def remove(self, names: Sequence[str], note: str) -> None:
        """Remove files, some thousands in a commit."""

        def work(api: HfApi) -> None:
            left = [name for name in names if name in self._listing()]
            if left:
                self._commit(api, [CommitOperationDelete(path_in_repo=name) for name in left], note)
                for name in left:
                    del self._listing()[name]

        self._ask(work)

    def _check_private(self) -> None:
        if self._private and not self._ask(lambda api: bool(api.dataset_info(self._repo).private), absent=True):
            raise PublishError(
                "the repository is there already, and is public",
                where=self.url,
                hint=f"make it private in its settings ({_endpoint()}/datasets/{self._repo}/settings), "
                "give another name, or leave out --private",
            )

    def _commit(self, api: HfApi, operations: Sequence[Any], note: str) -> None:
        """Make a commit on top of what was looked at, so that nobody's work is undone unseen."""
        made = api.create_commit(
            self._repo,
            operations,
            commit_message=note,
            repo_type="dataset",
            revision=self._branch,
            parent_commit=self._head or None,
        )
        self._head = made.oid

    def _listing(self) -> dict[str, _There]:
        if self._tree is None:
            nothing: dict[str, _There] = {}
            self._tree = self._ask(self._look, absent=nothing)
        return self._tree

    def _look(self, api: HfApi) -> dict[str, _There]:
        refs = api.list_repo_refs(self._repo, repo_type="dataset")
        heads: Mapping[str, str] = {branch.name: branch.target_commit for branch in refs.branches}
        self._head = heads.get(self._branch, "")
        if not self._head:
            return {}
        entries = api.list_repo_tree(self._repo, repo_type="dataset", revision=self._head, recursive=True)
        return {
            entry.path: _There(entry.size, entry.lfs.sha256 if entry.lfs else "", entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    def _ask(self, work: Callable[[HfApi], T], **absent: T) -> T:
        """Return what the Hub answers; with ``absent``, that where repository, branch or file is not there."""

        def once() -> T:
            token = huggingface_hub.get_token()
            api = HfApi(endpoint=_endpoint(), token=token or False)
            try:
                with _quiet(self._say):
                    return work(api)
            except (RepositoryNotFoundError, RevisionNotFoundError) as error:
                status = error.response.status_code
                # Without a login, the Hub says 401 of what does not exist.
                if absent and (status == HTTPStatus.NOT_FOUND or not token):
                    return absent["absent"]
                failure = explained(error, self.url)
                raise failure from error
            except RAISED as error:
                self._tree = None  # who knows what has arrived
                failure = explained(error, self.url)
                raise failure from error

        return patiently(once, self._say)


_: type[Target] = HubTarget


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or huggingface_hub.constants.ENDPOINT


def _groups(files: Sequence[Outgoing]) -> Iterator[slice]:
    """Yield runs of files of about ``GROUP_BYTES``."""
    first = n_bytes = 0
    for place, file in enumerate(files):
        n_bytes += file.size
        if n_bytes >= GROUP_BYTES or place == len(files) - 1:
            yield slice(first, place + 1)
            first, n_bytes = place + 1, 0


def _addition(file: Outgoing) -> CommitOperationAdd:
    addition = CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=str(file.path))
    addition.upload_info.sha256 = bytes.fromhex(file.sha256)  # known already: the client need not read the file twice
    return addition


def _git_hash(path: Path) -> str:
    """Return git's hash of a file: SHA-1 of ``blob SIZE NUL`` and its bytes (git-scm.com, Git Objects)."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def _quiet(say: Callable[[str], None]) -> Iterator[None]:
    """A context in which the client draws no bars and logs no addresses, which may be signed."""
    client: Any = huggingface_hub.utils
    level, had_bars = client.logging.get_verbosity(), not client.are_progress_bars_disabled()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.logging.set_verbosity_error()
        if had_bars:
            client.disable_progress_bars()
        try:
            yield
        finally:
            client.logging.set_verbosity(level)
            if had_bars:
                client.enable_progress_bars()
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            say(str(warning.message))

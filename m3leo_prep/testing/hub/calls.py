"""One call of the Hub, ready for whoever answers it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from m3leo_prep.testing.answers import Answer
from m3leo_prep.testing.hub.answers import Refused
from m3leo_prep.testing.hub.holdings import Holdings
from m3leo_prep.testing.hub.repositories import Commit, Repository


@dataclass(frozen=True, slots=True)
class Call:
    """What a route's function is given."""

    hub: Holdings
    base: str
    """Address of the Hub, as the caller wrote it."""
    cdn: str
    """Address under which large files are fetched: another host name."""
    token: str
    parts: Mapping[str, str]
    """What the path says: ``repo``, ``rev``, ``path``, ``oid`` ..."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    pieces: Callable[[], Iterator[bytes]]
    """The body, once."""
    drop: bool = False
    """An upload is to be forgotten: a fault."""

    @property
    def repo_id(self) -> str:
        """``owner/name``."""
        return self.parts["repo"]

    def body(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.pieces())

    def json(self) -> Any:
        """Return the body, which must be JSON.

        Raises:
            Refused: it is not.
        """
        try:
            return json.loads(self.body() or b"{}")
        except ValueError as error:
            raise Refused(400, f"Invalid JSON: {error}") from None

    def commit_of(self, repo: Repository) -> Commit:
        """Return the commit that the path names.

        Raises:
            Refused: there is none.
        """
        revision = self.parts.get("rev") or "main"
        commit = repo.find(revision)
        if commit is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit


Route = Callable[[Call], Answer]

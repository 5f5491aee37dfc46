"""The port through which a finished dataset is published: what is there already, and what is sent in one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file to publish."""

    name: str
    """In the dataset: a relative path with ``/``."""
    path: Path
    """On this machine."""
    size: int
    """Bytes."""
    sha256: str
    """Hex digest of its bytes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a place can take; None where it names no limit."""

    files: int | None = None
    """In all."""
    entries: int | None = None
    """In one folder."""
    file_bytes: int | None = None
    """In one file."""
    free_bytes: int | None = None
    """In all, before somebody pays or asks; more is warned of, not refused."""
    source: str = ""
    """Where these figures are from."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is sent at once, at most."""

    files: int
    bytes: int
    """One file may be larger: then it goes alone."""
    is_atomic: bool
    """True where all files of a step appear at the same moment."""


@runtime_checkable
class Target(Protocol):
    """A place where a dataset is published."""

    @property
    def url(self) -> str:
        """What readers open: ``hf://datasets/…``, ``s3://…`` or a folder; without secrets."""
        ...

    @property
    def page(self) -> str:
        """The web page where people look at it, or nothing."""
        ...

    @property
    def revision(self) -> str:
        """The commit that was sent or seen last, or nothing where the place keeps no history."""
        ...

    @property
    def limits(self) -> Limits:
        """What it can take."""
        ...

    @property
    def step(self) -> Step:
        """What is sent at once, at most."""
        ...

    def check(self) -> None:
        """Check, without writing anything, that there is a login which may write; nothing where none is needed.

        Raises:
            CredentialsError: there is none.
            PublishError: nobody answers, or the place is not as it is asked for.
        """
        ...

    def prepare(self) -> None:
        """Make the place where it does not exist, and check that it may be written.

        Raises:
            CredentialsError: no or a refused login, or no permission to write.
            PublishError: it cannot be made, such as a name that is not allowed.
        """
        ...

    def manifest(self) -> bytes | None:
        """Return the ``manifest.json`` that is there, or None; also before the place is made.

        Raises:
            CredentialsError: it may not be read.
            PublishError: nobody answers.
        """
        ...

    def missing(self, files: Sequence[Outgoing]) -> list[Outgoing]:
        """Return those that are not there yet with the same bytes, compared by hash, in their order."""
        ...

    def send(self, files: Sequence[Outgoing], note: str, on_bytes: Callable[[int], None]) -> None:
        """Send one step; where steps are not atomic, the files appear in no order but for the last, which is last.

        Retries what may pass by itself. Sending again what is there already does no harm.

        Args:
            files: no more than ``step`` says.
            note: what the step is, for a history.
            on_bytes: called with the size of each file that is done, from any thread.

        Raises:
            CredentialsError: the login ended, or may not write.
            PublishError: it was refused, or tried as often as makes sense; sending again goes on from there.
        """
        ...

    def listed(self) -> set[str]:
        """Return the names of all files there; also before the place is made."""
        ...

    def remove(self, names: Sequence[str], note: str) -> None:
        """Remove files that the dataset no longer has; absent is fine."""
        ...

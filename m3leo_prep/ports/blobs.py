"""The ports through which bytes go to rest, and come back from wherever they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class Readable(Protocol):
    """Named byte strings that can be read, wherever they are; names are relative paths with ``/``.

    Safe in threads, after a fork, and when pickled.
    """

    @property
    def url(self) -> str:
        """Where they are, for people: a folder or an address, without secrets."""
        ...

    @property
    def is_remote(self) -> bool:
        """True where each read waits for a network: whoever reads much asks for several things at once."""
        ...

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes ``start ... start + length`` (to the end if None; negative start counts from the end).

        A range that reaches beyond the blob returns what is there.

        Raises:
            FileNotFoundError: no such blob.
            StoreError: it could not be read, after as many attempts as make sense.
            CredentialsError: it may not be read with these credentials, or without any.
        """
        ...

    def size(self, name: str) -> int | None:
        """Return the size in bytes, or None if there is no such blob; errors as in ``get``."""
        ...


@runtime_checkable
class Blobs(Readable, Protocol):
    """A flat space of named byte strings that can be read and written."""

    def put(
        self, name: str, data: bytes | memoryview | Iterable[bytes | memoryview], *, if_absent: bool = False
    ) -> None:
        """Write all of ``data`` or nothing; durable when it returns.

        Parts of an iterable are written one after the other, so that a large blob never lies in memory twice; if it
        raises, nothing is written. ``if_absent`` raises FileExistsError where the blob exists.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the names under a folder, sorted; half-written blobs are never seen."""
        ...

    def delete(self, name: str) -> None:
        """Remove a blob; absent is fine."""
        ...

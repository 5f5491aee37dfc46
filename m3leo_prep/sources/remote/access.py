"""How the files of one provider are opened: the keys, the endpoint, and the limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from m3leo_prep.sources.http.auth import Auth


@dataclass(frozen=True, slots=True)
class Keys:
    """Of an object store; never shown."""

    access: str
    secret: str

    def __repr__(self) -> str:
        return "Keys(...)"


class Signing(Protocol):
    """Addresses that open for some time only, such as Planetary Computer's."""

    def __hash__(self) -> int:
        """Return what is equal for equal ways of signing."""
        ...

    def signed(self, address: str) -> str:
        """Return the address with a signature that holds for at least a minute; asked for at each request anew."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """How files at ``s3://BUCKET/KEY`` and ``https://HOST/PATH`` are opened, and local paths without any of it.

    Equal ones share connections, limits and what is known of files, in all threads of a process. Made when reading
    begins and never stored: it may hold keys.
    """

    name: str
    """Of the provider, for messages and for the limits: ``cdse``, ``earth-search`` ..."""
    endpoint: str = ""
    """Of the object store; empty = Amazon's in ``region``."""
    region: str = "us-east-1"
    keys: Keys | None = None
    """None = requests are not signed: the buckets are public."""
    auth: Auth | None = None
    """The login that requests by https carry."""
    signing: Signing | None = None
    connections: int = 16
    """Requests under way at once, of all threads."""
    per_minute: int = 0
    """Requests begun in any minute; 0 = no limit is known."""
    shared: str = ""
    """Whose limits these are, among all processes of this user on this machine; empty = each process has its own."""
    hint: str = "run the same command again later"
    """What a person does whose access is refused."""
    endpoints: Mapping[str, str] | None = None
    """By bucket, an endpoint in place of the one above."""

    def __hash__(self) -> int:
        return hash((self.name, self.endpoint, self.region, self.keys, self.auth, self.signing))

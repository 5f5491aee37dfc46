"""How a provider's login meets requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable


class Auth(Protocol):
    """A login. It is asked at each hop of a redirect anew, so that no other server ever sees it.

    Equal logins share their cookies within a process: instances are hashable, and their repr shows no secret.
    """

    @property
    def hint(self) -> str:
        """What a person whose login is refused should do."""
        ...

    def __hash__(self) -> int:
        """Return what is equal for equal logins."""
        ...

    def headers(self, host: str) -> Mapping[str, str]:
        """Return what a request to a host carries, such as ``Authorization``; nothing for hosts of others.

        Args:
            host: in small letters, with a port unless it is the usual one. Only asked for connections by https.
        """
        ...


@runtime_checkable
class Renewing(Auth, Protocol):
    """A login that may hold though a server refuses it, such as one by tokens that end."""

    def renew(self, headers: Mapping[str, str]) -> bool:
        """Return whether there is something else to show than these headers, which a server refused (401)."""
        ...

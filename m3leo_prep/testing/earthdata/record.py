"""What was asked of the stand-in, request by request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Request:
    """One request, as it came in and was answered."""

    method: str
    """In capitals."""
    host: str
    """The host name that was asked for, without the port: ``localhost`` or, of signed addresses, ``127.0.0.1``."""
    path: str
    """Without the query, unquoted."""
    route: str
    """Which service it is: ``search``, ``token``, ``authorize``, ``data``, ``signed``, ``jobs``, ``bucket`` ...; see
    ``routes``."""
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of the address and of a form that came as the body."""
    range: str = ""
    """The ``Range`` header."""
    authorized: bool = False
    """A token or a password came with it."""
    status: int = 0
    """Of the answer; 0 where the connection ended without one."""
    bytes: int = 0
    """Of the answer's body."""
    fault: str = ""
    """Kind of the fault that it met."""

"""What was asked of the stand-in, request by request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Request:
    """One request, as it came in and was answered."""

    method: str
    """In capitals."""
    path: str
    """Without the query, unquoted."""
    route: str
    """Which call of the Hub it is: ``commit``, ``lfs_put``, ``resolve``, ``cdn`` ...; see ``routes``."""
    repo: str = ""
    """``owner/name``, where the path names one."""
    name: str = ""
    """File in the repository, or hash of the object."""
    range: str = ""
    """The ``Range`` header."""
    authorized: bool = False
    """A token came with it."""
    received: int = 0
    """Bytes of its body."""
    status: int = 0
    """Of the answer; 0 where the connection ended without one."""
    bytes: int = 0
    """Of the answer's body."""
    fault: str = ""
    """Kind of the fault that it met."""

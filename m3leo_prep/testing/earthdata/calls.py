"""One call of a service, ready for whoever answers it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from m3leo_prep.testing.answers import Answer, to_json
from m3leo_prep.testing.earthdata.faults import Fault
from m3leo_prep.testing.earthdata.holdings import Holdings
from m3leo_prep.testing.earthdata.record import Request


@dataclass(frozen=True, slots=True)
class Call:
    """What a route's function is given."""

    held: Holdings
    request: Request
    base: str
    """Address of the stand-in by which services name each other: ``https://localhost:PORT``."""
    signed: str
    """The same under the name of the host of signed addresses: ``https://127.0.0.1:PORT``."""
    parts: Mapping[str, str]
    """What the path says."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    fault: Fault | None
    """One of the catalogue's pages."""

    def one(self, name: str, otherwise: str = "") -> str:
        """Return the first value of a name in the query or form."""
        return next(iter(self.request.query.get(name, ())), otherwise)

    def all(self, *names: str) -> Sequence[str]:
        """Return the values of names, with and without ``[]``."""
        query = self.request.query
        return [value for name in names for key in (name, f"{name}[]") for value in query.get(key, ())]

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body or b"{}")


Route = Callable[[Call], Answer]


def refused(status: int, text: str, **headers: str) -> Answer:
    """Return an error as JSON, by all the names under which these services' clients look for its text."""
    return to_json({"errors": [text], "detail": text, "error": text}, status, **headers)

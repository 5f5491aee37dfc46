"""Services without a login: Earth Search, Planetary Computer, its files and the tokens that open them.

As on the real ones, each file of Planetary Computer lies in a container of an account of Azure's blob storage, and is
refused without a token of that container, which anybody may ask for (https://planetarycomputer.microsoft.com/docs/
concepts/sas). A file at ``https://ACCOUNT.blob.core.windows.net/CONTAINER/KEY`` is at ``/blob/ACCOUNT/CONTAINER/KEY``.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import ssl
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from m3leo_prep.testing import serving
from m3leo_prep.testing.answers import Answer, file_part, to_json
from m3leo_prep.testing.earthdata.faults import Fault
from m3leo_prep.testing.earthdata.record import Request
from m3leo_prep.testing.planned import Plan

ROUTES = ("earth-search", "planetary-computer", "sas", "blob")
_EARTH_SEARCH, _PLANETARY_COMPUTER = "/earth-search/v1", "/api/stac/v1"
_SAS, _BLOB = "/api/sas/v1/token/", "/blob/"
_REFUSED = (
    '<?xml version="1.0" encoding="utf-8"?><Error><Code>PublicAccessNotPermitted</Code>'
    "<Message>Public access is not permitted on this storage account.</Message></Error>"
)


class OpenServices:
    """A running server over TLS, from its making until ``stop``.

    Attributes:
        requests: what was asked, in order of arrival.
        faults: call it to plan a fault of ``testing.earthdata.faults``; routes are those of ``ROUTES``.
        files: the folder of blobs: a file's place is ``ACCOUNT/CONTAINER/KEY`` below it.
        token_seconds: that a token opens files.
        latency: seconds that every answer waits.
    """

    def __init__(self, port: int, tls: ssl.SSLContext, files: Path, catalogue: str = "") -> None:
        """Listen on this machine; port 0 takes any that is free.

        Args:
            port: to listen on.
            tls: the server's certificate.
            files: see above.
            catalogue: address of the STAC server behind; empty = there is none.
        """
        self.files, self._catalogue = files, catalogue.rstrip("/")
        self._key = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._server = _Server(self, port, tls)
        self.reset()
        self._server.start()

    def reset(self) -> None:
        """Forget what was asked and is to go wrong."""
        self.requests: list[Request] = []
        self.faults: Plan[Fault, Request] = Plan()
        self._pages: dict[str, list[object]] = {}
        self.token_seconds, self.latency = 3600.0, 0.0

    def stop(self) -> None:
        """Answer no more."""
        self._server.stop()

    @property
    def host(self) -> str:
        """Host and port: ``localhost:8444``."""
        return f"localhost:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which this package finds the services."""
        return {
            "M3LEO_PREP_EARTH_SEARCH": f"https://{self.host}{_EARTH_SEARCH}",
            "M3LEO_PREP_PLANETARY_COMPUTER": f"https://{self.host}{_PLANETARY_COMPUTER}",
        }

    def begin(self, request: Request) -> Fault | None:
        """Keep the record of a request that has come in, and return the fault that it meets."""
        with self._lock:
            self.requests.append(request)
        return self.faults.take(request)

    def answer(self, request: Request, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return the answer to a request that no fault meets."""
        match request.route:
            case "earth-search" | "planetary-computer":
                return self._forwarded(request, target, headers, body)
            case "sas":
                return self._token(request.path.removeprefix(_SAS))
            case "blob":
                return self._blob(request, headers)
        return to_json({"detail": "Not Found"}, 404)

    def spoiled(self, request: Request, answer: Answer, fault: Fault) -> Answer:
        """Return a page of items with a fault of lists, and keep the true one for whoever gets it again."""
        found = json.loads(answer.body)
        rows = list(found.get("features", ()))
        before = self._pages.get(request.route, rows)
        self._pages[request.route] = rows
        match fault.kind:
            case "short":
                rows = rows[: -fault.size]
            case "twice":
                rows = [*rows[:-1], *rows[:1]]
            case "reordered":
                rows = rows[::-1]
            case "repeated":
                rows = before
        return to_json({**found, "features": rows}, answer.status)

    def _forwarded(self, request: Request, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return what the STAC server answers, with its links leading here."""
        if not self._catalogue:
            return to_json({"detail": "stand-in: there is no STAC server behind it"}, 404)
        kind = {"Content-Type": headers.get("content-type", "application/json")} if body else {}
        asked = urllib.request.Request(  # noqa: S310  our own server on this machine
            f"{self._catalogue}{target}", body or None, kind, method=request.method
        )
        try:
            with urllib.request.urlopen(asked, timeout=60) as response:  # noqa: S310  our own server on this machine
                status, told, found = response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            status, told, found = error.code, error.headers, error.read()
        found = found.replace(self._catalogue.encode(), f"https://{self.host}".encode())
        return Answer(found, status, told.get("Content-Type", "application/json"))

    def _token(self, container: str) -> Answer:
        """Return a token of a container ``ACCOUNT/CONTAINER``, as the real service forms it."""
        if not (self.files / container).is_dir() or container.count("/") != 1:
            return to_json({"detail": "Storage account or container not found"}, 404)
        until = datetime.now(UTC) + timedelta(seconds=self.token_seconds)
        expiry = f"{until:%Y-%m-%dT%H:%M:%SZ}"
        signature = self._signature(container, expiry)
        return to_json({"msft:expiry": expiry, "token": f"se={expiry}&sp=rl&sv=2024-05-04&sr=c&sig={signature}"})

    def _blob(self, request: Request, headers: Mapping[str, str]) -> Answer:
        """Return a file or a part of it, to who shows a token of its container that still holds."""
        path = request.path.removeprefix(_BLOB)
        container = "/".join(path.split("/")[:2])
        expiry, signature = (next(iter(request.query.get(name, ())), "") for name in ("se", "sig"))
        if signature != self._signature(container, expiry):
            return Answer(_REFUSED.encode(), 409, "application/xml")
        if datetime.fromisoformat(expiry) < datetime.now(UTC):
            return Answer(_REFUSED.replace("PublicAccessNotPermitted", "AuthenticationFailed").encode(), 403)
        file = self.files / path
        if ".." in Path(path).parts or not file.is_file():
            return Answer(b"<Error><Code>BlobNotFound</Code></Error>", 404, "application/xml")
        return file_part(file, headers.get("range", ""), {})

    def _signature(self, container: str, expiry: str) -> str:
        return hashlib.sha256(f"{self._key} {container} {expiry}".encode()).hexdigest()


class _Server(serving.Server):
    def __init__(self, owner: OpenServices, port: int, tls: ssl.SSLContext) -> None:
        self.owner = owner
        super().__init__(port, _Handler, tls=tls)


class _Handler(serving.Handler):
    server: _Server

    def respond(self) -> None:
        owner = self.server.owner
        headers = {key.lower(): value for key, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length") or 0))
        asked = urlsplit(self.path)
        path = unquote(asked.path)
        host = headers.get("host", "").rpartition(":")[0]
        request = Request(self.command, host, path, _route(path), parse_qs(asked.query))
        request.range, request.authorized = headers.get("range", ""), "authorization" in headers
        fault = owner.begin(request)
        request.fault = fault.kind if fault else ""
        if fault and fault.kind == "reset":
            self.reset()
            return
        time.sleep(owner.latency + (fault.seconds if fault else 0.0))
        if fault and fault.kind == "unranged":
            headers["range"] = ""
        answer = self._answer(request, headers, body, fault)
        size = answer.size - (fault.size if fault and fault.kind == "truncated" else 0)
        ends = min(fault.size, size) if fault and fault.kind == "cut" else size
        # Before the answer: a client that has it may look at the record.
        request.status, request.bytes = answer.status, 0 if self.command == "HEAD" else ends
        self.send_answer(answer, size=size, ends=ends, flip=fault.size if fault and fault.kind == "flipped" else None)

    def _answer(self, request: Request, headers: Mapping[str, str], body: bytes, fault: Fault | None) -> Answer:
        owner = self.server.owner
        if fault and fault.kind == "error":
            return Answer(fault.text.encode(), fault.status, fault.content_type, dict(fault.headers))
        try:
            answer = owner.answer(request, self.path, headers, body)
            lists = request.route in {"earth-search", "planetary-computer"} and answer.status == 200
            return (
                owner.spoiled(request, answer, fault or Fault("slow"))
                if lists and b'"features"' in answer.body
                else answer
            )
        except Exception as error:  # noqa: BLE001 a mistake of ours: a dropped connection would be asked again for long
            traceback.print_exc()
            return to_json({"detail": f"stand-in: its own mistake: {type(error).__name__}: {error}"}, 400)


def _route(path: str) -> str:
    """Return the name of what is asked for."""
    for start, route in zip((_EARTH_SEARCH, _PLANETARY_COMPUTER, _SAS, _BLOB), ROUTES, strict=True):
        if f"{path}/".startswith(f"{start.rstrip('/')}/"):
            return route
    return "unknown"

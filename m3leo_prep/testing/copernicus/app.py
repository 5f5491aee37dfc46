"""The stand-in's services but for its object store: identity, catalogue by OData, downloads, and the front of STAC.

What it answers is in the documentation's pages on tokens, OData and quotas (https://documentation.dataspace.copernicus.eu)
and in recorded answers. ``localhost`` is the name of all services; files come from ``127.0.0.1``, to which their
addresses redirect, as the real catalogue sends on to another host: a client must show its token there again.
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from m3leo_prep.testing import serving
from m3leo_prep.testing.answers import Answer, file_part, to_json
from m3leo_prep.testing.copernicus.catalogue_odata import page
from m3leo_prep.testing.copernicus.identity import Identity
from m3leo_prep.testing.earthdata.faults import Fault
from m3leo_prep.testing.earthdata.record import Request
from m3leo_prep.testing.planned import Plan

TOKEN_PATH = "/auth/realms/CDSE/protocol/openid-connect/token"  # noqa: S105  (an address)
CONNECTIONS, PER_MINUTE = 4, 2000
_PRODUCT = re.compile(
    r"/odata/v1/Products\((?P<id>[0-9a-f-]{36})\)(?P<nodes>(?:/Nodes\([^/]+\))*)(?P<what>/\$value|/Nodes)"
)
_NODE = re.compile(r"/Nodes\(([^/]+)\)")
_BUSY = {"trace-id": "0", "code": "DAT-ZIP-100", "message": "Max session number exceeded"}
"""What the real one answers: https://github.com/CS-SI/eodag/issues/2019."""

Stac = Callable[[str, str, bytes], Answer]
"""Method, path below ``/v1`` with its query, and body, to an answer."""


class CopernicusApp:
    """A running server over TLS, as a context: ``with CopernicusApp() as app: app.add(row_of(name, start), path)``.

    Attributes:
        requests: what was asked, in order of arrival.
        faults: call it to plan a fault of ``testing.earthdata.faults``; routes are ``token``, ``products``, ``value``,
            ``node``, ``redirect`` and ``stac``.
        identity: who may log in; see ``Identity``.
        connections, per_minute: of files, at once and in any minute; more are answered with 429.
        most_at_once, refused: files that were ever under way at one time, and requests answered with that 429.
        ranges: False = files come whole, whatever part is asked for.
        latency: seconds that every answer waits.
        stac: the root of the STAC API behind it, or a function that answers; empty = there is none.
    """

    def __init__(self, folder: Path | None = None, *, port: int = 0, stac: str | Stac = "") -> None:
        """Listen on this machine; port 0 takes any that is free.

        Args:
            folder: where archives and the certificate are until the end; None = a temporary one.
            port: to listen on.
            stac: see above.
        """
        import trustme

        self.stac = stac
        self._lock = threading.Lock()
        authority = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(tls)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            folder = folder.resolve()
        with contextlib.ExitStack() as made:  # undone where the port is taken
            self._server = made.enter_context(_Server(self, port, tls))
            self._folder = Path(made.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="copernicus")))
            self.authority = self._folder / "authority.pem"
            authority.cert_pem.write_to_path(str(self.authority))
            self.reset()
            self._open = made.pop_all()
        self._server.start()

    def reset(self) -> None:
        """Forget all that is held, was asked and is to go wrong; address, certificate and STAC stay."""
        self.requests: list[Request] = []
        self.faults: Plan[Fault, Request] = Plan()
        self.identity = Identity()
        self.connections, self.per_minute = CONNECTIONS, PER_MINUTE
        self.most_at_once = self.refused = 0
        self.ranges, self.latency = True, 0.0
        self.held: dict[str, tuple[Mapping[str, Any], Path | None]] = {}
        self._under_way = 0
        self._begun: deque[float] = deque()
        self._pages: dict[str, list[Any]] = {}

    @property
    def host(self) -> str:
        """Host and port of all services: ``localhost:8443``."""
        return f"localhost:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which this package and the clients it uses find the stand-in, trust it and log in."""
        return {
            "M3LEO_PREP_CDSE": self.host,
            "SSL_CERT_FILE": str(self.authority),
            "REQUESTS_CA_BUNDLE": str(self.authority),
            "CDSE_USERNAME": self.identity.user,
            "CDSE_PASSWORD": self.identity.password,
        }

    def add(self, row: Mapping[str, Any], path: Path | None = None) -> None:
        """Hold a product.

        Args:
            row: as the catalogue tells of it: ``catalogue_odata.row_of``, or a recorded one.
            path: its folder ``.SAFE``, or an archive of it; None = nothing can be fetched.
        """
        with self._lock:
            self.held[row["Id"]] = row, path

    def value_url(self, row: Mapping[str, Any]) -> str:
        """Return the address of a product's archive."""
        return f"https://{self.host}/odata/v1/Products({row['Id']})/$value"

    def node_url(self, row: Mapping[str, Any], path: str) -> str:
        """Return the address of a product's file, such as ``measurement/NAME.tiff``."""
        nodes = "".join(f"/Nodes({quote(part)})" for part in (row["Name"], *path.split("/")))
        return f"https://{self.host}/odata/v1/Products({row['Id']}){nodes}/$value"

    def asked(self, route: str) -> list[Request]:
        """Return the requests that a route got."""
        with self._lock:
            return [request for request in self.requests if request.route == route]

    @property
    def counts(self) -> Counter[str]:
        """How many requests each route got."""
        with self._lock:
            return Counter(request.route for request in self.requests)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self._open.close()

    def begin(self, request: Request) -> Fault | None:
        """Keep the record of a request that has come in, and return the fault that it meets."""
        with self._lock:
            self.requests.append(request)
        return self.faults.take(request)

    @contextmanager
    def under_way(self, route: str) -> Iterator[bool]:
        """A context that a request is in until its answer is sent; whether there is room for it."""
        if route not in {"value", "node"}:
            yield True
            return
        with self._lock:
            now = time.monotonic()
            while self._begun and self._begun[0] < now - 60:
                self._begun.popleft()
            self._begun.append(now)
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
            has_room = self._under_way <= self.connections and len(self._begun) <= self.per_minute
            self.refused += not has_room
        try:
            yield has_room
        finally:
            with self._lock:
                self._under_way -= 1

    def answer(self, request: Request, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return the answer to a request that no fault meets."""
        match request.route:
            case "token":
                return self.identity.token(parse_qs(body.decode()))
            case "products":
                with self._lock:
                    rows = [row for row, _ in self.held.values()]
                return page(rows, request.query, f"https://{self.host}")
            case "redirect":
                port = self._server.server_port
                return Answer(b"", 301, "text/html", {"Location": f"https://127.0.0.1:{port}{target}"})
            case "value" | "node":
                return self.identity.refusal(headers.get("authorization", "")) or self._file(request, headers)
            case "nodes":
                return self._nodes(request.path)
            case "stac":
                return self._forwarded(request.method, target.removeprefix("/v1"), headers, body)
        return to_json({"detail": "Not Found"}, 404)

    def spoiled(self, request: Request, answer: Answer, fault: Fault) -> Answer:
        """Return a page of a list with a fault of lists."""
        found = json.loads(answer.body)
        key = "features" if "features" in found else "value"
        rows = found[key]
        match fault.kind:
            case "short":
                rows = rows[: -fault.size]
            case "twice":
                rows = [*rows[:-1], *rows[:1]]
            case "reordered":
                rows = rows[::-1]
            case "repeated":
                rows = self._pages.get(request.route, rows)
        return to_json({**found, key: rows}, answer.status)

    def remember(self, request: Request, answer: Answer) -> None:
        """Keep a page for whoever gets it in place of the next."""
        if request.route in {"products", "stac"} and answer.status == 200:
            with contextlib.suppress(ValueError):
                found = json.loads(answer.body)
                self._pages[request.route] = found.get("features", found.get("value", []))

    def _file(self, request: Request, headers: Mapping[str, str]) -> Answer:
        found = _PRODUCT.fullmatch(request.path)
        assert found is not None
        row, path = self.held.get(found["id"], ({}, None))
        if path is None or not row["Online"]:
            return to_json({"detail": "Product not found in catalogue"}, 404)
        if request.route == "value":
            file, told = self._archive(path), {"Content-Disposition": f"attachment; filename={row['Name']}.zip"}
        else:
            file, told = self._opened(path).joinpath(*_NODE.findall(found["nodes"])[1:]), {}
        if not file.is_file():
            return to_json({"detail": "Not Found"}, 404)
        return file_part(file, headers.get("range", "") if self.ranges else "", told)

    def _nodes(self, path: str) -> Answer:
        """Return what is in a folder of a product; files have nothing in them."""
        found = _PRODUCT.fullmatch(path)
        assert found is not None
        row, place = self.held.get(found["id"], ({}, None))
        if place is None:
            return to_json({"detail": "Product not found in catalogue"}, 404)
        parts = _NODE.findall(found["nodes"])
        folder = self._opened(place).joinpath(*parts[1:])
        inside = sorted(folder.iterdir()) if parts and folder.is_dir() else [] if parts else [folder]
        listed = [
            {
                "Id": row["Name"] if not parts else one.name,
                "Name": row["Name"] if not parts else one.name,
                "ContentLength": one.stat().st_size if one.is_file() else 0,
                "ChildrenNumber": len(list(one.iterdir())) if one.is_dir() else 0,
            }
            for one in inside
        ]
        return to_json({"result": listed})

    def _archive(self, path: Path) -> Path:
        """Return a product's archive, made of its folder if it is one."""
        if path.is_file():
            return path
        made = self._folder / f"{path.name}.zip"
        with self._lock:
            if not made.exists():
                with zipfile.ZipFile(made, "w") as archive:
                    for file in sorted(path.rglob("*")):
                        archive.write(file, Path(path.name, file.relative_to(path)))
        return made

    def _opened(self, path: Path) -> Path:
        """Return a product's folder, out of its archive if that is what there is."""
        if path.is_dir():
            return path
        made = self._folder / f"{path.name}.opened"
        with self._lock:
            if not made.exists():
                with zipfile.ZipFile(path) as archive:
                    archive.extractall(made)
        return next(made.iterdir())

    def _forwarded(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return what the STAC API behind answers, with its links leading here."""
        if callable(self.stac):
            return self.stac(method, target, body)
        if not self.stac:
            return to_json({"detail": "stand-in: there is no STAC API behind it"}, 404)
        upstream = self.stac.rstrip("/")
        kind = {"Content-Type": headers.get("content-type", "application/json")} if body else {}
        request = urllib.request.Request(f"{upstream}{target}", body or None, kind, method=method)  # noqa: S310  ours
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310  our own server on this machine
                status, told, found = response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            status, told, found = error.code, error.headers, error.read()
        found = found.replace(upstream.encode(), f"https://{self.host}/v1".encode())
        return Answer(found, status, told.get("Content-Type", "application/json"))


class _Server(serving.Server):
    def __init__(self, owner: CopernicusApp, port: int, tls: ssl.SSLContext) -> None:
        self.owner = owner
        super().__init__(port, _Handler, tls=tls)


class _Handler(serving.Handler):
    server: _Server

    def respond(self) -> None:
        owner = self.server.owner
        headers = {key.lower(): value for key, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length") or 0))
        asked, host = urlsplit(self.path), headers.get("host", "").rpartition(":")[0]
        path = unquote(asked.path)
        request = Request(self.command, host, path, _route(self.command, path, host), parse_qs(asked.query))
        request.range, request.authorized = headers.get("range", ""), "authorization" in headers
        with owner.under_way(request.route) as has_room:
            fault = owner.begin(request)
            request.fault = fault.kind if fault else ""
            if fault and fault.kind == "reset":
                self.reset()
                return
            time.sleep(owner.latency + (fault.seconds if fault else 0.0))
            if fault and fault.kind == "unranged":
                headers["range"] = ""
            if has_room:
                self._send(request, self._answer(request, headers, body, fault), fault)
            else:
                self._send(request, to_json(_BUSY, 429), None)

    def _answer(self, request: Request, headers: Mapping[str, str], body: bytes, fault: Fault | None) -> Answer:
        owner = self.server.owner
        if fault and fault.kind == "error":
            return Answer(fault.text.encode(), fault.status, fault.content_type, dict(fault.headers))
        try:
            answer = owner.answer(request, self.path, headers, body)
            if fault and fault.kind in {"short", "twice", "reordered", "repeated"}:
                return owner.spoiled(request, answer, fault)
        except Exception as error:  # noqa: BLE001 a mistake of ours: a dropped connection would be asked again for long
            traceback.print_exc()
            return to_json({"detail": f"stand-in: its own mistake: {type(error).__name__}: {error}"}, 400)
        owner.remember(request, answer)
        return answer

    def _send(self, request: Request, answer: Answer, fault: Fault | None) -> None:
        size, ends = answer.size, answer.size
        if fault and fault.kind == "truncated":
            size = ends = max(0, size - fault.size)
        elif fault and fault.kind == "cut":
            ends = min(fault.size, size)
        # Before the answer: a client that has it may look at the record.
        request.status = answer.status
        request.bytes = 0 if self.command == "HEAD" else ends
        self.send_answer(answer, size=size, ends=ends, flip=fault.size if fault and fault.kind == "flipped" else None)


def _route(method: str, path: str, host: str) -> str:
    """Return the name of what is asked for."""
    if method == "POST" and path == TOKEN_PATH:
        return "token"
    if path == "/odata/v1/Products":
        return "products"
    if path == "/v1" or path.startswith("/v1/"):
        return "stac"
    found = _PRODUCT.fullmatch(path)
    if found is None:
        return "unknown"
    if found["what"] == "/Nodes":
        return "nodes"
    if host != "127.0.0.1":
        return "redirect"
    return "node" if found["nodes"] else "value"

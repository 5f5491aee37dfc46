"""The stand-in's HTTP side: threads, kept connections, limits, latency, faults, records."""

from __future__ import annotations

import json
import re
import threading
import time
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from m3leo_prep.testing.earth_engine.archive import Archive
from m3leo_prep.testing.earth_engine.serving.answers import PUBLIC, Answer, Service, discovery
from m3leo_prep.testing.earth_engine.serving.faults import Fault, Faults
from m3leo_prep.testing.earth_engine.serving.limits import Gate, Limits, Refused
from m3leo_prep.testing.earth_engine.serving.record import Expression, Request
from m3leo_prep.testing.serving import Handler, Server

_ROUTES = (  # path below /v1/ -> route; of an asset: its id
    (r"projects/(?P<project>[^/]+)/algorithms", "algorithms"),
    (r"projects/(?P<project>[^/]+)/value:compute", "compute"),
    (r"projects/(?P<project>[^/]+)/image:computePixels", "computePixels"),
    (r"projects/(?P<project>[^/]+)/table:computeFeatures", "computeFeatures"),
    (r"projects/(?P<project>[^/]+)/operations", "operations"),
    (r"projects/(?P<project>[^/]+)/maps", "maps"),
    (r"projects/(?P<project>[^/]+)/maps/(?P<asset>[^/]+/tiles/\d+/\d+/\d+)", "tile"),
    (r"(?P<asset>projects/[^/]+/assets/.+):getPixels", "getPixels"),
    (r"(?P<asset>projects/[^/]+/assets/.+):listAssets", "listAssets"),
    (r"(?P<asset>projects/[^/]+/assets/.+):listImages", "listAssets"),
    (r"(?P<asset>projects/[^/]+/assets/.+)", "asset"),
)


class StandIn:
    """A running stand-in, as a context: ``with StandIn(archive) as server: ... server.url``.

    Attributes:
        requests: what was asked, in order of arrival (not the discovery document).
        faults: call it to plan a fault; see faults.Faults.
        limits: what is refused; may be replaced while it runs.
        latency: seconds that every answer waits, however many wait at once.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        port: int = 0,
        latency: float = 0.0,
        limits: Limits | None = None,
        eecu_rate: float = 0.05,
    ) -> None:
        """Listen on 127.0.0.1; port 0 takes any that is free.

        ``eecu_rate``: see the attribute.
        """
        self.requests: list[Request] = []
        self.faults = Faults()
        self.latency = latency
        self._defaults = (limits or Limits(), latency, archive, eecu_rate)
        self._service = Service(archive, self._defaults[0], eecu_rate)
        self._gate = Gate(self._defaults[0])
        self._lock = threading.Lock()
        self._server = _Server(port, _Handler)
        self._server.stand_in = self

    @property
    def url(self) -> str:
        """Where it listens: ``http://127.0.0.1:8095``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def limits(self) -> Limits:
        """What is refused."""
        return self._service.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._service.limits = limits
        self._gate.limits = limits

    @property
    def archive(self) -> Archive:
        """What it holds; may be replaced while it runs."""
        return self._service.archive

    @archive.setter
    def archive(self, archive: Archive) -> None:
        self._service.hold(archive)

    @property
    def eecu_rate(self) -> float:
        """EECU-seconds that a million pixels of one image are said to cost."""
        return self._service.eecu_rate

    @eecu_rate.setter
    def eecu_rate(self, rate: float) -> None:
        self._service.eecu_rate = rate

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def reset(self) -> None:
        """Forget requests, faults and tokens; limits, latency, archive and costs are those it began with."""
        limits, self.latency, self.archive, self.eecu_rate = self._defaults
        self.faults.clear()
        with self._lock:
            self.requests.clear()
        self._gate = Gate(limits)
        self.limits = limits

    def asked(self, route: str) -> Sequence[Request]:
        """Return the requests of one route."""
        with self._lock:
            return [request for request in self.requests if request.route == route]

    def begin(self, path: str, headers: dict[str, str], body: bytes) -> Request:
        """Return the record of a request that has come in."""
        parts = urlsplit(path)
        route, project, asset = _routed(unquote(parts.path))
        content: dict[str, Any] = json.loads(body) if body else {}
        headers = {key: value for key, value in headers.items() if key != "authorization"}
        expression = Expression(content.get("expression", {}))
        request = Request(0, route, project, asset, dict(parse_qsl(parts.query)), content, headers, expression)
        request.in_flight = self._gate.enter()
        request.began = time.monotonic()
        with self._lock:
            request.number = len(self.requests) + 1
            self.requests.append(request)
        return request

    def end(self, request: Request) -> None:
        """Complete the record, once."""
        if not request.ended:
            request.ended = time.monotonic()
            self._gate.leave()

    def answer(self, request: Request, token: str | None, size: int) -> Answer:
        """Return the answer after the latency; raises Refused."""
        if request.route != "tile":  # a browser asks for these; who knows a map's name may see it
            self._gate.check(token, request.project, request.in_flight)
        self._service.limits.payload(size)
        if self.latency > 0:
            time.sleep(self.latency)
        return self._service.answer(request)


class _Server(Server):
    stand_in: StandIn


class _Handler(Handler):
    server: _Server

    def respond(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        stand_in = self.server.stand_in
        if self.path.startswith("/$discovery"):
            self._send(200, discovery(stand_in.url), None, None)
            return
        token = headers.get("authorization", "").removeprefix("Bearer ").strip() or None
        request = stand_in.begin(self.path, headers, body)
        try:
            fault = stand_in.faults.take(request)
            request.fault = fault.name if fault else ""
            if fault is None or fault.kind in ("cut", "slow", "header"):
                self._answer(request, token, len(body), fault)
            else:
                time.sleep(stand_in.latency)
                self._fail(request, fault)
        finally:
            stand_in.end(request)

    def _answer(self, request: Request, token: str | None, size: int, fault: Fault | None) -> None:
        try:
            answer = self.server.stand_in.answer(request, token, size)
            request.status = 200
        except Refused as refused:
            answer = self._refusal(request, refused)
        except Exception as error:  # noqa: BLE001 a mistake of ours: a dropped connection would be asked again for long
            traceback.print_exc()
            mistake = Refused(400, f"stand-in: its own mistake: {type(error).__name__}: {error}")
            answer = self._refusal(request, mistake)
        if fault is not None:
            answer = Answer(answer.body, answer.content_type, dict(answer.headers) | dict(fault.headers))
        request.sent = len(answer.body)
        self._send(request.status, answer, request, fault)

    def _refusal(self, request: Request, refused: Refused) -> Answer:
        request.status, request.message = refused.code, str(refused)
        return Answer(json.dumps(refused.body()).encode())

    def _fail(self, request: Request, fault: Fault) -> None:
        request.status, request.message = fault.status, fault.text
        if fault.kind == "reset":
            self.reset()
            return
        if fault.kind == "html":
            answer = Answer(fault.text.encode(), "text/html; charset=UTF-8", dict(fault.headers))
        else:
            body = json.dumps(Refused(fault.status, fault.text).body()).encode()
            answer = Answer(body, headers=dict(fault.headers))
        request.sent = len(answer.body)
        self._send(fault.status, answer, request, None)

    def _send(self, status: int, answer: Answer, request: Request | None, fault: Fault | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for key, value in answer.headers.items():
            self.send_header(key, value)
        self.end_headers()
        rest = answer.body
        if fault is not None and fault.kind in ("cut", "slow"):
            middle = len(rest) // 2
            self.wfile.write(rest[:middle])
            self.wfile.flush()
            time.sleep(fault.seconds)
            rest = b"" if fault.kind == "cut" else rest[middle:]
        if request is not None:
            # Before the last bytes: a client that has its answer may ask again, and is then one, not two.
            self.server.stand_in.end(request)
        self.wfile.write(rest)
        self.wfile.flush()
        if fault is not None and fault.kind == "cut":
            self.hang_up()


def _routed(path: str) -> tuple[str, str, str]:
    """Return route, project and asset id of a path."""
    below = path.removeprefix("/v1/")
    for pattern, route in _ROUTES:
        match = re.fullmatch(pattern, below)
        if match:
            found = match.groupdict()
            asset = str(found.get("asset") or "").removeprefix(PUBLIC).rstrip("/")
            return route, str(found.get("project") or ""), asset
    return below, "", ""

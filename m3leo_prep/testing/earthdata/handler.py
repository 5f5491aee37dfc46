"""How a request is received and answered: TLS, threads, kept connections, faults."""

from __future__ import annotations

import ssl
import time
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from m3leo_prep.testing import serving
from m3leo_prep.testing.answers import Answer
from m3leo_prep.testing.earthdata.calls import Call, Route, refused
from m3leo_prep.testing.earthdata.faults import Fault
from m3leo_prep.testing.earthdata.record import Request
from m3leo_prep.testing.earthdata.routes import routed

if TYPE_CHECKING:
    from m3leo_prep.testing.earthdata.server import EarthdataStandIn


class Server(serving.Server):
    """One of the stand-in's two servers: with ``tls`` that of all services, without that of the public bucket."""

    def __init__(self, owner: EarthdataStandIn, port: int, tls: ssl.SSLContext | None) -> None:
        self.owner = owner
        super().__init__(port, _Handler, tls=tls)

    @property
    def public(self) -> bool:
        """It is the bucket's."""
        return self.tls is None


class _Handler(serving.Handler):
    server: Server

    def wait_for_line(self, size: int) -> None:
        self.server.owner.wait_for_line(size)

    def respond(self) -> None:
        owner = self.server.owner
        headers = {key.lower(): value for key, value in self.headers.items()}
        asked = urlsplit(self.path)
        route, parts, answers = routed(self.command, asked.path, public=self.server.public)
        body = self.rfile.read(int(headers.get("content-length") or 0))
        query = parse_qs(asked.query)
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            query |= parse_qs(body.decode())
        host = headers.get("host", "").rpartition(":")[0]
        request = Request(self.command, host, unquote(asked.path), route, query, headers.get("range", ""))
        request.authorized = "authorization" in headers
        fault = owner.begin(request)
        request.fault = fault.kind if fault else ""
        if fault and fault.kind == "reset":
            self.reset()
            return
        time.sleep(owner.latency + (fault.seconds if fault else 0.0))
        if fault and fault.kind == "unranged":
            request.range, headers["range"] = "", ""
        self._send(request, self._answer(request, parts, answers, headers, body, fault), fault)

    def _answer(
        self,
        request: Request,
        parts: Mapping[str, str],
        answers: Route | None,
        headers: Mapping[str, str],
        body: bytes,
        fault: Fault | None,
    ) -> Answer:
        owner = self.server.owner
        if fault and fault.kind == "error":
            return Answer(fault.text.encode(), fault.status, fault.content_type, dict(fault.headers))
        if answers is None:
            return refused(404, f"stand-in: {request.method} {request.path} is not built")
        port = self.server.server_port
        base, signed = f"https://localhost:{port}", f"https://127.0.0.1:{port}"
        try:
            return answers(Call(owner.held, request, base, signed, parts, headers, body, fault))
        except Exception as error:  # noqa: BLE001 a mistake of ours: a dropped connection would be asked again for long
            traceback.print_exc()
            return refused(400, f"stand-in: its own mistake: {type(error).__name__}: {error}")

    def _send(self, request: Request, answer: Answer, fault: Fault | None) -> None:
        size, ends = answer.size, answer.size
        if fault and fault.kind == "truncated":
            size = ends = max(0, size - fault.size)
        elif fault and fault.kind == "cut":
            ends = min(fault.size, size)
        # Before the answer: a client that has it may look at the record.
        request.status = answer.status
        request.bytes = 0 if self.command == "HEAD" else ends
        flip = fault.size if fault and fault.kind == "flipped" else None
        self.send_answer(answer, size=size, ends=ends, flip=flip)

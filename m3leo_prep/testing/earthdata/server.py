"""The stand-in as tests see it: two servers, what they hold, and the record of what was asked."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from m3leo_prep.testing.earthdata.faults import Fault, Faults
from m3leo_prep.testing.earthdata.granules import Granule
from m3leo_prep.testing.earthdata.handler import Server
from m3leo_prep.testing.earthdata.holdings import Holdings
from m3leo_prep.testing.earthdata.record import Request
from m3leo_prep.testing.serving import Line


class _Held:
    """An attribute of what is held, under the same name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: EarthdataStandIn, owner: type) -> Any:
        return getattr(instance.held, self._name)

    def __set__(self, instance: EarthdataStandIn, value: Any) -> None:
        setattr(instance.held, self._name, value)


class EarthdataStandIn:
    """A running stand-in, as a context: ``with EarthdataStandIn() as earthdata: earthdata.add(granule)``.

    Everything but the bucket is spoken to by https; ``environment`` names the certificate's authority.

    Attributes:
        requests: what was asked, in order of arrival.
        faults: call it to plan a fault; see faults.Faults.
        held: what it answers from, such as ``held.token``, ``held.user`` and ``held.password``.
        jobs, credits, makes, looks, takes_tokens, lists, missing: see holdings.Holdings.
        latency: seconds that every answer waits, however many wait at once.
        bandwidth: bytes a second that all downloads together get; None = no limit.
        line: bytes a second that each connection gets; None = no limit.
    """

    jobs, credits, makes, looks = _Held(), _Held(), _Held(), _Held()
    takes_tokens, lists, missing = _Held(), _Held(), _Held()

    def __init__(self, folder: Path | None = None, *, port: int = 0) -> None:
        """Listen on this machine; port 0 takes any that is free.

        Args:
            folder: where the bucket and the certificate are until the end; None = a temporary one.
            port: to listen on; the bucket gets the next one.
        """
        import trustme

        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            folder = folder.resolve()  # what the environment says holds wherever it is typed
        authority = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(tls)
        self._lock = threading.Lock()
        self._all_lines = Line()
        with contextlib.ExitStack() as made:  # undone where a port is taken
            self._servers: list[Server] = []
            for number, encrypted in ((port, tls), (port and port + 1, None)):
                self._servers.append(made.enter_context(Server(self, number, encrypted)))
            self._folder = Path(made.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="earthdata")))
            self._authority = self._folder / "authority.pem"
            authority.cert_pem.write_to_path(str(self._authority))
            self.reset()
            self._open = made.pop_all()
        for server in self._servers:
            server.start()

    def reset(self) -> None:
        """Forget all that is held, was asked and is to go wrong; addresses and certificate stay."""
        self.requests: list[Request] = []
        self.faults = Faults()
        self.latency = 0.0
        self.bandwidth: float | None = None
        self.line: float | None = None
        self.held = Holdings(Path(tempfile.mkdtemp(dir=self._folder)))

    @property
    def host(self) -> str:
        """Host and port of all services but the bucket: ``localhost:8443``."""
        return f"localhost:{self._servers[0].server_port}"

    @property
    def bucket_url(self) -> str:
        """Endpoint of the bucket's service, over plain http."""
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    @property
    def bucket(self) -> Path:
        """The folder of the public bucket: an object's key is its path below it."""
        return self.held.bucket

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which this package and the clients it uses find the stand-in and trust it."""
        return {
            "M3LEO_PREP_EARTHDATA": self.host,
            "M3LEO_PREP_GSSIC_URL": self.bucket_url,
            "M3LEO_PREP_CACHE": str(self.held.folder / "cache"),
            "M3LEO_PREP_ORDERS": str(self.held.folder / "orders"),
            "SSL_CERT_FILE": str(self._authority),
            "REQUESTS_CA_BUNDLE": str(self._authority),
            "EARTHDATA_TOKEN": self.held.token,
        }

    def add(self, *granules: Granule) -> None:
        """Hold granules."""
        with self.held.lock:
            self.held.granules += granules

    def url(self, granule: Granule, name: str = "") -> str:
        """Return the address of a granule's file, of its first if no name is given."""
        return f"https://{self.host}/{granule.dataset}/{name or granule.file_names[0]}"

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
        for server in self._servers:
            server.stop()
        self._open.close()

    def begin(self, request: Request) -> Fault | None:
        """Keep the record of a request that has come in, and return the fault that it meets."""
        with self._lock:
            self.requests.append(request)
        return self.faults.take(request)

    def wait_for_line(self, size: int) -> None:
        """Wait until the line, and all lines together, would have sent so many bytes."""
        if self.line is not None:
            time.sleep(size / self.line)
        if self.bandwidth is not None:
            time.sleep(self._all_lines.ahead(size, self.bandwidth))

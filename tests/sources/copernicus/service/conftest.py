"""The stand-in's services without its object store, empty for each test."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trustme")
from m3leo_prep.testing.copernicus.app import CopernicusApp
from m3leo_prep.testing.copernicus.catalogue_odata import row_of

START = datetime(2023, 4, 1, 5, 30, tzinfo=UTC)
LOGINS = ("USERNAME", "PASSWORD", "TOTP", "S3_ACCESS_KEY", "S3_SECRET_KEY")


@pytest.fixture(scope="session")
def cdse_server() -> Iterator[CopernicusApp]:
    """Yield a running app; tests ask for ``cdse``."""
    with CopernicusApp() as app:
        yield app


@pytest.fixture
def cdse(cdse_server: CopernicusApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CopernicusApp:
    """Return an empty app that the environment names, with a login, an empty cache and an empty home."""
    from m3leo_prep.blobs import http

    cdse_server.reset()
    for name in LOGINS:
        monkeypatch.delenv(f"CDSE_{name}", raising=False)
    for name, value in cdse_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("NETRC", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.001)
    # Connections that were made to trust another certificate.
    http._pool.cache_clear()
    return cdse_server


@pytest.fixture
def hold(cdse: CopernicusApp, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that makes a small product, holds it, and returns what the catalogue says of it."""

    def made(
        name: str = "S1A_IW_GRDH_A.SAFE", size: int = 300_000, minutes: float = 0.0, **more: Any
    ) -> dict[str, Any]:
        archive = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(f"{name}/manifest.safe", "<xml/>")
            file.writestr(f"{name}/measurement/vv.tiff", bytes(range(250)) * (size // 250))
        row = row_of(name, START + timedelta(minutes=minutes), archive=archive, **more)
        cdse.add(row, archive)
        return row

    return made

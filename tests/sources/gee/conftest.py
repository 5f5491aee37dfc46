"""A stand-in for Earth Engine in this process, and the environment that leads to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from m3leo_prep.sources.gee.service import session
from m3leo_prep.testing.earth_engine import StandIn, SyntheticArchive


@pytest.fixture(scope="session")
def running_earth_engine() -> Iterator[StandIn]:
    """Yield the one server of the test run; tests use ``earth_engine``."""
    with StandIn(SyntheticArchive()) as server:
        yield server


@pytest.fixture
def earth_engine(
    running_earth_engine: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StandIn]:
    """Yield the server without requests, faults or tokens of other tests; our session begins anew before and after.

    A pause that one test was asked for holds back no other: places and pace are each test's own. Its limits, latency,
    archive and ``eecu_rate`` may be set; the next test finds the first ones again.
    """
    running_earth_engine.reset()
    monkeypatch.setenv("M3LEO_PREP_EE_URL", running_earth_engine.url)
    monkeypatch.setenv("M3LEO_PREP_EE_PROJECT", "stand-in")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    monkeypatch.delenv("M3LEO_PREP_EE_TOKEN", raising=False)
    session.reset()
    yield running_earth_engine
    session.reset()
    running_earth_engine.reset()

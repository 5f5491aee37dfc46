"""Whole builds against a stand-in that fails: the outcome is the same, or what is missing is known and asked again."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import shapely
import xarray as xr
from google.auth.credentials import Credentials
from typer.testing import CliRunner

from m3leo_prep.cli.main import app
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import EXIT_INCOMPLETE, ConfigError, CredentialsError, QuotaReached, TriedOut
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline import build as build_module
from m3leo_prep.pipeline.build import BuildResult, build
from m3leo_prep.pipeline.costing.budget import Budget, BudgetReached
from m3leo_prep.pipeline.follow.watch import Watch
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads
from m3leo_prep.sources.gee.service import session
from m3leo_prep.sources.gee.service.credentials import GoogleToken, Login
from m3leo_prep.testing.earth_engine import Limits, Request, StandIn, SyntheticArchive
from m3leo_prep.testing.earth_engine.serving import faults, limits
from tests.pipeline.conftest import tree
from tests.sources.gee.scenes import Shelf
from tests.sources.gee.test_composite_reasons import HERE as THERE
from tests.sources.gee.test_composite_reasons import optical

HERE = (9.300, 57.100, 9.306, 57.104)
RECIPE = """
name: small
grid: {chip_px: 32, resolution: 10}
layers:
  s1: {source: gee, product: s1-grd, slots: {periods: [[2020-06-01, 2020-06-14], [2020-07-01, 2020-07-14]]}}
  s2: {source: gee, product: s2-l2a, slots: {periods: [[2020-06-01, 2020-06-20]]}, bands: [red, nir], cloud: scl}
  cover: {role: label, source: gee, product: worldcover, year: 2020}
  position: {source: ramp}
splits: {policy: none}
"""
PROJECT = "stand-in"
OPTICAL = """
name: optical
grid: {chip_px: 32, resolution: 10}
layers:
  s2: {source: gee, product: s2-sr, bands: [red], cloud: scl,
       slots: {periods: [[2020-01-01, 2020-01-31], [2020-02-01, 2020-02-29], [2020-03-01, 2020-03-31]]}}
splits: {policy: none}
"""


@pytest.fixture(scope="module")
def small_archive() -> SyntheticArchive:
    """Return one year only: listing it is quick."""
    return SyntheticArchive(years=(2020, 2020))


@pytest.fixture
def server(earth_engine: StandIn, small_archive: SyntheticArchive, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Return the stand-in; nobody waits long between attempts, and each chip is a shard."""
    earth_engine.archive = small_archive
    monkeypatch.setattr(session, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (1,))
    return earth_engine


def planned(text: str = RECIPE) -> Plan:
    return make_plan(parse_recipe(dedent(text)), Area.from_geometry(shapely.box(*HERE), name="here"), base=Path.cwd())


def run(out: Path, text: str = RECIPE, **options: Any) -> BuildResult:
    return build(planned(text), out, runner=Threads(2), **options)


def key(request: Request) -> str:
    """Return what was asked for, the same in each run."""
    return json.dumps([request.body.get("expression"), request.body.get("grid")], sort_keys=True)


def pixels(server: StandIn) -> Sequence[Request]:
    return server.asked("computePixels")


@pytest.fixture(scope="module")
def untroubled(
    running_earth_engine: StandIn, small_archive: SyntheticArchive, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], Counter[str]]:
    """Return the files of a build without faults, and what it asked for."""
    out = tmp_path_factory.mktemp("untroubled") / "d"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("M3LEO_PREP_EE_URL", running_earth_engine.url)
        patch.setenv("M3LEO_PREP_EE_PROJECT", PROJECT)
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        patch.setattr(layer_module, "SHARD_CHIPS", (1,))
        session.reset()
        running_earth_engine.reset()
        running_earth_engine.archive = small_archive
        assert run(out).retryable == 0
        asked = Counter(key(request) for request in pixels(running_earth_engine))
    assert len(asked) == sum(asked.values()) >= 20, "nothing is asked for twice"
    return tree(out), asked


# -- the same dataset whatever happens on the way ------------------------------------------------------------------


def is_radar(request: Request) -> bool:
    return any("S1_GRD" in asset for asset in request.expression.assets)


def test_whatever_passes_leaves_no_trace(server: StandIn, tmp_path: Path, untroubled: Any) -> None:
    """Every kind of fault, each in another place."""
    passing = [
        faults.rate_limited(),
        faults.rate_limited(1),
        faults.broken(500),
        faults.broken(503),
        faults.reset(),
        faults.cut(),
        faults.html(),
        faults.slow(0.2),
    ]
    for number, fault in enumerate(passing):
        server.faults(fault, "computePixels", skip=2 * number)
    # What is too much is cut by bands; of one band nothing could be cut.
    server.faults(faults.timed_out(), "computePixels", when=is_radar, skip=3)
    server.faults(faults.out_of_memory(), "computePixels", when=is_radar, skip=3)
    server.faults(faults.broken(503), "computeFeatures")
    server.faults(faults.reset(), "asset")
    out = tmp_path / "d"
    assert run(out).retryable == 0
    met = Counter(request.fault for request in server.requests if request.fault)
    assert met == {
        "rate": 2,
        "500": 1,
        "503": 2,
        "reset": 2,
        "cut": 1,
        "html": 1,
        "slow": 1,
        "timed_out": 1,
        "memory": 1,
    }
    assert tree(out) == untroubled[0]
    assert verify(out).ok


def test_a_share_of_all_requests_may_fail(server: StandIn, tmp_path: Path, untroubled: Any) -> None:
    server.faults.share = 0.05
    assert run(tmp_path / "d").retryable == 0
    assert any(request.fault for request in server.requests)
    assert tree(tmp_path / "d") == untroubled[0]


class Renewable(Credentials):  # type: ignore[misc]  # google-auth is typed in part
    """A user's login: each renewal is another token."""

    def __init__(self) -> None:
        super().__init__()
        self.renewals = 0

    def refresh(self, request: Any) -> None:
        self.renewals += 1
        self.token = f"token-{self.renewals}"


def test_a_token_that_expires_is_renewed_once(
    server: StandIn, tmp_path: Path, untroubled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = Renewable()
    login = Login("user login", PROJECT, GoogleToken(credentials, "user login", "log in"))
    monkeypatch.setattr(session, "find_login", lambda _: login)
    total = sum(untroubled[1].values())
    server.limits = Limits(token_requests=total - 6)
    assert run(tmp_path / "d").retryable == 0
    assert sum(request.status == 401 for request in server.requests) >= 1
    assert credentials.renewals == 2, "the first token, and one renewal for all threads"
    assert tree(tmp_path / "d") == untroubled[0]


# -- what is missing, and only that, is asked for again ------------------------------------------------------------


def answered(requests: Sequence[Request]) -> set[str]:
    return {key(request) for request in requests if request.status == 200}


class Mortal:
    """A server that dies when it was asked for pixels so often, and rises at the same place."""

    def __init__(self, archive: SyntheticArchive, lives: int) -> None:
        self._archive = archive
        self._lives = lives
        self._lock = threading.Lock()
        self.server = StandIn(archive)
        self.server.__enter__()
        self._port = int(self.server.url.rpartition(":")[2])
        self._death = threading.Thread(target=self.server.__exit__, args=(None, None, None))
        # Kept connections outlive the end of listening: who is on one is cut off.
        self.server.faults(faults.reset(), times=None, when=self._is_over)

    def _is_over(self, request: Request) -> bool:
        with self._lock:
            self._lives -= request.route == "computePixels"
            if self._lives == -1 and not self._death.ident:
                self._death.start()
            return self._lives < 0

    def rise(self) -> StandIn:
        self._death.join()
        return StandIn(self._archive, port=self._port)


def test_a_server_that_dies_leaves_holes_that_the_next_run_fills(
    server: StandIn, small_archive: SyntheticArchive, tmp_path: Path, untroubled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mortal = Mortal(small_archive, lives=9)
    monkeypatch.setenv("M3LEO_PREP_EE_URL", mortal.server.url)
    out, made = tmp_path / "d", planned()
    first = build(made, out, runner=Threads(2))
    assert first.retryable > 0
    assert all("Earth Engine" in hole or "no answer" in hole or "connection" in hole for hole in first.damaged)
    done = answered(pixels(mortal.server))
    assert 0 < len(done) <= 9
    session.reset()
    with pytest.raises(TriedOut, match="no answer"):
        planned()
    with mortal.rise() as risen:
        second = build(made, out, runner=Threads(2))
        asked = Counter(key(request) for request in pixels(risen))
        assert second.retryable == 0
        assert set(untroubled[1]) - done <= set(asked)
        # Slots of so small a chip lie in one chunk and are made together: of each worker's shard one may be half there.
        assert len(set(asked) & done) <= 2 < len(done)
        assert max(asked.values()) == 1
        assert not risen.asked("computeFeatures"), "the images are those of the plan"
    assert tree(out) == untroubled[0]
    assert verify(out).ok


KILLED = """
import sys
from m3leo_prep.core import layer
layer.SHARD_CHIPS = (1,)
from m3leo_prep.cli.main import app
app(sys.argv[1:])
"""


def command(recipe: Path, out: Path) -> list[str]:
    aoi = ",".join(str(edge) for edge in HERE)
    return ["build", "--aoi", aoi, "--recipe", str(recipe), "--out", str(out), "--workers", "1", "--yes"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def test_after_kill_9_only_what_is_missing_is_asked_for(
    server: StandIn, recipe: Path, tmp_path: Path, untroubled: Any
) -> None:
    out = tmp_path / "d"
    server.latency = 0.05
    killed = subprocess.Popen([sys.executable, "-c", KILLED, *command(recipe, out)], stderr=subprocess.DEVNULL)
    while len(pixels(server)) < 8:
        assert killed.poll() is None
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    time.sleep(0.2)  # what was on its way
    first = answered(pixels(server))
    server.requests.clear()
    server.latency = 0.0
    frozen = DatasetFolder(out).frozen()
    assert frozen is not None
    assert build(frozen, out, runner=Threads(2)).retryable == 0
    asked = Counter(key(request) for request in pixels(server))
    assert set(asked) | first == set(untroubled[1])
    assert max(asked.values()) == 1
    # One shard was on its way, of two slots.
    assert len(set(asked) & first) <= 2 < len(first)
    shards = {name: content for name, content in untroubled[0].items() if "/c/" in name}
    assert {name: content for name, content in tree(out).items() if "/c/" in name} == shards != {}
    again = CliRunner().invoke(app, command(recipe, out))
    assert again.exit_code == 0, again.output
    assert not server.asked("computeFeatures"), "the images are those of the plan"


# -- what the provider refuses -------------------------------------------------------------------------------------


def has_position(out: Path) -> bool:
    with xr.open_zarr(out / "chips.zarr", group="position", chunks=None) as ds:
        return bool((next(ds[name] for name in ds if str(name).endswith("_reason")) == Reason.OK).all())


def test_a_project_that_is_not_registered_stops_only_these_layers(server: StandIn, tmp_path: Path) -> None:
    server.faults(faults.error(403, limits.NOT_REGISTERED.format(PROJECT)), "computePixels", skip=6, times=None)
    with pytest.raises(CredentialsError) as error:
        run(tmp_path / "d")
    assert error.value.exit_code == 3
    assert "is not registered to use Earth Engine" in error.value.message
    assert "shards of s1" in error.value.message
    assert f"https://code.earthengine.google.com/register?project={PROJECT}" in error.value.hint
    assert "run the same command again" in error.value.hint
    assert has_position(tmp_path / "d")
    # Nothing more is asked once it is known: at most what was on its way.
    assert len(pixels(server)) <= 6 + 2 * 2 + 2


def test_compute_time_that_is_spent_ends_with_the_time(server: StandIn, tmp_path: Path, untroubled: Any) -> None:
    server.faults(faults.eecu_spent(), "computePixels", skip=6, times=None)
    with pytest.raises(QuotaReached) as error:
        run(tmp_path / "d")
    assert error.value.exit_code == 75
    assert error.value.until is not None
    assert error.value.until > datetime.now(UTC)
    assert f"{error.value.until:%Y-%m-%d %H:%M} UTC" in error.value.hint
    assert has_position(tmp_path / "d")
    server.faults.clear()
    assert run(tmp_path / "d").retryable == 0
    assert tree(tmp_path / "d") == untroubled[0]


def test_waiting_for_compute_time_goes_on(
    server: StandIn, tmp_path: Path, untroubled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "UNKNOWN_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(build_module, "LEAST_PAUSE_SECONDS", 0.05)

    class Renewed(Watch):
        waited = 0

        def waits(self, source: str, until: datetime | None, message: str) -> None:
            Renewed.waited += 1
            server.faults.clear()

    text = limits.EECU_SPENT.replace(" per day", "")
    server.faults(faults.error(429, text), "computePixels", skip=6, times=None)
    assert run(tmp_path / "d", on_quota="wait", watch=Renewed()).retryable == 0
    assert Renewed.waited == 1
    assert tree(tmp_path / "d") == untroubled[0]


def test_a_budget_is_never_exceeded(
    server: StandIn, tmp_path: Path, untroubled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="the budget is 12"):
        run(tmp_path / "d", budget=Budget({"requests": 12}))
    assert not pixels(server)
    # As if too little had been projected.
    monkeypatch.setattr(Budget, "check", lambda *_: None)
    with pytest.raises(BudgetReached, match="budget of 12 requests is reached") as error:
        run(tmp_path / "d", budget=Budget({"requests": 12}))
    assert error.value.exit_code == 75
    assert 9 <= len(pixels(server)) <= 12
    assert has_position(tmp_path / "d")
    assert run(tmp_path / "d").retryable == 0
    assert Counter(key(request) for request in pixels(server)) == untroubled[1], "nothing is asked for twice"
    assert tree(tmp_path / "d") == untroubled[0]


def test_nothing_there_cloud_and_failure_are_told_apart(server: StandIn, tmp_path: Path) -> None:
    server.archive = Shelf([optical("2020-01-05T10:00:00", 1000, 9), optical("2020-03-05T10:00:00", 1000, 4)])
    server.faults(faults.broken(503), "computePixels", times=None, when=lambda asked: "20200305T" in str(asked.body))
    made = make_plan(parse_recipe(OPTICAL), Area.from_geometry(THERE, name="there"), base=Path.cwd())
    build(made, tmp_path / "d", runner=Threads(2))
    with xr.open_zarr(tmp_path / "d" / "chips.zarr", group="s2", chunks=None) as ds:
        reasons = ds["reflectance_reason"].values[:, :, 0]
    assert (reasons == [Reason.ALL_CLOUD, Reason.NO_ACQUISITION, Reason.PROVIDER_ERROR]).all()


def test_holes_end_the_command_with_7_and_the_next_one_fills_them(server: StandIn, tmp_path: Path) -> None:
    server.archive = Shelf([optical("2020-01-05T10:00:00", 1000, 4), optical("2020-03-05T10:00:00", 1000, 4)])
    server.faults(faults.broken(503), "computePixels", times=None, when=lambda asked: "20200305T" in str(asked.body))
    (tmp_path / "optical.yaml").write_text(OPTICAL)
    (tmp_path / "there.geojson").write_text(shapely.to_geojson(THERE))
    args = ["build", "--aoi", str(tmp_path / "there.geojson"), "--recipe", str(tmp_path / "optical.yaml"), "--yes"]
    args += ["--out", str(tmp_path / "d")]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == EXIT_INCOMPLETE == 7, done.output
    assert "again" in done.output
    server.faults.clear()
    server.requests.clear()
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert not server.asked("computeFeatures"), "the images are those of the plan"


# -- secrets -------------------------------------------------------------------------------------------------------

SECRET = "ya29.Planted-Secret"


def test_a_token_is_written_nowhere(
    server: StandIn, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("M3LEO_PREP_EE_TOKEN", SECRET)
    caplog.set_level("DEBUG")
    server.faults(faults.cut(), "computePixels", times=3)
    server.faults(faults.error(403, "Permission denied."), "computePixels", skip=8, times=None)
    out = tmp_path / "d"
    done = CliRunner().invoke(app, [*command(recipe, out), "--json"])
    assert isinstance(done.exception, CredentialsError)
    told = [done.output, str(done.exception), repr(done.exception), *(r.getMessage() for r in caplog.records)]
    told.append("".join(traceback.format_exception(done.exception)))
    assert "Permission denied" in told[1]
    assert not any(SECRET in text for text in told)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert any(path.name == "log.jsonl" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET not in repr(session.session())

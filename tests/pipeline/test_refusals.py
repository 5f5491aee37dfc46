"""A provider that lets nobody in, or nobody now, stops its own layers only; what was built stays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from m3leo_prep.core.errors import CredentialsError, QuotaReached
from m3leo_prep.pipeline import build as build_module
from m3leo_prep.pipeline import unit as unit_module
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.follow.events import read_log
from m3leo_prep.pipeline.follow.watch import Watch
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.runners.processes import Processes
from m3leo_prep.runners.threads import Threads

from .conftest import area, plan, tree

SOURCE = """
    import os
    from dataclasses import dataclass
    from datetime import UTC, datetime, timedelta
    from pathlib import Path
    from m3leo_prep.core.errors import CredentialsError, QuotaReached, TransientError
    from m3leo_prep.sources.ramp import Ramp


    @dataclass(frozen=True)
    class Guarded(Ramp):
        '''A ramp behind a door: the file `door` holds what happens to whoever reads.'''

        door: str = ""

        def read(self, items, geobox, slot):
            path = Path(self.door)
            word = path.read_text() if path.exists() else ""
            if word == "down":
                raise TransientError("no answer")
            if word == "login":
                raise CredentialsError("the login was refused", hint="m3leo-prep login guarded")
            if word.startswith("quota"):
                _, _, left = word.partition(" ")
                until = datetime.now(UTC) + timedelta(seconds=float(left)) if left else None
                raise QuotaReached("100 requests a day are used up", until=until)
            if word.isdigit():  # so many reads are allowed, then the quota is used up until somebody waited
                path.write_text(str(int(word) - 1) if int(word) > 1 else "quota 0.01")
            return super().read(items, geobox, slot)
    """
RECIPE = """
    name: mini
    grid: {{chip_px: 32, resolution: 10}}
    layers:
      guarded: {{source: "./my_source.py:Guarded", door: "{door}"}}
      also: {{source: "./my_source.py:Guarded", door: "{door}", resampling: nearest}}
      position: {{source: ramp}}
    """


@pytest.fixture
def door(tmp_path: Path) -> Path:
    return tmp_path / "door"


@pytest.fixture
def planned(tmp_path: Path, door: Path, write_source: Callable[[str], Path]):
    base = write_source(SOURCE)
    return lambda: plan(RECIPE.format(door=door), area(), base=base)


@pytest.fixture
def untroubled(planned, tmp_path: Path) -> Path:
    build(planned(), tmp_path / "untroubled", runner=Threads(1))
    return tmp_path / "untroubled"


@pytest.mark.parametrize("runner", [Threads(2), Processes(2)])
@pytest.mark.parametrize(("word", "error"), [("login", CredentialsError), ("quota 3600", QuotaReached)])
def test_only_the_layers_of_that_source_stop(
    planned,
    door: Path,
    tmp_path: Path,
    untroubled: Path,
    word: str,
    error: type[Exception],
    runner: Threads | Processes,
) -> None:
    door.write_text(word)
    with pytest.raises(error, match="shards of guarded") as caught:
        build(planned(), tmp_path / "d", runner=runner)
    assert "run the same command again" in caught.value.hint
    assert "shards of also" in caught.value.message
    manifest = DatasetFolder(tmp_path / "d").manifest
    assert manifest is not None
    assert list(manifest["layers"]) == ["position"]
    door.unlink()
    again = build(planned(), tmp_path / "d", runner=Threads(2))
    assert again.skipped > 0
    assert tree(tmp_path / "d") == tree(untroubled)


def test_a_refused_source_is_hardly_asked_again(planned, door: Path, tmp_path: Path) -> None:
    """Units already handed out may still ask; the others are not even started."""
    begun: list[str] = []

    class See(Watch):
        def begins(self, unit) -> None:
            begun.append(unit.layer)

    door.write_text("quota 3600")
    with pytest.raises(QuotaReached):
        build(planned(), tmp_path / "d", runner=Threads(1), watch=See())
    assert begun.count("guarded") <= 2
    assert begun.count("also") == 0


def test_the_login_step_and_the_time_are_told(planned, door: Path, tmp_path: Path) -> None:
    door.write_text("login")
    with pytest.raises(CredentialsError) as refused:
        build(planned(), tmp_path / "d", runner=Threads(1))
    assert "m3leo-prep login guarded" in refused.value.hint
    door.write_text("quota 3600")
    with pytest.raises(QuotaReached, match="100 requests a day") as reached:
        build(planned(), tmp_path / "d", runner=Threads(1))
    assert reached.value.exit_code == 75
    assert reached.value.until is not None
    assert f"{reached.value.until:%Y-%m-%d %H:%M}" in reached.value.hint


def test_waiting_goes_on_by_itself(planned, door: Path, tmp_path: Path, untroubled: Path, monkeypatch) -> None:
    """One read, then a quota that is over when somebody has waited."""
    monkeypatch.setattr(build_module, "LEAST_PAUSE_SECONDS", 0.05)
    waits: list[str] = []

    class Open(Watch):
        def waits(self, source: str, until: datetime | None, message: str) -> None:
            waits.append(source)
            door.write_text("1" if len(waits) < 3 else "")

    door.write_text("1")
    result = build(planned(), tmp_path / "d", runner=Threads(1), on_quota="wait", watch=Open())
    assert len(waits) == 3
    assert result.retryable == 0
    assert tree(tmp_path / "d") == tree(untroubled)
    events = [event["event"] for event in read_log(tmp_path / "d" / ".m3leo" / "log.jsonl")]
    assert events.count("waiting") == events.count("resumed") == 3
    status = json.loads((tmp_path / "d" / ".m3leo" / "status" / "build.json").read_text())
    assert status["waiting"] is None
    assert status["ended"]["exit"] == 0


def test_it_waits_until_the_provider_said(planned, door: Path, tmp_path: Path) -> None:
    asked: list[float] = []

    class Open(Watch):
        def waits(self, source: str, until: datetime | None, message: str) -> None:
            assert until is not None
            asked.append((until - datetime.now(UTC)).total_seconds())
            door.unlink()

    door.write_text("quota 2")
    start = time.monotonic()
    build(planned(), tmp_path / "d", runner=Threads(1), on_quota="wait", watch=Open())
    assert 0 < asked[0] <= 2
    assert time.monotonic() - start >= asked[0]


@pytest.mark.parametrize("word", ["login", "quota 3600"])
def test_a_refusal_takes_no_layer_away_that_was_there_with_holes(
    planned, door: Path, tmp_path: Path, untroubled: Path, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holes of yesterday stay holes; the layer stays in the dataset."""
    monkeypatch.setattr(unit_module, "PAUSE_SECONDS", 0.0)
    door.write_text("down")
    assert build(planned(), tmp_path / "d", runner=Threads(2)).retryable > 0
    before = tree(tmp_path / "d")
    door.write_text(word)
    with pytest.raises((CredentialsError, QuotaReached)):
        build(planned(), tmp_path / "d", runner=Threads(2))
    assert tree(tmp_path / "d") == before
    door.unlink()
    build(planned(), tmp_path / "d", runner=Threads(2))
    assert tree(tmp_path / "d") == tree(untroubled)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses, which pass at once: time only goes on while somebody sleeps."""
    found: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        found.append(seconds)

    monkeypatch.setattr(build_module, "sleep", sleep)
    monkeypatch.setattr(build_module, "monotonic", lambda: clock[0])
    monkeypatch.setattr(build_module, "LOOK_SECONDS", 1e9)
    return found


def test_a_time_that_is_always_now_does_not_hammer_the_provider(
    planned, door: Path, tmp_path: Path, pauses: list[float]
) -> None:
    """Waits that bring nothing grow."""

    class Patience(Watch):
        def waits(self, source: str, until: datetime | None, message: str) -> None:
            if len(pauses) == 5:
                door.unlink()

    door.write_text("quota 0")
    build(planned(), tmp_path / "d", runner=Threads(1), on_quota="wait", watch=Patience())
    assert [round(pause) for pause in pauses] == [1, 1, 2, 4, 8, 16]


def test_a_quota_without_a_time_is_asked_again_later(planned, door: Path, tmp_path: Path, pauses: list[float]) -> None:
    class Open(Watch):
        def waits(self, source: str, until: datetime | None, message: str) -> None:
            assert until is None
            door.unlink()

    door.write_text("quota")
    build(planned(), tmp_path / "d", runner=Threads(1), on_quota="wait", watch=Open())
    assert pauses == [build_module.UNKNOWN_PAUSE_SECONDS]


def test_a_waiting_build_can_be_stopped(planned, door: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "LOOK_SECONDS", 0.05)

    class Stop(Watch):
        asked = False

        def waits(self, source: str, until: datetime | None, message: str) -> None:
            self.asked = True

        def stops(self) -> bool:
            return self.asked

    door.write_text("quota 3600")
    with pytest.raises(KeyboardInterrupt):
        build(planned(), tmp_path / "d", runner=Threads(1), on_quota="wait", watch=Stop())
    status = json.loads((tmp_path / "d" / ".m3leo" / "status" / "build.json").read_text())
    assert status["ended"]["exit"] == 130


def test_what_is_at_work_when_a_stop_is_asked_is_finished_and_counted(planned, tmp_path: Path) -> None:
    class Stop(Watch):
        begun = 0
        made = 0

        def begins(self, unit) -> None:
            self.begun += 1

        def done(self, unit, record) -> None:
            self.made += record is not None

        def stops(self) -> bool:
            return self.begun >= 2

    watch = Stop()
    with pytest.raises(KeyboardInterrupt):
        build(planned(), tmp_path / "d", runner=Threads(2), watch=watch)
    assert watch.begun == watch.made == 2
    assert build(planned(), tmp_path / "d", runner=Threads(2)).skipped == 2


def test_a_quota_survives_pickling_and_knows_its_zone() -> None:
    import pickle

    error = QuotaReached("used up", until=datetime(2026, 1, 1), hint="wait", where="here")
    again = pickle.loads(pickle.dumps(error))
    assert again.until == datetime(2026, 1, 1, tzinfo=UTC)
    assert (again.message, again.hint, again.where) == ("used up", "wait", "here")
    assert again.until.utcoffset() == timedelta(0)

"""Waiting as a server asks for it, and all threads of a process with one another: D65 of the checks."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from m3leo_prep.core.errors import RateLimited, SourceError, TriedOut
from m3leo_prep.sources.http import patience
from m3leo_prep.sources.http.download import download
from m3leo_prep.sources.http.patience import SPREAD, Gate, Tries
from m3leo_prep.testing.web import Fault, RangeServer


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def gate(self) -> Gate:
        return Gate(clock=lambda: self.now, sleep=self.sleep)


def test_a_held_host_is_left_alone_by_all_and_others_are_not() -> None:
    clock = Clock()
    gate = clock.gate()
    gate.hold("a", 30)
    gate.hold("a", 3)
    gate.wait("b")
    assert clock.slept == []
    gate.wait("a")
    assert 30 <= clock.slept[0] <= 30 * (1 + SPREAD)
    gate.wait("a")
    assert len(clock.slept) == 1


def test_a_hold_that_comes_while_one_waits_is_waited_for_too() -> None:
    clock = Clock()
    gate = clock.gate()
    asked = []

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if not asked:
            asked.append(1)
            gate.hold("a", 50)

    gate._sleep = sleep
    gate.hold("a", 10)
    gate.wait("a")
    assert clock.now >= 160


@pytest.mark.parametrize("as_date", [False, True])
def test_the_time_that_the_server_names_is_waited_by_everybody(
    web: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_date: bool
) -> None:
    clock = Clock()
    monkeypatch.setattr(patience, "GATE", clock.gate())
    (web.folder / "f").write_bytes(b"data")
    after = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True) if as_date else "60"
    web.faults.append(Fault(status=429, retry_after=after))
    # Somebody is told to wait; who comes next waits for the rest of that time, though nothing was said to them.
    tries = Tries("other")
    tries.turn("127.0.0.1:1")
    assert clock.slept == []
    assert download(f"{web.url}/f", tmp_path / "f", where="f").read_bytes() == b"data"
    assert sum(clock.slept) >= (50 if as_date else 60), "a date is whole seconds, and the server's clock"
    clock.now -= sum(clock.slept)
    tries.turn(web.url.removeprefix("http://"))
    assert len(clock.slept) == 2


def test_without_a_time_pauses_grow_and_are_everybodys_only_after_429() -> None:
    clock = Clock()
    gate = clock.gate()
    tries = Tries("x", gate)
    tries.turn("a")
    for _ in range(4):
        tries.failed("the connection was cut")
    assert clock.slept == sorted(clock.slept)
    assert len(clock.slept) == 4
    assert 0.25 <= clock.slept[0] <= 0.5
    Tries("y", gate).turn("a")
    assert len(clock.slept) == 4, "a cut is no reason for others to wait"
    before = clock.now
    tries.failed("too often", status=429)
    clock.now = before
    Tries("y", gate).turn("a")
    assert clock.now > before


def test_giving_up_says_what_it_was() -> None:
    clock = Clock()
    tries = Tries("x", clock.gate())
    with pytest.raises(RateLimited, match="asks to wait 3600 s"):
        tries.failed("429", after=3600, status=429)
    with pytest.raises(TriedOut) as caught:
        tries.failed("503", after=3600, status=503)
    assert type(caught.value) is TriedOut
    with pytest.raises(SourceError, match="certificate"):
        tries.distrust()


def test_threads_that_are_refused_come_back_one_hold_later(
    web: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (web.folder / "f").write_bytes(b"data")
    web.faults.extend([Fault(status=429)] * 4)
    monkeypatch.setattr(patience, "GATE", Gate(sleep=lambda _: None, clock=iter(range(10**9)).__next__))
    threads = [
        threading.Thread(target=download, args=(f"{web.url}/f", tmp_path / f"{k}"), kwargs={"where": "f"})
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in sorted(tmp_path.glob("[0-3]"))] == [b"data"] * 4
    assert len(web.requests) == 8

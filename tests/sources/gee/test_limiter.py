"""How many requests run at once and when they start: told by a clock that only the limiter's own waiting moves."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3leo_prep.core.errors import StoreError
from m3leo_prep.sources._slots import LONGEST_HOLD, Slots, folder_of
from m3leo_prep.sources.gee.service import limiter as module
from m3leo_prep.sources.gee.service.limiter import BURST, CAP, OWN_CAP, RATE, RESTRICTED_CAP, START, Limiter

INTERVAL = 1 / RATE


class Clock:
    """Time that passes by sleeping alone; threads that sleep until the same moment do so together."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        with self._lock:
            self.now = max(self.now, until)


def slots(folder: Path, count: int = CAP) -> Slots:
    return Slots(folder, count, interval=INTERVAL, burst=BURST)


def limiter(folder: Path, clock: Clock, count: int = CAP) -> Limiter:
    return Limiter(slots(folder, count), clock=clock, sleep=clock.sleep)


def together(n: int, work: Callable[[int], None]) -> None:
    """Run work in n threads; what one of them raises is raised here."""
    errors: list[BaseException] = []

    def guarded(index: int) -> None:
        try:
            work(index)
        except BaseException as error:  # noqa: BLE001  (told below)
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert not errors, errors


def full(subject: Limiter, n: int) -> None:
    """Take n turns that all last until the last of them has begun, and are all answered."""
    barrier = threading.Barrier(n)

    def one(_: int) -> None:
        with subject.turn():
            barrier.wait(10)
            subject.answered()
            barrier.wait(10)

    together(n, one)


def round_trip(subject: Limiter, running: list[AbstractContextManager[float]]) -> None:
    """Answer each request that runs, while as many others as may begin do so: there is always more to ask."""
    for turn in running[:]:
        subject.answered()
        turn.__exit__(None, None, None)
        running.remove(turn)
        while len(running) < subject.window:
            running.append(subject.turn())
            running[-1].__enter__()


def test_concurrency_doubles_until_the_first_refusal_then_grows_by_one(tmp_path: Path) -> None:
    clock = Clock()
    subject = limiter(tmp_path, clock)
    running: list[AbstractContextManager[float]] = []
    for _ in range(START):
        running.append(subject.turn())
        running[-1].__enter__()
    for expected in (2 * START, 4 * START, OWN_CAP, OWN_CAP):
        round_trip(subject, running)
        assert subject.window == len(running) == expected
    clock.now += 1
    subject.refused(clock())
    assert subject.window == OWN_CAP // 2
    while len(running) > subject.window:
        running.pop().__exit__(None, None, None)
    for expected in range(OWN_CAP // 2 + 1, OWN_CAP // 2 + 6):
        round_trip(subject, running)
        assert expected - 1 <= subject.window <= expected + 1  # one per round trip, of which the first is cut short
    for _ in range(40):
        round_trip(subject, running)
    assert subject.window == OWN_CAP


def test_requests_refused_together_halve_it_once(tmp_path: Path) -> None:
    clock = Clock()
    subject = limiter(tmp_path, clock)
    begun = [clock() for _ in range(12)]
    clock.now += 0.3
    for began in begun:
        subject.refused(began)
    assert subject.window == START // 2
    clock.now += 0.3
    subject.refused(clock())  # it began after the cut: the next round trip
    assert subject.window == START // 4
    for _ in range(20):
        clock.now += 1
        subject.refused(clock())
    assert subject.window == 1


def test_an_idle_window_does_not_grow(tmp_path: Path) -> None:
    subject = limiter(tmp_path, Clock())
    for _ in range(100):
        with subject.turn():
            subject.answered()
    assert subject.window == START


@pytest.mark.parametrize("pause", [3.0, 60.0])
def test_twelve_workers_wait_for_one_pause(tmp_path: Path, pause: float) -> None:
    clock = Clock()
    subject = limiter(tmp_path, clock)
    with subject.turn() as began:
        subject.refused(began)
        subject.hold(pause)
    starts: list[float] = []

    def one(_: int) -> None:
        with subject.turn() as began:
            starts.append(began)

    together(12, one)
    assert min(starts) >= 1000.0 + pause


def test_a_pause_is_shared_with_other_processes(tmp_path: Path) -> None:
    clock = Clock()
    limiter(tmp_path, clock).hold(5)
    with limiter(tmp_path, clock).turn() as began:  # what another process makes of the same folder
        assert began >= 1005


def test_a_pause_that_comes_while_a_request_waits_for_its_moment_is_kept(tmp_path: Path) -> None:
    class Interrupted(Clock):
        def sleep(self, seconds: float) -> None:
            if self.now == 1000.0:
                slots(tmp_path).hold(self.now, 7)
            super().sleep(seconds)

    for _ in range(BURST):
        slots(tmp_path).reserve(1000.0)
    with limiter(tmp_path, Interrupted()).turn() as began:
        assert began >= 1007


def test_a_child_that_outlives_its_parent_does_not_keep_the_parents_places(tmp_path: Path) -> None:
    code = f"""
        import os, time
        from pathlib import Path
        from m3leo_prep.sources._slots import Slots
        slots = Slots(Path({str(tmp_path)!r}), 1, interval=0.01, burst=4)
        assert slots.take() == 0
        child = os.fork()
        if child == 0:
            os.close(1)
            time.sleep(60)
        print(child, flush=True)
        os._exit(9)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, stdout=subprocess.PIPE, text=True)
    child = int(done.stdout)
    try:
        assert slots(tmp_path, 1).take() == 0
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_time_from_before_the_last_start_of_the_machine_holds_nobody(tmp_path: Path) -> None:
    limiter(tmp_path, Clock(now=1e6)).hold(5)
    with limiter(tmp_path, Clock(now=10.0)).turn() as began:
        assert began == 10.0


def test_a_hold_is_bounded(tmp_path: Path) -> None:
    subject = slots(tmp_path)
    subject.hold(0.0, 1e9)
    assert subject.held_until(0.0) == LONGEST_HOLD


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0, 0.2), min_size=20, max_size=300))
def test_no_second_has_more_starts_than_the_rate_allows(tmp_path_factory, idle: list[float]) -> None:
    subject = slots(tmp_path_factory.mktemp("rate"))
    now, starts = 50.0, []
    for seconds in idle:
        now += seconds
        starts.append(subject.reserve(now)[0])
    starts.sort()
    for first, start in enumerate(starts):
        within = sum(1 for other in starts[first:] if other < start + 1.0 - 1e-9)
        assert within <= RATE * 1.05


def test_the_rate_counts_what_other_objects_of_the_folder_reserved(tmp_path: Path) -> None:
    several = [slots(tmp_path) for _ in range(4)]
    starts = [random.choice(several).reserve(0.0)[0] for _ in range(204)]
    assert starts[-1] == pytest.approx((204 - BURST) * INTERVAL)


def test_so_many_begin_in_any_minute_however_fast_they_come(tmp_path: Path) -> None:
    """A minute is full after ten; other objects of the folder, as other processes have them, count with them."""
    several = [Slots(tmp_path, 4) for _ in range(3)]
    now, begun = 100.0, []
    for k in range(35):
        while (ahead := several[k % 3].begin(now, 10, 60.0)) > 0:
            now += ahead
        begun.append(now)
        now += 1.5
    assert all(sum(first <= when < first + 60 for when in begun) <= 10 for first in begun)
    assert begun[9] == 100 + 9 * 1.5, "as they come"
    assert begun[-1] < 100 + 3 * 60 + 5 * 1.5, "and no slower than that"
    assert Slots(tmp_path, 4).begin(5.0, 10, 60.0) == 0.0, "this machine was started since"


def test_statistics_count(tmp_path: Path) -> None:
    clock = Clock()
    subject = limiter(tmp_path, clock)
    full(subject, 5)
    with subject.turn() as began:
        subject.refused(began)
    subject.back_off(7.0)
    told = subject.statistics()
    assert (told.requests, told.refused, told.retries, told.peak) == (6, 1, 1, 5)
    assert told.waited >= 7.0


def test_restricted_mode_lowers_concurrency_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    subject = limiter(tmp_path, Clock())
    with caplog.at_level(logging.WARNING, "m3leo_prep"):
        for _ in range(3):
            subject.restrict(True)
    assert subject.window == RESTRICTED_CAP
    (record,) = caplog.records
    assert record.name.startswith("m3leo_prep.")
    assert "noncommercial_tiers" in record.getMessage()
    for _ in range(5):
        full(subject, subject.window)
    assert subject.window == RESTRICTED_CAP
    subject.restrict(False)
    assert subject.window == RESTRICTED_CAP  # it grows again, it does not jump
    full(subject, subject.window)
    assert subject.window > RESTRICTED_CAP


def test_a_long_pause_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    subject = limiter(tmp_path, Clock())
    for _ in range(5):
        subject.hold(120)
    assert [record.getMessage() for record in caplog.records] == [
        "Earth Engine asks for a pause of 120 s; all requests wait"
    ]


def test_a_failed_request_gives_its_place_back(tmp_path: Path) -> None:
    subject = limiter(tmp_path, Clock(), count=1)
    for _ in range(3):
        with pytest.raises(RuntimeError), subject.turn():
            raise RuntimeError
    free = slots(tmp_path, 1).take()
    assert free is not None


def test_the_places_of_a_folder_are_as_many_as_there_are(tmp_path: Path) -> None:
    one, other = slots(tmp_path, 3), slots(tmp_path, 3)
    held = [one.take(), other.take(), one.take()]
    assert None not in held
    assert one.take() is None
    assert other.take() is None
    one.free(held[0])
    assert other.take() is not None


def test_a_dead_process_gives_its_places_back(tmp_path: Path) -> None:
    code = f"""
        import os
        from pathlib import Path
        from m3leo_prep.sources._slots import Slots
        slots = Slots(Path({str(tmp_path)!r}), 2, interval=0.01, burst=4)
        assert None not in (slots.take(), slots.take()) and slots.take() is None
        os._exit(9)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == 9
    subject = slots(tmp_path, 2)
    assert None not in (subject.take(), subject.take())


def test_a_forked_child_neither_frees_nor_keeps_its_parents_places(tmp_path: Path) -> None:
    subject = slots(tmp_path, 1)
    held = subject.take()
    assert held is not None
    come, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # the child has the parent's objects, and none of its places
        seen = subject.take()
        subject.free(held)
        os.write(come[1], b"1" if seen is None else b"0")
        os.read(go[0], 1)
        os._exit(0)
    assert os.read(come[0], 1) == b"1"
    other = slots(tmp_path, 1)
    assert other.take() is None  # the child's free() did nothing
    subject.free(held)
    assert other.take() is not None  # while the child still lives
    os.write(go[1], b"x")
    os.waitpid(child, 0)


def test_two_processes_never_exceed_the_cap(tmp_path: Path) -> None:
    """Each turn notes its begin and end in a file that both share; together they want three times what there is."""
    code = f"""
        import sys, threading, time
        from pathlib import Path
        from m3leo_prep.sources._slots import Slots
        from m3leo_prep.sources.gee.service.limiter import Limiter
        folder = Path({str(tmp_path)!r})
        subject = Limiter(Slots(folder, 5, interval=1e-4, burst=50))
        def work():
            for _ in range(6):
                with subject.turn():
                    with (folder / "log").open("a") as log:
                        log.write("+\\n")
                    time.sleep(0.004)
                    with (folder / "log").open("a") as log:
                        log.write("-\\n")
        threads = [threading.Thread(target=work) for _ in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
    """
    both = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    running = peak = 0
    for line in (tmp_path / "log").read_text().split():
        running += 1 if line == "+" else -1
        peak = max(peak, running)
    assert running == 0
    assert peak == 5


def test_a_waiting_thread_finds_the_place_that_another_process_frees(tmp_path: Path) -> None:
    other = slots(tmp_path, 1)
    held = other.take()
    assert held is not None
    subject = Limiter(slots(tmp_path, 1))
    done: list[float] = []

    def one() -> None:
        with subject.turn() as began:
            done.append(began)

    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert not done
    other.free(held)
    for thread in threads:
        thread.join(10)
    assert len(done) == 5


def test_folders_differ_by_project_and_endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert len({folder_of("a", "x"), folder_of("b", "x"), folder_of("a", "y"), folder_of("a", "x")}) == 3
    assert folder_of("a", "x").is_relative_to(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    assert str(os.getuid()) in str(folder_of("a", "x"))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be counted"):
        slots(tmp_path / "file" / "folder")


def test_one_place_is_left_to_other_processes() -> None:
    assert module.OWN_CAP == CAP - 1

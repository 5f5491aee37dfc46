"""Progress in a log file and on a terminal: a line though nothing finishes, slow units, waiting, and the end."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from m3leo_prep.cli import render
from m3leo_prep.cli.render import progress

CLOCK = r"\d\d:\d\d:\d\d UTC "


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return what a log file gets of standard error."""
    file = io.StringIO()
    monkeypatch.setattr(render, "ERR", Console(file=file, width=80, highlight=False, markup=False))
    return file


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "LOG_SECONDS", 0.05)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("often")
def test_a_line_comes_though_nothing_finishes(log: io.StringIO) -> None:
    with progress({"s1": 4, "dem": 1}, "units"):
        wait_for(lambda: log.getvalue().count("\n") >= 3)
    for line in log.getvalue().splitlines()[:3]:
        assert re.fullmatch(CLOCK + "s1 0/4, dem 0/1 units", line)


@pytest.mark.usefixtures("often")
def test_rate_and_time_left_are_of_what_was_made_now(log: io.StringIO) -> None:
    with progress({"s1": 1000}, "units") as bar:
        for _ in range(900):
            bar.step("s1", skipped=True)
        for _ in range(50):
            bar.step("s1")
        wait_for(lambda: "left" in log.getvalue())
    line = log.getvalue().splitlines()[0]
    assert re.fullmatch(CLOCK + r"s1 950/1,000 units, [\d.]+/min, about \d+ (s|min) left", line)


@pytest.mark.usefixtures("often")
def test_a_unit_that_takes_long_is_named_until_it_is_done(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "LONG_SECONDS", 0.2)
    with progress({"s1": 3}, "units") as bar:
        bar.began("s1/0/0")
        time.sleep(0.1)
        bar.began("s1/1/0")
        wait_for(lambda: "running" in log.getvalue())
        assert log.getvalue().splitlines()[-1].endswith("; s1/0/0 has been running for 0 s")
        bar.step("s1", unit_id="s1/0/0")
        bar.dropped("s1/1/0")
        time.sleep(0.1)
        lines = log.getvalue().count("\n")
        wait_for(lambda: log.getvalue().count("\n") > lines + 1)
        assert "running" not in log.getvalue().splitlines()[-1]


def test_a_short_unit_is_not_named(log: io.StringIO, often: None) -> None:
    with progress({"s1": 3}, "units") as bar:
        bar.began("s1/0/0")
        wait_for(lambda: log.getvalue().count("\n") >= 2)
    assert "running" not in log.getvalue()


@pytest.mark.usefixtures("often")
def test_waiting_is_told_at_once_and_until_it_is_over(log: io.StringIO) -> None:
    with progress({"s1": 3}, "units") as bar:
        bar.note("waiting for gee's quota until 00:00 UTC")
        assert "waiting for gee's quota until 00:00 UTC\n" in log.getvalue()
        wait_for(lambda: "units; waiting for gee" in log.getvalue())
        bar.note("")
        time.sleep(0.1)
        lines = log.getvalue().count("\n")
        wait_for(lambda: log.getvalue().count("\n") > lines + 1)
        assert "waiting" not in log.getvalue().splitlines()[-1]


@pytest.mark.parametrize(("made", "text"), [(0, "s1 0/4 units, 0 made in 0 s"), (4, "s1 4/4 units, 4 made in 0 s")])
def test_the_last_line_always_comes(log: io.StringIO, made: int, text: str) -> None:
    with progress({"s1": 4}, "units") as bar:
        for _ in range(made):
            bar.step("s1")
    assert re.fullmatch(CLOCK + re.escape(text) + "\n", log.getvalue())


def test_a_share_without_work_says_so(log: io.StringIO) -> None:
    with progress({}, "units"):
        pass
    assert re.fullmatch(CLOCK + "no units, 0 made in 0 s\n", log.getvalue())


def test_the_last_line_comes_after_an_error_too_and_the_thread_ends(log: io.StringIO) -> None:
    before = threading.active_count()

    def fail() -> None:
        with progress({"s1": 4}, "units") as bar:
            bar.step("s1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "s1 1/4 units" in log.getvalue()
    assert threading.active_count() == before


@pytest.mark.usefixtures("often")
def test_many_threads_at_once_are_counted_right(log: io.StringIO) -> None:
    with progress({"s1": 4000}, "units") as bar:

        def work(n: int) -> None:
            bar.began(str(n))
            bar.step("s1", unit_id=str(n))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(4000)))
    assert "s1 4,000/4,000 units, 4,000 made" in log.getvalue().splitlines()[-1]


def test_a_terminal_of_80_columns_shows_all_in_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, highlight=False, markup=False, color_system=None)
    monkeypatch.setattr(render, "ERR", console)
    monkeypatch.setattr(render, "LONG_SECONDS", 0.0)
    with progress({"s1grd": 40, "gssic_geometry": 1_000_000}, "units") as bar:
        bar.step("gssic_geometry", skipped=True)
        bar.step("s1grd")
        bar.began("s1grd/3/0")
        bar.note("waiting for gee's quota until 00:00 UTC")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\r", file.getvalue())
    last = [line.strip() for line in re.split(r"[\r\n]+", shown) if line.strip()][-4:]
    assert re.match(r"s1grd .* 1/40 units [\d.]+/min", last[0])
    assert re.match(r"gssic_geometry .* 1/1,000,000 units +kept", last[1])
    assert last[2:] == ["waiting for gee's quota until 00:00 UTC", "s1grd/3/0 has been running for 0 s"]
    assert all(len(line) <= 80 for line in last)

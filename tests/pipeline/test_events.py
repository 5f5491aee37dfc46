"""The event log and the status file: whole lines from many threads, torn ends, full disks, what is taken over."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.pipeline.follow import events
from m3leo_prep.pipeline.follow.events import RunLog, read_log, read_status_files


def status_of(state: Path, writer: str = "build") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((state / "status" / f"{writer}.json").read_text())
    return found


def make(log: RunLog, unit: str, **facts: Any) -> None:
    layer = unit.split("/")[0]
    log.began(unit, layer)
    all_facts: dict[str, Any] = {"retryable": 0, "bytes": 10, "reasons": {}, "damaged": 0} | facts
    log.finished(unit, layer, **all_facts)


def test_a_run_is_told_event_by_event_and_summed_up(tmp_path: Path) -> None:
    with RunLog(tmp_path, "build") as log:
        log.started({"s1": 3, "dem": 1}, {"s1": 1})
        make(log, "s1/1/0", retryable=2, reasons={"OK": 5, "RATE_LIMITED": 2}, damaged=1)
        log.began("s1/2/0", "s1")
        log.dropped("s1/2/0")
        log.waiting("gee", datetime(2030, 1, 2, tzinfo=UTC), "quota used up")
        assert status_of(tmp_path)["waiting"] == {
            "what": "gee",
            "until": "2030-01-02T00:00:00.000+00:00",
            "message": "quota used up",
        }
        log.resumed()
        make(log, "s1/2/0", reasons={"OK": 1})
        make(log, "dem/0/0")
        log.ended(7, "two holes")
    told = list(read_log(tmp_path / "log.jsonl"))
    assert [event["event"] for event in told] == [
        *("started", "finished", "dropped", "waiting", "resumed", "finished", "finished", "ended")
    ]
    assert len({event["run"] for event in told}) == 1
    assert all(datetime.fromisoformat(event["time"]).utcoffset() is not None for event in told)
    assert (told[0]["pid"], told[0]["units"], told[0]["done_before"]) == (os.getpid(), {"s1": 3, "dem": 1}, {"s1": 1})
    assert told[1]["unit"] == "s1/1/0"
    assert told[1]["reasons"] == {"OK": 5, "RATE_LIMITED": 2}
    assert told[-1]["exit"] == 7
    status = status_of(tmp_path)
    assert status["layers"]["s1"] == {
        "units": 3,
        "done": 3,
        "retryable": 2,
        "bytes": 20,
        "damaged": 1,
        "reasons": {"OK": 6, "RATE_LIMITED": 2},
        "plan": None,
    }
    assert status["running"] == []
    assert status["waiting"] is None
    assert (status["ended"]["exit"], status["ended"]["message"]) == (7, "two holes")


def test_many_threads_leave_whole_lines_and_right_sums(tmp_path: Path) -> None:
    with RunLog(tmp_path, "build") as log:
        log.started({"s1": 400}, {})
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: make(log, f"s1/{n}/0", retryable=1, reasons={"OK": 2}), range(400)))
        log.ended(0)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 402
    counts = status_of(tmp_path)["layers"]["s1"]
    assert (counts["done"], counts["retryable"], counts["bytes"]) == (400, 400, 4000)
    assert counts["reasons"] == {"OK": 800}


def test_a_reader_never_meets_half_a_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WRITE_SECONDS", 0.001)
    over = threading.Event()

    def work() -> None:
        with RunLog(tmp_path, "build") as log:
            log.started({"s1": 10**6}, {})
            n = 0
            while not over.is_set():
                make(log, f"s1/{n}/0")
                n += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        seen: set[int] = set()
        while len(seen) < 20:
            if (tmp_path / "status/build.json").exists():
                seen.add(status_of(tmp_path)["layers"]["s1"]["done"])
    finally:
        over.set()
        thread.join()


def test_the_status_is_written_at_most_once_a_second_but_the_last_event_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "WRITE_SECONDS", 0.3)
    with RunLog(tmp_path, "build") as log:
        log.started({"s1": 50}, {})
        inodes = {(tmp_path / "status/build.json").stat().st_mtime_ns}
        for n in range(50):
            make(log, f"s1/{n}/0")
            inodes.add((tmp_path / "status/build.json").stat().st_mtime_ns)
        log.began("s1/50/0", "s1")
        assert len(inodes) <= 2
        deadline = time.monotonic() + 10
        while status_of(tmp_path)["layers"]["s1"]["done"] < 50 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert status_of(tmp_path)["layers"]["s1"]["done"] == 50
        assert [unit["unit"] for unit in status_of(tmp_path)["running"]] == ["s1/50/0"]


def test_a_silent_run_says_now_and_then_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WRITE_SECONDS", 0.02)
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.1)
    with RunLog(tmp_path, "build") as log:
        log.started({"s1": 1}, {})
        first = status_of(tmp_path)["updated"]
        deadline = time.monotonic() + 10
        while status_of(tmp_path)["updated"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_torn_lines_are_left_out_and_the_next_run_starts_a_line_of_its_own(tmp_path: Path) -> None:
    for run in range(2):
        with RunLog(tmp_path, "part-1-of-3", part=(1, 3)) as log:
            log.started({"s1": 1}, {})
            log.ended(0)
        if run == 0:
            with (tmp_path / "log-part-1-of-3.jsonl").open("ab") as file:
                file.write(b'{"time": "2026-01-01T00:00:00+00:00", "event": "fini')
    told = list(read_log(tmp_path / "log-part-1-of-3.jsonl"))
    assert [event["event"] for event in told] == ["started", "ended", "started", "ended"]
    assert told[0]["run"] != told[2]["run"]
    assert not (tmp_path / "log.jsonl").exists()


def test_bytes_that_are_no_text_in_a_log_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'\xff\xfe\n\x00\x00\n[1]\n{"event": "started"}\n{"event"')
    assert list(read_log(tmp_path / "log.jsonl")) == [{"event": "started"}]


def test_a_full_disk_stops_the_log_with_one_warning_not_the_build(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    said: list[str] = []
    with RunLog(tmp_path, "build", warn=said.append) as log:
        log.started({"s1": 9}, {})
        for n in range(9):
            make(log, f"s1/{n}/0")
        log.ended(0)
    assert len(said) == 1
    assert "No space left" in said[0]
    assert status_of(tmp_path)["layers"]["s1"]["done"] == 9


LIMITED = """
import resource, sys
from pathlib import Path
from m3leo_prep.pipeline.follow.events import RunLog
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
said = []
with RunLog(Path(sys.argv[1]), "build", warn=said.append) as log:
    log.started({"s1": 100}, {})
    for n in range(100):
        log.began(f"s1/{n}/0", "s1")
        log.finished(f"s1/{n}/0", "s1", retryable=0, bytes=0, reasons={}, damaged=0)
    log.ended(0)
print(len(said))
"""


def test_a_file_that_may_grow_no_further_leaves_a_log_that_reads(tmp_path: Path) -> None:
    assert resource.RLIMIT_FSIZE  # the limit is set in a process of its own
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "1"
    told = list(read_log(tmp_path / "log.jsonl"))
    assert 3 < len(told) < 100
    assert status_of(tmp_path)["layers"]["s1"]["done"] == 100


def test_a_folder_that_cannot_be_written_gives_two_warnings_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("in the way")
    (tmp_path / "log.jsonl").mkdir()
    said: list[str] = []
    with RunLog(tmp_path, "build", warn=said.append) as log:
        log.started({"s1": 1}, {})
        make(log, "s1/0/0")
        log.ended(0)
    assert len(said) == 2


def test_a_whole_build_replaces_the_parts_and_keeps_what_they_made_of_other_layers(tmp_path: Path) -> None:
    for i in (1, 2):
        with RunLog(tmp_path, f"part-{i}-of-2", part=(i, 2)) as log:
            log.started({"s1": 3, "dem": 2}, {})
            for n in range(i):
                make(log, f"s1/{i}{n}/0")
            make(log, f"dem/{i}/0", retryable=1)
            log.ended(0)
    with RunLog(tmp_path, "build") as log:
        log.started({"dem": 4}, {"dem": 2})
        log.ended(0)
    assert list(read_status_files(tmp_path)) == ["build"]
    layers = status_of(tmp_path)["layers"]
    assert (layers["s1"]["units"], layers["s1"]["done"]) == (6, 3)
    assert (layers["dem"]["units"], layers["dem"]["done"], layers["dem"]["retryable"]) == (4, 2, 0)


def test_a_run_that_is_refused_before_it_starts_forgets_nothing(tmp_path: Path) -> None:
    with RunLog(tmp_path, "build") as log:
        log.started({"s1": 2}, {})
        make(log, "s1/0/0", retryable=3)
        log.ended(130, "interrupted")
    with RunLog(tmp_path, "build") as log:
        log.ended(5, "the disk is full")
    status = status_of(tmp_path)
    assert (status["layers"]["s1"]["done"], status["layers"]["s1"]["retryable"]) == (1, 3)
    assert (status["ended"]["exit"], status["ended"]["message"]) == (5, "the disk is full")


def test_a_part_removes_parts_of_other_counts_only(tmp_path: Path) -> None:
    for writer, part in [("build", None), ("part-1-of-4", (1, 4)), ("part-3-of-14", (3, 14)), ("part-2-of-3", (2, 3))]:
        (tmp_path / "status").mkdir(exist_ok=True)
        with RunLog(tmp_path / writer, writer, part=part) as log:
            (tmp_path / writer).mkdir()
            log.started({"s1": 1}, {})
        (tmp_path / writer / "status" / f"{writer}.json").rename(tmp_path / "status" / f"{writer}.json")
    with RunLog(tmp_path, "part-1-of-3", part=(1, 3)) as log:
        log.started({"s1": 1}, {})
    assert sorted(read_status_files(tmp_path)) == ["build", "part-1-of-3", "part-2-of-3"]


def test_files_that_are_not_ours_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "status"
    folder.mkdir()
    (folder / "build.json").write_text("[1, 2]")
    (folder / "part-1-of-2.json").write_text('{"writer": "x"')
    (folder / "x.json").write_bytes(b"\xff")
    assert read_status_files(tmp_path) == {}


def test_the_rate_is_of_late_and_stands_while_waiting(tmp_path: Path) -> None:
    with RunLog(tmp_path, "build") as log:
        log.started({"s1": 100}, {})
        for n in range(4):
            time.sleep(0.05)
            make(log, f"s1/{n}/0")
        log.waiting("gee", None, "")
        rate = status_of(tmp_path)["rate"]
        assert 5 < rate <= 20
        time.sleep(0.2)
        log.resumed()
        assert status_of(tmp_path)["rate"] is None  # the wait does not count, and nothing was made since


def test_a_run_that_is_killed_leaves_what_it_was_at(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom m3leo_prep.pipeline.follow.events import RunLog\n"
        "log = RunLog(Path(sys.argv[1]), 'build')\nlog.started({'s1': 2}, {})\nlog.began('s1/0/0', 's1')\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as child:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if (found := read_status_files(tmp_path).get("build")) and found["running"]:
                break
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    left = status_of(tmp_path)
    assert [unit["unit"] for unit in left["running"]] == ["s1/0/0"]
    assert left["ended"] is None

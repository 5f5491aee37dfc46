"""Builds that run elsewhere: parts, quotas, logins, signals; how each ends, and what the command line says."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.forked import Started, forked
from tests.pipeline.conftest import tree

BOX = "9.300,57.100,9.312,57.104"
"""Twelve chips of the small recipe, in twelve shards of a layer."""
RECIPE = """\
name: small
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
  guarded: {source: "./my_source.py:Guarded", door: door}
"""
SOURCE = """
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from m3leo_prep.core.errors import CredentialsError, QuotaReached, SourceError, TransientError
from m3leo_prep.sources.ramp import Ramp


@dataclass(frozen=True)
class Guarded(Ramp):
    '''A ramp behind a door: the file `door` says what happens to whoever reads.'''

    door: str = ""

    def read(self, items, geobox, slot):
        path = Path(self.door)
        match path.read_text().split() if path.exists() else []:
            case ["login"]:
                raise CredentialsError("the login was refused", hint="m3leo-prep login guarded")
            case ["quota", seconds]:
                until = datetime.now(UTC) + timedelta(seconds=float(seconds))
                path.unlink()  # a new day
                raise QuotaReached("100 requests a day are used up", until=until)
            case ["down"]:
                raise TransientError("no answer")
            case ["broken"]:
                raise SourceError("the archive is closed", hint="ask again in spring")
            case ["slow", seconds]:
                Path(self.door + ".read").touch()
                time.sleep(float(seconds))
            case ["chatty"]:
                print("hello from the source")
                os.system("echo hello from its library")
        return super().read(items, geobox, slot)
"""
START = (
    "from m3leo_prep.core import layer; layer.SHARD_CHIPS = (1,); "
    "from m3leo_prep.pipeline import unit; unit.PAUSE_SECONDS = 0.0; "
    "from m3leo_prep.cli.main import main; main()"
)
BUILD = ("build", "--aoi", BOX, "--recipe", "small.yaml", "--out", "d", "--workers", "2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(RECIPE)
    (tmp_path / "my_source.py").write_text(SOURCE)
    return tmp_path


def spawn(folder: Path, *args: str, leads: bool = False) -> Started:
    return forked().start(folder, *args, code=START, leads=leads)


@dataclass
class Ended:
    code: int
    out: str
    err: str


def run(folder: Path, *args: str) -> Ended:
    return ended(spawn(folder, *args))


def ended(process: Started) -> Ended:
    out, err = process.communicate()
    return Ended(process.wait(), out, err)


def wait_for(path: Path, process: Started, pattern: str = "") -> None:
    """Wait until a file is there, or one in that folder that fits the pattern."""
    for _ in range(600):
        if any(path.glob(pattern)) if pattern else path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    pytest.fail(f"{path} did not appear")


@pytest.mark.parametrize(
    ("door", "code", "says"),
    [
        ("login", 3, ["the login was refused", "m3leo-prep login guarded", "12 shards of guarded are left"]),
        (
            "quota 7200",
            75,
            ["100 requests a day are used up", "run the same command again after 20", "--on-quota wait"],
        ),
        ("down", 7, ["holes may fill: run the same command again"]),
        ("broken", 4, ["the archive is closed", "ask again in spring"]),
    ],
)
def test_what_a_provider_does_decides_how_it_ends(folder: Path, door: str, code: int, says: list[str]) -> None:
    (folder / "door").write_text(door)
    first = run(folder, *BUILD)
    assert first.code == code, first.err
    for part in says:
        assert part in first.err
    assert "Traceback" not in first.err
    (folder / "door").unlink(missing_ok=True)
    again = run(folder, *BUILD, "--json")
    assert again.code == 0, again.err
    made = json.loads(again.out)
    assert made["verified"]
    if code != 4:
        assert made["units_done_before"] >= 12, "the other layer was built"


def test_waiting_for_a_quota(folder: Path) -> None:
    (folder / "door").write_text("quota 1")
    facts = folder / "facts"
    done = run(
        folder, *BUILD, "--on-quota", "wait", "--notify", f"cat >> {facts}; echo $M3LEO_EVENT >> {folder}/events"
    )
    assert done.code == 0, done.err
    assert "waiting for ./my_source.py:Guarded until" in done.err
    assert (folder / "events").read_text().split() == ["waiting", "finished"]
    assert "100 requests a day" in facts.read_text()


@pytest.mark.parametrize("word", ["never", "WAIT", ""])
def test_another_word_for_a_quota_is_refused(folder: Path, word: str) -> None:
    done = run(folder, *BUILD, "--on-quota", word)
    assert done.code == 2
    assert "--on-quota is wait or stop" in done.err


def test_a_failure_is_notified_and_a_failing_command_is_no_failure(folder: Path) -> None:
    (folder / "door").write_text("broken")
    failed = run(folder, *BUILD, "--notify", f"echo $M3LEO_EVENT $M3LEO_EXIT >> {folder}/events")
    assert failed.code == 4
    assert (folder / "events").read_text().split() == ["failed", "4"]
    (folder / "door").unlink()
    done = run(folder, *BUILD, "--notify", "exit 3")
    assert done.code == 0
    assert "warning: --notify ended with exit code 3" in done.err


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_what_a_source_prints_does_not_spoil_json(folder: Path, runner: str) -> None:
    (folder / "door").write_text("chatty")
    done = run(folder, *BUILD, "--json", "--runner", runner)
    assert json.loads(done.out)["verified"] is True
    for told in ("hello from the source", "hello from its library"):
        assert told in done.err
    checked = run(folder, "verify", "d", "--json")
    assert json.loads(checked.out)["ok"] is True
    assert "hello from the source" in checked.err


def test_workers_end_with_their_parent(folder: Path) -> None:
    """Whoever kills the build frees its lock: nobody may go on writing then."""
    (folder / "door").write_text("slow 600")
    build = spawn(folder, *BUILD, "--runner", "processes")
    wait_for(folder / "door.read", build)
    workers = psutil.Process(build.pid).children(recursive=True)
    assert workers
    build.kill()
    build.communicate()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive


def test_ctrl_c_of_a_terminal_reaches_the_build_and_not_its_workers(folder: Path) -> None:
    """A terminal signals the whole group; the shards at work are finished and counted all the same."""
    (folder / "door").write_text("slow 1")
    build = spawn(folder, *BUILD, "--runner", "processes", leads=True)
    wait_for(folder / "door.read", build)
    os.killpg(build.pid, signal.SIGINT)
    assert ended(build).code == 130
    (folder / "door").unlink()
    assert json.loads(run(folder, *BUILD, "--json").out)["units_done_before"] > 0


def test_the_exit_code_is_notified(folder: Path) -> None:
    (folder / "door").write_text("down")
    done = run(folder, *BUILD, "--notify", f"echo $M3LEO_EVENT $M3LEO_EXIT >> {folder}/events")
    assert done.code == 7
    assert (folder / "events").read_text().split() == ["finished", "7"]


@pytest.mark.parametrize("args", [("--by", "landcover"), ("--seed", "3")])
def test_how_to_sample_without_a_sample(folder: Path, args: tuple[str, ...]) -> None:
    done = run(folder, *BUILD, *args, "--dry-run")
    assert done.code == 2
    assert "--sample N" in done.err


def test_three_parts_at_once_one_of_them_killed(folder: Path) -> None:
    """The dead part's lock is free, its finished shards count, and the bytes are those of a whole build."""
    (folder / "door").write_text("slow 0.3")
    parts = [spawn(folder, *BUILD, "--part", f"{i}/3", "--json") for i in (1, 2, 3)]
    wait_for(folder / "d" / ".m3leo" / "ledger", parts[1], "part-2-of-3-*.seg")
    parts[1].send_signal(signal.SIGKILL)
    ends = [ended(part) for part in parts]
    assert [end.code for end in ends] == [0, -signal.SIGKILL, 0], [end.err for end in ends]
    open_still = run(folder, "finalize", "d")
    assert open_still.code == 5
    assert "not built yet" in open_still.err
    status = run(folder, "status", "d", "--json")
    assert status.code == 0, status.err
    again = run(folder, *BUILD, "--part", "2/3")
    assert again.code == 0, again.err
    assert "m3leo-prep finalize d" in again.err
    closed = run(folder, "finalize", "d", "--json")
    assert closed.code == 0, closed.err
    assert json.loads(closed.out)["verified"] is True
    whole = run(folder, *BUILD[:-3], "whole")
    assert whole.code == 0, whole.err
    assert tree(folder / "d") == tree(folder / "whole")
    made = sum(json.loads(end.out)["units_built"] for end in (ends[0], ends[2]))
    assert made == 16


def test_the_first_part_plans_and_the_others_take_its_plan(folder: Path) -> None:
    parts = [spawn(folder, *BUILD, "--part", f"{i}/2") for i in (1, 2)]
    told = [ended(part) for part in parts]
    assert [end.code for end in told] == [0, 0], [end.err for end in told]
    # A part that finds the plan says nothing of growth or changed items.
    assert not any("has changed" in end.err or "items went" in end.err for end in told)


@pytest.mark.parametrize("text", ["4/3", "0/3", "1/0", "one", "1/3/5"])
def test_part_numbers_that_do_not_fit(folder: Path, text: str) -> None:
    done = run(folder, *BUILD, "--part", text)
    assert done.code == 2
    assert "hint:" in done.err
    assert not (folder / "d").exists()


def test_the_same_part_twice_and_another_count(folder: Path) -> None:
    (folder / "door").write_text("slow 30")
    first = spawn(folder, *BUILD, "--part", "1/2")
    try:
        wait_for(folder / "door.read", first)
        twice = run(folder, *BUILD, "--part", "1/2")
        assert twice.code == 5
        assert "part 1 of 2 is being built already: process" in twice.err
        other = run(folder, *BUILD, "--part", "1/3")
        assert other.code == 5
        assert "being built in 2 parts" in other.err
        whole = run(folder, *BUILD)
        assert whole.code == 5
        assert "another build writes this dataset" in whole.err
        close = run(folder, "finalize", "d")
        assert close.code == 5
    finally:
        first.kill()
        first.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_running_shards_end(folder: Path, number: int) -> None:
    (folder / "door").write_text("slow 1")
    build = spawn(folder, *BUILD)
    wait_for(folder / "door.read", build)
    build.send_signal(number)
    done = ended(build)
    assert done.code == 130
    assert "stopping when the shards at work are done" in done.err
    assert "run the same command again" in done.err
    (folder / "door").unlink()
    again = run(folder, *BUILD, "--json")
    assert json.loads(again.out)["units_done_before"] > 0


def test_a_second_signal_ends_a_source_that_hangs(folder: Path) -> None:
    (folder / "door").write_text("slow 600")
    build = spawn(folder, *BUILD)
    wait_for(folder / "door.read", build)
    start = time.monotonic()
    build.send_signal(signal.SIGINT)
    time.sleep(1)
    assert build.poll() is None, "it waits for what is running"
    build.send_signal(signal.SIGINT)
    done = ended(build)
    assert done.code == 130
    assert time.monotonic() - start < 60
    (folder / "door").unlink()
    assert run(folder, *BUILD).code == 0


def test_the_log_tells_the_story(folder: Path) -> None:
    (folder / "door").write_text("quota 7200")
    run(folder, *BUILD)
    run(folder, *BUILD)
    lines = [json.loads(line) for line in (folder / "d" / ".m3leo" / "log.jsonl").read_text().splitlines()]
    events: list[Any] = [(line["event"], line.get("exit")) for line in lines if line["event"] in {"started", "ended"}]
    assert events == [("started", None), ("ended", 75), ("started", None), ("ended", 0)]
    assert {line["pid"] for line in lines if line["event"] == "started"}.isdisjoint({os.getpid()})


def test_a_sample_is_drawn_continued_and_grown(folder: Path) -> None:
    drawn = run(folder, *BUILD, "--sample", "4", "--json")
    assert drawn.code == 0, drawn.err
    n = json.loads(drawn.out)["chips"]
    assert 4 <= n < 8
    again = run(folder, *BUILD, "--json")
    assert json.loads(again.out)["chips"] == n
    assert json.loads(again.out)["units_built"] == 0
    grown = run(folder, *BUILD, "--sample", "9", "--json")
    assert json.loads(grown.out)["chips"] >= 9
    assert json.loads(grown.out)["units_done_before"] == 2 * n
    assert "new chips" in grown.err
    for args, says in (
        (("--sample", "100"), "12"),
        (("--sample", "4"), "sample"),
        (("--sample", "9", "--seed", "5"), "seed"),
        (("--sample", "9", "--by", "landcover"), "blocks"),
        (("--sample", "9", "--by", "colour"), "landcover"),
    ):
        done = run(folder, *BUILD, *args)
        assert done.code == 2, (args, done.err)
        assert says in done.err

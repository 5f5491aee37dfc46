"""``m3leo-prep status`` as one sees it: lines, bars, what to do next, JSON, and errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.cli.following import run_status
from m3leo_prep.cli.render import duration
from m3leo_prep.pipeline.follow.events import RunLog
from m3leo_prep.store.lock import BuildLock
from tests.cli.forked import forked

Screen = Callable[[Path], list[str]]


@pytest.fixture
def screen(capsys: pytest.CaptureFixture[str]) -> Screen:
    """Return a function that gives the lines of the status."""

    def look(path: Path) -> list[str]:
        capsys.readouterr()
        run_status(str(path), as_json=False)
        return capsys.readouterr().out.splitlines()

    return look


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "my data"
    (path / ".m3leo/plan").mkdir(parents=True)
    shapes = {"s1grd": (64, 19, 2), "worldcover": (4096, 1, 1)}
    document = {
        "n_chips": 6400,
        "recipe": {"name": "mini"},
        "area": {"name": "here"},
        "layers": [
            {"layer": {"name": name, "shard_chips": n, "shard_slots": t, "slots": [{}] * slots}}
            for name, (n, slots, t) in shapes.items()
        ],
    }
    (path / ".m3leo/plan/plan.json").write_text(json.dumps(document))
    return path


def finish(log: RunLog, layer: str, n: int, **facts: Any) -> None:
    told: dict[str, Any] = {"retryable": 0, "bytes": 10**9, "reasons": {}, "damaged": 0} | facts
    for i in range(n):
        log.finished(f"{layer}/{i}/0", layer, **told)


def test_a_running_build(dataset: Path, screen: Screen) -> None:
    with BuildLock(dataset / ".m3leo"), RunLog(dataset / ".m3leo", "build") as log:
        log.started({"s1grd": 1000, "worldcover": 2}, {"worldcover": 2})
        finish(log, "s1grd", 499, reasons={"OK": 60, "NO_ACQUISITION": 3, "RATE_LIMITED": 1}, retryable=1)
        log.waiting("gee", None, "too many requests")
        log.resumed()
        log.began("s1grd/7/3", "s1grd")
        log.waiting("gee", datetime.now(UTC) + timedelta(hours=5, minutes=12, seconds=20), "too many requests")
        lines = screen(dataset)
    assert lines[0] == f"mini over here: 6,400 chips in {dataset}"
    assert lines[1].split() == [
        "s1grd",
        "█████████░░░░░░░░░░░",
        "49.9",
        "%",
        "499",
        "of",
        "1,000",
        "units",
        "499",
        "GB",
    ]
    assert lines[2].split()[:4] == ["worldcover", "█" * 20, "100.0", "%"]
    assert lines[3].split()[0] == "all"
    assert lines[4].startswith("build: waiting for gee's quota until 20")
    assert lines[4].endswith(" UTC (in 5 h 12 min)")
    assert "501 of 1,002 units" in lines[5]
    assert lines[6:] == [
        "holes in s1grd: 499 to be asked for again",
        "missing in s1grd: rate limited 499, no acquisition 1,497",
    ]
    assert max(len(line) for line in lines[1:]) <= 80


def test_a_build_that_ended_says_why_and_what_to_do(dataset: Path, screen: Screen) -> None:
    with RunLog(dataset / ".m3leo", "build") as log:
        log.started({"s1grd": 1000, "worldcover": 2}, {})
        log.ended(75, "the quota of gee is used up")
    lines = screen(dataset)
    assert "with exit code 75, 0 of 1,002 units" in lines[4]
    assert lines[5] == "  the quota of gee is used up"
    assert lines[-1] == "next: run the same `m3leo-prep build` command again: what is finished is kept"


def test_nothing_looks_full_before_it_is(dataset: Path, screen: Screen) -> None:
    with RunLog(dataset / ".m3leo", "build") as log:
        log.started({"s1grd": 1000, "worldcover": 2}, {"s1grd": 999, "worldcover": 2})
    lines = screen(dataset)
    assert "█" * 19 + "░  99.9 %" in lines[1]
    assert "100.0 %" not in lines[3]


def test_many_parts_are_summed_up_and_the_stopped_ones_named(dataset: Path, screen: Screen) -> None:
    for i in range(1, 20):
        with RunLog(dataset / ".m3leo", f"part-{i}-of-40", part=(i, 40)) as log:
            log.started({"s1grd": 25}, {"s1grd": 25})
            log.ended(0 if i != 5 else 4, "" if i != 5 else "the source is down")
    lines = screen(dataset)
    assert lines[4] == "40 writers: 18 finished, 1 stopped, 21 missing"
    assert lines[5].startswith("part 5/40: stopped")
    assert lines[6] == "  the source is down"
    assert "--part I/40 for I = 5,20-40" in lines[-1]
    assert len(lines) == 8


def test_the_next_command_can_be_pasted(dataset: Path, screen: Screen) -> None:
    for i in (1, 2):
        with RunLog(dataset / ".m3leo", f"part-{i}-of-2", part=(i, 2)) as log:
            log.started({"s1grd": 500, "worldcover": 1}, {"s1grd": 500, "worldcover": 1})
            log.ended(0)
    assert screen(dataset)[-1] == f"next: m3leo-prep finalize '{dataset}'"
    (dataset / "manifest.json").write_text(json.dumps({"n_chips": 6400, "layers": {"s1grd": {}, "worldcover": {}}}))
    assert screen(dataset)[-2:] == [
        "all units are made and the dataset is closed",
        f"next: m3leo-prep verify '{dataset}'",
    ]


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_no_dataset_is_an_error_with_a_hint(tmp_path: Path, where: str) -> None:
    done = _command(str(tmp_path / where))
    assert done.returncode == 5
    assert done.stdout == ""
    assert "error: " in done.stderr
    assert "hint: give the folder that `build --out` made" in done.stderr


def test_json_is_one_document_and_all_of_standard_output(dataset: Path) -> None:
    done = _command(str(dataset), "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["units"], found["done"], found["writers"]) == (1002, 0, [])
    assert done.stderr == ""


def test_it_needs_none_of_the_heavy_libraries(dataset: Path) -> None:
    code = (
        "import sys\nfrom m3leo_prep.cli.following import run_status\nrun_status(sys.argv[1], as_json=True)\n"
        "heavy = {'numpy', 'pyarrow', 'shapely', 'pyproj', 'rasterio', 'numba', 'pydantic'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    with RunLog(dataset / ".m3leo", "build") as log:
        log.started({"s1grd": 1}, {})
    subprocess.run([sys.executable, "-c", code, str(dataset)], check=True, stdout=subprocess.DEVNULL, timeout=60)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.5, "1 min"),
        (60, "1 min"),
        (3569, "59 min"),
        (3570, "1 h 0 min"),
        (18_720, "5 h 12 min"),
        (47 * 3600 + 59 * 60, "47 h 59 min"),
        (48 * 3600, "2 d 0 h"),
        (76 * 3600, "3 d 4 h"),
    ],
)
def test_a_time_span_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return forked().run(Path.cwd(), "status", *arguments)

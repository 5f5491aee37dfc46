"""How far a build is: the figures against the plan's units, and who is alive, with real processes and real locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.core.errors import StoreError
from m3leo_prep.core.raster import Slot
from m3leo_prep.pipeline import state
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.follow import status
from m3leo_prep.pipeline.follow.events import RunLog, read_log, read_status_files
from m3leo_prep.pipeline.follow.status import read_status
from m3leo_prep.pipeline.follow.writers import Doing, Writer, _holder
from m3leo_prep.runners.threads import Threads
from m3leo_prep.store.ledger import Ledger, Record, ShardFile
from m3leo_prep.store.lock import BuildLock

from .conftest import plan

BUILDER = """
import sys, time, json
from pathlib import Path
from m3leo_prep.pipeline.follow.events import RunLog
from m3leo_prep.store.lock import BuildLock
state, part, orders = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
writer = f"part-{part}" if part else "build"
numbers = tuple(int(n) for n in part.split("-of-")) if part else None
with BuildLock(state, part):
    with RunLog(state, writer, part=numbers) as log:
        log.started(orders["units"], {})
        for n in range(orders.get("make", 0)):
            log.began(f"s1/{n}/0", "s1")
            log.finished(f"s1/{n}/0", "s1", retryable=0, bytes=5, reasons={"OK": 1}, damaged=0)
        log.began("s1/99/0", "s1")
        time.sleep(1.5)  # until the status file tells it
        print("ready", flush=True)
        time.sleep(600)
"""

LOOKER = """
import sys
from pathlib import Path
from m3leo_prep.pipeline.follow.status import read_status
print("on", flush=True)
while True:
    read_status(Path(sys.argv[1]))
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a builder in a process of its own, ready when it returns."""
    children = []

    def run(dataset: Path, part: str = "", **orders: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BUILDER, str(dataset / ".m3leo"), part, json.dumps(orders)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield run
    for child in children:
        child.kill()
        child.communicate()


def dataset(path: Path, *, chips: int = 40, layers: dict[str, tuple[int, int, int]] | None = None) -> Path:
    """Make a folder with a plan: per layer, chips per shard, slots, slots per shard."""
    shapes = layers or {"s1": (4, 4, 2), "dem": (16, 1, 1)}
    document = {
        "format_version": "1.0",
        "n_chips": chips,
        "recipe": {"name": "mini"},
        "area": {"name": "here"},
        "layers": [
            {"layer": {"name": name, "shard_chips": n, "shard_slots": t, "slots": [{}] * slots}}
            for name, (n, slots, t) in shapes.items()
        ],
    }
    (path / ".m3leo/plan").mkdir(parents=True)
    (path / ".m3leo/plan/plan.json").write_text(json.dumps(document))
    return path


def close_it(path: Path, *, chips: int = 40, layers: tuple[str, ...] = ("s1", "dem")) -> None:
    (path / "manifest.json").write_text(json.dumps({"n_chips": chips, "layers": {name: {} for name in layers}}))


def run_of(path: Path, part: tuple[int, int] | None, units: dict[str, int], exit_code: int | None = 0) -> None:
    """Leave what a run leaves that made all of its units."""
    writer = "build" if part is None else f"part-{part[0]}-of-{part[1]}"
    with RunLog(path / ".m3leo", writer, part=part) as log:
        log.started(units, {})
        for layer, n in units.items():
            for i in range(n):
                log.finished(f"{layer}/{i}/0", layer, retryable=0, bytes=1, reasons={}, damaged=0)
        if exit_code is not None:
            log.ended(exit_code, "" if exit_code in {0, 7} else "the quota of gee is used up")


def elsewhere(path: Path, writer: str, **changes: Any) -> None:
    """Change a status file, as if another machine had written it."""
    file = path / ".m3leo/status" / f"{writer}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"host": "node7"} | changes))


def test_the_place_of_the_plan_is_the_one_that_build_writes() -> None:
    assert (status.STATE, status.PLAN) == (state.STATE, state.PLAN)


@pytest.mark.parametrize(("n_shard", "t_shard"), [(1, 1), (3, 2), (4, 5), (1000, 1)])
def test_units_are_those_of_the_frozen_plan(tmp_path: Path, n_shard: int, t_shard: int) -> None:
    made = plan()
    slots = tuple(Slot(str(n), datetime(2020, n, 1, tzinfo=UTC), datetime(2020, n, 9, tzinfo=UTC)) for n in range(1, 6))
    layers = tuple(
        replace(p, layer=replace(p.layer, shard_chips=n_shard, shard_slots=t_shard, slots=slots)) for p in made.layers
    )
    made = replace(made, layers=layers)
    state.DatasetFolder(tmp_path).freeze(made)
    found = read_status(tmp_path)
    assert {layer.layer: layer.units for layer in found.layers} == Counter(unit.layer for unit in made.units())
    assert (found.chips, found.name, found.area) == (len(made.cells), "mini", "here")


def test_a_build_leaves_a_status_and_a_log_that_agree_with_it(tmp_path: Path) -> None:
    made = plan()
    result = build(made, tmp_path, runner=Threads(2))
    found = read_status(tmp_path)
    units = Counter(unit.layer for unit in made.units())
    assert {layer.layer: (layer.units, layer.done) for layer in found.layers} == {n: (k, k) for n, k in units.items()}
    assert found.is_closed
    assert found.next == f"m3leo-prep verify {tmp_path}"
    told = list(read_log(tmp_path / ".m3leo/log.jsonl"))
    assert {event["unit"] for event in told if event["event"] == "finished"} == {unit.id for unit in made.units()}
    assert (told[0]["event"], told[-1]["event"], told[-1]["exit"]) == ("started", "ended", 0)
    size = sum(p.stat().st_size for p in (tmp_path / "chips.zarr").rglob("c/**/*") if p.is_file())
    assert sum(event["bytes"] for event in told if event["event"] == "finished") <= size
    assert sum(layer.bytes for layer in found.layers) > 0
    assert build(made, tmp_path, runner=Threads(2)).skipped == result.built
    assert read_status(tmp_path).is_closed


def test_a_million_units_are_counted_without_being_listed(tmp_path: Path) -> None:
    dataset(tmp_path, chips=6_400_001, layers={"s1": (64, 19, 2), "dem": (256, 1, 1)})
    run_of(tmp_path, None, {"dem": 0})
    found = read_status(tmp_path)
    assert [layer.units for layer in found.layers] == [100_001 * 10, 25_001]
    assert found.units == 1_025_011


def test_a_running_build_is_seen_and_when_killed_it_is_stopped(tmp_path: Path, start: Start) -> None:
    dataset(tmp_path)
    child = start(tmp_path, units={"s1": 20, "dem": 3}, make=5)
    found = read_status(tmp_path)
    [writer] = found.writers
    assert (writer.doing, writer.pid, writer.units, writer.done) == (Doing.RUNNING, child.pid, 23, 5)
    assert [unit.unit for unit in writer.running] == ["s1/99/0"]
    assert found.longest == writer.running[0]
    assert {layer.layer: layer.done for layer in found.layers} == {"s1": 5, "dem": 0}
    assert writer.rate is not None
    assert found.seconds_left == pytest.approx(18 / writer.rate)
    assert found.next == ""
    child.send_signal(signal.SIGKILL)
    child.wait()
    found = read_status(tmp_path)
    [writer] = found.writers
    assert writer.doing is Doing.STOPPED
    assert "killed" in writer.message
    assert found.longest is None
    assert found.seconds_left is None
    assert "run the same" in found.next


def test_looking_does_not_disturb_a_builder(tmp_path: Path, start: Start) -> None:
    dataset(tmp_path)
    child = start(tmp_path, units={"s1": 20})
    for _ in range(200):
        read_status(tmp_path)
    child.kill()
    child.wait()
    command = [sys.executable, "-c", LOOKER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as looking:
        assert looking.stdout is not None
        looking.stdout.readline()
        for _ in range(200):
            with BuildLock(tmp_path / ".m3leo"):
                pass
        looking.kill()


def test_a_build_that_has_not_said_anything_is_starting(tmp_path: Path) -> None:
    dataset(tmp_path)
    with BuildLock(tmp_path / ".m3leo"):
        [writer] = read_status(tmp_path).writers
    assert (writer.name, writer.doing, writer.pid) == ("build", Doing.STARTING, os.getpid())
    with BuildLock(tmp_path / ".m3leo", "2-of-2"):
        found = read_status(tmp_path)
    assert [(w.name, w.doing) for w in found.writers] == [
        ("part-1-of-2", Doing.MISSING),
        ("part-2-of-2", Doing.STARTING),
    ]


def test_a_new_build_in_the_place_of_an_ended_one_is_starting(tmp_path: Path) -> None:
    dataset(tmp_path)
    run_of(tmp_path, None, {"s1": 2}, exit_code=75)
    elsewhere(tmp_path, "build")
    with BuildLock(tmp_path / ".m3leo"):
        [writer] = read_status(tmp_path).writers
    assert writer.doing is Doing.STARTING


def test_parts_each_have_their_state_and_the_missing_ones_are_named(tmp_path: Path, start: Start) -> None:
    dataset(tmp_path)
    run_of(tmp_path, (1, 4), {"s1": 6, "dem": 1})
    start(tmp_path, "2-of-4", units={"s1": 5, "dem": 1}, make=3)
    killed = start(tmp_path, "4-of-4", units={"s1": 4}, make=1)
    killed.kill()
    killed.wait()
    found = read_status(tmp_path)
    assert [(w.part, w.doing) for w in found.writers] == [
        ((1, 4), Doing.FINISHED),
        ((2, 4), Doing.RUNNING),
        ((3, 4), Doing.MISSING),
        ((4, 4), Doing.STOPPED),
    ]
    assert {layer.layer: layer.done for layer in found.layers} == {"s1": 10, "dem": 1}
    assert "--part 3/4 and with --part 4/4" in found.next
    assert not found.is_closed


def test_finished_parts_wait_for_finalize_and_are_closed_by_it(tmp_path: Path) -> None:
    dataset(tmp_path)
    close_it(tmp_path)  # of an earlier state
    os.utime(tmp_path / "manifest.json", (time.time() - 3600,) * 2)
    for i in (1, 2):
        run_of(tmp_path, (i, 2), {"s1": 10, "dem": 2 if i == 1 else 1})
    found = read_status(tmp_path)
    assert found.done == found.units == 23
    assert not found.is_closed
    assert found.next == f"m3leo-prep finalize {tmp_path}"
    close_it(tmp_path)
    found = read_status(tmp_path)
    assert found.is_closed
    assert found.next == f"m3leo-prep verify {tmp_path}"
    run_of(tmp_path, (1, 2), {"s1": 0})  # a run that finds all done changes nothing of that
    os.utime(tmp_path / "manifest.json", (time.time() - 3600,) * 2)
    assert not read_status(tmp_path).is_closed


@pytest.mark.parametrize(("chips", "layers"), [(39, ("s1", "dem")), (40, ("s1",)), (40, ("s1", "dem", "old"))])
def test_a_manifest_of_other_chips_or_layers_does_not_close(
    tmp_path: Path, chips: int, layers: tuple[str, ...]
) -> None:
    dataset(tmp_path)
    run_of(tmp_path, None, {"s1": 20, "dem": 3})
    close_it(tmp_path, chips=chips, layers=layers)
    assert not read_status(tmp_path).is_closed


def test_waiting_for_a_quota_counts_the_pause(tmp_path: Path) -> None:
    dataset(tmp_path)
    until = datetime.now(UTC) + timedelta(hours=2)
    with BuildLock(tmp_path / ".m3leo"), RunLog(tmp_path / ".m3leo", "build") as log:
        log.started({"s1": 20, "dem": 3}, {"dem": 3})
        for n in range(10):
            time.sleep(0.01)
            log.finished(f"s1/{n}/0", "s1", retryable=1, bytes=0, reasons={"RATE_LIMITED": 1}, damaged=0)
        log.waiting("gee", until, "too many")
        found = read_status(tmp_path)
        assert found.writers[0].doing is Doing.WAITING
        assert found.writers[0].waiting is not None
        assert found.seconds_left == pytest.approx(7200, abs=60)
        assert found.retryable == 10
        log.waiting("gee", None, "too many")
        assert read_status(tmp_path).seconds_left is None


@pytest.mark.parametrize(
    ("exit_code", "doing"), [(0, Doing.FINISHED), (7, Doing.FINISHED), (75, Doing.STOPPED), (130, Doing.STOPPED)]
)
def test_the_exit_code_tells_finished_from_stopped(tmp_path: Path, exit_code: int, doing: Doing) -> None:
    dataset(tmp_path)
    run_of(tmp_path, None, {"s1": 20, "dem": 3}, exit_code)
    [writer] = read_status(tmp_path).writers
    assert (writer.doing, writer.exit) == (doing, exit_code)


def test_a_closed_dataset_with_holes_asks_for_another_run(tmp_path: Path) -> None:
    dataset(tmp_path, layers={"s1": (40, 1, 1)})
    with RunLog(tmp_path / ".m3leo", "build") as log:
        log.started({"s1": 1}, {})
        log.finished("s1/0/0", "s1", retryable=1200, bytes=0, reasons={}, damaged=0)
        close_it(tmp_path, layers=("s1",))
        log.ended(7)
    found = read_status(tmp_path)
    assert found.is_closed
    assert "1,200 holes" in found.next


def test_layers_that_were_left_out_are_next(tmp_path: Path) -> None:
    dataset(tmp_path)
    run_of(tmp_path, None, {"s1": 20})
    assert "--layers dem" in read_status(tmp_path).next
    run_of(tmp_path, None, {"dem": 3})
    found = read_status(tmp_path)
    assert found.done == found.units


def test_another_machine_is_believed_while_it_speaks(tmp_path: Path) -> None:
    dataset(tmp_path)
    run_of(tmp_path, None, {"s1": 2}, exit_code=None)
    elsewhere(tmp_path, "build", updated=(datetime.now(UTC) - timedelta(seconds=40)).isoformat())
    assert read_status(tmp_path).writers[0].doing is Doing.RUNNING
    elsewhere(tmp_path, "build", updated=(datetime.now(UTC) - timedelta(seconds=200)).isoformat())
    assert read_status(tmp_path).writers[0].doing is Doing.STOPPED


def test_a_whole_build_before_the_parts_is_history_and_said(tmp_path: Path) -> None:
    dataset(tmp_path)
    run_of(tmp_path, None, {"s1": 15, "dem": 3}, exit_code=130)
    run_of(tmp_path, (1, 2), {"s1": 10})
    found = read_status(tmp_path)
    assert [w.name for w in found.writers] == ["part-1-of-2", "part-2-of-2"]
    assert {layer.layer: layer.done for layer in found.layers} == {"s1": 10, "dem": 3}
    assert "earlier whole build" in found.notes[0]


def test_without_status_files_the_ledger_is_counted_and_that_is_said(tmp_path: Path) -> None:
    dataset(tmp_path)
    with Ledger(tmp_path / ".m3leo/ledger").open_segment("build") as segment:
        for n in range(3):
            segment.append(Record(f"s1/{n}/0", "d", (ShardFile("x", 7, "s"),), retryable=n))
        segment.append(Record("s1/2/0", "", ()))  # being rebuilt
        segment.append(Record("gone/0/0", "d", ()))
    found = read_status(tmp_path)
    assert found.layers[0] == status.LayerStatus("s1", 20, 2, 1, 14)
    assert "ledger" in found.notes[0]
    assert found.writers == ()


def test_a_plan_that_was_never_built_says_how_to_go_on(tmp_path: Path) -> None:
    dataset(tmp_path)
    found = read_status(tmp_path)
    assert (found.done, found.writers, found.is_closed) == (0, (), False)
    assert "m3leo-prep build" in found.next


def test_folders_that_are_no_build_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no dataset"):
        read_status(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="is not a dataset"):
        read_status(tmp_path)
    close_it(tmp_path)
    with pytest.raises(StoreError, match="without the state"):
        read_status(tmp_path)
    (tmp_path / ".m3leo").mkdir()
    with pytest.raises(StoreError, match="nothing is planned"):
        read_status(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"n_chips": 4}', '{"n_chips": "4", "recipe": {"name": "a"}, "area": {"name": "b"}}']
)
def test_a_damaged_plan_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    dataset(tmp_path)
    (tmp_path / ".m3leo/plan/plan.json").write_text(text)
    with pytest.raises(StoreError, match=r"damaged") as caught:
        read_status(tmp_path)
    assert caught.value.where.endswith("plan.json")


@pytest.mark.parametrize("field", ["shard_chips", "shard_slots"])
def test_a_plan_with_empty_shards_is_damaged(tmp_path: Path, field: str) -> None:
    dataset(tmp_path)
    file = tmp_path / ".m3leo/plan/plan.json"
    document = json.loads(file.read_text())
    document["layers"][0]["layer"][field] = 0
    file.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="damaged"):
        read_status(tmp_path)


def test_it_goes_to_json_and_back_whole(tmp_path: Path) -> None:
    dataset(tmp_path)
    run_of(tmp_path, (1, 2), {"s1": 3})
    found = json.loads(json.dumps(read_status(tmp_path).to_dict()))
    assert (found["units"], found["done"], found["is_closed"]) == (23, 3, False)
    assert [w["doing"] for w in found["writers"]] == ["finished", "missing"]
    assert datetime.fromisoformat(found["writers"][0]["started"])


def test_many_lost_parts_are_told_as_ranges(tmp_path: Path) -> None:
    dataset(tmp_path)
    for i in (2, 7):
        run_of(tmp_path, (i, 9), {"s1": 2})
    assert "--part I/9 for I = 1,3-6,8-9:" in read_status(tmp_path).next


def test_time_left_of_a_writer_in_closed_form() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    writer = Writer("build", Doing.RUNNING, units=10, done=4, rate=0.5)
    assert writer.seconds_left(now) == 12.0
    assert replace(writer, rate=None).seconds_left(now) is None
    assert replace(writer, done=10, rate=None).seconds_left(now) == 0.0


def test_the_holder_of_a_shared_lock_is_nobody(tmp_path: Path) -> None:
    with BuildLock(tmp_path, "1-of-2"):
        assert _holder(tmp_path / "lock") is None
        assert _holder(tmp_path / "lock-1-of-2") is not None
    assert _holder(tmp_path / "lock-1-of-2") is None
    assert _holder(tmp_path / "no-lock") is None
    assert read_status_files(tmp_path) == {}

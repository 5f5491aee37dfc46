"""The Dask runner keeps the port's contract on real clusters, and refuses workers that could make other bytes."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shapely

from m3leo_prep import __version__
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.errors import ConfigError, CorruptError, MissingDependency, StoreError
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.task import make_task
from m3leo_prep.ports.runner import Runner
from m3leo_prep.runners import dask as dask_module
from m3leo_prep.runners.dask import Dask
from m3leo_prep.runners.threads import Threads
from m3leo_prep.testing.runner import RunnerContract, Work, collect
from tests.pipeline.conftest import plan, tree

distributed: Any = pytest.importorskip("distributed")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        processes=True, n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit="2GiB"
    ) as found:
        yield found


@pytest.fixture
def address(cluster: Any) -> str:
    cluster.wait_for_workers(2, timeout=60)
    return str(cluster.scheduler_address)


class TestDask(RunnerContract):
    workers = 2

    @pytest.fixture
    def runner(self, address: str) -> Runner:
        return Dask(address)


def test_runners_pickle_and_compare() -> None:
    runner = Dask("tcp://here:8786", Path("/data"))
    assert pickle.loads(pickle.dumps(runner)) == runner


def test_check_counts_the_threads(address: str) -> None:
    assert Dask(address).check() == 2


def test_no_more_than_the_bound_is_taken_of_many_tasks(address: str, tmp_path: Path) -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for n in range(10_000):
            taken += 1
            yield n

    results = Dask(address).map(Work(str(tmp_path)), tasks())
    most = 0
    for received in range(1, 200):
        next(results)
        most = max(most, taken - received + 1)
    results.close()  # type: ignore[attr-defined]
    assert most == 2 * dask_module.PER_THREAD


def test_what_a_notebook_defines_travels(address: str) -> None:
    offset = 5
    assert sorted(Dask(address).map(lambda n: n + offset, range(3))) == [5, 6, 7]


def test_nothing_is_kept_on_the_cluster(address: str, cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(CorruptError):
        list(Dask(address).map(Work(str(tmp_path), wrong=3), range(10)))
    end = time.monotonic() + 10
    while cluster.scheduler.tasks and time.monotonic() < end:
        time.sleep(0.05)
    assert not cluster.scheduler.tasks
    assert not [name for name in cluster.scheduler.clients if name.startswith("m3leo-prep")]


def test_exceptions_that_do_not_travel_well_arrive(address: str) -> None:
    """Dask's own transport waits forever for the first of them."""

    class Odd(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"{a} and {b}")

    def work(task: int) -> int:
        if task == 1:
            return work(task)
        raise Odd(1, 2)

    with pytest.raises(RecursionError):
        list(Dask(address).map(work, [1]))
    with pytest.raises(RuntimeError, match="Odd: 1 and 2") as caught:
        list(Dask(address).map(work, [2]))
    assert "raise Odd(1, 2)" in caught.value.__notes__[0]


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_in_mid_unit_is_no_loss(address: str, tmp_path: Path) -> None:
    def work(task: int) -> int:
        flag = tmp_path / "killed"
        if task == 3 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    assert sorted(Dask(address).map(work, range(8))) == list(range(8))
    assert (tmp_path / "killed").exists()


def test_a_unit_that_always_kills_its_worker_is_an_error(
    address: str, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(task: int) -> int:
        if task == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    received: list[int] = []
    with pytest.raises(StoreError, match="killed again and again"):
        collect(Dask(address).map(work, range(4)), received)
    assert sorted(received) == [0, 1, 2]


def test_a_scheduler_that_nobody_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_module, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9\b"):
        list(Dask("tcp://127.0.0.1:9").map(abs, [1]))


@pytest.mark.parametrize("address", ["nowhere", "foo://here:1", "tcp://here", "localhost:99999", ""])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigError, match=f"no Dask scheduler answers at {address}"):
        Dask(address).check()


def test_scheduler_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no scheduler file: No such file"):
        Dask(f"file://{tmp_path}/scheduler.json").check()
    (tmp_path / "scheduler.json").write_text("[]")
    with pytest.raises(ConfigError, match="not the file of a Dask scheduler"):
        Dask(str(tmp_path / "scheduler.json")).check()


def test_without_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependency, match=r"pip install 'm3leo-prep\[dask\]'"):
        list(Dask("tcp://127.0.0.1:9").map(abs, [1]))


# -- whole builds ------------------------------------------------------------------------------------------------------

FATAL = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from m3leo_prep.sources.ramp import Ramp

@dataclass(frozen=True)
class Fatal(Ramp):
    mark: str = ""

    def read(self, items, geobox, slot):
        flag = Path(self.mark)
        if self.mark and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(items, geobox, slot)
"""


def test_a_build_is_the_same_bytes_as_with_threads(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (4,))
    build(plan(), tmp_path / "threads", runner=Threads(2))
    result = build(plan(), tmp_path / "dask", runner=Dask(address, tmp_path / "dask"))
    assert result.built > 4
    assert tree(tmp_path / "dask") == tree(tmp_path / "threads")


def test_a_build_survives_a_worker_that_is_killed(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (4,))
    (tmp_path / "my_source.py").write_text(FATAL)
    recipe = (
        "{name: fatal, grid: {chip_px: 32, resolution: 10}, layers: {position: {source: './my_source.py:Fatal'%s}}}"
    )
    build(plan(recipe % "", base=tmp_path), tmp_path / "threads", runner=Threads(2))
    dying = plan(recipe % f", mark: {tmp_path}/killed", base=tmp_path)
    build(dying, tmp_path / "dask", runner=Dask(address, tmp_path / "dask"))
    assert (tmp_path / "killed").exists()
    shards = {n: b for n, b in tree(tmp_path / "threads").items() if "/c/" in n}
    assert shards
    assert shards == {n: b for n, b in tree(tmp_path / "dask").items() if "/c/" in n}


def test_a_task_does_not_carry_the_items_of_its_layer() -> None:
    """Ten thousand items must not travel with every unit."""
    whole = plan()
    layer = whole.layer("s1")
    item = layer.items[0]
    far = tuple(replace(item, id=f"far-{n}", footprint=shapely.box(-70, -10, -69, -9)) for n in range(2000))
    sizes = []
    for items in (layer.items, layer.items + far):
        unit = next(layer.units(len(whole.cells)))
        task = make_task(whole.cells[unit.first_row : unit.last_row], replace(layer, items=items), unit, None)
        sizes.append(len(pickle.dumps(task)))
    assert sizes[0] == sizes[1] < 20_000


# -- clusters of separate processes ------------------------------------------------------------------------------------

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts ``dask scheduler`` or ``dask worker``; all are killed in the end."""
    with ExitStack() as stack:

        def run(what: str, *args: str, cwd: Path | None = None) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "distributed.cli.dask_" + what, *args, "--no-dashboard"]
            process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield run


def wait_for(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_scheduler_that_goes_away_in_mid_run(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    scheduler = start("scheduler", "--port", "0", "--scheduler-file", str(file))
    wait_for(lambda: file.exists() and file.stat().st_size > 0)
    start("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", cwd=tmp_path)
    runner = Dask(f"file://{file}")
    wait_for(lambda: runner.check() == 1)
    results = runner.map(Work(str(tmp_path)), range(1000))
    next(results)
    scheduler.send_signal(signal.SIGKILL)
    begin = time.monotonic()
    with pytest.raises(StoreError, match="was lost\n  hint: finished units are kept"):
        list(results)
    assert time.monotonic() - begin < 30


OTHER_VERSION = "import m3leo_prep\nm3leo_prep.__version__ = '9.9.9'\n"
OTHER_CODE = "import m3leo_prep.runners._dask_worker as worker\nworker._code = lambda: 'deadbeef'\n"
OTHER_NUMPY = """
from importlib import metadata
def version(name, real=metadata.version):
    return "1.0" if name == "numpy" else real(name)
metadata.version = version
"""
NOT_INSTALLED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "m3leo_prep":
            raise ModuleNotFoundError(f"No module named '{name}'")
sys.meta_path.insert(0, Blocked())
"""
OTHERS = [
    (OTHER_VERSION, rf"m3leo-prep 9\.9\.9 \[\w+\] \(here {__version__} \[\w+\]\)"),
    (OTHER_CODE, rf"m3leo-prep {__version__} \[deadbeef\] \(here {__version__} \[\w+\]\)"),
    (OTHER_NUMPY, r"has numpy 1\.0 \(here [\d.]+\): identical bytes cannot be promised"),
    (NOT_INSTALLED, r"No module named 'm3leo_prep"),
]
WAY_OUT = "hint: start scheduler and workers from the same environment"


@pytest.mark.parametrize(("preload", "expected"), OTHERS, ids=["version", "code", "numpy", "not installed"])
def test_workers_of_another_environment_are_refused(
    preload: str, expected: str, address: str, cluster: Any, start: Start, tmp_path: Path
) -> None:
    """Both where they are there at the start, and where they join later."""
    (tmp_path / "preload.py").write_text(preload)
    worker_args = (address, "--nthreads", "1", "--no-nanny", "--preload", str(tmp_path / "preload.py"))

    def join() -> subprocess.Popen[bytes]:
        process = start("worker", *worker_args, cwd=tmp_path)
        wait_for(lambda: len(cluster.scheduler.workers) == 3)
        return process

    def slow_tasks() -> Iterator[int]:
        yield 0
        join()
        yield from range(1, 500)

    slow = Work(str(tmp_path), slow=frozenset(range(500)), seconds=0.05)
    with pytest.raises(ConfigError, match=expected) as later:
        list(Dask(address).map(slow, slow_tasks()))
    assert WAY_OUT in str(later.value)
    with pytest.raises(ConfigError, match=expected) as first:
        Dask(address).check()
    assert WAY_OUT in str(first.value)
    assert first.value.where.startswith("worker tcp://127.0.0.1:")


def test_a_folder_that_a_worker_does_not_see(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers' current folder is another, so that a relative path is another place to them."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"worker tcp://.*does not see the folder here\n  hint: .* share"):
        list(Dask(address, Path("here")).map(abs, [1]))
    assert list(Dask(address, tmp_path / "here").map(abs, [-1])) == [1]
    assert list((tmp_path / "here").iterdir()) == []

"""Threads and processes keep the port's contract; runners that do not are caught by it."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.ports.runner import Runner
from m3leo_prep.runners.processes import Processes
from m3leo_prep.runners.threads import Threads
from m3leo_prep.testing import runner as contract
from m3leo_prep.testing.runner import RunnerContract


class TestOneThread(RunnerContract):
    @pytest.fixture
    def runner(self) -> Runner:
        return Threads()


class TestThreads(RunnerContract):
    workers = 5

    @pytest.fixture
    def runner(self) -> Runner:
        return Threads(5)


class TestProcesses(RunnerContract):
    workers = 2

    @pytest.fixture
    def runner(self) -> Runner:
        return Processes(2)


def test_runners_pickle_and_compare() -> None:
    for runner in (Threads(3), Processes(2)):
        assert pickle.loads(pickle.dumps(runner)) == runner


def test_no_thread_is_left_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    results = Threads(4).map(str, range(100))
    next(results)
    assert threading.active_count() > before
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_what_was_done_beside_a_failure_arrives() -> None:
    """A finished unit is recorded, even if one that ran at the same time failed."""
    for _ in range(5):
        together = threading.Barrier(8, timeout=60)

        def work(task: int, together: threading.Barrier = together) -> int:
            together.wait()
            if task == 4:
                raise CorruptError("broken")
            return task

        received: list[int] = []
        with pytest.raises(CorruptError):
            contract.collect(Threads(8).map(work, range(8)), received)
        assert sorted(received) == [0, 1, 2, 3, 5, 6, 7]


# -- broken ones -------------------------------------------------------------------------------------------------------

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


class Broken:
    """A runner from one function."""

    def __init__(self, run: Map) -> None:
        self.map = run


def one_by_one(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    """Not broken: the simplest runner of one worker."""
    for task in tasks:
        yield fn(task)


def loses_the_last(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    yield from (fn(task) for task in list(tasks)[:-1])


def gives_one_twice(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    for task in tasks:
        result = fn(task)
        yield result
        if task == 3:
            yield result


def makes_a_set(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    yield from {fn(task) for task in tasks}


def takes_all_at_once(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    yield from (fn(task) for task in list(tasks))


def works_ahead(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    yield from [fn(task) for task in tasks]


def swallows_errors(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    for task in tasks:
        try:
            yield fn(task)
        except CorruptError:
            continue


def wraps_errors(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    for task in tasks:
        try:
            result = fn(task)
        except CorruptError as error:
            raise RuntimeError(str(error)) from error
        yield result


def goes_on_after_an_error(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    first = None
    for task in tasks:
        try:
            yield fn(task)
        except CorruptError as error:
            first = first or error
    if first:
        raise first


def does_not_wait(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    pool = ThreadPoolExecutor(1)
    try:
        before = None
        for task in tasks:
            future = pool.submit(fn, task)
            if before is not None:
                yield before.result()
            before = future
        if before is not None:
            yield before.result()
    finally:
        pool.shutdown(wait=False)


def goes_on_after_closing(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    queue = iter(tasks)
    try:
        for task in queue:
            yield fn(task)
    finally:
        for task in islice(queue, 5):
            fn(task)


def cannot_be_closed(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    return map(fn, tasks)


def swallows_errors_of_the_list(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    try:
        for task in tasks:
            yield fn(task)
    except KeyError:
        return


def loses_what_finished(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    """Hands results over in pairs, and a pair with a failure not at all."""
    queue = iter(tasks)
    while pair := [task for _, task in zip(range(2), queue, strict=False)]:
        yield from [fn(task) for task in pair]


def gives_nothing_for_something(fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    given = list(tasks)
    yield from map(fn, given) if given else [None]


class UsedUp:
    """Works once."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    def __call__(self, fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        with self._pool as pool:
            yield from pool.map(fn, tasks)


BROKEN: list[tuple[Map, set[str]]] = [
    (loses_the_last, {"test_results_are_complete_whatever_the_order"}),
    (gives_one_twice, {"test_results_are_complete_whatever_the_order"}),
    (makes_a_set, {"test_the_same_result_twice_is_two_results"}),
    (takes_all_at_once, {"test_tasks_are_taken_as_they_are_needed"}),
    (works_ahead, {"test_a_slow_consumer_is_not_run_away_from", "test_tasks_are_taken_as_they_are_needed"}),
    (swallows_errors, {"test_the_first_exception_is_raised_as_it_is"}),
    (wraps_errors, {"test_the_first_exception_is_raised_as_it_is"}),
    (goes_on_after_an_error, {"test_after_an_exception_nothing_new_is_started"}),
    (does_not_wait, {"test_closing_waits_for_what_runs_and_starts_nothing_more"}),
    (goes_on_after_closing, {"test_closing_waits_for_what_runs_and_starts_nothing_more"}),
    (cannot_be_closed, {"test_closing_waits_for_what_runs_and_starts_nothing_more"}),
    (swallows_errors_of_the_list, {"test_an_exception_of_the_task_list_is_raised"}),
    (loses_what_finished, {"test_results_finished_before_the_exception_arrive"}),
    (gives_nothing_for_something, {"test_no_tasks_no_results"}),
    (UsedUp(), {"test_a_runner_can_be_used_again"}),
]
TESTS = sorted(name for name in vars(RunnerContract) if name.startswith("test_") and name != "test_is_a_runner")


def failing(run: Map, names: Iterable[str], folder: Path) -> set[str]:
    """Return the tests of the contract that a runner of one worker fails."""
    found = set()
    for name in names:
        (folder / name).mkdir()
        try:
            getattr(RunnerContract(), name)(Broken(run), folder / name)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001  a broken runner may raise anything
            found.add(name)
    return found


def test_the_simplest_runner_keeps_the_contract(tmp_path: Path) -> None:
    assert failing(one_by_one, TESTS, tmp_path) == set()


@pytest.mark.parametrize(("run", "expected"), BROKEN, ids=[getattr(run, "__name__", "used_up") for run, _ in BROKEN])
def test_a_broken_runner_is_caught(run: Map, expected: set[str], tmp_path: Path) -> None:
    assert failing(run, expected, tmp_path) == expected


def test_one_worker_that_says_it_is_two_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "PATIENCE_SECONDS", 0.2)
    two = RunnerContract()
    two.workers = 2
    with pytest.raises(TimeoutError):
        two.test_tasks_run_side_by_side(Broken(one_by_one), tmp_path)


def test_every_test_of_the_contract_is_failed_by_somebody() -> None:
    caught = set().union(*(names for _, names in BROKEN))
    assert set(TESTS) - caught == {"test_tasks_run_side_by_side"}, "caught by the test above"
    assert not isinstance(object(), Runner)

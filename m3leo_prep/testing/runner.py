"""The contract that every ``Runner`` must keep: subclass ``RunnerContract`` and give it a ``runner`` fixture.

class TestMine(RunnerContract):
    workers = 2
    @pytest.fixture
    def runner(self): return MyRunner(workers=2)

Tasks leave files in a folder, so that the contract holds for runners in any number of processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.ports.runner import Runner

MANY = 40
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Work:
    """A task's function: notes its start and its end, and may be told to be slow or to fail."""

    folder: str
    slow: frozenset[int] = frozenset()
    seconds: float = 0.0
    """How long a slow task takes."""
    wrong: int | None = None
    """The task that fails."""

    def __call__(self, task: int) -> int:
        """Return the square of the task's number."""
        self.note("started", task)
        if task in self.slow:
            time.sleep(self.seconds)
        if task == self.wrong:
            raise CorruptError("this one is broken", where=f"task {task}", hint="none")
        self.note("finished", task)
        return task * task

    def note(self, what: str, task: int) -> None:
        """Leave a file."""
        (Path(self.folder) / f"{what}-{task}").touch()

    def noted(self, what: str) -> set[int]:
        """Return the tasks that left such a file."""
        return {int(path.name.rpartition("-")[2]) for path in Path(self.folder).glob(f"{what}-*")}


class RunnerContract:
    """Tests of the port; each gets a fresh runner."""

    workers = 1
    """How many tasks the runner under test runs at a time."""
    ahead = 2
    """How many tasks beyond ``workers`` it may have taken from the list."""

    @pytest.fixture
    def runner(self) -> Runner:
        """Return the runner under test."""
        raise NotImplementedError

    def test_is_a_runner(self, runner: Runner) -> None:
        """The adapter has the port's method."""
        assert isinstance(runner, Runner)

    def test_results_are_complete_whatever_the_order(self, runner: Runner, tmp_path: Path) -> None:
        """Every task gives one result, also where early ones take longest."""
        work = Work(str(tmp_path), slow=frozenset({0, 1}), seconds=0.1)
        results = list(runner.map(work, range(MANY)))
        assert sorted(results) == [n * n for n in range(MANY)]
        assert work.noted("finished") == set(range(MANY))

    def test_no_tasks_no_results(self, runner: Runner, tmp_path: Path) -> None:
        """An empty list is done at once."""
        assert list(runner.map(Work(str(tmp_path)), [])) == []

    def test_the_same_result_twice_is_two_results(self, runner: Runner, tmp_path: Path) -> None:
        """Results are counted, not collected as a set."""
        assert list(runner.map(Work(str(tmp_path)), [3, 3, 3])) == [9, 9, 9]

    def test_a_runner_can_be_used_again(self, runner: Runner, tmp_path: Path) -> None:
        """One call leaves nothing behind that the next would meet."""
        for _ in range(2):
            assert sorted(runner.map(Work(str(tmp_path)), range(3))) == [0, 1, 4]

    def test_tasks_are_taken_as_they_are_needed(self, runner: Runner, tmp_path: Path) -> None:
        """A million units must not be made before the first one is done."""
        taken = 0

        def tasks() -> Iterator[int]:
            nonlocal taken
            for n in range(MANY):
                taken += 1
                yield n

        received = 0
        for _ in runner.map(Work(str(tmp_path)), tasks()):
            received += 1
            assert taken - received <= self.workers + self.ahead
        assert received == taken == MANY

    def test_a_slow_consumer_is_not_run_away_from(self, runner: Runner, tmp_path: Path) -> None:
        """Results that nobody has asked for yet do not pile up."""
        work = Work(str(tmp_path))
        results = _closing(runner.map(work, range(MANY)))
        with closing(results):
            next(results)
            time.sleep(0.3)
            assert len(work.noted("started")) <= 1 + self.workers + self.ahead

    def test_the_first_exception_is_raised_as_it_is(self, runner: Runner, tmp_path: Path) -> None:
        """Type, message, place and hint arrive, also from another process."""
        with pytest.raises(CorruptError) as caught:
            list(runner.map(Work(str(tmp_path), wrong=1), range(MANY)))
        assert str(caught.value) == "task 1: this one is broken\n  hint: none"

    def test_after_an_exception_nothing_new_is_started(self, runner: Runner, tmp_path: Path) -> None:
        """What is running is finished, what waits is dropped."""
        work = Work(str(tmp_path), wrong=2)
        results = runner.map(work, range(MANY))
        with pytest.raises(CorruptError):
            for _ in results:
                pass
        started = work.noted("started")
        assert len(started) <= 3 + self.workers + self.ahead
        assert work.noted("finished") == started - {2}
        time.sleep(0.2)
        assert work.noted("started") == started
        assert list(results) == []

    def test_results_finished_before_the_exception_arrive(self, runner: Runner, tmp_path: Path) -> None:
        """A unit that is done is recorded, even if a later one fails."""
        work = Work(str(tmp_path), wrong=MANY - 1, slow=frozenset({MANY - 1}), seconds=0.5)
        received: list[int] = []
        with pytest.raises(CorruptError):
            collect(runner.map(work, range(MANY)), received)
        assert sorted(received) == [n * n for n in range(MANY - 1)]

    def test_closing_waits_for_what_runs_and_starts_nothing_more(self, runner: Runner, tmp_path: Path) -> None:
        """Ctrl-C must not leave a half-written unit behind."""
        work = Work(str(tmp_path), slow=frozenset(range(1, MANY)), seconds=0.2)
        results = _closing(runner.map(work, range(MANY)))
        next(results)
        results.close()
        started = work.noted("started")
        assert work.noted("finished") == started, "closed while work was running"
        assert len(started) <= 1 + self.workers + self.ahead
        time.sleep(0.3)
        assert work.noted("started") == started, "started after it was closed"

    def test_an_exception_of_the_task_list_is_raised(self, runner: Runner, tmp_path: Path) -> None:
        """An error in making tasks is no end of the tasks."""

        def tasks() -> Iterator[int]:
            yield 0
            raise KeyError("broken list")

        work = Work(str(tmp_path))
        with pytest.raises(KeyError, match="broken list"):
            list(runner.map(work, tasks()))
        assert work.noted("finished") == work.noted("started")

    def test_tasks_run_side_by_side(self, runner: Runner, tmp_path: Path) -> None:
        """With n workers, n tasks run at a time: each waits for the others."""
        assert sorted(runner.map(Meeting(str(tmp_path), self.workers), range(self.workers))) == list(
            range(self.workers)
        )


@dataclass(frozen=True, slots=True)
class Meeting:
    """A task's function that returns only once ``n`` tasks have come."""

    folder: str
    n: int

    def __call__(self, task: int) -> int:
        """Return the task's number."""
        (Path(self.folder) / f"here-{task}").touch()
        end = time.monotonic() + PATIENCE_SECONDS
        while len(list(Path(self.folder).glob("here-*"))) < self.n:
            if time.monotonic() > end:
                raise TimeoutError(f"fewer than {self.n} tasks run side by side")
            time.sleep(0.01)
        return task


def collect(results: Iterator[int], into: list[int]) -> None:
    """Append results as they come, so that those before an exception are kept."""
    for result in results:
        into.append(result)  # noqa: PERF402  extend() does not promise to keep what came before


def _closing(results: Iterator[int]) -> _Closable:
    """Return the results as what they must be: an iterator that can be closed."""
    assert hasattr(results, "close"), "the iterator of `map` must have close(), as a generator has"
    return cast("_Closable", results)


class _Closable(Iterator[int]):
    def close(self) -> None: ...

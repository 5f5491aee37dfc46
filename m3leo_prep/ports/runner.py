"""The port through which units of work are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

Task = TypeVar("Task")
Result = TypeVar("Result")


@runtime_checkable
class Runner(Protocol):
    """Runs a function over tasks; results never depend on which runner, or on how many workers."""

    def map(self, fn: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield results as they finish, in any order, with bounded work in flight.

        The first exception of ``fn`` is raised to the caller; work not yet started is dropped. Closing the
        iterator (or Ctrl-C) waits for what is running and starts nothing more.
        """
        ...

"""Faults of a stand-in that are still to come: which requests they meet, how often, and after how many."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Routed(Protocol):
    """A request whose route is known."""

    route: str


F = TypeVar("F")
R = TypeVar("R", bound=Routed)


@dataclass(slots=True)
class _Planned(Generic[F, R]):
    fault: F
    route: str
    times: int | None
    skip: int
    when: Callable[[R], bool] | None


@dataclass(slots=True)
class Plan(Generic[F, R]):
    """Which faults are to come; calling it plans one."""

    planned: list[_Planned[F, R]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(
        self,
        fault: F,
        route: str = "",
        *,
        times: int | None = 1,
        skip: int = 0,
        when: Callable[[R], bool] | None = None,
    ) -> None:
        """Plan a fault.

        Args:
            fault: what happens.
            route: which requests; empty = all that may meet one.
            times: how many of them, None = all.
            skip: how many go by unharmed before.
            when: which of them besides.
        """
        with self._lock:
            self.planned.append(_Planned(fault, route, times, skip, when))

    def take(self, request: R) -> F | None:
        """Return the first planned fault that meets ``request``, and count it."""
        with self._lock:
            for planned in self.planned:
                if planned.times == 0 or planned.route not in {"", request.route}:
                    continue
                if planned.when is not None and not planned.when(request):
                    continue
                if planned.skip > 0:
                    planned.skip -= 1
                    continue
                if planned.times is not None:
                    planned.times -= 1
                return planned.fault
            return self._otherwise()

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self.planned.clear()

    def _otherwise(self) -> F | None:
        """Return what meets a request that no planned fault does; called with the lock held."""
        return None

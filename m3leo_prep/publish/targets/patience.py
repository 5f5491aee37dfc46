"""Trying again what may pass by itself, for a bounded time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from m3leo_prep.core.errors import MissingDependency, PrepError

try:
    from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
except ImportError as error:
    raise MissingDependency("publishing needs tenacity", hint="pip install 'm3leo-prep[publish]'") from error

T = TypeVar("T")

ATTEMPTS = 6
FIRST_WAIT_S = 1.0
"""Doubled each time: half a minute in all."""
LONGEST_WAIT_S = 3600.0
"""What a place may ask for; the Hub limits commits by the hour."""


class MayPass(Exception):
    """A failure that may pass by itself."""

    def __init__(self, error: PrepError, wait: float | None = None) -> None:
        """``error`` is raised if it never passes; ``wait`` is how many seconds the place asks to wait."""
        super().__init__(error.message)
        self.error = error
        self.wait = wait


def patiently(work: Callable[[], T], say: Callable[[str], None]) -> T:
    """Return what ``work`` returns, tried again while it raises ``MayPass``.

    Raises:
        PrepError: it did not pass; the error that was raised last.
    """

    def tell(state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        seconds = state.next_action.sleep if state.next_action else 0.0
        say(f"{failure}; trying again in {seconds:.0f} s")

    retrying = Retrying(
        retry=retry_if_exception_type(MayPass),
        stop=stop_after_attempt(ATTEMPTS),
        wait=_wait,
        before_sleep=tell,
        reraise=True,
    )
    try:
        return retrying(work)
    except MayPass as last:
        raise last.error from last.__cause__


def _wait(state: RetryCallState) -> float:
    """Return how many seconds to wait: what the place asks for, else twice as long each time."""
    failure = state.outcome.exception() if state.outcome else None
    asked = failure.wait if isinstance(failure, MayPass) else None
    return FIRST_WAIT_S * 2 ** (state.attempt_number - 1) if asked is None else asked

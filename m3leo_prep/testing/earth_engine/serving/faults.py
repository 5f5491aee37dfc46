"""Faults that the stand-in makes on demand: where, when, how often and what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from m3leo_prep.testing.earth_engine.serving import limits
from m3leo_prep.testing.earth_engine.serving.record import Request
from m3leo_prep.testing.planned import Plan

Rule = Callable[[Request], bool]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request instead of its answer, or to its answer."""

    name: str
    kind: Literal["error", "html", "reset", "cut", "slow", "header"]
    """error: an answer of Google's kind with ``status`` and ``text``. html: a page as a proxy sends it. reset: the
    connection is reset without an answer. cut: half of the body, then the connection ends. slow: the true answer, its
    body spread over ``seconds``. header: the true answer with more ``headers``."""
    status: int = 0
    text: str = ""
    seconds: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


def rate_limited(retry_after: str | int | None = None) -> Fault:
    """Return 429 for too many requests, with ``Retry-After`` in seconds or as an HTTP date if given."""
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return Fault("rate", "error", 429, limits.TOO_MANY, headers=headers)


def eecu_spent(retry_after: str | int | None = None) -> Fault:
    """Return 429 for a compute quota that is used up."""
    return replace(rate_limited(retry_after), name="eecu", text=limits.EECU_SPENT)


def broken(status: int = 503) -> Fault:
    """Return an error of the service itself: 500, 502, 503 or 504."""
    texts = {500: "An internal error has occurred", 503: "The service is currently unavailable."}
    return Fault(f"{status}", "error", status, texts.get(status, "Deadline expired before operation could complete."))


def html(status: int = 502) -> Fault:
    """Return a page of HTML, as from a proxy before the service."""
    page = f"<!DOCTYPE html><html lang=en><title>Error {status} (Server Error)!!1</title><p>That's an error."
    return Fault("html", "html", status, page)


def reset() -> Fault:
    """Return a connection reset before any answer."""
    return Fault("reset", "reset")


def cut() -> Fault:
    """Return an answer whose body ends in the middle."""
    return Fault("cut", "cut")


def slow(seconds: float) -> Fault:
    """Return the true answer whose body takes so long; longer than the client waits, it is a stall."""
    return Fault("slow", "slow", seconds=seconds)


def timed_out() -> Fault:
    """Return 400, which says that the computation timed out."""
    return Fault("timed_out", "error", 400, limits.TIMED_OUT)


def out_of_memory() -> Fault:
    """Return 400, which says that the user's memory limit is exceeded."""
    return Fault("memory", "error", 400, limits.OUT_OF_MEMORY)


def restricted() -> Fault:
    """Return the true answer with the header of a project that used up its tier.

    https://developers.google.com/earth-engine/guides/noncommercial_tiers#restricted_mode; the header is read by the
    client's ``ee/data.py``.
    """
    return Fault("restricted", "header", headers=(("x-earth-engine-quota-status", "parallelism_restricted=true"),))


def error(status: int, text: str) -> Fault:
    """Return any other error."""
    return Fault("error", "error", status, text)


def heavier_than(work: int) -> Rule:
    """Return the rule that meets requests whose pixels times images are more than ``work``."""

    def rule(request: Request) -> bool:
        return request.work > work

    return rule


PASSING: tuple[Fault, ...] = (rate_limited(1), broken(503), reset(), html(), cut(), broken(500))
"""What a client is to outlive, one after the other where the stand-in is flaky."""


@dataclass(slots=True)
class Faults(Plan[Fault, Request]):
    """Which faults are to come; calling it plans one. An empty route means all but the discovery document."""

    share: float = 0.0
    """Share of all requests that meet one of ``PASSING``, evenly spread."""
    _seen: int = 0

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self.planned.clear()
            self.share, self._seen = 0.0, 0

    def _otherwise(self) -> Fault | None:
        self._seen += 1
        due = int(self._seen * self.share)
        return PASSING[due % len(PASSING)] if due > int((self._seen - 1) * self.share) else None

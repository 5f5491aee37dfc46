"""Faults that the stand-in makes on demand: where, when, how often and what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from m3leo_prep.testing.hub.record import Request
from m3leo_prep.testing.planned import Plan

Rule = Callable[[Request], bool]

STALE = "A commit has happened since. Please refresh and try again."
"""https://github.com/huggingface/datasets/issues/7777 tells of it."""
NO_SPACE = "Private repository storage limit reached, please upgrade your plan to increase your private storage limit."
"""https://github.com/huggingface/huggingface_hub/issues/3049 has its beginning; the rest is guessed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request instead of its answer, or to its answer."""

    kind: Literal["error", "reset", "cut_upload", "lost", "cut", "drop", "flip", "slow"]
    """error: an answer with ``status`` and ``text``, nothing is done. reset: the connection is reset before any answer,
    nothing is done. cut_upload: it is reset after ``size`` bytes of the body. lost: all is done, then the connection is
    reset without an answer. cut: the answer ends after ``size`` bytes of its body. drop: the answer is that of success,
    but an uploaded object is not kept. flip: one byte of the answer, at ``size``, has its lowest bit turned. slow: the
    true answer after ``seconds``."""
    status: int = 0
    text: str = ""
    size: int = 0
    seconds: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


def error(status: int, text: str = "Internal Error - We're working hard to fix this as soon as possible!") -> Fault:
    """Return any answer of an error."""
    return Fault("error", status, text)


def rate_limited(retry_after: int | None = None) -> Fault:
    """Return 429, with ``Retry-After`` in seconds if given."""
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return Fault("error", 429, "We had to rate limit you. Please try again later.", headers=headers)


def broken(status: int = 503) -> Fault:
    """Return an error of the Hub itself: 500, 502, 503 or 504."""
    return error(status)


def stale() -> Fault:
    """Return 412: someone else committed first."""
    return error(412, STALE)


def storage_exceeded(status: int = 403) -> Fault:
    """Return the refusal of a full account; 403 is what the Hub sends, 413 what a proxy before it may."""
    return error(status, NO_SPACE)


def reset() -> Fault:
    """Return a connection reset before any answer, nothing done."""
    return Fault("reset")


def cut_upload(after: int = 0) -> Fault:
    """Return a connection reset after so many bytes of what is sent."""
    return Fault("cut_upload", size=after)


def lost() -> Fault:
    """Return a lost answer: what was asked is done, and the connection is reset."""
    return Fault("lost")


def cut(after: int = 0) -> Fault:
    """Return an answer that ends after so many bytes of its body."""
    return Fault("cut", size=after)


def dropped() -> Fault:
    """Return an upload that is acknowledged and not kept: the commit that names it is refused."""
    return Fault("drop")


def flipped(at: int = 0) -> Fault:
    """Return an answer with one bit turned, in this byte of its body."""
    return Fault("flip", size=at)


def slow(seconds: float) -> Fault:
    """Return the true answer after so long."""
    return Fault("slow", seconds=seconds)


class Faults(Plan[Fault, Request]):
    """Which faults are to come; calling it plans one. Routes are those of ``routes``: ``commit``, ``lfs_put`` ..."""

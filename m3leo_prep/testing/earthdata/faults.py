"""Faults that the stand-in makes on demand: where, when, how often and what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from m3leo_prep.testing.earthdata.record import Request
from m3leo_prep.testing.planned import Plan

LOGIN_PAGE = "<!DOCTYPE html><html><head><title>Earthdata Login</title></head><body>Please log in</body></html>"
GATEWAY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request instead of its answer, or to its answer."""

    kind: Literal[
        "error", "reset", "slow", "cut", "truncated", "flipped", "unranged", "short", "repeated", "twice", "reordered"
    ]
    """error: an answer with ``status`` and ``text``, nothing is done. reset: no answer. slow: the true answer after
    ``seconds``. Of bodies: cut: it ends after ``size`` bytes, though more are announced. truncated: it ends ``size``
    bytes early, and the length that is announced agrees. flipped: the byte at ``size`` is another. unranged: the whole
    file where a part was asked for. Of pages of the catalogue: short: its last ``size`` items are missing. repeated:
    the page before it once more. twice: its last item is its first. reordered: a page of another order."""
    status: int = 0
    text: str = ""
    size: int = 0
    seconds: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


def error(status: int, text: str = '{"errors": ["stand-in"], "detail": "stand-in"}', **headers: str) -> Fault:
    """Return an answer of an error, in JSON as the catalogue and HyP3 form it; ``_`` in a header's name is a dash."""
    return Fault("error", status, text, headers=tuple((key.replace("_", "-"), value) for key, value in headers.items()))


def unauthorized(message: str = "", resolution: str = "") -> Fault:
    """Return 401, with the text and address by which Earthdata Login says what is missing in a profile."""
    told = f'{{"status_code": 401, "error_msg": "{message}", "resolution_url": "{resolution}"}}'
    return error(401, told, WWW_Authenticate='Basic realm="Please enter your Earthdata Login credentials"')


def login_page() -> Fault:
    """Return 200 with the login's page in place of data."""
    return Fault("error", 200, LOGIN_PAGE, content_type="text/html; charset=utf-8")


def gateway_page(status: int = 502) -> Fault:
    """Return an error of a proxy before the service: a page, where the service would answer JSON."""
    return Fault("error", status, GATEWAY_PAGE, content_type="text/html")


def rate_limited(retry_after: float | None = None) -> Fault:
    """Return 429, with ``Retry-After`` in seconds if given."""
    headers = {} if retry_after is None else {"Retry_After": f"{retry_after:g}"}
    return error(429, **headers)


def accepted() -> Fault:
    """Return 202 without data: it is being made (bursts)."""
    return Fault("error", 202, '{"message": "being extracted"}')


def expired() -> Fault:
    """Return the 403 of an object store for what is gone or whose address is no longer valid."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
    )
    return Fault("error", 403, text, content_type="application/xml")


def reset() -> Fault:
    """Return a connection reset before any answer."""
    return Fault("reset")


def slow(seconds: float) -> Fault:
    """Return the true answer after so long."""
    return Fault("slow", seconds=seconds)


def cut(after: int = 0) -> Fault:
    """Return a body that ends after so many bytes."""
    return Fault("cut", size=after)


def truncated(by: int = 1) -> Fault:
    """Return a body that is so many bytes too short, and announced as such."""
    return Fault("truncated", size=by)


def flipped(at: int = 0) -> Fault:
    """Return a body with one bit turned, in this byte: its checksum is another one."""
    return Fault("flipped", size=at)


def unranged() -> Fault:
    """Return all of a file where a part was asked for."""
    return Fault("unranged")


def short_page(by: int = 1) -> Fault:
    """Return a page of the catalogue without its last items."""
    return Fault("short", size=by)


def repeated_page() -> Fault:
    """Return the page before once more."""
    return Fault("repeated")


def twice() -> Fault:
    """Return a page whose last item is its first."""
    return Fault("twice")


def reordered_page() -> Fault:
    """Return a page of the same results in another order."""
    return Fault("reordered")


class Faults(Plan[Fault, Request]):
    """Which faults are to come; calling it plans one. Routes are those of ``routes``: ``search``, ``data``."""

"""What the stand-in refuses, and the faults that it makes, as the real client sees them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import NoReturn

import ee
import pytest

from m3leo_prep.testing.earth_engine import Limits, StandIn
from m3leo_prep.testing.earth_engine.serving import faults
from tests.testing_earth_engine.conftest import COLLECTION, Shelf, grid, scene


def _pixels(width: int, height: int = 2, bands: tuple[str, ...] = ("count",)) -> bytes:
    image = ee.Image(f"{COLLECTION}/day1").select(list(bands))
    return bytes(ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": grid(width, height)}))


def test_each_band_and_pixel_counts_a_byte_more(server: StandIn) -> None:
    server.limits = Limits(request_bytes=1000)
    _pixels(20, 10)  # 200 pixels of 4 + 1 bytes
    with pytest.raises(
        ee.EEException, match=r"Total request size \(1005 bytes\) must be less than or equal to 1000 bytes"
    ):
        _pixels(201, 1)
    _pixels(250, 2, ("small",))
    with pytest.raises(ee.EEException, match=r"\(1002 bytes\)"):
        _pixels(501, 1, ("small",))


def test_sides_bands_and_payload_are_limited(server: StandIn) -> None:
    with pytest.raises(ee.EEException, match=r"Pixel grid dimensions \(32769x1\) must be less than or equal to 32768"):
        _pixels(32_769, 1)
    server.limits = Limits(bands=1, payload_bytes=100_000)
    with pytest.raises(ee.EEException, match=r"bands \(2\)"):
        _pixels(4, 4, ("count", "small"))
    with pytest.raises(ee.EEException, match="Request payload size exceeds the limit: 100000 bytes"):
        ee.List(list(range(20_000))).size().getInfo()


def test_more_at_once_than_the_cap_are_refused(server: StandIn) -> None:
    server.limits, server.latency = Limits(concurrency=3), 0.2

    def one(number: int) -> str:
        try:
            return str(ee.Number(number).getInfo())
        except ee.EEException as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(8)))
    refused = [answer for answer in answers if answer.startswith("Too Many Requests")]
    assert 1 <= len(refused) <= 5
    assert sum(request.status == 429 for request in server.requests) == len(refused)


def test_more_a_second_than_the_rate_are_refused(server: StandIn) -> None:
    server.limits = Limits(per_second=5)
    answers = [_asked(server) for _ in range(30)]
    refused = [text for status, _, text in answers if status == 429]
    assert refused
    assert all("Quota exceeded for quota metric" in text for text in refused)


def _asked(server: StandIn, token: str = "word") -> tuple[int, str, str]:
    """Return status, Retry-After and text of an answer, without the client."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{server.url}/v1/projects/ours/operations", headers=headers)
        ) as answer:
            return int(answer.status), "", answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, str(error.headers["Retry-After"]), error.read().decode()


def test_who_may_ask(server: StandIn) -> None:
    status, _, text = _asked(server, token="")
    assert (status, json.loads(text)["error"]["status"]) == (401, "UNAUTHENTICATED")
    server.limits = Limits(projects=["other"])
    with pytest.raises(ee.EEException, match="Project ours is not registered to use Earth Engine"):
        ee.Number(1).getInfo()


def test_a_token_ends_and_another_is_good(server: StandIn) -> None:
    server.limits = Limits(token_requests=3)
    assert [_asked(server, "first")[0] for _ in range(5)] == [200, 200, 200, 401, 401]
    assert _asked(server, "second")[0] == 200
    server.limits = Limits(token_seconds=0.0)
    assert _asked(server, "third")[0] == 401


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (faults.rate_limited(), ee.EEException, "Too Many Requests"),
        (faults.eecu_spent(), ee.EEException, "Quota exceeded"),
        (faults.broken(503), ee.EEException, "currently unavailable"),
        (faults.broken(500), ee.EEException, "internal error"),
        # The client finds no reason in a page of HTML, and says this.
        (faults.html(502), ee.EEException, "^Ok$"),
        (faults.timed_out(), ee.EEException, r"Computation timed out\."),
        (faults.out_of_memory(), ee.EEException, r"User memory limit exceeded\."),
        (faults.reset(), ConnectionError, "reset by peer"),
        (faults.cut(), ConnectionError, "IncompleteRead"),
    ],
    ids=lambda value: value.name if isinstance(value, faults.Fault) else "",
)
def test_a_fault_happens_once(server: StandIn, fault: faults.Fault, kind: type[Exception], text: str) -> None:
    server.faults(fault)
    with pytest.raises(kind, match=text):
        ee.Number(5).getInfo()
    assert ee.Number(5).getInfo() == 5
    assert [request.fault for request in server.requests] == [fault.name, ""]


def test_retry_after_is_sent(server: StandIn) -> None:
    for when in (7, "Wed, 21 Oct 2026 07:28:00 GMT"):
        server.faults(faults.rate_limited(when))
        status, after, _ = _asked(server)
        assert (status, after) == (429, str(when))


def test_a_stall_is_longer_than_the_client_waits(server: StandIn) -> None:
    server.faults(faults.slow(3.0))
    ee.data.setDeadline(300)
    try:
        with pytest.raises((TimeoutError, ConnectionError)):
            ee.Number(1).getInfo()
    finally:
        ee.data.setDeadline(0)
    server.faults(faults.slow(0.05))
    assert ee.Number(1).getInfo() == 1


def test_restricted_mode_is_a_header_of_a_good_answer(server: StandIn) -> None:
    server.faults(faults.restricted())
    with pytest.warns(UserWarning, match="restricted mode"):
        assert ee.Number(1).getInfo() == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ee.Number(1).getInfo() == 1


def test_faults_have_a_route_a_count_and_a_rule(server: StandIn) -> None:
    server.faults(faults.timed_out(), "computePixels", times=None, when=faults.heavier_than(100))
    server.faults(faults.broken(503), "compute", skip=1, times=2)
    calls: list[tuple[Callable[[], object], bool]] = [
        (lambda: _pixels(10, 10), True),
        (lambda: _pixels(11, 10), False),
        (lambda: _pixels(11, 10), False),
        (lambda: ee.Number(1).getInfo(), True),
        (lambda: ee.Number(1).getInfo(), False),
        (lambda: ee.Number(1).getInfo(), False),
        (lambda: ee.Number(1).getInfo(), True),
        (lambda: _pixels(5, 5), True),
    ]
    for call, is_fine in calls:
        if is_fine:
            call()
        else:
            with pytest.raises(ee.EEException):
                call()


def test_a_share_of_all_requests_fails_evenly(server: StandIn) -> None:
    server.faults.share = 0.25
    for number in range(24):
        try:
            ee.Number(number).getInfo()
        except (ee.EEException, ConnectionError):
            continue
    met = [request.fault for request in server.requests]
    assert sum(bool(name) for name in met) == 6
    assert all(not (a and b) for a, b in pairwise(met))
    assert {name for name in met if name} == {fault.name for fault in faults.PASSING}


def test_reset_forgets(server: StandIn) -> None:
    server.faults(faults.timed_out(), times=None)
    server.limits, server.latency = Limits(projects=[]), 9.0
    server.reset()
    assert server.requests == []
    assert ee.Number(2).getInfo() == 2


def test_a_mistake_of_the_stand_in_is_an_answer_that_nobody_repeats(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = scene(1)
    server.archive = Shelf([replace(broken, bands=tuple(replace(band, read=_fails) for band in broken.bands))])
    with pytest.raises(ee.EEException, match="stand-in: its own mistake: ZeroDivisionError"):
        _pixels(4, 4)
    assert "ZeroDivisionError" in capsys.readouterr().err


def _fails(*window: int) -> NoReturn:
    raise ZeroDivisionError(window)

"""Bytes of remote files: ranges, limits that all threads share, logins, and what is told when nothing comes."""

from __future__ import annotations

import hashlib
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from m3leo_prep.core.errors import CorruptError, CredentialsError, NoData, RateLimited, TooLarge, TriedOut
from m3leo_prep.sources.http import patience
from m3leo_prep.sources.http.patience import Gate
from m3leo_prep.sources.remote.access import Access, Keys
from m3leo_prep.sources.remote.files import fetch, ranges, size, usage, whole
from m3leo_prep.sources.remote.limits import Limit
from m3leo_prep.testing.objects import BUCKET, KEY, SECRET
from m3leo_prep.testing.proxy import Cut, FaultProxy
from m3leo_prep.testing.web import Fault, RangeServer

DATA = np.random.default_rng(2).bytes(400_000)
SPANS = [(300_000, 300_010), (5, 9), (10, 20), (399_990, 400_000)]


def access(**more: Any) -> Access:
    return Access(uuid4().hex, **more)


@pytest.fixture
def address(web: RangeServer) -> str:
    (web.folder / "f").write_bytes(DATA)
    return f"{web.url}/f"


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "GATE", Gate(sleep=lambda _: None, clock=iter(range(10**9)).__next__))


def test_ranges_come_in_order_and_near_ones_together(web: RangeServer, address: str) -> None:
    one = access()
    assert ranges(address, SPANS, one) == [DATA[a:b] for a, b in SPANS]
    assert sorted(request.range for request in web.requests) == [
        "bytes=300000-300009",
        "bytes=399990-399999",
        "bytes=5-19",
    ]
    assert usage(one) == (3, 35)
    assert ranges(address, [], one) == []


def test_small_files_come_whole_by_one_request(web: RangeServer, address: str) -> None:
    assert whole(address, access(), limit=10**6) == DATA
    assert len(web.requests) == 1
    with pytest.raises(TooLarge, match="400000 bytes, more than 1000"):
        whole(address, access(), limit=1000)
    assert size(address, access()) == len(DATA)


def test_a_file_that_ends_before_is_damaged(address: str) -> None:
    for span in [(399_000, 400_001), (400_000, 400_010), (500_000, 500_001)]:
        with pytest.raises(CorruptError):
            ranges(address, [span], access())


def test_a_path_of_this_machine_needs_nobody(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    assert ranges(str(tmp_path / "f"), SPANS, access()) == [DATA[a:b] for a, b in SPANS]
    assert fetch(str(tmp_path / "f"), access()) == tmp_path / "f"
    with pytest.raises(NoData):
        size(str(tmp_path / "g"), access())


def test_a_server_that_knows_no_ranges_sends_the_file_once(web: RangeServer, address: str) -> None:
    web.faults.extend([Fault(ignore_range=True)] * 9)
    one = access()
    assert ranges(address, SPANS, one) == [DATA[a:b] for a, b in SPANS]
    sent = len(web.requests)
    assert ranges(address, SPANS[:1], one) == [DATA[300_000:300_010]]
    assert len(web.requests) == sent


@pytest.mark.parametrize(
    "fault", [Fault(status=503), Fault(cut=100), Fault(truncate=3), Fault(status=429), Fault(status=500)]
)
@pytest.mark.usefixtures("_no_waiting")
def test_what_passes_is_asked_for_again(web: RangeServer, address: str, fault: Fault) -> None:
    web.faults.extend([fault] * 2)
    assert ranges(address, [(1000, 9000)], access()) == [DATA[1000:9000]]


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NoData), (401, CredentialsError), (403, CredentialsError), (429, RateLimited)]
)
@pytest.mark.usefixtures("_no_waiting")
def test_a_refusal_says_what_it_is(web: RangeServer, address: str, status: int, kind: type[Exception]) -> None:
    web.faults.extend([Fault(status=status)] * 20)
    with pytest.raises(kind):
        ranges(address, [(0, 10)], access())


@dataclass(frozen=True)
class Signed:
    """Signs anew at each request, as Planetary Computer's addresses want it after some time."""

    web: RangeServer = field(hash=False)

    def signed(self, address: str) -> str:
        return f"{address}?{self.web.url.partition('?')[2]}"


@pytest.mark.usefixtures("_no_waiting")
def test_an_address_that_expires_is_signed_again_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    with RangeServer(tmp_path, signed=True) as web:
        url = f"{web.url.partition('?')[0]}/f"
        one = access(signing=Signed(web))
        assert ranges(url, [(0, 9)], one) == [DATA[:9]]
        web.expire()
        assert ranges(url, [(0, 9)], one) == [DATA[:9]]
        web.faults.extend([Fault(status=503)] * 20)
        with pytest.raises(TriedOut) as caught:
            ranges(url, [(0, 9)], one)
        secret = web.url.partition("Signature=")[2]
        assert secret
        assert secret not in "".join(traceback.format_exception(caught.value))


def test_no_more_requests_are_under_way_than_a_provider_allows(web: RangeServer, address: str) -> None:
    web.latency = 0.02
    limit = Limit(3, 0)
    under_way, most, lock = 0, 0, threading.Lock()

    def ask(_: int) -> None:
        nonlocal under_way, most
        with limit.turn():
            with lock:
                under_way += 1
                most = max(most, under_way)
            time.sleep(0.002)
            with lock:
                under_way -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(40)))
    assert most == 3
    assert limit.usage() == (40, 0)


def test_no_more_requests_begin_in_any_minute_than_a_provider_allows() -> None:
    now = [0.0]
    begun: list[float] = []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    limit = Limit(4, 10, clock=lambda: now[0], sleep=sleep)
    for _ in range(35):
        with limit.turn():
            begun.append(now[0])
            now[0] += 1.5
    for first in begun:
        assert sum(first <= when < first + 60 for when in begun) <= 10
    assert begun[-1] < 200, "and no slower than that"


# -- buckets -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(s3: str) -> str:
    from m3leo_prep.blobs.objects import ObjectBlobs

    ObjectBlobs(s3).put("f", DATA)
    return f"{s3}/f"


@pytest.fixture
def keys(s3_server: Any, monkeypatch: pytest.MonkeyPatch, stored: str) -> Access:
    """An access whose keys are right, in an environment that names others."""
    del stored
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.setenv(name, "http://127.0.0.1:9" if "URL" in name else "wrong")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    return access(endpoint=s3_server.endpoint, keys=Keys(KEY, SECRET))


def test_objects_are_read_with_the_keys_of_the_access_and_no_others(keys: Access, stored: str) -> None:
    assert ranges(stored, SPANS, keys) == [DATA[a:b] for a, b in SPANS]
    assert size(stored, keys) == len(DATA)
    assert whole(stored, keys, limit=10**6) == DATA
    for span in [(399_000, 400_001), (500_000, 500_001)]:
        with pytest.raises(CorruptError):
            ranges(stored, [span], keys)
    with pytest.raises(NoData):
        ranges(f"{stored}x", [(0, 1)], keys)


def test_wrong_keys_are_refused_without_being_shown(keys: Access, stored: str) -> None:
    wrong = access(endpoint=keys.endpoint, keys=Keys(KEY, "s3cret-s3cret"), hint="renew your keys")
    with pytest.raises(CredentialsError) as caught:
        ranges(stored, [(0, 1)], wrong)
    assert caught.value.hint == "renew your keys"
    # Without keys nothing is signed: those of the environment are somebody else's.
    with pytest.raises(CredentialsError, match="AccessDenied"):
        ranges(stored, [(0, 1)], access(endpoint=keys.endpoint))
    assert "s3cret" not in "".join(traceback.format_exception(caught.value)) + repr(wrong)


def test_a_bucket_may_lie_elsewhere_than_the_others(keys: Access, stored: str) -> None:
    one = access(endpoint="http://127.0.0.1:9", keys=keys.keys, endpoints={BUCKET: keys.endpoint})
    assert ranges(stored, [(0, 4)], one) == [DATA[:4]]


@pytest.fixture
def line(s3_server: Any) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", int(s3_server.endpoint.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.mark.usefixtures("_no_waiting")
def test_a_line_that_is_cut_costs_no_byte(keys: Access, stored: str, line: FaultProxy) -> None:
    one = access(endpoint=f"http://127.0.0.1:{line.port}", keys=keys.keys)
    line.cuts.extend([Cut(after=20_000), Cut(after=50_000)])
    assert ranges(stored, [(0, 300_000)], one) == [DATA[:300_000]]
    line.is_down = True
    with pytest.raises(TriedOut, match="cannot be reached"):
        ranges(stored, [(0, 300_000)], access(endpoint=one.endpoint, keys=keys.keys, connections=15))


def test_an_object_is_kept_whole_and_looked_at(keys: Access, stored: str) -> None:
    right = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
    path = fetch(stored, keys, size=len(DATA), checksum=right, magic=(DATA[:3],))
    assert path.read_bytes() == DATA
    requests = usage(keys)
    assert fetch(stored, keys, size=len(DATA)).read_bytes() == DATA
    assert usage(keys) == requests


def test_an_object_that_is_not_what_was_announced_is_not_kept(keys: Access, stored: str, tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match=r"checksum .* twice"):
        fetch(stored, keys, checksum=f"md5:{hashlib.md5(b'other').hexdigest()}")
    assert not [path for path in (tmp_path / "cache").rglob("f*") if path.stat().st_size == len(DATA)]

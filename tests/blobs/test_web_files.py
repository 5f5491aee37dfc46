"""WebFiles against a real server: ranges, every fault that passes by itself, and those that do not."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.errors import ConfigError, CredentialsError, StoreError
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.testing.web import Fault, RangeServer

http = pytest.importorskip("m3leo_prep.blobs.http")
WebFiles = pytest.importorskip("m3leo_prep.blobs.web").WebFiles

SMALL = bytes(range(100))
LARGE = hashlib.shake_256(b"large").digest(3 * 2**20 + 7)


@pytest.fixture
def files(web):
    (web.folder / "small").write_bytes(SMALL)
    (web.folder / "large").write_bytes(LARGE)
    (web.folder / "empty").write_bytes(b"")
    (web.folder / "folder").mkdir()
    (web.folder / "folder" / "50%25 off #1?ü+.txt").write_bytes(b"odd")
    return WebFiles(web.url)


def whole_error(call) -> str:
    """Return all that a person could get to see of an error."""
    with pytest.raises(Exception) as caught:
        call()
    return "".join(traceback.format_exception(caught.value))


def test_it_is_readable_and_pickles(files):
    assert isinstance(files, Readable)
    assert files.is_remote
    assert pickle.loads(pickle.dumps(files)).get("small", 3, 2) == SMALL[3:5]


@given(start=st.integers(-130, 130), length=st.none() | st.integers(0, 130))
def test_ranges_are_what_slicing_says(session_files, start, length):
    expected = SMALL[start:] if start >= -100 else SMALL
    assert session_files.get("small", start, length) == expected[:length]
    assert session_files.get("empty", start, length) == b""


@pytest.fixture(scope="module")
def session_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "small").write_bytes(SMALL)
    (folder / "empty").write_bytes(b"")
    with RangeServer(folder) as server:
        yield WebFiles(server.url)


def test_sizes_and_absence(files):
    assert files.size("small") == 100
    assert files.size("empty") == 0
    for name in ("nothing", "folder", "small/a"):
        assert files.size(name) is None
        for length in (None, 0, 5):
            with pytest.raises(FileNotFoundError, match=name):
                files.get(name, 0, length)


def test_odd_names_are_encoded_and_none_leads_out(files):
    assert files.get("folder/50%25 off #1?ü+.txt") == b"odd"
    for name in ("../small", "folder/../small", "/etc/passwd", "", "a//b"):
        with pytest.raises(StoreError, match="not a name inside"):
            files.get(name)


def test_a_read_is_one_request_on_one_connection(files, web):
    for at in range(20):
        assert files.get("small", at, 3) == SMALL[at : at + 3]
    assert [request.range for request in web.requests] == [f"bytes={at}-{at + 2}" for at in range(20)]
    assert files.size("small") == 100
    assert files.size("nothing") is None
    with pytest.raises(FileNotFoundError):
        files.get("nothing")
    web.faults.append(Fault(status=503))
    assert files.get("small") == SMALL
    pool = http._pool(os.getpid(), "").connection_from_url(web.url)
    assert pool.num_connections == 1


PASSING = {
    "cut at once": Fault(cut=0),
    "cut late": Fault(cut=2**21 + 5),
    "500": Fault(status=500),
    "502": Fault(status=502),
    "503": Fault(status=503),
    "504": Fault(status=504),
    "429": Fault(status=429),
    "429 with seconds": Fault(status=429, retry_after="0"),
    "503 with a date": Fault(status=503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "less than it says": Fault(truncate=9),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_passes_by_itself_is_repeated(files, web, fault):
    web.faults.extend([fault, fault])
    assert files.get("large", 10) == LARGE[10:]
    assert not web.faults
    web.faults.append(fault)
    assert files.get("large", -(2**21) - 50, 2**21 + 20) == LARGE[-(2**21) - 50 :][: 2**21 + 20]
    if not fault.truncate:  # of a whole file without a range nobody else says the size
        web.faults.append(fault)
        assert files.get("large") == LARGE


def test_a_cut_body_goes_on_where_it_was_cut(files, web):
    web.faults.extend([Fault(cut=2**20), Fault(cut=2**20)])
    assert files.get("large") == LARGE
    sent = sum(request.sent for request in web.requests)
    assert sent == len(LARGE)
    assert [request.range for request in web.requests] == [None, f"bytes={2**20}-", f"bytes={2**21}-{len(LARGE) - 1}"]


def test_a_body_that_is_cut_often_is_read_in_the_end(files, web, monkeypatch):
    """Attempts that get on do not count; those that do not are bounded."""
    monkeypatch.setattr(http, "ATTEMPTS", 2)
    web.faults.extend([Fault(cut=2**20)] * 3)
    assert files.get("large") == LARGE
    web.faults.extend([Fault(cut=10)] * 3)
    with pytest.raises(StoreError, match=r"cut after \d+ bytes, 2 times in a row"):
        files.get("large")


def test_a_file_that_changes_in_between_is_read_anew(files, web):
    web.faults.append(Fault(cut=2**20))
    other = bytes(len(LARGE))
    served = web.take

    def take(method, path):
        if web.requests:
            (web.folder / "large").write_bytes(other)
        return served(method, path)

    web.take = take
    assert files.get("large") == other


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_stays_down_is_given_up(files, web, status):
    web.faults.extend([Fault(status=status)] * 20)
    with pytest.raises(StoreError, match=f"{status} .* {http.ATTEMPTS} times in a row") as caught:
        files.get("small")
    assert len(web.requests) == http.ATTEMPTS
    assert caught.value.where == f"{files.url}/small"
    with pytest.raises(StoreError, match=str(status)):
        files.size("small")


def test_the_wait_that_is_asked_for_is_kept(files, web, monkeypatch):
    waits = []
    monkeypatch.setattr(http.time, "sleep", waits.append)
    web.faults.append(Fault(status=429, retry_after="7"))
    web.faults.append(
        Fault(status=503, retry_after=format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    )
    assert files.get("small") == SMALL
    assert waits[0] == 7
    assert 50 < waits[1] <= 60
    web.faults.append(Fault(status=429, retry_after="86400"))
    with pytest.raises(StoreError, match=r"asks to wait \d+ s"):
        files.get("small")
    assert len(waits) == 2


def test_a_silent_server_is_given_up(files, web, monkeypatch):
    monkeypatch.setattr(http, "READ_SECONDS", 0.05)
    web.faults.append(Fault(stall=5))
    assert files.get("small") == SMALL
    monkeypatch.setattr(http, "ATTEMPTS", 2)
    web.faults.extend([Fault(stall=5)] * 2)
    with pytest.raises(StoreError, match=r"silent for 0\.05 s, 2 times"):
        files.get("small")


def test_no_server_and_no_host(web):
    gone = web.url
    web.__exit__(None, None, None)
    try:
        with pytest.raises(StoreError, match="takes no connections"):
            WebFiles(gone).get("a")
        with pytest.raises(StoreError, match="no host of this name"):
            WebFiles("http://name.invalid/x").get("a")
    finally:
        web.__enter__()


def test_a_server_without_ranges(files, web):
    """Small files may come whole; of a large one only the whole may."""
    web.faults.extend([Fault(ignore_range=True)] * 4)
    assert files.get("small", 10, 5) == SMALL[10:15]
    assert files.get("small", -10, 5) == SMALL[-10:-5]
    assert files.get("large") == LARGE
    with pytest.raises(StoreError, match=r"no byte ranges(.|\n)*m3leo-prep pull") as caught:
        files.get("large", 10, 5)
    assert web.requests[-1].status == 200
    assert "small" not in str(caught.value)
    web.faults.extend([Fault(ignore_range=True)] * 2)
    half = len(LARGE) // 2  # as `pull` asks
    assert files.get("large", 0, half) + files.get("large", half) == LARGE


def test_a_server_without_ranges_that_cuts(files, web):
    """Nothing can go on there: the whole file again."""
    web.faults.extend([Fault(cut=2**20), Fault(ignore_range=True)])
    assert files.get("large") == LARGE
    for then in ([Fault(ignore_range=True)], []):
        web.faults.extend([Fault(cut=50, ignore_range=True), *then])
        assert files.get("small", 10, 80) == SMALL[10:90]


@pytest.mark.parametrize("status", [403, 405, 501])
def test_sizes_without_head(files, web, status):
    """An address that is signed for GET refuses HEAD."""
    for name, size in (("large", len(LARGE)), ("small", 100), ("empty", 0), ("nothing", None)):
        web.faults.append(Fault(method="HEAD", status=status))
        assert files.size(name) == size
    assert sum(request.sent for request in web.requests if request.status == 206) == 2
    web.faults.extend([Fault(method="HEAD", status=status), Fault(method="GET", ignore_range=True)])
    assert files.size("large") == len(LARGE)


def test_a_refusal(files, web):
    for status in (401, 403):
        web.faults.append(Fault(status=status))
        with pytest.raises(CredentialsError, match=str(status)) as caught:
            files.get("small")
        assert "expired" not in str(caught.value)
    assert len(web.requests) == 2, "asking again does not help"


def test_a_signed_address_works_until_it_expires_and_is_never_shown(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(SMALL)
    with RangeServer(tmp_path, signed=True) as server:
        files = WebFiles(server.url)
        signature = server.url.partition("=")[2]
        assert files.get("a", 3, 4) == SMALL[3:7]
        assert files.size("a") == 100
        server.expire()
        with pytest.raises(CredentialsError, match="expired") as caught:
            files.get("a")
        assert caught.value.where == f"{files.url}/a"
        shown = whole_error(lambda: files.get("a")) + whole_error(lambda: files.size("a")) + repr(files) + files.url
        assert WebFiles(server.url).get("a") == SMALL
    monkeypatch.setattr(http, "ATTEMPTS", 1)
    shown += whole_error(lambda: files.get("a"))  # the server is gone
    assert signature not in shown
    assert "X-Signature" not in shown


def test_user_and_password_are_sent_and_never_shown(files, web):
    password = "pass%40word"
    secret = WebFiles(web.url.replace("://", f"://me:{password}@"))
    assert secret.get("small") == SMALL
    assert secret.url == web.url
    _, headers = secret.request("small")
    assert headers == {"authorization": "Basic bWU6cGFzc0B3b3Jk"}  # me:pass@word
    shown = whole_error(lambda: secret.get("nothing")) + repr(secret)
    assert password not in shown
    assert "Basic" not in shown


def test_an_address_without_a_server():
    for address in (
        "https:///folder",
        "http://me:word@:80/x",
        "http://me:word@[half/x",
        "http://me:word@x:99999/x?word",
    ):
        with pytest.raises(ConfigError, match="names no server") as caught:
            WebFiles(address)
        assert "word" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # what this test is about
def test_threads_and_forks_do_not_mix_their_answers(files):
    """The child has connections of its own: on shared ones it would get the parent's bytes."""

    def some(seed: int) -> bool:
        return all(files.get("large", at * 9973 + seed, 50) == LARGE[at * 9973 + seed :][:50] for at in range(60))

    assert some(0)
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        children = pool.map_async(_many, [files, files])
        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(some, range(4)))
        assert children.get() == [True, True]


def _many(files) -> bool:
    return all(files.get("large", at * 7919, 50) == LARGE[at * 7919 :][:50] for at in range(60))


class _Redirecting(BaseHTTPRequestHandler):
    """Sends on to another signed address, with a damaged header: the library tells both in its log."""

    def do_GET(self):
        self.send_response(200 if "planted-2" in self.path else 302)
        self.send_header("Location", "/f?X-Signature=planted-2")
        self.send_header("Content-Length", "0")
        self._headers_buffer.append(b"no header at all\r\n")
        self.end_headers()

    def log_message(self, *_):
        """Be quiet."""


def test_a_signed_address_is_in_no_log(caplog):
    server = HTTPServer(("127.0.0.1", 0), _Redirecting)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        with caplog.at_level("DEBUG"):
            address = f"http://127.0.0.1:{server.server_port}/f?X-Signature=planted-1"
            with http.answer("GET", address, {}, http.Patience("f")) as response:
                assert response.status == 200
    finally:
        server.shutdown()
        server.server_close()
    assert "planted" not in caplog.text

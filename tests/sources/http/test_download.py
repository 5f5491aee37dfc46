"""Downloads: whole or not there, resumed where they were cut, and refusals that say what they are."""

from __future__ import annotations

import hashlib
import re
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3leo_prep.core.errors import (
    CorruptError,
    CredentialsError,
    NoData,
    PrepError,
    RateLimited,
    SourceError,
    StoreError,
    TriedOut,
)
from m3leo_prep.sources.http import contents, patience, transfer
from m3leo_prep.sources.http.download import download
from m3leo_prep.testing.web import Fault, RangeServer

HDF = b"\x89HDF\r\n\x1a\n"
DATA = HDF + np.random.default_rng(7).bytes(3 * 2**20)
MD5 = f"md5:{hashlib.md5(DATA).hexdigest()}"
NAME = "S1-GUNW-A.nc"


@pytest.fixture
def served(web: RangeServer) -> RangeServer:
    (web.folder / NAME).write_bytes(DATA)
    return web


def fetch(web: RangeServer, folder: Path, **more: Any) -> bytes:
    target = folder / "file.nc"
    assert download(f"{web.url}/{NAME}", target, where=NAME, **more) is target
    assert left(folder) == ["file.nc"]
    return target.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "target"
    made.mkdir()
    return made


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def answering(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yield the address of a server with prepared answers, the last one for all further requests; and what it got."""
    rest, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            asked.append(dict(self.headers.items()))
            status, headers, body = rest.pop(0) if len(rest) > 1 else rest[0]
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | headers).items():
                if value:
                    self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = "Content-Length" in headers

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/f.nc", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("checksum", ["", MD5, f"sha256:{hashlib.sha256(DATA).hexdigest().upper()}"])
def test_a_file_comes_whole(served: RangeServer, folder: Path, checksum: str) -> None:
    seen: list[int] = []
    assert fetch(served, folder, size=len(DATA), checksum=checksum, magic=(b"CDF", HDF), on_bytes=seen.append) == DATA
    assert sum(seen) == len(DATA)
    assert len(served.requests) == 1


def test_what_lies_at_the_target_is_not_believed(served: RangeServer, folder: Path) -> None:
    (folder / "file.nc").write_bytes(DATA[:1000])
    assert fetch(served, folder) == DATA


def test_each_cut_goes_on_where_it_was(served: RangeServer, folder: Path) -> None:
    served.faults.extend([Fault(cut=2**20), Fault(cut=2**20), Fault(status=503), Fault(cut=100)])
    seen: list[int] = []
    assert fetch(served, folder, checksum=MD5, on_bytes=seen.append) == DATA
    starts = [int(re.findall(r"\d+", one.range)[0]) if one.range else 0 for one in served.requests]
    assert starts == sorted(starts)
    assert starts[1] > 0
    assert sum(seen) == len(DATA), "no byte came twice"


@pytest.mark.parametrize("fault", [Fault(truncate=1000), Fault(ignore_range=True), Fault(flip=5)])
def test_a_resumed_part_may_be_short_the_whole_or_damaged(served: RangeServer, folder: Path, fault: Fault) -> None:
    served.faults.extend([Fault(cut=2**20), fault])
    assert fetch(served, folder, size=len(DATA), checksum=MD5) == DATA
    if fault.truncate:
        assert all(one.range for one in served.requests[1:]), "what had come was not fetched again"


def test_a_part_of_an_earlier_run_is_used_only_where_a_mixture_would_be_seen(served: RangeServer, folder: Path) -> None:
    part = folder / "file.nc.part"
    part.write_bytes(DATA[: 2**20])
    assert fetch(served, folder, size=len(DATA)) == DATA
    assert served.requests[-1].range == f"bytes={2**20}-"
    part.write_bytes(b"other" * 100)
    assert fetch(served, folder) == DATA
    assert served.requests[-1].range is None
    part.write_bytes(b"other" * 100)
    assert fetch(served, folder, checksum=MD5) == DATA, "seen, and fetched again from its beginning"
    part.write_bytes(DATA + b"more")
    count = len(served.requests)
    assert fetch(served, folder, size=len(DATA)) == DATA
    assert [one.range for one in served.requests[count:]] == [None]
    part.write_bytes(DATA)
    count = len(served.requests)
    assert fetch(served, folder, size=len(DATA), checksum=MD5) == DATA
    assert len(served.requests) == count, "all had come before"


def test_a_file_that_changes_between_two_parts_is_fetched_anew(served: RangeServer, folder: Path) -> None:
    other = HDF + bytes(len(DATA) - 8)

    def change(_: int) -> None:
        (served.folder / NAME).write_bytes(other)

    served.faults.append(Fault(cut=2**20))
    assert fetch(served, folder, size=len(DATA), on_bytes=change) == other
    assert [one.range for one in served.requests][2:] == [None]


def test_a_wrong_checksum_is_fetched_once_more_and_then_final(served: RangeServer, folder: Path) -> None:
    served.faults.append(Fault(flip=2**20))
    assert fetch(served, folder, checksum=MD5) == DATA
    (folder / "file.nc").unlink()
    served.faults.extend([Fault(flip=2**20), Fault(flip=9)])
    with pytest.raises(CorruptError, match="checksum"):
        fetch(served, folder, checksum=MD5)
    assert left(folder) == []
    assert len(served.requests) == 4


@pytest.mark.parametrize(
    ("announced", "said"),
    [({"size": 5}, "bytes, 5 were announced"), ({"magic": (b"CDF",)}, "begins with"), ({"size": 2**30}, "bytes, ")],
)
def test_what_is_not_as_announced_is_corrupt(
    served: RangeServer, folder: Path, announced: dict[str, Any], said: str
) -> None:
    with pytest.raises(CorruptError, match=said):
        fetch(served, folder, **announced)
    assert left(folder) == []


def test_without_size_and_checksum_the_kind_is_looked_at(served: RangeServer, folder: Path) -> None:
    (served.folder / NAME).write_bytes(b"")
    with pytest.raises(CorruptError, match="begins with"):
        fetch(served, folder, magic=(HDF,))
    assert fetch(served, folder) == b"", "nothing was said of what it should be"


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (404, NoData, "no such file"),
        (410, NoData, "no such file"),
        (401, CredentialsError, "401 Unauthorized"),
        (403, CredentialsError, "403 Forbidden"),
        (418, SourceError, "418"),
        (501, SourceError, "501 Not Implemented"),
    ],
)
def test_refusals_are_final_at_once(
    served: RangeServer, folder: Path, status: int, error: type[PrepError], said: str
) -> None:
    served.faults.append(Fault(status=status))
    with pytest.raises(error, match=said) as caught:
        fetch(served, folder)
    assert type(caught.value) is error
    assert len(served.requests) == 1
    assert left(folder) == []


@pytest.mark.parametrize(("status", "error"), [(503, TriedOut), (429, RateLimited), (500, TriedOut)])
def test_what_may_pass_is_tried_a_few_times(
    served: RangeServer, folder: Path, status: int, error: type[PrepError]
) -> None:
    served.faults.extend([Fault(status=status)] * 10)
    with pytest.raises(error, match="6 times in a row") as caught:
        fetch(served, folder)
    assert type(caught.value) is error
    assert len(served.requests) == 6


def test_what_came_before_giving_up_is_kept(served: RangeServer, folder: Path) -> None:
    served.faults.extend([Fault(cut=2**20), *[Fault(status=503)] * 6])
    with pytest.raises(TriedOut):
        fetch(served, folder, checksum=MD5)
    assert left(folder) == ["file.nc.part"]
    assert fetch(served, folder, checksum=MD5) == DATA
    assert served.requests[-1].range is not None


def test_nobody_there_is_told_as_such(folder: Path, web: RangeServer) -> None:
    with pytest.raises(TriedOut, match="takes no connections"):
        download("http://127.0.0.1:9/f", folder / "f", where="f")


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
@pytest.mark.parametrize("size", [0, 10**8])
def test_a_login_page_is_never_a_file(folder: Path, kind: str, size: int) -> None:
    page = b"\xef\xbb\xbf <!-- edl -->\n<!DOCTYPE HTML><html><body>Earthdata Login</body></html>"
    (folder / "file.nc").write_bytes(b"older")
    with answering((200, {"Content-Type": kind}, page)) as (url, asked):
        with pytest.raises(CredentialsError, match="a page for people"):
            download(url, folder / "file.nc", size=size, checksum=MD5, where=NAME)
        assert len(asked) == 1
    assert left(folder) == ["file.nc"]
    assert (folder / "file.nc").read_bytes() == b"older"


def test_a_file_that_is_said_to_be_a_page_is_believed_for_its_kind(folder: Path) -> None:
    with answering((200, {"Content-Type": "text/html"}, DATA)) as (url, _):
        assert download(url, folder / "f", magic=(HDF,), where=NAME).read_bytes() == DATA
        with pytest.raises(CredentialsError):
            download(url, folder / "g", where=NAME)
        with pytest.raises(CredentialsError):
            download(url, folder / "g", magic=(b"PK",), where=NAME)


def test_a_line_that_always_breaks_without_going_on_is_left(served: RangeServer, folder: Path) -> None:
    """Megabytes come each time, but always the same ones: that is no progress."""
    served.faults.extend([Fault(cut=2**21, ignore_range=True)] * 40)
    with pytest.raises(TriedOut, match="6 times in a row"):
        fetch(served, folder, checksum=MD5)
    assert len(served.requests) <= 7


def test_a_proxy_is_told_the_login_that_its_address_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering((200, {}, DATA)) as (url, asked):
        monkeypatch.setenv("http_proxy", url.replace("//", "//me:p%40ss@").removesuffix("/f.nc"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert download("http://behind.invalid/f", folder / "f", where=NAME).read_bytes() == DATA
    assert [one["proxy-authorization"] for one in asked] == ["Basic bWU6cEBzcw=="]


def test_a_proxy_that_refuses_is_told_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch, web: RangeServer) -> None:
    monkeypatch.setenv("https_proxy", web.url.replace("//", "//me:s3cret@"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(TriedOut, match="the proxy does not let us through") as caught:
        download("https://behind.invalid/f", folder / "f", where=NAME)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_redirect_to_no_address_is_told(folder: Path) -> None:
    for location in ("https://[s3cret/x", "gopher://s3cret/x"):
        with answering((302, {"Location": location}, b"")) as (url, _), pytest.raises(SourceError) as caught:
            download(url, folder / "f", where=NAME)
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_refusal_is_told_in_the_providers_words(folder: Path) -> None:
    told = b'{"error_description": "EULA\\nnot accepted", "resolution_url": "https://urs.earthdata.nasa.gov/approve"}'
    with answering((403, {}, told)) as (url, _), pytest.raises(CredentialsError) as caught:
        download(url, folder / "f", where=NAME)
    assert "EULA not accepted See https://urs.earthdata.nasa.gov/approve" in str(caught.value)


def test_a_file_that_is_being_made_is_looked_for_until_it_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(patience, "GATE", patience.Gate(sleep=waits.append))
    made = (202, {}, b"being made")
    with answering(made, (202, {"Retry-After": "7"}, b""), made, (200, {}, DATA)) as (url, _):
        assert download(url, folder / "f", checksum=MD5, where=NAME).read_bytes() == DATA
    assert waits == [2.0, 7.0, 4.5]
    with answering(made) as (url, asked), pytest.raises(TriedOut, match="still making"):
        download(url, folder / "g", where=NAME)
    assert len(asked) == transfer.POLLS + 1
    assert left(folder) == ["f"]


def test_chunked_bodies_that_are_cut_are_seen(folder: Path, web: RangeServer) -> None:
    chunks = b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"
    chunked = {"Transfer-Encoding": "chunked", "Content-Length": ""}
    with answering((200, chunked, chunks[:15]), (200, chunked, chunks)) as (url, asked):
        assert download(url, folder / "f", where=NAME).read_bytes() == b"helloworld"
    assert asked[1]["Range"].startswith("bytes=")


@pytest.mark.parametrize(
    "headers",
    [{"Content-Range": "bytes 7-9/100"}, {"Content-Range": "items 1-2/3"}, {}, {"Content-Range": "bytes */10"}],
)
def test_another_part_than_was_asked_for_is_not_taken(folder: Path, web: RangeServer, headers: dict[str, str]) -> None:
    (folder / "f.part").write_bytes(DATA[:5])
    with answering((206, headers, b"xyz"), (200, {}, DATA)) as (url, asked):
        assert download(url, folder / "f", size=len(DATA), where=NAME).read_bytes() == DATA
    assert ["Range" in headers for headers in asked] == [True, False]


def test_an_object_stores_own_checksum_is_believed(folder: Path) -> None:
    headers = {"Server": "AmazonS3", "ETag": f'"{MD5[4:]}"', "x-amz-server-side-encryption": "AES256"}
    assert contents.digest_of(headers) == MD5
    assert contents.digest_of(headers | {"ETag": f'"{MD5[4:]}-12"'}) == "", "uploaded in pieces"
    assert contents.digest_of(headers | {"x-amz-server-side-encryption": "aws:kms"}) == ""
    assert contents.digest_of(headers | {"Server": "Apache"}) == ""


def test_a_trickle_counts_as_no_connection(served: RangeServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "WATCHED_SECONDS", 0.0)
    monkeypatch.setattr(transfer, "SLOWEST", 2**40)
    with pytest.raises(TriedOut, match="less than"):
        fetch(served, folder, checksum=MD5)


def test_a_silent_server_is_left(served: RangeServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3leo_prep.blobs import http

    monkeypatch.setattr(http, "READ_SECONDS", 0.05)
    served.faults.append(Fault(stall=0.3))
    assert fetch(served, folder) == DATA
    served.faults.extend([Fault(stall=0.2)] * 10)
    with pytest.raises(TriedOut, match="silent"):
        fetch(served, folder)


def test_a_full_disk_is_told_and_given_its_room_back(served: RangeServer, folder: Path) -> None:
    # On this device each write fails as on a full disk.
    (folder / "file.nc.part").symlink_to("/dev/full")
    with pytest.raises(StoreError, match="No space left") as caught:
        fetch(served, folder, checksum=MD5)
    assert "M3LEO_PREP_CACHE" in caught.value.hint
    assert left(folder) == []
    assert fetch(served, folder, checksum=MD5) == DATA


def test_no_secret_of_an_address_is_told(served: RangeServer, folder: Path) -> None:
    word = "s3cret"
    secret = f"X-Amz-Signature={word}&token={word}"
    told = []
    for fault in (401, 403, 404, 418, 429, 503):
        served.faults.clear()
        served.faults.extend([Fault(status=fault)] * 6)
        with pytest.raises(PrepError) as caught:
            download(f"{served.url}/{NAME}?{secret}", folder / "f", where=NAME)
        told.append(caught.value)
    for address in (f"http://me:{word}@127.0.0.1:9/x?{secret}", f"ftp://me:{word}@x/?{secret}"):
        with pytest.raises(PrepError) as caught:
            download(address, folder / "f", where=NAME)
        told.append(caught.value)
    for error in told:
        assert word not in "".join(traceback.format_exception(error))

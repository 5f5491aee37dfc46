"""The web server that streaming is tested against answers as RFC 9110 says, unless it is told not to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from m3leo_prep.testing.web import Fault, RangeServer, Request

DATA = bytes(range(50))


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served" / "a b").mkdir(parents=True)
    (tmp_path / "served" / "a b" / "c").write_bytes(DATA)
    (tmp_path / "secret").write_bytes(b"x")
    with RangeServer(tmp_path / "served") as server:
        yield server


@pytest.fixture
def ask(server):
    """Return a function that asks on one connection, which an answer in order keeps open."""
    connection = HTTPConnection(urlsplit(server.url).netloc)

    def asked(path="/a%20b/c", method="GET", **headers):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers

    yield asked
    connection.close()


@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"),
    [
        ("bytes=0-0", 206, DATA[:1], "bytes 0-0/50"),
        ("bytes=3-9", 206, DATA[3:10], "bytes 3-9/50"),
        ("bytes=40-99", 206, DATA[40:], "bytes 40-49/50"),
        ("bytes=40-", 206, DATA[40:], "bytes 40-49/50"),
        ("bytes=-3", 206, DATA[-3:], "bytes 47-49/50"),
        ("bytes=-99", 206, DATA, "bytes 0-49/50"),
        ("bytes=50-", 416, None, "bytes */50"),
        ("bytes=-0", 416, None, "bytes */50"),
        ("bytes=0-1,3-4", 200, DATA, None),
        ("lines=0-1", 200, DATA, None),
    ],
)
def test_ranges(ask, header, status, body, content_range):
    got, data, headers = ask(Range=header)
    assert (got, headers["Content-Range"]) == (status, content_range)
    assert body is None or data == body
    assert int(headers["Content-Length"]) == len(data)


def test_the_whole_its_head_and_its_tag(ask, server):
    status, data, headers = ask()
    assert (status, data) == (200, DATA)
    head = ask(method="HEAD")
    assert head[:2] == (200, b"")
    assert head[2]["Content-Length"] == "50"
    assert head[2]["ETag"] == headers["ETag"]
    assert head[2]["Accept-Ranges"] == "bytes"
    (server.folder / "a b" / "c").write_bytes(DATA[1:])
    assert ask()[2]["ETag"] != headers["ETag"]
    assert server.requests[:2] == [
        Request("GET", "/a%20b/c", None, 200, 50),
        Request("HEAD", "/a%20b/c", None, 200, 0),
    ]


@pytest.mark.parametrize("path", ["/", "/a%20b", "/nothing", "/../secret", "/a%20b/..%2f..%2fsecret", "//etc/passwd"])
def test_what_is_no_file_below_the_folder(ask, path):
    assert ask(path)[0] == 404


def test_faults(ask, server):
    server.faults.append(Fault(path="other*", status=500))
    server.faults.append(Fault(method="HEAD", status=500))
    assert ask()[0] == 200
    assert ask(method="HEAD")[0] == 500
    assert ask("/other")[0] == 500
    assert not server.faults
    server.faults.append(Fault(status=429, retry_after="3"))
    status, _, headers = ask()
    assert (status, headers["Retry-After"]) == (429, "3")
    server.faults.append(Fault(flip=1))
    assert ask(Range="bytes=5-7")[1] == bytes([5, 6 ^ 255, 7])
    server.faults.append(Fault(truncate=2))
    _, data, headers = ask(Range="bytes=5-9")
    assert (data, headers["Content-Range"]) == (DATA[5:8], "bytes 5-9/50")
    server.faults.append(Fault(cut=20))
    with pytest.raises(OSError, match="reset"):
        ask()
    assert server.requests[-1] == Request("GET", "/a%20b/c", None, 200, 20)


def test_signed(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    with RangeServer(tmp_path, signed=True) as server:
        found = urlsplit(server.url)
        connection = HTTPConnection(found.netloc)

        def status(query: str) -> int:
            connection.request("GET", f"/a?{query}")
            answer = connection.getresponse()
            answer.read()
            return answer.status

        assert [status(found.query), status(""), status(found.query + "0")] == [200, 403, 403]
        server.expire()
        assert [status(found.query), status(urlsplit(server.url).query)] == [403, 200]
        connection.close()


def test_it_ends_with_its_connections(tmp_path):
    with RangeServer(tmp_path) as server:
        address = urlsplit(server.url)
        idle = socket.create_connection((address.hostname, address.port))
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4) == b"HTTP"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address.hostname, address.port))
    idle.close()


def test_by_hand(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    command = [sys.executable, "-m", "m3leo_prep.testing.web", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        connection = HTTPConnection(urlsplit(process.stdout.readline().strip()).netloc)
        connection.request("GET", "/a")
        assert connection.getresponse().read() == DATA
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr.read() == ""
    wrong = subprocess.run(
        [*command[:-1], str(tmp_path / os.sep / "nothing")], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "is not a folder" in wrong.stderr

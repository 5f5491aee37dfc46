"""The Hub stand-in by hand, and what it keeps between requests."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from m3leo_prep.testing.hub import HubStandIn
from m3leo_prep.testing.hub.__main__ import main


def test_by_hand_it_says_how_to_use_it_and_what_was_asked() -> None:
    command = [sys.executable, "-m", "m3leo_prep.testing.hub", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        settings = dict(line.split()[1].split("=", 1) for line in said)
        assert set(settings) == {"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_DISABLE_XET"}
        host = settings["HF_ENDPOINT"].removeprefix("http://")
        connection = http.client.HTTPConnection(host)
        connection.request("GET", "/api/whoami-v2", headers={"Authorization": f"Bearer {settings['HF_TOKEN']}"})
        answer = connection.getresponse()
        assert (answer.status, b'"me"' in answer.read()) == (200, True)
        connection.close()
        os.kill(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert (process.returncode, told.strip().split(",")[0]) == (0, "1 requests")


def test_a_taken_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with HubStandIn() as hub:
        assert main(["--port", str(hub.port)]) == 1
    assert "is in use" in capsys.readouterr().err


def test_a_connection_is_kept_and_can_send_in_chunks(tmp_path: Path) -> None:
    with HubStandIn(tmp_path) as hub:
        connection = http.client.HTTPConnection("127.0.0.1", hub.port)
        headers = {"Authorization": f"Bearer {hub.token}", "Content-Type": "application/json"}
        body = iter([b'{"name": "chips", ', b'"type": "dataset"}'])
        connection.request("POST", "/api/repos/create", body=body, headers=headers, encode_chunked=True)
        assert connection.getresponse().read().endswith(b'"me/chips"}')
        kept = connection.sock
        connection.request("GET", "/nowhere", headers=headers)
        assert (lambda answer: (answer.status, answer.read()[:20]))(connection.getresponse())[0] == 404
        connection.request("HEAD", "/datasets/me/chips/resolve/main/.gitattributes", headers=headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read(), int(answer.headers["Content-Length"])) == (200, b"", 88)
        assert connection.sock is kept
        connection.close()
        assert [r.status for r in hub.requests] == [200, 404, 200]


def test_reset_forgets_all_but_where_it_listens() -> None:
    with HubStandIn() as hub:
        endpoint = hub.endpoint
        hub.holdings.create("me/chips")
        hub.reset()
        assert (hub.repos, hub.requests, hub.endpoint) == ({}, [], endpoint)
        assert list(hub.holdings.blobs.folder.iterdir()) == []

"""Buckets of other regions than the one that we ask in: the store sends us away, and tells where to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from m3leo_prep.blobs import http
from m3leo_prep.core.errors import SourceError
from m3leo_prep.sources.remote import files, objects, regions
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.testing.answers import Answer
from m3leo_prep.testing.serving import Handler, Server

BODY = b"0123456789"


class Amazon(Server):
    """``/REGION/BUCKET/KEY``; the bucket ``b`` lies in eu-central-1."""

    def __init__(self) -> None:
        super().__init__(0, _Requests)
        self.asked: list[str] = []
        self.told = "eu-central-1"


class _Requests(Handler):
    def respond(self) -> None:
        server = self.server
        assert isinstance(server, Amazon)
        server.asked.append(f"{self.command} {self.path}")
        if self.path.startswith("/eu-central-1/b/"):
            part = {"Content-Range": f"bytes 2-4/{len(BODY)}", "Last-Modified": "Mon, 01 Jun 2020 10:00:00 GMT"}
            self.send_answer(Answer(BODY[2:5], 206, headers=part), size=3, ends=3)
            return
        # Without `Location`, as the real one does.
        here = self.path.split("/")[1]
        told = server.told if here != server.told else "us-west-2"
        headers = {"x-amz-bucket-region": told} if told else {}
        self.send_answer(Answer(b"", 301, headers=headers), size=0, ends=0)


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Amazon]:
    server = Amazon()
    server.start()
    monkeypatch.setattr(regions, "AMAZON", f"http://127.0.0.1:{server.server_port}/{{}}")
    monkeypatch.setattr(regions, "_known", {})
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.0005)
    objects._store.cache_clear()
    yield server
    server.stop()


def test_the_region_is_asked_for_once(amazon: Amazon) -> None:
    way = Access("test", region="us-west-2")
    for _ in range(2):
        assert files.ranges("s3://b/k.tif", [(2, 5)], way) == [BODY[2:5]]
    assert amazon.asked == [
        "GET /us-west-2/b/k.tif",
        "HEAD /us-west-2/b",
        "GET /eu-central-1/b/k.tif",
        "GET /eu-central-1/b/k.tif",
    ]


@pytest.mark.parametrize("told", ["", "us-west-2", "eu-north-1"])
def test_a_store_that_does_not_tell_or_sends_us_around_is_an_error(amazon: Amazon, told: str) -> None:
    amazon.told = told
    with pytest.raises(SourceError, match="another region"):
        files.ranges("s3://b/k.tif", [(2, 5)], Access("test", region="us-west-2"))


def test_a_store_of_ones_own_is_not_left(amazon: Amazon) -> None:
    own = Access("test", endpoint=f"http://127.0.0.1:{amazon.server_port}/own", region="x")
    with pytest.raises(SourceError):
        files.ranges("s3://b/k.tif", [(2, 5)], own)
    assert {one.split("/")[1] for one in amazon.asked} == {"own"}

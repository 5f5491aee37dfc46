"""Tokens of Planetary Computer: one request for all threads, renewed in time, and shown to nobody."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from m3leo_prep.blobs import http
from m3leo_prep.core.errors import CredentialsError, TriedOut
from m3leo_prep.sources.stac.catalogues import PLANETARY_COMPUTER_URL, catalogue
from m3leo_prep.sources.stac.signing import Sas, Tokens
from m3leo_prep.testing.answers import Answer, to_json
from tests.sources.stac.stac_server import StacApi

HREF = "https://acct.blob.core.windows.net/box/a/b.tif"
SECRET = "se=2026&sig=s3cr3t"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.0005)
    with StacApi() as server:
        server.given = 0

        def answer(_path, hold=3600.0):
            server.given += 1
            until = datetime.now(UTC) + timedelta(seconds=server.ahead + hold)
            return to_json({"msft:expiry": f"{until:%Y-%m-%dT%H:%M:%SZ}", "token": f"{SECRET}{server.given}"})

        server.make, server.token_answer = answer, answer
        yield server


def test_many_threads_ask_once_for_a_container(api):
    sas = Sas(api.url, Tokens(Clock()))
    with ThreadPoolExecutor(16) as pool:
        signed = set(pool.map(sas.signed, [HREF] * 64))
    assert signed == {f"{api.host}/blob/acct/box/a/b.tif?{SECRET}1"}
    assert api.given == 1
    sas.signed(HREF.replace("/box/", "/other/"))
    assert api.given == 2


def test_a_token_is_kept_until_shortly_before_it_expires(api):
    clock = Clock()
    sas = Sas(api.url, Tokens(clock))
    sas.signed(HREF)
    clock.now += 3600 - 125
    sas.signed(HREF)
    assert api.given == 1
    clock.now += 10
    assert sas.signed(HREF).endswith("s3cr3t2")


@pytest.mark.parametrize("ahead", [-86_400, 86_400])
def test_a_wrong_clock_here_does_not_matter(api, ahead):
    api.ahead = ahead
    sas = Sas(api.url, Tokens(Clock()))
    assert [sas.signed(HREF) for _ in range(3)] == [sas.signed(HREF)] * 3
    assert api.given == 1


def test_answers_that_are_no_token(api):
    api.token_answer = lambda path: api.make(path, hold=20)
    with pytest.raises(TriedOut, match=r"holds for .* s only"):
        Sas(api.url, Tokens(Clock())).signed(HREF)
    api.token_answer = lambda _path: to_json({"message": "hello"})
    with pytest.raises(TriedOut, match="is not there"):
        Sas(api.url, Tokens(Clock())).signed(HREF)
    api.token_answer = lambda _path: to_json({"message": "Forbidden"}, 403)
    with pytest.raises(CredentialsError, match="acct/box without an account") as caught:
        Sas(api.url, Tokens(Clock())).signed(HREF)
    assert "another catalogue" in caught.value.hint
    answers = [Answer(b"", 429, headers={"Retry-After": "0"})]
    api.token_answer = lambda path: answers.pop() if answers else api.make(path)
    assert Sas(api.url, Tokens(Clock())).signed(HREF)


def test_other_addresses_are_left_as_they_are(api):
    sas = Sas(api.url, Tokens(Clock()))
    for address in ("https://example.org/a.tif", "s3://bucket/key", "data/a.tif", "https://blob.core.windows.net/a/b"):
        assert sas.signed(address) == address
    assert api.given == 0


def test_the_real_service_is_beside_the_real_catalogue():
    asked = []

    class Told(Tokens):
        __slots__ = ()

        def token(self, address):
            asked.append(address)
            return "sig=x"

    assert Sas(PLANETARY_COMPUTER_URL, Told()).signed(HREF) == f"{HREF}?sig=x"
    assert asked == ["https://planetarycomputer.microsoft.com/api/sas/v1/token/acct/box"]


def test_no_token_is_shown(api, monkeypatch):
    monkeypatch.setenv("M3LEO_PREP_PLANETARY_COMPUTER", api.url)
    access = catalogue("planetary-computer").access()
    signed = access.signing.signed(HREF)
    assert "s3cr3t" in signed
    shown = f"{access!r} {access.signing!r} {access.signing.tokens!r} {hash(access)}"
    assert "s3cr3t" not in shown
    assert access == catalogue("planetary-computer").access()

"""Tokens of the Data Space: one session, renewed in time, shared by threads and processes, shown to nobody else."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.core.errors import CredentialsError, PrepError, RateLimited, SourceError, StoreError, TriedOut
from m3leo_prep.sources.copernicus.service.login import Login
from m3leo_prep.sources.copernicus.service.products import product
from m3leo_prep.sources.copernicus.service.tokens import TokenManager, code, tokens
from m3leo_prep.sources.http.hops import follow
from m3leo_prep.sources.http.patience import Tries
from m3leo_prep.testing.copernicus.app import CopernicusApp
from m3leo_prep.testing.earthdata import faults

Hold = Callable[..., dict[str, Any]]


class Clock:
    """Time that passes only where a test says so; one for the server and its clients."""

    def __init__(self, app: CopernicusApp) -> None:
        self.now = 1.7e9
        app.identity.clock = self

    def __call__(self) -> float:
        return self.now


def manager(app: CopernicusApp, folder: Path, clock: Clock, totp: str = "") -> TokenManager:
    return TokenManager(Login(app.identity.user, app.identity.password, totp, "here"), folder, clock=clock)


def test_a_token_is_kept_renewed_and_at_last_had_anew(cdse: CopernicusApp, tmp_path: Path) -> None:
    clock = Clock(cdse)
    ours = manager(cdse, tmp_path, clock)
    first = ours.token()
    clock.now += 500
    assert ours.token() == first
    clock.now += 75  # 25 s before its end: it may not live as long as a request
    second = ours.token()
    assert second != first
    assert (cdse.identity.logins, cdse.identity.renewals) == (1, 1)
    clock.now += 3700  # the session has ended
    assert ours.token() not in {first, second}
    assert (cdse.identity.logins, cdse.identity.renewals) == (2, 1)
    assert cdse.identity.most_at_once == 1


def test_a_session_lives_as_long_as_it_is_used(cdse: CopernicusApp, tmp_path: Path) -> None:
    clock = Clock(cdse)
    ours = manager(cdse, tmp_path, clock)
    for _ in range(12):  # two hours
        cdse.identity.refusal(f"Bearer {ours.token()}")
        clock.now += 601
    assert (cdse.identity.logins, cdse.identity.renewals) == (1, 11)


def test_all_threads_share_one_login_and_one_renewal(cdse: CopernicusApp, tmp_path: Path) -> None:
    clock = Clock(cdse)
    cdse.latency = 0.02
    ours = manager(cdse, tmp_path, clock)
    with ThreadPoolExecutor(12) as pool:
        first = set(pool.map(lambda _: ours.token(), range(48)))
        clock.now += 599
        second = set(pool.map(lambda _: ours.token(), range(48)))
    assert len(first) == len(second) == 1
    assert first != second
    assert (cdse.identity.logins, cdse.identity.renewals) == (1, 1)


def _worker(folder: Path, app: CopernicusApp, barrier: Any, out: Any) -> None:
    ours = manager(app, folder, Clock(app))
    barrier.wait(10)
    out.put(ours.token())


def test_processes_share_one_session(cdse: CopernicusApp, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, out = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_worker, args=(tmp_path, cdse, barrier, out)) for _ in range(3)]
    Clock(cdse)
    for worker in workers:
        worker.start()
    found = {out.get(timeout=20) for _ in workers}
    for worker in workers:
        worker.join(10)
    assert len(found) == 1
    assert cdse.identity.logins == 1
    assert cdse.counts["token"] == 1


def test_the_file_of_the_session_is_its_owners_alone(cdse: CopernicusApp, tmp_path: Path) -> None:
    clock = Clock(cdse)
    folder = tmp_path / "logins"
    first = manager(cdse, folder, clock).token()
    (file,) = folder.glob("*.json")
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cdse.identity.password not in file.read_text()
    assert manager(cdse, folder, clock).token() == first
    file.chmod(0o644)  # others may have read it, or written it
    assert manager(cdse, folder, clock).token() != first
    file.write_text("{damaged")
    manager(cdse, folder, clock).token()
    assert cdse.identity.logins == 3


def test_a_token_that_is_refused_in_flight_is_renewed_once_for_all(cdse: CopernicusApp, hold: Hold) -> None:
    row = hold()
    ours = tokens()
    ours.token()
    cdse.identity.forget()  # the server's clock, say
    cdse.latency = 0.02

    def fetch(_: int) -> int:
        tries = Tries("test")
        with follow(cdse.value_url(row), {}, tries, ours) as landing:
            return landing.response.status

    cdse.connections = 8
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(fetch, range(8))) == {200}
    assert (cdse.identity.logins, cdse.identity.renewals) == (1, 1)


def test_a_session_that_ended_early_begins_anew_once(cdse: CopernicusApp, hold: Hold) -> None:
    hold()
    tokens().token()
    cdse.identity.forget(sessions=True)
    assert product("S1A_IW_GRDH_A").is_file()
    assert (cdse.identity.logins, cdse.identity.renewals, cdse.identity.most_at_once) == (2, 1, 1)


def test_a_second_refusal_is_final(cdse: CopernicusApp, hold: Hold) -> None:
    hold()
    cdse.faults(faults.error(401, '{"detail": "Unauthorized"}'), "value", times=None)
    with pytest.raises(CredentialsError) as caught:
        product("S1A_IW_GRDH_A")
    assert "m3leo-prep login copernicus" in caught.value.hint
    assert cdse.counts["value"] == 2
    assert cdse.identity.logins == 1


def test_the_token_follows_to_hosts_of_the_service_only(cdse: CopernicusApp, hold: Hold) -> None:
    product(hold()["Name"])
    assert {request.host for request in cdse.asked("value")} == {"127.0.0.1"}
    assert all(request.authorized for request in cdse.asked("value"))
    assert not any(request.authorized for request in cdse.asked("products"))
    ours = tokens()
    for host in ("example.org", "localhost.example.org", "notlocalhost", "dataspace.copernicus.eu"):
        assert ours.headers(host) == {}, "the last one is not of the stand-in"


def test_wrong_passwords_are_told_without_them(cdse: CopernicusApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDSE_PASSWORD", "wrong-sesame")
    with pytest.raises(CredentialsError) as caught:
        tokens().token()
    assert "Invalid user credentials" in caught.value.message
    assert "sesame" not in str(caught.value) + repr(tokens()) + repr(tokens().__dict__)
    assert cdse.identity.logins == 1, "it is not tried again"


@pytest.mark.parametrize("is_secret", [True, False], ids=["secret", "digits"])
def test_two_factors(cdse: CopernicusApp, tmp_path: Path, is_secret: bool) -> None:
    clock = Clock(cdse)
    cdse.identity.totp = "JBSWY3DPEHPK3PXP"
    with pytest.raises(CredentialsError, match="CDSE_TOTP"):
        manager(cdse, tmp_path, clock).token()
    ours = manager(cdse, tmp_path, clock, cdse.identity.totp if is_secret else cdse.identity.code())
    first = ours.token()
    clock.now += 601
    assert ours.token() != first, "a renewal needs no code"
    clock.now += 3700
    if is_secret:
        ours.token()
        assert cdse.identity.logins == 3
    else:
        with pytest.raises(CredentialsError):
            ours.token()


def test_codes_are_those_of_the_standard() -> None:
    """RFC 6238, appendix B (SHA-1, its eight digits cut to six)."""
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    for now, digits in ((59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")):
        assert code(secret, now) == digits
    assert code("123456", 0) == "123456"
    with pytest.raises(CredentialsError):
        code("not base 32 !", 0)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.error(400, "{}"), CredentialsError),
        (faults.error(404, "{}"), SourceError),
        (faults.error(200, "<html>maintenance</html>"), TriedOut),
        (faults.error(200, '{"access_token": "secret-abc"}'), TriedOut),
        (faults.cut(30), TriedOut),
        (faults.rate_limited(), RateLimited),
    ],
)
def test_an_identity_server_that_fails(cdse: CopernicusApp, fault: faults.Fault, kind: type[PrepError]) -> None:
    cdse.faults(fault, "token", times=None)
    with pytest.raises(kind) as caught:
        tokens().token()
    assert type(caught.value) is kind
    assert "secret-abc" not in str(caught.value)


def test_cuts_and_busy_answers_pass(cdse: CopernicusApp) -> None:
    for fault in (faults.reset(), faults.gateway_page(), faults.rate_limited(0), faults.error(200, "<html>")):
        cdse.faults(fault, "token")
    assert tokens().token()
    assert cdse.identity.logins == 1


def test_an_answer_that_is_cut_costs_a_session_not_a_build(cdse: CopernicusApp) -> None:
    """The server has taken the refresh token for used, and nobody has the next one."""
    first = tokens().token()
    cdse.identity.forget()
    cdse.faults(faults.cut(30), "token")
    assert tokens().token(first) != first
    assert (cdse.identity.logins, cdse.identity.renewals) == (2, 2)


def test_a_session_serves_the_password_that_it_was_had_by(cdse: CopernicusApp, tmp_path: Path) -> None:
    clock = Clock(cdse)
    first = manager(cdse, tmp_path, clock).token()
    with pytest.raises(CredentialsError):
        TokenManager(Login(cdse.identity.user, "mistyped", "", "here"), tmp_path, clock=clock).token()
    assert manager(cdse, tmp_path, clock).token() == first, "what another one tried does no harm"


def test_a_folder_that_cannot_hold_the_session_is_told(cdse: CopernicusApp, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="session cannot be noted") as caught:
        manager(cdse, tmp_path / "file" / "logins", Clock(cdse)).token()
    assert "M3LEO_PREP_CACHE" in caught.value.hint
    assert cdse.identity.logins == 0, "each worker would take a session of its own"


def test_accounts_do_not_share_a_session(cdse: CopernicusApp, tmp_path: Path) -> None:
    clock = Clock(cdse)
    first = manager(cdse, tmp_path, clock).token()
    cdse.identity.user = "joe@example.org"
    assert manager(cdse, tmp_path, clock).token() != first
    assert len(list(tmp_path.glob("*.json"))) == 2


@pytest.mark.parametrize("skew", [-5000.0, 5000.0])
def test_a_clock_that_is_wrong(cdse: CopernicusApp, tmp_path: Path, skew: float) -> None:
    """Lives are told as lengths, so another time than the server's does no harm; a jump costs one renewal."""
    clock, ours = Clock(cdse), Clock(cdse)
    cdse.identity.clock = clock
    ours.now += skew
    there = manager(cdse, tmp_path, ours)
    first = there.token()
    assert cdse.identity.refusal(f"Bearer {first}") is None
    clock.now += 700
    ours.now -= 5000
    assert there.token() == first, "by a clock that was set back it still holds"
    assert there.renew({"Authorization": f"Bearer {first}"})
    assert cdse.identity.refusal(f"Bearer {there.token()}") is None
    assert (cdse.identity.logins, cdse.identity.renewals) == (1, 1)


def test_a_server_that_is_not_trusted_gets_no_password(cdse: CopernicusApp, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3leo_prep.blobs import http

    monkeypatch.delenv("SSL_CERT_FILE")
    http._pool.cache_clear()
    with pytest.raises(SourceError, match="not trusted"):
        tokens().token()
    assert cdse.requests == []
    http._pool.cache_clear()

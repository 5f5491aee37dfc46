"""The Earthdata login at the stand-in: who sees it, what it opens, and granules that are downloaded once."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.message import Message
from http.cookiejar import CookieJar
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import Request

import numpy as np
import pytest
import shapely

from m3leo_prep.core.errors import CorruptError, CredentialsError, NoData, PrepError, SourceError, TriedOut
from m3leo_prep.sources import _secrets
from m3leo_prep.sources.asf.service import granules
from m3leo_prep.sources.asf.service.earthdata import Password, Token, is_trusted, login, probe
from m3leo_prep.sources.asf.service.granules import granule
from m3leo_prep.sources.http import hops
from m3leo_prep.testing import earthdata as stand_in

NAME = "S1-GUNW-A-R-064-tops-20210723_20210711-015000-00119W_00033N-PP-6267-v2_0_6"
DATA = b"\x89HDF\r\n\x1a\n" + np.random.default_rng(3).bytes(300_000)
MD5 = f"md5:{hashlib.md5(DATA).hexdigest()}"


@pytest.fixture
def url(earthdata: Any, tmp_path: Path) -> str:
    """The address of a granule in the archive; nobody has a cookie yet."""
    hops._jar.cache_clear()
    file = tmp_path / "granule.nc"
    file.write_bytes(DATA)
    day = datetime(2021, 7, 23, 1, 50)
    made = stand_in.Granule(NAME, "gunw", shapely.box(-119, 33, -117, 35), day, day, files={f"{NAME}.nc": file})
    earthdata.add(made)
    return str(earthdata.url(made))


@pytest.fixture
def by_password(earthdata: Any, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Log in by a netrc file alone; return that file."""
    path = tmp_path / "netrc"
    path.write_text(f"machine {earthdata.host} login {earthdata.held.user} password {earthdata.held.password}\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.delenv("EARTHDATA_TOKEN")
    return path


def routes(earthdata: Any) -> list[tuple[str, bool]]:
    return [(request.route, request.authorized) for request in earthdata.requests]


def folder_of_cache() -> list[str]:
    folder = Path(os.environ["M3LEO_PREP_CACHE"])
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def test_a_token_opens_a_granule_and_is_not_shown_to_the_storage(earthdata: Any, url: str) -> None:
    path = granule(url, size=len(DATA), checksum=MD5, kind="netcdf")
    assert path.read_bytes() == DATA
    assert path.name == f"{NAME}.nc"
    assert routes(earthdata) == [("data", True), ("signed", False)]


def test_four_hops_of_a_login_by_token(earthdata: Any, url: str) -> None:
    earthdata.takes_tokens = False
    assert granule(url, kind="netcdf").read_bytes() == DATA
    # To localhost each time but for the last, which is another host and would answer 400 to an Authorization.
    expected = [("data", True), ("authorize", True), ("login", True), ("data", True), ("signed", False)]
    assert routes(earthdata) == expected
    assert [request.host for request in earthdata.requests] == ["localhost"] * 4 + ["127.0.0.1"]


@pytest.mark.usefixtures("by_password")
def test_a_password_is_shown_to_the_login_host_once(earthdata: Any, url: str) -> None:
    earthdata.takes_tokens = False
    assert granule(url, size=len(DATA), kind="netcdf").read_bytes() == DATA
    # Login and data have one host and port here, as they have not in truth: "who a login is shown to" tells them apart.
    assert [route for route, _ in routes(earthdata)] == ["data", "authorize", "login", "data", "signed"]
    assert not routes(earthdata)[-1][1]
    earthdata.requests.clear()
    granules.forget(url)
    granule(url, kind="netcdf")
    assert [route for route, _ in routes(earthdata)] == ["data", "signed"], "the cookie was kept"


@pytest.mark.usefixtures("earthdata")
def test_who_a_login_is_shown_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("M3LEO_PREP_EARTHDATA")
    ours = ["urs.earthdata.nasa.gov", "grfn.asf.alaska.edu", "ASF.Alaska.edu.", "cmr.earthdata.nasa.gov:8443"]
    others = ["evil-earthdata.nasa.gov", "nasa.gov", "s3.us-west-2.amazonaws.com", "asf.alaska.edu.evil.org", ""]
    assert [is_trusted(host) for host in ours + others] == [True] * 4 + [False] * 5
    token, password = Token("t0ken"), Password("me", "w0rd")
    assert all(token.headers(host) == {"Authorization": "Bearer t0ken"} for host in ours)
    assert not any(token.headers(host) for host in others)
    assert password.headers("urs.earthdata.nasa.gov") == {"Authorization": "Basic bWU6dzByZA=="}
    assert not any(password.headers(host) for host in [*ours[1:], *others])
    assert "t0ken" not in repr(token)
    assert "w0rd" not in repr(password)


def cookies(jar: CookieJar, address: str) -> str | None:
    request = Request(address)
    jar.add_cookie_header(request)
    return request.get_header("Cookie")


def test_addresses_that_look_like_ours_are_another_ones() -> None:
    jar, told = CookieJar(), Message()
    told["Set-Cookie"] = "sess=1; Domain=.earthdata.nasa.gov; Path=/; Secure"
    jar.extract_cookies(SimpleNamespace(info=lambda: told), Request("https://urs.earthdata.nasa.gov/"))
    assert cookies(jar, "https://evil.org\\@urs.earthdata.nasa.gov/") == "sess=1", "what is guarded against"
    for address, host in {
        "https://urs.earthdata.nasa.gov@evil.org/x": "evil.org",
        "https://urs.earthdata.nasa.gov:443@evil.org:444/": "evil.org:444",
        "https://evil.org\\@urs.earthdata.nasa.gov/": "evil.org",
        "https://evil.org#@urs.earthdata.nasa.gov/": "evil.org",
        "HTTPS://URS.Earthdata.nasa.gov:443/x": "urs.earthdata.nasa.gov",
    }.items():
        assert hops.host_of(address, "x") == host
        # By which the jar of cookies goes, and not by itself: of the third address it would read our domain.
        assert Request(hops.plain(address, "x")).host.lower().removesuffix(":443") == host
        assert cookies(jar, hops.plain(address, "x")) == ("sess=1" if host.endswith("nasa.gov") else None)
    with pytest.raises(SourceError, match="no web server"):
        hops.host_of("https:///x", "x")


def test_a_token_is_never_shown_without_encryption(url: str, tmp_path: Path) -> None:
    from m3leo_prep.sources.http.download import download
    from m3leo_prep.testing.web import RangeServer

    class Shown:
        hint = ""

        def headers(self, host: str) -> dict[str, str]:
            raise AssertionError(host)

    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "f").write_bytes(b"data")
    with RangeServer(tmp_path / "web") as web:
        download(f"{web.url}/f", tmp_path / "f", auth=Shown(), where="f")
        with pytest.raises(SourceError, match="not encrypted"):
            hops._next("https://localhost/f", f"{web.url}/f?Signature=1", "f", None)


def test_no_login_says_how_to_get_one(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(CredentialsError, match="there is no Earthdata login") as caught:
        granule(url, kind="netcdf")
    assert caught.value.hint == "m3leo-prep login earthdata"
    monkeypatch.setenv("EARTHDATA_TOKEN", "two w0rds\n")
    with pytest.raises(CredentialsError, match="no token") as caught:
        login()
    assert "w0rds" not in str(caught.value)
    monkeypatch.delenv("EARTHDATA_TOKEN")
    (tmp_path / "none").write_text("machine x login y passwort w0rd")
    with pytest.raises(CredentialsError, match="not a netrc file") as caught:
        login()
    assert "w0rd" not in "".join(traceback.format_exception(caught.value)).replace("'passwort", "")


def test_a_netrc_file_that_others_can_read_is_warned_of_once(by_password: Path) -> None:
    _secrets._warned.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        login()
    by_password.chmod(0o644)
    with pytest.warns(UserWarning, match="chmod 600"):
        assert isinstance(login(), Password)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        login()


def test_the_machine_may_be_named_without_its_port(by_password: Path) -> None:
    by_password.write_text("machine localhost login a password b\n")
    assert login() == Password("a", "b")


def test_a_refused_login_is_final_and_tells_earthdatas_reason(earthdata: Any, url: str) -> None:
    page = "https://urs.earthdata.nasa.gov/profile"
    earthdata.faults(stand_in.unauthorized("Please update your profile", page), "data")
    with pytest.raises(CredentialsError, match="Please update your profile See https://urs") as caught:
        granule(url, kind="netcdf")
    assert "user_tokens" in caught.value.hint
    assert earthdata.counts["data"] == 1
    earthdata.faults(stand_in.error(302, Location=f"https://localhost/x?error_msg=No+study+area&resolution_url={page}"))
    with pytest.raises(CredentialsError, match="No study area See https://urs"):
        granule(url, kind="netcdf")
    assert folder_of_cache() == []


@pytest.mark.usefixtures("by_password")
def test_a_wrong_password_is_refused_at_once(earthdata: Any, url: str, by_password: Path) -> None:
    by_password.write_text(f"machine {earthdata.host} login me password wr0ng\n")
    with pytest.raises(CredentialsError, match="401 Unauthorized: HTTP Basic: Access denied") as caught:
        granule(url, kind="netcdf")
    assert caught.value.hint == "m3leo-prep login earthdata"
    assert earthdata.counts["authorize"] == 1, "more would lock the account"


@pytest.mark.usefixtures("by_password")
def test_a_refusal_after_the_login_is_final(earthdata: Any, url: str) -> None:
    """Of one who did not accept the terms, known by no cookie yet; only signed addresses are asked for anew."""
    earthdata.takes_tokens = False
    other = earthdata.host.replace("localhost", "127.0.0.1")  # which is not the login host
    earthdata.faults(stand_in.error(302, Location=f"https://{other}/login?code=1"), "authorize", times=None)
    earthdata.faults(stand_in.unauthorized("EULA Acceptance Failure", "https://urs/eula"), "login", times=None)
    with pytest.raises(CredentialsError, match="EULA Acceptance Failure See https://urs/eula"):
        granule(url, kind="netcdf")
    assert earthdata.counts["authorize"] == 1


def test_a_login_that_does_not_hold_ends(earthdata: Any, url: str) -> None:
    earthdata.takes_tokens = False
    earthdata.faults(stand_in.error(302, Location=url), "login", times=None)
    with pytest.raises(CredentialsError, match="redirected 12 times"):
        granule(url, kind="netcdf")


def test_a_login_page_leaves_nothing(earthdata: Any, url: str) -> None:
    earthdata.faults(stand_in.login_page(), "data")
    with pytest.raises(CredentialsError, match="a page for people"):
        granule(url, kind="netcdf")
    assert folder_of_cache() == []
    assert granule(url, kind="netcdf").read_bytes() == DATA


def test_a_signed_address_that_has_expired_is_asked_for_anew(earthdata: Any, url: str) -> None:
    earthdata.faults(stand_in.cut(100_000), "signed")
    earthdata.faults(stand_in.expired(), "signed")
    assert granule(url, checksum=MD5, kind="netcdf").read_bytes() == DATA
    assert [request.status for request in earthdata.asked("signed")] == [200, 403, 206]
    granules.forget(url)
    earthdata.faults(stand_in.expired(), "signed", times=None)
    with pytest.raises(TriedOut, match="403"):
        granule(url, checksum=MD5, kind="netcdf")


def test_faults_on_the_way_are_outlasted(earthdata: Any, url: str) -> None:
    for fault in (stand_in.reset(), stand_in.gateway_page(), stand_in.rate_limited(), stand_in.error(503)):
        earthdata.faults(fault, "data")
    for fault in (stand_in.cut(1000), stand_in.unranged(), stand_in.truncated(5)):
        earthdata.faults(fault, "signed")
    assert granule(url, size=len(DATA), checksum=MD5, kind="netcdf").read_bytes() == DATA


def test_damage_is_fetched_once_more_then_final(earthdata: Any, url: str) -> None:
    earthdata.faults(stand_in.flipped(50_000), "signed", times=3)
    with pytest.raises(CorruptError, match="checksum"):
        granule(url, size=len(DATA), checksum=MD5, kind="netcdf")
    assert granule(url, size=len(DATA), checksum=MD5, kind="netcdf").read_bytes() == DATA
    with pytest.raises(CorruptError, match="begins with"):
        granule(url.replace("localhost", "LOCALHOST"), kind="zip")


def test_what_is_not_there_is_no_data(url: str) -> None:
    with pytest.raises(NoData):
        granule(url.replace(".nc", ".png"), kind="tiff")


def test_many_workers_download_once(earthdata: Any, url: str) -> None:
    earthdata.faults(stand_in.slow(0.05), "signed")
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: granule(url, kind="netcdf"), range(8)))
    assert {path.read_bytes() for path in paths} == {DATA}
    assert earthdata.counts["signed"] == 1


def test_a_warm_cache_needs_neither_login_nor_connection(
    earthdata: Any, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    granule(url, kind="netcdf")
    count = len(earthdata.requests)
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert granule(f"{url}?A-userid=me&X-Amz-Signature=1", kind="netcdf").read_bytes() == DATA
    assert len(earthdata.requests) == count


def test_a_certificate_that_nobody_vouches_for_is_final(
    earthdata: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m3leo_prep.blobs import http

    monkeypatch.delenv("SSL_CERT_FILE")
    http._pool.cache_clear()
    with pytest.raises(SourceError, match="certificate is not trusted") as caught:
        granule(url, kind="netcdf")
    assert not isinstance(caught.value, TriedOut)
    assert "SSL_CERT_FILE" in caught.value.hint
    assert earthdata.requests == []
    http._pool.cache_clear()


def test_probing_with_a_token(earthdata: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe() == "Earthdata, user me, by $EARTHDATA_TOKEN"
    assert [request.route for request in earthdata.requests] == ["token_user"]
    monkeypatch.setenv("EARTHDATA_TOKEN", "0ld")
    with pytest.raises(CredentialsError, match="invalid_token") as caught:
        probe()
    assert "60 days" in caught.value.hint
    assert "0ld" not in str(caught.value)


def test_probing_with_a_password(earthdata: Any, by_password: Path) -> None:
    assert probe() == f"Earthdata, user me, by {by_password}"
    assert [request.route for request in earthdata.requests] == ["authorize"]
    earthdata.faults(stand_in.error(302, Location="https://localhost/login?error_msg=Please+update+your+profile"))
    with pytest.raises(CredentialsError, match="Please update your profile"):
        probe()
    earthdata.faults(stand_in.login_page())
    with pytest.raises(CredentialsError, match="does not log in user me"):
        probe()
    by_password.write_text(f"machine {earthdata.host} login me password wr0ng\n")
    with pytest.raises(CredentialsError, match="Access denied") as caught:
        probe()
    assert "wr0ng" not in str(caught.value)


def test_no_secret_is_told(earthdata: Any, url: str, capfd: pytest.CaptureFixture[str]) -> None:
    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    secrets = [earthdata.held.token, earthdata.held.password, "X-Amz-Signature=", earthdata.held.cookie]
    told = []
    try:
        for fault, route in [
            (stand_in.error(500), "data"),
            (stand_in.error(404), "signed"),
            (stand_in.unauthorized("x", "y"), "data"),
            (stand_in.error(400), "signed"),
            (stand_in.expired(), "signed"),
            (stand_in.reset(), "signed"),
        ]:
            earthdata.faults(fault, route, times=6)
            with pytest.raises(PrepError) as caught:
                granule(url, kind="netcdf")
            told.append("".join(traceback.format_exception(caught.value)))
            told.append(repr(pickle.loads(pickle.dumps(caught.value))))
            earthdata.faults.clear()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    told += [shown.getvalue(), *capfd.readouterr()]
    for secret in secrets:
        assert secret not in "".join(told)

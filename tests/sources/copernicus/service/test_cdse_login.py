"""Which login and which keys hold, how files are opened with them, and how they are stored."""

from __future__ import annotations

import configparser
import netrc
import traceback
from pathlib import Path

import pytest

from m3leo_prep.core.errors import ConfigError, CredentialsError, SourceError
from m3leo_prep.sources.copernicus.service.access import access, address
from m3leo_prep.sources.copernicus.service.hosts import Hosts, hosts
from m3leo_prep.sources.copernicus.service.login import Login, keys, login, probe
from m3leo_prep.sources.copernicus.service.volume import estimated
from m3leo_prep.sources.copernicus_login import CopernicusLogin
from m3leo_prep.sources.remote.access import Keys
from m3leo_prep.sources.stac.found import Asset
from m3leo_prep.testing.copernicus.app import CopernicusApp

NODE = "https://download.dataspace.copernicus.eu/odata/v1/Products(1)/Nodes(A.SAFE)/Nodes(B02.jp2)/$value"
HELD = Asset("s3://eodata/Sentinel-2/A.SAFE/B02.jp2", properties={"alternate": {"https": {"href": NODE}}})


@pytest.fixture
def real(cdse: CopernicusApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty home folder of who uses the real service, which no test asks."""
    for name in cdse.environment:
        monkeypatch.delenv(name)
    return tmp_path


def test_hosts_are_the_real_ones_or_the_stand_in(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hosts() == Hosts()
    assert hosts().trusts("zipper.dataspace.copernicus.eu")
    assert not hosts().trusts("dataspace.copernicus.eu.example.org")
    assert not hosts().trusts("s3.amazonaws.com")
    monkeypatch.setenv("M3LEO_PREP_CDSE", "localhost:1234")
    monkeypatch.setenv("M3LEO_PREP_CDSE_S3", "http://127.0.0.1:9/")
    assert hosts().odata_url == "https://localhost:1234/odata/v1"
    assert hosts().objects == "http://127.0.0.1:9"
    assert not hosts().trusts("dataspace.copernicus.eu"), "a token of the stand-in stays with it"


@pytest.mark.parametrize(
    "machine",
    [
        "dataspace.copernicus.eu",
        "identity.dataspace.copernicus.eu",
        "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",
    ],
)
def test_a_login_is_found_where_clients_keep_it(real: Path, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert login() is None
    (real / ".netrc").write_text(f"machine {machine} login jane password sesame\n")
    (real / ".netrc").chmod(0o600)
    assert login() == Login("jane", "sesame")
    monkeypatch.setenv("CDSE_USERNAME", "joe")
    with pytest.raises(CredentialsError, match="belong together"):
        login()
    monkeypatch.setenv("CDSE_PASSWORD", "other sesame")
    monkeypatch.setenv("CDSE_TOTP", "123 456")
    assert login() == Login("joe", "other sesame", "123456")
    assert "sesame" not in repr(login())
    assert "123" not in repr(login())


def test_a_stand_in_is_never_shown_the_real_login(
    cdse: CopernicusApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CDSE_USERNAME")
    monkeypatch.delenv("CDSE_PASSWORD")
    (tmp_path / ".netrc").write_text("machine dataspace.copernicus.eu login jane password sesame\n")
    assert login() is None


def test_others_who_may_read_the_login_are_warned_of(real: Path) -> None:
    (real / ".netrc").write_text("machine dataspace.copernicus.eu login jane password sesame\n")
    (real / ".netrc").chmod(0o644)
    with pytest.warns(UserWarning, match="chmod 600"):
        login()
    (real / ".aws").mkdir()
    (real / ".aws" / "credentials").write_text("[cdse]\naws_access_key_id = A\naws_secret_access_key = s\n")
    with pytest.warns(UserWarning, match=r"credentials .*chmod 600"):
        keys()


def test_a_broken_netrc_is_told_without_its_words(real: Path) -> None:
    (real / ".netrc").write_text("machine a login jane password sesame sesame2\n")
    with pytest.raises(CredentialsError) as caught:
        login()
    assert "sesame" not in str(caught.value)


def test_keys_of_the_environment_or_of_their_own_profile(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = real / ".aws" / "credentials"
    file.parent.mkdir()
    file.touch(mode=0o600)
    file.write_text("[default]\naws_access_key_id = AMAZON\naws_secret_access_key = amazon\n")
    assert keys() is None, "Amazon's own keys are shown to nobody else"
    file.write_text(file.read_text() + "[cdse]\naws_access_key_id = A%1\naws_secret_access_key = s\n")
    assert keys() == Keys("A%1", "s")
    monkeypatch.setenv("CDSE_S3_ACCESS_KEY", "B")
    with pytest.raises(CredentialsError, match="belong together"):
        keys()
    monkeypatch.setenv("CDSE_S3_SECRET_KEY", "t")
    assert keys() == Keys("B", "t")
    monkeypatch.delenv("CDSE_S3_ACCESS_KEY")
    monkeypatch.delenv("CDSE_S3_SECRET_KEY")
    file.write_text("sesame without a section")
    with pytest.raises(CredentialsError) as caught:
        keys()
    assert "sesame" not in str(caught.value)


def test_files_are_opened_with_keys_else_with_the_token(cdse: CopernicusApp, monkeypatch: pytest.MonkeyPatch) -> None:
    by_token = access()
    assert (by_token.keys, by_token.connections, by_token.per_minute) == (None, 4, 2000)
    assert by_token.auth is access().auth, "one session for all who open files"
    assert address(HELD, by_token) == NODE
    with pytest.raises(SourceError, match="without keys"):
        address(Asset(HELD.href), by_token)
    monkeypatch.setenv("CDSE_S3_ACCESS_KEY", "A")
    monkeypatch.setenv("CDSE_S3_SECRET_KEY", "planted-secret")
    by_keys = access()
    assert by_keys.keys == Keys("A", "planted-secret")
    assert address(HELD, by_keys) == HELD.href
    assert "planted-secret" not in repr(by_keys) + str(by_keys)
    monkeypatch.delenv("CDSE_USERNAME")
    monkeypatch.delenv("CDSE_PASSWORD")
    assert access().auth is None
    assert cdse.requests == [], "nobody was asked"


def test_nobody_who_has_not_logged_in(real: Path) -> None:
    for asked in (access, probe):
        with pytest.raises(CredentialsError) as caught:
            asked()
        assert caught.value.hint == "m3leo-prep login copernicus"


def test_a_probe_asks_once_and_keeps_the_session(cdse: CopernicusApp) -> None:
    for _ in range(3):
        assert probe() == f"Copernicus Data Space, user {cdse.identity.user} by $CDSE_USERNAME"
    assert cdse.counts == {"token": 3}
    assert cdse.identity.most_at_once == 1
    cdse.identity.password = "changed"
    cdse.identity.forget(sessions=True)
    with pytest.raises(CredentialsError, match="Invalid user credentials"):
        probe()


def test_storing_a_login_and_keys(real: Path) -> None:
    assert not CopernicusLogin().stored()
    file = real / ".aws" / "credentials"
    file.parent.mkdir()
    file.write_text(
        "# mine\n[default]\naws_access_key_id = AMAZON\n"
        "[cdse]\naws_access_key_id = OLD\naws_secret_access_key = o\n[other]\nx = 1"
    )
    answers = {"user": "jane", "password": ' open "sesame" #1', "access": "NEW", "secret": "k/e+y="}
    stored = CopernicusLogin().store(answers)
    assert stored.path == real / ".netrc"
    assert "sesame" not in str(stored)
    assert "k/e+y=" not in str(stored)
    found = netrc.netrc(str(real / ".netrc")).authenticators("dataspace.copernicus.eu")
    assert found == ("jane", "", answers["password"])
    assert login() == Login("jane", answers["password"])
    assert keys() == Keys("NEW", "k/e+y=")
    kept = configparser.RawConfigParser()
    kept.read_string(file.read_text())
    assert kept.get("default", "aws_access_key_id") == "AMAZON"
    assert kept.get("other", "x") == "1"
    assert file.read_text().startswith("# mine\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert CopernicusLogin().stored()
    CopernicusLogin().store({"user": "", "password": "", "access": "B", "secret": "t"})
    assert (login(), keys()) == (Login("jane", answers["password"]), Keys("B", "t"))


@pytest.mark.parametrize("given", ["", "jane", "j p a", "   s", "j p a k\nk"])
def test_halves_and_nothing_are_not_stored(real: Path, given: str) -> None:
    parts = [*given.split(" "), "", "", "", ""]
    answers = dict(zip(("user", "password", "access", "secret"), parts, strict=False))
    with pytest.raises(ConfigError) as caught:
        CopernicusLogin().store(answers)
    assert "nothing was stored" in caught.value.hint
    assert not list(real.rglob("credentials"))
    assert not (real / ".netrc").exists()


@pytest.mark.parametrize("old", [b"sesame", b"[cdse] # mine\nx = sesame\n", b"[a]\nx = sesame\xff\n"])
def test_a_file_of_keys_that_is_not_understood_is_left_alone(real: Path, old: bytes) -> None:
    file = real / ".aws" / "credentials"
    file.parent.mkdir()
    file.write_bytes(old)
    with pytest.raises(ConfigError, match=r"no.* file of profiles") as caught:
        CopernicusLogin().store({"user": "j", "password": "p", "access": "A", "secret": "s"})
    assert "sesame" not in "".join(traceback.format_exception(caught.value))
    assert file.read_bytes() == old
    assert not (real / ".netrc").exists()


def test_volume_time_and_share_of_a_month() -> None:
    cost = estimated(4000, 8 * 10**9)
    assert (cost.requests, cost.bytes, cost.units) == (4000, 8 * 10**9, {"gigabytes": 8.0})
    assert cost.seconds == (120.0, 1600.0), "requests first, then a slow line"
    assert cost.allowances == {"gigabytes": {"a general user's 30 days": 12_000.0}}
    assert estimated(0, 13 * 10**12).seconds[0] == 12e12 / 80e6 + 1e12 / 1e6, "1 MB/s beyond"

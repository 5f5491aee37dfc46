"""Logins in a netrc file: read back exactly by the official clients' reader, all else kept, for its owner alone."""

from __future__ import annotations

import netrc
import os
import stat
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3leo_prep.core.errors import ConfigError, PrepError, StoreError
from m3leo_prep.ports.login import Login
from m3leo_prep.sources._secrets import netrc_has, store_netrc
from m3leo_prep.sources.earthdata_login import MACHINE, Earthdata

OTHER = """\
# my logins
machine ftp.example.org
    login anna   # mine
    password "two words"
    account books

macdef init
cd /pub
machine is no keyword here

machine api.example.com login bob password b0b!
"""
SECRET = 'p4ss "w#rd\\ end'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The netrc file of this test."""
    path = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(path))
    return path


def answers(user: str = "jane", password: str = SECRET) -> dict[str, str]:
    return {"user": user, "password": password}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_a_login() -> None:
    login = Earthdata()
    assert isinstance(login, Login)
    assert [prompt.secret for prompt in login.prompts] == [False, True]
    assert login.signup.startswith("https://")


def test_a_new_file_is_for_its_owner_alone(file: Path) -> None:
    old = os.umask(0)
    try:
        stored = Earthdata().store(answers())
    finally:
        os.umask(old)
    assert (stored.path, stored.notes) == (file, ())
    assert mode(file) == 0o600
    assert netrc.netrc(str(file)).authenticators(MACHINE) == ("jane", "", SECRET)
    assert Earthdata().stored()
    assert [p.name for p in file.parent.iterdir()] == ["netrc"], "no other file with the secret is left"


def test_the_home_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not Earthdata().stored()
    assert Earthdata().store(answers()).path == tmp_path / ".netrc"
    assert netrc.netrc().authenticators(MACHINE) == ("jane", "", SECRET), "with the check of its mode"


def test_a_missing_folder_is_made_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "secret" / "netrc"))
    Earthdata().store(answers())
    assert mode(tmp_path / "secret") == 0o700


def test_all_else_stays_byte_for_byte(file: Path) -> None:
    file.write_text(OTHER)
    Earthdata().store(answers("jane", "x"))
    assert file.read_text() == f"{OTHER}machine {MACHINE} login jane password x\n"
    Earthdata().store(answers("joe", SECRET))
    text = file.read_text()
    assert text.startswith(OTHER)
    assert text.count(MACHINE) == 1
    assert netrc.netrc(str(file)).hosts["ftp.example.org"] == ("anna", "books", "two words")


def test_an_old_entry_keeps_its_shape_and_comments(file: Path) -> None:
    file.write_text(f"machine {MACHINE} # NASA\n\tpassword old\n\tlogin  jane\nmachine b login x password y\n")
    Earthdata().store(answers("joe", "new one"))
    assert file.read_text() == (
        f'machine {MACHINE} # NASA\n\tpassword "new one"\n\tlogin  joe\nmachine b login x password y\n'
    )


@pytest.mark.parametrize(
    "old",
    [
        f"machine {MACHINE}",
        f"machine {MACHINE} login x",
        f"machine {MACHINE} password x\n",
        f'machine "{MACHINE}" user x account a password y\n',
        f"machine a login b password c\nmachine {MACHINE} login a password b\nmachine {MACHINE} login c password d",
        "default login anonymous password guest\n",
        "machine machine login password password login\ndefault login a password b",
        "machine a login b password c",
        "",
        "# only words\n",
    ],
)
def test_whatever_stood_there_the_new_login_is_found(old: str, file: Path) -> None:
    file.write_text(old)
    before = netrc.netrc(str(file)).hosts
    Earthdata().store(answers())
    after = netrc.netrc(str(file)).hosts
    user, account, password = after.pop(MACHINE)
    assert (user, password) == ("jane", SECRET)
    assert account == before.pop(MACHINE, ("", "", ""))[1]
    assert after == before
    if "default" in old:
        assert file.read_text().index(MACHINE) < file.read_text().index("default"), "curl stops at the default"


def test_bytes_that_are_no_utf8_stay(file: Path) -> None:
    """Where Python itself cannot read the file, nothing is stored and nothing is lost."""
    file.write_bytes(b"# caf\xe9\nmachine a login b password c\n")
    try:
        Earthdata().store(answers())
    except ConfigError:
        assert file.read_bytes() == b"# caf\xe9\nmachine a login b password c\n"
    else:
        assert file.read_bytes().startswith(b"# caf\xe9\nmachine a login b password c\n")


def test_a_file_that_others_could_read_is_tightened_and_said(file: Path) -> None:
    file.write_text(OTHER)
    file.chmod(0o644)
    stored = Earthdata().store(answers())
    assert mode(file) == 0o600
    assert "could be read by others" in stored.notes[0]
    assert Earthdata().store(answers()).notes == ()


def test_a_link_is_written_through(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "netrc"
    real.parent.mkdir()
    real.write_text(OTHER)
    file.symlink_to(real)
    Earthdata().store(answers())
    assert file.is_symlink()
    assert real.read_text().startswith(OTHER)
    assert MACHINE in real.read_text()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    user=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12),
    password=st.text(st.sampled_from(" \"'#\\aZ0$€é{}machine"), min_size=1, max_size=12),
)
def test_what_is_typed_is_what_is_read_or_it_is_refused(user: str, password: str, file: Path) -> None:
    file.write_text(OTHER)
    try:
        Earthdata().store(answers(user, password))
    except ConfigError:
        assert not (user.isprintable() and password.isprintable()), "whatever can be typed can be stored"
        assert file.read_text() == OTHER
    else:
        assert netrc.netrc(str(file)).authenticators(MACHINE) == (user, "", password)
        assert file.read_text().startswith(OTHER)


@pytest.mark.parametrize(("user", "password"), [("", "x"), ("x", ""), ("x", "a\nb"), ("a\tb", "x"), ("x", "a\0b")])
def test_what_the_format_cannot_hold_is_refused(user: str, password: str, file: Path) -> None:
    file.write_text(OTHER)
    with pytest.raises(ConfigError, match=r"empty|holds a character"):
        store_netrc(MACHINE, user, password)
    assert file.read_text() == OTHER


@pytest.mark.parametrize(
    "broken", ["password sesame\n", "machine a login b password two words\n", "macdef x\ncd /\n", "machine"]
)
def test_a_file_that_no_client_can_read_is_left_and_told_without_its_words(broken: str, file: Path) -> None:
    file.write_text(broken)
    with pytest.raises(ConfigError, match="not a netrc file") as caught:
        Earthdata().store(answers())
    assert file.read_text() == broken
    told = "".join(traceback.format_exception(caught.value))
    for secret in ("sesame", "words", SECRET, "jane"):
        assert secret not in str(caught.value)
        assert secret not in told.replace("test_a_file_that_no_client_can_read_is_left_and_told_without_its_words", "")
    with pytest.raises(ConfigError):
        netrc_has(MACHINE)


def test_no_error_tells_the_secret(file: Path) -> None:
    file.mkdir()
    with pytest.raises(StoreError) as caught:
        Earthdata().store(answers())
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    file.rmdir()
    file.symlink_to(file)
    with pytest.raises(PrepError):
        Earthdata().store(answers())

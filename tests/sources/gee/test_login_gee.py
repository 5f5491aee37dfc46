"""``m3leo-prep login gee``: what it says, and where it looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.login import Login
from m3leo_prep.sources.gee.service.credentials import stored_path
from m3leo_prep.sources.gee.service.login import EarthEngineLogin


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.delenv("M3LEO_PREP_EE_SERVICE_ACCOUNT", raising=False)
    return tmp_path


def test_it_is_a_login_of_the_providers_own_command() -> None:
    login = EarthEngineLogin()
    assert isinstance(login, Login)
    assert login.command == "earthengine authenticate"
    assert not login.prompts
    with pytest.raises(ConfigError, match="command of its own") as told:
        login.store({})
    assert told.value.hint == "run: earthengine authenticate"


def test_it_knows_the_clients_own_file() -> None:
    from ee import oauth

    assert str(stored_path()) == oauth.get_credentials_path()


def test_it_tells_whether_a_login_is_stored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = EarthEngineLogin()
    assert not login.stored()
    assert login.path == home / ".config/earthengine/credentials"
    login.path.parent.mkdir(parents=True)
    login.path.touch()
    assert login.stored()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(home / "key.json"))
    assert login.path == home / "key.json"
    assert not login.stored()
    monkeypatch.setenv("M3LEO_PREP_EE_SERVICE_ACCOUNT", "~/robot.json")
    assert login.path == home / "robot.json"

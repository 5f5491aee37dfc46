"""The Hub's login: told whose it is, kept where the client looks, never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from m3leo_prep.core.errors import ConfigError, CredentialsError, StoreError
from m3leo_prep.ports.login import Login
from m3leo_prep.publish.hub_login import HubLogin
from m3leo_prep.testing.hub import HubStandIn, broken


@pytest.fixture
def login(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> HubLogin:
    monkeypatch.delenv("HF_TOKEN")
    home = Path(str(HubLogin().path)).parent
    monkeypatch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
    return HubLogin()


def test_a_token_is_checked_and_stored_for_the_client(hub: HubStandIn, login: HubLogin) -> None:
    import huggingface_hub

    assert isinstance(login, Login)
    assert not login.stored()
    stored = login.store({"token": f" {hub.token}\n"})
    assert stored.notes == ("logged in as me: it may write",)
    assert login.stored()
    assert huggingface_hub.get_token() == hub.token
    assert stored.path == login.path
    assert stored.path.stat().st_mode & 0o077 == 0


def test_a_reader_is_told_so(hub: HubStandIn, login: HubLogin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.read_token)
    assert login.stored()
    notes = login.store({"token": hub.read_token}).notes
    assert "nothing can be published" in notes[0]
    assert "goes before" in notes[1]


def test_what_is_refused_is_not_stored_or_shown(
    hub: HubStandIn, login: HubLogin, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CredentialsError, match="does not accept this token") as caught:
        login.store({"token": "hf_secret"})
    assert "hf_secret" not in str(caught.value) + "".join(capfd.readouterr())
    for token in ("", "api_org_x"):
        with pytest.raises(ConfigError, match="no access token"):
            login.store({"token": token})
    login.path.mkdir(parents=True)  # nothing can be written there
    with pytest.raises(StoreError, match="cannot be written"):
        login.store({"token": hub.token})
    login.path.rmdir()
    hub.faults(broken(503), "whoami")
    with pytest.raises(StoreError, match="503"):
        login.store({"token": hub.token})
    with hub.down(), pytest.raises(StoreError, match="does not answer"):
        login.store({"token": hub.token})
    assert not login.stored()

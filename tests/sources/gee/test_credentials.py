"""Which login is found, which project pays, and that no secret of either is ever told."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2.credentials import Credentials

from m3leo_prep.core.errors import CredentialsError, TransientError
from m3leo_prep.sources.gee.service.credentials import (
    CLIENTS_PROJECT,
    HIGH_VOLUME,
    FixedToken,
    GoogleToken,
    endpoint,
    find_login,
    is_googles,
)

SECRET = "pl4nted-s3cret"
VARIABLES = (
    "M3LEO_PREP_EE_SERVICE_ACCOUNT",
    "M3LEO_PREP_EE_PROJECT",
    "M3LEO_PREP_EE_URL",
    "M3LEO_PREP_EE_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: no login, no variable, no machine of Google's."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    return tmp_path


@pytest.fixture(scope="module")
def key() -> str:
    """A private key, made for this run."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def stored(home: Path, **more: Any) -> Path:
    path = home / ".config/earthengine/credentials"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"refresh_token": SECRET, "client_id": "1-x", "client_secret": SECRET, **more}))
    return path


def service_account(home: Path, key: str) -> Path:
    path = home / "key.json"
    content = {
        "type": "service_account",
        "client_email": "robot@robots.iam.gserviceaccount.com",
        "private_key": key,
        "private_key_id": SECRET,
        "token_uri": "https://oauth2.googleapis.com/token",
        "project_id": "robots",
    }
    path.write_text(json.dumps(content))
    return path


def test_no_login_is_told_with_the_command() -> None:
    with pytest.raises(CredentialsError, match="no login") as told:
        find_login(HIGH_VOLUME)
    assert told.value.hint.startswith("earthengine authenticate")


def test_a_users_login_with_its_project(home: Path) -> None:
    stored(home, project="users-own")
    login = find_login(HIGH_VOLUME)
    assert (login.kind, login.project) == ("user login", "users-own")


@pytest.mark.parametrize("variable", ["M3LEO_PREP_EE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"])
def test_a_key_file_that_is_named_comes_first(
    home: Path, key: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(home, project="users-own")
    monkeypatch.setenv(variable, str(service_account(home, key)))
    login = find_login(HIGH_VOLUME)
    assert login.kind == "service account robot@robots.iam.gserviceaccount.com"
    assert login.project == "robots"


def test_application_default_credentials(home: Path) -> None:
    path = home / "gcloud/application_default_credentials.json"
    path.parent.mkdir()
    content = {"type": "authorized_user", "client_id": "1-x", "client_secret": SECRET, "refresh_token": SECRET}
    path.write_text(json.dumps(content | {"quota_project_id": "quota"}))
    login = find_login(HIGH_VOLUME)
    assert (login.kind, login.project) == ("application default credentials", "quota")
    # The client marks it so that the user chose these.
    stored(home, refresh_token=None)
    assert find_login(HIGH_VOLUME).kind == "application default credentials"


def test_which_project_pays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(home, project="users-own")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "cloud")
    assert find_login(HIGH_VOLUME).project == "users-own"
    monkeypatch.setenv("M3LEO_PREP_EE_PROJECT", "named")
    assert find_login(HIGH_VOLUME).project == "named"


@pytest.mark.parametrize("own", [None, "", CLIENTS_PROJECT, "764086051850"])
def test_a_login_without_a_project_of_its_own(home: Path, own: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(home, project=own)
    with pytest.raises(CredentialsError, match="no Google Cloud project") as told:
        find_login(HIGH_VOLUME)
    assert "export M3LEO_PREP_EE_PROJECT=" in told.value.hint
    assert "https://code.earthengine.google.com/register" in told.value.hint
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "cloud")
    assert find_login(HIGH_VOLUME).project == "cloud"


def test_a_login_never_goes_to_another_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(home, project="users-own")
    for url in ("http://127.0.0.1:80", "http://earthengine.googleapis.com", "https://googleapis.com.evil.org"):
        assert not is_googles(url)
        login = find_login(url)
        assert (login.kind, login.project, login.token.current()) == ("stand-in", "stand-in", "stand-in")
    monkeypatch.setenv("M3LEO_PREP_EE_TOKEN", "word")
    monkeypatch.setenv("M3LEO_PREP_EE_PROJECT", "named")
    login = find_login("http://127.0.0.1:80")
    assert (login.project, login.token.current()) == ("named", "word")
    assert is_googles(HIGH_VOLUME)
    assert is_googles("https://earthengine.googleapis.com")


def test_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert endpoint() == HIGH_VOLUME
    monkeypatch.setenv("M3LEO_PREP_EE_URL", "http://127.0.0.1:5/")
    assert endpoint() == "http://127.0.0.1:5"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"type": "service_account", "private_key": "pl4nted-s3cret"}'])
def test_a_damaged_key_file_is_told_without_what_is_in_it(
    home: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "key.json"
    path.write_text(text)
    monkeypatch.setenv("M3LEO_PREP_EE_SERVICE_ACCOUNT", str(path))
    with pytest.raises(CredentialsError) as told:
        find_login(HIGH_VOLUME)
    assert str(path) in told.value.where
    assert SECRET not in "".join(traceback.format_exception(told.value))


def test_a_key_file_that_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3LEO_PREP_EE_SERVICE_ACCOUNT", str(home / "none.json"))
    with pytest.raises(CredentialsError, match="No such file"):
        find_login(HIGH_VOLUME)


def test_a_damaged_stored_login(home: Path) -> None:
    stored(home).write_text("{" + SECRET)
    with pytest.raises(CredentialsError, match="damaged") as told:
        find_login(HIGH_VOLUME)
    assert SECRET not in "".join(traceback.format_exception(told.value))
    assert "earthengine authenticate" in told.value.hint


def test_no_secret_is_in_a_repr(home: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(home, project="p")
    seen = [repr(find_login(HIGH_VOLUME)), repr(find_login(HIGH_VOLUME).token), repr(FixedToken(SECRET))]
    monkeypatch.setenv("M3LEO_PREP_EE_SERVICE_ACCOUNT", str(service_account(home, key)))
    seen.append(repr(find_login(HIGH_VOLUME)))
    assert not [text for text in seen if SECRET in text or "PRIVATE KEY" in text]


class TokenServer(ThreadingHTTPServer):
    """Gives tokens, as https://oauth2.googleapis.com/token does, and counts."""

    daemon_threads = True

    def __init__(self) -> None:
        self.calls = 0
        self.refuses = False
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), TokenHandler)

    def next(self) -> int:
        with self._lock:
            self.calls += 1
            return self.calls


class TokenHandler(BaseHTTPRequestHandler):
    server: TokenServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        number = self.server.next()
        answer: dict[str, Any] = {"access_token": f"token-{number}", "expires_in": 3600}
        if self.server.refuses:
            answer = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        body = json.dumps(answer).encode()
        self.send_response(400 if self.server.refuses else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def token_server() -> Iterator[TokenServer]:
    server = TokenServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def google_token(port: int, token: str | None = None) -> tuple[GoogleToken, Credentials]:
    uri = f"http://127.0.0.1:{port}/token"
    credentials = Credentials(
        token, refresh_token=SECRET, token_uri=uri, client_id="1-x", client_secret=SECRET, scopes=["a"]
    )
    return GoogleToken(credentials, "user login", "earthengine authenticate"), credentials


def twelve(work: Any) -> list[Any]:
    results: list[Any] = []

    def one() -> None:
        try:
            results.append(work())
        except (CredentialsError, TransientError) as error:
            results.append(error)

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_twelve_threads_share_one_renewal() -> None:
    with token_server() as server:
        token, credentials = google_token(server.server_port)
        assert twelve(token.current) == ["token-1"] * 12
        assert server.calls == 1
        # It expires.
        credentials.expiry = (datetime.now(UTC) - timedelta(hours=1)).replace(tzinfo=None)
        assert twelve(token.current) == ["token-2"] * 12
        # It is refused while it still seems good: all twelve were under way with it.
        assert twelve(lambda: token.renewed("token-2")) == ["token-3"] * 12
        assert server.calls == 3


def test_a_login_that_expired_is_asked_about_once_and_told() -> None:
    with token_server() as server:
        server.refuses = True
        token, _ = google_token(server.server_port)
        results = twelve(token.current)
        assert server.calls == 1
    assert all(isinstance(error, CredentialsError) for error in results)
    for error in results:
        told = "".join(traceback.format_exception(error))
        assert "invalid_grant" in told
        assert "log in again: earthengine authenticate" in told
        assert SECRET not in told


def test_a_token_server_that_is_not_there_may_come_back() -> None:
    with token_server() as server:
        port = server.server_port
    token, _ = google_token(port)
    with pytest.raises(TransientError, match="not reached"):
        token.current()

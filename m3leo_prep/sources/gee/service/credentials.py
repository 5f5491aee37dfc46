"""Which login to Earth Engine is there, and which Google Cloud project pays: found, never asked for, never told.

In this order: a key file named by ``M3LEO_PREP_EE_SERVICE_ACCOUNT``; what ``GOOGLE_APPLICATION_CREDENTIALS`` names;
what ``earthengine authenticate`` stored; Google's application default credentials (of ``gcloud auth
application-default login``, or of a machine in Google's cloud). What is named on purpose comes before what lies there.
https://developers.google.com/earth-engine/guides/auth, https://developers.google.com/earth-engine/guides/service_account
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from m3leo_prep.core.errors import CredentialsError, TransientError
from m3leo_prep.sources.gee.service.failures import REGISTER, SET_PROJECT

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
"""https://developers.google.com/earth-engine/cloud/highvolume"""
LOGIN = "earthengine authenticate"
SERVICE_ACCOUNT = "M3LEO_PREP_EE_SERVICE_ACCOUNT"
APPLICATION = "GOOGLE_APPLICATION_CREDENTIALS"
SCOPES = ("https://www.googleapis.com/auth/earthengine", "https://www.googleapis.com/auth/cloud-platform")
CLIENTS_PROJECT = "517222506229"
"""Project of the client that ``earthengine authenticate`` logs in with: nobody's to compute in."""


class Token(Protocol):
    """What is sent as ``Authorization: Bearer``; shared by all threads."""

    def current(self) -> str:
        """Return a token that has not expired; renewed first if need be."""
        ...

    def renewed(self, refused: str) -> str:
        """Return another token after this one was refused: one thread renews it for all."""
        ...


@dataclass(frozen=True, slots=True)
class Login:
    """A login that was found."""

    kind: str
    """``user login``, ``service account NAME``, ``application default credentials`` or ``stand-in``."""
    project: str
    token: Token = field(repr=False)
    command: str = LOGIN
    """What renews it."""


class GoogleToken:
    """The access token of Google credentials."""

    def __init__(self, credentials: Credentials, kind: str, command: str) -> None:
        self._credentials = credentials
        self._kind = kind
        self._command = command
        self._lock = threading.Lock()
        self._failed = ""

    def current(self) -> str:
        """Return a token that has not expired."""
        with self._lock:
            if not self._credentials.valid:
                self._renew()
            return str(self._credentials.token)

    def renewed(self, refused: str) -> str:
        """Return another token than this one; renewed unless another thread has done it meanwhile."""
        with self._lock:
            if self._credentials.token == refused:
                self._renew()
            return str(self._credentials.token)

    def _renew(self) -> None:
        from google.auth.exceptions import GoogleAuthError, RefreshError
        from google.auth.transport.requests import Request

        if self._failed:
            raise self._refused()
        try:
            self._credentials.refresh(Request())  # type: ignore[no-untyped-call]  # google-auth is typed in part
        except RefreshError as error:
            if error.retryable:
                raise TransientError("the login cannot be renewed now: Google's server does not answer") from None
            # What the exception holds beside its first text may quote the request.
            said = str(error.args[0]) if error.args else ""
            self._failed = said if said and "\n" not in said else "refused"
            raise self._refused() from None
        except GoogleAuthError:
            raise TransientError("the login cannot be renewed now: Google's server is not reached") from None

    def _refused(self) -> CredentialsError:
        told = f"the {self._kind} has expired or was revoked: {self._failed}"
        return CredentialsError(told, hint=f"log in again: {self._command}")


class FixedToken:
    """A word for a server that is not Google's."""

    def __init__(self, word: str) -> None:
        self._word = word

    def current(self) -> str:
        """Return the word."""
        return self._word

    def renewed(self, refused: str) -> str:  # noqa: ARG002  (there is no other)
        """Return the same word."""
        return self._word


def endpoint() -> str:
    """Return the address of the service: Earth Engine's for many small requests unless ``M3LEO_PREP_EE_URL`` is set."""
    return os.environ.get("M3LEO_PREP_EE_URL", "").rstrip("/") or HIGH_VOLUME


def find_login(url: str) -> Login:
    """Return the login for a service.

    Raises:
        CredentialsError: none is there, a file of one is broken, or no project is known.
    """
    if not is_googles(url):
        token = os.environ.get("M3LEO_PREP_EE_TOKEN") or "stand-in"
        return Login("stand-in", os.environ.get("M3LEO_PREP_EE_PROJECT") or "stand-in", FixedToken(token))
    for variable in (SERVICE_ACCOUNT, APPLICATION):
        if os.environ.get(variable):
            return _of_file(variable, Path(os.environ[variable]).expanduser())
    path = stored_path()
    if path.is_file():
        return _stored(path)
    return _application_default()


def is_googles(url: str) -> bool:
    """Return whether a user's login may be sent there."""
    parts = urlsplit(url)
    return parts.scheme == "https" and (parts.hostname or "").endswith(".googleapis.com")


def stored_path() -> Path:
    """Return the file that ``earthengine authenticate`` writes: ``ee.oauth.get_credentials_path``."""
    return Path("~/.config/earthengine/credentials").expanduser()


def _of_file(variable: str, path: Path) -> Login:
    """Return the login of a file that the user named."""
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    given = _json(path, hint=f"{variable} must name a key file: unset it, or mend it")
    renew = f"give a valid key file by {variable}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on end-user files and missing projects, which are ours to tell
            credentials, project = google.auth.load_credentials_from_dict(given, scopes=SCOPES)  # type: ignore[no-untyped-call]  # google-auth is typed in part
    except (GoogleAuthError, ValueError, KeyError):  # its text may quote the key
        raise CredentialsError(
            "it is no key of a service account and no other login that Google's library knows",
            where=f"{variable}={path}",
            hint="make one: https://developers.google.com/earth-engine/guides/service_account",
        ) from None
    name = given.get("client_email", "")
    kind = f"service account {name}" if name else "application default credentials"
    own = getattr(credentials, "quota_project_id", None) or project
    return _login(kind, credentials, own, renew)


def _stored(path: Path) -> Login:
    """Return the login that ``earthengine authenticate`` stored."""
    from ee import oauth
    from google.oauth2.credentials import Credentials

    if not _json(path, hint=f"log in again: {LOGIN}").get("refresh_token"):
        # That is how the client marks a login by Google's application default credentials.
        return _application_default()
    known = oauth.get_credentials_arguments()
    credentials = Credentials(None, **known)  # type: ignore[no-untyped-call]  # google-auth is typed in part
    return _login("user login", credentials, known["quota_project_id"], LOGIN)


def _application_default() -> Login:
    """Return the login that Google's own library finds."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on missing projects, which are ours to tell
            credentials, project = google.auth.default(scopes=SCOPES)
    except DefaultCredentialsError:
        raise CredentialsError(
            f"no login to Google Earth Engine is stored here, and {SERVICE_ACCOUNT} names no key file", hint=LOGIN
        ) from None
    own = getattr(credentials, "quota_project_id", None) or project
    kind, renew = "application default credentials", "gcloud auth application-default login"
    return _login(kind, credentials, own, renew)


def _login(kind: str, credentials: Any, own_project: str | None, command: str) -> Login:
    """Return the login with its project.

    Raises:
        CredentialsError: there is no project.
    """
    from ee import oauth

    named = os.environ.get("M3LEO_PREP_EE_PROJECT")
    usable = None if own_project in {None, "", CLIENTS_PROJECT} or oauth.is_sdk_project(own_project) else own_project
    project = named or usable or os.environ.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        raise CredentialsError(
            f"there is a {kind}, but no Google Cloud project for Earth Engine",
            hint=f"{SET_PROJECT}, or: earthengine set_project YOUR-PROJECT; register one: {REGISTER}",
        )
    return Login(kind, project, GoogleToken(credentials, kind, command), command)


def _json(path: Path, *, hint: str) -> dict[str, Any]:
    """Return what a file of a login holds; errors never quote it."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CredentialsError(f"the login cannot be read: {error.strerror}", where=str(path), hint=hint) from None
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise CredentialsError("this file of a login is damaged", where=str(path), hint=hint)
    return given

"""Who the user is at the Copernicus Data Space: a name and a password, and keys of its object store."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from m3leo_prep.core.errors import ConfigError, CredentialsError
from m3leo_prep.sources._secrets import netrc_login, netrc_path, warn_of_readers
from m3leo_prep.sources.copernicus.service.hosts import BUCKET, Hosts, hosts
from m3leo_prep.sources.remote.access import Keys

USER, PASSWORD = "CDSE_USERNAME", "CDSE_PASSWORD"
TOTP = "CDSE_TOTP"
"""With two-factor authentication: the six digits of now, or the secret (base32) that they are made from."""
ACCESS_KEY, SECRET_KEY = "CDSE_S3_ACCESS_KEY", "CDSE_S3_SECRET_KEY"
PROFILE = "cdse"
"""Of the AWS credentials file. Not ``default``: keys of Amazon are never shown to anybody else."""
LOG_IN = "m3leo-prep login copernicus"
KEYS_PAGE = "https://eodata-s3keysmanager.dataspace.copernicus.eu"
"""Where a user makes keys, which expire (https://documentation.dataspace.copernicus.eu/APIs/S3.html)."""
MACHINE = "dataspace.copernicus.eu"
"""In the netrc file, as sentineleof has it (eof/_auth.py)."""
MACHINES = (
    MACHINE,
    "identity.dataspace.copernicus.eu",
    # As CDSETool has it (cdsetool/credentials.py).
    "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",
)
"""All names under which clients keep the login; the first one found holds."""


@dataclass(frozen=True, slots=True)
class Login:
    """Shown to the identity server only."""

    user: str
    password: str = field(repr=False)
    totp: str = field(default="", repr=False)
    where: str = field(default="", compare=False)
    """What holds it, for people."""


def login() -> Login | None:
    """Return the user's login: ``$CDSE_USERNAME`` and ``$CDSE_PASSWORD``, else the netrc file's; None without one.

    Raises:
        CredentialsError: half a login, or the netrc file cannot be read.
    """
    user, password = os.environ.get(USER, "").strip(), os.environ.get(PASSWORD, "")
    totp = os.environ.get(TOTP, "").replace(" ", "")
    if user or password:
        if not (user and password):
            raise CredentialsError(f"${USER} and ${PASSWORD} belong together; one is empty", hint=LOG_IN)
        return Login(user, password, totp, f"${USER}")
    path = netrc_path()
    try:
        found = next((pair for machine in _machines(hosts()) if (pair := netrc_login(machine))), None)
    except ConfigError as error:
        raise CredentialsError(
            "this is not a netrc file as Python reads it", where=error.where, hint=error.hint
        ) from None
    if found is None:
        return None
    warn_of_readers(path)
    return Login(*found, totp, str(path))


def keys() -> Keys | None:
    """Return keys of the object store: of the environment, else of profile ``cdse`` of the AWS credentials file.

    https://documentation.dataspace.copernicus.eu/APIs/S3.html tells how they are made.

    Raises:
        CredentialsError: one key of two, or the file cannot be read.
    """
    found = _keys()
    return None if found is None else found[0]


def probe() -> str:
    """Return in words which login and which keys are taken, after one small request for each.

    The request for the login renews its token, or begins the session that a build then goes on with; the one for the
    keys lists the top of the bucket.

    Raises:
        CredentialsError: there is neither, or one is refused.
        SourceError: the service does not answer.
    """
    told = list(_probed())
    if not told:
        raise CredentialsError("there is no login for the Copernicus Data Space", hint=LOG_IN)
    return f"Copernicus Data Space, {'; '.join(told)}"


def credentials_path() -> Path:
    """Return the file in which AWS's clients keep keys."""
    return Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()


def _machines(there: Hosts) -> tuple[str, ...]:
    """Return the names to look for; a stand-in is never shown the real login."""
    is_real = there.identity == Hosts().identity
    return MACHINES if is_real else (there.identity, there.identity.partition(":")[0])


def _keys() -> tuple[Keys, str] | None:
    """Return the keys and what holds them."""
    path = credentials_path()
    access, secret, where = os.environ.get(ACCESS_KEY, ""), os.environ.get(SECRET_KEY, ""), f"${ACCESS_KEY}"
    if not access and not secret:
        access, secret = _profile(path)
        where = f"profile {PROFILE} of {path}"
        if not access and not secret:
            return None
        warn_of_readers(path)
    if not (access and secret):
        raise CredentialsError("an access key and a secret key belong together; one is missing", where=where)
    return Keys(access.strip(), secret.strip()), where


def _profile(path: Path) -> tuple[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "", ""
    except (OSError, UnicodeDecodeError, configparser.Error):  # their messages may quote a key
        raise CredentialsError("this file of keys cannot be read", where=str(path), hint=LOG_IN) from None
    if not parser.has_section(PROFILE):
        return "", ""
    access = parser.get(PROFILE, "aws_access_key_id", fallback="")
    return access, parser.get(PROFILE, "aws_secret_access_key", fallback="")


def _probed() -> Iterator[str]:
    found = login()
    if found is not None:
        from m3leo_prep.sources.copernicus.service.tokens import tokens

        tokens().renewed()
        yield f"user {found.user} by {found.where}"
    stored = _keys()
    if stored is not None:
        from m3leo_prep.sources.copernicus.service.access import access
        from m3leo_prep.sources.remote.objects import check

        try:
            check(BUCKET, access())
        except CredentialsError as error:
            raise CredentialsError(error.message, where=f"keys of {stored[1]}", hint=error.hint) from None
        yield f"keys of the object store by {stored[1]}"

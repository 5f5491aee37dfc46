"""Copernicus Data Space: an account, kept in the netrc file, and keys of its object store, kept in AWS's file."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.ports.login import Prompt, Stored
from m3leo_prep.sources._secrets import netrc_path, store_netrc, write_secret
from m3leo_prep.sources.copernicus.service import login as service

if TYPE_CHECKING:
    from m3leo_prep.ports.login import Login

HEADER = f"[{service.PROFILE}]"


class CopernicusLogin:
    """Stores a name and a password, keys of the object store, or both."""

    name = "copernicus"
    title = "Copernicus Data Space (Sentinel-1 and Sentinel-2)"
    signup = f"https://dataspace.copernicus.eu; keys of the object store: {service.KEYS_PAGE}"
    command = ""
    prompts = (
        Prompt("user", "User name (e-mail; empty = keep)", secret=False, optional=True),
        Prompt("password", "Password (empty = keep)", optional=True),
        Prompt("access", "S3 access key (empty = none)", optional=True),
        Prompt("secret", "S3 secret key (empty = none)", optional=True),
    )

    @property
    def path(self) -> Path:
        """The netrc file."""
        return netrc_path()

    def stored(self) -> bool:
        """Return whether there is a login or a pair of keys, also where other clients keep theirs."""
        return service.login() is not None or service.keys() is not None

    def store(self, answers: Mapping[str, str]) -> Stored:
        """Put the login into the netrc file and the keys into profile ``cdse``; all else in both stays as it is."""
        user, password, access, secret = (answers[prompt.name].strip() for prompt in self.prompts)
        password = answers["password"]
        for one, other in ((user, password), (access, secret)):
            if bool(one) != bool(other):
                raise ConfigError("one half of a pair is empty", hint="nothing was stored")
        if not user and not access:
            raise ConfigError("neither a login nor keys were given", hint="nothing was stored")
        profiles = _with_keys(access, secret) if access else b""  # before anything is stored
        stored = [store_netrc(service.MACHINE, user, password)] if user else []
        stored += [write_secret(service.credentials_path(), profiles)] if access else []
        notes = [note for one in stored for note in one.notes]
        notes += [f"the keys are in {stored[-1].path}, profile {service.PROFILE}"] if access else []
        return Stored(stored[0].path, tuple(notes))


def _with_keys(access: str, secret: str) -> bytes:
    """Return the AWS credentials file with keys in place of the profile's old ones; other profiles are as they were.

    Raises:
        ConfigError: the format cannot hold a key, or the file is not in that format.
        StoreError: it cannot be read.
    """
    if not all(key.isprintable() and key.isascii() and " " not in key for key in (access, secret)):
        raise ConfigError("a key holds a character that no key has", hint="nothing was stored")
    path = service.credentials_path()
    hint = "nothing was stored; move the file away, or write the profile by hand"
    try:
        old = path.read_text(encoding="utf-8") if path.is_file() else ""
    except OSError as error:
        raise StoreError(f"it cannot be read: {error.strerror}", where=str(path), hint=hint) from None
    except UnicodeDecodeError:  # its message quotes the file
        raise ConfigError("this is not a file of profiles", where=str(path), hint=hint) from None
    lines, ours = [], False
    for line in old.splitlines(keepends=True):
        ours = line.strip() == HEADER if line.lstrip().startswith("[") else ours
        if not ours:
            lines.append(line)
    before = "".join(lines)
    if before and not before.endswith("\n"):
        before += "\n"
    new = f"{before}{HEADER}\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    try:
        configparser.RawConfigParser().read_string(new)
    except configparser.Error:  # its message may quote a key
        raise ConfigError("this is not a file of profiles", where=str(path), hint=hint) from None
    return new.encode()


if TYPE_CHECKING:
    _: Login = CopernicusLogin()

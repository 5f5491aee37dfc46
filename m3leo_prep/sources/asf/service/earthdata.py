"""The Earthdata login: a token of the environment, or what the netrc file holds; shown to NASA and ASF only."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlencode, urlsplit

from m3leo_prep.core.errors import ConfigError, CredentialsError, SourceError
from m3leo_prep.sources._secrets import netrc_login, netrc_path, warn_of_readers
from m3leo_prep.sources.asf.hosts import hosts

TOKEN_VARIABLE = "EARTHDATA_TOKEN"  # noqa: S105  (a name)
LOG_IN = "m3leo-prep login earthdata"
CLIENT = "BO_n7nTIlMljdvU6kRRB3g"
"""ASF's application at Earthdata Login, public: ``EDL_CLIENT_ID`` of asf_search, ``AUTH_URL`` of hyp3_sdk."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750 §2.1


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token (https://urs.earthdata.nasa.gov/user_tokens, valid for 60 days): for ``hosts().trusted``."""

    token: str = field(repr=False)
    hint = f"make a new token, they live for 60 days: https://urs.earthdata.nasa.gov/user_tokens; set {TOKEN_VARIABLE}"

    def headers(self, host: str) -> Mapping[str, str]:
        """Return the token for hosts of Earthdata and ASF, nothing for others."""
        return {"Authorization": f"Bearer {self.token}"} if is_trusted(host) else {}


@dataclass(frozen=True, slots=True)
class Password:
    """A user and a password: for the login host only; the others know the user by cookies."""

    user: str
    password: str = field(repr=False)
    hint = LOG_IN

    def headers(self, host: str) -> Mapping[str, str]:
        """Return user and password for the login host, nothing for others."""
        if host != hosts().urs:
            return {}
        pair = b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}


def login() -> Token | Password:
    """Return the login of this user: ``$EARTHDATA_TOKEN``, else the netrc file's (``$NETRC``, else ``~/.netrc``).

    Raises:
        CredentialsError: neither is there, or it cannot be used.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token:
        if not _TOKEN.fullmatch(token):
            raise CredentialsError("this is no token", where=f"${TOKEN_VARIABLE}", hint=Token.hint)
        return Token(token)
    path = netrc_path()
    machine = hosts().urs
    try:
        found = netrc_login(machine) or netrc_login(machine.partition(":")[0])
    except ConfigError as error:
        raise CredentialsError(
            "this is not a netrc file as Python reads it", where=error.where, hint=error.hint
        ) from None
    if found is None:
        where = f"in {path} for {machine}, and no ${TOKEN_VARIABLE}"
        raise CredentialsError(f"there is no Earthdata login {where}", hint=LOG_IN)
    warn_of_readers(path)
    return Password(*found)


def is_trusted(host: str) -> bool:
    """Return whether a login may be shown to a host, with or without a port: a trusted domain or one below it."""
    name = host.partition(":")[0].rstrip(".").lower()
    return any(name == domain or name.endswith(f".{domain}") for domain in hosts().trusted)


def probe() -> str:
    """Return which login holds, in words, after one small request to Earthdata.

    A token is shown to ``/oauth/tokens/user``, as ``asf_search`` does; user and password to ``/oauth/authorize``, as
    ``hyp3_sdk`` does: neither makes anything there.

    Raises:
        CredentialsError: no login, or it is refused.
        SourceError: Earthdata does not answer.
    """
    auth = login()
    return _probe_token(auth) if isinstance(auth, Token) else _probe_password(auth)


def _probe_token(auth: Token) -> str:
    from m3leo_prep.blobs.http import answer
    from m3leo_prep.sources.http.hops import refuse
    from m3leo_prep.sources.http.patience import Tries
    from urllib3.exceptions import HTTPError  # isort: skip  (the first import explains its absence)

    machine = hosts().urs
    address = f"https://{machine}/oauth/tokens/user?client_id={CLIENT}"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode({"token": auth.token}).encode()
    with answer("POST", address, form, Tries(machine), body=body, follow=False) as response:
        if response.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            refuse(response, f"${TOKEN_VARIABLE}", auth)
        if response.status != HTTPStatus.OK:
            raise SourceError(f"the login host answers {response.status}", where=machine)
        try:
            user = json.loads(response.read())["uid"]
        except (HTTPError, ValueError, KeyError, TypeError):
            raise SourceError("the login host's answer cannot be read", where=machine) from None
    return f"Earthdata, user {user}, by ${TOKEN_VARIABLE}"


def _probe_password(auth: Password) -> str:
    from m3leo_prep.blobs.http import answer
    from m3leo_prep.sources.http.hops import refuse, refused_by
    from m3leo_prep.sources.http.patience import Tries

    there = hosts()
    query = {"client_id": CLIENT, "response_type": "code", "redirect_uri": f"https://{there.auth}/login"}
    address = f"https://{there.urs}/oauth/authorize?{urlencode(query)}"
    where = str(netrc_path())
    with answer("GET", address, auth.headers(there.urs), Tries(there.urs), follow=False) as response:
        if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            refuse(response, where, auth)
        location = response.headers.get("Location", "")
        text = refused_by(location)
        if text:
            raise CredentialsError(f"the login is refused: {text}", where=where, hint=auth.hint)
        if "code" not in parse_qs(urlsplit(location).query):
            raise CredentialsError(
                f"Earthdata does not log in user {auth.user} (it answers {response.status})",
                where=where,
                hint=f"log in once at https://{there.urs}/profile, fill it in and approve what it asks for",
            )
    return f"Earthdata, user {auth.user}, by {where}"

"""Earthdata Login: tokens for a password, and the redirects that end in a cookie.

https://urs.earthdata.nasa.gov/documentation/for_users/user_token; the addresses are those that asf_search 14.1 and
hyp3_sdk 7.7 ask for.
"""

from __future__ import annotations

import base64
from urllib.parse import quote

from m3leo_prep.testing.answers import Answer, to_json
from m3leo_prep.testing.earthdata.calls import Call, refused

_REALM = {"WWW-Authenticate": 'Basic realm="Please enter your Earthdata Login credentials"'}


def knows(call: Call) -> bool:
    """Return whether the call shows a password or a token that is known."""
    held = call.held
    basic = base64.b64encode(f"{held.user}:{held.password}".encode()).decode()
    return call.headers.get("authorization", "") in {f"Bearer {held.token}", f"Basic {basic}"}


def has_cookie(call: Call) -> bool:
    """Return whether the call shows the cookie of who has logged in."""
    return f"asf-urs={call.held.cookie}" in call.headers.get("cookie", "")


def token(call: Call) -> Answer:
    """Return the token of a user, for their password."""
    if not knows(call) or not call.headers["authorization"].startswith("Basic "):
        return refused(401, "invalid_credentials", **_REALM)
    return to_json({"access_token": call.held.token, "token_type": "Bearer", "expiration_date": "01/01/2099"})


def token_user(call: Call) -> Answer:
    """Return whose token it is."""
    return to_json({"uid": call.held.user}) if call.one("token") == call.held.token else refused(401, "invalid_token")


def authorize(call: Call) -> Answer:
    """Send who is known back to where they came from, with a code; show others the page to log in at."""
    if not knows(call):
        return refused(401, "HTTP Basic: Access denied.", **_REALM)
    place = f"{call.base}/login?code=c0de&state={quote(call.one('state'), safe='')}"
    return Answer(b"", 302, "text/plain", {"Location": place})


def login(call: Call) -> Answer:
    """Set the cookie and send back to the file."""
    cookie = {"Set-Cookie": f"asf-urs={call.held.cookie}; Path=/; Secure; HttpOnly"}
    state = call.one("state")
    return Answer(b"", 302, "text/plain", cookie | {"Location": state}) if state else Answer(b"ok", headers=cookie)


def to_login(call: Call) -> Answer:
    """Return the redirect of a data host to the login."""
    state = quote(f"{call.base}{quote(call.request.path)}", safe="")
    back = quote(f"{call.base}/login", safe="")
    query = f"client_id=stand-in&response_type=code&redirect_uri={back}&state={state}"
    return Answer(b"", 302, "text/plain", {"Location": f"{call.base}/oauth/authorize?{query}"})

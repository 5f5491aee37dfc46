"""The identity server of the stand-in: tokens that end, sessions that are counted, two-factor authentication."""

from __future__ import annotations

import base64
import hmac
import secrets
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from m3leo_prep.testing.answers import Answer, to_json


@dataclass(slots=True)
class Session:
    """What one login began."""

    refresh: str
    until: float
    """Its refresh token holds."""


@dataclass(slots=True)
class Identity:
    """Who may log in, and who has; times are those of ``clock``.

    The texts of refusals are Keycloak's.
    """

    user: str = "jane@example.org"
    password: str = field(default_factory=lambda: f"pass-{secrets.token_hex(8)}")
    totp: str = ""
    """Secret in base32; with it a login needs a code."""
    token_seconds: float = 600.0
    refresh_seconds: float = 3600.0
    most_sessions: int = 100
    """At once; a login beyond them is refused."""
    clock: Callable[[], float] = time.time
    sessions: list[Session] = field(default_factory=list)
    most_at_once: int = 0
    """Sessions that there ever were at one time."""
    logins: int = 0
    renewals: int = 0
    _tokens: dict[str, float] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def token(self, form: Mapping[str, Sequence[str]]) -> Answer:
        """Answer who asks for a token."""
        asked = {name: values[0] for name, values in form.items()}
        with self._lock:
            if asked.get("client_id") != "cdse-public":
                return _refused(401, "invalid_client", "Invalid client or Invalid client credentials")
            match asked.get("grant_type"):
                case "password":
                    return self._log_in(asked)
                case "refresh_token":
                    return self._renew(asked)
            return _refused(400, "unsupported_grant_type", "Unsupported grant_type")

    def refusal(self, header: str) -> Answer | None:
        """Return the answer to a request whose ``Authorization`` does not hold, None where it does."""
        token = header.removeprefix("Bearer ")
        with self._lock:
            until = self._tokens.get(token)
        if until is not None and self.clock() < until:
            return None
        detail = "Unauthorized" if until is None else "Expired signature!"
        return to_json({"detail": detail}, 401, **{"WWW-Authenticate": "Bearer"})

    def forget(self, *, sessions: bool = False) -> None:
        """End all access tokens now, though their holders were told another time; with ``sessions`` those too."""
        with self._lock:
            self._tokens = dict.fromkeys(self._tokens, float("-inf"))
            if sessions:
                self.sessions.clear()

    def secrets(self) -> list[str]:
        """Return all that must be found nowhere."""
        with self._lock:
            return [self.password, *self._tokens, *(session.refresh for session in self.sessions)]

    def code(self, steps: int = 0) -> str:
        """Return the six digits of now, or some steps of 30 s later."""
        key = base64.b32decode(self.totp)
        digest = hmac.digest(key, struct.pack(">Q", int(self.clock()) // 30 + steps), "sha1")
        start = digest[-1] & 15
        return f"{(struct.unpack('>I', digest[start : start + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"

    def _log_in(self, asked: Mapping[str, str]) -> Answer:
        self.logins += 1
        now = self.clock()
        self.sessions = [session for session in self.sessions if now < session.until]
        code = asked.get("totp", "")
        is_known = (asked.get("username"), asked.get("password")) == (self.user, self.password)
        if self.totp:
            is_known &= code in {self.code(step) for step in (-1, 0, 1)} and code not in self._used
            self._used.add(code)
        if not is_known or len(self.sessions) >= self.most_sessions:
            return _refused(401, "invalid_grant", "Invalid user credentials")
        session = Session("", 0.0)
        self.sessions.append(session)
        self.most_at_once = max(self.most_at_once, len(self.sessions))
        return self._given(session)

    def _renew(self, asked: Mapping[str, str]) -> Answer:
        self.renewals += 1
        refresh = asked.get("refresh_token", "")
        for session in self.sessions:
            if session.refresh == refresh and self.clock() < session.until:
                return self._given(session)
        return _refused(400, "invalid_grant", "Token is not active")

    def _given(self, session: Session) -> Answer:
        """Return new tokens; a refresh token serves once."""
        now = self.clock()
        access = f"access-{secrets.token_urlsafe(24)}"
        session.refresh, session.until = f"refresh-{secrets.token_urlsafe(24)}", now + self.refresh_seconds
        self._tokens[access] = now + self.token_seconds
        return to_json(
            {
                "access_token": access,
                "expires_in": self.token_seconds,
                "refresh_token": session.refresh,
                "refresh_expires_in": self.refresh_seconds,
                "token_type": "Bearer",
                "not-before-policy": 0,
                "session_state": secrets.token_hex(8),
                "scope": "AUDIENCE_PUBLIC openid email profile",
            }
        )


def _refused(status: int, error: str, text: str) -> Answer:
    return to_json({"error": error, "error_description": text}, status)

"""What Earth Engine refuses: sizes, quotas, tokens, projects, each with its text.

Sizes and quotas: https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels and
https://developers.google.com/earth-engine/guides/usage. That each pixel counts one byte more per band, for its mask, is
known from Xee (https://github.com/google/Xee/pull/211). Texts marked *ours* were never seen from the real service.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

TOO_MANY = "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."
TOO_FAST = (
    "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read requests per minute per user' "
    "of service 'earthengine.googleapis.com' for consumer 'project_number:1'."
)
"""Seen in https://github.com/gee-community/qgis-earthengine-plugin/issues/202."""
EECU_SPENT = (
    "Quota exceeded for quota metric 'Earth Engine compute time' and limit 'Earth Engine compute time per day' "
    "of service 'earthengine.googleapis.com' for consumer 'project_number:1'."
)
"""*Ours*, in the form of ``TOO_FAST``."""
TIMED_OUT = "Computation timed out."
OUT_OF_MEMORY = "User memory limit exceeded."
UNSIGNED = (
    "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
EXPIRED = UNSIGNED.replace("is missing required authentication credential", "had invalid authentication credentials")
NOT_REGISTERED = (
    "Project {0} is not registered to use Earth Engine. Visit "
    "https://code.earthengine.google.com/register?project={0} to register your project. See "
    "https://developers.google.com/earth-engine/guides/access for more details."
)
"""Seen in https://github.com/healthysustainablecities/global-indicators/issues/547."""
NOT_FOUND = "Asset '{0}' not found (does not exist or caller does not have access)."

_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_STATUS |= {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE"}


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    def body(self) -> dict[str, object]:
        """Return the JSON that Google's services answer."""
        status = _STATUS.get(self.code, "UNKNOWN")
        return {"error": {"code": self.code, "message": str(self), "status": status}}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed; None is no limit."""

    request_bytes: int = 48 * 2**20
    side: int = 32_768
    bands: int = 1024
    payload_bytes: int = 10 * 2**20
    concurrency: int | None = 40
    per_second: int | None = None
    """Requests begun within any second; Earth Engine's own is 100."""
    token_requests: int | None = None
    """Requests that one token is good for."""
    token_seconds: float | None = None
    """Seconds from a token's first request for which it is good."""
    projects: Sequence[str] | None = None
    """Those registered; None = all."""

    def pixels(self, width: int, height: int, dtypes: Sequence[str]) -> None:
        """Raise Refused if so many pixels of bands of these types are too much for one request."""
        if width > self.side or height > self.side:
            text = f"Pixel grid dimensions ({width}x{height}) must be less than or equal to {self.side}."
            raise Refused(400, text)
        if len(dtypes) > self.bands:
            # *Ours*: the limit is documented, its text is not.
            raise Refused(400, f"Number of bands ({len(dtypes)}) must be less than or equal to {self.bands}.")
        size = width * height * sum(np.dtype(dtype).itemsize + 1 for dtype in dtypes)
        if size > self.request_bytes:
            text = f"Total request size ({size} bytes) must be less than or equal to {self.request_bytes} bytes."
            raise Refused(400, text)

    def payload(self, size: int) -> None:
        """Raise Refused if a request's body is too long."""
        if size > self.payload_bytes:
            raise Refused(400, f"Request payload size exceeds the limit: {self.payload_bytes} bytes.")


@dataclass(slots=True)
class Gate:
    """Who is let in: counts requests under way, their rate and the use of tokens."""

    limits: Limits
    under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _begun: deque[float] = field(default_factory=deque)
    _tokens: dict[str, tuple[float, int]] = field(default_factory=dict)

    def enter(self) -> int:
        """Return how many requests are under way, this one among them."""
        with self._lock:
            self.under_way += 1
            return self.under_way

    def leave(self) -> None:
        """Count one request less."""
        with self._lock:
            self.under_way -= 1

    def check(self, token: str | None, project: str, under_way: int) -> None:
        """Raise Refused if a request may not be answered."""
        if not token:
            raise Refused(401, UNSIGNED)
        now = time.monotonic()
        with self._lock:
            first, uses = self._tokens.get(token, (now, 0))
            self._tokens[token] = first, uses + 1
            while self._begun and self._begun[0] <= now - 1.0:
                self._begun.popleft()
            self._begun.append(now)
            rate = len(self._begun)
        limits = self.limits
        if limits.token_requests is not None and uses >= limits.token_requests:
            raise Refused(401, EXPIRED)
        if limits.token_seconds is not None and now - first >= limits.token_seconds:
            raise Refused(401, EXPIRED)
        if limits.projects is not None and project and project not in limits.projects:
            raise Refused(403, NOT_REGISTERED.format(project))
        if limits.concurrency is not None and under_way > limits.concurrency:
            raise Refused(429, TOO_MANY)
        if limits.per_second is not None and rate > limits.per_second:
            raise Refused(429, TOO_FAST)

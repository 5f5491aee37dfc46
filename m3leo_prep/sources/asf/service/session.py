"""The connection by which ``asf_search`` asks the catalogue: patient, without a login, and counting what is there."""

from __future__ import annotations

import os
import sys
from typing import Any
from urllib.parse import urlsplit

import requests
from asf_search import ASFSession
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

from m3leo_prep.blobs.http import TRANSIENT, is_certificate, status_text
from m3leo_prep.core.errors import SourceError
from m3leo_prep.sources.asf.hosts import hosts
from m3leo_prep.sources.http.patience import Tries

WHERE = "ASF's catalogue"


class Session(ASFSession):  # type: ignore[misc]  # the client has no types
    """A session of the client whose every answer is one of success.

    The client gives up at 429, reads an error's text as JSON though a proxy's is a page, and tries what it repeats
    three times only (asf_search 14.1, ``search/search_generator.py``).
    """

    def __init__(self) -> None:
        known = hosts()
        super().__init__(
            edl_host=known.urs, asf_auth_host=known.auth, cmr_host=known.cmr, auth_domains=list(known.trusted)
        )
        self.auth = _nobody
        self.hits = 0
        """Granules that there are, by the last answer."""
        if not os.environ.get("REQUESTS_CA_BUNDLE") and os.environ.get("SSL_CERT_FILE"):
            self.verify = os.environ["SSL_CERT_FILE"]  # which everything else here looks at

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Return the answer, asked for again where that helps.

        Raises:
            TriedOut, RateLimited: it did not help.
            SourceError: the question is refused, or the server not trusted.
        """
        tries = Tries(WHERE)
        host = urlsplit(str(request.url)).netloc
        while True:
            tries.turn(host)
            response: requests.Response | None = None
            try:
                response = super().send(request, **options)
            except requests.RequestException:
                fault = sys.exception()
            if response is None:
                if isinstance(fault, requests.exceptions.SSLError) and is_certificate(fault.args[0]):
                    tries.distrust()
                slow = isinstance(fault, requests.Timeout)
                tries.failed("the server is silent" if slow else "the connection was cut or refused")
            elif response.status_code in TRANSIENT:
                text = f"the server answers {status_text(response.status_code)}"
                tries.failed(text, _asked_wait(response), response.status_code)
            elif not response.ok:
                text = f"the server answers {status_text(response.status_code)}{_said(response)}"
                raise SourceError(text, where=WHERE, hint="report it, with the recipe")
            else:
                self.hits = int(response.headers.get("CMR-Hits", 0))
                return response


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return the request as it is: the catalogue is public, and a password in ~/.netrc stays there."""
    return request


def _asked_wait(response: requests.Response) -> float | None:
    """Return the seconds of a Retry-After header."""
    header = response.headers.get("Retry-After")
    try:
        return Retry().parse_retry_after(header) if header else None
    except InvalidHeader:
        return None


def _said(response: requests.Response) -> str:
    """Return what the catalogue says is wrong, if it does."""
    try:
        errors = response.json().get("errors", [])
    except (ValueError, AttributeError):
        return ""
    return f": {'; '.join(str(error) for error in errors)}" if errors else ""

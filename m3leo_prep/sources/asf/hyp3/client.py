"""The real client of HyP3, made patient, with its errors told in our words."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from m3leo_prep.core.errors import (
    CredentialsError,
    MissingDependency,
    QuotaReached,
    SourceError,
    TransientError,
    TriedOut,
)
from m3leo_prep.sources.asf.hosts import Hosts, hosts
from m3leo_prep.sources.asf.hyp3.jobs import Job, next_month

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hyp3_sdk import HyP3
    from requests import Session

WHERE = "HyP3"
TRIES = 5
"""Of a question that costs nothing."""
BACKOFF_SECONDS = 1.0
TIMEOUT_SECONDS = (15.0, 120.0)
"""To connect, and between two bytes: the client itself would wait for ever."""
MOST_AT_ONCE = 200
"""Jobs of one submission (ASFHyP3/hyp3@0973e6d, ``openapi-spec.yml.j2``)."""
_AGAIN = "run the same command again: nothing is ordered twice"


class Refusal(SourceError):
    """HyP3 will not take a job: it knows no such scene, or cannot process it."""


class InDoubt(TransientError):
    """A submission was not answered: it may have been taken."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A job as HyP3 tells of it."""

    id: str
    name: str
    state: str
    """PENDING, RUNNING, SUCCEEDED, FAILED."""
    expires: datetime | None
    url: str
    """Of its product; empty while there is none."""
    size: int

    @property
    def expired(self) -> bool:
        """True once its product is gone."""
        return self.expires is not None and self.expires <= datetime.now(UTC)

    @property
    def is_lost(self) -> bool:
        """True where no product will come of it any more."""
        return self.state == "FAILED" or (self.state == "SUCCEEDED" and self.expired)


class Client:
    """HyP3 under the user's login; not shared by threads."""

    def __init__(self) -> None:
        """Log in.

        Raises:
            CredentialsError: no login, or it is refused.
            MissingDependency: the extra ``asf`` is not installed.
        """
        with _told():
            self._hyp3 = _connected()

    def placed(self, kind: str) -> dict[str, Placed]:
        """Return one's jobs of a kind by name, of all pages; of several with one name the one that serves best."""
        found: dict[str, Placed] = {}
        with _told():
            for one in map(_placed, self._hyp3.find_jobs(job_type=kind)):  # newest first
                if one.name and (one.name not in found or _merit(one) > _merit(found[one.name])):
                    found[one.name] = one
        return found

    def look(self, job_id: str) -> Placed | None:
        """Return how far a job is, whoever ordered it; None if there is none of that number."""
        try:
            with _told():
                return _placed(self._hyp3.get_job_by_id(job_id))
        except Refusal:
            return None

    def price(self, jobs: Sequence[Job]) -> float:
        """Return the credits that HyP3 would ask for some jobs; nothing is ordered.

        Raises:
            QuotaReached: the credits do not last.
            Refusal: one of them cannot be processed.
        """
        body = {"jobs": [job.prepared() for job in jobs], "validate_only": True}
        with _told():
            answer = self._hyp3.session.post(f"{self._hyp3.url}/jobs", json=body)
            _raise_for_status(answer)
            return sum(float(job["credit_cost"]) for job in answer.json()["jobs"])

    def submit(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Order some jobs, all or none of them, and return their numbers by name.

        Raises:
            QuotaReached: the credits do not last.
            Refusal: one of them cannot be processed.
            InDoubt: no answer: they may have been ordered, or some of them.
        """
        with _told(doubt=True):
            placed = self._hyp3.submit_prepared_jobs([job.prepared() for job in jobs])
        return {str(job.name): str(job.job_id) for job in placed}

    def credits(self) -> float | None:
        """Return the credits that are left; None = without limit."""
        with _told():
            left = self._hyp3.check_credits()
        return None if left is None else float(left)


def _raise_for_status(answer: Any) -> None:
    """Raise what the client raises for such an answer."""
    from hyp3_sdk.exceptions import _raise_for_hyp3_status

    _raise_for_hyp3_status(answer)


def _placed(job: Any) -> Placed:
    files = job.files or [{}]
    return Placed(
        str(job.job_id),
        str(job.name or ""),
        str(job.status_code),
        job.expiration_time,
        str(files[0].get("url", "")),
        int(files[0].get("size", 0)),
    )


def _merit(job: Placed) -> int:
    """Return how well a job serves: made, being made, waiting, gone, failed."""
    if job.state == "SUCCEEDED":
        return 1 if job.expired else 4
    return {"RUNNING": 3, "PENDING": 2}.get(job.state, 0)


def _connected() -> HyP3:
    """Return a client with the login that ``m3leo-prep login earthdata`` leaves."""
    import hyp3_sdk
    import hyp3_sdk.util

    from m3leo_prep.sources.asf.service.earthdata import login

    at = hosts()
    if at.urs != Hosts().urs:
        # With a token the client asks nobody who it is; with a password it asks at an address that is a constant.
        hyp3_sdk.util.AUTH_URL = hyp3_sdk.util.AUTH_URL.replace(Hosts().urs, at.urs)
    auth = login()
    shown = auth.headers(urlsplit(at.hyp3).hostname or "") or auth.headers(at.urs)  # a password is for the login only
    said = shown.get("Authorization", "")
    scheme, _, secret = said.partition(" ")
    given: Mapping[str, str]
    if scheme == "Bearer":
        given = {"token": secret}
    elif scheme == "Basic":
        user, _, word = base64.b64decode(secret).decode().partition(":")
        given = {"username": user, "password": word}
    else:
        raise CredentialsError("HyP3 needs an Earthdata login", where=WHERE, hint="m3leo-prep login earthdata")
    client = hyp3_sdk.HyP3(api_url=at.hyp3, **given)
    _make_patient(client.session)
    return client


def _make_patient(session: Session) -> None:
    """Let questions be repeated where that helps, and never wait for ever; a submission is never repeated blindly."""
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class Patient(HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> Any:
            kwargs["timeout"] = kwargs.get("timeout") or TIMEOUT_SECONDS
            return super().send(*args, **kwargs)

    again = Retry(
        total=TRIES - 1,
        backoff_factor=BACKOFF_SECONDS,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=("GET", "HEAD"),
        raise_on_status=False,
    )
    session.mount("https://", Patient(max_retries=again))


@contextmanager
def _told(*, doubt: bool = False) -> Iterator[None]:
    """Tell what the client raises in our words; with ``doubt``, no answer means that it may have been taken."""
    try:
        from hyp3_sdk import exceptions
    except ModuleNotFoundError as error:
        raise MissingDependency("source 'asf' needs hyp3_sdk", hint="pip install 'm3leo-prep[asf]'") from error
    from requests import RequestException

    away = (exceptions.ServerError, exceptions.ServiceUnavailableError)
    try:
        yield
    except exceptions.AuthenticationError as error:
        raise CredentialsError(
            f"Earthdata does not let you in: {error}", where=WHERE, hint="m3leo-prep login earthdata"
        ) from error
    except exceptions.HyP3Error as error:
        raise _refused(str(error)) from error
    except (*away, RequestException, KeyError, TypeError, ValueError) as error:
        kind = InDoubt if doubt else TriedOut
        said = str(error) if isinstance(error, away) and str(error) else type(error).__name__
        raise kind(f"no answer that can be used ({said})", where=WHERE, hint=_AGAIN) from error


def _refused(said: str) -> SourceError | CredentialsError:
    """Return the error for a refusal, told as ``<Response [400]> These jobs would cost ...``."""
    found = re.match(r"<Response \[(\d+)\]> ?(.*)", said, re.DOTALL)
    status, detail = (int(found[1]), found[2].strip()) if found else (400, said)
    if status in {401, 403}:
        return CredentialsError(
            detail,
            where=WHERE,
            hint="m3leo-prep login earthdata; HyP3 asks once for an application: "
            "https://hyp3-docs.asf.alaska.edu/using/requesting_access/",
        )
    if "credits" in detail:
        return quota(detail)
    if status == 429:
        return TriedOut(detail, where=WHERE, hint=_AGAIN)
    return Refusal(detail, where=WHERE)


def quota(said: str) -> QuotaReached:
    """Return the error that the month's credits are used up."""
    return QuotaReached(
        said,
        until=next_month(datetime.now(UTC)),
        where=WHERE,
        hint="wait for next month's credits, buy some (https://hyp3-docs.asf.alaska.edu/about/hyp3_plus/), or ask for "
        "less: fewer slots, fewer chips (--sample), a coarser `resolution:`",
    )

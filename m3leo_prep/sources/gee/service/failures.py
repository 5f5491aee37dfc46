"""What an error of Earth Engine means: one table from status and text to what is to be done.

The client raises ``EEException`` with the server's text alone; the answer with its status stays in the exception's
context. The status decides where it tells enough, else the text does. Texts are the service's own, seen in the public
threads and pages that stand beside each row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from m3leo_prep.core.errors import (
    ConfigError,
    CredentialsError,
    PrepError,
    QuotaReached,
    RateLimited,
    SourceError,
    TooLarge,
    TransientError,
)

REGISTER = "https://code.earthengine.google.com/register"
"""https://developers.google.com/earth-engine/guides/access"""
SET_PROJECT = "export M3LEO_PREP_EE_PROJECT=YOUR-PROJECT"

_ADVICE = re.compile(r" (?=Visit |Enable it by |Grant the caller |See http)")


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: an answer of this status whose text holds this pattern."""

    kind: type[PrepError]
    pattern: str = ""
    """Regular expression, case ignored; its groups may be named in ``hint``."""
    status: range = range(600)
    """0: the answer is not known."""
    hint: str = ""
    """May name {project}, and groups of the pattern."""


def _only(*statuses: int) -> range:
    return range(statuses[0], statuses[-1] + 1)


TABLE = (
    # "exceeded the custom quota": https://developers.google.com/earth-engine/guides/cost_controls
    Rule(
        QuotaReached,
        r"daily_eecu_usage_time|eecu|compute (unit|time)",
        hint="wait, or raise it: https://console.cloud.google.com/iam-admin/quotas?project={project}",
    ),
    # https://developers.google.com/earth-engine/guides/usage; texts: qgis-earthengine-plugin #202, geemap #1309
    Rule(
        RateLimited,
        r"too many (requests|concurrent)|quota exceeded for quota metric|rate ?limit ?exceeded",
    ),
    Rule(RateLimited, status=_only(429)),
    # geemap #1790, #1465; Xee #50; rgee #220; https://developers.google.com/earth-engine/guides/debugging
    Rule(
        TooLarge,
        r"computation timed out|user memory limit exceeded|total request size|pixel grid dimensions"
        r"|request payload size|output of image computation is too large|number of bands must be"
        r"|collection query aborted after accumulating",
        hint="ask for less at once: fewer images (a shorter slot), fewer bands or a smaller area",
    ),
    Rule(TooLarge, status=_only(413), hint="ask for less at once"),
    # healthysustainablecities/global-indicators #547
    Rule(
        CredentialsError,
        r"(not registered to use earth engine|not signed up for earth engine|project is not registered)",
        hint=f"register the project '{{project}}': {REGISTER}?project={{project}}",
    ),
    # qgis-earthengine-plugin #322, colabtools #4228
    Rule(
        CredentialsError,
        r"api has not been used in project (?P<api>\S+) before|service_disabled",
        hint="enable the API, then wait some minutes: "
        "https://console.cloud.google.com/apis/library/earthengine.googleapis.com?project={project}",
    ),
    # earthrise-media/mining-detector #14, nasaharvest/street2sat #51
    Rule(
        CredentialsError,
        r"does not have required permission to use project|earthengine\.computations\.create|user_project_denied",
        hint=f"choose a project of yours ({SET_PROJECT}), or ask its owner for the roles Service Usage Consumer and "
        "Earth Engine Resource Viewer: https://console.cloud.google.com/iam-admin/iam?project={project}",
    ),
    # qgis-earthengine-plugin #321, minikube #17959
    Rule(
        CredentialsError,
        r"project '?\S* ?\S*'? not found or deleted|has been suspended|no project found",
        hint=f"choose a registered project: {SET_PROJECT}; register one: {REGISTER}",
    ),
    # of the client: its description of the service was not found
    Rule(ConfigError, r"name: earthengine +version", hint="does M3LEO_PREP_EE_URL name an Earth Engine service?"),
    Rule(CredentialsError, r"invalid_grant|token has been expired or revoked", hint="log in again: {login}"),
    Rule(CredentialsError, status=_only(401), hint="log in again: {login}"),
    # gee-ccdc-tools #13, topo-satromo #101
    Rule(
        ConfigError,
        r"pattern '(?P<band>[^']*)' did not match any bands(\. available bands: \[(?P<bands>[^\]]*)\])?",
        hint="choose from: {bands}",
    ),
    Rule(
        ConfigError,
        r"asset '(?P<asset>[^']*)' not found|'earthengine\.assets\.get' denied on resource '(?P<asset2>[^']*)'",
        hint="check the id in the catalogue (https://developers.google.com/earth-engine/datasets); "
        "a private asset must be shared with your login",
    ),
    Rule(
        ConfigError,
        r"does not exist or caller does not have access",
        hint="check the id in the catalogue (https://developers.google.com/earth-engine/datasets); "
        "a private asset must be shared with your login",
    ),
    # hydro-engine #35; https://developers.google.com/earth-engine/guides/debugging ("internal server error")
    Rule(TransientError, r"internal (server )?error|capacity exceeded|currently unavailable|please try again"),
    Rule(TransientError, status=_only(500, 599)),
    Rule(TransientError, status=_only(408)),
    Rule(
        CredentialsError,
        status=_only(403),
        hint="see what the project and your login may do: "
        "https://console.cloud.google.com/iam-admin/iam?project={project}",
    ),
    Rule(SourceError, status=range(1, 400)),
    Rule(ConfigError, hint="change the layer's bands, filters or script"),
)
"""From the particular to the general; the first that fits counts. The last fits all."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt."""

    error: PrepError
    """What is raised if it is not repeated."""
    pause: float | None = None
    """Seconds that the service asks all to wait."""

    @property
    def is_refusal(self) -> bool:
        """Whether the request was one too many."""
        return isinstance(self.error, RateLimited)

    @property
    def may_pass(self) -> bool:
        """Whether the same request is worth another attempt."""
        return isinstance(self.error, TransientError)


def failure(error: BaseException, *, what: str, project: str, login: str, now: datetime) -> Failure:
    """Return what went wrong with a request, in our words and the service's.

    Args:
        error: what the client raised; not one of ours.
        what: what was asked for.
        project: the project that pays.
        login: the command that logs in.
        now: UTC.
    """
    answer = next(_answers(error), None)
    status = int(answer.status) if answer is not None else 0
    text = _said(error, status)
    pause = retry_after(answer, now) if answer is not None else None
    for rule in TABLE:
        found = re.search(rule.pattern, text, re.IGNORECASE)
        if status in rule.status and found:
            names = {key: value or "" for key, value in found.groupdict().items()}
            names |= {"project": project, "login": login}
            hint = "" if "{bands}" in rule.hint and not names["bands"] else rule.hint.format(**names)
            if rule.kind is QuotaReached:
                return Failure(QuotaReached(text, until=_renewed(text, now), hint=hint, where=what))
            said = _ADVICE.split(text)[0] if rule.kind is CredentialsError else text  # ours is in the hint
            return Failure(rule.kind(f"Earth Engine: {said}", hint=hint, where=what), pause)
    raise AssertionError  # the last rule fits all


def retry_after(answer: Mapping[str, str], now: datetime) -> float | None:
    """Return how many seconds an answer asks to wait, given as seconds or as a date (RFC 9110, 10.2.3); None if not."""
    given = answer.get("retry-after", "").strip()
    if not given:
        return None
    if given.isdigit():
        return float(given)
    try:
        until = _aware(parsedate_to_datetime(given))
        # Against the server's own clock where it tells it: ours may be wrong.
        here = _aware(parsedate_to_datetime(answer["date"])) if answer.get("date") else now
    except ValueError:
        return None
    return max(0.0, (until - here).total_seconds())


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _answers(error: BaseException | None) -> Iterator[Any]:
    """Yield the HTTP answers in an exception and in what it was raised from."""
    while error is not None:
        answer = getattr(error, "resp", None)
        if hasattr(answer, "status"):
            yield answer
        error = error.__cause__ or error.__context__


def _said(error: BaseException, status: int) -> str:
    """Return the server's text in one line; its status where it said nothing for people."""
    text = " ".join(str(getattr(error, "reason", "") or error).split())
    if status >= HTTPStatus.BAD_REQUEST and text in {"", "Ok"}:
        known = {s.value: s.phrase for s in HTTPStatus}
        return f"HTTP {status} {known.get(status, '')}".strip()
    return text


def _renewed(text: str, now: datetime) -> datetime | None:
    """Return when a quota is new, as far as its text tells: it names its period."""
    if "month" in text.lower():
        return (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if "daily" in text.lower() or "per day" in text.lower():
        # "the next day" (https://developers.google.com/earth-engine/guides/cost_controls): Cloud quotas of a day are
        # new at midnight in California, 7:00 or 8:00 UTC (https://cloud.google.com/docs/quotas/overview).
        morning = now.replace(hour=8, minute=0, second=0, microsecond=0)
        return morning if morning > now else morning + timedelta(days=1)
    return None

"""Errors as the real client raises them, with the texts of public threads and pages: what is made of each."""

from __future__ import annotations

import json
import pickle
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import ee
import pytest
from googleapiclient.errors import HttpError

from m3leo_prep.core.errors import (
    ConfigError,
    CredentialsError,
    PrepError,
    QuotaReached,
    RateLimited,
    TooLarge,
    TransientError,
)
from m3leo_prep.sources.gee.service.failures import TABLE, Failure, failure, retry_after

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PROJECT = "my-project"


class Answer(dict[str, str]):
    def __init__(self, status: int, headers: dict[str, str] | None = None, reason: str = "") -> None:
        super().__init__(headers or {})
        self.status, self.reason = status, reason


class Call:
    """A call of the client that is answered so."""

    def __init__(self, answer: Answer, body: bytes) -> None:
        self._answer, self._body = answer, body

    def execute(self, **_: Any) -> None:
        raise HttpError(self._answer, self._body, uri="https://earthengine.googleapis.com/v1/x")


def raised(status: int, message: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Exception:
    """Return what the client raises for an answer: its own translation, which hides the status."""
    given = json.dumps({"error": {"code": status, "message": message}}).encode() if body is None else body
    try:
        ee.data._execute_cloud_call(Call(Answer(status, headers), given), num_retries=0)
    except ee.EEException as error:
        return error
    raise AssertionError


def of(error: Exception) -> Failure:
    return failure(error, what="worldcover, 3 bands", project=PROJECT, login="LOG IN", now=NOW)


BANDS = "Image.select: Band pattern 'B99' did not match any bands. Available bands: [B1, B2, SCL]"
UNREGISTERED = (
    "Project my-project is not registered to use Earth Engine. Visit "
    "https://code.earthengine.google.com/register?project=my-project to register your project. "
    "See https://developers.google.com/earth-engine/guides/access for more details."
)
DISABLED = (
    "Google Earth Engine API has not been used in project my-project before or it is disabled. Enable it by visiting "
    "https://console.developers.google.com/apis/api/earthengine.googleapis.com/overview?project=my-project then retry."
)
DENIED = (
    "Caller does not have required permission to use project my-project. Grant the caller the "
    "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission"
)
DAILY = (
    "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time', which is adjustable "
    "by your administrator in the Google Cloud console: https://console.cloud.google.com/quotas/?project=_."
)
READS = (
    "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read requests per minute per user' "
    "of service 'earthengine.googleapis.com' for consumer 'project_number:599401802498'."
)
MISSING = "Image.load: Image asset 'projects/a/assets/b' not found (does not exist or caller does not have access)."
CASES = [
    (429, "Too Many Requests", RateLimited, ""),
    (429, READS, RateLimited, ""),
    (429, "Too many concurrent aggregations.", RateLimited, ""),
    (429, "", RateLimited, ""),
    (429, DAILY, QuotaReached, "quotas?project=my-project"),
    (400, DAILY, QuotaReached, "quotas?project=my-project"),
    (429, "Quota exceeded for quota metric 'Earth Engine compute unit seconds'", QuotaReached, "quotas"),
    (400, "Computation timed out.", TooLarge, "fewer images"),
    (400, "User memory limit exceeded.", TooLarge, "fewer images"),
    (400, "Total request size (56623104 bytes) must be less than or equal to 50331648 bytes.", TooLarge, ""),
    (400, "Pixel grid dimensions (40000x1) must be less than or equal to 32768.", TooLarge, ""),
    (400, "Request payload size exceeds the limit: 10485760 bytes.", TooLarge, ""),
    (413, "", TooLarge, ""),
    (500, "An internal error has occurred", TransientError, ""),
    (503, "The service is currently unavailable.", TransientError, ""),
    (502, "", TransientError, ""),
    (504, "", TransientError, ""),
    (400, "Internal error.", TransientError, ""),
    (403, UNREGISTERED, CredentialsError, "https://code.earthengine.google.com/register?project=my-project"),
    (403, "Not signed up for Earth Engine or project is not registered.", CredentialsError, "register?project="),
    (403, DISABLED, CredentialsError, "apis/library/earthengine.googleapis.com?project=my-project"),
    (403, DENIED, CredentialsError, "M3LEO_PREP_EE_PROJECT"),
    (403, "Forbidden", CredentialsError, "project=my-project"),
    (400, "Project 'projects/My Project' not found or deleted.", CredentialsError, "M3LEO_PREP_EE_PROJECT"),
    (401, "Request is missing required authentication credential.", CredentialsError, "LOG IN"),
    (400, BANDS, ConfigError, "choose from: B1, B2, SCL"),
    (400, "Image.select: Pattern 'x' did not match any bands.", ConfigError, ""),
    (404, MISSING, ConfigError, "shared with your login"),
    (400, MISSING, ConfigError, "shared with your login"),
    (403, "Permission 'earthengine.assets.get' denied on resource 'projects/a/b'", ConfigError, "shared"),
    (400, "Filter.eq: something is wrong", ConfigError, ""),
]


@pytest.mark.parametrize(("status", "text", "kind", "hint"), CASES)
def test_what_an_answer_means(status: int, text: str, kind: type[PrepError], hint: str) -> None:
    got = of(raised(status, text))
    assert type(got.error) is kind
    assert hint in got.error.hint
    assert got.error.where == "worldcover, 3 bands"
    said = re.split(" (?:Visit|Enable|Grant) ", text)[0]  # the hint tells better what to do
    assert said.rstrip(".") in got.error.message
    assert "Visit" not in got.error.message
    assert got.is_refusal == (kind is RateLimited)
    assert got.may_pass == (kind in {RateLimited, TransientError})
    assert "{" not in str(got.error)


@pytest.mark.parametrize(
    ("text", "kind"), [(t, k) for s, t, k, _ in CASES if (t and s not in {403, 401}) or "regist" in t]
)
def test_the_text_alone_tells_enough_where_the_status_is_lost(text: str, kind: type[PrepError]) -> None:
    assert type(of(ee.EEException(text)).error) is kind


def test_every_row_of_the_table_is_needed() -> None:
    """Each row decides at least one case; what no test reaches may as well be wrong."""
    import m3leo_prep.sources.gee.service.failures as module

    errors = [raised(status, text) for status, text, _, _ in CASES]
    errors += [ee.EEException(text) for _, text, _, _ in CASES]
    errors += [
        raised(404, "something (does not exist or caller does not have access)"),
        raised(408, ""),
        raised(429, "Resource has been exhausted (e.g. check quota)."),
        raised(304, ""),
        ee.EEException("invalid_grant: Token has been expired or revoked."),
        ee.EEException("name: earthengine  version: v1"),
        ee.EEException("Image.visualize: cannot be called so"),
    ]
    before = [_shape(of(error)) for error in errors]
    try:
        for row in TABLE[:-1]:
            module.TABLE = tuple(other for other in TABLE if other is not row)
            assert [_shape(of(error)) for error in errors] != before, row
    finally:
        module.TABLE = TABLE


def _shape(failed: Failure) -> tuple[type[PrepError], str]:
    return type(failed.error), failed.error.hint


def test_an_unknown_band_is_told_with_those_there_are() -> None:
    told = str(of(raised(400, BANDS)).error)
    assert "B99" in told
    assert "B1, B2, SCL" in told


def test_an_answer_without_words_is_told_by_its_status() -> None:
    assert "HTTP 502 Bad Gateway" in of(raised(502, "", body=b"<html>oops</html>")).error.message
    assert "oops" not in str(of(raised(502, "", body=b"<html>oops</html>")).error)


@pytest.mark.parametrize(
    ("text", "until"),
    [
        (DAILY, datetime(2026, 11, 24, 8, tzinfo=UTC)),
        ("EECU quota of this month is used up", datetime(2026, 12, 1, tzinfo=UTC)),
        ("EECU quota is used up", None),
    ],
)
def test_when_a_quota_is_new(text: str, until: datetime | None) -> None:
    error = of(raised(429, text)).error
    assert isinstance(error, QuotaReached)
    assert error.until == until
    again = pickle.loads(pickle.dumps(error))
    assert (again.until, again.hint) == (error.until, error.hint)


def test_a_month_after_december_is_january() -> None:
    late = datetime(2026, 12, 31, 23, tzinfo=UTC)
    error = failure(raised(429, "monthly EECU quota"), what="", project="p", login="", now=late).error
    assert isinstance(error, QuotaReached)
    assert error.until == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_day_before_its_morning_ends_that_morning() -> None:
    early = datetime(2026, 11, 23, 3, tzinfo=UTC)
    error = failure(raised(429, DAILY), what="", project="p", login="", now=early).error
    assert isinstance(error, QuotaReached)
    assert error.until == datetime(2026, 11, 23, 8, tzinfo=UTC)


def test_a_pause_is_told_in_seconds_or_as_a_date() -> None:
    date = format_datetime(datetime(2026, 11, 23, 12, 0, 3, tzinfo=UTC), usegmt=True)
    assert retry_after({"retry-after": "3"}, NOW) == 3.0
    assert retry_after({"retry-after": date}, NOW) == 3.0
    # The server's clock is two hours ahead of ours; what counts is the difference on its own.
    ahead = format_datetime(datetime(2026, 11, 23, 14, 0, 0, tzinfo=UTC), usegmt=True)
    then = format_datetime(datetime(2026, 11, 23, 14, 0, 5, tzinfo=UTC), usegmt=True)
    assert retry_after({"retry-after": then, "date": ahead}, NOW) == 5.0
    assert retry_after({"retry-after": ahead, "date": then}, NOW) == 0.0
    assert retry_after({}, NOW) is None
    assert retry_after({"retry-after": "soon"}, NOW) is None
    assert retry_after({"retry-after": "-3"}, NOW) is None
    assert of(raised(429, "Too Many Requests", {"retry-after": "3"})).pause == 3.0
    assert of(raised(503, "", {"retry-after": "4"})).pause == 4.0

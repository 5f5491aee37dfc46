"""HyP3: jobs that are asked for, paid in credits, looked at until done, and fetched.

https://hyp3-api.asf.alaska.edu/ui/; the addresses are those that hyp3_sdk 7.7 asks for.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from m3leo_prep.testing.answers import Answer, file_part, to_json
from m3leo_prep.testing.earthdata import login
from m3leo_prep.testing.earthdata.calls import Call, refused
from m3leo_prep.testing.earthdata.data import storage_error
from m3leo_prep.testing.earthdata.holdings import Job

DAYS = 14
"""Until a product is gone: https://hyp3-docs.asf.alaska.edu/using/downloading/."""
PAGE = 100
"""Jobs that one listing tells at most."""
MOST = 200
"""Jobs that may be asked for at once."""
COSTS: tuple[dict[str, Any], ...] = (
    {
        "job_type": "RTC_GAMMA",
        "cost_parameter": "resolution",
        "cost_table": [
            {"parameter_value": 10, "cost": 60.0},
            {"parameter_value": 20, "cost": 15.0},
            {"parameter_value": 30, "cost": 5.0},
        ],
    },
    {
        "job_type": "INSAR_GAMMA",
        "cost_parameter": "looks",
        "cost_table": [{"parameter_value": "20x4", "cost": 10.0}, {"parameter_value": "10x2", "cost": 15.0}],
    },
    {"job_type": "INSAR_ISCE_BURST", "cost": 1.0},
    {"job_type": "INSAR_ISCE_MULTI_BURST", "cost": 1.0},
    {"job_type": "ARIA_S1_GUNW", "cost": 60.0},
    {"job_type": "OPERA_RTC_S1", "cost": 1.0},
)
"""Form: ASFHyP3/hyp3, ``lib/dynamo/dynamo/jobs.py``; amounts: https://hyp3-docs.asf.alaska.edu/using/credits/."""
_DEFAULTS = {"RTC_GAMMA": {"resolution": 30}, "INSAR_GAMMA": {"looks": "20x4"}, "INSAR_ISCE_BURST": {"looks": "20x4"}}
"""Parameters that HyP3 fills in."""


def user(call: Call) -> Answer:
    """Return who asks and what credits they have."""
    if not _known(call):
        return _stranger()
    left = call.held.credits
    told = {"user_id": call.held.user, "application_status": "APPROVED", "remaining_credits": left}
    return to_json(told | {"credits_per_month": left, "job_names": sorted({j.name for j in call.held.jobs if j.name})})


def costs(call: Call) -> Answer:
    """Return what each kind of job costs."""
    del call
    return to_json(list(COSTS))


def submit(call: Call) -> Answer:
    """Take jobs, all or none, if the credits last."""
    if not _known(call):
        return _stranger()
    given = call.json()
    asked = given.get("jobs", [])
    if not 1 <= len(asked) <= MOST:
        return refused(400, f"'jobs' must have between 1 and {MOST} jobs")
    kinds = [cost["job_type"] for cost in COSTS]
    unknown = [one["job_type"] for one in asked if one["job_type"] not in kinds]
    if unknown:
        return refused(400, f"{unknown[0]!r} is not one of {kinds}")
    with call.held.lock:
        made = [_made(one) for one in asked]
        price, left = sum(job.cost for job in made), call.held.credits
        if left is not None and price > left:
            return refused(400, f"These jobs would cost {price} credits, but you have only {left} remaining.")
        if not given.get("validate_only", False):
            call.held.jobs += made
            call.held.credits = None if left is None else left - price
    return to_json({"jobs": [told(call, job) for job in made]})


def jobs(call: Call) -> Answer:
    """Return one's jobs, newest first, a page at a time."""
    if not _known(call):
        return _stranger()
    found = call.held.jobs[::-1]
    for key, of in (("name", "name"), ("job_type", "job_type"), ("status_code", "status_code")):
        wanted = call.one(key)
        found = [job for job in found if not wanted or told(call, job).get(of) == wanted]
    start = int(call.one("start_token", "0"))
    page: dict[str, Any] = {"jobs": [told(call, job) for job in found[start : start + PAGE]]}
    if start + PAGE < len(found):
        kept = "".join(f"&{key}={call.one(key)}" for key in ("name", "job_type", "status_code") if call.one(key))
        page["next"] = f"{call.base}/jobs?start_token={start + PAGE}{kept}"
    return to_json(page)


def job(call: Call) -> Answer:
    """Return a job; each look brings it on."""
    if not _known(call):
        return _stranger()
    found = call.held.job(call.parts["id"])
    if found is None:
        return refused(404, f"job_id does not exist: {call.parts['id']}")
    with call.held.lock:
        found.looks += 1
        if _status(call, found) == "SUCCEEDED" and found.file is None and call.held.makes is not None:
            found.file = call.held.makes(found)
    return to_json(told(call, found))


def product(call: Call) -> Answer:
    """Return what a job made; its address is public, and gone with the product."""
    found = call.held.job(call.parts["id"])
    if found is None or found.file is None or found.expired or found.file.name != call.parts["name"]:
        return storage_error(403, "AccessDenied", "Access Denied")
    return file_part(found.file, call.request.range, {"ETag": f'"{call.held.signature(str(found.file))[:32]}"'})


def told(call: Call, one: Job) -> dict[str, Any]:
    """Return a job as HyP3 tells of it."""
    now = datetime.now(UTC)
    state = _status(call, one)
    answer: dict[str, Any] = {
        "job_id": one.id,
        "job_type": one.type,
        "job_parameters": dict(one.parameters),
        "request_time": f"{now:%Y-%m-%dT%H:%M:%S+00:00}",
        "status_code": state,
        "user_id": call.held.user,
        "credit_cost": one.cost,
        "priority": 8000,
    }
    if one.name:
        answer["name"] = one.name
    if state == "SUCCEEDED":
        ends = now + timedelta(days=-1 if one.expired else DAYS)
        answer["expiration_time"] = f"{ends:%Y-%m-%dT%H:%M:%S+00:00}"
        answer["files"] = []
        if one.file is not None:
            url = f"{call.signed}/product/{one.id}/{one.file.name}"
            answer["files"] = [{"filename": one.file.name, "size": one.file.stat().st_size, "url": url}]
    return answer


def _status(call: Call, one: Job) -> str:
    if one.looks >= call.held.looks:
        return "FAILED" if one.fails else "SUCCEEDED"
    return "RUNNING" if one.looks else "PENDING"


def _made(asked: dict[str, Any]) -> Job:
    kind = asked["job_type"]
    parameters = _DEFAULTS.get(kind, {}) | asked.get("job_parameters", {})
    price = next(cost for cost in COSTS if cost["job_type"] == kind)
    cost = price.get("cost")
    if cost is None:
        chosen = parameters[price["cost_parameter"]]
        cost = next(row["cost"] for row in price["cost_table"] if row["parameter_value"] == chosen)
    return Job(str(uuid.uuid4()), kind, parameters, asked.get("name"), cost)


def _known(call: Call) -> bool:
    return login.knows(call) or login.has_cookie(call)


def _stranger() -> Answer:
    return refused(401, "No authorization token provided")

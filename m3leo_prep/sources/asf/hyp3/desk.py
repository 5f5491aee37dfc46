"""Ordering jobs, following them, and keeping what they made: the only place that spends credits.

What is known lies at the provider, where jobs are found by their names, and in one folder here, which all processes of
an account should share:

NAME/               the rasters of a product, whole; never removed by us
NAME.json           when it was ordered and, once known, under which number
NAME.lost           why there will be no product: a line for people
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from m3leo_prep.core.errors import CorruptError, CredentialsError, NoData, SourceError, StoreError, TriedOut
from m3leo_prep.ports.ordering import Orders
from m3leo_prep.sources.asf.hyp3.archive import unpack
from m3leo_prep.sources.asf.hyp3.client import MOST_AT_ONCE, Client, InDoubt, Placed, Refusal, quota
from m3leo_prep.sources.asf.hyp3.jobs import Job

FOLDER = "M3LEO_PREP_ORDERS"
REORDER = "M3LEO_PREP_REORDER"
SETTLE_SECONDS = 10.0
"""Until HyP3 lists what was just ordered: its lists are eventually consistent (an index of DynamoDB)."""
LOOK_SECONDS = 0.5
SUBMISSIONS = 3
"""Tries of a submission that is not answered."""
FETCHED_AT_ONCE = 4
SUFFIXES = (
    "VV", "VH", "HH", "HV", "ls_map", "inc_map",
    "unw_phase", "wrapped_phase", "corr", "conncomp", "lv_theta", "lv_phi",
)  # fmt: skip
"""Rasters that are kept of a product."""
_AGAIN = f"{REORDER}=1 before the build orders it again, for new credits"


def folder() -> Path:
    """Return where orders and their products lie."""
    given = os.environ.get(FOLDER, "")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "m3leo-prep" / "orders"


def product(job: Job) -> Path:
    """Return the folder with a job's rasters.

    Raises:
        CorruptError: HyP3 could not make it, or what it made is damaged.
        TriedOut: it is not here, and may come.
    """
    here = folder() / job.name
    if here.is_dir():
        return here
    lost = _lost(job)
    if lost:
        raise CorruptError(lost, where=f"HyP3, {job.what}", hint=_AGAIN)
    raise TriedOut(
        "it was not ordered, is not made yet, or could not be fetched",
        where=f"HyP3, {job.what}",
        hint="build again: it goes on where it stopped",
    )


def order(jobs: Sequence[Job]) -> int:
    """Order what is neither here nor known at the provider; return how many were ordered.

    What failed or has expired is ordered again only where ``M3LEO_PREP_REORDER=1`` says so. Returns when the provider
    lists all of it, so that whoever looks next finds it.

    Raises:
        QuotaReached: the credits do not last for all; those in front were ordered.
        CredentialsError, SourceError: nobody is let in, or no answer.
    """
    away = [job for job in _once(jobs) if not (folder() / job.name).is_dir()]
    if not away:
        return 0
    with _alone():
        for job in away:
            _file(job, "lost").unlink(missing_ok=True)
        client = Client()
        known = _settled(client, away)
        wanted = [job for job in away if job.name not in known or (_is_lost(known[job.name]) and _again())]
        fit = _affordable(client, wanted)
        placed = _submit(client, fit) if fit else 0
    if len(fit) < len(wanted):
        beyond = sum(job.credits for job in wanted[len(fit) :])
        raise quota(f"{len(wanted) - len(fit):,} jobs of {beyond:,g} credits are more than the account has left")
    return placed


def watch(jobs: Mapping[str, Job]) -> Orders:
    """Ask how far jobs are, ordered or not, each given by the item that it is for; fetch what is made.

    Raises:
        CredentialsError, SourceError, StoreError: no answer, or a product could not be fetched; what could was.
    """
    every = _once(jobs.values())
    away = [job for job in every if not (folder() / job.name).is_dir()]
    lost = [job for job in away if _lost(job)]
    asked = [job for job in away if job not in lost]
    if not asked:
        return _told(jobs, lost, {})
    client = Client()
    seen = _states(client, asked)
    made = [(job, seen[job]) for job in asked if job in seen and seen[job].state == "SUCCEEDED"]
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        ends = list(pool.map(lambda pair: _fetched(*pair), made))
    trouble = [error for error in ends if error is not None]
    for job in asked:
        if job in seen and seen[job].state == "FAILED":
            _lose(job, f"HyP3 could not make it (job {seen[job].id})")
    if trouble:
        raise next((one for one in trouble if isinstance(one, StoreError)), trouble[0])
    return _told(jobs, [job for job in away if _lost(job)], seen)


def to_pay(jobs: Sequence[Job]) -> float:
    """Return the credits of what an order would place; one look at the provider's list.

    Raises:
        CredentialsError, SourceError: nobody is let in, or no answer.
    """
    away = [job for job in _once(jobs) if not (folder() / job.name).is_dir()]
    if not away:
        return 0.0
    known = _listed(Client(), away)
    wanted = [job for job in away if job.name not in known or (_is_lost(known[job.name]) and _again())]
    return sum(job.credits for job in wanted)


def _told(jobs: Mapping[str, Job], lost: Sequence[Job], seen: Mapping[Job, Placed]) -> Orders:
    every = _once(jobs.values())
    away = [job for job in every if not (folder() / job.name).is_dir() and job not in lost]
    states = [seen[job].state for job in away if job in seen]
    return Orders(
        waiting=states.count("PENDING"),
        running=len(states) - states.count("PENDING"),
        done=len(every) - len(away) - len(lost),
        failed=tuple(f"{job.what}: {_lost(job)}" for job in lost),
        absent=frozenset(item for item, job in jobs.items() if job in away and job not in seen),
    )


# -- submitting --------------------------------------------------------------------------------------------------


def _alone() -> _Lock:
    """Return a context in which no other process of this folder orders."""
    return _Lock(folder() / "ordering.lock")


class _Lock:
    """A lock file; the system frees it when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        from filelock import FileLock

        _make(path.parent)
        self._lock = FileLock(path)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _settled(client: Client, jobs: Sequence[Job]) -> dict[str, Placed]:
    """Return the jobs that the provider lists, by name, once it lists what somebody may have ordered just now.

    A process that was killed between the request and its answer leaves a note without a number; for as long as the
    provider may not list what it ordered, nothing is ordered.
    """
    noted = {job.name: _note(job) for job in jobs}
    while True:
        known = _listed(client, jobs)
        now = datetime.now(UTC).timestamp()
        ages = [now - note["at"] for name, note in noted.items() if note and name not in known]
        if all(age > SETTLE_SECONDS for age in ages):
            return known
        time.sleep(LOOK_SECONDS)


def _affordable(client: Client, wanted: Sequence[Job]) -> list[Job]:
    """Return the first of the jobs, as far as the credits last."""
    left = client.credits() if wanted else None
    fit: list[Job] = []
    for job in wanted:
        if left is not None:
            if job.credits > left:
                break
            left -= job.credits
        fit.append(job)
    return fit


def _submit(client: Client, jobs: Sequence[Job]) -> int:
    """Order the jobs and return how many were taken; those that HyP3 refuses are noted as lost."""
    placed = 0
    for start in range(0, len(jobs), MOST_AT_ONCE):
        placed += _submit_some(client, jobs[start : start + MOST_AT_ONCE])
    return placed


def _submit_some(client: Client, jobs: Sequence[Job]) -> int:
    before = {one.id for one in _listed(client, jobs).values()}
    for attempt in range(1, SUBMISSIONS + 1):
        for job in jobs:
            _write(_file(job, "json"), json.dumps({"at": datetime.now(UTC).timestamp(), "id": "", "what": job.what}))
        try:
            client.submit(jobs)
        except Refusal as error:
            for job in jobs:
                _file(job, "json").unlink(missing_ok=True)
            if len(jobs) == 1:
                _lose(jobs[0], f"HyP3 does not take it: {error.message}")
                return 0
            middle = len(jobs) // 2  # one of them spoils the others
            return _submit_some(client, jobs[:middle]) + _submit_some(client, jobs[middle:])
        except InDoubt as error:
            if _appear(client, jobs, before):
                return len(jobs)
            if attempt == SUBMISSIONS:
                raise TriedOut(error.message, where=error.where, hint=error.hint) from error
            continue
        if not _appear(client, jobs, before):
            raise TriedOut("what was ordered is not listed", where="HyP3", hint="build again in a minute")
        break
    return len(jobs)


def _appear(client: Client, jobs: Sequence[Job], before: Collection[str]) -> bool:
    """Return whether all jobs come to be listed, under other numbers than before."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        known = _listed(client, jobs)
        if all(job.name in known and known[job.name].id not in before for job in jobs):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_SECONDS)


# -- following ---------------------------------------------------------------------------------------------------


def _listed(client: Client, jobs: Sequence[Job]) -> dict[str, Placed]:
    """Return what the provider lists of some jobs, by name; their numbers are noted here."""
    found: dict[str, Placed] = {}
    for kind in dict.fromkeys(job.kind for job in jobs):
        found |= client.placed(kind)
    for job in jobs:
        known = found.get(job.name)
        if known is not None and _note(job).get("id") != known.id:
            _write(_file(job, "json"), json.dumps({"at": 0.0, "id": known.id, "what": job.what}))
    return {job.name: found[job.name] for job in jobs if job.name in found}


def _states(client: Client, jobs: Sequence[Job]) -> dict[Job, Placed]:
    """Return how far jobs are; those that nobody ordered are not among them."""
    if not all(_note(job).get("id") for job in jobs):
        _listed(client, jobs)
    ids = {job: _note(job).get("id", "") for job in jobs}
    return {job: client.look(number) for job, number in ids.items() if number}


def _fetched(job: Job, placed: Placed) -> SourceError | StoreError | None:
    """Fetch a product and unpack it; return what went wrong and may pass."""
    from m3leo_prep.sources.asf.service.earthdata import login
    from m3leo_prep.sources.http.download import download

    if placed.expired or not placed.url:
        when = f" on {placed.expires:%Y-%m-%d}" if placed.expires else ""
        _lose(job, f"its product has expired{when}, 14 days after it was made, before it was fetched (job {placed.id})")
        return None
    archive = folder() / f"{job.name}.zip"
    try:
        with _Lock(folder() / f"{job.name}.lock"):
            if not (folder() / job.name).is_dir():
                where = f"HyP3, {job.what}"
                download(placed.url, archive, auth=login(), size=placed.size, magic=(b"PK\x03\x04",), where=where)
                unpack(archive, folder() / job.name, SUFFIXES)
    except CorruptError as error:
        _lose(job, f"its product is damaged: {error.message}")
    except (NoData, CredentialsError) as error:  # object stores say "access denied" of what is not there any more
        _lose(job, f"its product cannot be had (job {placed.id}): {error.message}")
    except (SourceError, StoreError) as error:
        return error
    archive.unlink(missing_ok=True)
    return None


# -- notes -------------------------------------------------------------------------------------------------------


def _once(jobs: Iterable[Job]) -> list[Job]:
    return list({job.name: job for job in jobs}.values())


def _is_lost(placed: Placed) -> bool:
    return placed.state == "FAILED" or (placed.state == "SUCCEEDED" and placed.expired)


def _again() -> bool:
    return os.environ.get(REORDER, "") not in {"", "0"}


def _file(job: Job, kind: str) -> Path:
    return folder() / f"{job.name}.{kind}"


def _note(job: Job) -> dict[str, Any]:
    try:
        return dict(json.loads(_file(job, "json").read_text(encoding="utf-8")))
    except (OSError, ValueError):  # none, or the disk was full: the provider's list tells, too
        return {}


def _lost(job: Job) -> str:
    try:
        return _file(job, "lost").read_text(encoding="utf-8")
    except OSError:
        return ""


def _lose(job: Job, why: str) -> None:
    _write(_file(job, "lost"), why)


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(error, path) from error


def _write(path: Path, text: str) -> None:
    """Write a small file, whole, before anything is asked for that it is to remember."""
    _make(path.parent)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise _unwritable(error, path) from error


def _unwritable(error: OSError, path: Path) -> StoreError:
    return StoreError(
        f"orders cannot be noted: {error.strerror}", where=str(path), hint=f"name another folder in {FOLDER}"
    )

"""Ordering jobs: the only place that spends credits.

A job is ordered where neither its product lies here, nor HyP3 lists a job of its name, nor knows the number under
which it was ordered from here. What a killed process or a lost answer leaves in doubt is waited for before that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from m3leo_prep.core.errors import CredentialsError, QuotaReached, SourceError, TriedOut
from m3leo_prep.sources.asf.hyp3 import shelf
from m3leo_prep.sources.asf.hyp3.client import MOST_AT_ONCE, Client, InDoubt, Placed, Refusal, quota
from m3leo_prep.sources.asf.hyp3.jobs import Job

SETTLE_SECONDS = 40.0
"""Until HyP3 surely lists what it was asked for: its function may run for 30 s after the connection is lost
(ASFHyP3/hyp3@0973e6d, ``apps/api/api-cf.yml.j2``), and its lists are eventually consistent (an index of DynamoDB)."""
LOOK_SECONDS = 1.0
SUBMISSIONS = 3
"""Tries of a submission that is not answered."""


def order(jobs: Sequence[Job]) -> int:
    """Order what is neither here nor known at the provider; return how many were ordered.

    What failed or has expired is ordered again only where ``M3LEO_PREP_REORDER=1`` says so, and only once it was told
    that it is lost. Returns when the provider lists all of it, so that whoever looks next finds it.

    Raises:
        QuotaReached: the credits do not last for all; those in front were ordered.
        CredentialsError, SourceError: nobody is let in, no answer, or other prices than ours.
    """
    away = missing(jobs)
    if not away:
        return 0
    with shelf.alone("ordering"):
        client = Client()
        known = _settled(client, away)
        wanted = [job for job in away if _is_wanted(job, known)]
        for job in away:
            if job in wanted or not known[job.name].is_lost:
                shelf.hope(job)
        fit = _affordable(client, wanted)
        gone = {one.id for one in known.values()}
        placed = sum(_submit(client, fit[n : n + MOST_AT_ONCE], gone) for n in range(0, len(fit), MOST_AT_ONCE))
    if len(fit) < len(wanted):
        beyond = sum(job.credits for job in wanted[len(fit) :])
        raise quota(f"{len(wanted) - len(fit):,} jobs of {beyond:,g} credits are more than the account has left")
    return placed


def to_pay(jobs: Sequence[Job]) -> float:
    """Return the credits of what an order would place; it looks at the provider's list and writes nothing.

    Raises:
        CredentialsError, SourceError: nobody is let in, or no answer.
    """
    away = missing(jobs)
    known = placed_already(Client(), away) if away else {}
    return sum(job.credits for job in away if _is_wanted(job, known))


def missing(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs whose products do not lie here, each once."""
    return [job for job in {job.name: job for job in jobs}.values() if not shelf.is_here(job)]


def placed_already(client: Client, jobs: Sequence[Job]) -> dict[str, Placed]:
    """Return what the provider knows of some jobs, by name: what it lists, and what it has under a number noted here.

    The number serves where the list does not tell, such as of a job that another account ordered.
    """
    found: dict[str, Placed] = {}
    for kind in dict.fromkeys(job.kind for job in jobs):
        found |= client.placed(kind)
    known = {job.name: found[job.name] for job in jobs if job.name in found}
    for job in jobs:
        number = shelf.number(job)
        if job.name not in known and number and (seen := client.look(number)) is not None:
            known[job.name] = seen
    return known


def note_numbers(jobs: Sequence[Job], known: Mapping[str, Placed]) -> None:
    """Note under which numbers jobs are known."""
    for job in jobs:
        if job.name in known and shelf.number(job) != known[job.name].id:
            shelf.note(job, known[job.name].id)


def _is_wanted(job: Job, known: Mapping[str, Placed]) -> bool:
    """Return whether a job is to be paid for: nobody has, or it is lost, was told to be, and is asked for again."""
    if job.name not in known:
        return True
    return known[job.name].is_lost and shelf.lost(job) != "" and os.environ.get(shelf.REORDER, "") not in {"", "0"}


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


def _settled(client: Client, jobs: Sequence[Job]) -> dict[str, Placed]:
    """Return what the provider knows of some jobs, by name, once nothing is in doubt.

    A process that was killed between a request and its answer leaves a note without a number: for as long as the
    provider may come to list what it ordered, nothing is ordered. No clock is compared with another one.
    """
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        known = placed_already(client, jobs)
        doubtful = any(shelf.is_noted(job) and not shelf.number(job) and job.name not in known for job in jobs)
        if not doubtful or time.monotonic() > end:
            note_numbers(jobs, known)
            return known
        time.sleep(LOOK_SECONDS)


def _submit(client: Client, jobs: Sequence[Job], gone: Collection[str]) -> int:
    """Order some jobs and return how many were taken; those that HyP3 refuses are noted as lost.

    Args:
        client: of the account that pays.
        jobs: at most ``MOST_AT_ONCE``.
        gone: numbers of what was ordered before, and is lost.
    """
    rest = list(jobs)
    for attempt in range(1, SUBMISSIONS + 1):
        try:
            _place(client, rest)
        except Refusal as error:
            taken = len(jobs) - len(rest)
            if len(rest) == 1:
                shelf.forget(rest[0])
                shelf.lose(rest[0], f"HyP3 does not take it: {error.message}")
                return taken
            middle = len(rest) // 2  # one of them spoils the others
            return taken + _submit(client, rest[:middle], gone) + _submit(client, rest[middle:], gone)
        except InDoubt as error:
            rest = _unlisted(client, rest, gone)
            if rest and attempt == SUBMISSIONS:
                raise TriedOut(error.message, where=error.where, hint=error.hint) from error
        else:
            _unlisted(client, rest, gone)
            rest = []
        if not rest:
            break
    return len(jobs)


def _place(client: Client, jobs: Sequence[Job]) -> None:
    """Order jobs at our price or not at all, with notes that outlast whatever happens meanwhile."""
    price, ours = client.price(jobs), sum(job.credits for job in jobs)
    if price > ours:
        raise SourceError(
            f"HyP3 asks for {price:,g} credits, not {ours:,g}, for {len(jobs):,} jobs: these were not ordered",
            where="HyP3",
            hint="its prices have changed: update m3leo-prep, so that plans and budgets are right",
        )
    for job in jobs:
        shelf.note(job)
    try:
        numbers = client.submit(jobs)
    except (Refusal, QuotaReached, CredentialsError):
        for job in jobs:
            shelf.forget(job)
        raise
    for job in jobs:
        if job.name in numbers:
            shelf.note(job, numbers[job.name])


def _unlisted(client: Client, jobs: Sequence[Job], gone: Collection[str]) -> list[Job]:
    """Return the jobs that do not come to be listed under other numbers than those of before."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        known = {name: one for name, one in placed_already(client, jobs).items() if one.id not in gone}
        note_numbers(jobs, known)
        rest = [job for job in jobs if job.name not in known]
        if not rest or time.monotonic() > end:
            return rest
        time.sleep(LOOK_SECONDS)

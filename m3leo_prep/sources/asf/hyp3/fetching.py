"""Following jobs and fetching what they made: it costs no credits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from m3leo_prep.core.errors import CorruptError, CredentialsError, NoData, PrepError, SourceError, StoreError, TriedOut
from m3leo_prep.ports.ordering import Orders
from m3leo_prep.sources.asf.hyp3 import shelf
from m3leo_prep.sources.asf.hyp3.archive import unpack
from m3leo_prep.sources.asf.hyp3.client import Client, Placed
from m3leo_prep.sources.asf.hyp3.desk import missing, note_numbers, placed_already
from m3leo_prep.sources.asf.hyp3.jobs import Job

FETCHED_AT_ONCE = 4
FETCHES = 2
"""Of an archive that comes damaged, before the damage counts as HyP3's."""
SUFFIXES = (
    "VV", "VH", "HH", "HV", "ls_map", "inc_map",
    "unw_phase", "wrapped_phase", "corr", "conncomp", "lv_theta", "lv_phi",
)  # fmt: skip
"""Rasters that are kept of a product."""


def watch(jobs: Mapping[str, Job]) -> Orders:
    """Ask how far jobs are, ordered or not, each given by the item that it is for; fetch what is made.

    Raises:
        CredentialsError: the login holds no more.
        SourceError: no answer; or all is made, and some of it could not be fetched.
        StoreError: the disk is full.
    """
    asked = [job for job in missing(jobs.values()) if not shelf.lost(job)]
    if not asked:
        return _told(jobs, {})
    client = Client()
    seen = _states(client, asked)
    for job, placed in seen.items():
        if placed.state == "FAILED":
            shelf.lose(job, f"HyP3 could not make it (job {placed.id})")
    made = [(job, placed) for job, placed in seen.items() if placed.state == "SUCCEEDED"]
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        trouble = [error for error in pool.map(lambda pair: _fetched(*pair), made) if error is not None]
    told = _told(jobs, seen)
    for error in sorted(trouble, key=lambda one: isinstance(one, SourceError)):
        # One product that does not come ends no wait for others that are still being made.
        if not isinstance(error, SourceError) or told.open == len(trouble):
            raise error
    return told


def _told(jobs: Mapping[str, Job], seen: Mapping[Job, Placed]) -> Orders:
    away = missing(jobs.values())
    lost = [job for job in away if shelf.lost(job)]
    states = [seen[job].state for job in away if job in seen and job not in lost]
    return Orders(
        waiting=states.count("PENDING"),
        running=len(states) - states.count("PENDING"),
        done=len({job.name for job in jobs.values()}) - len(away),
        failed=tuple(f"{job.what}: {shelf.lost(job)}" for job in lost),
        absent=frozenset(item for item, job in jobs.items() if job in away and job not in seen and job not in lost),
    )


def _states(client: Client, jobs: Sequence[Job]) -> dict[Job, Placed]:
    """Return how far jobs are; those that nobody ordered are not among them."""
    unknown = [job for job in jobs if not shelf.number(job)]
    if unknown:
        note_numbers(unknown, placed_already(client, unknown))
    seen = {job: client.look(number) for job in jobs if (number := shelf.number(job))}
    return {job: placed for job, placed in seen.items() if placed is not None}


def _fetched(job: Job, placed: Placed) -> PrepError | None:
    """Fetch a product and unpack it; return what went wrong and may pass.

    A product counts as gone only where its time is over, as HyP3 told it, and its store does not give it any more: a
    wrong clock, a login that has expired or a server in trouble loses nothing that was paid for.
    """
    try:
        with shelf.alone(job.name):
            if not shelf.is_here(job):
                _fetch(job, placed)
    except CorruptError as error:
        shelf.lose(job, f"its product is damaged (job {placed.id}): {error.message}")
    except (NoData, CredentialsError) as error:  # object stores say "access denied" of what is not there any more
        if not placed.expired:
            return TriedOut(f"what job {placed.id} made cannot be had now: {error.message}", where=f"HyP3, {job.what}")
        when = f"{placed.expires:%Y-%m-%d}"
        shelf.lose(job, f"its product has expired on {when}, before it was fetched (job {placed.id})")
    except (SourceError, StoreError) as error:
        return error
    return None


def _fetch(job: Job, placed: Placed) -> None:
    from m3leo_prep.sources.asf.service.earthdata import login
    from m3leo_prep.sources.http.download import download

    where = f"HyP3, {job.what}"
    if not placed.url:
        raise NoData("HyP3 tells no address of it", where=where)
    archive = shelf.folder() / f"{job.name}.zip"
    for last in [False] * (FETCHES - 1) + [True]:
        download(placed.url, archive, auth=login(), size=placed.size, magic=(b"PK\x03\x04",), where=where)
        try:
            unpack(archive, shelf.place(job), SUFFIXES)
        except CorruptError:
            if last:
                raise
        else:
            return
        finally:
            archive.unlink(missing_ok=True)

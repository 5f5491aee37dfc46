"""What lies here of ordered products: one folder, which all processes of an account should share.

NAME/               the rasters of a product, whole; never removed by us
NAME.json           what was ordered and, once HyP3 has told it, under which number
NAME.lost           why there will be no product: a line for people
*.lock              who orders, and who fetches a product
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from m3leo_prep.core.errors import CorruptError, StoreError, TriedOut
from m3leo_prep.sources.asf.hyp3.jobs import Job

FOLDER = "M3LEO_PREP_ORDERS"
REORDER = "M3LEO_PREP_REORDER"
_AGAIN = f"with {REORDER}=1, a build into a new folder orders it again, for new credits"


def folder() -> Path:
    """Return where orders and their products lie."""
    given = os.environ.get(FOLDER, "")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "m3leo-prep" / "orders"


def place(job: Job) -> Path:
    """Return the folder of a job's rasters, which is there once all of them are."""
    return folder() / job.name


def is_here(job: Job) -> bool:
    """Return whether a job's product lies here."""
    return place(job).is_dir()


def product(job: Job) -> Path:
    """Return the folder with a job's rasters.

    Raises:
        CorruptError: HyP3 could not make it, or what it made is damaged or gone.
        TriedOut: it is not here, and may come.
    """
    if is_here(job):
        return place(job)
    why = lost(job)
    if why:
        raise CorruptError(why, where=f"HyP3, {job.what}", hint=_AGAIN)
    raise TriedOut(
        "it was not ordered, is not made yet, or could not be fetched",
        where=f"HyP3, {job.what}",
        hint="build again: it goes on where it stopped",
    )


# -- notes -------------------------------------------------------------------------------------------------------


def is_noted(job: Job) -> bool:
    """Return whether a job was ordered from here, or may have been."""
    return _file(job, "json").exists()


def number(job: Job) -> str:
    """Return the number of a job at HyP3; nothing if it is not known here."""
    try:
        return str(json.loads(_file(job, "json").read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or the disk was full: the provider's list tells, too
        return ""


def note(job: Job, number: str = "") -> None:
    """Note that a job is being ordered, or under which number it is known."""
    _write(_file(job, "json"), json.dumps({"id": number, "what": job.what}))


def forget(job: Job) -> None:
    """Note that a job was not ordered after all."""
    _file(job, "json").unlink(missing_ok=True)


def lost(job: Job) -> str:
    """Return why there will be no product of a job; nothing if there may be one."""
    try:
        return _file(job, "lost").read_text(encoding="utf-8")
    except OSError:
        return ""


def lose(job: Job, why: str) -> None:
    """Note that there will be no product of a job."""
    _write(_file(job, "lost"), why)


def hope(job: Job) -> None:
    """Take back that there will be no product of a job: the provider is asked anew."""
    _file(job, "lost").unlink(missing_ok=True)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """A context that one thread of one process is in; the system frees it when the process ends, however it ends.

    Raises:
        StoreError: the folder cannot be written, or its file system cannot lock files.
    """
    from filelock import FileLock

    path = folder() / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # the second: filelock's, of a file system without locks
        raise _unwritable(error, path) from error
    try:
        yield
    finally:
        lock.release()


def _file(job: Job, kind: str) -> Path:
    return folder() / f"{job.name}.{kind}"


def _write(path: Path, text: str) -> None:
    """Write a small file, whole, before anything is asked for that it is to remember."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise _unwritable(error, path) from error


def _unwritable(error: OSError | NotImplementedError, path: Path) -> StoreError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StoreError(f"orders cannot be noted: {why}", where=str(path), hint=f"name another folder in {FOLDER}")

"""Results of SNAP on this machine: made once however many threads and processes ask, kept, one gpt at a time.

FOLDER/results/DIGEST/NAME.tif   a result (see ``http/cache``); never removed by us
FOLDER/logs/NAME-DIGEST.xml      the graph that made it, or was to make it
FOLDER/logs/NAME-DIGEST.log      all that SNAP said
FOLDER/logs/NAME-DIGEST.failed   how that ended (see ``failures``)
FOLDER/gpt.lock                  held while SNAP runs: it takes most of the memory and all cores
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from m3leo_prep.core.errors import SourceError, StoreError
from m3leo_prep.sources.http.cache import FileCache
from m3leo_prep.sources.snap.chains import Grid
from m3leo_prep.sources.snap.failures import Failure
from m3leo_prep.sources.snap.graph import Graph
from m3leo_prep.sources.snap.installed import Snap

FOLDER = "M3LEO_PREP_SNAP"
INPUTS, OUTPUT = "input-{}", Path("output.dim")
"""Stand for paths where a graph is written to be told from others."""


@dataclass(frozen=True, slots=True)
class Task:
    """One result to be made."""

    name: str
    """Of the item."""
    scenes: tuple[str, ...]
    """Names of the products that go in, in the order of the graph's."""
    grid: Grid
    graph: Callable[[Sequence[Path], Path], Graph]
    """Makes the graph of the products' paths and of the path of its output."""
    bands: Mapping[str, str]
    """By our name, a regular expression for SNAP's name of the band."""

    def title(self) -> str:
        """Return what the result is called among people."""
        return f"{self.name}_EPSG{self.grid.epsg}_{self.grid.pitch:g}m"

    def key(self, snap: Snap) -> str:
        """Return what the result is called here: another graph, scene or release of SNAP is another one."""
        inputs = [Path(INPUTS.format(number)) for number in range(len(self.scenes))]
        about = (self.graph(inputs, OUTPUT).xml(snap.major), self.scenes, snap.release, sorted(self.bands.items()))
        return f"{hashlib.sha256(repr(about).encode()).hexdigest()[:24]}/{self.title()}.tif"


def folder() -> Path:
    """Return where results lie."""
    given = os.environ.get(FOLDER, "")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "m3leo-prep" / "snap"


def result(task: Task, snap: Snap, fetch: Callable[[str], Path]) -> Path:
    """Return the path of a result, made if it is not here. What failed once is not tried again by this run.

    Args:
        task: what to make.
        snap: what makes it.
        fetch: returns the path of a product's archive.

    Raises:
        PrepError: from fetching, or from SNAP; see ``gpt.run`` and ``dimap.read``.
    """
    from m3leo_prep.sources.snap import gpt
    from m3leo_prep.sources.snap.making import make

    place, key, limits = folder(), task.key(snap), gpt.bounds()
    log = place / "logs" / f"{task.title()}-{key[:8]}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(str(error), place) from error
    with _lock:
        cache = _caches.setdefault(place, FileCache(place / "results", _NO_LIMIT))

    def once(path: Path) -> None:
        failure = Failure(log.with_suffix(".failed"), str(limits))
        failure.tell()  # of another process, maybe, that this one has waited for
        try:
            make(task, snap, limits, fetch, path, log)
        except SourceError as error:
            failure.note(error)
            raise
        failure.forget()

    return cache.file(key, once, keep=True)


_NO_LIMIT = 2**62
_caches: dict[Path, FileCache] = {}
_lock = threading.Lock()


@contextmanager
def alone() -> Iterator[None]:
    """A context that one thread of one process on this machine is in; freed when the process ends, however it ends.

    Raises:
        StoreError: the folder cannot be written, or its file system cannot lock files.
    """
    from filelock import FileLock

    path = folder() / "gpt.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # the second: filelock's, of a file system without locks
        raise unwritable(str(error), path) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def workplace(beside: Path) -> Iterator[Path]:
    """A folder for what SNAP writes, which is removed with all that is in it, however this ends."""
    work = beside.with_name(f"{beside.name}.work")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    except OSError as error:
        raise unwritable(str(error), work) from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def unwritable(why: str, path: Path) -> StoreError:
    """Return what to say of a disk that cannot be written."""
    return StoreError(f"results of SNAP cannot be kept: {why}", where=str(path), hint=f"{FOLDER} names another folder")

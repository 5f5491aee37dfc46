"""What a Dask worker runs: the same code with the same libraries on the same files, or nothing.

Only plain values come in, so that a worker of another version can still tell that it is one.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path

from m3leo_prep.core.errors import ConfigError, PrepError

LIBRARIES = ("numba", "numcodecs", "numpy", "pyproj", "rasterio")
"""Those that make the stored bytes: of others, versions may differ."""
SAME_ENVIRONMENT = "start scheduler and workers from the same environment as this command"
FRAMES = 20
"""Of a traceback that is sent."""
PATIENCE_SECONDS = 3.0
"""A network file system may show a new file late."""

_stopped: set[str] = set()
_checked: set[str] = set()


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception on its way home: Dask's own way of sending them loses some, and then waits forever."""

    error: bytes
    trace: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return an exception so that it pickles; one that does not becomes a RuntimeError."""
        trace = "".join(traceback.format_exception(error, limit=FRAMES))
        # Dask has taught pickle to send these along, however deep.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        try:
            packed = pickle.dumps(error)
            pickle.loads(packed)  # noqa: S301  our own
        except Exception:  # noqa: BLE001  classes of others may raise anything here
            packed = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
        return cls(packed, trace)

    def unpacked(self) -> Exception:
        """Return the exception; one that is no message for people says where it was raised."""
        error: Exception = pickle.loads(self.error)  # noqa: S301  our own
        if not isinstance(error, PrepError):
            error.add_note(self.trace)
        return error


def perform(run: str, expected: Mapping[str, str], token: str, fn: bytes, task: bytes) -> bytes | Failure | None:
    """Return the pickled result of a task, how it failed, or None if its run was stopped before the task was started.

    Args:
        run: name of the run.
        expected: the versions of whoever started the run.
        token: a file that every worker must see; empty if none.
        fn: the pickled function.
        task: the pickled task.
    """
    if run in _stopped:
        return None
    try:
        if run not in _checked:
            _check(expected, token)
            _checked.add(run)
        return pickle.dumps(pickle.loads(fn)(pickle.loads(task)))  # noqa: S301  from our own scheduler
    except Exception as error:  # noqa: BLE001  whatever it is, it is raised where the run was started
        return Failure.of(error)


def _check(expected: Mapping[str, str], token: str) -> None:
    from distributed import get_worker

    if problem := unfit(expected, token):
        what, hint = problem
        raise ConfigError(what, hint=hint, where=f"worker {get_worker().address}")


def stop(run: str) -> None:
    """Let no further task of a run start in this process."""
    _stopped.add(run)


def unfit(expected: Mapping[str, str], token: str) -> tuple[str, str] | None:
    """Return why this process may not take part and the way out, or None if it may."""
    own = versions()
    other = sorted(name for name in expected.keys() | own.keys() if expected.get(name) != own.get(name))
    if other:
        return describe(other, own, expected)
    if token and not _seen(Path(token)):
        folder = os.path.dirname(token)  # noqa: PTH120  as it was written, not as this system would
        return (
            f"does not see the folder {folder}",
            "give an --out on a file system that all workers and this command share, under the same path",
        )
    return None


def describe(names: list[str], own: Mapping[str, str], expected: Mapping[str, str]) -> tuple[str, str]:
    """Return what a worker has that differs, and the way out."""
    told = ", ".join(f"{name} {own.get(name, 'none')} (here {expected.get(name, 'none')})" for name in names)
    why = "" if "m3leo-prep" in names else ": identical bytes cannot be promised"
    return f"has {told}{why}", SAME_ENVIRONMENT


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return what decides the bytes that this process makes, by name."""
    import pyproj

    found = {
        "m3leo-prep": f"{import_module('m3leo_prep').__version__} [{_code()}]",
        "Python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "machine": platform.machine(),
        "PROJ": pyproj.proj_version_str,
    }
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _code() -> str:
    """Return a digest of the package's code, which tells apart what a version number does not."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _seen(token: Path) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while not token.is_file():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True

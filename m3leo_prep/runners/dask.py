"""Runs units on the workers of a Dask cluster that is there already.

Every worker is asked before it builds: same version of this package, same libraries that make bytes, same shared
folder. Workers may come and go; units of a worker that died are given to others.
"""

from __future__ import annotations

import json
import pickle
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from m3leo_prep.core.errors import ConfigError, MissingDependency, StoreError
from m3leo_prep.ports.runner import Result, Task
from m3leo_prep.runners import _dask_worker as worker

CONNECT_SECONDS = 10.0
KNOCK_SECONDS = 0.25
PER_THREAD = 2
"""Tasks in flight per worker thread: one runs, one waits beside it."""
LOOK_SECONDS = 1.0
"""Between looks at how many workers there are."""


def _entrance() -> Callable[..., Any]:
    """Return what is sent to the workers: a function that travels as code, because an inner one does.

    A function that a worker had to import would end a worker on which this package is not installed.
    """

    def enter(name: str, *args: Any) -> Any:
        import socket
        from importlib import import_module

        try:
            module = import_module("m3leo_prep.runners._dask_worker")
        except ImportError as error:
            raise ImportError(f"{error} on {socket.gethostname()}") from None
        return getattr(module, name)(*args)

    return enter


_ENTER = _entrance()


@dataclass(frozen=True, slots=True)
class Dask:
    """The workers of the Dask scheduler at ``address``."""

    address: str
    """``tcp://host:8786``, or the path of a scheduler file."""
    shared: Path | None = None
    """A folder that exists when ``map`` is iterated; workers that do not see it under this very path are refused."""

    def check(self) -> int:
        """Return the number of worker threads there are now; 0 where workers are still to come.

        Raises:
            ConfigError: nobody answers at the address, or a worker has other versions.
            MissingDependency: ``distributed`` is not installed.
        """
        with _connected(self.address) as client, _reachable(self.address):
            _admit(client, token="")
            return sum(client.nthreads().values())

    def map(self, fn: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield results as they finish; at most ``PER_THREAD`` tasks per worker thread are taken ahead.

        Function, tasks and results must pickle.

        Raises:
            ConfigError: nobody answers at the address; a worker has other versions or does not see ``shared``.
            MissingDependency: ``distributed`` is not installed.
            StoreError: workers are killed again and again, or the scheduler was lost.
        """
        with _connected(self.address) as client, _token(self.shared) as token:
            with _reachable(self.address):
                _admit(client, token)
            yield from _Run(client, self.address, fn, token).results(tasks)


class _Run:
    """One call of ``map``."""

    def __init__(self, client: Any, address: str, fn: Callable[[Any], Any], token: str) -> None:
        self._client = client
        self._address = address
        self._name = uuid4().hex
        self._dumps: Callable[[Any], bytes] = import_module("cloudpickle").dumps  # takes also what a notebook defines
        self._given = (self._name, worker.versions(), token, self._dumps(fn))
        self._flying: set[Any] = set()
        self._done: SimpleQueue[Any] = SimpleQueue()
        self._room = 0
        self._look_at = 0.0

    def results(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """Yield the results; what runs when this ends, however it ends, has been waited for."""
        queue = iter(tasks)
        failure: Exception | None = None
        try:
            while True:
                if failure is None:
                    for task in islice(queue, self._free()):
                        self._submit(task)
                if not self._flying:
                    break
                if (future := self._finished()) is None:
                    continue
                result = self._fetch(future)
                if isinstance(result, bytes):
                    yield pickle.loads(result)  # noqa: S301  from our own workers
                elif result is not None and failure is None:
                    failure = result
                    self._stop()
        finally:
            if self._flying:
                with suppress(StoreError):
                    self._stop()
                    while self._flying and self._threads():
                        self._finished()
        if failure is not None:
            raise failure

    def _free(self) -> int:
        """Return how many more tasks may be in flight; at least one is, because some clusters grow only on demand."""
        if time.monotonic() >= self._look_at:
            self._room = max(1, PER_THREAD * self._threads())
            self._look_at = time.monotonic() + LOOK_SECONDS
        return max(0, self._room - len(self._flying))

    def _threads(self) -> int:
        with _reachable(self._address):
            return sum(self._client.nthreads().values())

    def _submit(self, task: Any) -> None:
        with _reachable(self._address):
            future = self._client.submit(_ENTER, "perform", *self._given, self._dumps(task), pure=False, retries=0)
        self._flying.add(future)
        future.add_done_callback(self._done.put)

    def _finished(self) -> Any | None:
        """Return a future that has finished, or None if there was none for a while."""
        try:
            future = self._done.get(timeout=LOOK_SECONDS)
        except Empty:
            return None
        self._flying.remove(future)
        if future.status in {"cancelled", "lost"}:
            raise _lost(self._address)
        return future

    def _fetch(self, future: Any) -> bytes | Exception | None:
        """Return a pickled result, an exception, or None if the task was not started."""
        with _reachable(self._address):
            if future.status == "error":
                return _explained(future.exception())
            result: bytes | worker.Failure | None = future.result()
        return result.unpacked() if isinstance(result, worker.Failure) else result

    def _stop(self) -> None:
        """Let no task start that has not; cancelling would also forget those that run."""
        with _reachable(self._address):
            self._client.run(_ENTER, "stop", self._name, on_error="ignore")


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        distributed = import_module("distributed")
    except ImportError as error:
        raise MissingDependency(
            "building on a Dask cluster needs the package 'distributed'", hint="pip install 'm3leo-prep[dask]'"
        ) from error
    scheduler = _scheduler(address)
    try:
        _knock(scheduler)
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False, name="m3leo-prep")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {scheduler}",
            hint="start one (dask scheduler) and give the address that it prints, such as tcp://host:8786",
        ) from error
    try:
        yield client
    finally:
        client.close()


def _scheduler(address: str) -> str:
    """Return the network address of a scheduler, also from the file that it wrote.

    Raises:
        ConfigError: no such file, or another one.
    """
    path = Path(address.removeprefix("file://")).expanduser()
    if "://" in address.removeprefix("file://") or path.suffix != ".json":
        return address
    try:
        return str(json.loads(path.read_text())["address"])
    except OSError as error:
        raise ConfigError(f"no scheduler file: {error.strerror}", where=str(path)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError("not the file of a Dask scheduler", where=str(path)) from error


def _knock(address: str) -> None:
    """Raise OSError or ValueError if this is no address or nobody listens there.

    The package's client would find out, too, but then takes another half a minute to go away.
    """
    place = urlsplit(address if "://" in address else f"tcp://{address}")
    import_module("distributed.comm.registry").get_backend(place.scheme)
    if place.scheme not in {"tcp", "tls"}:
        return
    if not place.hostname or not place.port:
        raise ValueError("host and port are needed")
    end = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            socket.create_connection((place.hostname, place.port), timeout=max(0.1, end - time.monotonic())).close()
        except OSError:
            if time.monotonic() + KNOCK_SECONDS > end:
                raise
            time.sleep(KNOCK_SECONDS)
        else:
            return


@contextmanager
def _reachable(address: str) -> Iterator[None]:
    """A context in which errors are those of the connection, not of the work."""
    try:
        yield
    except (OSError, CancelledError) as error:
        raise _lost(address) from error


def _lost(address: str) -> StoreError:
    return StoreError(
        f"the Dask scheduler at {address} was lost",
        hint="finished units are kept: start the cluster and run the same command again",
    )


@contextmanager
def _token(shared: Path | None) -> Iterator[str]:
    """A context in which ``shared`` holds a hidden file, whose path is returned; empty without a folder."""
    if shared is None:
        yield ""
        return
    path = shared / f".dask-{uuid4().hex}.part"
    try:
        path.touch()
    except OSError as error:
        raise StoreError(error.strerror or "cannot be written", where=str(shared)) from error
    try:
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def _admit(client: Any, token: str) -> None:
    """Raise ConfigError if one of the workers there are may not take part; those that come later check themselves."""
    answers = client.run(_ENTER, "unfit", worker.versions(), token, on_error="return")
    bad = {address: answer for address, answer in sorted(answers.items()) if answer is not None}
    for address, answer in bad.items():
        others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        what, hint = answer if isinstance(answer, tuple) else (str(answer), worker.SAME_ENVIRONMENT)
        raise ConfigError(what, hint=hint, where=f"worker {address}{others}")


def _explained(error: Exception) -> Exception:
    """Return an error of the cluster, not of the work, in our words."""
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return StoreError(
            "workers were killed again and again at the same unit, most likely for memory",
            hint="give each worker thread 3 GB, or use a smaller --memory; what is finished is kept",
        )
    if isinstance(error, ImportError):
        return ConfigError(f"a worker cannot take part: {error}", hint=worker.SAME_ENVIRONMENT)
    return error

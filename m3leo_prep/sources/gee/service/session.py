"""The one connection of this process to Earth Engine: every request goes through ``Session.run``."""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from m3leo_prep.core.errors import MissingDependency, PrepError, QuotaReached, RateLimited, TransientError, TriedOut
from m3leo_prep.sources._slots import Slots, folder_of
from m3leo_prep.sources.gee.profiles import watched
from m3leo_prep.sources.gee.service.credentials import HIGH_VOLUME, Login, endpoint, find_login
from m3leo_prep.sources.gee.service.failures import Failure, failure
from m3leo_prep.sources.gee.service.limiter import BURST, CAP, RATE, Limiter, Statistics

if TYPE_CHECKING:
    from m3leo_prep.sources.gee.service.transport import Transport

T = TypeVar("T")
ATTEMPTS = 8
"""Of one request."""
FIRST_ATTEMPTS = 4
"""Of connecting and of a probe: somebody sits and waits."""
PATIENCE_SECONDS = 600.0
"""From its first failure on; a longer pause is a quota, and the run's to wait for."""
FIRST_PAUSE_SECONDS = 1.0
"""Before the second attempt at most; doubled before each further one."""
LONGEST_PAUSE_SECONDS = 60.0
LATER = "run the same command again later; it goes on where it stopped"
WORKLOAD_TAG = "m3leo-prep"
"""By which a project's owner tells our part of its compute time from the rest:
https://developers.google.com/earth-engine/guides/monitoring_usage"""

_LOGGER = logging.getLogger(__name__)
_lock = threading.Lock()
_session: Session | None = None
_pool_thread = threading.local()


class Session:
    """A login, a project, a limiter and a pool of threads; every method may be called from many threads at once."""

    def __init__(
        self,
        login: Login,
        url: str,
        limiter: Limiter,
        transport: Transport,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Connect the client.

        Args:
            login: what was found.
            url: address of the service.
            limiter: the project's.
            transport: carries the requests.
            clock: seconds, for ``PATIENCE_SECONDS``.
            chance: 0 to 1, by which pauses are spread.
        """
        import ee

        self.project = login.project
        self.url = url
        self._login = login
        self._limiter = limiter
        self._transport = transport
        self._clock = clock
        self._chance = chance
        self._pool_lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._is_closed = False
        # It warns of every refused request; what matters of that is told once, here.
        logging.getLogger("googleapiclient.http").setLevel(logging.ERROR)
        ee.Reset()
        self.connect()

    def connect(self) -> None:
        """Let the client send by this session's transport."""
        import ee

        # Attempts are counted here; the client's own would multiply them.
        ee.data.setMaxRetries(0)
        # Without credentials: the transport sends the token, one renewal for all threads.
        self.run(
            lambda: ee.Initialize(None, url=self.url, project=self.project, http_transport=self._transport),
            what=f"connecting to {self.url}",
            attempts=FIRST_ATTEMPTS,
        )
        ee.data.setDefaultWorkloadTag(WORKLOAD_TAG)

    @property
    def is_connected(self) -> bool:
        """Whether the client sends by this transport still: ``ee.Initialize`` in anybody's code takes it away."""
        import ee

        return ee.data._get_state().http_transport is self._transport  # noqa: SLF001  (nothing public tells)

    def __repr__(self) -> str:
        return f"Session({self})"

    def __str__(self) -> str:
        where = {HIGH_VOLUME: "high-volume"}.get(self.url, self.url)
        return f"{self._login.kind}, project {self.project}, endpoint {where}"

    def run(self, request: Callable[[], T], *, what: str, attempts: int = ATTEMPTS) -> T:
        """Return what a request gives, repeated while that makes sense.

        Args:
            request: sends exactly one request with the client.
            what: what is asked for, for messages.
            attempts: at most.

        Raises:
            TooLarge: it took too long, too much memory or too many bytes; never repeated as it is.
            ConfigError: the service will never answer it: an unknown band, an asset without access.
            CredentialsError: the login or the project.
            QuotaReached: compute time is used up, or the service asks for a pause beyond our patience.
            RateLimited: it was one too many each time.
            TriedOut: the service did not answer, each time.
        """
        give_up: float | None = None
        for attempt in range(1, attempts + 1):
            with self._limiter.turn() as began:
                if self._is_closed:
                    raise TriedOut("the connection to Earth Engine was closed", hint=LATER, where=what)
                try:
                    value = request()
                except PrepError as error:
                    failed = Failure(error)  # ours, from the transport
                except json.JSONDecodeError:
                    failed = Failure(TransientError("the answer cannot be read"))
                except _theirs() as error:
                    failed = self._failure(error, what)
                else:
                    self._limiter.answered()
                    return value
                if failed.is_refusal:
                    self._limiter.refused(began)
                if failed.pause and failed.pause <= PATIENCE_SECONDS:
                    self._limiter.hold(failed.pause)
            if not failed.may_pass:
                raise _placed(failed.error, what) from None
            now = self._clock()
            give_up = now + PATIENCE_SECONDS if give_up is None else give_up
            if failed.pause and failed.pause > PATIENCE_SECONDS:
                until = datetime.now(UTC) + timedelta(seconds=failed.pause)
                raise QuotaReached(failed.error.message, until=until, where=what)
            # All wait for the pause before their next turn; it is no reason to come back at the same moment.
            ceiling = min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), LONGEST_PAUSE_SECONDS)
            pause = self._chance() * ceiling
            if attempt == attempts or now + max(pause, failed.pause or 0) > give_up:
                kind = RateLimited if failed.is_refusal else TriedOut
                tried = f"{failed.error.message} (attempt {attempt})"
                raise kind(tried, hint=failed.error.hint or LATER, where=what) from None
            self._limiter.back_off(pause)
        raise AssertionError  # the last attempt returns or raises

    def map(self, requests: Sequence[Callable[[], T]]) -> list[T]:
        """Return what all requests give, in order; they run at once as far as the limiter lets them.

        The first error, in order, is raised; what has not begun then never begins.

        Args:
            requests: each of them calls ``run``; none calls ``map``, whose threads could then wait for each other.
        """
        if len(requests) <= 1:
            return [request() for request in requests]
        assert not getattr(_pool_thread, "is_ours", False), "map() inside map()"
        with self._pool_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(CAP, thread_name_prefix="earth-engine", initializer=_note_thread)
            futures = [self._pool.submit(watched(request)) for request in requests]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done() and (error := future.exception()) is not None:
                    raise error
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def probe(self) -> str:
        """Return which login was found and which project answered, after one tiny request."""
        import ee

        self.run(lambda: ee.data.computeValue(ee.Number(1)), what="a first request", attempts=FIRST_ATTEMPTS)
        return str(self)

    def statistics(self) -> Statistics:
        """Return what this process asked so far."""
        return self._limiter.statistics()

    def close(self) -> None:
        """Let go of threads and connections; what is on its way is waited for, and nothing is repeated any more."""
        self._is_closed = True
        with self._pool_lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        self._transport.close()

    def _failure(self, error: Exception, what: str) -> Failure:
        return failure(error, what=what, project=self.project, login=self._login.command, now=datetime.now(UTC))


def session() -> Session:
    """Return this process's session; the first call connects, and one after somebody else's ``ee.Initialize``.

    Raises:
        MissingDependency: the client is not installed.
        CredentialsError: no login, or no project that may compute.
        TriedOut: the service does not answer.
    """
    global _session  # noqa: PLW0603  (the client is one for the process too)
    with _lock:
        if _session is None:
            _session = _connected()
        elif not _session.is_connected:
            _LOGGER.warning("ee.Initialize was called by other code; connected anew: %s", _session)
            _session.connect()
        return _session


def reset() -> None:
    """Forget the session; the next call connects again."""
    global _session  # noqa: PLW0603  (as above)
    with _lock:
        if _session is not None:
            _session.close()
        _session = None


def _connected() -> Session:
    url = endpoint()
    try:
        import ee  # noqa: F401  (tells that it is there)

        from m3leo_prep.sources.gee.service.transport import READ_SECONDS, TOTAL_SECONDS, Transport
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"the source 'gee' needs '{error.name}'", hint="pip install 'm3leo-prep[gee]'"
        ) from error
    login = find_login(url)
    slots = Slots(folder_of(login.project, url), CAP, interval=1 / RATE, burst=BURST)
    limiter = Limiter(slots)
    transport = Transport(
        login.token,
        url,
        connections=CAP,
        on_restricted=limiter.restrict,
        read_seconds=READ_SECONDS,
        total_seconds=TOTAL_SECONDS,
    )
    return Session(login, url, limiter, transport)


def _forget() -> None:
    """In a child of a fork: connections and threads are the parent's."""
    global _session, _lock
    _session, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def _note_thread() -> None:
    _pool_thread.is_ours = True


def _theirs() -> tuple[type[Exception], ...]:
    """Return what the client and what it is built on raise; anything else is a bug."""
    from ee import EEException
    from googleapiclient.errors import Error  # type: ignore[import-untyped]  # ships no types

    return EEException, Error


def _placed(error: PrepError, what: str) -> PrepError:
    """Return the error with the place it lacks."""
    error.where = error.where or what
    return error

"""The real client against a small server that misbehaves as told: what is repeated, how often, and what is told."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import ee
import pytest

from m3leo_prep.core.errors import (
    ConfigError,
    CredentialsError,
    PrepError,
    QuotaReached,
    RateLimited,
    TooLarge,
    TransientError,
    TriedOut,
)
from m3leo_prep.sources._slots import Slots
from m3leo_prep.sources.gee.service import session as module
from m3leo_prep.sources.gee.service.credentials import HIGH_VOLUME, FixedToken, Login
from m3leo_prep.sources.gee.service.limiter import CAP, RESTRICTED_CAP, START, Limiter
from m3leo_prep.sources.gee.service.session import ATTEMPTS, PATIENCE_SECONDS, Session, reset, session
from m3leo_prep.sources.gee.service.transport import Transport, _Watch, read_by
from m3leo_prep.testing.earth_engine.serving.limits import Limits
from m3leo_prep.testing.earth_engine.serving.server import StandIn

SECRET = "pl4nted-s3cret"
FILES = Path(ee.__file__).parent / "tests"
"""The client ships the description of the service, for its own tests."""
Reply = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Answers requests for values by the script, then with 42; counts."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Reply] = []
        self.always: Reply | None = None
        self.bodies: list[bytes] = []
        self.tokens: list[str] = []
        self.running = self.peak = 0
        self.lock = threading.Lock()
        self.discovery = (FILES / "cloud_api_discovery_document.json").read_text().replace("v1alpha", "v1")
        self.algorithms = (FILES / "algorithms.json").read_bytes()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def next(self) -> Reply:
        with self.lock:
            if self.always is not None:
                return self.always
            return self.script.pop(0) if self.script else value

    def handle_error(self, *_: Any) -> None:
        pass  # clients that were cut off


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/$discovery"):
            root = self.server.url + "/"
            text = self.server.discovery.replace("https://earthengine.googleapis.com/", root)
            return self.reply(200, text.encode())
        return self.reply(200, self.server.algorithms)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.tokens.append(self.headers.get("Authorization", ""))
            self.server.running += 1
            self.server.peak = max(self.server.peak, self.server.running)
        try:
            self.server.next()(self)
        finally:
            with self.server.lock:
                self.server.running -= 1

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def value(handler: Handler) -> None:
    handler.reply(200, b'{"result": 42}')


def error(status: int, message: str = "", **headers: str) -> Reply:
    body = json.dumps({"error": {"code": status, "message": message}}).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return lambda handler: handler.reply(status, body, named)


def broken(handler: Handler) -> None:
    """Reset the connection."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    os.close(handler.connection.detach())
    handler.close_connection = True


def cut(handler: Handler) -> None:
    """Promise more than is sent."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"res')
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def cut_head(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def html(handler: Handler) -> None:
    handler.reply(200, b"<html>please log in to this network</html>", {"Content-Type": "text/html; charset=utf-8"})


def silent(handler: Handler) -> None:
    time.sleep(0.5)


def dripping_body(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    drip(handler)


def dripping_head(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    drip(handler)


def drip(handler: Handler) -> None:
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        with self._lock:
            self.slept.append(seconds)
            self.now = max(self.now, until)


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """The server of this file."""
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
    reset()
    ee.Reset()


@pytest.fixture
def server(running: Server) -> Server:
    """The same, with nothing told to it."""
    running.script, running.always, running.bodies, running.tokens, running.peak = [], None, [], [], 0
    return running


@pytest.fixture(scope="module")
def connected(running: Server, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session with the server that all tests share: connecting takes the client a while."""
    clock = Clock()
    slots = Slots(tmp_path_factory.mktemp("slots"), CAP, interval=0.01, burst=4)
    limiter = Limiter(slots, clock=clock, sleep=clock.sleep)
    token = FixedToken(SECRET)
    transport = Transport(token, running.url, connections=CAP, on_restricted=limiter.restrict)
    login = Login("user login", "my-project", token)
    return Session(login, running.url, limiter, transport, clock=clock, chance=lambda: 0.5)


@pytest.fixture
def subject(connected: Session, server: Server, tmp_path: Path) -> Session:
    """The session with a fresh limiter and a fresh clock."""
    clock = Clock()
    connected._clock = clock
    connected._limiter = Limiter(Slots(tmp_path, CAP, interval=0.01, burst=4), clock=clock, sleep=clock.sleep)
    connected._transport._on_restricted = connected._limiter.restrict
    return connected


def clock(subject: Session) -> Clock:
    given = subject._clock
    assert isinstance(given, Clock)
    return given


def ask() -> Any:
    return ee.data.computeValue(ee.Number(1))


def run(subject: Session) -> Any:
    return subject.run(ask, what="one number")


def test_it_tells_what_it_is(subject: Session, server: Server) -> None:
    assert subject.probe() == f"user login, project my-project, endpoint {server.url}"
    assert len(server.bodies) == 1
    assert server.tokens == [f"Bearer {SECRET}"]
    assert json.loads(server.bodies[0])["workloadTag"] == "m3leo-prep"
    assert SECRET not in repr(subject)


def test_the_usual_endpoint_is_told_by_its_name(subject: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "url", HIGH_VOLUME)
    assert str(subject) == "user login, project my-project, endpoint high-volume"


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_pause_that_the_service_asks_for_is_kept(subject: Session, server: Server, form: str) -> None:
    now = datetime.now(UTC)
    later = format_datetime(now + timedelta(seconds=3), usegmt=True)
    asked = {"Retry_After": "3"} if form == "seconds" else {"Retry_After": later, "X_Date": ""}
    server.script = [error(429, "Too Many Requests", **asked)]
    assert run(subject) == 42
    # A date has whole seconds, against the server's clock in the same answer.
    assert 1002 <= clock(subject).now <= 1004 if form == "date" else clock(subject).now == 1003
    assert len(server.bodies) == 2
    assert subject.statistics().retries == 1


def test_twelve_threads_keep_one_pause(subject: Session, server: Server) -> None:
    server.script = [error(429, "Too Many Requests", Retry_After="30")]
    assert run(subject) == 42
    assert clock(subject).now >= 1030
    began = clock(subject).now
    server.script = [error(429, "Too Many Requests", Retry_After="30")] + [value] * 12
    starts: list[float] = []

    def one() -> int:
        def noted() -> Any:
            starts.append(clock(subject).now)
            return ask()

        return int(subject.run(noted, what="x"))

    first = subject.run(ask, what="takes the refusal")
    with ThreadPoolExecutor(12) as pool:
        assert [f.result() for f in [pool.submit(one) for _ in range(12)]] == [42] * 12
    assert first == 42
    assert min(starts) >= began + 30


def test_without_a_pause_the_waits_double_and_end(subject: Session, server: Server) -> None:
    server.always = error(429, "Too Many Requests")
    with pytest.raises(RateLimited, match="Too Many Requests") as told:
        run(subject)
    assert len(server.bodies) == ATTEMPTS
    assert clock(subject).slept == [0.5, 1, 2, 4, 8, 16, 30]  # half of 1, 2, 4 ... 60, as chance had it
    assert f"attempt {ATTEMPTS}" in told.value.message
    assert "again later" in told.value.hint
    assert told.value.where == "one number"
    assert subject._limiter.window < START


@pytest.fixture
def hasty(subject: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The session, which waits 0.2 s for a byte and 0.3 s for an answer."""
    watch = _Watch(0.3)
    monkeypatch.setattr(subject._transport, "_timeout", (5.0, 0.2))
    monkeypatch.setattr(subject._transport, "_total_seconds", 0.3)
    monkeypatch.setattr(subject._transport, "_watch", watch)
    return subject


@pytest.mark.parametrize(
    "fault",
    [error(500), error(502), error(503), error(504), broken, cut, cut_head, html],
    ids=["500", "502", "503", "504", "reset", "cut", "cut head", "html"],
)
def test_what_may_pass_is_repeated(subject: Session, server: Server, fault: Reply) -> None:
    server.script = [fault]
    assert run(subject) == 42
    assert len(server.bodies) == 2
    assert subject.statistics().refused == 0


@pytest.mark.parametrize("fault", [silent, dripping_body, dripping_head])
def test_what_does_not_end_is_ended_and_repeated(hasty: Session, server: Server, fault: Reply) -> None:
    server.script = [fault]
    assert run(hasty) == 42
    assert len(server.bodies) >= 2


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (silent, "nothing came for 0.2 s"),
        (dripping_body, "more than 0.3 s"),
        (dripping_head, "more than 0.3 s"),
        (broken, "the connection broke"),
        (html, "a web page came"),
    ],
)
def test_what_went_wrong_is_told(hasty: Session, server: Server, fault: Reply, told: str) -> None:
    server.always = fault
    with pytest.raises(TransientError, match=told):
        ask()


def test_a_service_that_never_answers_is_given_up(subject: Session, server: Server) -> None:
    server.always = broken
    with pytest.raises(TriedOut, match="the connection broke") as told:
        run(subject)
    assert not isinstance(told.value, RateLimited)
    assert len(server.bodies) == ATTEMPTS


def test_no_server_at_all_is_told_as_such(subject: Session) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TransientError, match="refuses the connection"):
        subject._transport.request(f"http://127.0.0.1:{port}/")


def test_a_busy_service_that_names_a_pause_is_left_alone_for_so_long(subject: Session, server: Server) -> None:
    server.script = [error(503, "busy", Retry_After="20")]
    assert run(subject) == 42
    assert clock(subject).now >= 1020


def test_pauses_are_bounded_in_all(subject: Session, server: Server) -> None:
    server.always = error(429, "Too Many Requests", Retry_After="250")
    with pytest.raises(RateLimited):
        run(subject)
    assert len(server.bodies) == 3
    assert clock(subject).now <= 1000 + PATIENCE_SECONDS


def test_a_pause_beyond_patience_is_a_quota(subject: Session, server: Server) -> None:
    server.always = error(429, "Too Many Requests", Retry_After="7200")
    with pytest.raises(QuotaReached) as told:
        run(subject)
    assert len(server.bodies) == 1
    assert told.value.until is not None
    assert timedelta(hours=1, minutes=59) < told.value.until - datetime.now(UTC) <= timedelta(hours=2)
    server.always = None
    assert run(subject) == 42  # nobody else is held back by it
    assert clock(subject).now < 1001


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "Computation timed out.", TooLarge),
        (400, "User memory limit exceeded.", TooLarge),
        (400, "Image.select: Band pattern 'B99' did not match any bands. Available bands: [B1, B2]", ConfigError),
        (404, "Asset 'projects/a/assets/b' not found (does not exist or caller does not have access).", ConfigError),
        (403, "Project my-project is not registered to use Earth Engine.", CredentialsError),
        (
            429,
            "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time'",
            QuotaReached,
        ),
    ],
)
def test_what_never_passes_is_sent_once(
    subject: Session,
    server: Server,
    caplog: pytest.LogCaptureFixture,
    status: int,
    text: str,
    kind: type[PrepError],
) -> None:
    server.always = error(status, text)
    with pytest.raises(kind) as told:
        run(subject)
    assert type(told.value) is kind
    assert len(server.bodies) == 1
    assert not clock(subject).slept
    assert text in told.value.message
    assert not caplog.records  # the client's own warnings say less


def test_an_error_of_ours_passes_as_it_is(subject: Session) -> None:
    class Odd(Exception):
        pass

    with pytest.raises(Odd):
        subject.run(lambda: (_ for _ in ()).throw(Odd), what="x")
    with pytest.raises(TooLarge, match="mine"):
        subject.run(lambda: (_ for _ in ()).throw(TooLarge("mine")), what="x")


def test_a_token_that_is_refused_once_is_sent_again(subject: Session, server: Server) -> None:
    server.script = [error(401, "Request had invalid authentication credentials.")]
    assert run(subject) == 42
    assert len(server.bodies) == 2
    assert subject.statistics().requests == 1


def test_a_token_that_is_refused_twice_is_no_login(subject: Session, server: Server) -> None:
    server.always = error(401, "Request had invalid authentication credentials.")
    with pytest.raises(CredentialsError, match="invalid authentication") as told:
        run(subject)
    assert len(server.bodies) == 2
    assert told.value.hint == "log in again: earthengine authenticate"


class Renewing:
    """A token that is renewed, as ``GoogleToken`` is."""

    def __init__(self) -> None:
        self.number = 0
        self.lock = threading.Lock()

    def current(self) -> str:
        return f"{SECRET}-{self.number}"

    def renewed(self, refused: str) -> str:
        with self.lock:
            if refused == self.current():
                self.number += 1
            return self.current()


def test_a_token_that_expires_in_flight_is_renewed_once_for_all(
    subject: Session, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = Renewing()
    monkeypatch.setattr(subject._transport, "_token", token)
    barrier = threading.Barrier(8)

    def checked(handler: Handler) -> None:
        if handler.headers["Authorization"] == f"Bearer {SECRET}-0":
            barrier.wait(10)  # all are under way with the old one
            error(401, "expired")(handler)
        else:
            value(handler)

    server.always = checked
    assert subject.map([lambda: run(subject)] * 8) == [42] * 8
    assert token.number == 1
    assert len(server.bodies) == 16


def test_restricted_mode_is_noticed_and_told_once(
    subject: Session, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    header = {"x-earth-engine-quota-status": "parallelism_restricted=true"}
    server.always = lambda handler: handler.reply(200, b'{"result": 42}', header)
    for _ in range(3):
        assert run(subject) == 42  # the client's own warning would be an error in these tests
    assert subject._limiter.window == RESTRICTED_CAP
    assert ["restricted mode" in record.getMessage() for record in caplog.records] == [True]


def test_map_keeps_order_and_fills_the_pool(subject: Session, server: Server) -> None:
    results = subject.map([lambda i=i: (run(subject), i) for i in range(20)])  # type: ignore[misc]
    assert results == [(42, i) for i in range(20)]
    assert subject.map([]) == []


def test_the_first_error_of_map_stops_what_has_not_begun(subject: Session, server: Server) -> None:
    begun: list[int] = []
    gate = threading.Event()

    def one(index: int) -> int:
        begun.append(index)
        if index == 3:
            raise TooLarge("the third")
        gate.wait(10)
        return index

    with pytest.raises(TooLarge, match="the third"):
        subject.map([lambda i=i: one(i) for i in range(200)])  # type: ignore[misc]
    gate.set()
    time.sleep(0.05)
    assert len(begun) <= 2 * CAP
    assert subject.map([lambda: 1, lambda: 2]) == [1, 2]


def test_map_inside_map_is_refused(subject: Session) -> None:
    with pytest.raises(AssertionError, match="map"):
        subject.map([lambda: subject.map([int, int]), int])


def test_map_from_many_threads(subject: Session, server: Server) -> None:
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(subject.map, [lambda: run(subject)] * 5) for _ in range(6)]
        assert [f.result() for f in futures] == [[42] * 5] * 6
    assert len(server.bodies) == 30


def test_the_secret_is_in_no_error_and_no_log(
    subject: Session, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    faults = [error(401), error(403, "x"), error(400, "y"), error(500), broken, cut, html, error(404)]
    told = []
    with caplog.at_level(logging.DEBUG):
        for fault in faults:
            server.always = fault
            with pytest.raises(PrepError) as raised:
                run(subject)
            told += traceback.format_exception(raised.value)
    assert len(told) > len(faults)
    assert SECRET not in "".join(told) + caplog.text


# -- the session of a process --------------------------------------------------------------------------------------


@pytest.fixture
def environment(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A process whose service is the server."""
    monkeypatch.setenv("M3LEO_PREP_EE_URL", server.url)
    monkeypatch.setenv("M3LEO_PREP_EE_PROJECT", "a-project")
    monkeypatch.setenv("M3LEO_PREP_EE_TOKEN", SECRET)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    reset()
    yield server
    reset()


def test_a_process_has_one_session(environment: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        several = list(pool.map(lambda _: session(), range(8)))
    assert len({id(one) for one in several}) == 1
    assert several[0].project == "a-project"
    assert several[0].probe() == f"stand-in, project a-project, endpoint {environment.url}"
    assert environment.tokens == [f"Bearer {SECRET}"]
    reset()
    assert session() is not several[0]


def test_a_script_that_initialises_the_client_takes_nothing_away(
    environment: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Many files for Earth Engine begin with it: requests then went by another login, project and transport."""
    from google.oauth2.credentials import Credentials

    first = session()
    ee.Initialize(Credentials("another-token"), url=environment.url, project="another-project")
    ee.data.setMaxRetries(5)
    assert session() is first
    assert "ee.Initialize was called by other code" in caplog.text
    environment.script = [lambda handler: handler.reply(500, b"{}")]
    caplog.clear()
    assert run(session()) == 42
    assert environment.tokens == [f"Bearer {SECRET}"] * 2
    assert first.statistics().retries == 1, "attempts are ours again"
    assert ee.data._get_state().cloud_api_user_project == "a-project"
    assert not caplog.records


def test_pixels_that_come_by_another_connection_are_not_taken_for_read() -> None:
    """Or their buffer, which nobody filled, would pass for pixels."""
    with pytest.raises(TransientError, match=r"another connection: was ee\.Initialize called"), read_by(lambda _: None):
        pass  # as the client does where somebody took our transport away
    with pytest.raises(TooLarge), read_by(lambda _: None):
        raise TooLarge("an error is told as it is")


def test_a_session_that_is_closed_leaves_no_thread_and_asks_no_more(environment: Server) -> None:
    before = set(threading.enumerate())
    service = session()
    busy = threading.Event()

    def slow(handler: Handler) -> None:
        busy.set()
        time.sleep(0.3)
        handler.reply(503, b"{}")

    def first() -> None:
        busy.wait(10)
        raise TooLarge("the first")

    environment.script = [slow]
    with pytest.raises(TooLarge):
        service.map([first, lambda: run(service)])
    reset()
    assert len(environment.bodies) == 1
    assert not [one for one in set(threading.enumerate()) - before if one.name.startswith("earth-engine_")]
    with pytest.raises(TriedOut, match="was closed"):
        run(service)
    assert len(environment.bodies) == 1


def test_a_forked_child_connects_for_itself(environment: Server) -> None:
    assert run(session()) == 42
    come, send = os.pipe()
    child = os.fork()
    if child == 0:
        told = b"0"
        try:
            told = b"1" if module._session is None and run(session()) == 42 else b"0"
        finally:
            os.write(send, told)
            os._exit(0)
    os.close(send)
    assert os.read(come, 1) == b"1"
    os.waitpid(child, 0)
    assert run(session()) == 42


def test_a_wrong_address_is_told(environment: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "do_GET", lambda handler: handler.reply(404, b"{}"))
    with pytest.raises(ConfigError) as told:
        session()
    assert "M3LEO_PREP_EE_URL" in told.value.hint


def test_an_unregistered_project_is_told_when_connecting(environment: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    described = Handler.do_GET

    def get(handler: Handler) -> None:
        if handler.path.startswith("/$discovery"):
            described(handler)
        else:
            error(403, "Project a-project is not registered to use Earth Engine. Visit there")(handler)

    monkeypatch.setattr(Handler, "do_GET", get)
    with pytest.raises(CredentialsError, match="not registered") as told:
        session()
    assert told.value.hint.endswith("https://code.earthengine.google.com/register?project=a-project")
    monkeypatch.setattr(Handler, "do_GET", described)
    assert run(session()) == 42  # once it is registered


# -- against the stand-in ------------------------------------------------------------------------------------------


def test_a_service_that_takes_ten_at_once_is_asked_for_about_ten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(concurrency=10)
    with StandIn(object(), latency=0.02, limits=limits) as stand_in:  # type: ignore[arg-type]  # no pixels are asked for
        clock = Clock()
        limiter = Limiter(Slots(tmp_path, CAP, interval=0.0, burst=1), clock=time.monotonic, sleep=clock.sleep)
        token = FixedToken("word")
        transport = Transport(token, stand_in.url, connections=CAP, on_restricted=limiter.restrict)
        subject = Session(Login("stand-in", "p", token), stand_in.url, limiter, transport, clock=clock)
        assert subject.map([lambda: subject.run(ask, what="x")] * 300) == [1] * 300
        told = subject.statistics()
        asked = stand_in.asked("compute")
        subject.close()
    assert max(request.in_flight for request in asked) <= CAP
    assert 0 < told.refused < 90  # of 300; without a limiter all above the tenth are refused each time
    assert told.peak < CAP

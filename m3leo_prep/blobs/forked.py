"""Calls that a forked process cannot make by itself, made for it by a fresh one.

A library with threads of its own (obstore's run-time is one) does not survive a fork: in the child its threads are
gone and each call waits for ever. PyTorch's DataLoader forks its workers. So a child whose parent has used such a
library starts one helper process and asks that; the helper ends with the child.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, wraps
from importlib import import_module
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from m3leo_prep.blobs.names import shown
from m3leo_prep.core.errors import StoreError


class HasAddress(Protocol):
    """What can be made anew elsewhere from its address alone."""

    @property
    def address(self) -> str:
        """The only argument of its class."""
        ...


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=HasAddress)


class _State:
    """Of this process; a child starts with none of it but ``used_by``."""

    used_by: int | None = None
    """The process that first called the library."""
    lock = threading.Lock()
    helper: tuple[str, bytes, subprocess.Popen[bytes]] | None = None
    threads = threading.local()


def _reset() -> None:
    # The parent's lock may be held by a thread that is not in the child, its connections are the parent's.
    _State.lock, _State.helper, _State.threads = threading.Lock(), None, threading.local()


os.register_at_fork(after_in_child=_reset)


def is_forked() -> bool:
    """Return whether the library was used before this process was forked; if never, it is this process's now."""
    if _State.used_by is None:
        _State.used_by = os.getpid()
    return _State.used_by != os.getpid()


def survives_fork(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Return a method that a forked process has done by its helper; arguments and result are pickled then."""

    @wraps(method)
    def called(self: S, /, *arguments: P.args, **named: P.kwargs) -> R:
        if not is_forked():
            return method(self, *arguments, **named)
        kind = type(self)
        result: R = _ask((kind.__module__, kind.__qualname__, self.address, method.__name__, arguments, named))
        return result

    return called


def _ask(call: tuple[Any, ...]) -> Any:
    """Return the helper's answer; each thread has a connection of its own, so that calls run side by side."""
    connection: Connection[Any, Any] | None = getattr(_State.threads, "connection", None)
    # Put back when the answer is here: of a call that Ctrl-C breaks off, the next one would get the answer.
    _State.threads.connection = None
    try:
        if connection is None:
            path, key = _helper()
            connection = Client(path, "AF_UNIX", authkey=key)
        connection.send(call)
        is_error, answer = connection.recv()
        _State.threads.connection = connection
    except (OSError, EOFError) as error:
        hint = "start this process with `spawn` instead: DataLoader(…, multiprocessing_context='spawn')"
        raise StoreError("the helper of a forked process ended", hint=hint, where=shown(call[2])) from error
    if is_error:
        raise answer
    return answer


def _helper() -> tuple[str, bytes]:
    """Return socket and key of this process's helper, started at the first call."""
    with _State.lock:
        if _State.helper is None:
            key = secrets.token_bytes(16)
            process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert process.stdin is not None
            assert process.stdout is not None
            # Not as an argument: those are seen by everyone on the machine.
            process.stdin.write(key.hex().encode() + b"\n")
            process.stdin.flush()
            path = process.stdout.readline().decode().strip()
            if not path:
                raise EOFError
            _State.helper = path, key, process
        return _State.helper[:2]


@lru_cache
def _made(module: str, name: str, address: str) -> Any:
    return getattr(import_module(module), name)(address)


def _serve(connection: Connection[Any, Any]) -> None:
    """Answer the calls of one thread until it ends, or breaks one off."""
    with connection, suppress(OSError, EOFError):
        while True:
            module, name, address, method, arguments, named = connection.recv()
            try:
                answer = False, getattr(_made(module, name, address), method)(*arguments, **named)
            except Exception as error:  # noqa: BLE001  it is raised where the call was made
                answer = True, error
            connection.send(answer)


def main() -> None:
    """Serve until the process that started this one ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for that one
    key = bytes.fromhex(sys.stdin.buffer.readline().decode())
    with tempfile.TemporaryDirectory(prefix="m3leo-prep-") as folder:
        path = str(Path(folder, "calls"))
        with Listener(path, "AF_UNIX", backlog=64, authkey=key) as listener:

            def accept() -> None:
                while True:
                    with suppress(OSError, EOFError, AuthenticationError):  # broken off while it was made
                        threading.Thread(target=_serve, args=(listener.accept(),), daemon=True).start()

            threading.Thread(target=accept, daemon=True).start()
            sys.stdout.write(path + "\n")
            sys.stdout.flush()
            sys.stdin.buffer.read()  # returns when the other side is gone


if __name__ == "__main__":
    main()

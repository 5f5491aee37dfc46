"""The command in a process of its own, again and again, without the seconds of imports that each would take."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO

SERVER = """
import gc, importlib, json, os, signal, socket, sys
jobs = socket.socket(fileno=int(sys.argv[1]))
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
sys.modules["numba"].njit(lambda x: x)(1)  # the first kernel that is called imports another hundred modules
gc.freeze()  # a fork would go through all of it again when it ends
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a keeper ended
while True:
    text, files, _, _ = socket.recv_fds(jobs, 1 << 20, 4)
    if not text:
        break
    if os.fork():
        for file in files:
            os.close(file)
        continue
    # A keeper waits for one command, and tells of it, while the server takes the next.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, told = files
    child = os.fork()
    if child:
        try:
            for stream in streams:
                os.close(stream)
            os.write(told, b"%d" % child)
            os.write(told, b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        finally:
            os._exit(0)
    jobs.close()
    os.close(told)
    job = json.loads(text)
    signal.alarm(120)
    if job["leads"]:
        os.setsid()
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in sys.path]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv = ["m3leo-prep", *job["arguments"]]
    exec(job["code"], {"__name__": "__main__"})
    sys.exit()
"""
IMPORTED = (
    "m3leo_prep.cli.main",
    "m3leo_prep.cli.building",
    "m3leo_prep.cli.looking",
    "m3leo_prep.cli.checking",
    "m3leo_prep.cli.doctoring",
    "m3leo_prep.cli.following",
    "m3leo_prep.cli.source_checking",
    "m3leo_prep.pipeline.build",
    "m3leo_prep.pipeline.resources",
    "m3leo_prep.pipeline.verify",
    "m3leo_prep.runners.threads",
    "m3leo_prep.ops._area",
    "m3leo_prep.ops._histogram",
    "m3leo_prep.ops._moments",
    "m3leo_prep.ops._point",
    "m3leo_prep.sources.ramp",
    "m3leo_prep.sources.synthetic.optics",
    "m3leo_prep.sources.synthetic.radar",
    "m3leo_prep.sources.gee",
    "m3leo_prep.testing.source_trial",
    "m3leo_prep.reader.picture.page",
    "pandas",
    "pyarrow.dataset",
    "pyarrow.pandas_compat",
    "rich.live",
)
MAIN = "from m3leo_prep.cli.main import main; main()"


class Started:
    """A command at work: what ``subprocess.Popen`` is of a new process, its output in files."""

    def __init__(self, told: socket.socket, out: IO[str], err: IO[str]) -> None:
        self._told, self._out, self._err = told, out, err
        self._told.settimeout(120)
        self.pid = int(told.recv(32))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return how it ended, or None while it runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float = 120) -> int:
        """Wait for its end; a TimeoutError if that does not come."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            self.returncode = int(self._told.recv(32))
            self._told.close()
        return self.returncode

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """Wait for its end and return its output and what it said on standard error; both are gone then."""
        self.wait(timeout)
        with self._out as out, self._err as err:
            out.seek(0)
            err.seek(0)
            return out.read(), err.read()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it now."""
        self.send_signal(signal.SIGKILL)


class Forked:
    """Runs commands in forks of a process that has everything imported, and has run nothing."""

    def __init__(self) -> None:
        self._jobs, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(theirs.fileno()), json.dumps(IMPORTED)], pass_fds=[theirs.fileno()]
            )

    def close(self) -> None:
        """End the server; commands at work go on."""
        self._jobs.shutdown(socket.SHUT_RDWR)
        self._jobs.close()
        self._server.wait()

    def start(
        self,
        folder: Path,
        *arguments: str,
        code: str = MAIN,
        env: Mapping[str, str] | None = None,
        typed: str = "",
        leads: bool = False,
    ) -> Started:
        """Start a command in ``folder``; it is killed after two minutes.

        Args:
            folder: where it runs.
            arguments: of the command.
            code: what runs: it sees its arguments, folder and environment as a new process does.
            env: its environment, by default this one.
            typed: its standard input.
            leads: whether it leads a group of processes of its own.
        """
        job = {"folder": str(folder), "arguments": arguments, "code": code, "leads": leads}
        job["environment"] = dict(os.environ if env is None else env)
        # Closed when they are read.
        out = tempfile.TemporaryFile("w+")  # noqa: SIM115
        err = tempfile.TemporaryFile("w+")  # noqa: SIM115
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile("w+") as given:
            given.write(typed)
            given.seek(0)
            streams = [given.fileno(), out.fileno(), err.fileno(), theirs.fileno()]
            socket.send_fds(self._jobs, [json.dumps(job).encode()], streams)
        return Started(ours, out, err)

    def run(
        self,
        folder: Path,
        *arguments: str,
        code: str = MAIN,
        env: Mapping[str, str] | None = None,
        typed: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Return how a command ended, as ``subprocess.run`` would."""
        started = self.start(folder, *arguments, code=code, env=env, typed=typed)
        out, err = started.communicate()
        assert started.returncode is not None
        return subprocess.CompletedProcess(arguments, started.returncode, out, err)


@cache
def forked() -> Forked:
    """Return the server of this process, which ends with it."""
    server = Forked()
    atexit.register(server.close)
    return server

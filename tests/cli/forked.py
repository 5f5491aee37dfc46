"""The command in a process of its own, again and again, without the seconds of imports that each would take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

SERVER = """
import importlib, json, os, signal, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(120)
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environment"])
        for stream, path in enumerate((os.devnull, job["out"], job["err"])):
            os.dup2(os.open(path, os.O_RDWR), stream)
        sys.argv = ["m3leo-prep", *job["arguments"]]
        exec(job["code"], {"__name__": "__main__"})
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
IMPORTED = (
    "m3leo_prep.cli.main",
    "m3leo_prep.cli.building",
    "m3leo_prep.cli.looking",
    "m3leo_prep.cli.checking",
    "m3leo_prep.pipeline.build",
    "m3leo_prep.pipeline.verify",
    "m3leo_prep.runners.threads",
    "m3leo_prep.ops._area",
    "m3leo_prep.ops._moments",
    "m3leo_prep.ops._point",
    "m3leo_prep.sources.ramp",
    "m3leo_prep.sources.synthetic.optics",
    "m3leo_prep.sources.synthetic.radar",
    "m3leo_prep.reader.picture.page",
    "pandas",
)


class Forked:
    """Runs commands in forks of a process that has everything imported, and has run nothing."""

    def __init__(self, code: str) -> None:
        """``code`` is what a fork runs: it sees its arguments, folder and environment as a new process does."""
        self._code = code
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, json.dumps(IMPORTED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.communicate()

    def run(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Return how a command ended in ``folder``, as ``subprocess.run`` would; killed after two minutes."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
            job = {
                "folder": str(folder),
                "environment": dict(os.environ),
                "arguments": arguments,
                "code": self._code,
                "out": out.name,
                "err": err.name,
            }
            self._server.stdin.write(f"{json.dumps(job)}\n")
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(arguments, code, out.read(), err.read())

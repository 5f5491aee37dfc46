"""Telling somebody: a shell command of the user's, run when a build ends or waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

TIMEOUT_SECONDS = 60.0


def notify(command: str, event: str, facts: Mapping[str, object]) -> str | None:
    """Return None when the command ran well, else a warning line; never raises.

    The command gets the facts as JSON on its standard input, and ``M3LEO_EVENT``, ``M3LEO_DATASET``, ``M3LEO_EXIT``
    and ``M3LEO_MESSAGE`` in its environment (the last three from the facts ``dataset``, ``exit`` and ``message``).
    What it prints goes to standard error, since standard output may carry JSON. It and all that it started are ended
    after a minute.

    Args:
        command: for the shell.
        event: finished, failed, waiting or interrupted.
        facts: JSON values.
    """
    texts = {f"M3LEO_{name.upper()}": str(facts.get(name, "")) for name in ("dataset", "exit", "message")}
    # The system takes no zero byte and no long text in an environment.
    texts = {name: text.replace("\0", "")[:10_000] for name, text in texts.items()}
    document = json.dumps({"event": event, **facts}, default=str)
    try:
        return _run(command, document, os.environ | texts | {"M3LEO_EVENT": event})
    except (OSError, ValueError) as error:  # no shell, no memory for another process, a zero byte in the command
        return f"--notify failed: {error}"


def _run(command: str, document: str, environment: Mapping[str, str]) -> str | None:
    with subprocess.Popen(  # noqa: S602  the user's own command line
        command,
        shell=True,
        stdin=subprocess.PIPE,
        stdout=_stderr(),
        stderr=_stderr(),
        env=environment,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            process.communicate(document, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # the shell and what it waits for
            return f"--notify took longer than {TIMEOUT_SECONDS:.0f} s and was ended: {command}"
    return f"--notify ended with exit code {process.returncode}: {command}" if process.returncode else None


def _stderr() -> int:
    """Return our standard error, or nowhere if there is none (a notebook's is no file)."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return subprocess.DEVNULL

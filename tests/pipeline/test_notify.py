"""Notifications: what the command is told, and that nothing it does harms the build."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from m3leo_prep.pipeline.follow import notify as module
from m3leo_prep.pipeline.follow.notify import notify

FACTS = {"dataset": "/data/it's here", "exit": 75, "message": "quota of gee; `rm -rf` $HOME", "retryable": 3}


def test_the_command_gets_the_facts_as_json_and_as_variables(tmp_path: Path) -> None:
    out = shlex.quote(str(tmp_path / "told"))
    command = f'cat > {out}.json; printf "%s|" "$M3LEO_EVENT" "$M3LEO_DATASET" "$M3LEO_EXIT" "$M3LEO_MESSAGE" > {out}'
    assert notify(command, "waiting", FACTS) is None
    assert json.loads((tmp_path / "told.json").read_text()) == {"event": "waiting", **FACTS}
    assert (tmp_path / "told").read_text() == "waiting|/data/it's here|75|quota of gee; `rm -rf` $HOME|"


def test_a_command_that_fails_is_a_warning_with_its_exit_code() -> None:
    said = notify("exit 3", "finished", {})
    assert said is not None
    assert "exit code 3" in said
    assert notify("no-such-command-anywhere", "finished", {}) is not None


def test_a_command_that_reads_nothing_is_fine() -> None:
    assert notify("true", "finished", {"message": "x" * 2_000_000}) is None


@pytest.mark.parametrize("facts", [{"message": "a\0b"}, {"message": "\ud800"}, {"path": Path("x")}])
def test_odd_facts_do_no_harm(facts: dict[str, object]) -> None:
    said = notify("cat > /dev/null", "failed", facts)
    assert said is None or said.startswith("--notify failed")


def test_a_zero_byte_in_the_command_is_a_warning() -> None:
    said = notify("true\0false", "failed", {})
    assert said is not None
    assert said.startswith("--notify failed")


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.5)
    pid = tmp_path / "pid"
    start = time.monotonic()
    said = notify(f"sleep 60 & echo $! > {pid}; wait", "finished", {})
    assert time.monotonic() - start < 20
    assert said is not None
    assert "was ended" in said
    time.sleep(0.2)
    state = Path(f"/proc/{int(pid.read_text())}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_what_it_prints_goes_to_standard_error_only() -> None:
    code = "from m3leo_prep.pipeline.follow.notify import notify; notify('echo out; echo err >&2', 'finished', {})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == ""
    assert sorted(done.stderr.split()) == ["err", "out"]

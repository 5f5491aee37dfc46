"""Running gpt: bounds of memory and time, and what each of its ends means (D101). The programs are real processes."""

import multiprocessing
import os
import re
import sys
import time
from pathlib import Path

import pytest

from m3leo_prep.core.errors import ConfigError, CorruptError, MissingDependency, NoData, StoreError, TriedOut
from m3leo_prep.sources.snap import gpt
from m3leo_prep.sources.snap.gpt import Bounds, run
from m3leo_prep.sources.snap.installed import Snap
from m3leo_prep.testing.snap import FakeSnap

AMPLE = Bounds(memory=10**9, seconds=60.0, threads=3)


def end(tmp_path, script, limits=AMPLE):
    """Run a program in gpt's place."""
    program = tmp_path / "gpt"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    run(Snap("gpt", program, "13.0.4"), tmp_path / "graph.xml", tmp_path / "gpt.log", limits, "S1A_scene")


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("kill -9 $$", TriedOut, "memory runs out"),
        ("exit 137", TriedOut, "memory runs out"),
        ("echo 'java.lang.OutOfMemoryError: Java heap space' >&2", TriedOut, "ran out of memory"),
        (
            "echo \"Error: [NodeId: TC] Operator 'TerrainCorrection': Unknown element 'applyAPD'\" >&2; exit 1",
            ConfigError,
            "SNAP 13.0.4 .* knows no parameter 'applyAPD'",
        ),
        ("echo \"Error: SPI not found for operator 'Coherence'\" >&2; exit 1", ConfigError, "no operator 'Coherence'"),
        ("echo 'WARNING: org.esa.SubsetOp: No intersection with source product' >&2", NoData, "no intersection"),
        ("echo 'Error: No valid orbit file found for 01-JAN-2021' >&2; exit 1", TriedOut, "neither a precise nor"),
        ("echo 'java.io.IOException: No space left on device' >&2; exit 1", StoreError, "disk is full"),
        ("echo 'Error: No appropriate product reader found.' >&2; exit 1", CorruptError, "cannot read the scene"),
        ("echo 'Error: first' >&2; echo 'Error: the last one' >&2; exit 3", TriedOut, r"failed \(3\): the last one"),
        ("exit 1", TriedOut, r"failed \(1\)$"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_each_end_is_told_apart(tmp_path, script, error, message):
    with pytest.raises(error) as caught:
        end(tmp_path, script)
    assert re.search(message, caught.value.message)
    assert caught.value.where == "S1A_scene", "a damaged item is left out by its name"
    assert str(tmp_path / "gpt.log") in caught.value.hint


def test_a_good_end_and_all_that_was_said_is_kept(tmp_path):
    end(tmp_path, "echo done; echo 'INFO: fine' >&2")
    assert (tmp_path / "gpt.log").read_text() == "done\nINFO: fine\n"


def test_memory_time_and_threads_are_said_to_java(tmp_path):
    end(tmp_path, 'printf "%s " "$@"')
    heap = int(10**9 * 0.8 / 2**20)
    assert (tmp_path / "gpt.log").read_text().split() == [
        str(tmp_path / "graph.xml"), "-e", "-x", "-c", f"{int(heap * 0.4)}M", "-q", "3", f"-J-Xmx{heap}M",
    ]  # fmt: skip


def until(seen):
    """Return whether something comes true within seconds: the system needs a moment to clear a process away."""
    for _ in range(500):
        if seen():
            return True
        time.sleep(0.01)
    return False


def lives(pid):
    """Return whether a process runs; one that has ended may still be waited for by nobody."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_hangs_is_ended_with_all_its_processes(tmp_path):
    """The child ignores the polite way; it would outlive gpt by ten minutes."""
    with pytest.raises(TriedOut, match="not done after"):
        end(
            tmp_path,
            "sh -c 'trap \"\" TERM; echo $$; sleep 600' & echo $!; wait",
            Bounds(memory=10**9, seconds=0.3, threads=1),
        )
    pids = [int(line) for line in (tmp_path / "gpt.log").read_text().split()]
    assert len(pids) == 2
    assert until(lambda: not any(map(lives, pids)))


def test_what_runs_ends_with_whoever_started_it(tmp_path):
    """A build that is killed, or told a second time to stop, must not leave SNAP with most of the memory."""
    script = "sh -c 'trap \"\" TERM HUP; echo $$; sleep 600' & echo $!; wait"
    build = multiprocessing.get_context("fork").Process(target=end, args=(tmp_path, script))
    build.start()
    log = tmp_path / "gpt.log"
    assert until(lambda: log.exists() and log.read_text().count("\n") == 2)
    pids = [int(line) for line in log.read_text().split()]
    assert all(map(lives, pids))
    build.kill()
    build.join()
    assert until(lambda: not any(map(lives, pids)))


@pytest.mark.parametrize(
    ("script", "advice"),
    [("kill -9 $$", "allow it less"), ("echo 'OutOfMemoryError: Java heap space'", "allow more memory")],
)
def test_the_way_out_of_memory_that_ran_out_depends_on_whose_it_was(tmp_path, script, advice):
    with pytest.raises(TriedOut) as caught:
        end(tmp_path, script)
    assert advice in caught.value.hint
    assert "M3LEO_PREP_SNAP_GB" in caught.value.hint


def test_what_takes_more_memory_than_it_may_is_ended(tmp_path):
    script = f"{sys.executable} -c 'import time; kept = b\"x\" * 300_000_000; time.sleep(600)'"
    with pytest.raises(TriedOut, match=r"more than the 0\.1 GB"):
        end(tmp_path, script, Bounds(memory=10**8, seconds=60.0, threads=1))


def test_a_program_that_cannot_be_started_is_told(tmp_path):
    snap = Snap("gpt", tmp_path / "none", "13.0.4")
    with pytest.raises(MissingDependency, match="cannot be started"):
        run(snap, tmp_path / "graph.xml", tmp_path / "log", AMPLE, "x")


def test_bounds_come_from_the_environment(monkeypatch):
    monkeypatch.setenv(gpt.MEMORY, "12")
    monkeypatch.setenv(gpt.HOURS, "0.5")
    assert gpt.bounds() == Bounds(12 * 10**9, 1800.0, len(os.sched_getaffinity(0)))
    monkeypatch.setenv(gpt.HOURS, "-1")
    with pytest.raises(ConfigError, match="hours"):
        gpt.bounds()


def test_esa_snappy_runs_in_a_process_of_its_own(tmp_path):
    """A module of that name that says what was asked of it stands for the real one, which needs SNAP and Java."""
    package = tmp_path / "site" / "esa_snappy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from importlib.util import find_spec\n"
        "print('of ours:', [name for name in ('snappy', 'graph', 'schema') if find_spec(name)])\n"
        "class Type:\n"
        "    NULL = 'NULL'\n"
        "    def __init__(self, name): self.name = name\n"
        "    def __call__(self, *given): print('made', self.name, *given); return self\n"
        "    def __getattr__(self, name):\n"
        "        def call(*given):\n"
        "            print('called', name, *[g if isinstance(g, str) else '' for g in given]); return self\n"
        "        return call\n"
        "class jpy:\n"
        "    get_type = staticmethod(Type)\n"
    )
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "site"} exec {sys.executable} -S "$@"\n')
    program.chmod(0o755)
    log = tmp_path / "log"
    run(Snap("esa_snappy", program, "13.0.4"), tmp_path / "graph.xml", log, AMPLE, "x")
    said = log.read_text()
    assert f"made java.io.FileReader {tmp_path / 'graph.xml'}" in said
    assert "called executeGraph" in said
    assert "of ours: []" in said, "no module of ours stands in the way of another package's"
    assert "esa_snappy" not in sys.modules


def test_esa_snappy_that_cannot_be_imported_is_a_failure(tmp_path):
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    program.chmod(0o755)
    with pytest.raises(TriedOut, match=r"failed \(1\)"):
        run(Snap("esa_snappy", program, "13.0.4"), tmp_path / "graph.xml", tmp_path / "log", AMPLE, "x")


def test_the_stand_in_refuses_what_snap_would(tmp_path):
    """It checks the graph by the schema of its release, as SNAP does by its own."""
    fake = FakeSnap(tmp_path)
    graph = tmp_path / "graph.xml"
    graph.write_text("<graph><node id='a'><operator>Resample</operator></node></graph>")
    with pytest.raises(TriedOut, match="no operator 'Resample'"):
        run(Snap("gpt", fake.gpt, "13.0.4"), graph, tmp_path / "log", AMPLE, "x")

"""What goes wrong in the first hour, tried as it happens: the real command, in a process of its own.

Every message says what is wrong, where, and the way out; no traceback, and nothing half-made is left behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import m3leo_prep as mp
from m3leo_prep.core.errors import StoreError
from tests.cli.forked import forked

BOX = "9.300,57.100,9.312,57.104"
"""Twelve chips of the small recipe."""
RECIPE = """\
name: small
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12]]}}
"""
SOURCE = '''
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from shapely.geometry import box

from m3leo_prep.core.errors import CredentialsError
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable


@dataclass(frozen=True)
class Mine:
    """From its second read on, the server is slow, or somebody else fills the disk, while a file says so."""

    asks: bool = False

    def describe(self):
        return SourceInfo((Variable("v", Kind.CONTINUOUS, ("v",)),), version="1", pitch=10.0, is_static=True)

    def find(self, area, slots):
        if self.asks:
            raise CredentialsError("nobody is logged in", hint="export TOKEN=...", where="my archive")
        yield Item("all", box(-180, -90, 180, 90))

    def read(self, items, geobox, slot):
        with open("reads.txt", "a") as log:
            log.write("read\\n")
        if len(Path("reads.txt").read_text().split()) > 1:
            if Path("is_slow").exists():
                time.sleep(4)
            if Path("is_full").exists():
                disk = os.statvfs("disk")
                with suppress(OSError), open("disk/filler", "ab", buffering=0) as filler:
                    filler.write(bytes(disk.f_bavail * disk.f_frsize))
        around = geobox.pad(4)
        x, y = (around.coordinates[k].values for k in ("x", "y"))
        data = np.sin(y[:, None] * 12.9898 + x * 78.233)[None].astype(np.float32)
        yield Raster(data, np.ones(data.shape, bool), around, items[0], "v")
'''
MAIN = (
    "from m3leo_prep.core import layer; layer.SHARD_CHIPS = (4,); "
    "from m3leo_prep.pipeline import unit; unit.PAUSE_SECONDS = 0.0; "
    "from m3leo_prep.cli.main import main; main()"
)
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a recipe, and a source of one's own."""
    (tmp_path / "small.yaml").write_text(RECIPE)
    (tmp_path / "my_source.py").write_text(SOURCE)
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A dataset; whoever changes it copies it first."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "small.yaml").write_text(RECIPE)
    assert run(folder, *BUILD, "--out", "d").returncode == 0
    return folder / "d"


@pytest.fixture(scope="module")
def run() -> Run:
    """A function that runs the command in a folder, in a process of its own."""
    return partial(forked().run, code=MAIN)


BUILD = ("build", "--aoi", BOX, "--recipe", "small.yaml")


def mine(folder: Path, more: str = "") -> tuple[str, ...]:
    """Write a recipe of one's own source; return the command that builds it."""
    source = f'{{source: "./my_source.py:Mine"{more}}}'
    (folder / "mine.yaml").write_text(f"name: mine\ngrid: {{chip_px: 32, resolution: 10}}\nlayers:\n  a: {source}\n")
    return ("build", "--aoi", BOX, "--recipe", "mine.yaml", "--workers", "1")


def told(done: Done, code: int, *parts: str) -> None:
    """Check how a command ended: the code, the words, a hint, and no traceback."""
    assert done.returncode == code, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    hints = [line for line in done.stderr.splitlines() if line.startswith("hint: ")]
    assert len(errors) == 1, done.stderr
    assert len(hints) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in errors[0] + hints[0]


# -- the first command -------------------------------------------------------------------------------------------------


def test_an_area_that_is_misspelt(here: Path, run: Run) -> None:
    done = run(here, "build", "--aoi", "luxemburg", "--recipe", "demo")
    told(done, 2, "unknown area 'luxemburg'", "did you mean 'luxembourg'?")


def test_an_area_file_that_is_not_there(here: Path, run: Run) -> None:
    told(run(here, "plan", "--aoi", "./fields.geojson", "--recipe", "demo"), 2, "fields.geojson", "m3leo-prep aoi list")


def test_no_recipe_means_m3leo_and_says_so(here: Path, run: Run) -> None:
    done = run(here, "build", "--aoi", "demo")
    assert "no --recipe: m3leo; there are clip-3modal, demo" in done.stderr
    told(done, 2, "the area is too small for blocks")


def test_a_recipe_that_is_no_yaml(here: Path, run: Run) -> None:
    (here / "bad.yaml").write_text("name: x\nlayers:\n  a: {source: ramp\n  b: 3\n")
    done = run(here, "plan", "--aoi", "demo", "--recipe", "bad.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error: bad.yaml, line 4: not valid YAML: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("  a: {source: ramp, resoluton: 10}", ("unknown option 'resoluton'", "did you mean 'resolution'?")),
        ("  a: {source: rmap}", ("unknown source 'rmap'", "did you mean 'ramp'?")),
        ("  a: {sorce: ramp}", ("line 3", "'layers.a.source' is missing", "is 'sorce' meant to be 'source'?")),
        ("  a: {source: ramp}\nsplits: {block_km: atuo}", ("line 4", "neither a number nor 'auto'", "mean 'auto'")),
        ("  a: {source: ramp, encoding: {dtyp: uint8}}", ("line 3", "unknown key", "did you mean 'dtype'?")),
        ("  a: {source: ramp, role: lable}", ("line 3", "'lable' is not known", "did you mean 'label'?")),
    ],
)
def test_keys_and_values_that_are_misspelt(line: str, says: tuple[str, ...], here: Path, run: Run) -> None:
    (here / "bad.yaml").write_text(f"name: x\nlayers:\n{line}\n")
    told(run(here, "plan", "--aoi", BOX, "--recipe", "bad.yaml"), 2, *says)


def test_options_that_are_misspelt(here: Path, run: Run) -> None:
    told(run(here, *BUILD, "--out", "d", "--runner", "thread"), 2, "did you mean 'threads'?")
    told(run(here, *BUILD, "--out", "d", "--layers", "positoin"), 2, "did you mean 'position'?")
    told(run(here, "plan", *BUILD[1:], "--sample", "4", "--by", "block"), 2, "did you mean 'blocks'?")
    assert not (here / "d").exists()


def test_nobody_is_logged_in(here: Path, run: Run) -> None:
    done = run(here, *mine(here, ", asks: true"), "--out", "d")
    told(done, 3, "my archive: nobody is logged in", "export TOKEN=...")
    assert not (here / "d").exists()


# -- the disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(here: Path) -> Iterator[Path]:
    """A file system of 4 MB in the folder."""
    yield from _mounted(here / "disk", "size=4m")


def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up(disk: Path, here: Path, run: Run) -> None:
    command = (*mine(here), "--out", "disk/d", "--json")
    (here / "is_full").touch()
    done = run(here, *command)
    assert (done.returncode, done.stdout) == (5, "")
    error = json.loads(done.stderr.splitlines()[-1])
    assert error["error"] == "StoreError"
    assert "space" in error["message"]
    assert "same command" in error["hint"]
    (here / "is_full").unlink()
    (disk / "filler").unlink()
    again = json.loads(run(here, *command).stdout)
    assert (again["units_done_before"], again["units_built"], again["verified"]) == (1, 2, True)


def test_a_folder_that_cannot_be_written(here: Path, run: Run) -> None:
    for folder in _mounted(here / "ro", "ro,size=1m"):
        told(run(here, *BUILD, "--out", "ro/d"), 5, "ro/d", "ead-only")
        assert list(folder.iterdir()) == []


def test_a_file_where_the_folder_should_be(here: Path, run: Run) -> None:
    (here / "d").write_text("a thesis")
    told(run(here, *BUILD, "--out", "d"), 5, "d is a file, not a folder", "--out")
    assert (here / "d").read_text() == "a thesis"


# -- runs that end early -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_run_that_is_stopped_goes_on(how: signal.Signals, code: int, here: Path, run: Run) -> None:
    command = (*mine(here), "--out", "d")
    reads, slow, ledger = here / "reads.txt", here / "is_slow", here / "d" / ".m3leo" / "ledger"
    slow.touch()
    process = forked().start(here, *command, code=MAIN)
    deadline = time.monotonic() + 60

    def is_between() -> bool:
        """Return whether the second unit is begun, and the first one written down."""
        begun = reads.exists() and len(reads.read_text().split()) > 1
        return begun and any(file.stat().st_size for file in ledger.iterdir())

    while not is_between():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    if how == signal.SIGINT:
        assert err.endswith("interrupted: what is finished is kept; run the same command again to go on\n")
    slow.unlink()
    again = json.loads(run(here, *command, "--json").stdout)
    assert again["units_done_before"] >= 1
    assert again["units_built"] == 3 - again["units_done_before"]
    assert again["verified"] is True


# -- a dataset that was moved, copied, or comes from elsewhere ---------------------------------------------------------


def test_a_dataset_that_was_moved_goes_on_working(made: Path, here: Path, run: Run) -> None:
    (here / "elsewhere").mkdir()
    shutil.copytree(made, here / "elsewhere" / "renamed")
    checked = json.loads(run(here, "verify", "elsewhere/renamed", "--json").stdout)
    assert checked["ok"] is True
    assert checked["checked"]["chip slots derived again"] > 0
    grown = run(here, *BUILD, "--out", "elsewhere/renamed", "--json")
    assert json.loads(grown.stdout)["units_built"] == 0, "nothing has changed"


def test_a_copy_that_broke_off_names_what_is_missing(made: Path, here: Path, run: Run) -> None:
    shutil.copytree(made, here / "half")
    shard = min(p for p in (here / "half/chips.zarr/position/position/c").rglob("*") if p.is_file())
    name = str(shard.relative_to(here / "half"))
    shard.unlink()
    told(run(here, "verify", "half"), 6, name, "missing", "`build` again")
    told(run(here, "show", "half", "0"), 5, name, "is not here", "`build` again")
    with pytest.raises(StoreError, match=re.escape(name)):  # and never read as missing pixels
        mp.open_dataset(here / "half")["position"]["position"][0].load()
    assert run(here, *BUILD, "--out", "half").returncode == 0
    assert shard.is_file()
    assert run(here, "verify", "half").returncode == 0


def test_a_dataset_of_a_newer_version(made: Path, here: Path, run: Run) -> None:
    shutil.copytree(made, here / "new")
    for file in (here / "new/manifest.json", here / "new/.m3leo/plan/plan.json"):
        document = json.loads(file.read_text())
        file.write_text(json.dumps(document | {"format_version": "2.0"}))
    before = (here / "new/manifest.json").read_bytes()
    for command in (("verify", "new"), ("show", "new", "0"), ("finalize", "new"), (*BUILD, "--out", "new")):
        told(run(here, *command), 5, "2.0", "1.0", "pip install --upgrade m3leo-prep")
    assert (here / "new/manifest.json").read_bytes() == before


def test_a_copy_without_its_build_state(made: Path, here: Path, run: Run) -> None:
    shutil.copytree(made, here / "copy", ignore=shutil.ignore_patterns(".m3leo"))
    assert run(here, "verify", "copy").returncode == 0
    told(run(here, *BUILD, "--out", "copy"), 5, "without the state of its build", ".m3leo")


def test_what_is_no_dataset(here: Path, run: Run) -> None:
    for command in (("verify", "here"), ("show", "here", "0"), ("status", "here"), ("finalize", "here")):
        told(run(here, *command), 5, "here")
    told(run(here, "export", "here", "--chips", "0"), 5, "here")
    told(run(here, "explain", "here", "0", "s1"), 5, "here")


def test_a_closed_pipe_is_no_error(here: Path) -> None:
    line = f"{sys.executable} -c '{MAIN}' aoi list | head -1"
    done = subprocess.run(["bash", "-c", line], cwd=here, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stderr == ""

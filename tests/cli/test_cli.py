"""The command line: what it prints where, how it ends, and what it says when something is wrong."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.cli.main import main
from m3leo_prep.pipeline import unit as unit_module
from tests.cli.forked import MAIN, Started, forked

BOX = "9.300,57.100,9.312,57.104"
"""Twelve chips of the small recipe."""
SMALL = """\
name: small
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12]]}}
"""
SOURCE = """
from dataclasses import dataclass
from pathlib import Path
import time
import numpy as np
from shapely.geometry import box
from m3leo_prep.core import errors
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable


@dataclass(frozen=True)
class Mine:
    '''Fails as it is told, when looked for or when read.'''

    find_error: str = ""
    read_error: str = ""
    listing: str = ""
    started: str = ""
    seconds: float = 0.0

    def fail(self, name):
        if name == "bug":
            raise ZeroDivisionError("a mistake in the code")
        if name:
            raise getattr(errors, name)("it went wrong", hint="mend it", where="the source")

    def describe(self):
        return SourceInfo((Variable("v", Kind.CONTINUOUS, ("v",)),), version="1", pitch=10.0, is_static=True)

    def find(self, area, slots):
        self.fail(self.find_error)
        name = Path(self.listing).read_text() if self.listing else "all"
        yield Item(name, box(-180, -90, 180, 90))

    def read(self, items, geobox, slot):
        if self.started:
            with open(self.started, "a") as log:
                log.write("read\\n")
        time.sleep(self.seconds)
        self.fail(self.read_error)
        around = geobox.pad(4)
        data = np.ones((1, *around.shape), np.float32)
        yield Raster(data, np.ones(data.shape, bool), around, items[0], "v")
"""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """All of standard output as one JSON value."""
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command in an empty folder, in this process, without a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(unit_module, "PAUSE_SECONDS", 0.0)
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "my_source.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def command(*args: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["m3leo-prep", *args])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return Done(code, told.out, told.err)

    return command


def build(run: Run, *more: str, recipe: str = "small.yaml", out: str = "d") -> Done:
    return run("build", "--aoi", BOX, "--recipe", recipe, "--out", out, *more)


def mine(options: str = "") -> str:
    """Write a recipe of the user's own source and return its name."""
    source = f'{{source: "./my_source.py:Mine"{options}}}'
    Path("mine.yaml").write_text(f"name: mine\ngrid: {{chip_px: 32, resolution: 10}}\nlayers:\n  a: {source}\n")
    return "mine.yaml"


SMALL_SHARDS = f"from m3leo_prep.core import layer; layer.SHARD_CHIPS = (1,); {MAIN}"


def spawn(folder: Path, *args: str, **more: Any) -> Started:
    return forked().start(folder, *args, code=SMALL_SHARDS, **more)


# -- JSON --------------------------------------------------------------------------------------------------------------


def test_listings_are_json_and_nothing_else(run: Run) -> None:
    sources = run("sources", "--json")
    assert sources.code == 0
    assert sources.err == ""
    assert {"local", "ramp", "synthetic"} <= {row["source"] for row in sources.json}
    ramp = next(row for row in sources.json if row["source"] == "ramp")
    assert ramp["options"] == ["crs", "pitch"]
    assert ramp["about"].endswith(".")
    recipes = run("recipes", "--json")
    demo = next(row for row in recipes.json if row["recipe"] == "demo")
    assert "s1" in demo["layers"]
    areas = run("aoi", "list", "--json")
    assert {"demo", "europe", "luxembourg"} <= {row["aoi"] for row in areas.json}
    assert all(row["chips"] > 0 and row["licence"] for row in areas.json)


def test_an_area_is_shown(run: Run) -> None:
    shown = run("aoi", "show", "demo", "--json")
    assert shown.json["chips"] == 16
    assert shown.json["zones"] == [32632]
    assert shown.json["bounds"] == [9.31, 57.12, 9.58, 57.265]
    text = run("aoi", "show", "demo").out
    assert "[" not in text.split("name")[0], "markup is not printed"
    for word in ("chips", "16", "32,632" if "32,632" in text else "32632", "CC0-1.0"):
        assert word in text


def test_a_plan_is_json_and_nothing_else(run: Run) -> None:
    done = run("plan", "--aoi", BOX, "--recipe", "small.yaml", "--json")
    assert done.code == 0
    assert done.json["chips"] == 12
    position, s1 = done.json["layers"]
    assert (position["layer"], position["raw_bytes"]) == ("position", 12 * 2 * 32 * 32 * 4)
    assert (s1["layer"], s1["raw_bytes"], s1["slots"]) == ("s1", 12 * 4 * 32 * 32 * 2, 1)
    assert done.json["raw_bytes"] == position["raw_bytes"] + s1["raw_bytes"]
    assert "looking for items of s1" in done.err


def test_building_verifying_and_going_on(run: Run) -> None:
    done = build(run, "--json")
    assert done.code == 0
    made = done.json
    assert (made["path"], made["chips"], made["units_built"], made["units_done_before"]) == ("d", 12, 2, 0)
    assert made["verified"] is True
    assert made["reasons"]["position"] == {"OK": 24}
    checked = run("verify", "d", "--json")
    assert checked.code == 0
    assert checked.json["ok"] is True
    assert checked.json["problems"] == []
    assert checked.json["checked"]["chips"] == 12
    again = build(run, "--json")
    assert (again.json["units_built"], again.json["units_done_before"]) == (0, 2)


def test_what_people_read(run: Run) -> None:
    done = build(run)
    assert done.code == 0
    assert done.out == "", "standard output is for what was asked for"
    assert "12 chips in d, verified." in done.err
    assert "Next: m3leo-prep show d 0" in done.err
    assert "position 1/1, s1 1/1 units" in done.err
    checked = run("verify", "d")
    assert "12 chips" in checked.out
    assert "all good" in checked.out
    table = run("plan", "--aoi", BOX, "--recipe", "small.yaml").out
    for word in ("12 chips", "position", "ramp", "bspline", "mean", "10 m"):
        assert word in table
    assert "synthetic" in run("sources").out
    assert "demo" in run("recipes").out
    assert "luxembourg" in run("aoi", "list").out


def test_resuming_an_unchanged_recipe_says_nothing_has_changed(run: Run) -> None:
    text = SMALL + "  landcover: {role: label, source: synthetic, product: landcover}\n"
    Path("small.yaml").write_text(text)
    build(run)
    again = build(run)
    assert "has changed" not in again.err
    assert "items went" not in again.err


def test_growth_and_new_layers_are_told(run: Run) -> None:
    build(run)
    Path("small.yaml").write_text(SMALL + "  more: {source: ramp}\n")
    grown = run("build", "--aoi", "9.300,57.100,9.318,57.104", "--recipe", "small.yaml", "--out", "d")
    assert grown.code == 0
    assert "new chips, the old ones stay" in grown.err
    assert "new layer more" in grown.err


# -- what is not written -----------------------------------------------------------------------------------------------


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }


def test_a_dry_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    before = _files(tmp_path)
    done = build(run, "--dry-run")
    assert done.code == 0
    assert "12 chips" in done.out
    assert build(run, "--dry-run", "--json").json["chips"] == 12
    assert _files(tmp_path) == before
    assert not (tmp_path / "d").exists()


def test_a_dry_run_of_a_dataset_leaves_it_as_it_is(run: Run, tmp_path: Path) -> None:
    build(run, "--layers", "position")
    before = _files(tmp_path)
    assert build(run, "--dry-run").code == 0
    assert _files(tmp_path) == before


def test_without_a_terminal_an_unnamed_folder_needs_yes(run: Run, tmp_path: Path) -> None:
    before = _files(tmp_path)
    done = run("build", "--aoi", BOX, "--recipe", "small.yaml")
    assert done.code == 2
    assert "this would write up to" in done.err
    assert "--yes" in done.err
    assert _files(tmp_path) == before
    assert run("build", "--aoi", BOX, "--recipe", "small.yaml", "--yes").code == 0


def test_json_stays_json_where_a_question_would_be_asked(run: Run) -> None:
    done = run("build", "--aoi", BOX, "--recipe", "small.yaml", "--json")
    assert done.code == 2
    assert done.out == ""
    assert json.loads(done.err.splitlines()[-1])["error"] == "ConfigError"


def test_the_folders_of_two_boxes_are_two(run: Run) -> None:
    """The default name must not lose the end of a coordinate, which looks like a file's suffix."""
    paths = set()
    for box in ("9.3,57.1,9.304,57.102", "9.3,57.1,9.304,57.104"):
        paths.add(run("build", "--aoi", box, "--recipe", "small.yaml", "--yes", "--json").json["path"])
    assert len(paths) == 2


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [("n\n", 2), ("y\n", 0)])
def test_on_a_terminal_it_asks(
    answer: str, code: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal(answer))
    done = run("build", "--aoi", BOX, "--recipe", "small.yaml")
    assert done.code == code
    assert "Build it in" in done.err
    assert "12 chips" in done.out + done.err
    assert len(list(tmp_path.glob("*-small"))) == (code == 0)
    assert ("nothing was done" in done.err) == bool(code)


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["plan", "--aoi", "luxemburg", "--recipe", "demo"], ["unknown area 'luxemburg'", "did you mean 'luxembourg'"]),
        (["plan", "--aoi", BOX, "--recipe", "dmeo"], ["no recipe is called 'dmeo'", "did you mean 'demo'"]),
        (["plan", "--aoi", BOX, "--recipe", "./absent.yaml"], ["no recipe file at ./absent.yaml", "demo"]),
        (["plan", "--aoi", BOX, "--recipe", "small.yaml", "--layers", "s2"], ["no layer 's2'", "position, s1"]),
        (["build", "--aoi", BOX, "--recipe", "small.yaml", "--layers", "positoin"], ["did you mean 'position'"]),
        (["build", "--aoi", BOX, "--recipe", "small.yaml", "--runner", "thread"], ["did you mean 'threads'"]),
        (["build", "--aoi", BOX, "--recipe", "small.yaml", "--memory", "lots"], ["'lots' is not a size", "8GB"]),
        (["aoi", "show", "POINT (3 4)"], ["polygon"]),
    ],
)
def test_wrong_arguments_end_with_2_and_the_way_out(args: list[str], says: list[str], run: Run, tmp_path: Path) -> None:
    before = _files(tmp_path)
    done = run(*args)
    assert done.code == 2
    assert done.out == ""
    lines = done.err.splitlines()
    assert any(line.startswith("error: ") for line in lines)
    for part in says:
        assert part in done.err
    assert "Traceback" not in done.err
    assert _files(tmp_path) == before


@pytest.mark.parametrize(
    "args",
    [
        ["bild"],
        ["build"],
        ["build", "--aoi"],
        ["verify"],
        ["plan", "--aio", "x"],
        ["build", "--aoi", "demo", "--workers", "0"],
    ],
)
def test_wrong_usage_ends_with_2_and_no_traceback(args: list[str], run: Run) -> None:
    done = run(*args)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert "bug" not in done.err
    assert done.err


def test_errors_are_json_where_output_is(run: Run) -> None:
    done = run("plan", "--aoi", BOX, "--recipe", "dmeo", "--json")
    assert (done.code, done.out) == (2, "")
    told = json.loads(done.err)
    assert told == {
        "error": "ConfigError",
        "message": "no recipe is called 'dmeo'",
        "where": "",
        "hint": "did you mean 'demo' or 'm3leo'?",
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [("ConfigError", 2), ("MissingDependency", 2), ("CredentialsError", 3), ("SourceError", 4), ("PublishError", 5)],
)
def test_each_error_ends_with_its_code(error: str, code: int, run: Run) -> None:
    done = build(run, recipe=mine(f", find_error: {error}"))
    assert done.code == code
    assert "error: the source: it went wrong\nhint: mend it\n" in done.err
    assert "Traceback" not in done.err
    assert not Path("d").exists()


def test_a_folder_with_other_things_ends_with_5(run: Run) -> None:
    Path("d").mkdir()
    Path("d/thesis.doc").write_text("mine")
    done = build(run)
    assert done.code == 5
    assert "holds something else" in done.err
    assert _files(Path("d")) == {"thesis.doc": b"mine"}


def test_another_dataset_ends_with_5(run: Run) -> None:
    build(run)
    assert build(run, recipe=mine()).code == 5


def test_no_dataset_ends_with_5(run: Run) -> None:
    done = run("verify", "nowhere")
    assert done.code == 5
    assert "there is no dataset at nowhere" in done.err


def test_damage_ends_with_6_and_is_named(run: Run) -> None:
    build(run)
    shard = next(p for p in Path("d/chips.zarr/position/position/c").rglob("*") if p.is_file())
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(bytes(data))
    name = str(shard.relative_to("d"))
    done = run("verify", "d")
    assert done.code == 6
    assert name in done.out
    told = run("verify", "d", "--json")
    assert told.code == 6
    assert told.json["ok"] is False
    assert name in {problem["where"] for problem in told.json["problems"]}
    assert json.loads(told.err.splitlines()[-1])["error"] == "VerifyError"


def test_holes_that_may_fill_end_with_7_and_are_filled(run: Run) -> None:
    done = build(run, "--json", recipe=mine(", read_error: TransientError"))
    assert done.code == 7
    assert done.json["retryable_holes"] == 12
    assert done.json["reasons"]["a"] == {"PROVIDER_ERROR": 12}
    told = build(run, recipe=mine(", read_error: TransientError"))
    assert told.code == 7
    assert "12 holes may fill: run the same command again" in told.err


def test_a_bug_in_a_users_source_is_told_as_that_sources(run: Run) -> None:
    done = build(run, recipe=mine(", find_error: bug"))
    assert done.code == 4
    assert "failed in find(): ZeroDivisionError: a mistake in the code" in done.err
    assert "my_source.py, line" in done.err
    assert "report it" not in done.err


def test_a_bug_ends_with_1_and_asks_for_a_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a mistake in the code")

    monkeypatch.setattr("m3leo_prep.cli.building.make_plan", fail)
    done = build(run)
    assert done.code == 1
    assert "ZeroDivisionError: a mistake in the code" in done.err
    assert done.err.endswith("please report it with the lines above\n")
    assert done.out == ""


@pytest.mark.parametrize("name", ["a[b]", "a[/b]", "[bold]a"])
def test_brackets_in_a_name_are_letters(name: str, run: Run) -> None:
    """Square brackets are markup to the library that prints."""
    done = build(run, out=name)
    assert done.code == 0
    assert f"12 chips in {name}, verified." in done.err
    assert run("verify", name).code == 0


def test_findings_are_printed_as_they_are(run: Run) -> None:
    build(run, out="d")
    foreign = Path("d/chips.zarr/position/[red]x[blue]")
    foreign.write_text("mine")
    done = run("verify", "d")
    assert done.code == 6
    assert "[red]x[blue]" in done.out


# -- signals, terminals, imports ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_an_interrupted_build_says_so_and_goes_on_later(runner: str, run: Run, tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group, as on a terminal."""
    started = tmp_path / "started"
    name = mine(f", started: {started}, seconds: 0.1")
    args = ["build", "--aoi", BOX, "--recipe", name, "--out", "d", "--workers", "1", "--runner", runner]
    process = spawn(tmp_path, *args, leads=True)
    try:
        end = time.monotonic() + 60
        while not (started.exists() and len(started.read_text().splitlines()) >= 4) and time.monotonic() < end:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert "interrupted: what is finished is kept; run the same command again to go on" in err
    again = spawn(tmp_path, *args[:-4], "--json")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    made = json.loads(out)
    assert made["units_done_before"] >= 2
    assert made["units_built"] + made["units_done_before"] == 12
    assert made["verified"]


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def test_a_log_file_has_plain_lines(tmp_path: Path, run: Run) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    args = ["build", "--aoi", BOX, "--recipe", "small.yaml", "--out", "d", "--layers", "position"]
    done = spawn(tmp_path, *args, env=environment)
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert not CONTROL.search(out + err)
    assert len(err.splitlines()) < 12, "a line now and then, not one a unit"


def _on_a_terminal(tmp_path: Path, *args: str, **environment: str) -> str:
    """Return what a command writes to standard error when that is a terminal."""
    master, slave = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR"}} | {"TERM": "xterm-256color"}
    # A new process: what is imported has looked whether there is a terminal.
    command = [sys.executable, "-c", SMALL_SHARDS, *args]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=slave, env=env | environment)
    os.close(slave)
    written = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # how Linux says that nobody holds the other end any more
            break
        if not part:
            break
        written += part
    os.close(master)
    process.communicate(timeout=60)
    assert process.returncode == 0, written.decode()
    return written.decode()


COLOR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7])(?:;[0-9;]*)?m")


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["color", "NO_COLOR"])
def test_a_terminal_shows_bars_and_no_color_if_not_wanted(
    environment: dict[str, str], run: Run, tmp_path: Path
) -> None:
    args = ["build", "--aoi", BOX, "--recipe", "small.yaml", "--out", "d", "--layers", "position"]
    text = _on_a_terminal(tmp_path, *args, **environment)
    assert "12/12" in text
    assert bool(COLOR.search(text)) == (not environment)


HEAVY = {
    "numpy", "shapely", "pyproj", "yaml", "pandas", "pyarrow", "xarray", "zarr",
    "numba", "rasterio", "geopandas", "odc.geo", "torch", "dask", "matplotlib", "scipy",
}  # fmt: skip


@pytest.mark.parametrize("args", [["--help"], ["build", "--help"], ["aoi", "--help"], ["verify", "-h"], ["--version"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['m3leo-prep', *{args!r}]\n"
        "from m3leo_prep.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print('LOADED', *sorted({HEAVY!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, loaded = done.stdout.rpartition("LOADED")
    assert loaded.strip() == ""
    assert text.strip()


@pytest.mark.parametrize(
    "args", [["build"], ["plan"], ["verify"], ["sources"], ["recipes"], ["aoi", "list"], ["aoi", "show"]]
)
def test_every_command_has_help_with_an_example(args: list[str], run: Run) -> None:
    done = run(*args, "--help")
    assert done.code == 0
    assert f"Example: m3leo-prep {' '.join(args)}" in " ".join(done.out.split())
    assert "--json" in done.out


def test_the_version_is_printed(run: Run) -> None:
    from m3leo_prep import __version__

    assert run("--version").out.strip() == __version__


def test_a_closed_pipe_is_no_bug(tmp_path: Path) -> None:
    """``m3leo-prep aoi list | head -0``."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "aoi", "list"],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(60) in {0, 1}
    process.stderr.close()
    assert "Traceback" not in err
    assert "bug" not in err


def test_processes_and_workers_are_taken(run: Run) -> None:
    done = build(run, "--runner", "processes", "--workers", "2", "--memory", "1GB", "--layers", "position", "--json")
    assert done.code == 0
    assert done.json["reasons"] == {"position": {"OK": 24}}


def test_refresh_asks_the_sources_again(run: Run) -> None:
    listing = Path("listing")
    listing.write_text("one")
    name = mine(f", listing: {listing.absolute()}")
    build(run, recipe=name)
    listing.write_text("two")
    kept = build(run, "--json", recipe=name)
    assert kept.json["units_built"] == 0
    fresh = build(run, "--json", "--refresh", recipe=name)
    assert fresh.json["units_built"] == 1

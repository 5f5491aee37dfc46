"""What holds of every command, whichever there are: help with an example, JSON, speed, completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from m3leo_prep.cli.main import app, main

ROOT = Path(__file__).parents[2]
HEAVY = {"numpy", "pandas", "pyarrow", "shapely", "pyproj", "xarray", "zarr", "rasterio", "geopandas", "numba", "dask"}
HEAVY |= {"odc", "torch", "matplotlib", "bokeh", "distributed", "m3leo_prep.pipeline.build"}
RUN = "from m3leo_prep.cli.main import main; main()"


def _walk(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _walk(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(_walk(typer.main.get_command(app), ()))
IDS = [" ".join(path) for path in COMMANDS]


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*args: str, **env: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["m3leo-prep", *args])
        with monkeypatch.context() as patch:
            for key, value in env.items():
                patch.setenv(key, value)
            with pytest.raises(SystemExit) as caught:
                main()
        told = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Done(caught.value.code, told.out, told.err)

    return command


def imported(*args: str) -> set[str]:
    """Return the modules that a run of a command has imported when it ends: what makes it slow."""
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {RUN}"
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    assert done.stdout
    return set(done.stderr.split())


@pytest.fixture(scope="module")
def helps() -> dict[tuple[str, ...], str]:
    """The help of every command as a terminal of 80 columns shows it, made in one process."""
    code = """
import io, json, sys, contextlib
from m3leo_prep.cli.main import main
told = []
for path in json.loads(sys.argv[1]):
    sys.argv = ["m3leo-prep", *path, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        main()
    told.append(text.getvalue())
heavy = sorted(set(json.loads(sys.stdin.read())) & set(sys.modules))
print(json.dumps([told, heavy]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(list(COMMANDS))],
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "80"},
        input=json.dumps(sorted(HEAVY)),
        capture_output=True,
        text=True,
        check=True,
    )
    told, heavy = json.loads(done.stdout)
    assert heavy == [], "help must not wait for these"
    return dict(zip(COMMANDS, told, strict=True))


def test_the_commands_of_the_contract_are_there() -> None:
    wanted = {"build", "plan", "finalize", "status", "verify", "show", "explain", "diff", "export"}
    assert wanted | {"doctor", "login", "check-source", "sources", "recipes", "aoi list", "aoi show"} <= set(IDS)


@pytest.mark.parametrize("path", COMMANDS, ids=IDS)
def test_help_has_an_example_and_fits_the_screen(path: tuple[str, ...], helps: dict[tuple[str, ...], str]) -> None:
    text = helps[path]
    assert f"Example: m3leo-prep {' '.join(path)}" in re.sub(r"\s+", " ", text)
    assert "--json" in text
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert "[bold]" not in text


@pytest.mark.parametrize("path", COMMANDS, ids=IDS)
def test_every_option_and_argument_is_explained(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert [p.name for p in command.params if not getattr(p, "help", "")] == []
    assert (command.help or "").strip().splitlines()[0].endswith((".", "resume."))
    assert [p.name for p in command.params if p.name == "as_json"] == ["as_json"]


@pytest.mark.parametrize("path", COMMANDS, ids=IDS)
def test_wrong_usage_is_one_json_line_where_json_is_asked_for(path: tuple[str, ...], run: Run) -> None:
    done = run(*path, "--no-such-option", "--json")
    assert (done.code, done.out) == (2, "")
    told = json.loads(done.err)
    assert told.keys() == {"error", "message", "where", "hint"}
    assert "--no-such-option" in told["message"]
    assert told["hint"] == f"m3leo-prep {' '.join(path)} --help"


HEAVY = {"numba", "rasterio", "geopandas", "pandas", "xarray", "zarr", "torch", "dask", "matplotlib", "bokeh", "h5py"}


def test_help_imports_nothing_that_computes() -> None:
    heavy = HEAVY | {"numpy", "shapely", "pyproj", "pyarrow"}
    assert imported("build", "--help") & heavy == set()


@pytest.mark.parametrize("args", [("aoi", "list"), ("aoi", "show", "luxembourg"), ("recipes",), ("sources",)])
def test_listings_import_nothing_heavy(args: tuple[str, ...]) -> None:
    """Their time is measured in benchmarks/bench_look.py."""
    assert imported(*args) & HEAVY == set()


def test_the_check_of_imports_can_fail() -> None:
    assert "numpy" in imported("aoi", "show", "luxembourg")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["biuld"], "Did you mean 'build'?"),
        (["chek-source"], "'check-source'"),
        (["aoi", "shwo"], "Did you mean 'show'?"),
        (["build", "--recpie", "demo"], "--recipe"),
        (["plan", "--aio", "demo"], "--aoi"),
    ],
)
def test_near_names_of_commands_and_options(args: list[str], says: str, run: Run) -> None:
    done = run(*args)
    assert done.code == 2
    assert says in done.err
    assert done.err.splitlines()[-1].startswith("hint: m3leo-prep")
    assert says in json.loads(run(*args, "--json").err)["message"]


# -- completion --------------------------------------------------------------------------------------------------------


def _bash(run: Run, words: list[str]) -> list[str]:
    """Return what bash would offer for the last word."""
    asked = {"COMP_WORDS": " ".join(["m3leo-prep", *words]), "COMP_CWORD": str(len(words))}
    return run(**asked, _M3LEO_PREP_COMPLETE="complete_bash").out.split()


def _zsh(run: Run, words: list[str]) -> list[str]:
    asked = {"_TYPER_COMPLETE_ARGS": " ".join(["m3leo-prep", *words])}
    return re.findall(r'\("([^":]+)', run(**asked, _M3LEO_PREP_COMPLETE="complete_zsh").out.replace("\n", "("))


@pytest.mark.parametrize("shell", [_bash, _zsh])
@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (["bui"], {"build"}),
        (["plan", "--aoi", "lux"], {"luxembourg"}),
        (["aoi", "show", "lux"], {"luxembourg"}),
        (["build", "--recipe", "de"], {"demo"}),
        (["plan", "--by", ""], {"blocks", "landcover", "admin"}),
        (["build", "--runner", "p"], {"processes"}),
        (["build", "--on-quota", ""], {"stop", "wait"}),
        (["export", "d", "--format", "n"], {"netcdf"}),
        (["check-source", "sy"], {"synthetic"}),
        (["plan", "--recipe", "demo", "--layers", "s"], {"s1", "s2"}),
        (["plan", "--recipe", "demo", "--layers", "s1,s"], {"s1,s2"}),
        (["plan", "--recipe", "no-such", "--layers", "s"], set()),
        (["plan", "--recipe", "clip-3modal", "--source", "s2=c"], {"s2=copernicus"}),
        (["plan", "--recipe", "no-such", "--source", "s"], set()),
        (["plan", "--aoi", "zzz"], set()),
    ],
)
def test_shells_are_offered_names(shell: Any, words: list[str], offers: set[str], run: Run) -> None:
    assert set(shell(run, words)) == offers


def test_files_of_this_folder_and_layers_of_a_dataset_are_offered(run: Run) -> None:
    Path("mine.yaml").write_text("name: mine\nlayers: {a: {source: ramp}, b: {source: ramp}}\n")
    Path("my_source.py").touch()
    Path("zoo.geojson").touch()
    Path("d").mkdir()
    Path("d/manifest.json").write_text('{"layers": {"x1": {}, "x2": {}}}')
    assert _bash(run, ["plan", "--recipe", "mi"]) == ["mine.yaml"]
    assert _bash(run, ["check-source", "my"]) == ["my_source.py"]
    assert _bash(run, ["plan", "--aoi", "zo"]) == ["zoo.geojson"]
    assert _bash(run, ["plan", "--recipe", "mine.yaml", "--layers", ""]) == ["a", "b"]
    assert _bash(run, ["show", "d", "0", "--layers", "x"]) == ["x1", "x2"]
    Path("mine.yaml").write_text("layers: [")
    assert _bash(run, ["plan", "--recipe", "mine.yaml", "--layers", ""]) == []


@pytest.mark.parametrize("words", [["plan", "--aoi", "lux"], ["plan", "--recipe", "demo", "--layers", "s"]])
def test_completion_of_a_process_imports_nothing_heavy(words: list[str]) -> None:
    code = "import sys; sys.argv[0] = 'm3leo-prep'\nfrom m3leo_prep.cli.main import main\n"
    code += "try: main()\nfinally: print(*sorted(set(sys.argv[1:]) & set(sys.modules)), file=sys.stderr)"
    asked = {"COMP_WORDS": " ".join(["m3leo-prep", *words]), "COMP_CWORD": str(len(words))}
    done = subprocess.run(
        [sys.executable, "-c", code, *HEAVY],
        env={**os.environ, **asked, "_M3LEO_PREP_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()
    assert done.stderr.strip() == ""


def test_the_page_of_commands_names_them_all() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text()
    assert [name for name in IDS if f"m3leo-prep {name}" not in page] == []
    options = {o for c in COMMANDS.values() for p in c.params for o in getattr(p, "opts", []) if o.startswith("--")}
    assert sorted(o for o in options - {"--help", "--seed"} if o not in page) == []

"""``doctor`` and ``login``: what they print and how they end; no secret is ever printed."""

from __future__ import annotations

import json
import netrc
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.forked import forked

LOGINS = """
from pathlib import Path


class Elsewhere:
    name = "elsewhere"
    title = "An archive whose own command logs in"
    signup = "https://example.org/signup"
    command = "elsewhere authenticate"
    prompts = ()
    path = Path("~/.elsewhere").expanduser()

    def stored(self):
        return self.path.exists()

    def store(self, answers):
        raise AssertionError("there is nothing to ask")
"""
ENTRIES = """\
[m3leo_prep.logins]
copernicus = m3leo_prep.sources.copernicus_login:CopernicusLogin
earthdata = m3leo_prep.sources.earthdata_login:Earthdata
elsewhere = elsewhere_login:Elsewhere
lacking = no_such_module_here:Lacking
"""
SECRET = 'open "sesame" #1'
RECIPE = """\
name: mine
layers:
  a: {{source: "./my_source.py:Mine", error: {error}}}
"""
SOURCE = """
from m3leo_prep.core import errors
from m3leo_prep.core.raster import Kind, SourceInfo, Variable


class Mine:
    def __init__(self, error):
        self.error = error

    def describe(self):
        return SourceInfo((Variable("v", Kind.CONTINUOUS, ("v",)),), version="1", pitch=10.0, is_static=True)

    def find(self, area, slots):
        return ()

    def read(self, items, geobox, slot):
        return ()

    def probe(self):
        if self.error != "none":
            raise getattr(errors, self.error)("it knows nobody here", hint="m3leo-prep login earthdata")
        return "logged in as jane"
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An empty home folder, and a package that adds logins."""
    package = tmp_path / "site" / "some_logins-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: some-logins\nVersion: 1\n")
    (package / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "site" / "elsewhere_login.py").write_text(LOGINS)
    (tmp_path / "home").mkdir()
    kept = {key: value for key, value in os.environ.items() if key != "NETRC"}
    return kept | {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path / "site"), "NO_COLOR": "1"}


@pytest.fixture
def run(tmp_path: Path, env: dict[str, str]) -> Run:
    """Return a function that runs the command in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "my_source.py").write_text(SOURCE)

    def command(*args: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return forked().run(folder, *args, env=env, typed=typed)

    return command


def doctor(run: Run, tmp_path: Path, error: str, *more: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "here" / "mine.yaml").write_text(RECIPE.format(error=error))
    return run("doctor", "--recipe", "mine.yaml", *more)


# -- doctor ------------------------------------------------------------------------------------------------------------


def test_a_machine_that_works(run: Run) -> None:
    done = run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[-1] == "Next: m3leo-prep build --aoi demo --recipe demo --out demo"
    assert lines[-2] == "this machine: ready"
    for line in lines[: lines.index("")]:
        assert line.split()[0] in {"ok", "-", "warn"}


@pytest.mark.parametrize(
    ("error", "code", "step"),
    [
        ("none", 0, "m3leo-prep plan --aoi AREA --recipe mine.yaml"),
        ("CredentialsError", 3, "m3leo-prep login earthdata"),
        ("SourceError", 2, "m3leo-prep login earthdata"),
    ],
)
def test_a_recipe_ends_with_its_code_and_the_next_step(
    error: str, code: int, step: str, run: Run, tmp_path: Path
) -> None:
    done = doctor(run, tmp_path, error)
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == f"Next: {step}"
    told = next(line for line in done.stdout.splitlines() if "layer a" in line)
    assert told.split()[0] == ("ok" if code == 0 else "fail")
    document = json.loads(doctor(run, tmp_path, error, "--json").stdout)
    assert document["ok"] == (code == 0)
    assert document["next"] == step
    assert document["findings"][-1]["name"] == "layer a"


def test_a_fault_without_a_command_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "here" / "typo.yaml").write_text("name: typo\nlayers: {a: {source: ramp, resoluton: 10}}\n")
    done = run("doctor", "--recipe", "typo.yaml")
    assert done.returncode == 2
    assert "did you mean 'resolution'?" in done.stdout
    assert done.stdout.splitlines()[-1] == "Next: mend what failed, then: m3leo-prep doctor --recipe typo.yaml"


def test_no_such_recipe(run: Run) -> None:
    done = run("doctor", "--recipe", "dmeo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'demo' or 'm3leo'?" in done.stderr


# -- login -------------------------------------------------------------------------------------------------------------


def test_providers_are_listed_with_their_state(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home" / ".netrc").write_text("this is no netrc")
    broken = run("login", "--json")
    rows = {row["provider"]: row for row in json.loads(broken.stdout)}
    assert rows.keys() == {"copernicus", "earthdata", "elsewhere", "gee", "hub", "lacking"}
    assert "not a netrc file" in broken.stderr
    assert "no_such_module_here" in broken.stderr
    assert rows["earthdata"]["stored"] is False
    assert rows["earthdata"]["path"] == "~/.netrc"
    (tmp_path / "home" / ".netrc").unlink()
    run("login", "earthdata", typed=f"jane\n{SECRET}\n")
    stored = {row["provider"]: row["stored"] for row in json.loads(run("login", "--json").stdout)}
    assert (stored["earthdata"], stored["copernicus"]) == (True, False)
    text = run("login").stdout
    assert "earthdata" in text
    assert "not stored" in text, "that of elsewhere"


def test_answers_come_a_line_each_where_nobody_types(run: Run, tmp_path: Path) -> None:
    done = run("login", "earthdata", typed=f"jane\n{SECRET}\n")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "sesame" not in done.stderr
    assert "https://urs.earthdata.nasa.gov/users/new" in done.stderr
    file = tmp_path / "home" / ".netrc"
    assert netrc.netrc(str(file)).authenticators("urs.earthdata.nasa.gov") == ("jane", "", SECRET)
    assert file.stat().st_mode & 0o777 == 0o600


def test_json_is_one_document_without_the_secret(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home" / ".netrc").touch(mode=0o644)
    (tmp_path / "home" / ".netrc").chmod(0o644)
    done = run("login", "earthdata", "--json", typed=f"jane\n{SECRET}\n")
    told = json.loads(done.stdout)
    assert told["provider"] == "earthdata"
    assert told["stored"] == str(tmp_path / "home" / ".netrc")
    assert "could be read by others" in told["notes"][0]
    assert "sesame" not in done.stdout + done.stderr


@pytest.mark.parametrize("typed", ["", "jane\n", "jane\n\n", "\nx\n", f"jane\n{SECRET}\x07\n"])
def test_missing_and_impossible_answers_store_nothing(typed: str, run: Run, tmp_path: Path) -> None:
    done = run("login", "earthdata", typed=typed)
    assert done.returncode == 2
    assert not (tmp_path / "home" / ".netrc").exists()
    assert "hint: " in done.stderr
    assert "sesame" not in done.stderr
    assert "Traceback" not in done.stderr


def test_what_may_be_left_empty(run: Run, tmp_path: Path) -> None:
    done = run("login", "copernicus", "--json", typed=f"jane\n{SECRET}\n")
    assert done.returncode == 0
    assert json.loads(done.stdout)["stored"] == str(tmp_path / "home" / ".netrc")
    assert not (tmp_path / "home" / ".aws").exists()


def test_a_secret_is_no_argument(run: Run) -> None:
    done = run("login", "earthdata", "sesame")
    assert done.returncode == 2
    assert "unexpected extra argument" in done.stderr


def test_a_provider_with_its_own_command_is_sent_there(run: Run) -> None:
    done = run("login", "elsewhere", typed="x\n")
    assert done.returncode == 2
    assert "run: elsewhere authenticate" in done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("earthdta", "did you mean 'earthdata'?"),
        ("zzz", "choose from: copernicus, earthdata, elsewhere, gee, hub, lacking"),
        ("lacking", "pip install no_such_module_here"),
    ],
)
def test_unknown_providers(name: str, says: str, run: Run) -> None:
    done = run("login", name)
    assert done.returncode == 2
    assert says in done.stderr
    told = json.loads(run("login", name, "--json").stderr)
    assert says in told["hint"]


def test_a_terminal_never_shows_the_password(tmp_path: Path, env: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    code = "from m3leo_prep.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "login", "earthdata"],
        stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = _until(ours, "User name")
    os.write(ours, b"jane\n")
    seen += _until(ours, "Password")
    time.sleep(0.3)  # the echo goes off after the prompt
    os.write(ours, SECRET.encode() + b"\n")
    seen += _until(ours, "Stored in")
    assert process.wait(30) == 0
    os.close(ours)
    assert "jane" in seen
    assert "sesame" not in seen
    file = tmp_path / "home" / ".netrc"
    assert netrc.netrc(str(file)).authenticators("urs.earthdata.nasa.gov") == ("jane", "", SECRET)


def _until(terminal: int, text: str) -> str:
    seen = ""
    while text not in seen:
        seen += os.read(terminal, 1000).decode(errors="replace")
    return seen

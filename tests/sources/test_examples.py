"""The examples of docs/examples are complete: what their pages say is run in copies of their folders."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from m3leo_prep.core.recipe import parse_recipe

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
BIN = Path(sys.executable).parent


def block(page: Path, language: str) -> str:
    """Return the page's only block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


def run(code: str, folder: Path, *, path: Path | None = None) -> str:
    """Run shell lines in a folder; return what they printed."""
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy(name: str, to: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES / name, to / name))


@pytest.mark.parametrize("name", ["one_file", "folder"])
def test_the_page_runs_in_its_folder(name: str, tmp_path: Path) -> None:
    folder = copy(name, tmp_path)
    said = run(block(folder / "README.md", "shell"), folder)
    assert "20 rules: 20 kept" in said
    assert "all good" in said


@pytest.mark.parametrize("page", sorted(EXAMPLES.glob("*/recipe.yaml")), ids=lambda path: path.parent.name)
def test_recipes_parse(page: Path) -> None:
    assert parse_recipe(page.read_text()).layers


def test_no_binaries_lie_in_the_examples() -> None:
    files = [path for path in EXAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.suffix for path in files} <= {".py", ".yaml", ".toml", ".md"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Install a copy of the package as pip does, offline, beside the environment; return copy and place."""
    folder = copy("package", tmp_path_factory.mktemp("package"))
    target = folder.parent / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", str(target), str(folder)], capture_output=True, text=True, check=False)
    if "setuptools" in done.stderr and "No module named" in done.stderr:
        pytest.skip("no setuptools here to build the package with")
    assert done.returncode == 0, done.stderr
    return folder, target


def test_an_installed_package_is_listed_checked_built_and_verified(installed: tuple[Path, Path]) -> None:
    folder, target = installed
    lines = block(folder / "README.md", "shell").splitlines()
    assert lines[0] == "pip install ."
    said = run("\n".join(lines[1:]), folder, path=target)
    assert "hillside" in said
    assert "20 rules: 20 kept" in said
    assert "20 passed" in said, "its own tests"
    assert "all good" in said


def test_its_object_builds_and_verifies_from_outside(installed: tuple[Path, Path]) -> None:
    folder, target = installed
    program = block(folder / "README.md", "python")
    (folder / "program.py").write_text(
        f"{program}\nreport = mp.verify(dataset.path)\nassert report.ok, report.problems\nprint(report.notes)\n"
    )
    said = run("python program.py", folder, path=target)
    assert "source 'mine' was given as an object" in said
    frozen = yaml.safe_load((folder / "my-hills" / ".m3leo" / "plan" / "plan.json").read_text())
    assert frozen["layers"][0]["source"]["made_from"] == "hillside.source.Hillside"

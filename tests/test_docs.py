"""Every block of README.md and docs/ is run, so that no page shows what does not work.

A page is run from top to bottom in an empty folder. ``python`` blocks of a page share their names; ``shell`` blocks,
and the lines after ``$`` in ``console`` blocks, see the installed ``m3leo-prep``; where they say nothing else, its
commands run in this process, which saves three seconds of imports each. A block with ``title="x.yaml"`` is
written to that file. ``yaml`` blocks that are whole recipes must parse. HTML comments steer this:
``<!-- not run: reason -->`` before a block; ``<!-- starts with: out/demo -->`` anywhere, for a page that goes on
from the demo dataset; ``<!-- with: earth-engine -->``, and the same with earthdata, copernicus or hub, anywhere, for a
page whose reader has that stand-in running.
"""

from __future__ import annotations

import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from m3leo_prep.cli.main import main
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.sources.synthetic import places
from m3leo_prep.testing.earthdata.example import fill

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]
NOT_CODE = {"text", "json", "toml", "mermaid", "bibtex"}
DEMO = "out/demo"
BUILD_DEMO = f"m3leo-prep build --aoi demo --recipe demo --out {DEMO} --yes"

FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^ *(?P=ticks) *$", re.MULTILINE | re.DOTALL
)
PLAIN = re.compile(r"m3leo-prep [^|&;<>$()`\\\\*?#~]+")
"""A command without anything that a shell would do."""
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]+?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    title: str
    """File that the block is written to, or empty."""
    code: str
    line: int
    not_run: str
    """Reason, or empty."""


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page, from top to bottom."""
    for match in FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        before = NOT_RUN.search(text[: match.start()])
        yield Block(
            language=language,
            title=title[1] if title else "",
            code=dedent(match["body"]),
            line=text.count("\n", 0, match.start()) + 1,
            not_run=before["reason"] if before else "",
        )


def run_shell(code: str, folder: Path) -> None:
    """Run a shell block; its output is shown if it fails."""
    lines = [line for line in code.splitlines() if line.strip()]
    if lines and all(PLAIN.fullmatch(line) for line in lines):
        for line in lines:
            run_command(line)
        return
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def run_command(line: str) -> None:
    """Run one ``m3leo-prep`` command in this process and folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", shlex.split(line))
        patch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0, line


def run_block(block: Block, page: str, folder: Path, names: dict[str, Any]) -> None:
    """Run one block of a page in ``folder``."""
    where = f"{page}:{block.line}"
    if block.not_run:
        print(f"{where}: not run: {block.not_run}")  # noqa: T201  shown by pytest -rP
    elif block.title:
        target = folder / block.title
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.code)
        if target.suffix == ".yaml":
            check_recipe(block.code, where)
    elif block.language == "python":
        # Empty lines in front, so that a traceback names the line of the page.
        exec(compile("\n" * block.line + block.code, str(ROOT / page), "exec"), names)
    elif block.language == "shell":
        run_shell(block.code, folder)
    elif block.language == "console":
        run_shell("\n".join(line[2:] for line in block.code.splitlines() if line.startswith("$ ")), folder)
    elif block.language == "yaml":
        check_recipe(block.code, where)
    else:
        assert block.language in NOT_CODE, f"{where}: a block of language '{block.language}' is not checked by anything"


def check_recipe(code: str, where: str) -> None:
    """Parse YAML, and as a recipe if it is a whole one."""
    content = yaml.safe_load(code)
    if isinstance(content, dict) and {"name", "layers"} <= content.keys():
        parse_recipe(code, where=where)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the demo dataset: the one that M3LEO_PREP_DEMO names, as ``make demo`` made it, or built once."""
    made = os.environ.get("M3LEO_PREP_DEMO")
    if made:
        return Path(made)
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_shell(BUILD_DEMO, folder)
    return folder / DEMO


@pytest.mark.parametrize("page", PAGES)
def test_page_runs(page: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / page).read_text()
    if f"<!-- starts with: {DEMO} -->" in text:
        shutil.copytree(request.getfixturevalue("demo"), tmp_path / DEMO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "KEPT_BYTES", 2**29)  # pages look at the same places again and again
    names: dict[str, Any] = {"__name__": "__docs__"}
    if "<!-- with: hub -->" in text:
        request.getfixturevalue("hub")
        monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    if "<!-- with: copernicus -->" in text:
        request.getfixturevalue("copernicus_example")
    if "<!-- with: earthdata -->" in text:
        earthdata = request.getfixturevalue("earthdata")
        fill(earthdata)
        for name, value in earthdata.environment.items():  # a filled stand-in has another login
            monkeypatch.setenv(name, value)
    with earth_engine(monkeypatch) if "<!-- with: earth-engine -->" in text else nullcontext():
        for block in blocks(text):
            run_block(block, page, tmp_path, names)


@contextmanager
def earth_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the stand-in of Earth Engine run, and commands find it."""
    from m3leo_prep.sources.gee.service.session import reset
    from m3leo_prep.testing.earth_engine.holdings.synthetic import SyntheticArchive
    from m3leo_prep.testing.earth_engine.serving.server import StandIn

    with StandIn(SyntheticArchive()) as server:
        monkeypatch.setenv("M3LEO_PREP_EE_URL", server.url)
        monkeypatch.setenv("M3LEO_PREP_EE_PROJECT", "stand-in")
        reset()
        yield
        reset()


PAGE = """
<!-- not run: it takes a day -->
```python
raise SystemExit
```
```python title="mine.py"
x = 2
```
1. In a list:
   ```python
   from pathlib import Path
   y = Path("mine.py").read_text()
   ```
"""


def test_blocks_are_found_and_marked() -> None:
    first, second, third = blocks(PAGE)
    assert (first.not_run, second.not_run, third.not_run) == ("it takes a day", "", "")
    assert (second.title, third.line) == ("mine.py", 10)
    assert third.code.startswith("from pathlib")


def test_names_and_files_are_shared_within_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(PAGE):
        run_block(block, "page", tmp_path, names)
    assert names["y"] == "x = 2\n"


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("```\nunmarked\n```", AssertionError),
        ("```bash\ntrue\n```", AssertionError),
        ("```shell\nfalse\ntrue\n```", AssertionError),
        ("```console\n$ false\nout\n```", AssertionError),
        ("```python\n1 / 0\n```", ZeroDivisionError),
        ("```yaml\nname: x\nlayers: {a: {}}\n```", ValueError),
        ("<!-- not run: a -->\n\nText in between.\n\n```python\n1 / 0\n```", ZeroDivisionError),
    ],
)
def test_a_page_that_does_not_work_fails(block: str, error: type[Exception], tmp_path: Path) -> None:
    (one,) = blocks(block)
    with pytest.raises(error):
        run_block(one, "page", tmp_path, {})


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    assert [page for page in PAGES[1:] if page.removeprefix("docs/") not in nav] == []


def test_architecture_names_every_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    package = ROOT / "m3leo_prep"
    modules = [path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py"]
    listed = re.findall(r"^- `([a-z_0-9/]+\.py)`: ", text, re.MULTILINE)
    assert sorted(listed) == sorted(modules)


def test_the_pages_of_products_are_what_their_classes_say() -> None:
    names = runpy.run_path(str(ROOT / "scripts" / "list_source_products.py"))
    for name, text in names["pages"]().items():
        assert (ROOT / "docs/reference" / name).read_text(encoding="utf-8") == text, name


def test_the_page_of_products_is_the_table() -> None:
    names = runpy.run_path(str(ROOT / "scripts" / "list_products.py"))
    assert (ROOT / "docs/reference/products.md").read_text(encoding="utf-8") == names["page"]()

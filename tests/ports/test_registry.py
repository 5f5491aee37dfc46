"""Sources by entry point and by file, and what is said when there is none."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.ports.registry import load_source, option_names, source_class, source_names
from m3leo_prep.sources.ramp import Ramp

GOOD = """
class Good:
    def __init__(self, folder, bands=("a",), *, deep=False):
        self.folder, self.bands, self.deep = folder, bands, deep
    def describe(self): return self.folder
    def find(self, area, slots): return iter(())
    def read(self, items, geobox, slot): return ()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(GOOD)
    return tmp_path


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the folder of an installed package with three sources, two of which cannot be imported."""
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\nProvides-Extra: deep\n")
    (info / "entry_points.txt").write_text(
        "[m3leo_prep.sources]\n"
        "elsewhere = elsewhere_source:Good\n"
        "deep = elsewhere_deep:Deep\n"
        "shallow = elsewhere_deep:Deep\n"
        "function = elsewhere_source:function\n"
    )
    (tmp_path / "elsewhere_source.py").write_text(GOOD + "\ndef function(): ...\n")
    (tmp_path / "elsewhere_deep.py").write_text("import no_such_package_anywhere.part\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("elsewhere_source", "elsewhere_deep"):
        sys.modules.pop(name, None)


def message(name: str, base: Path | None = None, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_source(name, options, base=base)
    return str(caught.value)


def test_built_in_sources_register_like_all_others() -> None:
    assert {"local", "ramp", "synthetic"} <= set(source_names())
    assert load_source("ramp", {"pitch": 20.0}) == Ramp(pitch=20.0)


def test_names_import_nothing() -> None:
    code = (
        "import sys; from m3leo_prep.ports.registry import source_names; source_names();"
        "print([m for m in sys.modules if m.startswith('m3leo_prep.sources') or m in ('numba', 'rasterio')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_package_brings_a_source(distribution: Path) -> None:
    assert "elsewhere" in source_names()
    assert load_source("elsewhere", {"folder": "x"}).describe() == "x"  # type: ignore[comparison-overlap]


def test_unknown_name_lists_near_ones() -> None:
    text = message("syntetic")
    assert "unknown source 'syntetic'" in text
    assert "did you mean 'synthetic'?" in text
    assert "./my_source.py:MySource" in text


def test_missing_package_gives_the_install_line(distribution: Path) -> None:
    with pytest.raises(MissingDependency) as caught:
        load_source("deep", {})
    assert "source 'deep' needs 'no_such_package_anywhere'" in str(caught.value)
    assert caught.value.hint == "pip install 'elsewhere[deep]'"
    with pytest.raises(MissingDependency) as caught:
        load_source("shallow", {})
    assert caught.value.hint == "pip install no_such_package_anywhere"


def test_unknown_option_lists_the_valid_ones(folder: Path) -> None:
    text = message("./good.py:Good", folder, folder="x", band=["b"])
    assert "source './good.py:Good': unknown option 'band'" in text
    assert "did you mean 'bands'?" in text
    assert "folder, bands, deep" in text


def test_option_far_from_all_lists_all(folder: Path) -> None:
    assert "folder, bands, deep" in message("./good.py:Good", folder, folder="x", qqqq=1)


def test_needed_option(folder: Path) -> None:
    assert "needs folder" in message("./good.py:Good", folder, deep=True)


def test_refused_value_is_told_with_the_source() -> None:
    assert "source 'ramp'" in message("ramp", pitch="wide")
    assert "source 'ramp'" in message("ramp", pitch=-1.0)


def test_options_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "open.py").write_text(GOOD.replace("*, deep=False", "**deep").replace("Good", "Open"))
    source = load_source("./open.py:Open", {"folder": "x", "anything": 1}, base=tmp_path)
    assert source.deep == {"anything": 1}  # type: ignore[attr-defined]
    assert option_names(source_class("./open.py:Open", base=tmp_path)) == ["folder", "bands"]


def test_file_is_relative_to_the_recipe(folder: Path) -> None:
    assert load_source("./good.py:Good", {"folder": "x"}, base=folder).describe() == "x"  # type: ignore[comparison-overlap]
    assert load_source(f"{folder}/good.py:Good", {"folder": "y"}).describe() == "y"  # type: ignore[comparison-overlap]


def test_missing_file_lists_its_neighbours(folder: Path) -> None:
    text = message("./god.py:Good", folder)
    assert "no source file" in text
    assert "god.py" in text
    assert "did you mean './good.py'?" in text


def test_missing_class_lists_those_there(folder: Path) -> None:
    text = message("./good.py:Goood", folder)
    assert "no class 'Goood'" in text
    assert "did you mean 'Good'?" in text


@pytest.mark.parametrize(
    ("code", "name", "says"),
    [
        ("class A:\n    def describe(self): ...\n    def find(self): ...\n", "A", "it lacks read"),
        ("class A: pass\n", "A", "it lacks describe, find, read"),
        ("A = 3\n", "A", "it is not a class"),
        ("class A:\n  def\n", "A", "line 2"),
    ],
)
def test_a_file_without_a_source(tmp_path: Path, code: str, name: str, says: str) -> None:
    (tmp_path / "bad.py").write_text(code)
    assert says in message(f"./bad.py:{name}", tmp_path)


def test_a_registered_name_that_is_no_source(distribution: Path) -> None:
    assert "it is not a class" in message("function")


def test_a_files_own_error_passes_and_leaves_no_half_module(tmp_path: Path) -> None:
    path = tmp_path / "raises.py"
    path.write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            load_source("./raises.py:A", {}, base=tmp_path)
    assert not [name for name in sys.modules if "raises" in name and name.startswith("m3leo_prep_user")]


def test_a_files_missing_package(tmp_path: Path) -> None:
    (tmp_path / "needs.py").write_text("import no_such_package_anywhere\n")
    with pytest.raises(MissingDependency) as caught:
        load_source("./needs.py:A", {}, base=tmp_path)
    assert caught.value.hint == "pip install no_such_package_anywhere"


def test_a_changed_file_is_loaded_anew_and_an_unchanged_one_is_not(folder: Path) -> None:
    first = source_class("./good.py:Good", base=folder)
    assert source_class("./good.py:Good", base=folder) is first
    (folder / "good.py").write_text(GOOD.replace("return self.folder", "return 'changed'"))
    assert load_source("./good.py:Good", {"folder": "x"}, base=folder).describe() == "changed"  # type: ignore[comparison-overlap]


def test_a_source_from_a_file_pickles_here_and_after_loading_elsewhere(folder: Path) -> None:
    source = load_source("./good.py:Good", {"folder": "x"}, base=folder)
    data = pickle.dumps(source)
    assert pickle.loads(data).describe() == "x"
    code = (
        "import pickle, sys; from pathlib import Path; from m3leo_prep.ports.registry import source_class;"
        f"source_class('./good.py:Good', base=Path({str(folder)!r}));"
        "print(pickle.loads(sys.stdin.buffer.read()).describe())"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "x"

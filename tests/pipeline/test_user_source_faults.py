"""What goes wrong in somebody's own source is told as theirs: which source, which item, which line, what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from m3leo_prep.core.errors import ConfigError, MissingDependency, PrepError, SourceError
from m3leo_prep.core.plan import SourceSpec
from m3leo_prep.pipeline import unit as unit_module
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads

from .conftest import plan

NAME = "./my_source.py:Mine"
SOURCE = """
import sys
from dataclasses import replace
from datetime import UTC, datetime
import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from m3leo_prep.core.errors import TransientError
from m3leo_prep.core.raster import Item, Kind, LegendClass, Raster, SourceInfo, Variable

WORLD = box(-180, -90, 180, 90)

class Mine:
    def describe(self):
        return SourceInfo((Variable("v", Kind.CONTINUOUS, ("a",)),), version="1", pitch=10.0, is_static=True)
    def find(self, area, slots):
        yield Item("one", WORLD)
    def read(self, items, geobox, slot):
        around = geobox.pad(4)
        data = np.ones((1, *around.shape), np.float32)
        raster = Raster(data, np.ones(data.shape, bool), around, items[0], "v")
        yield raster
"""
RECIPE = """
name: mine
grid: {chip_px: 32, resolution: 10}
layers:
  a: {source: "./my_source.py:Mine"}
"""
Attempt = Callable[..., PrepError]


@pytest.fixture
def attempt(tmp_path: Path, write_source: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """Return a function that builds with a line of the source changed and returns the error."""
    monkeypatch.setattr(unit_module, "PAUSE_SECONDS", 0.001)

    def run(old: str, new: str) -> PrepError:
        assert SOURCE.count(old) == 1
        base = write_source(SOURCE.replace(old, new))
        with pytest.raises(PrepError) as caught:
            build(plan(RECIPE, base=base), tmp_path / "d", runner=Threads(1))
        return caught.value

    return run


def line_of(text: str) -> int:
    return SOURCE.splitlines().index(text) + 1


def test_as_it_stands_it_builds(tmp_path: Path, write_source: Callable[[str], Path]) -> None:
    build(plan(RECIPE, base=write_source(SOURCE)), tmp_path / "d", runner=Threads(1))
    assert verify(tmp_path / "d").ok


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("raise ValueError('no such band')", "failed in read() of one: ValueError: no such band"),
        ("{}['key']", "failed in read() of one: KeyError: 'key'"),
        ("sys.exit(3)", "failed in read() of one: SystemExit: 3"),
        ("replace(raster, data=data[:, 1:])", "failed in read() of one: ValueError: data (1,"),
    ],
)
def test_an_exception_names_source_call_and_line(attempt: Attempt, new: str, said: str) -> None:
    error = attempt("        yield raster", f"        {new}\n        yield raster")
    assert type(error) is SourceError
    assert error.exit_code == 4
    assert error.message.startswith(f"source '{NAME}' {said}")
    assert error.where == f"my_source.py, line {line_of('        yield raster')}"
    assert error.hint == f"m3leo-prep check-source {NAME}"


def test_an_exception_in_find_and_describe(attempt: Attempt) -> None:
    assert "failed in find(): ZeroDivisionError" in attempt('        yield Item("one", WORLD)', "        1 / 0").message
    assert "failed in describe(): ZeroDivisionError" in attempt("pitch=10.0", "pitch=1 / 0").message


def test_an_exception_while_the_file_is_loaded(attempt: Attempt) -> None:
    error = attempt("WORLD = box(-180, -90, 180, 90)", "WORLD = 1 / 0")
    assert "failed in its constructor: ZeroDivisionError" in error.message
    assert error.where == f"my_source.py, line {line_of('WORLD = box(-180, -90, 180, 90)')}"


def test_a_package_that_is_missing_in_read(attempt: Attempt) -> None:
    error = attempt("        yield raster", "        import no_such_package_anywhere\n        yield raster")
    assert isinstance(error, MissingDependency)
    assert error.hint == "pip install no_such_package_anywhere"


def test_errors_of_ours_pass(attempt: Attempt, tmp_path: Path) -> None:
    """A transient failure stays one: a hole that is tried again, not a stop."""
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        attempt("        yield raster", "        raise TransientError('down')\n        yield raster")
    assert DatasetFolder(tmp_path / "d").manifest is not None


@pytest.mark.parametrize(
    ("new", "said", "hint"),
    [
        ("replace(raster, variable='w')", "gave a variable 'w' that describe() does not list", "it lists: v"),
        (
            "Raster(np.ones((2, *around.shape)), np.ones((2, *around.shape), bool), around, items[0], 'v')",
            "gave 2 bands of 'v', described 1",
            "in order: a",
        ),
        ("replace(raster, data=data.astype(object))", "gave 'v' as object", "plain numbers"),
        ("replace(raster, valid=raster.valid.astype('uint8'))", "gave `valid` of 'v' as uint8", "boolean"),
        (
            "replace(raster, data=np.where(np.indices(data.shape)[1] == 20, np.nan, data))",
            "gave nan under valid",
            "row",
        ),
        ("replace(raster, data=data * np.inf)", "gave inf under valid", "np.isfinite"),
        ("replace(raster, geobox=GeoBox(around.shape, around.affine, None))", "without CRS", "GeoBox(shape"),
        ("replace(raster, geobox=GeoBox(around.shape, around.affine, 4326))", "not where it was asked", "degrees"),
        ("replace(raster, geobox=GeoBox(around.shape, around.affine, 32633))", "not where it was asked", "CRS"),
        ("replace(raster, item=Item('two', WORLD))", "item 'two', which was not asked for", "given items"),
    ],
)
def test_wrong_rasters_are_refused_with_layer_and_item(attempt: Attempt, new: str, said: str, hint: str) -> None:
    error = attempt("        yield raster", f"        yield {new}")
    assert isinstance(error, ConfigError)
    assert error.where == "layer a, item one"
    assert error.message.startswith(f"source '{NAME}' gave")
    assert said in error.message
    assert hint in error.hint or hint in error.message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("        yield raster", "        yield 3", "gave int from read() of one, not Raster"),
        ('        yield Item("one", WORLD)', '        yield "one"', "gave str from find(), not Item"),
        (
            '        yield Item("one", WORLD)',
            "        return None",
            "gave NoneType from find(), not an iterable of Item",
        ),
        ('Item("one", WORLD)', 'Item("one", WORLD, datetime=datetime(2020, 1, 1))', "'one' has no time zone"),
        (
            '        yield Item("one", WORLD)',
            '        yield Item("one", WORLD)\n        yield Item("one", WORLD)',
            "twice",
        ),
        ('Item("one", WORLD)', 'Item("one", box(500000, 5000000, 600000, 5100000))', "lon/lat in degrees"),
        ('version="1", pitch', 'version="1", colour', "failed in describe(): TypeError"),
    ],
)
def test_wrong_answers_are_refused(attempt: Attempt, old: str, new: str, said: str) -> None:
    error = attempt(old, new)
    assert isinstance(error, SourceError)
    assert said in str(error)
    assert NAME in error.message


def test_what_goes_wrong_in_ours_stays_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    from m3leo_prep.sources.ramp import Ramp

    def fail(*_: object) -> None:
        raise ValueError("ours")

    monkeypatch.setattr(Ramp, "read", fail)
    with pytest.raises(ValueError, match=r"^ours$"):
        open_source(SourceSpec("ramp", {})).read([], None, None)  # type: ignore[arg-type]


# -- a file that is edited ---------------------------------------------------------------------------------------------


def test_the_frozen_plan_knows_the_code_and_an_older_one_loads_without(
    tmp_path: Path, write_source: Callable[[str], Path]
) -> None:
    base = write_source(SOURCE)
    build(plan(RECIPE, base=base), tmp_path / "d", runner=Threads(1))
    path = tmp_path / "d" / ".m3leo" / "plan" / "plan.json"
    frozen = DatasetFolder(tmp_path / "d").frozen()
    assert frozen is not None
    assert len(frozen.layers[0].source.code) == 64
    path.write_text(re.sub(r',?\s*"code": "[0-9a-f]{64}"', "", path.read_text()).replace("{,", "{"))
    older = DatasetFolder(tmp_path / "d").frozen()
    assert older is not None
    assert older.layers[0].source.code == ""
    assert older.layers[0].source == frozen.layers[0].source
    assert build(plan(RECIPE, base=base, previous=older), tmp_path / "d", runner=Threads(1)).built == 0


def test_an_edited_file_is_loaded_anew_in_the_same_process(tmp_path: Path, write_source: Callable[[str], Path]) -> None:
    spec = SourceSpec(NAME, {}, str(write_source(SOURCE)))
    assert open_source(spec).describe().version == "1"
    assert open_source(spec) is open_source(spec)
    write_source(SOURCE.replace('version="1"', 'version="2"'))
    assert open_source(spec).describe().version == "2"


def test_a_worker_with_another_file_refuses(tmp_path: Path, write_source: Callable[[str], Path]) -> None:
    planned = plan(RECIPE, base=write_source(SOURCE))
    write_source(SOURCE.replace("np.ones((1", "np.zeros((1"))
    with pytest.raises(ConfigError, match=r"my_source\.py here is not the one the build was planned with"):
        build(planned, tmp_path / "d", runner=Threads(1))


def test_an_edit_without_a_new_version_is_warned_of(write_source: Callable[[str], Path]) -> None:
    first = plan(RECIPE, base=write_source(SOURCE))
    assert plan(RECIPE, base=write_source(SOURCE), previous=first).warnings == first.warnings
    edited = plan(RECIPE, base=write_source(SOURCE.replace("np.ones((1", "np.zeros((1")), previous=first)
    (warning,) = edited.warnings
    assert warning.startswith("my_source.py has changed but says the same version '1': raise it")
    raised = plan(RECIPE, base=write_source(SOURCE.replace('version="1"', 'version="2"')), previous=first)
    assert raised.warnings == ()

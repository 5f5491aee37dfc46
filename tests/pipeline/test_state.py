"""The frozen plan: what comes back is what was planned, to the digest, so that a resumed build builds nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import shapely

from m3leo_prep.core.errors import StoreError
from m3leo_prep.core.plan import Plan, digest_of
from m3leo_prep.core.raster import Item, Kind
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads

from .conftest import LARGE, area, plan

SOURCE = """
from dataclasses import dataclass
from typing import Any
import numpy as np
import shapely
from m3leo_prep.core.raster import Item, Kind, LegendClass, Raster, SourceInfo, Variable


@dataclass(frozen=True)
class Any_:
    '''One variable of every kind; options of any form are taken and ignored.'''

    kinds: Any = ("continuous",)
    option: Any = None
    log: str = ""

    def describe(self):
        legend = (LegendClass(10, "Tree cover", "#006400"), LegendClass(80, "Water"))
        about = {"deep": {"a": [1, 2.5, "x"]}, "on": True, "correlation": 0.5}
        made = [
            Variable(kind, Kind(kind), ("a", "b"), "m", f"the {kind}", legend if kind == "classes" else (), about)
            for kind in self.kinds
        ]
        return SourceInfo(tuple(made), "1", 10.0, is_static=True, licence="CC0", citation="A paper", attributes=about)

    def find(self, area, slots):
        yield Item("all", shapely.box(-180, -90, 180, 90))

    def read(self, items, geobox, slot):
        if self.log:
            with open(self.log, "a") as log:
                log.write("read\\n")
        around = geobox.pad(4)
        for kind in self.kinds:
            data = np.ones((2, *around.shape), np.float32 if kind not in ("classes", "bits") else np.uint8)
            components = np.ones(around.shape, np.int32) if kind == "unwrapped_phase" else None
            yield Raster(data, np.ones(data.shape, bool), around, items[0], kind, components=components)
"""
HEAD = "name: any\ngrid: {chip_px: 32, resolution: 10}\nlayers:\n  a: "
WriteSource = Callable[[str], Path]


def thaw(made: Plan, folder: Path) -> Plan:
    DatasetFolder(folder).freeze(made)
    frozen = DatasetFolder(folder).frozen()
    assert frozen is not None
    return frozen


def _file(dataset: Path, name: str) -> Path:
    """Return a file of the frozen plan, whatever its name says of its content."""
    stem, _, suffix = name.rpartition(".")
    (found,) = (dataset / ".m3leo" / "plan").rglob(f"{stem}*.{suffix}")
    return found


def check_same(one: Plan, other: Plan) -> None:
    """Fail unless both plans are equal in everything but the recipe's spelling."""
    assert other.grid == one.grid
    for name in ("epsg", "col", "row"):
        before, after = getattr(one.cells, name), getattr(other.cells, name)
        assert np.array_equal(before, after)
        assert after.dtype == before.dtype
    assert other.area.name == one.area.name
    assert shapely.equals_exact(other.area.geometry, one.area.geometry, tolerance=0)
    assert [p.layer.name for p in other.layers] == [p.layer.name for p in one.layers]
    for before, after in zip(one.layers, other.layers, strict=True):
        assert after.layer == before.layer
        for field in fields(before):
            if field.name not in {"layer", "items", "source"}:
                assert getattr(after, field.name) == getattr(before, field.name), field.name
        assert (after.source.name, after.source.base) == (before.source.name, before.source.base)
        assert digest_of(after.settings()) == digest_of(before.settings())
        assert len(after.items) == len(before.items)
        for old, new in zip(before.items, after.items, strict=True):
            assert shapely.equals_exact(new.footprint, old.footprint, tolerance=0)
            assert replace(new, footprint=None) == replace(old, footprint=None)


def test_everything_comes_back(tmp_path: Path) -> None:
    made = plan()
    frozen = thaw(made, tmp_path)
    check_same(made, frozen)
    assert frozen.recipe.resolved() == made.recipe.resolved()
    assert list(frozen.units()) == list(made.units())


def test_it_comes_back_the_same_twice(tmp_path: Path) -> None:
    frozen = thaw(plan(), tmp_path / "a")
    check_same(frozen, thaw(frozen, tmp_path / "b"))
    for name in ("plan.json", "cells.parquet", "items-s1.parquet"):
        assert _file(tmp_path / "a", name).read_bytes() == _file(tmp_path / "b", name).read_bytes()


@pytest.mark.parametrize("kind", Kind, ids=str)
def test_every_kind_comes_back_to_the_digest(kind: Kind, tmp_path: Path, write_source: WriteSource) -> None:
    """Encodings with and without limits, legends, attributes."""
    made = plan(f'{HEAD}{{source: "./my_source.py:Any_", kinds: [{kind}]}}', base=write_source(SOURCE))
    check_same(made, thaw(made, tmp_path / "d"))


def test_a_range_without_end_comes_back(tmp_path: Path, write_source: WriteSource) -> None:
    made = plan(f'{HEAD}{{source: "./my_source.py:Any_"}}', base=write_source(SOURCE))
    encoding = thaw(made, tmp_path / "d").layers[0].layer.arrays[0].encoding
    assert (encoding.valid_min, encoding.valid_max) == (-np.inf, np.inf)


OPTIONS = [
    "{10: 1}",
    "{9: 1, 10: 2}",
    "{0: Land, 1: {name: Water, color: '#0064c8'}}",
    "[1, 2.5, x, null, true, [a]]",
    "{b: 1, a: {d: [1], c: 2}}",
    "1.0",
    "1e-30",
    "2020-06-01",
    "Zürich",
    ".nan",
    "[.nan, 0]",
    "{1: a, b: 2}",
]


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_any_form_come_back_to_the_digest(option: str, tmp_path: Path, write_source: WriteSource) -> None:
    """JSON has text keys and no dates; the digest must not notice."""
    made = plan(f'{HEAD}{{source: "./my_source.py:Any_", option: {option}}}', base=write_source(SOURCE))
    frozen = thaw(made, tmp_path / "d")
    assert digest_of(frozen.layers[0].settings()) == digest_of(made.layers[0].settings())
    check_same(frozen, thaw(frozen, tmp_path / "again"))


@pytest.mark.parametrize("option", ["{10: 1}", "{9: 1, 10: 2}", "{0: Land, 1: Water}"])
def test_a_resumed_build_builds_nothing_whatever_the_options(
    option: str, tmp_path: Path, write_source: WriteSource
) -> None:
    """From a new plan, from one that goes on with the frozen one, and from the frozen one itself."""
    log, out = tmp_path / "log", tmp_path / "d"
    text = f'{HEAD}{{source: "./my_source.py:Any_", kinds: [classes, power], option: {option}, log: {log}}}'
    base = write_source(SOURCE)
    first = build(plan(text, base=base), out, runner=Threads(1))
    assert first.built > 0
    log.unlink()
    folder = DatasetFolder(out)
    frozen = folder.frozen()
    assert frozen is not None
    for again in (plan(text, base=base), plan(text, base=base, previous=frozen), frozen):
        result = build(again, out, runner=Threads(1))
        assert (result.built, result.skipped) == (0, first.built)
    assert not log.exists()
    report = verify(out)
    assert report.ok, report.problems


# -- items -------------------------------------------------------------------------------------------------------------


def test_items_come_back_with_times_in_utc(tmp_path: Path) -> None:
    made = plan()
    when = datetime(2020, 6, 1, 1, 2, 3, 456_789, tzinfo=timezone(timedelta(hours=9)))
    hole = shapely.Polygon([(0.1, 0.2), (3, 0), (3, 3), (0, 3)], holes=[[(1, 1), (1, 2), (2, 2), (2, 1)]])
    items = (
        Item("S1A_Ä/1", hole, 'W/"etag"', when, "pass 1", {"path": "a/b.tif", "orbit": 7, "baseline": -12.125}),
        Item("undated", shapely.MultiPolygon([hole, shapely.box(5, 5, 6, 6)])),
    )
    frozen = thaw(replace(made, layers=(replace(made.layers[0], items=items),)), tmp_path).layers[0].items
    assert frozen[0].datetime == when
    assert frozen[0].datetime is not None
    assert frozen[0].datetime.tzinfo is UTC
    assert frozen[0].datetime.isoformat() == "2020-05-31T16:02:03.456789+00:00"
    assert frozen[1].datetime is None
    for before, after in zip(items, frozen, strict=True):
        assert (after.id, after.version, after.acquisition) == (before.id, before.version, before.acquisition)
        assert dict(after.properties) == dict(before.properties)
        assert {k: type(v) for k, v in after.properties.items()} == {k: type(v) for k, v in before.properties.items()}
        assert shapely.equals_exact(after.footprint, before.footprint, tolerance=0)


def test_no_items_come_back_as_none(tmp_path: Path) -> None:
    made = plan()
    assert thaw(replace(made, layers=(replace(made.layers[0], items=()),)), tmp_path).layers[0].items == ()


def test_slots_come_back_in_utc(tmp_path: Path) -> None:
    slots = thaw(plan(), tmp_path).layer("s1").layer.slots
    assert slots[0].start == datetime(2020, 6, 1, tzinfo=UTC)
    assert slots[0].end == datetime(2020, 6, 13, tzinfo=UTC)


# -- the folder --------------------------------------------------------------------------------------------------------


def test_a_folder_without_a_plan(tmp_path: Path) -> None:
    folder = DatasetFolder(tmp_path / "new")
    folder.check_usable()
    assert folder.frozen() is None
    assert folder.manifest is None
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    DatasetFolder(tmp_path / "empty").check_usable()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="is a file"):
        DatasetFolder(tmp_path / "file").check_usable()
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(StoreError, match="holds something else"):
        DatasetFolder(tmp_path).check_usable()


def test_a_plan_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    thaw(plan(), tmp_path)
    path = _file(tmp_path, "plan.json")
    document = json.loads(path.read_text())
    document["format_version"] = "2.0"
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"planned by format 2\.0[\s\S]*upgrade m3leo-prep"):
        DatasetFolder(tmp_path).frozen()
    document["format_version"] = "1.7"
    path.write_text(json.dumps(document))
    assert DatasetFolder(tmp_path).frozen() is not None


@pytest.mark.parametrize("name", ["plan.json", "cells.parquet", "items-s1.parquet"])
def test_a_damaged_plan_is_said_to_be_damaged(name: str, tmp_path: Path) -> None:
    thaw(plan(), tmp_path)
    path = _file(tmp_path, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoreError):
        DatasetFolder(tmp_path).frozen()


def test_a_freeze_that_stops_half_way_leaves_the_old_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items and cells of another plan must not be read with the document of the old one."""
    small = plan()
    thaw(small, tmp_path)
    folder = DatasetFolder(tmp_path)
    put = folder.blobs.put
    grown = plan(where=area(LARGE, "more"), previous=folder.frozen())

    def stops(name: str, *args: object, **more: object) -> None:
        if name.endswith("plan.json"):
            raise KeyboardInterrupt
        put(name, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(folder.blobs), "put", lambda _self, *args, **more: stops(*args, **more))
    with pytest.raises(KeyboardInterrupt):
        folder.freeze(grown)
    monkeypatch.undo()
    frozen = DatasetFolder(tmp_path).frozen()
    assert frozen is not None
    assert frozen.area.name == "here"
    assert len(frozen.cells) == len(small.cells)


def test_a_part_that_begins_meanwhile_is_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of the build appears between two looks at the folder."""
    folder = DatasetFolder(tmp_path)
    listed = Path.iterdir

    def begun(path: Path) -> Iterator[Path]:
        folder.state.mkdir(exist_ok=True)
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", begun)
    folder.check_usable()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match="holds something else"):
        DatasetFolder(tmp_path).check_usable()

"""Sources given as objects: planned, built by threads and processes, resumed, and told where they are missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import m3leo_prep as mp
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.raster import SourceInfo
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.processes import Processes
from m3leo_prep.runners.threads import Threads
from m3leo_prep.sources.ramp import Ramp

from .conftest import area, tree

RECIPE = """
name: objects
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: mine}
"""


@dataclass(frozen=True)
class Moved(Ramp):
    """The ramp, so many metres up."""

    by: float = 0.0
    version: str = "1"

    def describe(self) -> SourceInfo:
        return replace(super().describe(), version=self.version)

    def read(self, items: Any, geobox: Any, slot: Any) -> Any:
        for raster in super().read(items, geobox, slot):
            yield replace(raster, data=raster.data + self.by)


def plan(source: Any, out: Path | None = None) -> Plan:
    return mp.plan(area(), RECIPE, sources={"mine": source}, out=out)


def test_threads_and_processes_build_the_same_bytes(tmp_path: Path) -> None:
    # A class of the package: a spawned process has no tests to import.
    build(plan(Ramp()), tmp_path / "threads", runner=Threads(2))
    build(plan(Ramp()), tmp_path / "processes", runner=Processes(1))
    assert tree(tmp_path / "threads") == tree(tmp_path / "processes")
    assert verify(tmp_path / "threads").ok


def test_the_object_itself_is_read(tmp_path: Path) -> None:
    low = mp.build(plan(Moved()), tmp_path / "low")
    high = mp.build(plan(Moved(by=100.0)), tmp_path / "high")
    a, b = (mp.open_dataset(d.path)["position"].position.values for d in (low, high))
    np.testing.assert_allclose(b - a, 100.0)


def test_it_resumes_with_the_object_and_rebuilds_when_its_version_rises(tmp_path: Path) -> None:
    out = tmp_path / "d"
    first = build(plan(Moved()), out, runner=Threads(1))
    again = build(plan(Moved(), out), out, runner=Threads(1))
    raised = build(plan(Moved(by=5.0, version="2"), out), out, runner=Threads(1))
    assert (first.built > 0, again.built, raised.built) == (True, 0, first.built)


def test_another_class_is_another_source(tmp_path: Path) -> None:
    one, other = (plan(source).layers[0].settings() for source in (Ramp(), Moved()))
    assert one["source"] == "m3leo_prep.sources.ramp.Ramp"
    assert one != other


def test_the_frozen_plan_names_it_and_verify_says_why_it_cannot_derive(tmp_path: Path) -> None:
    mp.build(plan(Moved()), tmp_path / "d")
    frozen = DatasetFolder(tmp_path / "d").frozen()
    assert frozen is not None
    spec = frozen.layers[0].source
    assert (spec.name, spec.instance) == ("mine", None)
    assert spec.made_from.endswith("test_source_objects.Moved")
    with pytest.raises(ConfigError, match="source 'mine' was given as an object"):
        open_source(spec)
    report = verify(tmp_path / "d")
    assert report.ok
    assert any("could not be derived again here (source 'mine' was given as an object" in note for note in report.notes)


class Holding(Ramp):
    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle an open file")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (Ramp, "the object given for it is a class"),
        (object(), "lacks describe, find, read"),
        (Holding(), "does not pickle.*an open file"),
    ],
)
def test_what_is_no_source_is_refused(source: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        plan(source)
    assert caught.value.where == "source 'mine'"


def test_options_of_an_object_are_refused() -> None:
    recipe = RECIPE.replace("{source: mine}", "{source: mine, pitch: 20}")
    with pytest.raises(ConfigError, match="it is an object and takes no options: pitch"):
        mp.plan(area(), recipe, sources={"mine": Ramp()})


def test_a_name_that_was_not_given_is_unknown() -> None:
    with pytest.raises(ConfigError, match="unknown source 'mine'"):
        mp.plan(area(), RECIPE, sources={"other": Ramp()})

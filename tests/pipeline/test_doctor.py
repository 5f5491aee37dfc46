"""``doctor``: what it finds on a machine and in a recipe, and that it finds what is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from textwrap import dedent

import pytest

from m3leo_prep.core.recipe import Recipe, parse_recipe
from m3leo_prep.pipeline import machine
from m3leo_prep.pipeline.doctor import Finding, examine
from m3leo_prep.ports.source import Probing
from m3leo_prep.sources.local import Local

PROBING = """
from m3leo_prep.core import errors
from m3leo_prep.core.raster import Kind, SourceInfo, Variable


class Mine:
    def __init__(self, how="works"):
        self.how = how

    def describe(self):
        return SourceInfo((Variable("v", Kind.CONTINUOUS, ("v",)),), version="1", pitch=10.0, is_static=True)

    def find(self, area, slots):
        return ()

    def read(self, items, geobox, slot):
        return ()

    def probe(self):
        if self.how == "bug":
            raise ZeroDivisionError("a mistake in it")
        if self.how != "works":
            raise getattr(errors, self.how)("it went wrong", hint="mend it so", where="the archive")
        return "logged in as jane"
"""


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    names = [finding.name for finding in findings]
    assert len(names) == len(set(names))
    return {finding.name: finding for finding in findings}


def recipe(layers: str) -> Recipe:
    return parse_recipe(f"name: r\ngrid: {{chip_px: 32, resolution: 10}}\nlayers:\n{layers}")


def test_this_machine_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = by_name(examine(None, None))
    assert {"Python", "m3leo-prep", "memory", "disk", "file system", "projections", "kernels"} <= found.keys()
    assert found["Python"].seen.startswith(sys.version.split()[0])
    assert [f for f in found.values() if f.state == "fail"] == []
    assert found["extra build"].state == "ok"
    assert re.search(r"numba \d", found["extra build"].seen)
    assert str(tmp_path) in found["disk"].seen
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_what_is_not_here_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the packages that really are installed: a group is ok exactly if its modules can be found."""
    for finding in machine.packages():
        assert finding.state == ("info" if "not installed" in finding.seen else "ok")
        extra = finding.name.removeprefix("extra ")
        assert finding.next == ("" if finding.state == "ok" else f"pip install 'm3leo-prep[{extra}]'")
    monkeypatch.setattr(machine, "version", lambda _: "0.0.1")
    for finding in machine.packages(needed=frozenset({"build"})):
        assert finding.state == ("fail" if finding.name == "extra build" else "warn")
        assert "or newer" in finding.seen


def test_groups_are_those_of_the_package() -> None:
    groups = machine.groups()
    assert {"build", "torch", "dask", "hub", "gee", "asf", "copernicus"} <= groups.keys()
    assert not {"dev", "all"} & groups.keys()
    assert set(groups["gee"]) == {"earthengine-api"}, "what build brings is said once"
    assert groups["build"]["rasterio"] == "1.4"


def test_versions_are_numbers() -> None:
    assert machine._numbers("1.10.0rc1") > machine._numbers("1.9")
    assert machine._numbers("2.13.0+cpu") == (2, 13, 0)
    assert machine._numbers("") == ()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        found = by_name(list(machine.machine(tmp_path)))
        assert found["file system"].state == "warn"
        assert "Read-only" in found["file system"].seen
        assert "tmpfs" in found["file system"].seen
        assert found["disk"].state == "warn", "it has 1 MB"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_the_kind_of_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    told = subprocess.run(
        ["stat", "-f", "-c", "%T", str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.strip()
    kind = machine._kind(tmp_path)
    assert kind in told or told in kind or told.startswith("ext") or kind == "overlay"
    assert machine._plain(r"/mnt/my\040disk") == "/mnt/my disk"


def test_projections_that_do_not_work_are_told() -> None:
    code = "from m3leo_prep.pipeline.machine import _projections as p; f = p(); print(f.state, f.next)"
    env = {**os.environ, "PROJ_NETWORK": "ON"}
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert told == "warn unset PROJ_NETWORK\n"


def test_every_layer_is_told(tmp_path: Path) -> None:
    (tmp_path / "my_source.py").write_text(dedent(PROBING))
    layers = """\
  works: {source: "./my_source.py:Mine"}
  nobody: {source: "./my_source.py:Mine", how: CredentialsError}
  lacks: {source: "./my_source.py:Mine", how: MissingDependency}
  down: {source: "./my_source.py:Mine", how: SourceError}
  broken: {source: "./my_source.py:Mine", how: bug}
  typo: {source: ramp, resoluton: 10}
  absent: {source: local, path: rasters, kind: continuous}
  unknown: {source: rmap}
  lattice: {source: ramp, resolution: 7}
  quiet: {source: ramp}
  timed: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12]]}}
"""
    found = by_name(examine(recipe(layers), tmp_path))
    told = {name.removeprefix("layer "): f for name, f in found.items() if name.startswith("layer ")}
    assert list(told) == [line.split(":")[0].strip() for line in layers.splitlines()], "in the order of the recipe"
    good = {"works", "quiet", "timed"}
    assert {name for name, f in told.items() if f.state == "ok"} == good
    assert {name for name, f in told.items() if f.state == "fail"} == told.keys() - good
    assert "logged in as jane" in told["works"].seen
    assert {name for name, f in told.items() if f.is_login} == {"nobody"}
    for name in ("nobody", "lacks", "down"):
        assert told[name].seen == "the archive: it went wrong"
        assert told[name].next == "mend it so"
    assert "a mistake in it" in told["broken"].seen
    assert "check-source" in told["broken"].next
    assert "'resolution'" in told["typo"].next
    assert "does not exist" in told["absent"].seen
    assert "'ramp'" in told["unknown"].next
    assert "7" in told["lattice"].seen
    assert all(f.next for f in told.values() if f.state == "fail")


def test_build_packages_are_needed_by_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(machine, "version", absent)
    found = by_name(examine(recipe("  a: {source: ramp}\n"), None))
    assert found["extra build"].state == "fail"
    assert found["extra build"].next == "pip install 'm3leo-prep[build]'"
    assert by_name(examine(None, None))["extra build"].state == "info"


def test_local_rasters_are_counted(tmp_path: Path) -> None:
    import numpy as np
    import rasterio

    (tmp_path / "rasters").mkdir()
    for name in ("a", "b"):
        transform = rasterio.Affine(10, 0, 500_000, 0, -10, 6_000_000)
        grid = {"width": 4, "height": 4, "crs": "EPSG:32632", "transform": transform}
        with rasterio.open(
            tmp_path / "rasters" / f"{name}.tif", "w", driver="GTiff", count=1, dtype="float32", **grid
        ) as file:
            file.write(np.ones((1, 4, 4), np.float32))
    found = by_name(examine(recipe("  a: {source: local, path: rasters, kind: continuous}\n"), tmp_path))
    assert found["layer a"].state == "ok", found["layer a"]
    assert found["layer a"].seen.startswith("local: 2 scenes in ")
    assert isinstance(Local("rasters", kind="continuous"), Probing)


def test_it_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
from m3leo_prep.pipeline.doctor import examine
examine(None, None)
heavy = {"torch", "distributed", "matplotlib", "bokeh", "rasterio", "geopandas"} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)

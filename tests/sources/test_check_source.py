"""``check-source`` on sources that are wrong in one way each: the message names the rule, the thing and the way out."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError, VerifyError
from m3leo_prep.testing.source_trial import FOUND, MADE, Request, Result, Trial, _rules, _Run, try_source
from tests.cli.forked import forked

BODY = '''
import os, sys, threading, time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box
from m3leo_prep.core.errors import CorruptError
from m3leo_prep.core.raster import Item, Kind, LegendClass, Raster, SourceInfo, Variable

class Good:
    """Tiles of a degree, dated, on a grid of 0.001 degree; waves of values 0.1 ... 0.9."""

    kind, legend, names, version = Kind.CONTINUOUS, (), ("a",), "1"
    def describe(self):
        variable = Variable("v", self.kind, self.names, legend=self.legend)
        return SourceInfo((variable,), version=self.version, pitch=80.0)
    def find(self, area, slots):
        for lon in (8, 9, 10):
            for lat in (49, 50):
                for month in (6, 7):
                    item = self.item(lon, lat, month)
                    if item.footprint.intersects(area) and any(s.contains(item.datetime) for s in slots):
                        yield item
    def item(self, lon, lat, month):
        tile = box(lon, lat, lon + 1, lat + 1)
        return Item(f"e{lon}n{lat}m{month}", tile, datetime=datetime(2020, month, 5, tzinfo=UTC),
                    properties={"lon": lon, "lat": lat})
    def read(self, items, geobox, slot):
        to_lonlat = Transformer.from_crs(str(geobox.crs), 4326, always_xy=True)
        west, south, east, north = to_lonlat.transform_bounds(*geobox.pad(4).boundingbox)
        for item in items:
            x0, y0 = item.properties["lon"] * 1000, item.properties["lat"] * 1000
            left, right = max(int(west * 1000) - 6, x0), min(int(east * 1000) + 6, x0 + 1000)
            low, high = max(int(south * 1000) - 6, y0), min(int(north * 1000) + 6, y0 + 1000)
            if left >= right or low >= high:
                continue
            x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(high, low, -1) - 0.5)
            data = (0.5 + 0.4 * np.sin(x / 7) * np.cos(y / 5)).astype("float32")[None]
            grid = GeoBox(data.shape[1:], Affine(0.001, 0, left / 1000, 0, -0.001, high / 1000), "EPSG:4326")
            raster = self.change(Raster(data, np.ones(data.shape, bool), grid, item, "v"), geobox)
            if raster is not None:
                yield raster
    def change(self, raster, target):
        return raster

class Mine(Good):
'''
CHANGE = "    def change(self, raster, target):\n        "
ITEM = "    def item(self, *where):\n        item = super().item(*where)\n        "
ONE = "\n    def find(self, area, slots):\n        yield self.item(9, 49, 6)"

READS = "read() gives the variables, bands and types described"
ITEMS = "find() gives items with ids, times in UTC and footprints"
COMPLETE = "describe() is complete: version, variables, bands, legends"
POSSIBLE = "values are possible for their kind"

# ruff: noqa: ISC004, E501  lines of the broken sources stand as they are
BROKEN = [
    ('    version = ""', COMPLETE, "the version is ''", "raise it when pixels change"),
    ('    names = ("a", "a")', COMPLETE, "bands stand twice: a", "variable v"),
    ("    kind = Kind.CLASSES", COMPLETE, "classes without a legend", "variable v"),
    ("    n = 0\n    def describe(self):\n        self.n += 1\n        self.version = str(self.n)\n"
     "        return super().describe()", "describe() gives the same answer each time", "different answers", ""),
    (ITEM + "return replace(item, datetime=datetime(2020, 6, 5))" + ONE, ITEMS, "'e9n49m6' has no time zone", "tzinfo=UTC"),
    (ITEM + "return replace(item, datetime=item.datetime.astimezone(timezone(timedelta(hours=2))))", ITEMS,
     "not UTC", "astimezone"),
    (ITEM + "return replace(item, id='same')", ITEMS, "'same' came twice", "ids must differ"),
    (ITEM + "return replace(item, footprint=box(5e5, 5e6, 6e5, 6e6))" + ONE, ITEMS, "footprint of", "lon/lat in degrees"),
    ("    n = 0\n    def find(self, area, slots):\n        Mine.n += 1\n"
     "        return sorted(super().find(area, slots), key=lambda i: i.id, reverse=Mine.n % 2)",
     "find() gives the same items in the same order again", "item 0 is", "sort what you yield"),
    ("    def find(self, area, slots):\n        one = self.item(9, 49, 6)\n"
     "        found = {f'i{n}': replace(one, id=f'i{n}') for n in range(20)}\n"
     "        return (found[name] for name in set(found))",
     "find() gives the same in other processes", "there and", "sets have no order"),
    ("    def find(self, area, slots):\n        return super().find(box(-180, -90, 180, 90), slots)",
     "items meet the area and the slots", "does not meet the area", "intersects(area)"),
    (CHANGE + "return replace(raster, variable='w')", READS, "a variable 'w' that describe() does not list", "lists: v"),
    (CHANGE + "return replace(raster, data=raster.data.astype(object))", READS, "'v' as object", "float32"),
    ("    kind, legend = Kind.CLASSES, (LegendClass(1, 'x'),)", READS, "'v' as float32", "integer codes"),
    ("    kind = Kind.REFLECTANCE\n" + CHANGE + "return replace(raster, data=(raster.data * 1e4).astype('int16'))", READS,
     "'v' as int16", "undo scale and offset"),
    (CHANGE + "return replace(raster, valid=raster.valid.astype(int))", READS, "`valid` of 'v' as int64", "boolean"),
    (CHANGE + "return replace(raster, data=raster.data[:, 1:])", READS, "must both be (band, y, x)", "data[None]"),
    (CHANGE + "raise CorruptError('bad file')", READS, "CorruptError: bad file", ""),
    (CHANGE + "return {}['key']", READS, "KeyError: 'key'", "my_source.py, line"),
    (CHANGE + "sys.exit(3)", READS, "SystemExit: 3", "instead of ending the program"),
    (CHANGE + "return 3", READS, "gave int from read()", "not Raster"),
    (CHANGE + "return replace(raster, geobox=GeoBox(raster.geobox.shape, raster.geobox.affine, 32632))",
     "rasters lie where they were asked for, with a CRS", "which is not where it was asked for", "degrees and metres"),
    (CHANGE + "return replace(raster, geobox=GeoBox(raster.geobox.shape, raster.geobox.affine, None))",
     "rasters lie where they were asked for, with a CRS", "without CRS", "GeoBox(shape, affine, crs)"),
    (CHANGE + "return replace(raster, data=np.where(raster.data > 0.8, np.nan, raster.data))",
     "valid pixels are numbers", "nan under valid in 'v' at band 0, row", "np.isfinite"),
    (CHANGE + "hole = raster.data > 0.8\n        return replace(raster, valid=hole, data=np.where(hole, -9999, raster.data))",
     "valid and masked say what they mean", "every valid pixel is -9999", "looks inverted"),
    (CHANGE + "return replace(raster, masked=raster.data > 0.8)",
     "valid and masked say what they mean", "both masked and valid", "valid &= ~masked"),
    ("    kind = Kind.POWER\n" + CHANGE + "return replace(raster, data=10 * np.log10(raster.data / 9))", POSSIBLE,
     "these look like dB", "10 ** (dB / 10)"),
    ("    kind = Kind.REFLECTANCE\n" + CHANGE + "return replace(raster, data=raster.data * 10000)", POSSIBLE,
     "looks like scaled integers", "data * 1e-4"),
    ("    kind = Kind.COHERENCE\n" + CHANGE + "return replace(raster, data=raster.data * 100)", POSSIBLE,
     "impossible for coherence", "divide by its scale"),
    ("    kind = Kind.WRAPPED_PHASE\n" + CHANGE + "return replace(raster, data=raster.data * 180)", POSSIBLE,
     "impossible for wrapped_phase", "np.deg2rad"),
    ("    kind, legend = Kind.CLASSES, (LegendClass(1, 'x'),)\n" + CHANGE +
     "return replace(raster, data=(raster.data * 3).astype('uint8'))", POSSIBLE, "codes that the legend lacks: 0, 2",
     "add them to the legend"),
    (CHANGE + "cut = np.s_[:, 9:-9, 9:-9]\n"
     "        return replace(raster, data=raster.data[cut], valid=raster.valid[cut], geobox=raster.geobox.pad(-9))",
     "rasters reach 4 pixels beyond the target", "4 pixels of margin are not all there", "geobox.pad(4)"),
    (CHANGE + "return replace(raster, data=raster.data - raster.data.mean())",
     "pixels do not depend on the window", "pixels depend on the window", "own grid alone"),
    (CHANGE + "return replace(raster, geobox=raster.geobox.translate_pix(target.transform.c % 0.9, 0))",
     "pixels do not depend on the window", "px off one grid", "fixed origin"),
    ("    kept = {}\n" + CHANGE + "data = self.kept.setdefault(raster.data.shape[1] > 0, np.zeros((1, 999, 999), 'float32'))"
     "[:, :raster.data.shape[1], :raster.data.shape[2]]\n        data[:] = raster.data\n"
     "        return replace(raster, data=data)",
     "a later read leaves rasters alone", "a later read changed it", "no shared buffer"),
    ("    def __init__(self):\n        self.lock = threading.Lock()", "a pickled copy reads the same", "does not pickle",
     "not in the constructor"),
    ("    def read(self, items, geobox, slot):\n        shape = (1, *geobox.shape)\n"
     "        return [Raster(np.ones(shape), np.ones(shape, bool), geobox, item, 'v') for item in items]",
     "read() gives nothing where an item is not", "rasters of items that are not there", "yield nothing"),
]  # fmt: skip


def trial_here(path: Path) -> dict[str, Result]:
    """Try every rule in this process, for speed; the processes have tests of their own below."""
    run = _Run(Request(f"{path}:Mine", {}, str(path.parent), None, None), lambda _: None)
    results = {}
    for step in (MADE, FOUND, *range(len(_rules()))):
        answer = run.step(step)
        if answer.error is not None:
            raise answer.error
        results[answer.result.rule] = answer.result
    return results


def write(folder: Path, change: str) -> Path:
    """Write ``my_source.py`` with one class that is wrong in one way."""
    path = folder / "my_source.py"
    path.write_text(BODY + (change or "    pass") + "\n")
    return path


def test_as_it_stands_all_rules_are_kept(tmp_path: Path) -> None:
    results = trial_here(write(tmp_path, ""))
    assert {name: r for name, r in results.items() if r.state != "ok"} == {}


@pytest.mark.parametrize(
    ("change", "rule", "seen", "also"), BROKEN, ids=[f"{n}-{row[2][:20]}" for n, row in enumerate(BROKEN)]
)
def test_each_fault_breaks_its_rule(tmp_path: Path, change: str, rule: str, seen: str, also: str) -> None:
    results = trial_here(write(tmp_path, change))
    # Where no item can be used, nothing is found to look at, and that is told first.
    result = results[rule if results[FOUND].state == "ok" else FOUND]
    assert result.state == "broken", result
    said = f"{result.seen} | {result.where} | {result.change}"
    assert seen in said
    assert also in said
    assert "Traceback" not in said


def test_every_rule_is_broken_by_something() -> None:
    """Threads are left out: what disturbs them does so by chance."""
    untested = {rule.sentence for rule in _rules()} - {row[1] for row in BROKEN}
    assert untested <= {
        "threads do not disturb each other",
        "a smaller area has the items that meet it",  # broken in tests/sources/test_ramp.py
        "slots asked for one by one give the same items",
    }


# -- in processes ------------------------------------------------------------------------------------------------------


def trial(path: Path, timeout: float = 60.0, **options: object) -> Trial:
    return try_source(f"{path.name}:Mine", options, base=path.parent, area=box(9.4, 49.4, 9.6, 49.6), timeout=timeout)


def first_broken(found: Trial) -> Result:
    return next(result for result in found.results if result.state == "broken")


def test_a_source_that_hangs_is_stopped_and_named(tmp_path: Path) -> None:
    found = trial(write(tmp_path, CHANGE + "time.sleep(1000)"), timeout=6)
    assert first_broken(found).seen == "read() of item e9n49m6 did not return within 6 s"
    assert "timeout" in first_broken(found).change
    assert found.count("skipped") > 0


def test_a_source_that_ends_the_interpreter_is_told(tmp_path: Path) -> None:
    found = trial(write(tmp_path, CHANGE + "os._exit(9)"))
    assert first_broken(found).seen == "read() of item e9n49m6 ended the whole process (exit code 9)"
    found = trial(write(tmp_path, CHANGE + "os.kill(os.getpid(), 11)"))
    assert "signal SIGSEGV" in first_broken(found).seen


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked().run(folder, "check-source", *arguments, env=os.environ | {"NO_COLOR": "1"})


def test_prints_are_told_and_spoil_no_json(tmp_path: Path) -> None:
    write(tmp_path, CHANGE + "print('loading', raster.item.id); os.system('echo from C')\n        return raster")
    done = command(tmp_path, "./my_source.py:Mine", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["ok"]
    assert "prints to standard output ('loading e8n49m6')" in said["warnings"][0]


def test_the_command_names_what_is_broken_and_exits_with_6(tmp_path: Path) -> None:
    write(tmp_path, CHANGE + "return {}['key']")
    done = command(tmp_path, "./my_source.py:Mine")
    assert done.returncode == VerifyError.exit_code
    line = (tmp_path / "my_source.py").read_text().splitlines().index("        return {}['key']") + 1
    assert f"my_source.py, line {line}" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "1 rule is not kept by ./my_source.py:Mine" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["./my_source.py"], "holds several sources: Good, Mine"),
        (["./other.py"], "no source file"),
        (["./my_source.py:Min"], "did you mean 'Mine'?"),
        (["./empty.py"], "no class with describe(), find() and read()"),
        (["./my_source.py:Mine", "colour=red"], "unknown option 'colour'"),
        (["./my_source.py:Mine", "colour"], "'colour' is no option"),
        (["./my_source.py:Mine", "a=[1"], "not valid YAML"),
        (["./my_source.py:Mine", "--timeout", "0"], "is no time"),
        (["synthetik"], "did you mean 'synthetic'?"),
    ],
)
def test_wrong_usage_is_told(tmp_path: Path, arguments: list[str], says: str) -> None:
    write(tmp_path, "")
    (tmp_path / "empty.py").write_text("class A: ...\n")
    done = command(tmp_path, *arguments)
    assert done.returncode == ConfigError.exit_code, done.stdout
    assert says in done.stderr


def test_nothing_there_says_how_to_go_on(tmp_path: Path) -> None:
    path = write(tmp_path, "    def find(self, area, slots):\n        return iter(())")
    result = trial_here(path)[FOUND]
    assert result.seen == "find() found nothing on Earth from 2015 to 2025"
    assert "--aoi and --slots" in result.change

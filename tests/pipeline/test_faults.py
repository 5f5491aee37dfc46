"""What goes wrong: providers, damaged items, killed runs, full disks. Nothing is lost and nothing is half-written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray as xr

from m3leo_prep.core.errors import StoreError
from m3leo_prep.core.reasons import Reason
from m3leo_prep.pipeline import unit as unit_module
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads
from m3leo_prep.store.ledger import BuildLock

from .conftest import MINI, Done, area, plan, tree

FAULTY = """
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.errors import CorruptError, TransientError
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable

WORLD = box(-180, -90, 180, 90)


@dataclass(frozen=True)
class Faulty:
    '''Three items; what is wrong with them stands in files of a folder.'''

    folder: str = ""

    def describe(self):
        return SourceInfo((Variable("v", Kind.CONTINUOUS, ("a", "b")),), version="1", pitch=10.0)

    def find(self, area, slots):
        for n, month in enumerate((1, 1, 2)):
            yield Item(f"item{n}", WORLD, datetime=datetime(2020, month, 5 + n, tzinfo=UTC))

    def read(self, items, geobox, slot):
        item = items[0]
        around = geobox.pad(4)
        wrong = Path(self.folder) / item.id
        word = wrong.read_text() if wrong.exists() else "fine"
        if word == "transient":
            raise TransientError("the provider is down")
        if word == "once":
            wrong.unlink()
            raise TransientError("a hiccup")
        if word == "corrupt":
            raise CorruptError(f"{item.id}.tif is damaged")
        data = np.full((2, *around.shape), float(item.id[-1]) + 1, np.float32)
        valid = np.ones(data.shape, bool)
        masked = None
        if word == "cloud":
            valid[:] = False
            masked = np.ones(around.shape, bool)
        if word == "impossible":
            data[:] = 1e9  # beyond the recipe's valid_max
        if word == "half":
            valid[:, : around.shape[0] // 2] = False
        if word == "absent":
            return
        yield Raster(data, valid, around, item, "v", masked)
"""

RECIPE = """
name: faulty
grid: {chip_px: 32, resolution: 10}
layers:
  a:
    source: "./my_source.py:Faulty"
    folder: FOLDER
    slots: {months: 2020}
    encoding: {dtype: float32, valid_max: 1.0e+6}
"""


@pytest.fixture
def faulty(tmp_path: Path, write_source, monkeypatch: pytest.MonkeyPatch):
    """Return a function that builds with the faults given as item=word."""
    base = write_source(FAULTY)
    monkeypatch.setattr(unit_module, "PAUSE_SECONDS", 0.001)
    wrong = tmp_path / "wrong"
    wrong.mkdir()

    def make(**faults: str):
        for name in wrong.iterdir():
            name.unlink()
        for item, word in faults.items():
            (wrong / item).write_text(word)
        result = build(plan(RECIPE.replace("FOLDER", str(wrong)), base=base), tmp_path / "d", runner=Threads(2))
        return result, xr.open_zarr(tmp_path / "d" / "chips.zarr", group="a", chunks=None).load()

    return make


def test_all_well(faulty) -> None:
    _, ds = faulty()
    assert (ds.v[:, 0] == 1.5).all()  # the mean of items 0 and 1
    assert (ds.v[:, 1] == 3).all()
    assert (ds["count"][:, 0] == 2).all()
    assert (ds.v_reason[:, :2] == Reason.OK).all()
    assert (ds.v_reason[:, 2:] == Reason.NO_ACQUISITION).all()
    assert np.isnan(ds.v[:, 2:]).all()
    assert str(ds.first_time[0, 0].values)[:10] == "2020-01-05"
    assert str(ds.last_time[0, 0].values)[:10] == "2020-01-06"
    assert np.isnat(ds.first_time[0, 5].values)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("cloud", Reason.ALL_CLOUD),
        ("impossible", Reason.OUT_OF_RANGE),
        ("corrupt", Reason.CORRUPT),
        ("absent", Reason.NO_ACQUISITION),
    ],
)
def test_each_cause_has_its_reason(faulty, tmp_path: Path, word: str, reason: Reason) -> None:
    """D55, D90: no two causes look alike, and none looks like data."""
    result, ds = faulty(item2=word)
    assert result.retryable == 0
    assert (ds.v_reason[:, 1] == reason).all()
    assert (ds.v_valid[:, 1] == 0).all()
    assert np.isnan(ds.v[:, 1]).all()
    assert (ds.v_reason[:, 0] == Reason.OK).all()
    assert verify(tmp_path / "d").ok


def test_half_an_image_is_partial_coverage(faulty) -> None:
    _, ds = faulty(item2="half")
    assert set(np.unique(ds.v_reason[:, 1])) <= {Reason.OK, Reason.PARTIAL_COVERAGE, Reason.NO_ACQUISITION}
    partial = ds.v_reason.values[:, 1] == Reason.PARTIAL_COVERAGE
    assert partial.any()
    assert ((ds.v_valid.values[:, 1] > 0) & (ds.v_valid.values[:, 1] < 100))[partial].all()


def test_a_damaged_item_among_others_is_left_out_and_told(faulty, tmp_path: Path) -> None:
    """D82: the run goes on, the others count, and provenance says how many were used."""
    _, ds = faulty(item0="corrupt")
    assert (ds.v[:, 0] == 2).all()
    assert (ds["count"][:, 0] == 1).all()
    table = pq.read_table(tmp_path / "d" / "provenance" / "a" / "part-00000.parquet").to_pandas()
    january = table[table.slot == "2020-01"]
    assert {tuple(items) for items in january["items"]} == {("item1",)}


def test_a_hiccup_is_retried_within_the_run(faulty) -> None:
    result, ds = faulty(item2="once")
    assert result.retryable == 0
    assert (ds.v[:, 1] == 3).all()


def test_a_provider_that_is_down_leaves_holes_that_the_next_run_fills(faulty, tmp_path: Path) -> None:
    result, ds = faulty(item1="transient")
    assert result.retryable > 0
    # One of two acquisitions is missing: half a mean would be a lie, so the slot is a hole.
    assert (ds.v_reason[:, 0] == Reason.PROVIDER_ERROR).all()
    assert np.isnan(ds.v[:, 0]).all()
    assert (ds.v_reason[:, 1] == Reason.OK).all()
    (tmp_path / "wrong" / "item1").unlink()
    assert verify(tmp_path / "d", sample=40).ok, "a hole that the next build fills is no fault of the dataset"
    again, ds = faulty()
    assert again.retryable == 0
    assert (ds.v[:, 0] == 1.5).all()
    assert verify(tmp_path / "d").ok


def test_filled_holes_give_the_bytes_of_an_untroubled_build(faulty, tmp_path: Path) -> None:
    faulty(item1="transient")
    faulty()
    troubled = tree(tmp_path / "d")
    shutil.rmtree(tmp_path / "d")
    faulty()
    assert tree(tmp_path / "d") == troubled


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from m3leo_prep.core import layer
layer.SHARD_CHIPS = (4,)
from tests.pipeline.conftest import MINI, LARGE, area, plan
from m3leo_prep.pipeline.build import build
from m3leo_prep.runners.threads import Threads

out, kills = Path(sys.argv[1]), int(sys.argv[2])
random.seed(int(sys.argv[3]))
warm = out.parent / "warm"
planned = plan(where=area(LARGE))
start = time.monotonic()
child = os.fork()
if child == 0:
    build(planned, warm, runner=Threads(2))
    os._exit(0)
os.waitpid(child, 0)
whole = time.monotonic() - start
hit = 0
for _ in range(kills):
    child = os.fork()
    if child == 0:
        build(planned, out, runner=Threads(2))
        os._exit(0)
    time.sleep(random.uniform(0, whole / 6))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    hit += os.WIFSIGNALED(status)
print(hit)
build(planned, out, runner=Threads(2))
"""


def test_killed_twenty_times_and_resumed_gives_the_same_bytes(tmp_path: Path) -> None:
    """D89: kill -9 at random moments; the end is byte-identical to an uninterrupted build."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    root = Path(__file__).parents[2]
    command = [sys.executable, str(script), str(tmp_path / "d"), "20", "3", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10, "most kills must hit a running build"
    assert tree(tmp_path / "d") == tree(tmp_path / "warm")
    left = [p for p in (tmp_path / "d").rglob("*") if p.name.endswith(".part")]
    assert left == []
    assert verify(tmp_path / "d").ok


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_stops_the_build_and_can_be_resumed(small_disk: Path, built: Path) -> None:
    """D87: somebody else fills the disk after the first unit."""
    path, filler = small_disk / "d", small_disk / "filler"

    def fill(_unit: object, record: object) -> None:
        if record is not None and not filler.exists():
            filler.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 4096))

    with pytest.raises(StoreError, match=r"(?i)space|disk"):
        build(plan(), path, runner=Threads(1), watch=Done(fill))
    assert not any(p.name.endswith(".part") for p in path.rglob("*"))
    filler.unlink()
    build(plan(), path, runner=Threads(1))
    assert tree(path) == tree(built)


def test_a_disk_too_small_from_the_start_is_refused(small_disk: Path) -> None:
    recipe = MINI.replace("chip_px: 32", "chip_px: 448")
    with pytest.raises(StoreError, match="are needed"):
        build(plan(recipe, area((9.3, 57.1, 9.5, 57.2))), small_disk / "d", runner=Threads(1))
    assert not (small_disk / "d" / "chips.zarr").exists()


def test_ctrl_c_leaves_a_resumable_state(built: Path, tmp_path: Path) -> None:
    seen = []

    def stop(unit: object, record: object) -> None:
        seen.append(unit)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(plan(), tmp_path / "d", runner=Threads(2), watch=Done(stop))
    with BuildLock(tmp_path / "d" / ".m3leo"):
        pass  # the lock is free again
    result = build(plan(), tmp_path / "d", runner=Threads(2))
    assert result.skipped >= 3
    assert tree(tmp_path / "d") == tree(built)


def test_read_only_output_is_named(tmp_path: Path) -> None:
    """D87."""
    folder = tmp_path / "ro"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    try:
        with pytest.raises(StoreError, match=r"(?i)read-only"):
            build(plan(), folder / "d", runner=Threads(1))
    finally:
        subprocess.run(["umount", str(folder)], check=True)

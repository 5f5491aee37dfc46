"""The main job, end to end: pixels where they belong, the same bytes however the work is done."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.grid import Grid
from m3leo_prep.pipeline import unit as unit_module
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.processes import Processes
from m3leo_prep.runners.threads import Threads
from m3leo_prep.store.ledger import BuildLock

from .conftest import LARGE, MINI, SMALL, Done, area, plan, tree


def test_every_pixel_holds_its_own_coordinates(built: Path) -> None:
    """D13, D10: the ramp's values are the pixel centres, on the chip's own lattice, bit for bit."""
    ds = xr.open_zarr(built / "chips.zarr", group="position", chunks=None)
    east = ds.x0.values[:, None] + ds.x.values
    north = ds.y0.values[:, None] + ds.y.values
    stored = ds.position.values
    assert np.array_equal(stored[:, 0], np.broadcast_to(east[:, None, :], stored[:, 0].shape).astype(np.float32))
    assert np.array_equal(stored[:, 1], np.broadcast_to(north[:, :, None], stored[:, 1].shape).astype(np.float32))


def test_a_warped_ramp_holds_its_coordinates_too(built: Path) -> None:
    """D10 through the whole pipeline: lon/lat of each 20-m pixel centre, to a thousandth of a source pixel."""
    from pyproj import Transformer

    ds = xr.open_zarr(built / "chips.zarr", group="degrees", chunks=None)
    to_lonlat = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    x, y = np.meshgrid(ds.x.values, ds.y.values)
    lon, lat = to_lonlat.transform(float(ds.x0[0]) + x, float(ds.y0[0]) + y)
    off = np.abs(ds.position.values[0].astype(np.float64) - np.stack([lon, lat])) / 0.00031
    float32_step = np.spacing(np.float32(57.0)) / 0.00031
    assert off.max() < 1e-3 + float32_step


@pytest.mark.parametrize("runner", [Threads(1), Threads(5), Processes(2)], ids=["one", "five", "processes"])
def test_runner_and_workers_change_no_byte(built: Path, tmp_path: Path, runner: Threads | Processes) -> None:
    """D93."""
    build(plan(), tmp_path / "again", runner=runner)
    assert tree(tmp_path / "again") == tree(built)


def test_window_size_changes_no_byte(built: Path, tmp_path: Path) -> None:
    """D11, D93: one window a chip gives what windows of many chips give."""
    build(plan(), tmp_path / "again", runner=Threads(2), work_bytes=1)
    assert tree(tmp_path / "again") == tree(built)


def test_locale_and_time_zone_change_no_byte(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D93."""
    import time

    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    time.tzset()
    try:
        build(plan(), tmp_path / "again", runner=Threads(2))
    finally:
        monkeypatch.undo()
        time.tzset()
    # The fixture that makes four-chip shards was undone too, but only after the build.
    assert tree(tmp_path / "again") == tree(built)


def test_a_second_run_builds_nothing(built: Path, tmp_path: Path) -> None:
    first = build(plan(), tmp_path / "d", runner=Threads(2))
    before = tree(tmp_path / "d")
    second = build(plan(), tmp_path / "d", runner=Threads(2))
    assert (second.built, second.skipped) == (0, first.built)
    assert tree(tmp_path / "d") == before


def test_growth_keeps_rows_and_copies_old_chunks(built: Path, tmp_path: Path) -> None:
    """Old chips keep their row, their bytes, and are not read again."""
    path = tmp_path / "d"
    build(plan(), path, runner=Threads(2))
    old = xr.open_zarr(path / "chips.zarr", group="s1", chunks=None).load()
    old_ids = _ids(path)
    read: list[str] = []
    grown = plan(where=area(LARGE, "more"))
    result = build(grown, path, runner=Threads(2), watch=Done(lambda u, r: read.append(u.id) if r else None))
    new_ids = _ids(path)
    assert new_ids[: len(old_ids)] == old_ids
    assert len(new_ids) > len(old_ids)
    new = xr.open_zarr(path / "chips.zarr", group="s1", chunks=None)
    xr.testing.assert_identical(old.backscatter, new.backscatter[: len(old_ids)].load())
    whole_shards = len(old_ids) // 4
    assert not any(int(unit.split("/")[1]) < whole_shards for unit in read)
    assert result.skipped == 4 * whole_shards
    assert verify(path).ok
    direct = tmp_path / "direct"
    build(plan(where=area(LARGE, "more")), direct, runner=Threads(2))
    assert _values_by_id(path) == _values_by_id(direct)


def test_growth_does_not_read_the_old_chips_of_the_last_shard(tmp_path: Path, write_source) -> None:
    base = write_source(COUNTING)
    recipe = """
    name: counted
    grid: {chip_px: 32, resolution: 10}
    layers:
      a: {source: "./my_source.py:Counting", log: LOG}
    """.replace("LOG", str(tmp_path / "log"))
    build(plan(recipe, base=base), tmp_path / "d", runner=Threads(1), work_bytes=1)
    n_old = len(plan(recipe, base=base).cells)
    (tmp_path / "log").unlink()
    grown = plan(recipe, area(LARGE), base=base)
    build(grown, tmp_path / "d", runner=Threads(1), work_bytes=1)
    reads = (tmp_path / "log").read_text().splitlines()
    assert len(reads) == len(grown.cells) - n_old


def test_changing_one_layer_builds_only_that_one(tmp_path: Path) -> None:
    path = tmp_path / "d"
    build(plan(), path, runner=Threads(2))
    changed = plan(MINI.replace("product: landcover}", "product: landcover, seed: 7}"))
    read: set[str] = set()
    build(changed, path, runner=Threads(2), watch=Done(lambda u, r: read.add(u.layer) if r else None))
    assert read == {"landcover"}
    assert verify(path).ok


def test_a_layer_that_changes_shape_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "d"
    build(plan(), path, runner=Threads(2))
    coarser = MINI.replace("position: {source: ramp}", "position: {source: ramp, resolution: 40, resampling: average}")
    build(plan(coarser), path, runner=Threads(2))
    assert verify(path).ok
    fresh = tmp_path / "fresh"
    build(plan(coarser), fresh, runner=Threads(2))
    assert tree(path) == tree(fresh)


def test_layers_can_be_built_one_after_the_other(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "d"
    build(plan(), path, runner=Threads(2), layers=["landcover"])
    assert list(json.loads((path / "manifest.json").read_text())["layers"]) == ["landcover"]
    assert verify(path).ok
    build(plan(), path, runner=Threads(2), layers=["s1", "position"])
    build(plan(), path, runner=Threads(2))
    assert tree(path) == tree(built)


def test_unknown_layer_lists_near_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no layer 'landcovr'[\s\S]*did you mean 'landcover'"):
        build(plan(), tmp_path / "d", runner=Threads(1), layers=["landcovr"])
    assert not (tmp_path / "d").exists()


def test_an_area_that_is_not_larger_is_refused(tmp_path: Path) -> None:
    build(plan(where=area(LARGE)), tmp_path / "d", runner=Threads(2), layers=["position"])
    with pytest.raises(ConfigError, match="only grows"):
        build(plan(where=area(SMALL)), tmp_path / "d", runner=Threads(2), layers=["position"])
    assert verify(tmp_path / "d").ok


def test_a_folder_with_another_dataset_is_refused(built: Path) -> None:
    with pytest.raises(StoreError, match=r"holds the dataset 'mini'.*not 'other'"):
        build(plan(MINI.replace("name: mini", "name: other")), built, runner=Threads(1))
    assert verify(built, quick=True).ok


def test_a_dropped_layer_is_refused(built: Path) -> None:
    fewer = "\n".join(line for line in MINI.splitlines() if "landcover" not in line)
    with pytest.raises(StoreError, match="no longer lists: landcover"):
        build(plan(fewer), built, runner=Threads(1))


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("do not lose me")
    with pytest.raises(StoreError, match="holds something else"):
        build(plan(), tmp_path, runner=Threads(1))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.doc"]


def test_a_second_builder_is_refused(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "d"
    build(plan(), path, runner=Threads(2), layers=["position"])
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    other = context.Process(target=_hold_lock, args=(path / ".m3leo", ready, stop))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(StoreError, match=str(other.pid)):
            build(plan(), path, runner=Threads(1))
    finally:
        stop.set()
        other.join()
    assert build(plan(), path, runner=Threads(2)).built > 0


def test_too_little_space_is_refused_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(StoreError, match=r"GB are needed.*free[\s\S]*--layers"):
        build(plan(), tmp_path / "d", runner=Threads(1))
    assert not (tmp_path / "d" / "chips.zarr").exists()


def test_georeference_is_that_of_the_grid(built: Path) -> None:
    """D13: x0, y0 and epsg of every layer equal the grid's, not nearly."""
    grid = Grid(32, 10)
    cells = plan().cells
    for layer in ("position", "degrees", "landcover", "s1"):
        ds = xr.open_zarr(built / "chips.zarr", group=layer, chunks=None)
        for row in range(len(cells)):
            box = grid.geobox(int(cells.epsg[row]), int(cells.col[row]), int(cells.row[row]), pitch=float(ds.pitch))
            assert (int(ds.x0[row]), int(ds.y0[row])) == (box.affine.c, box.affine.f)
            assert f"EPSG:{int(ds.epsg[row])}" == str(box.crs)
            assert ds.sizes["x"] * ds.pitch == 320


def test_every_unit_hole_pattern_is_told(built: Path) -> None:
    """D90: reasons and valid shares agree with the pixels."""
    ds = xr.open_zarr(built / "chips.zarr", group="s1", chunks=None)
    share = np.isfinite(ds.backscatter.values).mean(axis=(3, 4))
    assert np.array_equal(ds.backscatter_valid.values == 100, share == 1)
    assert np.array_equal(ds.backscatter_valid.values == 0, share == 0)
    assert set(np.unique(ds.backscatter_reason.values)) <= {0, 1, 2}


def test_datatree_opens_without_a_warning(built: Path) -> None:
    tree_ = xr.open_datatree(built / "chips.zarr", engine="zarr", chunks=None)
    assert set(tree_.children) == {"position", "degrees", "landcover", "s1"}


def test_op_versions_are_in_the_digest(built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A new VERSION of an operation rebuilds what it made, and nothing is copied from before."""
    from m3leo_prep.ops import warp

    path = tmp_path / "d"
    build(plan(), path, runner=Threads(2))
    versions = dict(warp.VERSIONS) | {warp.Method.bspline: 99}
    monkeypatch.setattr(warp, "VERSIONS", versions)
    read: set[str] = set()
    build(plan(), path, runner=Threads(2), watch=Done(lambda u, r: read.add(u.layer) if r else None))
    assert read == {"s1"}


def test_estimated_memory_cuts_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A window never exceeds the working memory it may take, by the builder's own estimate."""
    seen: list[int] = []
    original = unit_module.UnitBuilder._bytes

    def watched(self, window, items):
        estimate = original(self, window, items)
        if estimate <= self._work_bytes:
            seen.append(estimate)
        return estimate

    monkeypatch.setattr(unit_module.UnitBuilder, "_bytes", watched)
    build(plan(), tmp_path / "d", runner=Threads(1), layers=["s1"], work_bytes=400_000)
    assert seen
    assert max(seen) <= 400_000


def _hold_lock(state: Path, ready, stop) -> None:
    with BuildLock(state):
        ready.set()
        stop.wait(60)


def _ids(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    return pq.read_table(path / "chips.parquet", columns=["chip_id"])["chip_id"].to_pylist()


def _values_by_id(path: Path) -> dict[str, dict[str, bytes]]:
    ids = _ids(path)
    values: dict[str, dict[str, bytes]] = {}
    for layer, variable in (("position", "position"), ("landcover", "landcover"), ("s1", "backscatter")):
        pixels = xr.open_zarr(path / "chips.zarr", group=layer, chunks=None)[variable].values
        values[layer] = {chip: pixels[row].tobytes() for row, chip in enumerate(ids)}
    return values


COUNTING = """
from dataclasses import dataclass
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable


@dataclass(frozen=True)
class Counting:
    '''A line in a log for every read.'''

    log: str = ""

    def describe(self):
        return SourceInfo((Variable("v", Kind.CONTINUOUS, ("v",)),), version="1", pitch=10.0, is_static=True)

    def find(self, area, slots):
        yield Item("all", box(-180, -90, 180, 90))

    def read(self, items, geobox, slot):
        with open(self.log, "a") as log:
            log.write("read\\n")
        around = geobox.pad(4)
        data = np.ones((1, *around.shape), np.float32)
        yield Raster(data, np.ones(data.shape, bool), around, items[0], "v")
"""

"""Changing one's mind: reverted recipes, other slots, lost files, unfinished growth, moved folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.pipeline import build as build_module
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads

from .conftest import LARGE, MINI, area, plan, tree

SERIES = """
name: series
grid: {chip_px: 32, resolution: 10}
layers:
  a: {source: "./my_source.py:Steps", slots: {periods: PERIODS}}
"""
DAYS = [[f"2020-01-{d:02d}", f"2020-01-{d:02d}"] for d in range(1, 8)]
STEPS = """
from dataclasses import dataclass
from datetime import UTC, datetime
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable


@dataclass(frozen=True)
class Steps:
    '''One value a day: the day.'''

    def describe(self):
        return SourceInfo((Variable("v", Kind.CONTINUOUS, ("v",)),), version="1", pitch=10.0)

    def find(self, area, slots):
        for day in range(1, 8):
            yield Item(f"d{day}", box(-180, -90, 180, 90), datetime=datetime(2020, 1, day, 12, tzinfo=UTC))

    def read(self, items, geobox, slot):
        around = geobox.pad(4)
        data = np.full((1, *around.shape), float(items[0].id[1:]), np.float32)
        yield Raster(data, np.ones(data.shape, bool), around, items[0], "v")
"""


class Stop(Exception):
    pass


def interrupted(made, path: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build until ``after`` units have their shards in place; the last has no record yet."""
    original, count = build_module.build_unit, [0]

    def stop(task, blobs, work_bytes):
        record = original(task, blobs, work_bytes)
        count[0] += 1
        if count[0] == after:
            raise Stop
        return record

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "build_unit", stop)
        with pytest.raises(Stop):
            build(made, path, runner=Threads(1))


def test_shards_of_another_shape_are_never_reused(
    tmp_path: Path, write_source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropping a slot changes how slots are cut into shards: units of the same slots have other shards."""
    from m3leo_prep.core import layer

    monkeypatch.setattr(layer, "SERIES_CHUNK_BYTES", 0)
    monkeypatch.setattr(layer, "SHARD_SLOT_BYTES", 4 * 4 * 32 * 32 * 4)
    base = write_source(STEPS)
    first = plan(SERIES.replace("PERIODS", str(DAYS)), base=base)
    assert first.layers[0].layer.shard_slots == 4
    build(first, tmp_path / "d", runner=Threads(1))
    fewer = plan(SERIES.replace("PERIODS", str(DAYS[1:])), base=base)
    assert fewer.layers[0].layer.shard_slots == 3
    build(fewer, tmp_path / "d", runner=Threads(1))
    assert verify(tmp_path / "d").ok
    values = xr.open_zarr(tmp_path / "d" / "chips.zarr", group="a", chunks=None).v.values
    assert np.array_equal(values[0, :, 0, 0, 0], [2, 3, 4, 5, 6, 7])


def test_a_change_that_was_interrupted_and_taken_back(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old records must not count for shards that the change has replaced already."""
    path = tmp_path / "d"
    shutil.copytree(built, path)
    changed = MINI.replace("product: landcover}", "product: landcover, seed: 7}")
    interrupted(plan(changed), path, 1, monkeypatch)
    report = verify(path)
    assert not report.ok
    build(plan(), path, runner=Threads(2))
    assert verify(path).ok
    assert tree(path) == tree(built)


@pytest.mark.parametrize("harm", ["missing", "short", "long"])
def test_what_verify_asks_for_is_what_build_does(built: Path, tmp_path: Path, harm: str) -> None:
    """A shard that is gone or of another size is made again."""
    path = tmp_path / "d"
    shutil.copytree(built, path)
    shard = path / "chips.zarr/s1/backscatter/c/0/0/0/0/0"
    data = shard.read_bytes()
    match harm:
        case "missing":
            shard.unlink()
        case "short":
            shard.write_bytes(data[:-10])
        case "long":
            shard.write_bytes(data + b"x")
    assert not verify(path, quick=True).ok
    result = build(plan(), path, runner=Threads(2))
    assert result.built == 1
    assert tree(path) == tree(built)


def test_verify_says_that_a_growth_is_unfinished(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d"
    shutil.copytree(built, path)
    grown = plan(where=area(LARGE))
    interrupted(grown, path, 2, monkeypatch)
    assert any("not finished" in what for _, what in verify(path, quick=True).problems)
    build(grown, path, runner=Threads(2))
    assert verify(path).ok


def test_a_growth_that_does_not_fit_leaves_the_old_dataset_as_it_was(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d"
    shutil.copytree(built, path)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
        with pytest.raises(StoreError, match="are needed"):
            build(plan(where=area(LARGE)), path, runner=Threads(1))
    assert verify(path).ok
    assert build(plan(), path, runner=Threads(1)).built == 0


def test_another_layer_under_way_does_not_disturb_the_finished_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d"
    build(plan(), path, runner=Threads(2), layers=["landcover"])
    interrupted(plan(), path, 5, monkeypatch)
    tree_ = xr.open_datatree(path / "chips.zarr", engine="zarr", chunks=None)
    assert set(tree_.children) == {"landcover"}
    assert [what for where, what in verify(path).problems if "landcover" in where] == []


def test_closing_again_takes_nothing_away_in_between(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finalize that fails half-way leaves a dataset that reads as before."""
    from m3leo_prep.pipeline import finalize as finalize_module

    path = tmp_path / "d"
    shutil.copytree(built, path)
    before = xr.open_zarr(path / "chips.zarr", group="s1", chunks=None).load()

    def fail(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(finalize_module, "_write_chips", fail)
        with pytest.raises(Stop):
            build(plan(), path, runner=Threads(1))
    xr.testing.assert_identical(before, xr.open_zarr(path / "chips.zarr", group="s1", chunks=None).load())


def test_another_folder_of_files_is_asked_for_its_own(tmp_path: Path) -> None:
    """A new ``path`` is not in the digest, but its items are looked for."""
    import rasterio

    def write(folder: Path, value: int) -> None:
        folder.mkdir()
        transform = rasterio.Affine(10, 0, 515_000, 0, -10, 6_332_000)
        profile = {"driver": "GTiff", "width": 400, "height": 400, "count": 1, "dtype": "int16"}
        with rasterio.open(folder / "dem.tif", "w", crs="EPSG:32632", transform=transform, **profile) as file:
            file.write(np.full((1, 400, 400), value, "int16"))

    recipe = """
    name: moved
    grid: {chip_px: 32, resolution: 10}
    layers:
      dem: {source: local, path: FOLDER, kind: continuous}
    """
    write(tmp_path / "one", 1)
    write(tmp_path / "two", 2)
    where = area((9.26, 57.10, 9.27, 57.11))
    for folder, value in (("one", 1), ("two", 2)):
        made = plan(recipe.replace("FOLDER", str(tmp_path / folder)), where)
        from m3leo_prep.pipeline.state import DatasetFolder

        frozen = DatasetFolder(tmp_path / "d").frozen()
        made = plan(recipe.replace("FOLDER", str(tmp_path / folder)), where, previous=frozen) if frozen else made
        build(made, tmp_path / "d", runner=Threads(1))
        values = xr.open_zarr(tmp_path / "d" / "chips.zarr", group="dem", chunks=None).continuous.values
        assert np.unique(values[np.isfinite(values)]).tolist() == [value]


def test_a_variable_may_not_take_the_name_of_a_companion(tmp_path: Path, write_source) -> None:
    base = write_source(STEPS.replace('Variable("v"', 'Variable("count"'))
    with pytest.raises(ConfigError, match="'count' has the name of an array beside the pixels"):
        plan(SERIES.replace("PERIODS", str(DAYS)), base=base)


def test_an_encoding_that_would_lose_half_the_values_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"holds 0 \.\.\. .* only, power values lie in -50"):
        plan(MINI.replace("product: s1,", "product: s1, encoding: {dtype: uint16, scale: 0.01},"))


def test_how_coordinates_were_made_is_written_down(built: Path) -> None:
    ds = xr.open_zarr(built / "chips.zarr", group="degrees", chunks=None)
    (pair,) = ds.attrs["coordinate_operation"]
    assert pair == "EPSG:4326 -> EPSG:32632"
    assert "utm" in ds.attrs["coordinate_operation"][pair].lower()
    s1 = xr.open_zarr(built / "chips.zarr", group="s1", chunks=None)
    assert s1.backscatter.attrs["kernel"] == "bspline"
    low, high = s1.backscatter.attrs["kernel_noise_gain"]
    assert (round(low, 4), high) == (0.2117, 0.25)

"""A raster larger than memory should be, damaged files in a folder, chips of one value or one pixel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import xarray as xr

from m3leo_prep.core.reasons import Reason
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads

from .conftest import area, plan

LIMIT_GB = 2.0
"""Below the 2.5 GiB that a worker may take; a first run in a new environment also compiles the kernels."""
HUGE = """
import sys
from pathlib import Path
import shapely
from m3leo_prep.core.area import Area
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.runners.threads import Threads

folder = Path(sys.argv[1])
layer = "{source: local, path: huge.tif, kind: reflectance, scale: 0.0001}"
recipe = parse_recipe("name: huge\\nlayers:\\n  a: " + layer)
area = Area.from_geometry(shapely.box(9.6, 56.9, 9.72, 56.97), name="corner")
made = make_plan(recipe, area, base=folder)
build(made, folder / "out", runner=Threads(1))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(made.cells), int(peak.split()[1]) / 1e6)
"""


@pytest.mark.slow
def test_a_raster_of_sixteen_gigabytes_is_read_by_windows(tmp_path: Path) -> None:
    """D88: 90 000 x 90 000 px of 16 bits, sparse on disk; peak memory stays far below its size."""
    profile = {"driver": "GTiff", "width": 90_000, "height": 90_000, "count": 1, "dtype": "uint16", "nodata": 0}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "SPARSE_OK": True, "BIGTIFF": "YES"}
    transform = rasterio.Affine(10, 0, 200_000, 0, -10, 6_500_000)
    with rasterio.open(tmp_path / "huge.tif", "w", crs="EPSG:32632", transform=transform, **profile) as file:
        block = np.full((1, 4096, 4096), 1234, np.uint16)
        file.write(block, window=rasterio.windows.Window(33_000, 17_500, 4096, 4096))
    done = subprocess.run([sys.executable, "-c", HUGE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    chips, peak_gb = done.stdout.split()
    assert int(chips) >= 4
    assert float(peak_gb) < LIMIT_GB
    stored = xr.open_zarr(tmp_path / "out" / "chips.zarr", group="a", chunks=None).reflectance.values
    assert np.nanmax(stored) == pytest.approx(0.1234)


def _write(path: Path, data: np.ndarray, **more: object) -> None:
    path.parent.mkdir(exist_ok=True)
    transform = rasterio.Affine(10, 0, 517_000, 0, -10, 6_330_500)
    rows, cols = data.shape
    profile = {"driver": "GTiff", "width": cols, "height": rows, "count": 1, "dtype": data.dtype.name}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=transform, **(profile | more)) as file:
        file.write(data, 1)


RECIPE = """
name: odd
grid: {chip_px: 32, resolution: 10}
layers:
  a: {source: local, path: FOLDER, kind: continuous}
"""


def test_a_damaged_block_is_a_hole_with_a_name(tmp_path: Path) -> None:
    """D82: the file is named, its chips are CORRUPT, the rest of the run goes on."""
    rng = np.random.default_rng(0)
    data = rng.integers(1, 30_000, (256, 256)).astype("int16")
    _write(tmp_path / "in" / "scene.tif", data, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    raw = bytearray((tmp_path / "in" / "scene.tif").read_bytes())
    with rasterio.open(tmp_path / "in" / "scene.tif") as file:
        offset = int(file.tags(ns="TIFF", bidx=1).get("BLOCK_OFFSET_1_1") or 0)
    middle = offset + 40 if offset else len(raw) // 2
    raw[middle : middle + 400] = b"\x00" * 400
    (tmp_path / "in" / "scene.tif").write_bytes(bytes(raw))
    made = plan(RECIPE.replace("FOLDER", str(tmp_path / "in")), area((9.285, 57.095, 9.325, 57.117)))
    result = build(made, tmp_path / "d", runner=Threads(1))
    assert any("scene.tif" in line for line in result.damaged)
    ds = xr.open_zarr(tmp_path / "d" / "chips.zarr", group="a", chunks=None)
    found = set(np.unique(ds.continuous_reason.values))
    assert Reason.CORRUPT in found
    assert Reason.OK in found
    assert verify(tmp_path / "d").ok


def test_constant_single_and_empty_chips(tmp_path: Path) -> None:
    """D86: no warning (they are errors here), honest shares, no statistics out of nothing."""
    data = np.full((256, 256), -9999, "int16")
    data[:120] = 7
    data[200, 130] = 5
    _write(tmp_path / "in" / "dem.tif", data, nodata=-9999)
    recipe = RECIPE.replace("FOLDER", str(tmp_path / "in")).replace("continuous}", "continuous, resampling: nearest}")
    build(plan(recipe, area((9.285, 57.095, 9.325, 57.117))), tmp_path / "d", runner=Threads(1))
    ds = xr.open_zarr(tmp_path / "d" / "chips.zarr", group="a", chunks=None)
    values, share = ds.continuous.values[:, 0], ds.continuous_valid.values[:, 0]
    n_valid = np.isfinite(values).sum(axis=(1, 2))
    single = np.flatnonzero(n_valid == 1)
    assert len(single) == 1
    assert share[single[0]] == 1
    assert np.nanmax(values[single[0]]) == 5
    whole = n_valid == 32 * 32
    assert (values[whole] == 7).all()
    assert (share[whole] == 100).all()
    assert (share[n_valid == 0] == 0).all()
    table = pq.read_table(tmp_path / "d" / "provenance" / "a" / "part-00000.parquet").to_pandas()
    assert table.valid_fraction[single[0]] == pytest.approx(1 / 1024)


def test_what_encoding_changed_is_counted_in_provenance(tmp_path: Path) -> None:
    """D85: floored and impossible pixels are told, chip by chip."""
    data = np.full((256, 256), 0.1, "float32")
    data[:40, :60] = -0.001
    data[100:110, 100:110] = 1e9
    _write(tmp_path / "in" / "s1.tif", data)
    recipe = RECIPE.replace("FOLDER", str(tmp_path / "in")).replace("continuous}", "power, resampling: nearest}")
    build(plan(recipe, area((9.285, 57.095, 9.325, 57.117))), tmp_path / "d", runner=Threads(1))
    table = pq.read_table(tmp_path / "d" / "provenance" / "a" / "part-00000.parquet").to_pandas()
    ds = xr.open_zarr(tmp_path / "d" / "chips.zarr", group="a", chunks=None)
    floor = (ds.power.values == np.float32(-50)).sum(axis=(1, 2, 3))
    assert table.n_floored.tolist() == floor.tolist()
    assert 0 < table.n_floored.sum() <= 40 * 60
    assert table.n_out_of_range.sum() == 100
    assert json.loads((tmp_path / "d" / "manifest.json").read_text())["n_chips"] == len(table)

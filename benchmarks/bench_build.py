"""Chips per CPU-second of a whole build, beside a plain rasterio script and beside the bare work.

One 10980 x 10980 uint16 scene of a neighbouring UTM zone (deflate, 512-px tiles), three layers: reflectance at 10 m,
the same at nearest, and its 20-m average. The plain script warps each chip with ``rasterio.warp.reproject`` as it comes
and writes a GeoTIFF per chip and layer. The bare work is decoding the scene, warping whole windows and encoding the
chunks, without planning, ledger, checks, tables or files.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window

from m3leo_prep.core.area import Area
from m3leo_prep.core.encoding import encode
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.ops.warp import Method, warp
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.windows import cut
from m3leo_prep.runners.threads import Threads
from m3leo_prep.store.codec import ChunkCodec

SIDE = 10_980
ORIGIN = (199_980.0, 6_300_000.0)
RECIPE = """
name: bench
layers:
  red:    {source: local, path: scene.tif, kind: reflectance, scale: 0.0001, bands: [red]}
  sharp:  {source: local, path: scene.tif, kind: reflectance, scale: 0.0001, bands: [red], resampling: nearest}
  coarse: {source: local, path: scene.tif, kind: reflectance, scale: 0.0001, bands: [red], resolution: 20}
"""
PLAIN = {"red": (Resampling.bilinear, 10.0), "sharp": (Resampling.nearest, 10.0), "coarse": (Resampling.average, 20.0)}


def run(cells: int = 12) -> dict[str, Any]:
    """Return chips per CPU-second and ratios for about ``cells`` squared chips."""
    folder = Path(tempfile.mkdtemp(prefix="bench-build-"))
    try:
        scene = _scene(folder / "scene.tif")
        plan = _plan(folder, cells)
        build(_plan(folder, 1), folder / "warm", runner=Threads(1))
        ours = _cpu(lambda: build(plan, folder / "ours", runner=Threads(1)))
        bare = _cpu(lambda: _bare(plan, scene))
        plain = {c: _cpu(lambda c=c: _plain(plan, scene, folder / f"plain-{c}", c)) for c in ("none", "deflate")}
        n = len(plan.cells)
        return {
            "chips": n,
            "layers": len(plan.layers),
            "chips_per_cpu_s": n / ours,
            "bare_chips_per_cpu_s": n / bare,
            "plain_chips_per_cpu_s": {c: n / t for c, t in plain.items()},
            "ratio_to_bare": ours / bare,
            "times_plain": {c: t / ours for c, t in plain.items()},
            "targets": {"times_plain": 3.0, "ratio_to_bare": 1.6},
            "bytes": sum(p.stat().st_size for p in (folder / "ours").rglob("*") if p.is_file()),
            "plain_bytes": {c: sum(p.stat().st_size for p in (folder / f"plain-{c}").iterdir()) for c in plain},
        }
    finally:
        shutil.rmtree(folder)


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _scene(path: Path) -> Path:
    """Write a scene that compresses like a real one: smooth fields, noise, a corner without data."""
    rng = np.random.default_rng(0)
    fields = np.repeat(np.repeat(rng.integers(300, 3000, (183, 183)), 60, axis=0), 60, axis=1)
    pixels = (fields + rng.normal(0, 60, fields.shape)).clip(1, 10_000).astype(np.uint16)
    pixels[:500, :500] = 0
    profile = {
        "driver": "GTiff",
        "width": SIDE,
        "height": SIDE,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:32633",
        "transform": Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "predictor": 2,
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)
    return path


def _plan(folder: Path, cells: int) -> Plan:
    side = cells * 4480 / 111_000
    area = Area.from_geometry(shapely.box(10.55, 56.2, 10.55 + side / 0.556, 56.2 + side), name="bench")
    return make_plan(parse_recipe(RECIPE), area, base=folder)


def _bare(plan: Plan, scene: Path) -> None:
    """Decode each window once, warp it, encode its chunks."""
    codec = ChunkCodec("int16")
    with rasterio.open(scene) as file:
        grid = GeoBox(file.shape, file.transform, str(file.crs))
        for window in cut(plan.cells, np.arange(len(plan.cells))):
            crop = _crop(window.geobox(10.0), grid)
            data = file.read(1, window=crop)[None]
            valid = data != 0
            physical = data.astype(np.float32) * np.float32(0.0001)
            source = grid[crop.row_off : crop.row_off + crop.height, crop.col_off : crop.col_off + crop.width]
            for layer in plan.layers:
                array = layer.layer.arrays[0]
                values, ok = warp(physical, valid, source, window.geobox(layer.layer.pitch), Method(array.method))
                size = layer.layer.size
                for _, down, right in window.places():
                    place = np.s_[:, down * size : (down + 1) * size, right * size : (right + 1) * size]
                    codec.encode(encode(values[place], ok[place], array.encoding).codes)


def _crop(target: GeoBox, grid: GeoBox) -> Window:
    outline = target.pad(8).extent.to_crs(grid.crs, resolution=1000).boundingbox
    left, top = ~grid.affine @ (outline.left, outline.top)
    right, bottom = ~grid.affine @ (outline.right, outline.bottom)
    col, row = max(0, int(left)), max(0, int(top))
    return Window(col, row, min(SIDE, int(right) + 1) - col, min(SIDE, int(bottom) + 1) - row)


def _plain(plan: Plan, scene: Path, out: Path, compress: str) -> None:
    """Do what one writes first: per chip and layer, reproject the scene and write a GeoTIFF."""
    out.mkdir()
    with rasterio.open(scene) as file:
        for name, chip_id in [(name, i) for name in PLAIN for i in range(len(plan.cells))]:
            method, pitch = PLAIN[name]
            cells = plan.cells
            box = cells.grid.geobox(int(cells.epsg[chip_id]), int(cells.col[chip_id]), int(cells.row[chip_id]), pitch)
            chip = np.zeros(box.shape, np.uint16)
            reproject(
                rasterio.band(file, 1),
                chip,
                dst_transform=box.affine,
                dst_crs=str(box.crs),
                resampling=method,
                dst_nodata=0,
            )
            profile = {"driver": "GTiff", "width": box.shape.x, "height": box.shape.y, "count": 1, "dtype": "uint16"}
            profile |= {"crs": str(box.crs), "transform": box.affine, "compress": compress, "nodata": 0}
            with rasterio.open(out / f"{name}-{chip_id}.tif", "w", **profile) as written:
                written.write(chip, 1)


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:])), indent=1))

"""Class proportions of chips from a class raster, beside rasterstats and exactextract on the same zones.

python benchmarks/bench_proportions.py [--n 10000] [--px 100]

The raster is like WorldCover: a GeoTIFF of eleven classes in lon/lat, pixels of 1/12000 degree. The zones are the
footprints of ``n`` chips of ``px`` pixels of 10 m. Theirs is the one call that returns the share of each class by zone
from the file. Ours is the same by the code of a build: read, warp onto the chips, count, divide. ``build`` is the whole
way of a dataset with this one label layer, which also encodes, compresses, writes and closes; and ``columns_alone``
what proportions add to a dataset that has the label anyway. Each runs in its own process, on one thread, and is timed
by its CPU. Targets: 5 times rasterstats, not slower than exactextract.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STEP = 1 / 12000
CODES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
PLACE = (8.2, 52.0)
RECIPE = """
name: bench
grid: {{chip_px: {px}, resolution: 10}}
layers:
  cover: {{role: label, source: local, path: cover.tif, kind: classes, nodata: 0, legend: {legend}}}
"""


def run(n: int = 10_000, px: int = 100) -> dict[str, Any]:
    """Return seconds, memory and ratios."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "GDAL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for name in ("prepare", "ours", "build", "rasterstats", "exactextract", "compare"):
            call = [sys.executable, __file__, "--n", str(n), "--px", str(px), "--one", name, "--folder", folder]
            done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            made[name] = json.loads(done.stdout)
    theirs = ("rasterstats", "exactextract")
    ratios = {f"{name}_cpu_ratio": made[name]["cpu_s"] / made["ours"]["cpu_s"] for name in theirs}
    ratios |= {f"{name}_to_build_cpu_ratio": made[name]["cpu_s"] / made["build"]["cpu_s"] for name in theirs}
    about = made.pop("prepare") | made.pop("compare")
    about.pop("peak_gb")
    return (
        {"chip_px": px} | about | made | ratios | {"targets": {"rasterstats_cpu_ratio": 5, "exactextract_cpu_ratio": 1}}
    )


def _plan(folder: Path, n: int, px: int) -> Any:
    import math

    import shapely

    from m3leo_prep.core.area import Area
    from m3leo_prep.core.recipe import parse_recipe
    from m3leo_prep.pipeline.plan import make_plan

    side = (math.sqrt(n) - 1) * px * 10 / 111_200
    west, south = PLACE
    area = Area.from_geometry(shapely.box(west, south, west + side / 0.612, south + side), name="bench")
    legend = "{" + ", ".join(f"{code}: class {code}" for code in CODES) + "}"
    return make_plan(parse_recipe(RECIPE.format(px=px, legend=legend)), area, base=folder)


def _prepare(folder: Path, n: int, px: int) -> dict[str, Any]:
    """Write raster and zones; patches of 8 pixels with salt and pepper."""
    import numpy as np
    import rasterio
    from affine import Affine

    side = int((n**0.5 + 3) * px * 10 / 111_200 / STEP)
    width, height = int(side / 0.58), side
    west, north = PLACE[0] - 0.02 - px * 3e-4, PLACE[1] + side * STEP - px * 1.5e-4
    rng = np.random.default_rng(0)
    shape = {"height": height, "width": width, "count": 1, "dtype": "uint8", "crs": "EPSG:4326"}
    how = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    to = Affine(STEP, 0, west, 0, -STEP, north)
    with rasterio.open(folder / "cover.tif", "w", driver="GTiff", transform=to, nodata=0, **shape, **how) as file:
        for row in range(0, height, 512):
            rows = min(512, height - row)
            patches = rng.choice(np.array(CODES, np.uint8), (rows // 8 + 1, width // 8 + 1))
            codes = patches.repeat(8, 0).repeat(8, 1)[:rows, :width]
            codes = np.where(rng.random(codes.shape) < 0.02, np.uint8(10), codes)
            file.write(codes, 1, window=((row, row + rows), (0, width)))
    plan = _plan(folder, n, px)
    import geopandas

    geopandas.GeoDataFrame({"row": range(len(plan.cells))}, geometry=plan.cells.polygons(), crs=4326).to_parquet(
        folder / "zones.parquet"
    )
    return {"chips": len(plan.cells), "raster_mpx": width * height / 1e6}


def _ours(folder: Path, n: int, px: int) -> dict[str, Any]:
    import numpy as np

    from m3leo_prep.core.raster import STATIC
    from m3leo_prep.ops.summary import class_counts
    from m3leo_prep.pipeline.derive import derive
    from m3leo_prep.pipeline.origins import open_source
    from m3leo_prep.pipeline.windows import cut

    def shares(n: int) -> np.ndarray:
        plan = _plan(folder, n, px)
        layer, source = plan.layers[0], open_source(plan.layers[0].source)
        counts = np.zeros((len(plan.cells), 256))
        for window in cut(plan.cells, np.arange(len(plan.cells))):
            look = derive(source, layer.layer, layer.items, window.geobox(10.0), STATIC).looks["classes"]
            for chip, down, right in window.places():
                at = np.s_[:, down * px : (down + 1) * px, right * px : (right + 1) * px]
                counts[chip] = class_counts(look.values[at], look.valid[at])[0]  # noqa: PD011  no pandas
        return counts[:, CODES] / counts.sum(axis=1, keepdims=True)

    shares(4)  # kernels are compiled once, not for each raster
    start, cpu = time.monotonic(), time.process_time()
    made = shares(n)
    told = {"wall_s": time.monotonic() - start, "cpu_s": time.process_time() - cpu}
    np.save(folder / "ours.npy", made)
    return told


def _build(folder: Path, n: int, px: int) -> dict[str, Any]:
    from m3leo_prep.pipeline.build import build
    from m3leo_prep.pipeline.proportions.columns import chip_columns
    from m3leo_prep.pipeline.proportions.groups import find_targets
    from m3leo_prep.pipeline.rows import stitch
    from m3leo_prep.pipeline.state import DatasetFolder
    from m3leo_prep.runners.threads import Threads

    build(_plan(folder, 4, px), folder / "warm", runner=Threads(1))  # kernels are compiled once, not for each dataset
    start, cpu = time.monotonic(), time.process_time()
    plan = _plan(folder, n, px)
    build(plan, folder / "out", runner=Threads(1))
    told = {"wall_s": time.monotonic() - start, "cpu_s": time.process_time() - cpu}
    dataset = DatasetFolder(folder / "out")
    rows = stitch(plan, plan.layers[0], dataset.ledger.records(), frozenset(u.id for u in plan.units()))
    assert rows is not None
    cpu = time.process_time()
    chip_columns(find_targets([plan.layers[0].layer], plan.recipe.proportions), {"cover": rows}, 0.5)
    return told | {"columns_alone_cpu_s": time.process_time() - cpu}


def _rasterstats(folder: Path, n: int, px: int) -> dict[str, Any]:  # noqa: ARG001  one signature for all
    import geopandas
    from rasterstats import zonal_stats

    zones = geopandas.read_parquet(folder / "zones.parquet")
    start, cpu = time.monotonic(), time.process_time()
    zonal_stats(zones, str(folder / "cover.tif"), categorical=True)
    return {"wall_s": time.monotonic() - start, "cpu_s": time.process_time() - cpu}


def _exactextract(folder: Path, n: int, px: int) -> dict[str, Any]:  # noqa: ARG001  one signature for all
    import geopandas
    from exactextract import exact_extract

    zones = geopandas.read_parquet(folder / "zones.parquet")
    start, cpu = time.monotonic(), time.process_time()
    found = exact_extract(str(folder / "cover.tif"), zones, ["unique", "frac"], include_cols=["row"], output="pandas")
    told = {"wall_s": time.monotonic() - start, "cpu_s": time.process_time() - cpu}
    shares = {
        row: dict(zip(map(int, codes), map(float, parts), strict=True))
        for row, codes, parts in zip(found["row"], found["unique"], found["frac"], strict=True)
    }
    (folder / "exact.json").write_text(json.dumps(shares))
    return told


def _compare(folder: Path, n: int, px: int) -> dict[str, Any]:  # noqa: ARG001  one signature for all
    """Return how far our shares are from the exact ones of the same ground: both measure the same thing."""
    import numpy as np
    import pandas as pd

    chips = pd.read_parquet(folder / "out" / "chips.parquet")
    exact = json.loads((folder / "exact.json").read_text())
    truth = [[exact[str(row)].get(str(code), 0.0) for code in CODES] for row in chips["row"]]
    ours = chips[[f"prop_cover_class_{code}" for code in CODES]].to_numpy()
    assert np.abs(ours - np.load(folder / "ours.npy")).max() < 1e-6
    return {"largest_difference_of_shares": float(np.abs(ours - truth).max())}


PARTS = {
    "prepare": _prepare,
    "ours": _ours,
    "build": _build,
    "rasterstats": _rasterstats,
    "exactextract": _exactextract,
    "compare": _compare,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--px", type=int, default=100)
    parser.add_argument("--one", choices=PARTS)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.one:
        result = PARTS[given.one](given.folder, given.n, given.px)
        print(json.dumps(result | {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
    else:
        print(json.dumps(run(given.n, given.px), indent=1))

"""The report of a dataset of 100 000 chips: time, memory, size, and what a browser needs to show it.

Targets: made in a minute, 15 MB, first paint in 2 s. The dataset is not built: 64 chips are, and every shard of the
large one is a hard link to theirs; its tables are made from real cells of an area, with labels that vary over the
ground.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

import m3leo_prep.core.layer as layer_module
from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.area import Area
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.core.splits.policy import SplitPolicy
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.runners.threads import Threads
from m3leo_prep.store.codec import ChunkCodec
from m3leo_prep.store.tables import write_chips

RECIPE = """
name: hundred_thousand
description: As many chips as a large dataset has, and 64 of them over and over as its pixels.
grid: {chip_px: 32, resolution: 10}
layers:
  s1: {source: synthetic, product: s1, slots: {months: 2020}}
  s2: {source: synthetic, product: s2, slots: {months: 2021}}
  dem: {source: synthetic, product: relief}
  landcover: {role: label, source: synthetic, product: landcover}
"""
BUILT = 64
SMALL, LARGE = (9.0, 50.0, 9.06, 50.04), (9.0, 49.6, 10.6, 50.62)
PART = 4096


def run(n: int = 100_000) -> dict[str, Any]:
    """Return seconds, bytes and memory of the report of ``n`` chips."""
    folder = Path(tempfile.mkdtemp(prefix="bench-report-"))
    try:
        path = folder / "dataset"
        make_dataset(path, n)
        page = folder / "report.html"
        start = time.monotonic()
        code = (
            "import resource, sys; from m3leo_prep.pipeline.report.page import make_report\n"
            "make_report(sys.argv[1]).save(sys.argv[2])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run([sys.executable, "-c", code, path, page], check=True, capture_output=True, text=True)
        made = {
            "chips": n,
            "seconds": round(time.monotonic() - start, 2),
            "target_s": 60,
            "peak_mb": round(int(done.stdout) / 1024),
            "page_mb": round(page.stat().st_size / 1e6, 2),
            "target_mb": 15,
        }
        return made | _shown(page)
    finally:
        if not os.environ.get("KEEP"):
            shutil.rmtree(folder)
        else:
            print(folder, file=sys.stderr)


def _shown(page: Path) -> dict[str, Any]:
    """Return what a headless Chromium measures, or why nothing is known."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return {"browser": "no chromium on this machine"}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.goto(page.as_uri())
        tab.wait_for_selector("#map-frame[data-ready=yes]")
        paints = tab.evaluate("performance.getEntriesByType('paint').map((entry) => [entry.name, entry.startTime])")
        ready = tab.evaluate("performance.now()")
        redraw = tab.evaluate(
            "async () => { const start = performance.now(); document.getElementById('map-in').click();"
            "await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));"
            "return performance.now() - start; }"
        )
        browser.close()
    return {
        "first_paint_s": round(dict(paints)["first-contentful-paint"] / 1000, 3),
        "target_paint_s": 2,
        "map_ready_s": round(ready / 1000, 3),
        "map_redraw_s": round(redraw / 1000, 3),
    }


def make_dataset(path: Path, n: int) -> None:
    """Write a dataset of ``n`` chips whose tables are whole and whose shards are 64 chips over and over."""
    layer_module.SHARD_CHIPS = (BUILT,)
    small = Area.from_geometry(shapely.box(*SMALL), name="a block")
    plan = make_plan(parse_recipe(RECIPE), small, base=Path.cwd())
    plan = make_plan(parse_recipe(RECIPE), _first(small, plan.cells, BUILT), base=Path.cwd())
    assert len(plan.cells) == BUILT, f"{len(plan.cells)} cells"
    build(plan, path, runner=Threads(2))
    manifest = json.loads((path / "manifest.json").read_bytes())
    cells = Grid(chip_px=32).cells(shapely.box(*LARGE))
    cells = cells[: min(n, len(cells))]
    assert len(cells) == n, f"{len(cells)} cells"
    _chips(path, cells, manifest)
    _shards(path, n)
    _companions(path, manifest, n)
    _provenance(path, cells.ids(), manifest)
    shutil.rmtree(path / ".m3leo")
    policy = SplitPolicy("blocks", {"train": 0.6, "val": 0.2, "test": 0.2}, block_km=8.0, buffer_km=0.5)
    manifest |= {"n_chips": n, "area": manifest["area"] | {"name": "a large box"}}
    manifest["splits"] = {"split": {"policy": policy.document(), "chips": {}, "buffer_loss": {"train": 0.1}}}
    (path / "manifest.json").write_text(json.dumps(manifest))


def _first(area: Area, cells: Cells, n: int) -> Area:
    """Return a box inside the first square of ``n`` cells."""
    side = int(n**0.5)
    keep = (cells.col < cells.col.min() + side) & (cells.row < cells.row.min() + side)
    lon, lat = cells[np.flatnonzero(keep)].lon_lat()
    return Area.from_geometry(shapely.box(lon.min(), lat.min(), lon.max(), lat.max()), name=area.name)


def _chips(path: Path, cells: Cells, manifest: dict[str, Any]) -> None:
    n = len(cells)
    lon, lat = cells.lon_lat()
    x0, y0 = cells.upper_left()
    random = np.random.default_rng(0)
    block = (np.floor(lon / 0.11) * 31 + np.floor(lat / 0.07) * 17).astype(int) % 25
    split = np.array(["train"] * 15 + ["val"] * 5 + ["test"] * 5, object)[block]
    edge = (np.abs(lon / 0.11 % 1 - 0.5) > 0.42) & (split == "train")
    split[edge] = "buffer"
    columns: dict[str, Any] = {
        "chip_id": np.array(cells.ids()),
        "row": np.arange(n, dtype=np.int64),
        "epsg": cells.epsg,
        "x0": x0.astype(np.int32),
        "y0": y0.astype(np.int32),
        "lon": lon,
        "lat": lat,
        "area_km2": cells.area_km2(),
        "owned_fraction": cells.owned_fraction(),
        "zone_shared": cells.zone_shared(),
        "split": pa.array(split.tolist(), pa.string()),
    }
    for k, layer in enumerate(manifest["layers"]):
        wave = 90 + 12 * np.sin(12 * lon + k) * np.cos(18 * lat) + random.normal(0, 3, n)
        columns[f"valid_{layer}"] = np.clip(wave, 0, 100).astype(np.float32)
    classes = manifest["proportions"]["columns"]["landcover"]["classes"]
    power = np.exp(
        np.stack([2 * np.sin(lon * (5 + 2 * k) + k) * np.cos(lat * 4 * (k + 1)) for k in range(len(classes))])
        + random.normal(0, 0.4, (len(classes), n))
    )
    columns |= {
        f"prop_landcover_{name}": share.astype(np.float32)
        for name, share in zip(classes, power / power.sum(axis=0), strict=True)
    }
    columns["admin_region"] = np.array([f"region {k:02d}" for k in range(25)])[block]
    write_chips(LocalBlobs(path), "chips.parquet", columns, cells.polygons())


def _shards(path: Path, n: int) -> None:
    """Link the shards of the chips that are there once for every 64 chips, and list them."""
    listed = pq.read_table(path / "shards.parquet").to_pylist()
    made = []
    for shard in listed:
        head, _, tail = shard["path"].partition("/c/0/")
        for k in range(-(-n // BUILT)):
            name = f"{head}/c/{k}/{tail}"
            if k and shard["bytes"]:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(path / shard["path"], path / name)
            made.append(shard | {"path": name})
    made.sort(key=lambda one: str(one["path"]))
    pq.write_table(pa.Table.from_pylist(made), path / "shards.parquet")


def _companions(path: Path, manifest: dict[str, Any], n: int) -> None:
    for layer, about in manifest["layers"].items():
        for array in about["arrays"]:
            for part in ("reason", "valid"):
                folder = path / "chips.zarr" / layer / f"{array['name']}_{part}"
                document = json.loads((folder / "zarr.json").read_bytes())
                shape = document["chunk_grid"]["configuration"]["chunk_shape"]
                zeros = ["0"] * (len(shape) - 1)
                codec = ChunkCodec("uint8")
                values = codec.decode(folder.joinpath("c", "0", *zeros).read_bytes(), shape)[:BUILT]
                values = np.concatenate([values] * -(-shape[0] // BUILT))[: shape[0]]
                for k in range(-(-n // shape[0])):
                    target = folder.joinpath("c", str(k), *zeros)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(codec.encode(values))
                document["shape"][0] = n
                (folder / "zarr.json").write_text(json.dumps(document))


def _provenance(path: Path, ids: list[str], manifest: dict[str, Any]) -> None:
    for layer in manifest["layers"]:
        file = path / "provenance" / layer / "part-00000.parquet"
        table = pq.read_table(file).drop_columns("chip_id")
        each = len(table) // BUILT
        for part, start in enumerate(range(0, len(ids), PART)):
            names = ids[start : start + PART]
            whole = pa.concat_tables([table] * -(-len(names) // BUILT)).slice(0, each * len(names))
            chip = pa.array(np.repeat(np.array(names, object), each).tolist(), pa.string())
            pq.write_table(
                whole.add_column(0, "chip_id", chip), file.with_name(f"part-{part:05d}.parquet"), compression="zstd"
            )


if __name__ == "__main__":
    print(json.dumps({"bench": "report"} | run(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)))

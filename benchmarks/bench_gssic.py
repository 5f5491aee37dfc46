"""A season of a tile of GSSIC, 12 metrics, to all its chips, against rasterio windows chip by chip; prints JSON lines.

python benchmarks/bench_gssic.py

Files are laid out as the archive's (LZW, strips of 6 or 3 rows) and served by the stand-in in a process of its own,
with the latency of another continent or none. ``read``: ours, found, fetched, decoded, masked and scaled in windows of
8 x 8 chips, as a build asks for them. ``chips``: that, and warped to chips of 80 m. ``per chip`` opens the twelve files
for each chip, and reads, masks and scales its window: ``local`` from the disk, as with a tile downloaded, or
over /vsicurl, with GDAL's own cache.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from apart import run
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from reading import shown
from scipy.ndimage import gaussian_filter
from shapely.geometry import box

from m3leo_prep.core.defaults import default_method, default_statistic
from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.pipeline.derive import derive
from m3leo_prep.sources.asf.gssic.source import Gssic
from m3leo_prep.testing.earthdata import BUCKET
from m3leo_prep.testing.earthdata.files.gssic import FOLDER, PIXELS, stored, write_tile

TILE, WEST, NORTH, EPSG = "N48E009", 9, 48, 32632
CHIP, WINDOW, PITCH = 56, 8, 80.0
VARIABLES = {
    "coherence": ["coh06", "coh12", "coh18", "coh24", "coh36", "coh48"],
    "backscatter": ["vv", "vh", "hh"],
    "decay": ["rho", "tau", "rmse"],
}
METRICS = [f"vv_{band.upper()}" for band in VARIABLES["coherence"]]
METRICS += [f"{band}_AMP" for band in VARIABLES["backscatter"]]
METRICS += [f"vv_{band}" for band in VARIABLES["decay"]]
LATENCY = 0.05
THREADS = 4
TARGET = 5.0


def main() -> None:
    """Run every case, each in a process of its own; ``bench_gssic.py CASE PLACE MORE`` is one."""
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(_case(*sys.argv[1:])))
        return
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-gssic-") as made:
        bucket = Path(made, "buckets", BUCKET)
        _write(bucket)
        local = run(__file__, "per_chip", str(bucket), "96")
        rows.append(_row("per chip, local", local))
        for latency in (0.0, LATENCY):
            with _served(bucket, latency) as url:
                name = f"{latency * 1e3:g} ms"
                remote = run(__file__, "per_chip", f"/vsicurl/{url}/{BUCKET}", "24")
                rows.append(_row(f"per chip, {name}", remote))
                for case in ("read", "chips"):
                    ours = run(__file__, case, url, str(Path(made, f"{case}{latency}")))
                    rows.append(_row(f"{case}, {name}", ours, local, remote))
    columns = ("", "chips", "ms a chip", "CPU ms", "MB", "peak MiB", "x local", "x local, CPU", "x remote")
    shown.table("GSSIC: 12 metrics of a tile", columns, rows)


def _row(name: str, case: dict[str, Any], local: dict[str, Any] | None = None, remote: Any = None) -> list[object]:
    """Print a case, and how many times faster it is than chip by chip, and return its row."""
    times: dict[str, float] = {}
    if local is not None:
        times = {
            "times_local": local["ms_a_chip"] / case["ms_a_chip"],
            "times_local_cpu": local["cpu_ms_a_chip"] / case["cpu_ms_a_chip"],
            "times_remote": remote["ms_a_chip"] / case["ms_a_chip"],
            "at_least": TARGET,
        }
    made = shown.line(bench="gssic", case=name, **case, **times)
    wanted = ("chips", "ms_a_chip", "cpu_ms_a_chip", "mb", "peak_mib", "times_local", "times_local_cpu", "times_remote")
    return [name, *(made.get(key) for key in wanted)]


def _case(kind: str, place: str, more: str) -> dict[str, Any]:
    """Return the figures of one way; numba's kernels are compiled before the clock starts."""
    chips = _chips()
    if kind == "per_chip":
        run = _per_chip(place, chips[:: max(1, len(chips) // int(more))])
    else:
        os.environ |= {"M3LEO_PREP_GSSIC_URL": place, "M3LEO_PREP_CACHE": more}
        run = _ours(chips, warps=kind == "chips")
    next(run)
    cpu, start = time.process_time(), time.perf_counter()
    n, megabytes = next(run)
    wall = time.perf_counter() - start
    return {
        "chips": n,
        "ms_a_chip": round(1e3 * wall / n, 2),
        "cpu_ms_a_chip": round(1e3 * (time.process_time() - cpu) / n, 2),
        "mb": round(megabytes, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
    }


def _ours(chips: list[tuple[int, int]], *, warps: bool) -> Iterator[tuple[int, float]]:
    source = Gssic(variables=VARIABLES)
    layer = _layer(source)
    slots = parse_slots("seasons", year=2020)[2:3]
    _warm(layer, slots[0])
    yield 0, 0.0
    items = list(source.find(box(WEST + 0.1, NORTH - 0.9, WEST + 0.9, NORTH - 0.1), slots))
    wanted = set(chips)
    windows = sorted({(row // WINDOW, col // WINDOW) for row, col in chips})

    def made(window: tuple[int, int]) -> int:
        geobox = _geobox(*(WINDOW * one for one in window), WINDOW)
        if warps:
            looks = derive(source, layer, items, geobox, slots[0]).looks
            assert all(look is not None and look.valid.any() for look in looks.values())
        else:
            assert len(list(source.read(items, geobox, slots[0]))) == len(VARIABLES)
        inside = {
            (WINDOW * window[0] + row, WINDOW * window[1] + col) for row in range(WINDOW) for col in range(WINDOW)
        }
        return len(inside & wanted)

    with ThreadPoolExecutor(THREADS) as pool:
        n = sum(pool.map(made, windows))
    sizes = sum(int(value) for item in items for name, value in item.properties.items() if name in METRICS)
    yield n, sizes / 1e6


def _per_chip(folder: str, chips: list[tuple[int, int]]) -> Iterator[tuple[int, float]]:
    import rasterio
    from rasterio.windows import from_bounds

    inverse = Transformer.from_crs(EPSG, 4326, always_xy=True)
    scales = {"AMP": lambda dn: dn.astype(np.float32) ** 2 / 10**8.3, "C": lambda dn: dn / np.float32(100)}
    yield 0, 0.0
    read = 0

    def made(chip: tuple[int, int]) -> int:
        west, south, east, north = inverse.transform_bounds(*_geobox(*chip, 1).boundingbox.bbox)
        done = 0
        for metric in METRICS:
            scale = scales.get("AMP" if metric.endswith("AMP") else metric[3:4], lambda dn: dn / np.float32(1000))
            with rasterio.open(f"{folder}/{FOLDER}/{TILE}/{TILE}_summer_{metric}.tif") as file:
                window = from_bounds(west, south, east, north, file.transform).round_offsets().round_lengths()
                values = file.read(1, window=window, masked=True)
            done += np.ma.filled(scale(values).astype(np.float32), np.nan).nbytes
        return done

    with (
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", CPL_VSIL_CURL_ALLOWED_EXTENSIONS=".tif"),
        ThreadPoolExecutor(THREADS) as pool,
    ):
        read = sum(pool.map(made, chips))
    yield len(chips), read / 1e6


def _warm(layer: Layer, slot: Any) -> None:
    """Compile what is compiled at first use."""
    from m3leo_prep.core.raster import Item, Raster

    for array in layer.arrays:
        geobox = GeoBox((200, 200), Affine(1 / PIXELS, 0, WEST, 0, -1 / PIXELS, NORTH), "EPSG:4326")
        data = np.ones((len(array.variable.bands), 200, 200), np.float32)
        item = Item("warm", box(WEST, NORTH - 1, WEST + 1, NORTH), datetime=slot.start)

        class One:
            def describe(self) -> Any:
                return Gssic().describe()

            def read(self, *_: Any) -> Iterator[Raster]:
                yield Raster(data, data > 0, geobox, item, array.variable.name)  # noqa: B023  used at once

        derive(One(), layer, [item], _geobox(0, 0, 1), slot)  # type: ignore[arg-type]  # it finds nothing


def _layer(source: Gssic) -> Layer:
    info = source.describe()
    arrays = tuple(
        Array(
            one,
            default_encoding(one),
            default_method(one.kind, info.pitch, PITCH),
            default_statistic(one.kind, is_static=False),
            1,
        )
        for one in info.variables
    )
    return Layer("gssic", "input", PITCH, CHIP, parse_slots("seasons", year=2020), arrays, 64, 1, 1)


def _geobox(row: int, col: int, side: int) -> GeoBox:
    x, y = Transformer.from_crs(4326, EPSG, always_xy=True).transform(WEST + 0.03, NORTH - 0.03)
    left, top = x // PITCH * PITCH + col * CHIP * PITCH, y // PITCH * PITCH - row * CHIP * PITCH
    return GeoBox((side * CHIP, side * CHIP), Affine(PITCH, 0, left, 0, -PITCH, top), f"EPSG:{EPSG}")


def _chips() -> list[tuple[int, int]]:
    """Return row and column of the chips that lie in the tile."""
    inverse, inside = Transformer.from_crs(EPSG, 4326, always_xy=True), []
    for row in range(26):
        for col in range(20):
            west, south, east, north = inverse.transform_bounds(*_geobox(row, col, 1).boundingbox.bbox)
            if west > WEST and east < WEST + 1 and south > NORTH - 1 and north < NORTH:
                inside.append((row, col))
    return inside


def _write(bucket: Path) -> None:
    noise = np.random.default_rng(1)
    for number, metric in enumerate(METRICS):
        field = gaussian_filter(noise.random((PIXELS, PIXELS)), 0.7)
        field = (field - field.min()) / (field.max() - field.min())
        low, high = (0.005, 0.3) if metric.endswith("AMP") else (2, 40) if metric.endswith("tau") else (0.05, 0.9)
        pixels = stored(metric.partition("_")[2], low + (high - low) * field)
        pixels[100 * number : 100 * number + 50, :200] = 0
        write_tile(bucket, f"{TILE}_summer_{metric}", pixels)


@contextmanager
def _served(bucket: Path, latency: float) -> Iterator[str]:
    """Yield the endpoint of a server of the bucket, in a process of its own."""
    code = (
        "import shutil, sys, os; from pathlib import Path; from m3leo_prep.testing.earthdata import EarthdataStandIn\n"
        "with EarthdataStandIn() as server:\n"
        "    shutil.copytree(sys.argv[1], server.bucket, copy_function=os.link, dirs_exist_ok=True)\n"
        "    server.latency = float(sys.argv[2])\n"
        "    print(server.bucket_url, flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(bucket), str(latency)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.stdin.close()
        server.wait()


if __name__ == "__main__":
    main()

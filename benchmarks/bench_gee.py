"""Building from Earth Engine, against the stand-in with 300 ms latency that takes 40 requests at once.

The server runs in a process of its own and its pixels are ready (``gee_server``), so that waiting is what there is to
win. A model at 1:16 in pixels stands for the real thing: chips of 112 px for 448, requests of at most 3 MiB for 48,
shards and working memory a sixteenth too. So there are as many chips, windows, requests and images as in reality, in
time and memory that a laptop has. Targets are those of the real thing; CPU time per chip is measured at full size.

``Per chip`` is the way of the tool by which M3LEO was made: a pool of processes (10 by default; here threads, which
wait as well), and for each chip and data set, all seasons or months of it as bands of one image, one round trip for the
address of a download, one for the names of its bands, one for the pixels. We let it do with two of them as well.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

if TYPE_CHECKING:
    import ee

    from m3leo_prep.core.plan import Plan

HERE = Path(__file__).parent
CAP, RATE, LATENCY = 40, 100.0, 0.3
BYTES_PER_S = 20_000_000
"""Of a connection, at full size, where the time that bodies take counts too."""
SCALE = 16
"""Pixels of a real chip for one of the model."""
CORNER = (8.9, 49.62)
RECIPE = """
name: bench
grid: {{chip_px: {px}, resolution: 10}}
layers:
  s1: {{source: gee, product: s1-grd, slots: {{seasons: 2020}}, bands: [vv, vh], statistic: mean}}
  s2: {{source: gee, product: s2-sr, slots: {{months: 2020}}, bands: [red, green, blue], cloud: scl, statistic: median}}
"""
Row = Mapping[str, Any]


def run(side: int = 18, per_chip: int = 64, workers: int = 0, memory: int = 1024) -> dict[str, Any]:
    """Return all figures.

    Args:
        side: the area is so many chips high and wide.
        per_chip: chips that are fetched one by one, by 40 threads; fewer by fewer.
        workers: of the build; 0 = the default.
        memory: MiB of a worker's windows, at full size.
    """
    with _server(LATENCY) as (tell, url):
        ours = _case(url, "build", side=side, workers=workers, memory=memory)
        rows = _pixels(tell("records"))
        read = _case(url, "read", side=side, workers=CAP)
        peers = {}
        for threads, trips in ((10, 3), (10, 2), (40, 3), (40, 2)):
            n = max(16, per_chip * threads // 40)
            peers[f"n{threads}_{trips}_trips"] = _case(url, "chips", side=side, n=n, workers=threads, trips=trips)
        tell(f"latency {LATENCY} {BYTES_PER_S // SCALE}")
        tell("records")
        slower = _case(url, "build", side=side * 2 // 3, workers=workers, memory=memory)
        slow_rows = _pixels(tell("records"))
        tell("latency 0")
        fetched = _case(url, "fetch", n=16)
        whole = _case(url, "whole", n=4)
        tell("records")
        sampled = _case(url, "sample", n=12)
        spread = _spread(tell("records"), sampled)
    chips = ours["chips"]
    rate, read_rate = chips / ours["wall_s"], read["chips_per_s"]
    bands_sets = chips * 16  # four seasons and twelve months
    return {
        "model": f"1:{SCALE} in pixels",
        "chips": chips,
        "workers": ours["workers"],
        "busy": _busy(rows),
        "busy_at_20_mb_per_s_and_connection": _busy(slow_rows),
        "requests": {
            "ours": len(rows),
            "one_per_chip_and_slot": bands_sets,
            "times_fewer": round(bands_sets / len(rows), 1),
            "times_fewer_with_its_metadata": round(2 * bands_sets / len(rows), 1),
            "times_fewer_than_one_per_chip_and_data_set": round(2 * chips / len(rows), 2),
            "times_fewer_with_all_its_trips": round(3 * 2 * chips / len(rows), 2),
            "mean_mib_at_full_size": round(sum(row["sent"] for row in rows) / len(rows) * SCALE / 2**20, 1),
        },
        "chips_per_s": round(rate, 1),
        "per_chip_chips_per_s": {name: one["chips_per_s"] for name, one in peers.items()},
        "times_per_chip": {name: round(rate / one["chips_per_s"], 1) for name, one in peers.items()},
        "reading_alone_chips_per_s": read_rate,
        "reading_alone_times_per_chip": {name: round(read_rate / one["chips_per_s"], 1) for name, one in peers.items()},
        "reading_alone_cpu_ms_per_chip": read["cpu_ms_per_chip"],
        "client_cpu": {
            "model_ms_per_chip": round(1000 * ours["cpu_s"] / chips, 1),
            "fetch_24_int16_ms_per_chip": fetched,
            "whole_build_448_px": whole,
        },
        "memory": {
            "peak_mb_by_chips": {one["chips"]: one["peak_mb"] for one in (slower, ours)},
            "before_mb": ours["before_mb"],
            "budget_mb": round(ours["workers"] * ours["work_mb"]),
        },
        "sample": spread,
        "targets": {
            "busy_share_of_cap": 0.9,
            "times_fewer_requests": 10,
            "times_per_chip": 8,
            "fetch_ms_per_chip": 5,
            "sample_ratio": 1.2,
        },
    }


# -- processes -----------------------------------------------------------------------------------------------------


@contextmanager
def _server(latency: float | str) -> Iterator[tuple[Callable[[str], Any], str]]:
    """Yield what sends a command to a running server, and its address."""
    command = [sys.executable, str(HERE / "gee_server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout
        url = stdout.readline().strip()

        def tell(line: str) -> Any:
            stdin.write(line + "\n")
            stdin.flush()
            return json.loads(stdout.readline())

        tell(f"latency {latency}")
        try:
            yield tell, url
        finally:
            stdin.close()


def _case(url: str, case: str, **options: int) -> Any:
    """Return what a case gives in a process of its own, whose CPU time and memory are then its own."""
    command = [sys.executable, __file__, "--case", case, *(f"--{name}={value}" for name, value in options.items())]
    environment = os.environ | {"M3LEO_PREP_EE_URL": url, "M3LEO_PREP_EE_PROJECT": "bench"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def _peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)


def _small() -> None:
    """Make requests, shards and windows a sixteenth of what they are."""
    from m3leo_prep.core import layer
    from m3leo_prep.sources.gee.reading import requests

    side = round(SCALE**0.5)
    requests.MAX_BYTES //= SCALE
    requests._TILE //= side  # noqa: SLF001  (this model of it)
    layer.SHARD_RAW_BYTES //= SCALE
    layer.SHARD_SLOT_BYTES //= SCALE


def _plan(side: int, px: int) -> Plan:
    from m3leo_prep.core.area import Area
    from m3leo_prep.core.recipe import parse_recipe
    from m3leo_prep.pipeline.plan import make_plan

    high = side * px * 10 / 111_200
    west, south = CORNER
    wide = high / np.cos(np.radians(south))
    area = Area.from_geometry(shapely.box(west, south, west + wide, south + high), name="bench")
    return make_plan(parse_recipe(RECIPE.format(px=px)), area, base=Path.cwd())


# -- cases ---------------------------------------------------------------------------------------------------------


def _build(side: int, px: int, workers: int, memory: int) -> dict[str, Any]:
    from m3leo_prep.pipeline.build import build
    from m3leo_prep.pipeline.resources import default_workers
    from m3leo_prep.runners.threads import Threads
    from m3leo_prep.sources.gee.service.session import session

    workers = workers or default_workers(waits=True)
    scale = 1
    if px < 448:
        _small()
        scale = SCALE
    plan = _plan(side, px)
    before, out = _peak_mb(), Path(tempfile.mkdtemp(prefix="bench-gee-"))
    start, cpu = time.monotonic(), time.process_time()
    try:
        result = build(plan, out / "made", runner=Threads(workers), work_bytes=memory * 2**20 // scale)
        assert not result.retryable, "holes"
        made = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    finally:
        shutil.rmtree(out)
    wall, cpu = time.monotonic() - start, time.process_time() - cpu
    asked = session().statistics()
    return {
        "chips": len(plan.cells),
        "workers": workers,
        "work_mb": memory * 2**20 / scale / 1e6,
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "cpu_ms_per_chip": round(1000 * cpu / len(plan.cells), 1),
        "before_mb": before,
        "peak_mb": _peak_mb(),
        "dataset_mb": round(made / 1e6, 1),
        "peak_requests": asked.peak,
        "refused": asked.refused,
    }


def _read(side: int, workers: int) -> dict[str, Any]:
    """Read all windows of all layers as a build does, and keep nothing: what ``_chips`` does chip by chip."""
    from m3leo_prep.pipeline.origins import open_source
    from m3leo_prep.pipeline.windows import cut

    _small()
    plan = _plan(side, 112)
    tasks = []
    for one in plan.layers:
        source = open_source(one.source)
        for window in cut(plan.cells, np.arange(len(plan.cells))):
            for slot in one.layer.slots:
                items = [item for item in one.items if slot.contains(item.datetime)]
                tasks.append((source, items, window.geobox(one.layer.pitch), slot))
    start, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda task: len(list(task[0].read(*task[1:]))), tasks))
    wall, cpu = time.monotonic() - start, time.process_time() - cpu
    n = len(plan.cells)
    return {"chips": n, "chips_per_s": round(n / wall, 1), "cpu_ms_per_chip": round(1000 * cpu / n, 1)}


def _chips(side: int, n: int, workers: int, trips: int) -> dict[str, Any]:
    """Fetch chip by chip and data set by data set: as the first tool does, without its files."""
    import ee

    from m3leo_prep.sources.gee.service.session import session

    _small()
    plan = _plan(side, 112)
    session()
    # As the first tool says them: small expressions, filtered by the chip's outline on the server.
    sets = (_seasons, _months)
    tasks = [(chip, make) for chip in range(min(n, len(plan.cells))) for make in sets]

    def one(task: tuple[int, Callable[[Any], Any]]) -> None:
        chip, make = task
        cells = plan.cells
        box = cells.grid.geobox(int(cells.epsg[chip]), int(cells.col[chip]), int(cells.row[chip]), 10.0)
        outline = ee.Geometry.Rectangle(list(box.geographic_extent.boundingbox))
        image, names = make(outline)
        for _ in range(trips - 1):
            # For the address and the names: asked for as little as can be, since this server would take long for them.
            ee.data.computeValue(ee.Number(1))
        a = box.transform
        affine = {"scaleX": a.a, "translateX": a.c, "scaleY": a.e, "translateY": a.f}
        size = {"width": box.shape[1], "height": box.shape[0]}
        grid = {"crsCode": str(box.crs), "affineTransform": affine, "dimensions": size}
        pixels = ee.data.computePixels(
            {"expression": image, "fileFormat": "NUMPY_NDARRAY", "bandIds": names, "grid": grid}
        )
        assert pixels.shape == box.shape

    start = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, tasks))
    wall = time.monotonic() - start
    return {"chips": len(tasks) // len(sets), "chips_per_s": round(len(tasks) / len(sets) / wall, 2)}


def _seasons(outline: ee.Geometry) -> tuple[ee.Image, list[str]]:
    """Return an image of 16 bands, and their names: four seasons, two directions, two polarisations."""
    import ee

    spans = {
        "winter": ("2019-12-01", "2020-03-01"),
        "spring": ("2020-03-01", "2020-06-01"),
        "summer": ("2020-06-01", "2020-09-01"),
        "fall": ("2020-09-01", "2020-12-01"),
    }
    images, names = [], []
    for season, (start, end) in spans.items():
        for way in ("ASCENDING", "DESCENDING"):
            collection = ee.ImageCollection("COPERNICUS/S1_GRD_FLOAT").filterBounds(outline).filterDate(start, end)
            both = ee.Filter.listContains("transmitterReceiverPolarisation", "VH")
            collection = collection.filter(ee.Filter.eq("orbitProperties_pass", way)).filter(both).select(["VV", "VH"])
            names += [f"{season}_vv{way[:3]}", f"{season}_vh{way[:3]}"]
            images.append(collection.mean().rename(names[-2:]))
    return ee.Image.cat(*images), names


def _months(outline: ee.Geometry) -> tuple[ee.Image, list[str]]:
    """Return an image of 36 bands, and their names: red, green and blue of twelve months."""
    import ee

    images, names = [], []
    for month in range(1, 13):
        start = ee.Date(f"2020-{month:02}-01")
        collection = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterBounds(outline)
        collection = collection.filterDate(start, start.advance(1, "month")).select(["B4", "B3", "B2"])
        names += [f"{month:02}_{band}" for band in ("red", "green", "blue")]
        images.append(collection.mean().rename(names[-3:]))
    return ee.Image.cat(*images), names


def _fetch(n: int) -> dict[str, float]:
    """Return CPU and wall milliseconds per chip of 448 px and 24 int16 bands; windows of ``n`` chips."""
    import ee
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.gee.reading.pixels import fetch
    from m3leo_prep.sources.gee.reading.requests import Band
    from m3leo_prep.sources.gee.service.session import session

    session()
    side = round(n**0.5)
    box = GeoBox((side * 448, side * 448), Affine(10, 0, 300_000, 0, -10, 5_540_000), "EPSG:32632")
    bands = [Band(f"b{k}", "int16", -32_768) for k in range(24)]
    image = ee.Image.constant([0] * 24).rename([band.name for band in bands])
    fetch(image, bands, box, what="warm")
    found = []
    for _ in range(5):
        start, cpu = time.monotonic(), time.process_time()
        fetch(image, bands, box, what="bench")
        found.append(((time.process_time() - cpu) / n * 1e3, (time.monotonic() - start) / n * 1e3))
    cpu_ms, wall_ms = np.median(found, axis=0)
    return {"cpu_ms": round(float(cpu_ms), 2), "wall_ms": round(float(wall_ms), 2)}


def _sample(n: int) -> dict[str, Any]:
    """Build a sample of the layers of m3leo-gee, spread over Luxembourg; returns what is kept of each layer."""
    from m3leo_prep.core.area import Area
    from m3leo_prep.core.recipe import parse_recipe
    from m3leo_prep.core.sample import Sample
    from m3leo_prep.pipeline.build import build
    from m3leo_prep.pipeline.origins import open_source
    from m3leo_prep.pipeline.plan import make_plan
    from m3leo_prep.runners.threads import Threads

    recipe = parse_recipe((HERE.parent / "recipes" / "m3leo-gee.yaml").read_text())
    area = Area.from_geometry(shapely.box(5.75, 49.5, 6.5, 50.15), name="luxembourg")
    plan = make_plan(recipe, area, base=Path.cwd(), sample=Sample(n))
    out = Path(tempfile.mkdtemp(prefix="bench-gee-"))
    try:
        build(plan, out / "made", runner=Threads(2))
    finally:
        shutil.rmtree(out)
    layers = {}
    for one in plan.layers:
        info = open_source(one.source).describe()
        mode = "composite" if info.composites else "native"
        asset = info.attributes["earth_engine"]
        layers[one.layer.name] = {"asset": asset, "mode": mode, "slots": len(one.layer.slots)}
    km2 = len(plan.cells) * plan.cells.grid.cell_m**2 / 1e6
    return {"chips": len(plan.cells), "edge": plan.sample and plan.sample.edge, "km2": km2, "layers": layers}


# -- figures -------------------------------------------------------------------------------------------------------


def _pixels(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["route"] == "computePixels"]


def _busy(rows: Sequence[Row]) -> dict[str, float]:
    """Return how many requests ran at once in the steady part: between 10 and 90 % of the starts."""
    began = np.array([row["began"] for row in rows])
    ended = np.array([row["ended"] for row in rows])
    first, last = np.quantile(began, [0.1, 0.9])
    mean = float((np.clip(ended, first, last) - np.clip(began, first, last)).sum() / (last - first))
    seconds = float((ended - began).mean())
    allowed = min(CAP, RATE * seconds)
    return {
        "requests": len(rows),
        "refused": sum(row["status"] == 429 for row in rows),
        "seconds_each": round(seconds, 3),
        "starts_per_s": round(float(0.8 * len(rows) / (last - first)), 1),
        "mean_in_flight": round(mean, 1),
        "most_in_flight": max(row["in_flight"] for row in rows),
        "share_of_cap": round(mean / CAP, 3),
        "share_of_what_cap_and_rate_allow": round(mean / allowed, 3),
    }


def _spread(rows: Sequence[Row], sampled: Row) -> dict[str, Any]:
    """Return bytes that were asked for, by those that the chips themselves have in the same pixels and bands."""
    asked: dict[str, float] = {}
    kept: dict[str, float] = {}
    for name, layer in sampled["layers"].items():
        own = [row for row in _pixels(rows) if row["assets"] and row["assets"][0].startswith(layer["asset"])]
        sets: list[list[Row]] = []  # by bands; where one is not there, the set is smaller
        for row in sorted(own, key=lambda row: -len(row["bands"])):
            alike = [one for one in sets if set(row["bands"]) & set(one[0]["bands"])]
            if not alike:
                sets.append([])
            (alike or sets[-1:])[0].append(row)
        asked[name], kept[name] = 0.0, 0.0
        for same in sets:
            n_bytes = sum(row["sent"] for row in same)
            ground = sum(_ground_km2(row["grid"]) for row in same)
            asked[name] += n_bytes
            kept[name] += n_bytes * sampled["km2"] * layer["slots"] / ground
    modes = {
        mode: [n for n, one in sampled["layers"].items() if one["mode"] == mode] for mode in ("composite", "native")
    }

    def ratio(names: Sequence[str]) -> float:
        return round(sum(asked[n] for n in names) / sum(kept[n] for n in names), 3)

    return {
        "chips": sampled["chips"],
        "cluster_edge": sampled["edge"],
        "asked_mb": round(sum(asked.values()) / 1e6),
        "ratio": ratio(list(asked)),
        "by_mode": {mode: ratio(names) for mode, names in modes.items()},
        "by_layer": {name: ratio([name]) for name in asked},
        "share_of_bytes": {name: round(asked[name] / sum(asked.values()), 4) for name in asked},
    }


def _ground_km2(grid: Row) -> float:
    """Return the ground of a request; projections in metres here are UTM or equal-area."""
    from pyproj import Geod

    at, size = grid["affineTransform"], grid["dimensions"]
    wide, high = size["width"] * at["scaleX"], size["height"] * abs(at["scaleY"])
    if abs(at["scaleX"]) > 1:
        return float(wide * high / 1e6)
    box = shapely.box(at["translateX"], at["translateY"] - high, at["translateX"] + wide, at["translateY"])
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(box, 0.01))
    return abs(area) / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=18, help="the area is so many chips high and wide")
    parser.add_argument("--n", type=int, default=64, help="chips that are fetched one by one")
    parser.add_argument(
        "--case", choices=("build", "read", "chips", "fetch", "whole", "sample"), help="of a process of run()"
    )
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--memory", type=int, default=1024, help="MiB of a worker at full size")
    parser.add_argument("--trips", type=int, default=3)
    asked = parser.parse_args()
    match asked.case:
        case "build":
            found: Any = _build(asked.side, 112, asked.workers, asked.memory)
        case "whole":
            found = _build(asked.n, 448, asked.workers, asked.memory)
        case "read":
            found = _read(asked.side, asked.workers)
        case "chips":
            found = _chips(asked.side, asked.n, asked.workers, asked.trips)
        case "fetch":
            found = _fetch(asked.n)
        case "sample":
            found = _sample(asked.n)
        case _:
            found = run(asked.side, asked.n, asked.workers, asked.memory)
    print(json.dumps(found, indent=1))

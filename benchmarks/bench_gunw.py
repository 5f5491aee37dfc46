"""A GUNW granule of the 100-MB class to all its chips, against the first M3LEO tool's way; prints JSON lines.

python benchmarks/bench_gunw.py

Ours is all that a build does with the file: opened once, read in blocks, nodata and components, warped to chips of
80 m. The old way (sartiles, ``gunw.py``) opens the file anew for each chip, four groups of it, cuts by coordinates and
writes a NetCDF file for each chip; ``reading`` leaves the writing out. Both have the granule on the disk. It is written
as the packaging writes it (netCDF-C's chunks, zlib 4, shuffle), with unwrapped phase of smooth deformation and noise.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from apart import run
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from reading import shown
from scipy.ndimage import gaussian_filter, zoom
from shapely.geometry import box

from m3leo_prep.core.choice import parse_rule
from m3leo_prep.core.defaults import default_method, default_statistic
from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import Item
from m3leo_prep.pipeline.derive import derive
from m3leo_prep.sources.asf.gunw.source import Gunw
from m3leo_prep.testing.earthdata.files.gunw import PITCH, Layers, write_gunw

NAME = "S1-GUNW-D-R-044-tops-20200901_20200715-054200-00009E_00048N-PP-6267-v3_0_1"
SMALL = NAME.replace("6267", "0000")
"""A corner of it, to compile and import by."""
WEST, NORTH, SHAPE, EPSG = 9.0, 50.0, (2300, 3400), 32632
SLANT = 350
"""Columns by which the swath leans over its height: corners without data."""
CHIP, WINDOW, METRES = 56, 8, 80.0
OLD_CHIPS = 16
TARGET = 10.0

Way = Generator[None, list[tuple[int, int]], None]
"""Gets ready, takes chips, and is done with them."""


def main() -> None:
    """Run every case, each in a process of its own; ``main.py CASE FOLDER`` is one."""
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(_case(*sys.argv[1:])))
        return
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-gunw-") as folder:
        _write(Path(folder))
        old = {kind: run(__file__, kind, folder) for kind in ("reading", "old")}
        for kind in ("ours-1", "ours-4", "reading", "old"):
            case = old.get(kind) or run(__file__, kind, folder)
            times = {}
            if kind.startswith("ours"):
                for name, other in old.items():
                    times[f"times_{name}"] = round(other["ms_a_chip"] / case["ms_a_chip"], 1)
                    times[f"cpu_times_{name}"] = round(other["cpu_ms_a_chip"] / case["cpu_ms_a_chip"], 1)
            sys.stdout.write(json.dumps({"bench": "gunw", "case": kind, **case, **times, "target": TARGET}) + "\n")
            cells = [case[key] for key in ("chips", "mb", "ms_a_chip", "cpu_ms_a_chip", "peak_mib")]
            rows.append((kind, *cells, times.get("times_old", ""), times.get("cpu_times_old", "")))
    shown.table("GUNW: a granule", ("", "chips", "MB", "ms a chip", "CPU ms", "peak MiB", "times", "CPU times"), rows)


def _case(kind: str, folder: str) -> dict[str, Any]:
    """Return the figures of one way; what is compiled is compiled, and imported, before the clock starts."""
    path, chips = Path(folder, f"{NAME}.nc"), _chips()
    way = _ours(path, int(kind[-1])) if kind.startswith("ours") else _old(path, Path(folder), writes=kind == "old")
    chips = chips if kind.startswith("ours") else chips[:: len(chips) // OLD_CHIPS]
    next(way)
    cpu, start = time.process_time(), time.perf_counter()
    way.send(chips)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "chips": len(chips),
        "mb": round(path.stat().st_size / 1e6, 1),
        "ms_a_chip": round(1e3 * wall / len(chips), 2),
        "cpu_ms_a_chip": round(1e3 * cpu / len(chips), 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
    }


def _ours(path: Path, threads: int) -> Way:
    from m3leo_prep.sources.asf.service.granules import name_of
    from m3leo_prep.sources.http.cache import downloads

    os.environ["M3LEO_PREP_CACHE"] = str(path.parent / "cache")
    outline = box(WEST, NORTH - SHAPE[0] * PITCH, WEST + SHAPE[1] * PITCH, NORTH)

    def item(file: Path) -> Item:
        url = f"https://grfn.asf.alaska.edu/door/download/{file.name}"
        downloads().file(name_of(url), lambda target: os.link(file, target))
        about = {"url": url, "size": 0, "checksum": "", "product_version": "3.0.1"}
        return Item(file.stem, outline, "1", datetime(2020, 9, 1, tzinfo=UTC), "044-20200901-20200715", about)

    slot = parse_rule({"pairs": {"year": 2020}}).slots()[0]  # type: ignore[union-attr]  # it is a rule
    source = Gunw()
    layer = _layer(source, slot)
    derive(source, layer, [item(path.with_name(f"{SMALL}.nc"))], _geobox(0, 0, 1), slot)
    granule = item(path)
    chips = yield

    def made(window: tuple[int, int]) -> None:
        looks = derive(source, layer, [granule], _geobox(*(WINDOW * one for one in window), WINDOW), slot).looks
        assert all(look is not None and look.valid.any() for look in looks.values())

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(made, sorted({(row // WINDOW, col // WINDOW) for row, col in chips})))
    yield


def _old(path: Path, folder: Path, *, writes: bool) -> Way:
    import xarray as xr
    from shapely import wkt

    inverse = Transformer.from_crs(EPSG, 4326, always_xy=True)

    def chip(place: tuple[int, int]) -> None:
        west, south, east, north = inverse.transform_bounds(*_geobox(*place, 1).boundingbox.bbox)
        with xr.open_dataset(path, engine="netcdf4") as file:
            assert wkt.loads(b"".join(file["productBoundingBox"].values.ravel()).decode()).contains(
                box(west, south, east, north)
            )
        with xr.open_dataset(path, engine="netcdf4", group="science/grids/data") as file:
            data = file.sel(longitude=slice(west, east), latitude=slice(north, south)).load()
        with xr.open_dataset(path, engine="netcdf4", group="science/grids/imagingGeometry") as file:
            middle = {"longitudeMeta": (west + east) / 2, "latitudeMeta": (south + north) / 2}
            geometry = file.sel(**middle, method="nearest").load()
        with xr.open_dataset(path, engine="netcdf4", group="science/radarMetaData") as file:
            about = file.isel(matchup=0).load()
        if writes:
            out = folder / f"{place[0]}-{place[1]}.nc"
            data.to_netcdf(out, mode="w", group="/science/grids/data")
            geometry.to_netcdf(out, mode="a", group="/science/grids/imagingGeometry")
            about.to_netcdf(out, mode="a", group="/science/radarMetaData")

    chip(_chips()[0])
    chips = yield
    for place in chips:
        chip(place)
    yield


def _layer(source: Gunw, slot: Any) -> Layer:
    info = source.describe()
    arrays = tuple(
        Array(
            one,
            default_encoding(one),
            default_method(one.kind, info.pitch, METRES),
            default_statistic(one.kind, is_static=False),
            1,
        )
        for one in info.variables
    )
    return Layer("gunw", "input", METRES, CHIP, (slot,), arrays, 64, 1, 1)


def _geobox(row: int, col: int, side: int) -> GeoBox:
    x, y = Transformer.from_crs(4326, EPSG, always_xy=True).transform(WEST + 0.4, NORTH - 0.05)
    left, top = x // METRES * METRES + col * CHIP * METRES, y // METRES * METRES - row * CHIP * METRES
    return GeoBox((side * CHIP, side * CHIP), Affine(METRES, 0, left, 0, -METRES, top), f"EPSG:{EPSG}")


def _chips() -> list[tuple[int, int]]:
    """Return row and column of the chips that lie in the granule, in whole windows."""
    inverse, inside = Transformer.from_crs(EPSG, 4326, always_xy=True), []
    for row in range(0, 48, WINDOW):
        for col in range(0, 64, WINDOW):
            west, south, east, north = inverse.transform_bounds(*_geobox(row, col, WINDOW).boundingbox.bbox)
            there = west > WEST + 0.35 and east < WEST + (SHAPE[1] - SLANT) * PITCH
            if there and south > NORTH - SHAPE[0] * PITCH and north < NORTH:
                inside += [(row + i, col + j) for i in range(WINDOW) for j in range(WINDOW)]
    return inside


def _write(folder: Path) -> None:
    random = np.random.default_rng(1)
    rows, cols = SHAPE
    large = zoom(gaussian_filter(random.normal(size=(rows // 50 + 2, cols // 50 + 2)), 3), 50, order=1)[:rows, :cols]
    coherence = np.clip(0.45 + 0.8 * large + random.normal(0, 0.1, SHAPE), 0.01, 0.99).astype(np.float32)
    phase = (60 * large + random.normal(0, 0.3, SHAPE) + 0.1).astype(np.float32)
    amplitude = random.gamma(60, 1e4 / 60, SHAPE).astype(np.float32)
    components = np.where(coherence > 0.3, 1, 0).astype(np.float32)
    edge = SLANT * np.arange(rows)[:, None] / rows
    outside = (np.arange(cols) < SLANT - edge) | (np.arange(cols) > cols - edge)
    for values, nothing in ((coherence, 0), (phase, 0), (amplitude, 0), (components, -1)):
        values[outside] = nothing
    layers = Layers(phase, coherence, components, amplitude, np.where(outside, np.nan, 0.8 * coherence))
    write_gunw(folder / f"{NAME}.nc", layers, west=WEST, north=NORTH)
    names = ("phase", "coherence", "components", "amplitude", "unfiltered")
    corner = Layers(*(getattr(layers, each)[:300, 400:700] for each in names))
    write_gunw(folder / f"{SMALL}.nc", corner, west=WEST + 400 * PITCH, north=NORTH)


if __name__ == "__main__":
    main()

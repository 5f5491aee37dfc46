"""Terrain flattening of one made scene, ours beside sarsen's; prints one JSON line per case.

python benchmarks/bench_rtc.py [pixels along one side, 896 by default]

Both find time and range of each pixel of a 10-m lattice over steep hills, and the area across the beam that falls
into the radar pixel there. Ours asks for heights to 3 km around, marks layover and shadow and gives incidence too;
sarsen's functions are given the same heights with its own margin of 128 pixels. Each case is a process of its own.
``mpx_per_cpu_s`` counts wanted pixels; ``memory_mib`` is the peak above that after the imports. ``spread_db`` is the
standard deviation of the flattened backscatter on a tilted plane, where it should be constant.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
from affine import Affine
from apart import run
from odc.geo.geobox import GeoBox

from m3leo_prep.ops.sar.flatten import terrain
from m3leo_prep.ops.sar.orbit import Orbit
from m3leo_prep.ops.sar.rangedoppler import RadarGrid
from m3leo_prep.testing.copernicus.files import orbit as truth

CRS, CORNER = "EPSG:32632", (574_880.0, 5_211_420.0)
LINE_INTERVAL, SPACING, SPEED = 1.4989e-3, 10.0, 6_800.0
MARGIN = 128
GROUPED = 3
"""Pixels of sarsen's cells, its default."""


def main() -> None:
    size = sys.argv[1] if len(sys.argv) > 1 else "896"
    for who in ("ours", "sarsen"):
        for ground in ("level", "plane", "hills"):
            print(json.dumps(run(__file__, "case", who, ground, size)), flush=True)


def case(who: str, ground: str, size: int) -> None:
    """Print one case, after a small one that compiles."""
    orbit, grid = scene()
    work = {"ours": ours, "sarsen": sarsens}[who]
    work(orbit, grid, lattice(32), ground)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    factor = work(orbit, grid, lattice(size), ground)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "case": who,
        "ground": ground,
        "pixels": size * size,
        "cpu_s": round(seconds, 2),
        "mpx_per_cpu_s": round(size * size / seconds / 1e6, 3),
        "memory_mib": (peak - before) // 1024,
    }
    if ground == "plane":
        inner = 10 * np.log10(factor[40:-40, 40:-40])
        # The incidence changes by a degree across the window: a trend, taken off by columns.
        found["spread_db"] = round(float((inner - np.median(inner, axis=0)).std()), 3)
    print(json.dumps(found))


def scene() -> tuple[Orbit, RadarGrid]:
    """Return an ascending pass over the Alps."""
    sky = truth.Orbit(10.0, 47.0, ascending=True)
    times = np.arange(-60.0, 61.0, 10.0)
    middle = float(sky.seen(truth.geocentric(10.0, 47.0, 0.0))[1])
    ranges = np.linspace(middle - 60e3, middle + 60e3, 601)
    points = sky.ground(0.0, ranges, 0.0)
    metres = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    series = np.polynomial.Polynomial.fit(ranges - ranges[0], metres, 8).convert().coef
    grid = RadarGrid(
        (10_000, 20_000), -5_000 * LINE_INTERVAL, LINE_INTERVAL, SPACING,
        np.array([-5.0, 5.0]), np.full(2, ranges[0]), np.tile(series, (2, 1)),
    )  # fmt: skip
    return Orbit(times, sky.position(times), sky.velocity(times)), grid


def lattice(size: int) -> GeoBox:
    return GeoBox((size, size), Affine(10, 0, CORNER[0] - 5 * size, 0, -10, CORNER[1] + 5 * size), CRS)


def heights(geobox: GeoBox, ground: str) -> np.ndarray:
    """Return (y, x) metres."""
    a = geobox.affine
    x = (a.c + a.a * (np.arange(geobox.shape[1]) + 0.5) - CORNER[0])[None, :]
    y = (a.f + a.e * (np.arange(geobox.shape[0]) + 0.5) - CORNER[1])[:, None]
    if ground == "level":
        return np.full(geobox.shape, 500, np.float32)
    if ground == "plane":
        return (2000 + 0.2 * x + 0.05 * y).astype(np.float32)
    return (800 + 400 * np.sin(x / 900) * np.cos(y / 1300) + 150 * np.sin((x + y) / 330)).astype(np.float32)


def ours(orbit: Orbit, grid: RadarGrid, geobox: GeoBox, ground: str) -> np.ndarray:
    return terrain(orbit, grid, geobox, lambda box: (heights(box, ground), np.ones(box.shape, bool))).factor


def sarsens(orbit: Orbit, grid: RadarGrid, geobox: GeoBox, ground: str) -> np.ndarray:
    """Return the same by sarsen's functions, as its ``do_terrain_correction`` calls them."""
    import xarray as xr
    from sarsen import geocoding, radiometry
    from sarsen import orbit as sarsen_orbit
    from sarsen import scene as sarsen_scene

    wide = geobox.pad(MARGIN, MARGIN)
    a = wide.affine
    x, y = a.c + a.a * (np.arange(wide.shape[1]) + 0.5), a.f + a.e * (np.arange(wide.shape[0]) + 0.5)
    raster = xr.DataArray(heights(wide, ground).astype(float), coords={"y": y, "x": x}, dims=("y", "x")).sortby("y")
    ecef = sarsen_scene.convert_to_dem_ecef(raster, source_crs=CRS)
    epoch = np.datetime64("2021-01-01T00:00:00", "ns")
    times = epoch + (orbit.times * 1e9).astype("timedelta64[ns]")
    states = xr.DataArray(
        orbit.positions, coords={"azimuth_time": times, "axis": [0, 1, 2]}, dims=("azimuth_time", "axis")
    )
    path = sarsen_orbit.OrbitPolyfitInterpolator.from_position(states, epoch=epoch)
    seen = geocoding.backward_geocode(ecef, path)
    distance = (seen.dem_distance**2).sum("axis") ** 0.5
    seen["gamma_area"] = radiometry.compute_gamma_area(ecef, seen.dem_distance / distance)
    light = 299_792_458.0
    seen["slant_range_time"] = 2 / light * distance
    # Of a GRD it takes the ground spacing as the slant spacing.
    spacing = GROUPED * grid.sample_spacing
    areas = radiometry.gamma_weights_bilinear(
        seen[["gamma_area", "slant_range_time", "azimuth_time"]].chunk(),
        slant_range_time0=2 / light * float(grid.slant_origins[0]),
        azimuth_time0=epoch + np.timedelta64(int(grid.first_time * 1e9), "ns"),
        slant_range_time_interval_s=spacing * 2 / light,
        azimuth_time_interval_s=GROUPED * grid.line_interval,
        slant_range_spacing_m=spacing,
        azimuth_spacing_m=GROUPED * grid.line_interval * SPEED,
    )
    found = areas.transpose("y", "x").sortby("y", ascending=False).values
    return found[MARGIN:-MARGIN, MARGIN:-MARGIN]


if __name__ == "__main__":
    if sys.argv[1:2] == ["case"]:
        case(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()

"""Time and memory of planning, each in its own process: Europe (target 10 s, 1 GB), all land (a minute, 2 GB)."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import time
from typing import Any

BATCH = 250_000
RECIPE = "name: bench\nlayers:\n  s1: {source: ramp}\n  labels: {source: ramp, resolution: 80, resampling: average}\n"


def run() -> dict[str, Any]:
    """Return wall seconds, CPU seconds and peak memory of both."""
    made = {}
    for area in ("europe", "land"):
        done = subprocess.run([sys.executable, __file__, area], stdout=subprocess.PIPE, text=True, check=True)
        made[area] = json.loads(done.stdout)
    return made | {"targets": {"europe": {"wall_s": 10, "peak_gb": 1}, "land": {"wall_s": 60, "peak_gb": 2}}}


def _one(area: str) -> dict[str, Any]:
    import shapely
    from shapely.geometry import shape

    from m3leo_prep.core.area import Area
    from m3leo_prep.core.recipe import parse_recipe
    from m3leo_prep.pipeline import plan as planning
    from m3leo_prep.pipeline.areas import load_area
    from m3leo_prep.pipeline.shipped import shipped

    start, cpu = time.monotonic(), time.process_time()
    if area == "land":
        countries = json.loads(gzip.decompress((shipped("aoi") / "countries.geojson.gz").read_bytes()))["features"]
        outlines = [shape(c["geometry"]) for c in countries if c["properties"]["continent"] != "Antarctica"]
        where = Area.from_geometry(shapely.GeometryCollection(outlines), name="land")
    else:
        where = load_area(area, yes=True)
    made = planning.make_plan(parse_recipe(RECIPE), where, base=planning.Path.cwd())
    estimate = made.estimate()
    planned = time.monotonic() - start
    for first in range(0, len(made.cells), BATCH):  # what chips.parquet needs of every chip
        part = made.cells[first : first + BATCH]
        part.ids(), part.lon_lat(), part.area_km2(), part.owned_fraction(), part.polygons()
    return {
        "chips": estimate.chips,
        "plan_wall_s": planned,
        "with_footprints_wall_s": time.monotonic() - start,
        "cpu_s": time.process_time() - cpu,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1]) if len(sys.argv) > 1 else run(), indent=1))

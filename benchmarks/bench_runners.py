"""Threads beside a Dask cluster, both of two workers: wall and CPU time of the same build from the synthetic source.

The cluster is there already, and both have built a small dataset before, so that neither start-up nor compilation
counts. CPU time is that of this process and all its children; with Dask it contains scheduler and nannies. The runs
alternate and the least of each is taken, because other work on the machine only ever adds.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import shapely
from distributed import LocalCluster

from m3leo_prep.core.area import Area
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.ports.runner import Runner
from m3leo_prep.runners.dask import Dask
from m3leo_prep.runners.threads import Threads

WORKERS = 2
RECIPE = """
name: bench
layers:
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12]]}}
  landcover: {role: label, source: synthetic, product: landcover}
"""


def run(cells: int = 9, rounds: int = 3) -> dict[str, Any]:
    """Return seconds of both for about ``cells`` squared chips, and their ratios."""
    folder = Path(tempfile.mkdtemp(prefix="bench-runners-"))
    plan = _plan(cells)
    try:
        with LocalCluster(processes=True, n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster:
            runners: dict[str, Runner] = {"threads": Threads(WORKERS), "dask": Dask(cluster.scheduler_address, folder)}
            for name, runner in runners.items():
                build(_plan(2), folder / f"warm-{name}", runner=runner)
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
            for _ in range(rounds):
                for name, runner in runners.items():
                    taken[name].append(_timed(plan, folder / name, runner))
                    shutil.rmtree(folder / name)
    finally:
        shutil.rmtree(folder)
    wall = {name: min(t[0] for t in times) for name, times in taken.items()}
    cpu = {name: min(t[1] for t in times) for name, times in taken.items()}
    return {
        "chips": len(plan.cells),
        "units": sum(1 for _ in plan.units()),
        "workers": WORKERS,
        "wall_s": wall,
        "cpu_s": cpu,
        "wall_ratio": wall["dask"] / wall["threads"],
        "cpu_ratio": cpu["dask"] / cpu["threads"],
        "all_runs_wall_s": {name: [t[0] for t in times] for name, times in taken.items()},
        "target_wall_ratio": 1.15,
    }


def _plan(cells: int) -> Plan:
    side = cells * 4480 / 111_000
    area = Area.from_geometry(shapely.box(10.55, 56.2, 10.55 + side / 0.556, 56.2 + side), name="bench")
    return make_plan(parse_recipe(RECIPE), area, base=Path.cwd())


def _timed(plan: Plan, out: Path, runner: Runner) -> tuple[float, float]:
    """Return wall and CPU seconds of a build."""
    cpu, wall = _cpu(), time.perf_counter()
    build(plan, out, runner=runner)
    return time.perf_counter() - wall, _cpu() - cpu


def _cpu() -> float:
    this = psutil.Process()
    times = [process.cpu_times() for process in [this, *this.children(recursive=True)]]
    return sum(t.user + t.system for t in times)


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:])), indent=1))

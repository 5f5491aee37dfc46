"""Time and memory of assigning and buffering 1 M chips, each policy in its own process (target: a minute, 2 GB)."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
POLICIES = ("blocks", "blocks_50km", "bands", "random", "region", "label_rank")
SOUTH, WIDE = 30.0, 60.0
"""The area begins there and goes so many degrees east, and as far north as it must: 1 M chips reach 76 N."""


def run(n: int = 1_000_000) -> dict[str, Any]:
    """Return wall seconds, CPU seconds, peak memory and the lost share of chips, by policy."""
    made: dict[str, Any] = {}
    for policy in POLICIES:
        command = [sys.executable, __file__, "--n", str(n), "--policy", policy]
        made[policy] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return made | {"target": {"chips": 1_000_000, "wall_s": 60, "peak_gb": 2}}


def _cells(n: int) -> Any:
    import shapely

    from m3leo_prep.core.grid import Grid

    more = n * 20.07e6 / (6.371e6**2 * np.radians(WIDE))  # area of the chips, as a difference of sines
    north = np.degrees(np.arcsin(min(np.sin(np.radians(SOUTH)) + more, 0.99)))
    return Grid().cells(shapely.box(-10, SOUTH, WIDE - 10, north))[:n]


def _one(policy: str, n: int) -> dict[str, Any]:
    import shapely

    from m3leo_prep.core.splits.bands import assign_bands
    from m3leo_prep.core.splits.blocks import assign_blocks
    from m3leo_prep.core.splits.budgets import label_rank
    from m3leo_prep.core.splits.policy import Split, SplitPolicy
    from m3leo_prep.core.splits.regions import assign_regions
    from m3leo_prep.core.splits.scattered import assign_random

    cells = _cells(n)
    yields = SplitPolicy("blocks").yields
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    start, cpu = time.monotonic(), time.process_time()
    drawn = {"shares": SHARES, "seed": 42, "yields": yields}
    match policy:
        case "blocks":
            found = assign_blocks(cells, block_km=100, buffer_km=6.4, **drawn)
        case "blocks_50km":
            found = assign_blocks(cells, block_km=50, buffer_km=6.4, **drawn)
        case "bands":
            found = assign_bands(cells, band_km=100, angle_deg=30, buffer_km=6.4, **drawn)
        case "random":
            found = assign_random(cells, **drawn)
        case "region":
            held = [shapely.Point(lon, lat).buffer(2, quad_segs=500) for lon in (-5, 5, 15, 25) for lat in (40, 46, 52)]
            homes = [Split.TEST, Split.VAL] * (len(held) // 2)
            found = assign_regions(cells, held, homes, rest=Split.TRAIN, buffer_km=6.4, yields=yields)
        case _:
            label_rank(cells, np.ones(len(cells), bool), seed=42)
            found = None
    return {
        "chips": len(cells),
        "wall_s": round(time.monotonic() - start, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "before_gb": round(before, 2),
        "lost": None if found is None else round(float((found.split == Split.BUFFER).mean()), 4),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000, help="chips")
    parser.add_argument("--policy", choices=POLICIES, help="only this one, in this process")
    asked = parser.parse_args()
    print(json.dumps(_one(asked.policy, asked.n) if asked.policy else run(asked.n), indent=1))

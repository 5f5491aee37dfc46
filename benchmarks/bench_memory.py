"""Peak memory of one worker on the heaviest layers: 13 bands, three monthly slots a shard, several passes a month.

The pixels are noise, so that the shard's compressed chunks are as large as they can be. Target: 2.5 GiB.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from m3leo_prep.core.area import Area
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.runners.threads import Threads

NOISE = '''
from dataclasses import dataclass
from datetime import UTC, datetime
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable

@dataclass(frozen=True)
class Noise:
    """Thirteen bands of noise, a pass every ten days."""

    def describe(self):
        bands = tuple(f"b{n}" for n in range(13))
        return SourceInfo((Variable("v", Kind.REFLECTANCE, bands),), version="1", pitch=10.0)

    def find(self, area, slots):
        for month in range(1, 13):
            for day in (5, 15, 25):
                yield Item(f"{month}-{day}", box(-180, -90, 180, 90), datetime=datetime(2020, month, day, tzinfo=UTC))

    def read(self, items, geobox, slot):
        around = geobox.pad(4)
        rng = np.random.default_rng(abs(hash(str(around.boundingbox))) % 2**32)
        data = rng.random((13, *around.shape), np.float32) * 3
        yield Raster(data, np.ones(data.shape, bool), around, items[0], "v")
'''
RECIPE = """
name: heavy
layers:
  s2:
    source: "./noise.py:Noise"
    slots: {periods: [[2020-01-01, 2020-01-31], [2020-02-01, 2020-02-29], [2020-03-01, 2020-03-31]]}
    statistic: STATISTIC
"""


def run() -> dict[str, Any]:
    """Return the peak in GiB per statistic, each in its own process."""
    made: dict[str, Any] = {"target_gib": 2.5}
    for statistic in ("mean", "median"):
        done = subprocess.run([sys.executable, __file__, statistic], stdout=subprocess.PIPE, text=True, check=True)
        made[statistic] = json.loads(done.stdout)
    return made


def _one(statistic: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        folder = Path(name)
        (folder / "noise.py").write_text(NOISE)
        area = Area.from_geometry(shapely.box(10.0, 56.0, 10.53, 56.28), name="bench")
        plan = make_plan(parse_recipe(RECIPE.replace("STATISTIC", statistic)), area, base=folder)
        build(plan, folder / "out", runner=Threads(1))
        layer = plan.layers[0].layer
        return {
            "chips": len(plan.cells),
            "raw_shard_gib": layer.shard_chips * layer.shard_slots * 13 * layer.size**2 * 2 / 2**30,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30,
            "numpy": np.__version__,
        }


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1]) if len(sys.argv) > 1 else run(), indent=1))

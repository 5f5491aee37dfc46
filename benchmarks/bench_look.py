"""Seconds of ``show`` for a chip of the demo recipe, as a whole process with warm files; prints JSON.

python benchmarks/bench_look.py
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.recipes import load_recipe
from m3leo_prep.runners.threads import Threads

BOX = "9.400,57.170,9.401,57.171"
"""One chip of the demo."""
ROUNDS = 5


def timed(command: list[str]) -> list[float]:
    """Return the seconds that each round of a command took, in order of size."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)


def run() -> dict[str, float]:
    """Return the fastest and the median round, the same for one layer, and the bytes of the picture."""
    with tempfile.TemporaryDirectory() as folder:
        recipe, base = load_recipe("demo")
        dataset, picture = Path(folder) / "demo", Path(folder) / "chip.png"
        build(make_plan(recipe, load_area(BOX), base=base), dataset, runner=Threads(2))
        start = "from m3leo_prep.cli.main import main; main()"
        show = [sys.executable, "-c", start, "show", str(dataset), "0", "-o", str(picture)]
        one_layer = timed([*show, "--layers", "dem"])
        every = timed(show)
        return {
            "fastest_s": round(every[0], 2),
            "median_s": round(every[ROUNDS // 2], 2),
            "target_s": 3.0,
            "one_layer_median_s": round(one_layer[ROUNDS // 2], 2),
            "picture_mb": round(picture.stat().st_size / 1e6, 2),
        }


if __name__ == "__main__":
    print(json.dumps({"name": "look"} | run()))

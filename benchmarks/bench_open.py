"""Opening a dataset of a million chips and its first batch, in a folder and over HTTP with 20 ms; prints JSON lines.

python benchmarks/bench_open.py

Its tables are those of a build; its 15,625 shards are links to one of them. Each measurement is a fresh process: a
batch is 32 random train chips of 2 x 128 x 128, and our cache is off. Wall time is from after the imports; peak memory
is that of the whole process, PyTorch included; ``added_mb`` is without what it had before it opened anything.
``worker_mb`` is what a worker of a DataLoader shares with no other process, ``growth`` what it gained in the last three
quarters of its batches; a small dataset stands beside, as neither should depend on the size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from reading import clock, shown
from reading.datasets import write_many
from reading.pixels import Case, chips
from reading.serving import serving

HERE = Path(__file__).parent
CASE = Case("2 x 128 x 128", "power", 2, 128, 64)
SMALL, LARGE = 16_384, 1_000_000
BATCHES = 400
LATENCY = 0.02
SHOWN = ("cpu_s", "open_s", "first_batch_s", "added_mb", "pickled_mb", "worker_mb", "worker_growth_mb", "requests")
LIMITS = {"in a folder": (2.0, 300.0), "over HTTP, 20 ms": (5.0, None)}


def main() -> None:
    """Run all."""
    rows = []
    codes = chips(CASE)
    with tempfile.TemporaryDirectory(prefix="bench-open-") as name:
        for n in (SMALL, LARGE):
            folder = Path(name) / str(n)
            write_many(folder, CASE, codes, n)
            found = {"in a folder": _measure(str(folder), BATCHES)}
            with serving(folder, latency=LATENCY) as server:
                found["over HTTP, 20 ms"] = _measure(server.url, 0)
                asked = server.asked()
            found["over HTTP, 20 ms"] |= {
                "requests": len(asked),
                "fetched_mb": sum(n_bytes for _, n_bytes in asked) / 1e6,
            }
            tables = {
                f"{table}_mb": clock.weight(folder / f"{table}.parquet")["bytes"] / 1e6 for table in ("chips", "shards")
            }
            for where, figures in found.items():
                seconds, megabytes = LIMITS[where] if n == LARGE else (None, None)
                limits = {"at_most_s": seconds, "at_most_mb": megabytes}
                made = shown.line(bench="open", dataset=n, where=where, **figures, **tables, **limits)
                wall = shown.verdict(made["wall_s"], seconds, at_least=False) if seconds else f"{made['wall_s']:.2f}"
                peak = f"{made['peak_mb']:.0f}"
                if megabytes:
                    peak += f" (<= {megabytes:g}{'' if made['peak_mb'] <= megabytes else ', MISSED'})"
                rows.append([f"{n:,} chips {where}", wall, peak, *(made.get(key) for key in SHOWN)])
    columns = ("", "s", "peak MB", *(key.removesuffix("_mb").replace("_", " ") for key in SHOWN))
    shown.table(f"open, first batch (s, MB); workers over {BATCHES} batches", columns, rows)


def _measure(address: str, batches: int) -> dict[str, float]:
    command = [sys.executable, "-m", "reading.opening", address, str(batches)]
    environment = os.environ | {"M3LEO_PREP_CACHE_GB": "0", "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, check=True, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()

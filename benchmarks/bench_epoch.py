"""A shuffled epoch with a DataLoader of 2 workers: ours beside others at equal codec; prints JSON lines.

python benchmarks/bench_epoch.py

Batches of 32 chips of 12 x 128 x 128, float32, normalised, with their mask. Each contestant is a process of its own and
reads four epochs, of which the first is to warm up and the best of the others counts. litdata and mosaic-streaming need
an environment of their own: ``python benchmarks/peers/environment.py`` makes it, and without it they are left out.
``chips_per_s`` is that of a whole epoch, start of the workers included; ``steady`` is from the first batch on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from peers.environment import DEFAULT, READY, python_of
from reading import clock, shown
from reading.datasets import write_dataset
from reading.epochs import write
from reading.pixels import CASES, SCALES, chips

HERE = Path(__file__).parent
CHIPS = 1024
CODECS = {"ours, zstd": "zstd", "ours, lz4": "lz4", "ours, none": "none"}
STREAMS = ("litdata", "mosaic-streaming", "webdataset")
OF_MEMMAP = 0.7


def main() -> None:
    """Run all contestants, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="speckle 12", help="the case whose name contains this")
    parser.add_argument("--rounds", type=int, default=1, help="processes of each, in turn (default: 1)")
    parser.add_argument("--peers", type=Path, default=DEFAULT, help=f"their environment (default: {DEFAULT})")
    given = parser.parse_args()
    case = replace(next(case for case in CASES if given.case in case.name), chips=CHIPS)
    peers = python_of(given.peers)
    with tempfile.TemporaryDirectory(prefix="bench-epoch-") as name:
        folder, codes = Path(name), chips(case)
        np.save(folder / "codes.npy", codes)
        homes = {who: folder / codec for who, codec in CODECS.items()}
        for who, codec in CODECS.items():
            write_dataset(homes[who], case, codes, codec)
        homes |= {who: folder / who for who in ("webdataset", "np.memmap")}
        write("np.memmap", homes["np.memmap"], codes)
        write("webdataset", homes["webdataset"], codes)
        pythons = dict.fromkeys(homes, Path(sys.executable))
        for who in ("litdata", "mosaic-streaming"):
            if not (given.peers / READY).exists():
                shown.ERR.print(f"{who} is left out: run `python benchmarks/peers/environment.py` first")
                continue
            homes[who], pythons[who] = folder / who, peers
            _run(peers, "write", who, homes[who], folder / "codes.npy")
        found: dict[str, list[dict[str, float]]] = {who: [] for who in homes}
        for _ in range(given.rounds):
            for who, home in homes.items():
                answer = _run(pythons[who], "read", who, home, SCALES[case.kind], case.bands, case.size, case.size)
                found[who].append(json.loads(answer.splitlines()[-1]))
        best = {who: _best(runs) for who, runs in found.items()}
        rows = []
        for who, figures in best.items():
            ratios, target = _ratios(who, best)
            made = shown.line(
                bench="epoch", case=case.name, contestant=who, **figures, **ratios, **target, **clock.weight(homes[who])
            )
            said = shown.verdict(made["ratio"], made["at_least"], at_least=True) if target else made.get("ratio")
            speeds = [made[key] for key in ("chips_per_s", "steady_chips_per_s", "cpu_ms")]
            rows.append(
                [who, *(f"{v:.0f}" for v in speeds[:2]), speeds[2], f"{made['bytes'] / 1e6:.0f}", made["files"], said]
            )
        columns = ("", "chips/s", "steady", "CPU ms", "MB", "files", "ratio (target)")
        shown.table(f"shuffled epoch of {CHIPS} chips, {case.name}, 2 workers, warm", columns, rows)


def _ratios(who: str, best: dict[str, dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return speeds beside each other, and the target: ours by streams', ours uncompressed or lz4 by the memory map."""
    if who in STREAMS:
        one, other, target = best["ours, zstd"], best[who], 1.0
    elif who in {"ours, none", "ours, lz4"}:
        one, other, target = best[who], best["np.memmap"], OF_MEMMAP
    else:
        return {}, {}
    keys = {"ratio": "chips_per_s", "steady_ratio": "steady_chips_per_s"}
    made = {key: one[what] / other[what] for key, what in keys.items()} | {"cpu_ratio": other["cpu_ms"] / one["cpu_ms"]}
    return made, {"at_least": target}


def _best(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: (min if key == "cpu_ms" else max)(run[key] for run in runs) for key in runs[0]}


def _run(python: Path, *arguments: object) -> str:
    """Return what a contestant's process prints."""
    command = [str(python), "-W", "ignore", "-m", "reading.epochs", *map(str, arguments)]
    # No cache of ours, no telemetry of theirs, and one thread for PyTorch beside the workers.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, check=False, cwd=HERE, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()

"""Denoise and calibrate a Sentinel-1 GRD of usual size, window by window; prints JSON lines.

python benchmarks/bench_grd.py

The tables are as large as a real product's: 27 lines of 653 samples for calibration and noise, and three blocks of
noise along azimuth with a value every 10 lines. ``scipy`` is what one would write first: each table interpolated to the
pixels by ``RegularGridInterpolator``. Peak memory is of the whole process, numba and NumPy included.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np
from apart import run
from numpy.typing import NDArray
from reading import shown

from m3leo_prep.ops.sar.calibrate import Block, Noise, Table, calibrate

SHAPE = (16_685, 25_788)
SWATHS = (0, 8_743, 17_562, SHAPE[1])
WINDOWS = {"windows of 1024": 1024, "windows of 4096": 4096, "without noise": 1024, "scipy": 1024}
SCIPY_WINDOWS = 8
TARGET = 60.0
"""Megapixels per CPU-second."""


def main() -> None:
    """Run every case, each in a process of its own; ``bench_grd.py CASE`` is one."""
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(_case(sys.argv[1])))
        return
    rows = []
    for kind in WINDOWS:
        case = run(__file__, kind)
        sys.stdout.write(json.dumps({"bench": "grd", "case": kind, **case, "target": TARGET}) + "\n")
        rows.append((kind, *case.values()))
    shown.table("GRD: denoise and calibrate", ("", "Mpx", "Mpx per CPU-s", "peak MiB"), rows)


def _case(kind: str) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    gain, noise = _tables(rng)
    edge = WINDOWS[kind]
    numbers = rng.integers(0, 800, (edge, edge)).astype(np.uint16)
    if kind != "scipy":
        calibrate(numbers[:8, :8], (0, 0), gain, noise)  # compiled before the clock starts
    done, spent = 0, 0.0
    for number, (top, left) in enumerate(
        (top, left) for top in range(0, SHAPE[0], edge) for left in range(0, SHAPE[1], edge)
    ):
        window = numbers[: SHAPE[0] - top, : SHAPE[1] - left]
        start = time.process_time()
        if kind == "scipy":
            _first_thought(window, (top, left), gain, noise)
        else:
            calibrate(window, (top, left), gain, None if kind == "without noise" else noise)
        spent += time.process_time() - start
        done += window.size
        if kind == "scipy" and number == SCIPY_WINDOWS:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"mpx": round(done / 1e6), "mpx_per_cpu_s": round(done / 1e6 / spent, 1), "peak_mib": round(peak)}


def _tables(rng: np.random.Generator) -> tuple[Table, Noise]:
    lines, samples = np.linspace(0, SHAPE[0], 27), np.linspace(0, SHAPE[1] - 1, 653)
    gain, power = (
        Table(lines, (samples,) * 27, tuple(rng.uniform(low, high, (27, 653))))
        for low, high in ((460, 670), (600, 2400))
    )
    along = np.arange(0, SHAPE[0], 10.0)
    blocks = tuple(
        Block((0, SHAPE[0]), (first, stop), along, rng.uniform(0.9, 1.1, along.size))
        for first, stop in pairwise(SWATHS)
    )
    return gain, Noise(power, blocks)


def _first_thought(numbers: NDArray[Any], origin: tuple[int, int], gain: Table, noise: Noise) -> NDArray[Any]:
    from scipy.interpolate import RegularGridInterpolator

    rows = np.arange(origin[0], origin[0] + numbers.shape[0])
    cols = np.arange(origin[1], origin[1] + numbers.shape[1])
    places = np.stack(np.meshgrid(rows, cols, indexing="ij"), -1)

    def at(table: Table) -> NDArray[np.float64]:
        return np.asarray(RegularGridInterpolator((table.lines, table.samples[0]), np.stack(table.values))(places))

    factor = np.ones(numbers.shape)
    for block in noise.blocks:
        inside = (cols >= block.cols[0]) & (cols < block.cols[1])
        factor[:, inside] = np.interp(rows, block.lines, block.values)[:, None]
    power: NDArray[Any] = (numbers.astype(np.float64) ** 2 - factor * at(noise.along_range)) / at(gain) ** 2
    return power


if __name__ == "__main__":
    main()

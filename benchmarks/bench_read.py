"""One chip at random: CPU and wall time, ours beside others, on identical pixels in one run; prints JSON lines.

python benchmarks/bench_read.py

All contestants read the same chips in turn, in one process, into new NumPy arrays: stored codes, unless it says
otherwise. ``warm``: best of five rounds, files in the page cache. ``cold``: one pass over files that were dropped from
the page cache (as far as the disk below has no cache of its own). CPU is that of all threads. Numba is switched off in
a process of its own, beside its own bare decoder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from reading import clock, ours, shown
from reading.clock import Read
from reading.datasets import write_dataset
from reading.formats import FORMATS
from reading.pixels import CASES, SCALES, Case, chips
from reading.samples import normalised
from rich.markup import escape

from m3leo_prep.reader.pixels import convert

CODECS = ("zstd", "lz4", "none")
AT_LEAST = {
    "zarr-python": 3.0,
    "zarrs": 2.0,
    "tensorstore": 1.2,
    "GeoTIFF deflate": 8.0,
    "M3LEO parquet": 15.0,
}
"""Times ours (zstd, codes) must be faster, in CPU."""
OF_MEMMAP = 0.7
"""Of np.memmap's speed, uncompressed."""
OF_BARE = {True: 1.25, False: 1.5}
"""Times the bare decoder's CPU that ours may take, with numba and with NumPy alone."""
OURS: Mapping[str, Callable[[Path], Read]] = {
    "bare decoder": ours.bare,
    "ours": ours.codes,
    "ours, normalised + mask": ours.physical,
}


def run(folder: Path, case: Case) -> None:
    """Measure one case."""
    pixels = chips(case)
    homes = {}
    for codec in CODECS:
        homes[codec] = folder / codec
        write_dataset(homes[codec], case, pixels, codec)
    for name, kind in FORMATS.items():
        homes[name] = folder / name.replace(" ", "_") if kind.write else homes["zstd"]
        if kind.write:
            kind.write(homes[name], pixels)
    openers = {name: (homes["zstd"], how) for name, how in OURS.items()}
    openers |= {f"{name}, lz4": (homes["lz4"], OURS[name]) for name in ("bare decoder", "ours")}
    openers |= {"ours, none": (homes["none"], ours.codes)}
    openers |= {"ours, none, normalised + mask": (homes["none"], ours.physical)}
    openers |= {"np.memmap, normalised + mask": (homes["np.memmap"], partial(_converted, scale=SCALES[case.kind]))}
    openers |= {"ours, ChipDataset[i]": (homes["zstd"], ours.sample)}
    openers |= {name: (homes[name], kind.open) for name, kind in FORMATS.items()}
    order = np.random.default_rng(1).permutation(case.chips).tolist()

    reads = {name: how(home) for name, (home, how) in openers.items()}
    for name, read in reads.items():
        if "normalised" not in name and "ChipDataset" not in name:
            np.testing.assert_array_equal(read(order[0]), pixels[order[0]], err_msg=name)
    warm = clock.in_turn(reads, order)
    (whole,) = clock.in_turn({"batch": ours.batch(homes["zstd"])}, order, rounds=3).values()
    warm["ours, batch of 32"] = (whole[0] / ours.BATCH, whole[1] / ours.BATCH)
    del reads, read  # a file that is mapped stays in the page cache
    cold = {}
    for name, (home, how) in openers.items():
        if not name.startswith("bare"):
            read = how(home)
            clock.evict(home)
            cold[name] = clock.once(read, order[:24])
    openers["ours, batch of 32"] = openers["ours"]
    plain = _without_numba(homes["zstd"], case)

    rows = []
    for name, (cpu, wall) in warm.items():
        weight = clock.weight(openers[name][0]) if not name.startswith("bare") else {"bytes": None, "files": None}
        made = shown.line(
            bench="read", case=case.name, contestant=name, cpu_ms=cpu, wall_ms=wall,
            cold_cpu_ms=cold.get(name, (None,))[0], cold_wall_ms=cold.get(name, (None, None))[1],
            ratio=_ratio(name, warm), **_target(name), **weight,
        )  # fmt: skip
        rows.append(_row(made))
    for name, (cpu, wall) in plain.items():
        ratio = None if name.startswith("bare") else cpu / plain["bare decoder"][0]
        made = shown.line(
            bench="read", case=case.name, contestant=f"{name}, NumPy alone", cpu_ms=cpu, wall_ms=wall,
            ratio=ratio, at_most=None if ratio is None else OF_BARE[False],
        )  # fmt: skip
        rows.append(_row(made))
    columns = ("", "CPU ms", "wall ms", "cold CPU", "cold wall", "MB", "files", "ratio (target)")
    shown.table(f"{case.name} int16, {case.chips} chips, {case.raw_bytes / 1e6:.2f} MB each", columns, rows)


def _converted(path: Path, scale: float) -> Read:
    """Return how a chip of a memory map is converted in NumPy, as a user would write it."""
    data = np.load(path, mmap_mode="r")
    return lambda row: normalised(data[row], scale)


def _ratio(name: str, cpu: Mapping[str, tuple[float, float]]) -> float | None:
    """Return what the target of a contestant is about: others by ours, ours by the bare decoder."""
    match name:
        case "ours" | "ours, normalised + mask" | "ours, ChipDataset[i]" | "ours, batch of 32":
            return cpu[name][0] / cpu["bare decoder"][0]
        case "ours, lz4":
            return cpu[name][0] / cpu["bare decoder, lz4"][0]
        case "ours, none":
            return cpu["np.memmap"][0] / cpu[name][0]
        case "ours, none, normalised + mask":
            return cpu["np.memmap, normalised + mask"][0] / cpu[name][0]
        case "bare decoder" | "bare decoder, lz4" | "np.memmap" | "np.memmap, normalised + mask":
            return None
        case _:
            return cpu[name][0] / cpu["ours"][0]


def _target(name: str) -> dict[str, float]:
    if name in AT_LEAST:
        return {"at_least": AT_LEAST[name]}
    if name in {"ours", "ours, lz4", "ours, normalised + mask"}:
        return {"at_most": OF_BARE[True]}
    return {"at_least": OF_MEMMAP} if name.startswith("ours, none") else {}


def _row(made: dict[str, Any]) -> list[Any]:
    ratio: Any = made.get("ratio")
    for key in ("at_least", "at_most"):
        if key in made:
            ratio = shown.verdict(made["ratio"], made[key], at_least=key == "at_least")
    size = f"{made['bytes'] / 1e6:.0f}" if "bytes" in made else None
    figures = [made.get(key) for key in ("cpu_ms", "wall_ms", "cold_cpu_ms", "cold_wall_ms")]
    return [escape(made["contestant"]), *figures, size, made.get("files"), ratio]


def _without_numba(home: Path, case: Case) -> dict[str, tuple[float, float]]:
    """Return (CPU, wall) of a process that has no numba."""
    command = [sys.executable, __file__, "--without-numba", str(home), "--chips", str(case.chips)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, tuple[float, float]] = json.loads(done.stdout)
    return found


def _alone(home: Path, n: int) -> None:
    sys.modules["numba"] = None  # type: ignore[assignment]  # importing it fails from here on
    order = np.random.default_rng(1).permutation(n).tolist()
    print(json.dumps(clock.in_turn({name: how(home) for name, how in OURS.items()}, order)))


def main() -> None:
    """Run the cases that are named, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--without-numba", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--chips", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.without_numba:
        _alone(given.without_numba, given.chips)
        return
    convert.COMPILED_AFTER = 0  # as in a process that has read for some seconds
    for case in CASES:
        if given.case is None or given.case in case.name:
            with tempfile.TemporaryDirectory(prefix="bench-read-") as folder:
                run(Path(folder), case)


if __name__ == "__main__":
    main()

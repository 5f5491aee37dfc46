"""Reading over HTTP with 20 ms latency: requests a chip, and how much of the bandwidth is used; prints JSON lines.

python benchmarks/bench_stream.py

The server (``m3leo_prep.testing.web``) is a process of its own and our cache is off. ``after warm-up``: the index of
every shard was read once.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from reading import shown
from reading.datasets import LAYER, SHARD_CHIPS, write_dataset
from reading.pixels import CASES, chips
from reading.serving import serving

from m3leo_prep import ChipDataset, Dataset

LATENCY = 0.02
BANDWIDTH = 40e6
"""Bytes a second: 320 Mbit/s."""
READERS = 8
MOST_REQUESTS, LEAST_SHARE = 1.0, 0.9


def main() -> None:
    """Run every case."""
    os.environ["M3LEO_PREP_CACHE_GB"] = "0"
    rows = []
    for case in (replace(case, chips=4 * SHARD_CHIPS) for case in CASES[:2]):
        with tempfile.TemporaryDirectory(prefix="bench-stream-") as folder:
            write_dataset(Path(folder), case, chips(case))
            rows += [_requests(Path(folder), case.name), *_bandwidth(Path(folder), case.name)]
    columns = ("", "chips", "ms a chip", "requests a chip", "MB/s", "target")
    shown.table("over HTTP, 20 ms latency", columns, rows)


def _requests(folder: Path, case: str) -> list[object]:
    """Return a row: one chip after the other."""
    order = np.random.default_rng(3).permutation(4 * SHARD_CHIPS)[:48].tolist()
    with serving(folder, latency=LATENCY) as server:
        dataset = Dataset(server.url)
        layer = dataset.layer(LAYER)
        array = layer.array()
        for shard in range(4):
            dataset.reader.read(layer, array, shard * SHARD_CHIPS)
        server.asked()
        start = time.perf_counter()
        for row in order:
            dataset.reader.read(layer, array, row)
        seconds, asked = time.perf_counter() - start, server.asked()
    per_chip, wall_ms = len(asked) / len(order), 1e3 * seconds / len(order)
    made = shown.line(
        bench="stream", case=case, what="one chip after the other", latency_ms=1e3 * LATENCY, chips=len(order),
        wall_ms=wall_ms, requests_per_chip=per_chip, at_most=MOST_REQUESTS,
    )  # fmt: skip
    said = shown.verdict(per_chip, MOST_REQUESTS, at_least=False)
    return [
        f"{case}, one by one",
        len(order),
        made["wall_ms"],
        per_chip,
        sum(n for _, n in asked) / seconds / 1e6,
        said,
    ]


def _bandwidth(folder: Path, case: str) -> list[list[object]]:
    """Return rows: eight readers at a time, and batches of a dataset; both after warm-up."""
    n = 4 * SHARD_CHIPS
    rows: list[list[object]] = []
    with serving(folder, latency=LATENCY, bandwidth=BANDWIDTH) as server, ThreadPoolExecutor(READERS) as pool:
        dataset, loaded = Dataset(server.url), ChipDataset(server.url, layers=[LAYER])
        layer = dataset.layer(LAYER)
        array = layer.array()
        order = np.random.default_rng(4).permutation(n).tolist()
        ways = {
            f"{READERS} concurrent reads": lambda some: list(
                pool.map(lambda row: dataset.reader.read(layer, array, row), some)
            ),
            "batches of 16": lambda some: [loaded.__getitems__(some[k : k + 16]) for k in range(0, len(some), 16)],
        }
        for what, read in ways.items():
            read([shard * SHARD_CHIPS for shard in range(4)])
            some = order[:160]
            server.asked()
            start = time.perf_counter()
            read(some)
            seconds, asked = time.perf_counter() - start, server.asked()
            share = sum(n_bytes for _, n_bytes in asked) / seconds / BANDWIDTH
            target = {"at_least": LEAST_SHARE} if "concurrent" in what else {}
            shown.line(
                bench="stream", case=case, what=what, latency_ms=1e3 * LATENCY, bandwidth=BANDWIDTH, chips=len(some),
                wall_ms=1e3 * seconds / len(some), requests_per_chip=len(asked) / len(some), share=share, **target,
            )  # fmt: skip
            said = shown.verdict(share, LEAST_SHARE, at_least=True) if target else f"{share:.2f}"
            per_chip = len(asked) / len(some)
            rows.append(
                [f"{case}, {what}", len(some), 1e3 * seconds / len(some), per_chip, share * BANDWIDTH / 1e6, said]
            )
    return rows


if __name__ == "__main__":
    main()

"""CPU of writing shards of our own against the bare codec (target: at most 1.25 times).

Run: ``python benchmarks/bench_shard.py``; prints JSON.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import blosc

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.store.shard import ChunkCodec, encode_shard_parts, is_missing, write_shard

N_CHIPS, BANDS, SIZE, REPEATS = 64, 4, 448, 7
GRID = (N_CHIPS, 1, 1, 1, 1)


def speckle() -> np.ndarray:
    """Chips of int16 dB x 100 with speckle of 4 looks: (chip, band, y, x)."""
    rng = np.random.default_rng(0)
    power = rng.gamma(4, 0.02, (8, BANDS, SIZE, SIZE)).astype(np.float32)
    codes = np.rint(1000 * np.log10(power)).astype(np.int16)
    return np.concatenate([codes] * (N_CHIPS // 8))


def bare(chips: np.ndarray) -> list[bytes]:
    blosc.use_threads = False
    return [blosc.compress(chip, b"zstd", 3, blosc.BITSHUFFLE, 0, 2) for chip in chips]


def encoded(chips: np.ndarray) -> dict[tuple[int, ...], bytes]:
    codec = ChunkCodec("int16")
    return {(i, 0, 0, 0, 0): codec.encode(chip) for i, chip in enumerate(chips) if not is_missing(chip, -32768)}


def encode_and_put(chips: np.ndarray, blobs: LocalBlobs) -> None:
    blobs.put("shard", encode_shard_parts(encoded(chips), GRID))


def encode_and_write(chips: np.ndarray, blobs: LocalBlobs) -> None:
    """As a build does it: with the sha256 that the manifest needs."""
    write_shard(blobs, "shard", encoded(chips), GRID)


def cpu(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def run() -> dict[str, Any]:
    """Return CPU seconds, and their ratios to the bare codec; the rounds alternate, so that load hits all alike."""
    chips = speckle()
    with tempfile.TemporaryDirectory() as folder:
        blobs = LocalBlobs(Path(folder))
        works: tuple[Callable[[], Any], ...] = (
            lambda: bare(chips),
            lambda: encode_and_put(chips, blobs),
            lambda: encode_and_write(chips, blobs),
        )
        rounds = [[cpu(work) for work in works] for _ in range(REPEATS)]
        stored = blobs.size("shard") or 0
    codec, shard, hashed = (min(times) for times in zip(*rounds, strict=True))
    return {
        "name": "shard",
        "machine": platform.machine(),
        "chips": N_CHIPS,
        "raw_mib": round(chips.nbytes / 2**20, 1),
        "stored_mib": round(stored / 2**20, 1),
        "codec_cpu_s": round(codec, 3),
        "shard_cpu_s": round(shard, 3),
        "shard_and_sha256_cpu_s": round(hashed, 3),
        "ratio": round(shard / codec, 3),
        "ratio_with_sha256": round(hashed / codec, 3),
        "target": 1.25,
        "chips_per_cpu_s": round(N_CHIPS / hashed, 1),
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))

"""Our own ways to read a chip, through the public reader, and the bare decoder below them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import blosc

from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.learning.batch import Job, fill
from m3leo_prep.reader.selection import resolve
from m3leo_prep.store.codec import CRC_BYTES
from m3leo_prep.store.shard import decode_shard
from reading.clock import Read
from reading.datasets import LAYER

STATISTICS = (np.float32(-12.0), np.float32(5.0))
BATCH = 32


def bare(path: Path) -> Read:
    """Return what no reader of compressed chunks can beat: the codec alone, from memory into a new array."""
    dataset = Dataset(path)
    layer = dataset.layer(LAYER)
    array = layer.array()
    grid = (layer.shard_chips, len(array.bands) // array.band_chunk, 1, 1)
    held: list[list[bytes]] = [[] for _ in range(len(dataset))]
    for name in dataset.table("shards.parquet", ["path"])["path"].to_pylist():
        shard = int(name.split("/c/")[1].split("/")[0])
        for key, chunk in sorted(decode_shard(dataset.root.get(name), grid).items()):
            held[shard * layer.shard_chips + key[0]].append(bytes(chunk[:-CRC_BYTES]))
    blosc.use_threads = False

    def read(row: int) -> Any:
        out = np.empty((len(array.bands), layer.size, layer.size), array.dtype)
        for k, chunk in enumerate(held[row]):
            blosc.decompress(chunk, out[k * array.band_chunk : (k + 1) * array.band_chunk])
        return out

    return read


def codes(path: Path) -> Read:
    """Return how a chip's stored codes are read."""
    dataset = Dataset(path)
    layer = dataset.layer(LAYER)
    array = layer.array()
    return lambda row: dataset.reader.read(layer, array, row)


def physical(path: Path) -> Read:
    """Return how a chip is read in physical units, normalised, with its mask."""
    dataset = Dataset(path)
    (pick,) = resolve(dataset, [LAYER], {}, {}).values()
    shape = (1, len(pick.array.bands), pick.layer.size, pick.layer.size)
    mean, std = (value.reshape(1, 1, 1) for value in STATISTICS)

    def read(row: int) -> Any:
        values, valid = np.empty(shape, np.float32), np.empty(shape, bool)
        fill(dataset.reader, [Job(pick, row, values, valid, (mean, std))])
        return values, valid

    return read


def sample(path: Path) -> Read:
    """Return how ``ChipDataset`` gives one chip, normalised."""
    from m3leo_prep import ChipDataset

    chips = ChipDataset(path, layers=[LAYER], normalize={LAYER: STATISTICS})
    return chips.__getitem__


def batch(path: Path) -> Read:
    """Return how ``ChipDataset`` gives a batch of 32 chips, normalised and collated."""
    from m3leo_prep import ChipDataset
    from m3leo_prep.reader.learning.collate import collate

    chips = ChipDataset(path, layers=[LAYER], normalize={LAYER: STATISTICS})
    n = len(chips)
    return lambda row: collate(chips.__getitems__([(row + 7 * k) % n for k in range(BATCH)]))

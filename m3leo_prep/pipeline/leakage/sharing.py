"""What test chips share with train chips though they lie apart: pixels of coarse sources, and scenes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from m3leo_prep.core.errors import StoreError
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.pipeline.leakage.gaps import distances
from m3leo_prep.pipeline.leakage.ground import Ground
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.files import opened

Codes = NDArray[np.uint8]
Rows = NDArray[np.int64]

_ROWS = 262_144
"""Rows of provenance held at once."""


@dataclass(frozen=True, slots=True)
class SharedPixels:
    """Test chips that may have been made from a source pixel of which a train chip was made too."""

    layer: str
    native_pitch: float
    """Metres."""
    chips: int
    """Test chips nearer to a train chip than a pixel's diagonal: an upper bound, for what matters is where the source's
    pixels lie."""
    share: float
    """Of all test chips; NaN without any."""


@dataclass(frozen=True, slots=True)
class SharedScenes:
    """Scenes that both train and test chips were made from: wide swaths cannot avoid it, so it is told, not judged."""

    layer: str
    scenes: int
    """Seen by train or test chips."""
    shared: int
    """Seen by both."""
    chips: int
    """Test chips made from at least one scene that a train chip was made from too."""
    share: float
    """Of all test chips; NaN without any."""


def shared_pixels(ground: Ground, split: Codes, native: Mapping[str, float], finest: float) -> tuple[SharedPixels, ...]:
    """Return, for every layer whose source is coarser than the grid, how many test chips may share its pixels.

    Args:
        ground: of the chips.
        split: (chip,) ``Split`` codes.
        native: by layer, pitch of the source in metres.
        finest: finest pixel of the grid in metres.
    """
    coarse = {layer: pitch for layer, pitch in native.items() if pitch > finest}
    if not coarse:
        return ()
    apart = distances(ground, split, Split.TEST, Split.TRAIN, math.sqrt(2) * max(coarse.values()))
    found = []
    for layer, pitch in coarse.items():
        chips = int((apart < math.sqrt(2) * pitch).sum())
        found.append(SharedPixels(layer, pitch, chips, chips / len(apart) if len(apart) else math.nan))
    return tuple(found)


def shared_scenes(dataset: Dataset, split: Codes) -> tuple[SharedScenes, ...]:
    """Return, for every layer, which scenes both train and test chips were made from; reads the provenance tables.

    Args:
        dataset: what to look at.
        split: (chip,) ``Split`` codes, in the order of its rows.

    Raises:
        StoreError: a table is damaged.
    """
    ids = pa.array(dataset.table("chips.parquet", ["chip_id"])["chip_id"].combine_chunks())
    return tuple(_scenes(dataset, layer, ids, split) for layer in dataset.layers)


def _scenes(dataset: Dataset, layer: str, ids: pa.Array, split: Codes) -> SharedScenes:
    known: dict[str, int] = {}
    by_train: list[Rows] = []
    by_test: list[Rows] = []
    for chips, items in _uses(dataset, layer, ids):
        named = items.dictionary_encode()
        numbers = np.array([known.setdefault(name, len(known)) for name in named.dictionary.to_pylist()], np.int64)
        scene, split_here = numbers[named.indices.to_numpy()], split[chips]
        by_train.append(np.flatnonzero(np.bincount(scene[split_here == Split.TRAIN])))
        mine = split_here == Split.TEST
        by_test.append(np.unique((chips[mine] << 32) | scene[mine]))  # one number per pair sorts fast
    train, test = np.zeros(len(known), bool), np.zeros(len(known), bool)
    train[np.concatenate([np.empty(0, np.int64), *by_train])] = True
    pairs = np.concatenate([np.empty(0, np.int64), *by_test])
    chip, scene = pairs >> 32, pairs & 0xFFFFFFFF
    test[scene] = True
    n_sharing = len(np.unique(chip[train[scene]]))
    n_test = int((split == Split.TEST).sum())
    share = n_sharing / n_test if n_test else math.nan
    return SharedScenes(layer, int((train | test).sum()), int((train & test).sum()), n_sharing, share)


def _uses(dataset: Dataset, layer: str, ids: pa.Array) -> Iterator[tuple[Rows, pa.Array]]:
    """Yield rows of chips and the items they were made from, one by one, some thousands of chips at a time."""
    for part in dataset.provenance(layer):
        with pq.ParquetFile(opened(dataset.root, part)) as file:
            for batch in file.iter_batches(_ROWS, columns=["chip_id", "items"]):
                found = pc.index_in(batch["chip_id"], value_set=ids)
                if found.null_count:
                    raise StoreError(
                        "it has chips that chips.parquet has not", where=f"{dataset.url}/{part}", hint="run `verify`"
                    )
                rows = found.to_numpy().astype(np.int64)
                yield rows[pc.list_parent_indices(batch["items"]).to_numpy()], pc.list_flatten(batch["items"])

"""Statistics of a finished dataset: those that lie there, and those that only its pixels can give."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.core.text import near
from m3leo_prep.ops import summary
from m3leo_prep.ops.reference import rereferenced
from m3leo_prep.pipeline.manifest import rewrite
from m3leo_prep.pipeline.state import STATE
from m3leo_prep.pipeline.statistics.bins import Bins
from m3leo_prep.pipeline.statistics.counts import Counts
from m3leo_prep.pipeline.statistics.written import Measured, Scope, describe, stats_name
from m3leo_prep.reader.companions import open_companion
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.store.ledger import BuildLock
from m3leo_prep.store.shard import ZARR
from m3leo_prep.store.tables import read_shards
from m3leo_prep.store.zarr_array import to_json

COLUMN = "split"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which statistics of a dataset are asked for."""

    dataset: Dataset
    policy: str | None
    """A policy added to the recipe's; None = the recipe's."""
    layers: tuple[StoredLayer, ...]
    rows: NDArray[np.int64]
    """Rows of the chips that count."""
    scopes: Mapping[str, Scope]
    """By layer."""

    def written(self) -> dict[str, dict[str, Any]]:
        """Return the statistics by layer that lie there, hold for these pixels and chips, and lack nothing."""
        found = {}
        for layer in self.layers:
            name = stats_name(layer.name, self.policy)
            if name in self.dataset.manifest["files"]:
                made = json.loads(self.dataset.root.get(name))
                if made["made_of"] == self.scopes[layer.name].made_of() and made["percentiles_missing"] is None:
                    found[layer.name] = made
        return found


def ask(path: Path, policy: str | None = None, layers: Sequence[str] | None = None) -> Asked:
    """Return what is asked for, every name checked.

    Args:
        path: the dataset's folder.
        policy: a split policy of the dataset by name; None = the recipe's.
        layers: names of layers; None = all.

    Raises:
        ConfigError: no such layer or policy, or a policy without train chips.
        StoreError: no finished dataset there.
    """
    dataset = Dataset(path)
    chosen = tuple(dataset.layer(name) for name in (dataset.layers if layers is None else layers))
    ids, splits, policy, name = _splits(dataset, policy)
    rows = np.flatnonzero(splits == "train") if name != "none" else np.arange(len(ids))
    if not len(rows):
        raise ConfigError(f"the split policy '{name}' has no train chips, from which statistics are made")
    shards = read_shards(LocalBlobs(path))
    scopes = {
        layer.name: Scope(
            name,
            tuple(ids[rows].tolist()),
            tuple(shard for key, shard in shards.items() if key.startswith(f"{ZARR}/{layer.name}/")),
        )
        for layer in chosen
    }
    return Asked(dataset, policy, chosen, rows, scopes)


def _splits(dataset: Dataset, policy: str | None) -> tuple[NDArray[Any], NDArray[Any], str | None, str]:
    """Return (ids, split of each chip, added policy or None, name of the policy in force)."""
    of_recipe = dataset.manifest.get("splits", {}).get(COLUMN)
    own = str(of_recipe["policy"]["policy"]) if of_recipe else "none"
    columns = dataset.table("chips.parquet").column_names
    added = [name.removeprefix("split_") for name in columns if name.startswith("split_")]
    if policy is not None and policy not in added:
        if policy != own:
            hint = near(policy, [*added, own]) + f"; add one with `m3leo-prep split {dataset.url} --policy ...`"
            raise ConfigError(f"the dataset has no split policy '{policy}'", where=dataset.url, hint=hint)
        policy = None
    column = COLUMN if policy is None else f"split_{policy}"
    table = dataset.table("chips.parquet", ["chip_id", column])
    splits = np.array([split or "" for split in table[column].to_pylist()], str)
    name = policy or own
    return np.array(table["chip_id"].to_pylist(), str), splits, policy, name


def from_pixels(asked: Asked, layers: Sequence[str], step: Callable[[str], object]) -> dict[str, dict[str, Any]]:
    """Return the statistics of some layers, made in a pass over the pixels of the chips that count.

    Args:
        asked: what is asked for.
        layers: those of its layers to read.
        step: called with a layer's name whenever a chip of it is read.

    Raises:
        StoreError: a shard is absent or short.
        VerifyError: one is damaged.
    """
    made = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for layer in asked.layers:
            if layer.name in layers:
                measured = [_measure(asked, layer, array, pool, step) for array in layer.arrays.values()]
                made[layer.name] = describe(layer.name, len(layer.slots), asked.scopes[layer.name], measured)
    return made


def keep(asked: Asked, made: Mapping[str, Mapping[str, Any]]) -> None:
    """Write statistics into the dataset and its manifest.

    Raises:
        StoreError: a build writes the dataset now, or it cannot be written.
    """
    state = asked.dataset.path / STATE
    lock: AbstractContextManager[object] = BuildLock(state) if state.is_dir() else nullcontext()
    with lock:
        blobs = LocalBlobs(asked.dataset.path)
        names = []
        for layer, document in made.items():
            names.append(stats_name(layer, asked.policy))
            blobs.put(names[-1], to_json(document))
        # Read now: between `ask` and the lock a build may have ended.
        rewrite(blobs, json.loads(blobs.get("manifest.json")), names)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What the chips of one shard add."""

    moments: NDArray[np.float64]
    counts: NDArray[np.int64] | None
    classes: NDArray[np.int64] | None


def _measure(
    asked: Asked, layer: StoredLayer, array: StoredArray, pool: ThreadPoolExecutor, step: Callable[[str], object]
) -> Measured:
    about = array.about
    bins = None if array.is_class else Bins.of(array.dtype, array.scale, about["valid_min"], about["valid_max"])
    shards = [list(rows) for _, rows in groupby(asked.rows.tolist(), lambda row: row // layer.shard_chips)]
    work = partial(_read, asked.dataset, layer, array, bins, step)
    moments, classes = [], []
    counts = None if bins is None else Counts(bins, len(array.bands))
    for piece in pool.map(work, shards):
        moments.append(piece.moments)
        if counts is not None and piece.counts is not None:
            counts.add_sparse(piece.counts)
        if piece.classes is not None:
            classes.append(piece.classes)
    return Measured(
        array.name,
        array.kind,
        array.unit,
        array.bands,
        array.scale,
        np.concatenate(moments),
        bins,
        None if counts is None else counts.of(Split.TRAIN),
        np.sum(classes, axis=0) if classes else None,
    )


def _read(
    dataset: Dataset,
    layer: StoredLayer,
    array: StoredArray,
    bins: Bins | None,
    step: Callable[[str], object],
    rows: Sequence[int],
) -> _Piece:
    """Measure the chips of one shard, as the build does: by the same kernels, chip by chip and slot by slot.

    Unwrapped phase counts from the reference that the build wrote beside it.
    """
    n_bands = len(array.bands)
    moments = np.empty((len(rows), len(layer.slots), n_bands, len(summary.MOMENTS)))
    classes = np.zeros((n_bands, 256), np.int64) if array.kind == Kind.CLASSES else None
    counts = None if bins is None else Counts(bins, n_bands)
    references = _references(dataset, layer, array, rows) if array.kind == Kind.UNWRAPPED_PHASE else None
    limits = {} if references is None else _limits(array)
    for place, row in enumerate(rows):
        for slot, codes in _slots(dataset, layer, array, row):
            valid = ~np.isnan(codes) if array.fill is None else codes != array.fill
            if references is not None:
                codes = rereferenced(codes, valid, references[place, slot], **limits)  # noqa: PLW2901  so they count
            moments[place, slot] = summary.moments(codes, valid)
            if counts is not None:
                counts.add(Split.TRAIN, codes, valid)
            if classes is not None:
                classes += summary.class_counts(codes, valid)
        step(layer.name)
    return _Piece(moments, None if counts is None else counts.sparse(), classes)


def _references(dataset: Dataset, layer: StoredLayer, array: StoredArray, rows: Sequence[int]) -> NDArray[np.float64]:
    """Return (row, slot, band) the codes that unwrapped phase is counted from.

    Raises:
        StoreError: the dataset was built before it kept them.
    """
    stored = open_companion(dataset.root, layer.name, "phase_reference")
    values = np.stack([stored.row(row) for row in rows]).reshape(len(rows), len(layer.slots), len(array.bands))
    # They are codes times scale in double precision: of integers, the nearest whole number is the code itself.
    return values if array.fill is None else np.rint(values / array.scale)


def _limits(array: StoredArray) -> dict[str, float]:
    """Return the least and the largest code of a valid value; the manifest has nothing where there is no limit."""
    named = (("low", "valid_min", -np.inf), ("high", "valid_max", np.inf))
    return {end: none if array.about[key] is None else array.about[key] / array.scale for end, key, none in named}


def _slots(dataset: Dataset, layer: StoredLayer, array: StoredArray, row: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield each slot of a chip with its codes (band, y, x), one chunk in memory at a time."""
    if layer.is_static:
        yield 0, dataset.reader.read(layer, array, row)
        return
    for first in range(0, len(layer.slots), layer.chunk_slots):
        slots = range(first, min(first + layer.chunk_slots, len(layer.slots)))
        yield from zip(slots, dataset.reader.read(layer, array, row, slots), strict=True)

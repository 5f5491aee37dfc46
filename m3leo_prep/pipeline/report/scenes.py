"""Which scenes a dataset was made of: counted from the provenance tables, part by part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from m3leo_prep.core.errors import StoreError
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.files import opened
from m3leo_prep.reader.manifest import StoredLayer

_ONCE = ["slot", "n_observations", "items", "datetimes", "versions", "relative_orbits"]
"""Columns that are the same for every band."""
_LISTS = ["items.list.element", "versions.list.element"]


@dataclass(frozen=True, slots=True)
class SceneFigures:
    """What one layer was made of."""

    layer: str
    scenes: int
    """Different items that gave at least one chip its pixels."""
    by_slot: Mapping[str, int]
    first: str | None
    """Earliest and latest acquisition among them, UTC; None where they have no date."""
    last: str | None
    versions: tuple[str, ...]
    relative_orbits: tuple[int, ...]
    most_observations: int
    """Acquisitions behind one chip in one slot, at most."""
    pixels_out_of_range: int
    """Masked because physically impossible; over all chips, slots and bands."""
    pixels_floored: int
    """Raised to the least value that can be stored."""


def scene_figures(dataset: Dataset) -> tuple[SceneFigures, ...]:
    """Return what each layer was made of; in memory of one part of a table at a time.

    Raises:
        StoreError: a table is absent or damaged.
    """
    return tuple(_of_layer(dataset, layer) for layer in dataset.layers.values())


def _of_layer(dataset: Dataset, layer: StoredLayer) -> SceneFigures:
    array = next(iter(layer.arrays.values()))
    scenes: dict[str, set[str]] = defaultdict(set)
    dates: list[datetime] = []
    versions: set[str] = set()
    orbits: set[int] = set()
    out_of_range = floored = most = 0
    parts = dataset.provenance(layer.name)
    if not parts:
        raise StoreError("the provenance is not there", where=dataset.url, hint="run `build` again, or pull it again")
    for part in parts:
        table = _read(dataset, part, ["variable", "band", "n_out_of_range", "n_floored", *_ONCE])
        out_of_range += pc.sum(table["n_out_of_range"]).as_py() or 0
        floored += pc.sum(table["n_floored"]).as_py() or 0
        once = pc.and_(pc.equal(table["variable"], array.name), pc.equal(table["band"], array.bands[0]))
        table = table.select(_ONCE).filter(once).combine_chunks()
        if not len(table):
            continue
        most = max(most, int(pc.max(table["n_observations"]).as_py()))
        for slot, found in _by_slot(table).items():
            scenes[slot] |= found
        versions |= {str(version) for version in pc.unique(_flat(table, "versions")).to_pylist() if version}
        orbits |= {int(orbit) for orbit in pc.unique(_flat(table, "relative_orbits")).to_pylist() if orbit is not None}
        ends = pc.min_max(_flat(table, "datetimes")).as_py()
        dates += [ends[end] for end in ("min", "max") if ends[end] is not None]
    return SceneFigures(
        layer=layer.name,
        scenes=len(set().union(*scenes.values())),
        by_slot={slot.label: len(scenes[slot.label]) for slot in layer.slots},
        first=min(dates).isoformat(sep=" ", timespec="seconds")[:19] if dates else None,
        last=max(dates).isoformat(sep=" ", timespec="seconds")[:19] if dates else None,
        versions=tuple(sorted(versions)),
        relative_orbits=tuple(sorted(orbits)),
        most_observations=most,
        pixels_out_of_range=int(out_of_range),
        pixels_floored=int(floored),
    )


def _by_slot(table: pa.Table) -> dict[str, set[str]]:
    """Return the items by slot, without a Python object per chip."""
    column = table["items"].chunk(0) if table["items"].num_chunks else pa.array([], table["items"].type)
    slots = table["slot"].combine_chunks().dictionary_encode()
    items = pc.list_flatten(column)
    items = items if pa.types.is_dictionary(items.type) else items.dictionary_encode()
    n = max(1, len(items.dictionary))
    slot_of = slots.indices.to_numpy()[pc.list_parent_indices(column).to_numpy()]
    pairs = np.unique(slot_of.astype(np.int64) * n + items.indices.to_numpy(zero_copy_only=False))
    names, labels = items.dictionary.to_pylist(), slots.dictionary.to_pylist()
    found: dict[str, set[str]] = defaultdict(set)
    for pair in pairs.tolist():
        found[labels[pair // n]].add(names[pair % n])
    return found


def _flat(table: pa.Table, column: str) -> Any:
    return pc.list_flatten(table[column])


def _read(dataset: Dataset, name: str, columns: list[str]) -> pa.Table:
    try:
        with pq.ParquetFile(opened(dataset.root, name), read_dictionary=[*_LISTS, "slot", "variable", "band"]) as file:
            return file.read(columns).unify_dictionaries()
    except (OSError, ValueError) as error:
        hint = "run `build` again, or pull it again"
        raise StoreError(f"this table cannot be read: {error}", where=f"{dataset.url}/{name}", hint=hint) from error

"""What the ledger keeps per chip: filled while a unit is built, stitched together when the dataset is closed."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.layer import Layer
from m3leo_prep.core.plan import LayerPlan, Plan, Unit
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.ops import summary
from m3leo_prep.pipeline.statistics.counts import SPLITS, Counts, empty_counts, histogram_name, holds_for
from m3leo_prep.pipeline.task import make_task
from m3leo_prep.store.ledger import Record, ShardFile

NO_TIME = np.iinfo(np.int64).min
"""Companion time of a chip without dated acquisition (NaT)."""


@dataclass(slots=True)
class UnitRows:
    """What the ledger keeps per chip of the unit."""

    reason: dict[str, NDArray[np.uint8]]
    valid: dict[str, NDArray[np.uint8]]
    moments: dict[str, NDArray[np.float64]]
    classes: dict[str, NDArray[np.int64]]
    altered: dict[str, NDArray[np.int64]]
    """(chip, slot, band, 2): pixels out of range, pixels floored."""
    reference: dict[str, NDArray[np.float64]]
    """(chip, slot, band) code that unwrapped phase is counted from in statistics; of no other variable."""
    times: NDArray[np.int64]
    """(chip, slot, 3): first, mean and last acquisition, ns since 1970 UTC."""
    used: list[list[list[str]]]
    """Per chip and slot, item ids."""
    acquisitions: NDArray[np.uint16]
    """(chip, slot) acquisitions used."""
    damaged: list[str] = field(default_factory=list)
    """What could not be read of which item, for good."""
    holes: list[str] = field(default_factory=list)
    """What could not be had in this run."""
    operations: dict[str, str] = field(default_factory=dict)
    orbit_files: dict[str, str] = field(default_factory=dict)
    """By item id, of those whose rasters tell it."""

    @classmethod
    def empty(cls, layer: Layer, chips: int, slots: int) -> UnitRows:
        """Return rows of a unit in which nothing is built yet."""

        def full(shape: tuple[int, ...], value: Any, dtype: Any) -> dict[str, NDArray[Any]]:
            return {a.variable.name: np.full((chips, slots, a.n_bands, *shape), value, dtype) for a in layer.arrays}

        classes = {
            a.variable.name: np.zeros((chips, slots, a.n_bands, 256), np.int64)
            for a in layer.arrays
            if a.variable.kind is Kind.CLASSES
        }
        return cls(
            reason=full((), Reason.NOT_BUILT, np.uint8),
            valid=full((), 255, np.uint8),
            moments=full((len(summary.MOMENTS),), np.nan, np.float64),
            classes=classes,
            altered=full((2,), 0, np.int64),
            reference={
                a.variable.name: np.full((chips, slots, a.n_bands), np.nan)
                for a in layer.arrays
                if a.variable.kind is Kind.UNWRAPPED_PHASE
            },
            times=np.full((chips, slots, 3), NO_TIME, np.int64),
            used=[[[] for _ in range(slots)] for _ in range(chips)],
            acquisitions=np.zeros((chips, slots), np.uint16),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that is an array, by ledger name."""
        named: dict[str, NDArray[Any]] = {"times": self.times, "acquisitions": self.acquisitions}
        for part in ("reason", "valid", "moments", "classes", "altered", "reference"):
            for name, values in getattr(self, part).items():
                named[f"{part}.{name}"] = values
        return named


@dataclass(frozen=True, slots=True)
class LayerRows:
    """A finished layer's ledger, stitched together in row order."""

    plan: LayerPlan
    arrays: dict[str, NDArray[Any]]
    """By ledger name, (chip, slot, ...)."""
    items: list[list[list[int]]]
    """Per chip and slot, indices into ``plan.items``."""
    shards: tuple[ShardFile, ...]
    retryable: int
    operations: dict[str, str]
    """Coordinate operation by ``source CRS -> zone``."""
    orbit_files: dict[str, str]
    """By item id, of those whose rasters tell it."""
    counts: dict[str, Counts]
    """Histograms of the quantities, by variable; of the units that are not ``uncounted``."""
    uncounted: int
    """Units whose histograms are told apart by other splits than the plan's, or that have none."""

    def described(self) -> Layer:
        """Return the layer with what is known only after reading."""
        return replace(
            self.plan.layer, attributes=dict(self.plan.layer.attributes) | {"coordinate_operation": self.operations}
        )


def stitch(plan: Plan, layer: LayerPlan, records: dict[str, Record], current: AbstractSet[str]) -> LayerRows | None:
    """Return a layer's rows, or None while any of its units is missing or made of something else."""
    n, slots = len(plan.cells), len(layer.layer.slots)
    rank = {item.id: i for i, item in enumerate(layer.items)}
    arrays: dict[str, NDArray[Any]] = {}
    used: list[list[list[int]]] = [[[] for _ in range(slots)] for _ in range(n)]
    shards: list[ShardFile] = []
    operations: dict[str, str] = {}
    orbit_files: dict[str, str] = {}
    retryable = uncounted = 0
    histograms = empty_counts(layer.layer)
    splits = np.full(n, Split.NONE, np.uint8) if plan.split is None else plan.split
    for unit in layer.units(n):
        record = records.get(unit.id)
        if record is None:
            return None
        if not is_current(plan, layer, unit, record, current):
            return None
        if holds_for(record, splits[unit.first_row : unit.last_row]):
            for name, histogram in histograms.items():
                histogram.add_sparse(record.arrays[histogram_name(name)])
        else:
            uncounted += 1
        per_chip = (name for name in record.arrays if name != SPLITS and not name.startswith(histogram_name("")))
        loaded = {name: kept_rows(record, name) for name in per_chip}
        names = [rank[name] for name in record.info["items"]]
        flat, counts = iter(loaded.pop("used").tolist()), loaded.pop("used_count")
        loaded.pop("digests")
        rows = np.s_[unit.first_row : unit.last_row, unit.first_slot : unit.last_slot]
        for chip, row in enumerate(range(unit.first_row, unit.last_row)):
            for position, slot in enumerate(range(unit.first_slot, unit.last_slot)):
                used[row][slot] = sorted(names[next(flat)] for _ in range(int(counts[chip, position])))
        for name, values in loaded.items():
            if name not in arrays:
                # Of a million chips, counts of 256 codes are 2 GB in 8 bytes each, and none exceeds the pixels of one.
                dtype = np.min_scalar_type(layer.layer.size**2) if name.startswith("classes.") else values.dtype
                arrays[name] = np.empty((n, slots, *values.shape[2:]), dtype)
            arrays[name][rows] = values
        shards.extend(record.shards)
        operations |= record.info["operations"]
        orbit_files |= record.info.get("orbit_files", {})
        retryable += record.retryable
    found = dict(sorted(operations.items()))
    return LayerRows(layer, arrays, used, tuple(shards), retryable, found, orbit_files, histograms, uncounted)


def is_current(plan: Plan, layer: LayerPlan, unit: Unit, record: Record, current: AbstractSet[str]) -> bool:
    """Return whether a unit's record is of what the plan says; ``current`` holds ids of units known to be so."""
    if unit.id in current:
        return True
    cells = plan.cells[unit.first_row : unit.last_row]
    return record.digest == make_task(cells, layer, unit, None).digest


def kept_rows(record: Record, name: str) -> NDArray[Any]:
    """Return one of a record's arrays per chip as it is kept now.

    Records of before there were histograms hold plain sums of squares, whose use loses digits but nothing else.
    """
    values = record.arrays[name]
    if name.startswith("moments.") and SPLITS not in record.arrays:
        n, total, squares = (values[..., place] for place in range(3))
        values = values.copy()
        values[..., 2] = np.where(n > 0, np.maximum(0, squares - total**2 / np.maximum(n, 1)), squares)
    return values


def percent(n: NDArray[np.integer[Any]], total: int) -> NDArray[np.uint8]:
    """Return whole percent, 100 only if all and 0 only if none."""
    share = np.floor(100 * n / total)
    share = np.where((n > 0) & (share < 1), 1, share)
    return share.astype(np.uint8)

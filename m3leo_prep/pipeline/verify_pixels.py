"""The part of ``verify`` that looks at pixels: stored ones through the reader, and a sample derived again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import encode
from m3leo_prep.core.errors import PrepError
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.plan import LayerPlan, Plan, Unit
from m3leo_prep.core.reasons import RETRYABLE, Reason
from m3leo_prep.pipeline.derive import derive
from m3leo_prep.pipeline.findings import Report
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.unit import items_of, percent
from m3leo_prep.pipeline.windows import cut
from m3leo_prep.reader.manifest import stored_layers
from m3leo_prep.reader.shards import ShardReader
from m3leo_prep.store.shard import shard_name

WITH_DATA = (Reason.OK, Reason.PARTIAL_COVERAGE)


class PixelCheck:
    """Holds stored pixels against the ledger, the encoding and the source."""

    def __init__(
        self, folder: DatasetFolder, plan: Plan, manifest: dict[str, Any], report: Report, *, seed: int
    ) -> None:
        self._plan = plan
        self._report = report
        self._seed = seed
        self._records = folder.ledger.records()
        self._reader = ShardReader(folder.path)
        self._layers = stored_layers(manifest)
        self._damaged = {where for where, _ in report.problems}

    def stored(self, layer_plan: LayerPlan, on_shard: Callable[[str], None], *, most: int | None) -> None:
        """Read chips back (all, or ``most`` of them by seed) and check values, reasons and valid shares."""
        layer = layer_plan.layer
        units = list(layer_plan.units(len(self._plan.cells)))
        self._tally(layer, units)
        if most is not None:
            units = self._draw(layer).sample(units, min(len(units), most))
        for unit in units:
            rows = list(range(unit.first_row, unit.last_row))
            if most is not None:
                rows = self._draw(layer).sample(rows, min(len(rows), max(1, most // len(units))))
            for array in layer.arrays:
                name = _shard(layer, array, unit)
                if name in self._damaged:
                    continue
                on_shard(name)
                for row in rows:
                    try:
                        self._chip(layer, array, unit, row)
                    except PrepError as error:
                        self._report.add(error.where.removeprefix(f"{self._reader.root}/") or name, error.message)

    def rederived(self, layer_plan: LayerPlan, n: int) -> None:
        """Make ``n`` chips again from the source, by seed, and compare every stored code."""
        layer = layer_plan.layer
        draw = self._draw(layer)
        units = list(layer_plan.units(len(self._plan.cells)))
        for _ in range(n):
            unit = draw.choice(units)
            row = draw.randrange(unit.first_row, unit.last_row)
            slot = draw.randrange(unit.last_slot - unit.first_slot)
            if self._damaged & {_shard(layer, array, unit) for array in layer.arrays}:
                continue
            try:
                self._rederive(layer_plan, unit, row, slot)
            except PrepError as error:
                self._report.notes.append(f"{layer.name}: could not be derived again here ({error.message})")
                return

    def _draw(self, layer: Layer) -> random.Random:
        return random.Random(f"{self._seed}/{layer.name}")

    def _tally(self, layer: Layer, units: list[Unit]) -> None:
        tally = self._report.reasons.setdefault(layer.name, {})
        for unit in units:
            for array in layer.arrays:
                codes, counts = np.unique(self._rows(unit, "reason", array), return_counts=True)
                for code, n in zip(codes.tolist(), counts.tolist(), strict=True):
                    tally[Reason(code).name] = tally.get(Reason(code).name, 0) + n

    def _rows(self, unit: Unit, part: str, array: Array) -> NDArray[np.uint8]:
        """Return (chip, slot, band) of the unit from the ledger."""
        return self._records[unit.id].arrays[f"{part}.{array.variable.name}"]

    def _read(self, layer: Layer, array: Array, unit: Unit, row: int, slots: range) -> NDArray[Any]:
        """Return the stored codes of a chip, (slot, band, y, x); ``slots`` count from the unit's first."""
        stored = self._layers[layer.name]
        wanted = None if layer.is_static else [unit.first_slot + slot for slot in slots]
        codes = self._reader.read(stored, stored.arrays[array.variable.name], row, wanted)
        return codes[None] if layer.is_static else codes

    def _chip(self, layer: Layer, array: Array, unit: Unit, row: int) -> None:
        chip = row - unit.first_row
        where = f"{_shard(layer, array, unit)}, chip {self._plan.cells[row : row + 1].ids()[0]}"
        codes = self._read(layer, array, unit, row, range(unit.last_slot - unit.first_slot))
        reason, valid = (self._rows(unit, part, array)[chip] for part in ("reason", "valid"))
        encoding = array.encoding
        present = ~np.isnan(codes) if encoding.fill is None else codes != encoding.fill
        n_valid = present.sum(axis=(2, 3))
        if not np.array_equal(percent(n_valid, layer.size**2), valid):
            self._report.add(where, "the valid share is not what the ledger says")
        if not np.array_equal(np.isin(reason, WITH_DATA), n_valid > 0):
            self._report.add(where, "reasons and pixels contradict each other")
        physical = codes[present].astype(np.float64) * encoding.scale
        slack = 0.0 if encoding.fill is None else encoding.scale / 2
        if len(physical) and not (
            encoding.valid_min - slack <= physical.min() and physical.max() <= encoding.valid_max + slack
        ):
            span = f"{physical.min():g} ... {physical.max():g}"
            self._report.add(where, f"values {span} outside the possible range")
        self._report.count("chip slots", codes.shape[0])

    def _rederive(self, layer_plan: LayerPlan, unit: Unit, row: int, slot: int) -> None:
        layer = layer_plan.layer
        cell = self._plan.cells[row : row + 1]
        slots, items = items_of(cell, layer_plan, unit)
        geobox = cut(cell, np.array([0]))[0].geobox(layer.pitch)
        source = open_source(layer_plan.source)
        made = derive(source, layer, items[0][slot], geobox, slots[slot], skip_damaged=True)
        for array in layer.arrays:
            if np.isin(self._rows(unit, "reason", array)[row - unit.first_row, slot], list(RETRYABLE)).any():
                continue  # a hole that the next build fills
            look = made.looks[array.variable.name]
            expected = np.full((array.n_bands, *geobox.shape), array.encoding.fill_value, array.encoding.dtype)
            if look is not None:
                expected = encode(look.values, look.valid, array.encoding).codes
            stored = self._read(layer, array, unit, row, range(slot, slot + 1))[0]
            if not np.array_equal(stored, expected, equal_nan=array.encoding.fill is None):
                self._report.add(
                    f"{_shard(layer, array, unit)}, chip {cell.ids()[0]}, {slots[slot].label}",
                    f"{int((stored != expected).sum()):,} values differ from what the source gives now",
                )
        self._report.count("chip slots derived again")


def _shard(layer: Layer, array: Array, unit: Unit) -> str:
    place = (unit.chip_shard,) if layer.is_static else (unit.chip_shard, unit.slot_shard)
    return shard_name(layer.name, array.variable.name, place)

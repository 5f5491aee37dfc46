"""The part of ``verify`` that looks at pixels: stored ones through the reader, and a sample derived again."""

from __future__ import annotations

import random
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import encode
from m3leo_prep.core.errors import PrepError
from m3leo_prep.core.plan import LayerPlan, Plan, Unit
from m3leo_prep.core.reasons import RETRYABLE, Reason
from m3leo_prep.pipeline.derive import derive
from m3leo_prep.pipeline.findings import Report
from m3leo_prep.pipeline.heights import heights_of
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.rows import percent
from m3leo_prep.pipeline.task import items_of
from m3leo_prep.pipeline.windows import cut
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.reader.companions import open_companion
from m3leo_prep.reader.manifest import StoredArray, StoredLayer, stored_layers
from m3leo_prep.reader.pixels.shards import ShardReader
from m3leo_prep.store.shard import ZARR, shard_name
from m3leo_prep.store.tables import read_table

WITH_DATA = (Reason.OK, Reason.PARTIAL_COVERAGE)
GEOREFERENCE = ("epsg", "x0", "y0")


class PixelCheck:
    """Holds stored pixels against what stands beside them, and against the source."""

    def __init__(
        self,
        root: Readable,
        manifest: dict[str, Any],
        report: Report,
        *,
        seed: int,
        absent: AbstractSet[str] = frozenset(),
    ) -> None:
        """``absent`` are shards that need not be here: of a dataset of which only a part was pulled."""
        self._root = root
        self._report = report
        self._seed = seed
        self._chips = read_table(root, "chips.parquet", ["chip_id", *GEOREFERENCE])
        self._ids: list[str] = self._chips["chip_id"].to_pylist()
        self._reader = ShardReader(root)
        self._layers = stored_layers(manifest)
        self._damaged = {where for where, _ in report.problems} | absent

    def georeference(self, name: str) -> None:
        """Check that a layer lies where chips.parquet says, chip by chip."""
        for part in GEOREFERENCE:
            stored = self._array(name, part)
            wrong = np.flatnonzero(stored != self._chips[part].to_numpy()) if len(stored) == len(self._ids) else [0]
            if len(wrong):
                chip = self._ids[int(wrong[0])]
                self._report.add(f"{ZARR}/{name}/{part}", f"chip {chip} lies elsewhere than chips.parquet says")

    def stored(self, name: str, on_shard: Callable[[str], None], *, most: int | None) -> None:
        """Read chips back (all, or ``most`` of them by seed) and check values, reasons and valid shares."""
        layer = self._layers[name]
        rows = list(range(len(self._ids)))
        if most is not None:
            rows = sorted(self._draw(name).sample(rows, min(len(rows), most)))
        for array in layer.arrays.values():
            reason = self._quality(layer, array, "reason")
            valid = self._quality(layer, array, "valid")
            if not array.is_count:  # of the same acquisitions, and there where all of them are masked
                self._tally(name, reason)
            for row in rows:
                for first in range(0, len(layer.slots), layer.shard_slots):
                    shard = _shard(layer, array, row, first)
                    if shard in self._damaged:
                        continue
                    on_shard(shard)
                    slots = slice(first, first + layer.shard_slots)
                    try:
                        self._chip(layer, array, row, slots, reason[row, slots], valid[row, slots])
                    except PrepError as error:
                        where = error.where.removeprefix(f"{self._root.url}/") or shard
                        self._report.add(where, error.message)

    def rederived(self, plan: Plan, layer_plan: LayerPlan, n: int) -> None:
        """Make ``n`` chips again from the source, by seed, and compare every stored code."""
        name = layer_plan.layer.name
        units = list(layer_plan.units(len(plan.cells)))
        n_slots = len(layer_plan.layer.slots)
        every = range(len(plan.cells) * n_slots)
        for place in self._draw(name).sample(every, min(n, len(every))):
            row, slot = divmod(place, n_slots)
            unit = next(one for one in units if row in one.rows and slot in one.slots)
            layer = self._layers[name]
            if self._damaged & {_shard(layer, array, row, slot) for array in layer.arrays.values()}:
                continue
            try:
                self._rederive(plan, layer_plan, unit, row, slot)
            except PrepError as error:
                self._report.notes.append(f"{name}: could not be derived again here ({error.message})")
                return

    def _draw(self, name: str) -> random.Random:
        return random.Random(f"{self._seed}/{name}")

    def _tally(self, name: str, reason: NDArray[np.uint8]) -> None:
        tally = self._report.reasons.setdefault(name, {})
        for code, n in zip(*(part.tolist() for part in np.unique(reason, return_counts=True)), strict=True):
            tally[Reason(code).name] = tally.get(Reason(code).name, 0) + n

    def _array(self, layer: str, name: str) -> NDArray[Any]:
        return open_companion(self._root, layer, name).all()

    def _quality(self, layer: StoredLayer, array: StoredArray, part: str) -> NDArray[np.uint8]:
        """Return reasons or valid shares, (chip, slot, band)."""
        found = self._array(layer.name, f"{array.name}_{part}")
        return found[:, None] if layer.is_static else found

    def _read(self, layer: StoredLayer, array: StoredArray, row: int, slots: range) -> NDArray[Any]:
        """Return the stored codes of a chip, (slot, band, y, x)."""
        codes = self._reader.read(layer, array, row, None if layer.is_static else slots)
        return codes[None] if layer.is_static else codes

    def _chip(
        self,
        layer: StoredLayer,
        array: StoredArray,
        row: int,
        slots: slice,
        reason: NDArray[np.uint8],
        valid: NDArray[np.uint8],
    ) -> None:
        where = f"{_shard(layer, array, row, slots.start)}, chip {self._ids[row]}"
        codes = self._read(layer, array, row, range(len(layer.slots))[slots])
        present = ~np.isnan(codes) if array.fill is None else codes != array.fill
        n_valid = present.sum(axis=(2, 3))
        if not np.array_equal(percent(n_valid, layer.size**2), valid):
            self._report.add(where, f"the valid share is not what {array.name}_valid says")
        if not np.array_equal(np.isin(reason, WITH_DATA), n_valid > 0):
            self._report.add(where, "reasons and pixels contradict each other")
        physical = codes[present].astype(np.float64) * array.scale
        # A float32 may lie a rounding beyond a limit that float32 does not have.
        slack = (
            1e-6 * max(abs(v) for v in (array.about.get("valid_max") or 0, 1))
            if array.fill is None
            else array.scale / 2
        )
        low, high = array.about.get("valid_min"), array.about.get("valid_max")
        if len(physical) and (
            (low is not None and physical.min() < low - slack) or (high is not None and physical.max() > high + slack)
        ):
            span = f"{physical.min():g} ... {physical.max():g}"
            self._report.add(where, f"values {span} outside the possible range")
        self._report.count("chip slots", codes.shape[0])

    def _rederive(self, plan: Plan, layer_plan: LayerPlan, unit: Unit, row: int, slot: int) -> None:
        layer, stored_layer = layer_plan.layer, self._layers[layer_plan.layer.name]
        cell = plan.cells[row : row + 1]
        slots, items = items_of(cell, layer_plan, unit)
        here = slot - unit.first_slot
        geobox = cut(cell, np.array([0]))[0].geobox(layer.pitch)
        source, heights = open_source(layer_plan.source), heights_of(layer_plan, cell)
        made = derive(source, layer, items[0][here], geobox, slots[here], skip_damaged=True, heights=heights)
        for array in layer.arrays:
            stored_array = stored_layer.arrays[array.variable.name]
            if np.isin(self._quality(stored_layer, stored_array, "reason")[row, slot], list(RETRYABLE)).any():
                continue  # a hole that the next build fills
            look = made.looks[array.variable.name]
            expected = np.full((array.n_bands, *geobox.shape), array.encoding.fill_value, array.encoding.dtype)
            if look is not None:
                expected = encode(look.values, look.valid, array.encoding).codes
            stored = self._read(stored_layer, stored_array, row, range(slot, slot + 1))[0]
            if not np.array_equal(stored, expected, equal_nan=array.encoding.fill is None):
                self._report.add(
                    f"{_shard(stored_layer, stored_array, row, slot)}, chip {self._ids[row]}, {slots[here].label}",
                    f"{int((stored != expected).sum()):,} values differ from what the source gives now",
                )
        self._report.count("chip slots derived again")


def _shard(layer: StoredLayer, array: StoredArray, row: int, slot: int) -> str:
    """Return the name of the shard that holds a chip and slot."""
    place = (row // layer.shard_chips,) if layer.is_static else (row // layer.shard_chips, slot // layer.shard_slots)
    return shard_name(layer.name, array.name, place)

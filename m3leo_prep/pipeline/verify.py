"""Is the dataset what it says? Everything found is named; nothing is repaired.

Quick: every file is there in its size, small files by their sha256, tables against the grid, and a seeded sample of
chips. Full: also the sha256 of every shard, every chunk decoded, every value in range, every reason true. Both
re-derive a sample of chips from the source where the build state is still there.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import encode
from m3leo_prep.core.errors import PrepError, VerifyError
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.plan import LayerPlan, Plan, Unit
from m3leo_prep.core.reasons import Reason
from m3leo_prep.pipeline.derive import derive
from m3leo_prep.pipeline.finalize import manifest_digest
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.unit import items_of, percent
from m3leo_prep.pipeline.windows import cut
from m3leo_prep.store.codec import ChunkCodec
from m3leo_prep.store.ledger import ShardFile
from m3leo_prep.store.metadata import array_grid, chunk_shape
from m3leo_prep.store.shard import MISSING, decode_index, index_size, sha256_of, shard_name
from m3leo_prep.store.tables import read_shards, read_table

SAMPLE_CHIPS = 8
"""Chips per layer that are re-derived from the source."""
SAMPLE_SHARDS = 4
"""Shards per layer whose chunks ``--quick`` decodes."""


@dataclass(slots=True)
class Report:
    """What was checked and what was found."""

    path: Path
    problems: list[tuple[str, str]] = field(default_factory=list)
    """(where, what)"""
    notes: list[str] = field(default_factory=list)
    """What could not be checked here, and why."""
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per layer, chip x slot x band by reason."""

    @property
    def ok(self) -> bool:
        """True if nothing was found."""
        return not self.problems

    def add(self, where: str, what: str) -> None:
        """Note a finding."""
        self.problems.append((where, what))

    def count(self, what: str, n: int = 1) -> None:
        """Note that ``n`` things were checked."""
        self.counts[what] = self.counts.get(what, 0) + n

    def raise_if_bad(self) -> None:
        """Raise VerifyError naming the first findings."""
        if self.problems:
            shown = "; ".join(f"{where}: {what}" for where, what in self.problems[:5])
            more = f" (and {len(self.problems) - 5} more)" if len(self.problems) > 5 else ""
            raise VerifyError(
                f"{len(self.problems)} findings: {shown}{more}",
                where=str(self.path),
                hint="delete the files named and run `build` again, which makes what is missing; or pull them again",
            )


def verify(
    path: Path,
    *,
    quick: bool = False,
    sample: int = SAMPLE_CHIPS,
    seed: int = 0,
    on_shard: Callable[[str], None] = lambda _: None,
) -> Report:
    """Return what is wrong with a dataset.

    Args:
        path: the dataset's folder.
        quick: leave out what reads every byte.
        sample: chips per layer that are re-derived from the source.
        seed: of the sample.
        on_shard: called with the name of each shard that is read.
    """
    report = Report(path)
    folder = DatasetFolder(path)
    manifest = _manifest(folder, report)
    if manifest is None:
        return report
    _small_files(folder, manifest, report)
    if not report.ok:
        return report  # what follows reads these files
    shards = read_shards(folder.blobs)
    _shard_files(folder, manifest, shards, report, hashes=not quick)
    plan = folder.frozen()
    if plan is None:
        report.notes.append("the build state is not here: layers, chips and samples were not re-derived")
        return report
    _chips(folder, plan, manifest, report)
    damaged = {where for where, _ in report.problems}
    for layer in plan.layers:
        if layer.layer.name not in manifest["layers"]:
            continue
        _layer(folder, plan, layer, shards, damaged, report, seed=seed, quick=quick, on_shard=on_shard)
        _rederive(folder, plan, layer, damaged, report, n=sample, seed=seed)
    return report


def _manifest(folder: DatasetFolder, report: Report) -> dict[str, Any] | None:
    try:
        manifest = folder.manifest
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        report.add("manifest.json", f"not valid JSON: {error}")
        return None
    if manifest is None:
        report.add("manifest.json", "missing: no finished dataset lies here (run `build`)")
        return None
    if manifest.get("manifest_digest") != manifest_digest(manifest):
        report.add("manifest.json", "edited or damaged: it does not match its own digest")
        return None
    return manifest


def _small_files(folder: DatasetFolder, manifest: dict[str, Any], report: Report) -> None:
    for name, digest in manifest["files"].items():
        report.count("files")
        try:
            if sha256_of(folder.blobs, name) != digest:
                report.add(name, "edited or damaged: its sha256 is not the manifest's")
        except FileNotFoundError:
            report.add(name, "missing")


def _shard_files(
    folder: DatasetFolder, manifest: dict[str, Any], shards: dict[str, ShardFile], report: Report, *, hashes: bool
) -> None:
    for name, shard in shards.items():
        report.count("shards")
        size = folder.blobs.size(name)
        if shard.bytes == 0:
            if size is not None:
                report.add(name, "must be absent (all missing), but a file lies there")
        elif size is None:
            report.add(name, "missing")
        elif size != shard.bytes:
            report.add(name, f"{size:,} bytes instead of {shard.bytes:,}")
        elif hashes and sha256_of(folder.blobs, name) != shard.sha256:
            report.add(name, "damaged: its sha256 is not that of shards.parquet")
    known = set(shards) | set(manifest["files"]) | {"manifest.json"}
    for name in folder.blobs.list("chips.zarr"):
        if name not in known:
            report.add(name, "not part of this dataset")


def _chips(folder: DatasetFolder, plan: Plan, manifest: dict[str, Any], report: Report) -> None:
    """Check every row of chips.parquet against the grid."""
    table = read_table(folder.blobs, "chips.parquet")
    cells = plan.cells
    if not (len(table) == len(cells) == manifest["n_chips"]):
        report.add("chips.parquet", f"{len(table)} rows, planned {len(cells)}, manifest {manifest['n_chips']}")
        return
    x0, y0 = cells.upper_left()
    expected = {"chip_id": np.array(cells.ids(), object), "epsg": cells.epsg, "x0": x0, "y0": y0}
    for name, values in expected.items():
        found = table[name].to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(found != values)
        if len(wrong):
            row = int(wrong[0])
            report.add("chips.parquet", f"{name} of row {row} is {found[row]!r}, the grid says {values[row]!r}")
    report.count("chips", len(table))


def _layer(
    folder: DatasetFolder,
    plan: Plan,
    layer_plan: LayerPlan,
    shards: dict[str, ShardFile],
    damaged: set[str],
    report: Report,
    *,
    seed: int,
    quick: bool,
    on_shard: Callable[[str], None],
) -> None:
    """Decode shards and hold values, reasons and valid shares against each other."""
    layer = layer_plan.layer
    units = list(layer_plan.units(len(plan.cells)))
    chosen = units
    if quick and len(units) > SAMPLE_SHARDS:
        chosen = random.Random(f"{seed}{layer.name}").sample(units, SAMPLE_SHARDS)
    tally = report.reasons.setdefault(layer.name, {})
    records = folder.ledger.records()
    for unit in chosen:
        for array in layer.arrays:
            name = shard_name(layer.name, array.variable.name, _place(layer, unit))
            reason = records[unit.id].arrays[f"reason.{array.variable.name}"]
            valid = records[unit.id].arrays[f"valid.{array.variable.name}"]
            for code, n in zip(*np.unique(reason, return_counts=True), strict=True):
                tally[Reason(int(code)).name] = tally.get(Reason(int(code)).name, 0) + int(n)
            if name in damaged:
                continue
            on_shard(name)
            try:
                _shard(folder, plan, layer, array, unit, shards[name], reason, valid, report)
            except PrepError as error:
                report.add(name, error.message)


def _place(layer: Layer, unit: Unit) -> tuple[int, ...]:
    return (unit.chip_shard,) if layer.is_static else (unit.chip_shard, unit.slot_shard)


def _shard(
    folder: DatasetFolder,
    plan: Plan,
    layer: Layer,
    array: Array,
    unit: Unit,
    shard: ShardFile,
    reason: NDArray[np.uint8],
    valid: NDArray[np.uint8],
    report: Report,
) -> None:
    for chip, codes in _chip_codes(folder, layer, array, unit, shard):
        chip_id = plan.cells[unit.first_row + chip : unit.first_row + chip + 1].ids()[0]
        where = f"{shard.path}, chip {chip_id}"
        present = ~np.isnan(codes) if array.encoding.fill is None else codes != array.encoding.fill
        n_valid = present.sum(axis=(2, 3))
        if not np.array_equal(percent(n_valid, layer.size**2), valid[chip]):
            report.add(where, "the valid share is not what the ledger says")
        has_data = np.isin(reason[chip], [Reason.OK, Reason.PARTIAL_COVERAGE])
        if ((n_valid > 0) & ~has_data).any() or (has_data & (n_valid == 0)).any():
            report.add(where, "reasons and pixels contradict each other")
        physical = codes[present].astype(np.float64) * array.encoding.scale
        slack = array.encoding.scale / 2 if array.encoding.fill is not None else 0.0
        low, high = array.encoding.valid_min - slack, array.encoding.valid_max + slack
        if len(physical) and (physical.min() < low or physical.max() > high):
            report.add(where, f"values {physical.min():g} ... {physical.max():g} outside the possible range")
        report.count("chunks", codes.shape[0])


def _chip_codes(
    folder: DatasetFolder, layer: Layer, array: Array, unit: Unit, shard: ShardFile, only: int | None = None
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (chip of the unit, codes (slot, band, y, x)) of all chips, or of ``only`` one; missing chunks are fill."""
    n_slots = unit.last_slot - unit.first_slot
    n_chips = unit.last_row - unit.first_row
    codec = ChunkCodec(array.encoding.dtype)
    grid = array_grid(layer, array)
    index = None
    if shard.bytes:
        index = decode_index(folder.blobs.get(shard.path, -index_size(grid)), grid, where=shard.path)
    shape = chunk_shape(layer, array)[1:] if not layer.is_static else (1, *chunk_shape(layer, array)[1:])
    for chip in range(n_chips) if only is None else [only]:
        codes = np.full(
            (n_slots, array.n_bands, layer.size, layer.size), array.encoding.fill_value, array.encoding.dtype
        )
        if index is not None:
            places = index[chip] if not layer.is_static else index[chip][None]
            for t, b in np.ndindex(*places.shape[:2]):
                start, length = (int(v) for v in places[t, b, 0, 0])
                if length == MISSING:
                    continue
                payload = folder.blobs.get(shard.path, start, length)
                chunk = codec.decode(payload, shape, where=f"{shard.path}, chip {chip} of the shard")
                slots = slice(t * shape[0], min((t + 1) * shape[0], n_slots))
                bands = slice(b * array.band_chunk, (b + 1) * array.band_chunk)
                codes[slots, bands] = chunk[: slots.stop - slots.start]
        yield chip, codes


def _rederive(
    folder: DatasetFolder, plan: Plan, layer_plan: LayerPlan, damaged: set[str], report: Report, *, n: int, seed: int
) -> None:
    """Make a sample of chips again from the source and compare every stored code."""
    layer = layer_plan.layer
    rng = random.Random(f"{seed}{layer.name}")
    units = list(layer_plan.units(len(plan.cells)))
    try:
        source = open_source(layer_plan.source)
        for _ in range(n):
            unit = rng.choice(units)
            names = {
                a.variable.name: shard_name(layer.name, a.variable.name, _place(layer, unit)) for a in layer.arrays
            }
            if damaged & set(names.values()):
                continue
            row = rng.randrange(unit.first_row, unit.last_row)
            slot_index = rng.randrange(unit.last_slot - unit.first_slot)
            cell = plan.cells[row : row + 1]
            slots, items = items_of(cell, layer_plan, unit)
            geobox = cut(cell, np.array([0]))[0].geobox(layer.pitch)
            made = derive(source, layer, items[0][slot_index], geobox, slots[slot_index], skip_damaged=True)
            for array in layer.arrays:
                look = made.looks[array.variable.name]
                fill = np.full((array.n_bands, *geobox.shape), array.encoding.fill_value, array.encoding.dtype)
                expected = fill if look is None else encode(look.values, look.valid, array.encoding).codes
                stored = _stored(folder, layer, array, unit, names[array.variable.name], row - unit.first_row)
                if not np.array_equal(stored[slot_index], expected, equal_nan=array.encoding.fill is None):
                    n_off = int((stored[slot_index] != expected).sum())
                    report.add(
                        f"{layer.name}.{array.variable.name}, chip {cell.ids()[0]}, {slots[slot_index].label}",
                        f"{n_off} values differ from what the source gives now",
                    )
            report.count("chips re-derived")
    except PrepError as error:
        report.notes.append(f"{layer.name}: could not be re-derived here ({error.message})")


def _stored(folder: DatasetFolder, layer: Layer, array: Array, unit: Unit, name: str, chip: int) -> NDArray[Any]:
    size = folder.blobs.size(name) or 0
    return next(codes for _, codes in _chip_codes(folder, layer, array, unit, ShardFile(name, size, ""), chip))

"""Closing a dataset: tables, companions, metadata and manifest, from the ledger alone. Reads no pixels."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.plan import FORMAT_VERSION, LayerPlan, Plan, digest_of
from m3leo_prep.core.raster import Item
from m3leo_prep.pipeline.state import STATE, DatasetFolder
from m3leo_prep.pipeline.unit import NO_TIME, make_task
from m3leo_prep.store.ledger import Record, ShardFile
from m3leo_prep.store.metadata import (
    TIME_FILL,
    ChipColumns,
    Companion,
    array_names,
    quality,
    time_attributes,
    write_hierarchy,
)
from m3leo_prep.store.shard import ZARR, sha256_of
from m3leo_prep.store.tables import provenance_name, write_chips, write_shards, write_table
from m3leo_prep.store.zarr_array import to_json

PROVENANCE_CHIPS = 4096
"""Chips per part of a layer's provenance."""
LIBRARIES = ("m3leo-prep", "numpy", "numba", "pyproj", "shapely", "odc-geo", "numcodecs", "rasterio", "pyarrow", "zarr")
NO_ORBIT = -1
DIRECTIONS = {"ascending": 0, "descending": 1}
NO_DIRECTION = 255


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

    def described(self) -> Layer:
        """Return the layer with what is known only after reading."""
        return replace(
            self.plan.layer, attributes=dict(self.plan.layer.attributes) | {"coordinate_operation": self.operations}
        )


def finalize(folder: DatasetFolder, plan: Plan, current: AbstractSet[str] = frozenset()) -> int:
    """Write everything but the shards for the layers that are complete; return the number of retryable holes.

    The manifest goes last: a reader sees the dataset as it was before, or as it is now.

    Args:
        folder: the dataset.
        plan: its plan.
        current: ids of units whose record is known to be the plan's; those of the others are compared by digest.
    """
    records = folder.ledger.records()
    done = [rows for layer in plan.layers if (rows := _stitch(plan, layer, records, current)) is not None]
    if not done:
        return 0
    x0, y0 = plan.cells.upper_left()
    chips = ChipColumns(plan.cells.epsg, x0.astype(np.int32), y0.astype(np.int32))
    companions = {rows.plan.layer.name: _companions(rows) for rows in done}
    about = {"dataset": plan.recipe.name, "area": plan.area.name, "format_version": FORMAT_VERSION}
    write_hierarchy(folder.blobs, [rows.described() for rows in done], chips, companions, attributes=about)
    ids = plan.cells.ids()
    for rows in done:
        _remove_stale(folder, rows, companions[rows.plan.layer.name])
    _write_chips(folder, plan, ids, done)
    for rows in done:
        _write_provenance(folder, ids, rows)
    shards = [shard for rows in done for shard in rows.shards]
    write_shards(folder.blobs, shards)
    recipe = yaml.safe_dump(_resolved(plan), sort_keys=False, allow_unicode=True)
    folder.blobs.put("recipe.yaml", recipe.encode())
    folder.blobs.put("manifest.json", to_json(_manifest(folder, plan, done, shards)))
    return sum(rows.retryable for rows in done)


def _resolved(plan: Plan) -> dict[str, Any]:
    """Return the recipe with every choice that changes pixels written out, as it was made."""
    written = plan.recipe.resolved()
    for layer in plan.layers:
        chosen = written["layers"][layer.layer.name]
        arrays = layer.layer.arrays
        chosen["resolution"] = layer.layer.pitch
        made: dict[str, set[Any]] = {
            "resampling": {array.method for array in arrays},
            "statistic": {array.statistic for array in arrays},
            "band_chunk": {array.band_chunk for array in arrays},
        }
        # Several variables with several defaults cannot be written in one key.
        chosen |= {key: values.pop() for key, values in made.items() if len(values) == 1}
    return written


def _stitch(plan: Plan, layer: LayerPlan, records: dict[str, Record], current: AbstractSet[str]) -> LayerRows | None:
    """Return a layer's rows, or None while any of its units is missing or made of something else."""
    n, slots = len(plan.cells), len(layer.layer.slots)
    rank = {item.id: i for i, item in enumerate(layer.items)}
    arrays: dict[str, NDArray[Any]] = {}
    used: list[list[list[int]]] = [[[] for _ in range(slots)] for _ in range(n)]
    shards: list[ShardFile] = []
    operations: dict[str, str] = {}
    retryable = 0
    for unit in layer.units(n):
        record = records.get(unit.id)
        if record is None:
            return None
        if unit.id not in current:
            cells = plan.cells[unit.first_row : unit.last_row]
            if record.digest != make_task(cells, layer, unit, None).digest:
                return None
        loaded = dict(record.arrays)
        names = [rank[name] for name in record.info["items"]]
        flat, counts = iter(loaded.pop("used").tolist()), loaded.pop("used_count")
        loaded.pop("chip_digests")
        rows = np.s_[unit.first_row : unit.last_row, unit.first_slot : unit.last_slot]
        for chip, row in enumerate(range(unit.first_row, unit.last_row)):
            for position, slot in enumerate(range(unit.first_slot, unit.last_slot)):
                used[row][slot] = sorted(names[next(flat)] for _ in range(int(counts[chip, position])))
        for name, values in loaded.items():
            if name not in arrays:
                arrays[name] = np.empty((n, slots, *values.shape[2:]), values.dtype)
            arrays[name][rows] = values
        shards.extend(record.shards)
        operations |= record.info["operations"]
        retryable += record.retryable
    return LayerRows(layer, arrays, used, tuple(shards), retryable, dict(sorted(operations.items())))


def _remove_stale(folder: DatasetFolder, rows: LayerRows, companions: dict[str, Companion]) -> None:
    """Delete what an earlier form of a layer left behind; everything of its present form is in place by now."""
    layer = rows.plan.layer
    shards = {shard.path for shard in rows.shards}
    pixels = {array.variable.name for array in layer.arrays}
    small = array_names(layer, companions) - pixels
    base = f"{ZARR}/{layer.name}/"
    for name in list(folder.blobs.list(base.rstrip("/"))):
        array, _, rest = name.removeprefix(base).partition("/")
        keep = name in shards or array in small or not rest or (array in pixels and rest == "zarr.json")
        if not keep:
            folder.blobs.delete(name)


def _companions(rows: LayerRows) -> dict[str, Companion]:
    layer = rows.plan.layer
    made: dict[str, Companion] = {}
    squeeze = np.s_[:, 0] if layer.is_static else np.s_[:]
    axes = ("chip",) if layer.is_static else ("chip", "time")
    for array in layer.arrays:
        name = array.variable.name
        reason, valid = (rows.arrays[f"{part}.{name}"][squeeze] for part in ("reason", "valid"))
        made |= quality(layer, array, reason, valid)
    made["count"] = Companion(rows.arrays["acquisitions"][squeeze], axes, {"long_name": "acquisitions used"})
    times = rows.arrays["times"][squeeze]
    if (times != NO_TIME).any():
        seconds = np.where(times == NO_TIME, TIME_FILL, times // 10**9)
        for position, word in enumerate(("first", "mean", "last")):
            text = f"{word} acquisition used (UTC)"
            made[f"{word}_time"] = Companion(seconds[..., position], axes, time_attributes(text), TIME_FILL)
    return made | _orbits(rows, axes)


def _orbits(rows: LayerRows, axes: tuple[str, ...]) -> dict[str, Companion]:
    """Return orbit companions where the items know their orbit and a chip's acquisitions agree on it."""
    made: dict[str, Companion] = {}
    items = rows.plan.items
    if any("relative_orbit" in item.properties for item in items):
        orbit = [int(item.properties.get("relative_orbit", NO_ORBIT)) for item in items]
        values = _agreed(rows, orbit, NO_ORBIT).astype(np.int16)
        text = {"long_name": "relative orbit of all acquisitions used", "no_single_orbit": NO_ORBIT}
        made["relative_orbit"] = Companion(values if len(axes) > 1 else values[:, 0], axes, text, NO_ORBIT)
    if any("orbit_direction" in item.properties for item in items):
        codes = [DIRECTIONS.get(str(item.properties.get("orbit_direction")), NO_DIRECTION) for item in items]
        values = _agreed(rows, codes, NO_DIRECTION).astype(np.uint8)
        text = {
            "long_name": "orbit direction of all acquisitions used",
            "flag_values": [*DIRECTIONS.values(), NO_DIRECTION],
            "flag_meanings": " ".join([*DIRECTIONS, "mixed_or_none"]),
        }
        made["orbit_direction"] = Companion(values if len(axes) > 1 else values[:, 0], axes, text, NO_DIRECTION)
    return made


def _agreed(rows: LayerRows, of_item: list[int], otherwise: int) -> NDArray[np.int64]:
    """Return (chip, slot) the one value that all used items share."""
    shared = [[{of_item[i] for i in used} for used in chip] for chip in rows.items]
    return np.array([[values.pop() if len(values) == 1 else otherwise for values in chip] for chip in shared], np.int64)


def _write_chips(folder: DatasetFolder, plan: Plan, ids: list[str], done: list[LayerRows]) -> str:
    cells = plan.cells
    x0, y0 = cells.upper_left()
    lon, lat = cells.lon_lat()
    columns: dict[str, Any] = {
        "chip_id": np.array(ids),
        "row": np.arange(len(cells), dtype=np.int64),
        "epsg": cells.epsg,
        "x0": x0.astype(np.int32),
        "y0": y0.astype(np.int32),
        "lon": lon,
        "lat": lat,
        "area_km2": cells.area_km2(),
        "owned_fraction": cells.owned_fraction(),
        "zone_shared": cells.zone_shared(),
        "split": pa.nulls(len(cells), pa.string()),
    }
    for rows in done:
        parts = [rows.arrays[f"valid.{a.variable.name}"].reshape(len(cells), -1) for a in rows.plan.layer.arrays]
        columns[f"valid_{rows.plan.layer.name}"] = (
            np.concatenate(parts, axis=1).mean(axis=1, dtype=np.float64).astype(np.float32)
        )
    return write_chips(folder.blobs, "chips.parquet", columns, cells.polygons())


def _write_provenance(folder: DatasetFolder, ids: list[str], rows: LayerRows) -> None:
    """Write one row per chip x slot x band: why, how much, from what."""
    for part, start in enumerate(range(0, len(ids), PROVENANCE_CHIPS)):
        chips = range(start, min(start + PROVENANCE_CHIPS, len(ids)))
        tables = [_provenance(ids, rows, array, chips) for array in rows.plan.layer.arrays]
        write_table(folder.blobs, provenance_name(rows.plan.layer.name, part), pa.concat_tables(tables))


def _provenance(ids: list[str], rows: LayerRows, array: Array, chips: range) -> pa.Table:
    layer, items = rows.plan.layer, rows.plan.items
    name = array.variable.name
    slots = [slot.label for slot in layer.slots]
    block = slice(chips.start, chips.stop)
    repeat = array.n_bands
    used = [rows.items[chip][slot] for chip in chips for slot in range(len(slots))]
    offsets = np.concatenate([[0], np.repeat([len(u) for u in used], repeat).cumsum()]).astype(np.int32)
    flat = [item for u in used for _ in range(repeat) for item in u]
    lists = {
        "items": pa.array([items[i].id for i in flat], pa.string()),
        "datetimes": pa.array([items[i].datetime for i in flat], pa.timestamp("us", "UTC")),
        "versions": pa.array([items[i].version for i in flat], pa.string()),
        "relative_orbits": pa.array([_orbit(items[i]) for i in flat], pa.int32()),
    }
    n = len(chips) * len(slots)
    altered = rows.arrays[f"altered.{name}"][block].reshape(-1, 2)
    columns: dict[str, Any] = {
        "chip_id": np.repeat(ids[block], len(slots) * repeat).tolist(),
        "slot": np.tile(np.repeat(slots, repeat), len(chips)).tolist(),
        "variable": [name] * (n * repeat),
        "band": list(array.variable.bands) * n,
        "reason": rows.arrays[f"reason.{name}"][block].reshape(-1),
        "valid_fraction": rows.arrays[f"moments.{name}"][block][..., 0].reshape(-1).astype(np.float32)
        / np.float32(layer.size**2),
        "n_observations": np.repeat(rows.arrays["acquisitions"][block].reshape(-1), repeat),
        "n_out_of_range": altered[:, 0],
        "n_floored": altered[:, 1],
    }
    table = {key: pa.array(values) for key, values in columns.items()}
    return pa.table(table | {key: pa.ListArray.from_arrays(offsets, values) for key, values in lists.items()})


def _orbit(item: Item) -> int | None:
    value = item.properties.get("relative_orbit")
    return None if value is None else int(value)


def _manifest(folder: DatasetFolder, plan: Plan, done: list[LayerRows], shards: list[ShardFile]) -> dict[str, Any]:
    layers = {rows.plan.layer.name: _layer_manifest(rows) for rows in done}
    listed = {shard.path for shard in shards}
    manifest = {
        "format_version": FORMAT_VERSION,
        "dataset_id": digest_of([plan.recipe.name, plan.area.name, plan.recipe.grid.model_dump()])[:16],
        "name": plan.recipe.name,
        "area": {"name": plan.area.name, "source": plan.area.source, "licence": plan.area.licence},
        "grid": plan.recipe.grid.model_dump(),
        "n_chips": len(plan.cells),
        "split_policy": plan.recipe.splits.policy,
        "layers": layers,
        "shards": {"count": len(shards), "bytes": sum(shard.bytes for shard in shards)},
        "libraries": _libraries(),
        "files": {name: sha256_of(folder.blobs, name) for name in _small_files(folder, listed, layers.keys())},
    }
    return manifest | {"manifest_digest": digest_of(manifest)}


def _small_files(folder: DatasetFolder, shards: set[str], layers: AbstractSet[str]) -> Iterator[str]:
    """Yield every published file of finished layers but the shards (which have their own table) and the manifest."""
    for name in folder.blobs.list():
        top, _, below = name.partition("/")
        unfinished = top in {ZARR, "provenance"} and "/" in below and below.split("/")[0] not in layers
        if name not in shards and name != "manifest.json" and top != STATE and not unfinished:
            yield name


def _layer_manifest(rows: LayerRows) -> dict[str, Any]:
    plan, layer = rows.plan, rows.described()
    return {
        "role": layer.role,
        "pitch": layer.pitch,
        "size": layer.size,
        "slots": [
            {"label": s.label, "start": s.start and s.start.isoformat(), "end": s.end and s.end.isoformat()}
            for s in layer.slots
        ],
        "shard_chips": layer.shard_chips,
        "shard_slots": layer.shard_slots,
        "chunk_slots": layer.chunk_slots,
        "arrays": [_array_manifest(array) for array in layer.arrays],
        "attributes": dict(layer.attributes),
        "source": plan.source.name,
        "source_version": plan.source_version,
        "operations": dict(plan.op_versions),
        "settings_digest": digest_of(plan.settings()),
        "n_items": len(plan.items),
        "items_digest": digest_of([[item.id, item.version] for item in plan.items]),
        "licence": plan.licence,
        "citation": plan.citation,
    }


def _array_manifest(array: Array) -> dict[str, Any]:
    encoding, variable = array.encoding, array.variable
    return {
        "name": variable.name,
        "kind": str(variable.kind),
        "bands": list(variable.bands),
        "unit": encoding.unit,
        "dtype": encoding.dtype,
        "fill": encoding.fill,
        "scale": encoding.scale,
        "transform": encoding.transform,
        "valid_min": _finite(encoding.valid_min),
        "valid_max": _finite(encoding.valid_max),
        "band_chunk": array.band_chunk,
        "method": array.method,
        "statistic": array.statistic,
        "max_error": encoding.max_error,
        "legend": [{"code": c.code, "name": c.name, "color": c.color} for c in variable.legend],
        "attributes": dict(variable.attributes),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def manifest_digest(manifest: dict[str, Any]) -> str:
    """Return what ``manifest_digest`` must be for a manifest read back."""
    return digest_of({key: value for key, value in manifest.items() if key != "manifest_digest"})

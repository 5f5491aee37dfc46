"""Closing a dataset: tables, companions, metadata and manifest, from the ledger alone. Reads no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from m3leo_prep.core.defaults import is_count
from m3leo_prep.core.errors import StoreError
from m3leo_prep.core.format import FORMAT_VERSION
from m3leo_prep.core.layer import Array
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.raster import Item
from m3leo_prep.core.sample import clusters_of
from m3leo_prep.pipeline.companions import companions
from m3leo_prep.pipeline.manifest import described, make_manifest
from m3leo_prep.pipeline.proportions.about import admin_document, proportions_document
from m3leo_prep.pipeline.proportions.admin import Admin, admin_of
from m3leo_prep.pipeline.proportions.columns import chip_columns
from m3leo_prep.pipeline.proportions.groups import find_targets
from m3leo_prep.pipeline.proportions.units import remove_units, write_units
from m3leo_prep.pipeline.rows import LayerRows, stitch
from m3leo_prep.pipeline.splitting.columns import MAIN, Column, columns_of, rank_name, ranks, write_regions
from m3leo_prep.pipeline.splitting.resolve import KEYS
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.statistics.written import write_statistics
from m3leo_prep.store.metadata import (
    ChipColumns,
    Companion,
    array_names,
    write_hierarchy,
)
from m3leo_prep.store.shard import ZARR
from m3leo_prep.store.tables import provenance_name, write_chips, write_shards, write_table
from m3leo_prep.store.zarr_array import to_json

PROVENANCE_CHIPS = 4096
"""Chips per part of a layer's provenance."""


def finalize(
    folder: DatasetFolder, plan: Plan, current: AbstractSet[str] = frozenset(), admin: Admin | None = None
) -> int:
    """Write everything but the shards for the layers that are complete; return the number of retryable holes.

    The manifest goes last: a reader sees the dataset as it was before, or as it is now.

    Args:
        folder: the dataset.
        plan: its plan.
        current: ids of units whose record is known to be the plan's; those of the others are compared by digest.
        admin: the plan's administrative units, where they are known already.
    """
    records = folder.ledger.records()
    done = [rows for layer in plan.layers if (rows := stitch(plan, layer, records, current)) is not None]
    if not done:
        return 0
    x0, y0 = plan.cells.upper_left()
    chips = ChipColumns(plan.cells.epsg, x0.astype(np.int32), y0.astype(np.int32))
    beside = {rows.plan.layer.name: companions(rows) for rows in done}
    before = _before(folder)
    if before and "card" in before:  # it tells of the dataset as it was
        for name in described(before["files"]):
            folder.blobs.delete(name)
    about = {"dataset": plan.recipe.name, "area": plan.area.name, "format_version": FORMAT_VERSION}
    write_hierarchy(folder.blobs, [rows.described() for rows in done], chips, beside, attributes=about)
    ids = plan.cells.ids()
    for rows in done:
        _remove_stale(folder, rows, beside[rows.plan.layer.name])
    admin = admin or admin_of(plan)
    splits = columns_of(plan, before, folder.blobs)
    _write_chips(folder, plan, ids, done, admin, splits)
    write_regions(folder.blobs, splits)
    if admin is None:
        remove_units(folder)
    else:
        write_units(folder, plan, admin, ids, done)
    for rows in done:
        _write_provenance(folder, ids, rows)
    shards = [shard for rows in done for shard in rows.shards]
    write_shards(folder.blobs, shards)
    write_statistics(folder.blobs, plan, done)
    recipe = yaml.safe_dump(_resolved(plan), sort_keys=False, allow_unicode=True)
    folder.blobs.put("recipe.yaml", recipe.encode())
    told = {split.name: split.entry() for split in splits}
    labels = {"proportions": proportions_document(plan), "admin": None if admin is None else admin_document(admin)}
    folder.blobs.put("manifest.json", to_json(make_manifest(folder, plan, done, shards, {"splits": told} | labels)))
    return sum(rows.retryable for rows in done)


def _before(folder: DatasetFolder) -> dict[str, Any] | None:
    """Return the manifest of the dataset as it was closed before, which alone names the splits that were added."""
    try:
        return folder.manifest
    except ValueError as error:
        raise StoreError(
            f"manifest.json is damaged: {error}",
            where=str(folder.path),
            hint="put it back from a copy; or delete it, and with it the splits that were added later, and build again",
        ) from error


def _resolved(plan: Plan) -> dict[str, Any]:
    """Return the recipe with every choice that changes pixels written out, as it was made."""
    written = plan.recipe.resolved()
    if plan.splits is not None:
        known = KEYS[plan.splits.policy]
        sizes = {"block_km": plan.splits.block_km, "buffer_km": plan.splits.buffer_km}
        # A distance that is written out was chosen by the correlation length already.
        written["splits"] |= {key: size for key, size in sizes.items() if key in known} | {"correlation_km": None}
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


def _remove_stale(folder: DatasetFolder, rows: LayerRows, beside: dict[str, Companion]) -> None:
    """Delete what an earlier form of a layer left behind; everything of its present form is in place by now."""
    layer = rows.plan.layer
    shards = {shard.path for shard in rows.shards}
    pixels = {array.variable.name for array in layer.arrays}
    small = array_names(layer, beside) - pixels
    base = f"{ZARR}/{layer.name}/"
    for name in list(folder.blobs.list(base.rstrip("/"))):
        array, _, rest = name.removeprefix(base).partition("/")
        keep = name in shards or array in small or not rest or (array in pixels and rest == "zarr.json")
        if not keep:
            folder.blobs.delete(name)


def _write_chips(
    folder: DatasetFolder,
    plan: Plan,
    ids: list[str],
    done: list[LayerRows],
    admin: Admin | None,
    splits: Sequence[Column],
) -> str:
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
        MAIN: pa.nulls(len(cells), pa.string()),
    }
    columns |= {split.name: split.values() for split in splits if split.name == MAIN}
    if plan.sample is not None and plan.sample.edge is not None:
        clusters = clusters_of(cells, plan.sample.edge)
        columns["cluster"] = np.array(clusters.names())[clusters.member]
    for rows in done:
        # A count is there wherever somebody looked, through clouds or not.
        there = [array.variable.name for array in rows.plan.layer.arrays if not is_count(array)]
        parts = [rows.arrays[f"valid.{name}"].reshape(len(cells), -1) for name in there]
        columns[f"valid_{rows.plan.layer.name}"] = (
            np.concatenate(parts, axis=1).mean(axis=1, dtype=np.float64).astype(np.float32)
        )
    if admin is not None:
        units = [*admin.names, None]
        columns[f"admin_{admin.model.name}"] = pa.array([units[k] for k in admin.bag.tolist()], pa.string())
    targets = find_targets([layer.layer for layer in plan.layers], plan.recipe.proportions)
    rows_by_name = {rows.plan.layer.name: rows for rows in done}
    columns |= chip_columns(targets, rows_by_name, plan.recipe.proportions.min_valid)
    ranked = ranks(splits, cells, rows_by_name, columns)
    for split in splits:  # in the order in which `split` adds them
        columns |= {split.name: split.values(), rank_name(split.name): ranked[rank_name(split.name)]}
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
    if rows.orbit_files:
        lists["orbit_files"] = pa.array([rows.orbit_files.get(items[i].id) for i in flat], pa.string())
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

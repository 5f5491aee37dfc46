"""Pixels that the tables of units need: of label rasters inside units, and of chips at seams. Read once, then kept.

What was read is kept in ``.m3leo/units/`` under a digest of what it follows from, so that a build that is run again and
``finalize`` read nothing again. A unit is read again where its shape changes, or what the plan knows to lie in it:
items beyond the area are in no plan, and count as they are on the day the unit is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.encoding import decode
from m3leo_prep.core.errors import ConfigError, CredentialsError, PrepError, QuotaReached, SourceError, StoreError
from m3leo_prep.core.grid import owned_mask
from m3leo_prep.core.layer import Array
from m3leo_prep.core.plan import LayerPlan, Plan, digest_of
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.proportions.admin import Admin, admin_of
from m3leo_prep.pipeline.proportions.coverage import can_cover, cover
from m3leo_prep.pipeline.proportions.groups import Target, array_of, find_targets
from m3leo_prep.pipeline.rows import is_current
from m3leo_prep.pipeline.state import STATE, DatasetFolder
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.pixels.shards import ShardReader
from m3leo_prep.store.ledger import Record, ShardFile
from m3leo_prep.store.tables import read_table, write_table

KEPT = f"{STATE}/units"
VERSION = 2
"""Bumped when the same input gives other numbers."""
Floats = NDArray[np.float64]
Step = Callable[[str, int, int], None]
"""Is told of a layer how many blocks of its units are read, and of how many."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The units of a plan, and what kept a source from telling what is in them."""

    admin: Admin | None
    trouble: PrepError | None = None

    def raise_trouble(self) -> None:
        """Raise what a source refused with.

        Raises:
            SourceError, CredentialsError, ConfigError: from the source.
        """
        error = self.trouble
        if error is None:
            return
        message = (
            f"the labels of whole administrative units could not be read: {error.message} "
            "(the dataset is built and closed; units.parquet lacks what the units themselves hold)"
        )
        hint = f"{error.hint + '; then ' if error.hint else ''}run the same command again"
        if isinstance(error, QuotaReached):
            raise QuotaReached(message, until=error.until, hint=hint, where=error.where) from error
        raise type(error)(message, hint=hint, where=error.where) from error


def measure(
    folder: DatasetFolder,
    plan: Plan,
    current: AbstractSet[str] = frozenset(),
    step: Step = lambda _layer, _done, _of: None,
) -> Measured:
    """Return the units of a plan, after reading what their tables need of the label layers that are built.

    Args:
        folder: the dataset.
        plan: its plan.
        current: as for ``finalize``.
        step: called before each block of ground is read.

    Raises:
        ConfigError: the file of units cannot be used.
        StoreError, VerifyError: stored chips cannot be read.
    """
    admin = admin_of(plan)
    if admin is None:
        return Measured(None)
    trouble: PrepError | None = None
    records = folder.ledger.records()
    for layer in plan.layers:
        targets = targets_of(plan, layer)
        shards = _shards(plan, layer, records, current) if targets else None
        if shards is None:
            continue
        read_seams(folder, plan, layer, targets, seam_rows(plan, admin), shards)
        try:
            _read_units(folder, layer, targets, admin, partial(step, layer.layer.name))
        except (SourceError, CredentialsError, ConfigError) as error:  # what chips say stands without it
            trouble = trouble or error
    return Measured(admin, trouble)


def _shards(
    plan: Plan, layer: LayerPlan, records: Mapping[str, Record], current: AbstractSet[str]
) -> list[ShardFile] | None:
    """Return the shards of a layer, None where one is not built, or is of something else than the plan says."""
    found: list[ShardFile] = []
    for unit in layer.units(len(plan.cells)):
        record = records.get(unit.id)
        if record is None or not is_current(plan, layer, unit, record, current):
            return None
        found.extend(record.shards)
    return found


def targets_of(plan: Plan, layer: LayerPlan) -> list[Target]:
    """Return what is told of a layer."""
    made = find_targets([one.layer for one in plan.layers], plan.recipe.proportions)
    return [target for target in made if target.layer == layer.layer.name]


def covered(layer: LayerPlan, targets: Sequence[Target]) -> list[Target]:
    """Return the targets that can be told of a unit from the source's own pixels."""
    return [target for target in targets if can_cover(array_of(layer.layer, target))]


def held_by_units(
    folder: DatasetFolder, layer: LayerPlan, targets: Sequence[Target], admin: Admin
) -> dict[str, Floats] | None:
    """Return by target's name what ``cover`` found, or None if it was not read yet."""
    own = covered(layer, targets)
    kept = _kept(folder, _units_name(layer, own))
    keys = _keys(layer, admin)
    if any(key not in kept for key in keys):
        return None
    width = sum(len(target.classes) or 2 for target in own)
    return _split(own, np.array([kept[key] for key in keys]).reshape(len(keys), width))


def seam_rows(plan: Plan, admin: Admin) -> NDArray[np.intp]:
    """Return the chips of bags that own only a part of their ground."""
    return np.flatnonzero((plan.cells.owned_fraction() < 1) & (admin.bag >= 0))


def read_seams(
    folder: DatasetFolder,
    plan: Plan,
    layer: LayerPlan,
    targets: Sequence[Target],
    rows: NDArray[np.intp],
    shards: Sequence[ShardFile],
) -> dict[str, Floats]:
    """Return by target's name what the owned pixels of chips hold, (chip, ...) as ``columns.chip_counts``."""
    made_of = [sorted((s.path, s.sha256) for s in shards), rows.tolist(), [asdict(t) for t in targets], VERSION]
    name = f"{KEPT}/seams-{layer.layer.name}-{digest_of(made_of)[:16]}.parquet"
    kept = _kept(folder, name)
    if len(rows) and not kept:
        reader = ShardReader(folder.blobs, sizes={shard.path: shard.bytes for shard in shards})
        held = [_owned(reader, plan, layer, targets, row) for row in rows.tolist()]
        kept = dict(zip(map(str, rows.tolist()), held, strict=True))
        _keep(folder, name, kept)
    width = sum(len(target.classes) or 2 for target in targets)
    return _split(targets, np.array([kept[str(row)] for row in rows.tolist()]).reshape(len(rows), width))


def _read_units(
    folder: DatasetFolder,
    layer: LayerPlan,
    targets: Sequence[Target],
    admin: Admin,
    step: Callable[[int, int], None],
) -> None:
    own = covered(layer, targets)
    name = _units_name(layer, own)
    kept = _kept(folder, name)
    keys = _keys(layer, admin)
    missing = [k for k, key in enumerate(keys) if key not in kept]
    if own and missing:
        found = np.concatenate(cover(layer, own, admin.shapes[missing], open_source(layer.source), step), axis=1)
        kept |= {keys[k]: row for k, row in zip(missing, found, strict=True)}
        _keep(folder, name, {key: kept[key] for key in keys})


def _units_name(layer: LayerPlan, targets: Sequence[Target]) -> str:
    """Return the name under which what a layer holds in units is kept; slots are told by all of them."""
    slots = [[slot.label, str(slot.start), str(slot.end)] for slot in layer.layer.slots]
    made_of = [layer.settings(), layer.pitch, slots, [asdict(target) for target in targets], VERSION]
    return f"{KEPT}/units-{layer.layer.name}-{digest_of(made_of)[:16]}.parquet"


def _keys(layer: LayerPlan, admin: Admin) -> list[str]:
    """Return a digest of each unit's shape and of the items in it, so that growth elsewhere leaves it as it is."""
    shapely.prepare(admin.shapes)
    unit, item = shapely.STRtree([item.footprint for item in layer.items]).query(admin.shapes, predicate="intersects")
    told: list[list[list[str]]] = [[] for _ in admin.names]
    for k, one in sorted(zip(unit.tolist(), item.tolist(), strict=True)):
        told[k].append([layer.items[one].id, layer.items[one].version])
    wkb = shapely.to_wkb(admin.shapes, byte_order=1)
    return [digest_of([hashlib.sha256(one).hexdigest(), items]) for one, items in zip(wkb, told, strict=True)]


def _kept(folder: DatasetFolder, name: str) -> dict[str, Floats]:
    try:
        table = read_table(folder.blobs, name)
    except (FileNotFoundError, StoreError):  # a damaged one is read from the source again
        return {}
    return dict(zip(table["key"].to_pylist(), map(np.array, table["held"].to_pylist()), strict=True))


def _keep(folder: DatasetFolder, name: str, kept: Mapping[str, Floats]) -> None:
    """Write what was read, and remove what was read of an earlier form of the layer."""
    columns = {"key": pa.array(list(kept), pa.string())}
    columns["held"] = pa.array([row.tolist() for row in kept.values()], pa.list_(pa.float64()))
    write_table(folder.blobs, name, pa.table(columns))
    kind = name.rpartition("-")[0]
    for other in list(folder.blobs.list(KEPT)):
        if other.rpartition("-")[0] == kind and other != name:
            folder.blobs.delete(other)


def _split(targets: Sequence[Target], held: Floats) -> dict[str, Floats]:
    widths = [len(target.classes) or 2 for target in targets]
    parts = np.split(held, np.cumsum(widths)[:-1], axis=1) if targets else []
    return {target.name: part for target, part in zip(targets, parts, strict=True)}


def _owned(reader: ShardReader, plan: Plan, layer: LayerPlan, targets: Sequence[Target], row: int) -> Floats:
    """Return what the owned pixels of one chip hold, all targets one after the other."""
    cells = plan.cells
    mine = owned_mask(plan.grid, int(cells.epsg[row]), int(cells.col[row]), int(cells.row[row]), layer.layer.pitch)
    parts = []
    for target in targets:
        array = array_of(layer.layer, target)
        codes = reader.read(_stored(layer), _stored_array(array), row, [target.slot], [target.band])
        values, valid = decode(codes.reshape(mine.shape), array.encoding)
        held = values[valid & mine]
        if target.what == "prop":
            by_code = np.bincount(held, minlength=256)
            parts += [float(by_code[list(some)].sum()) for some in target.classes.values()]
        else:
            parts += [float(len(held)), float(held.sum(dtype=np.float64))]
    return np.array(parts)


def _stored(plan: LayerPlan) -> StoredLayer:
    layer = plan.layer
    arrays = {array.variable.name: _stored_array(array) for array in layer.arrays}
    shard = (layer.shard_chips, layer.shard_slots, layer.chunk_slots)
    return StoredLayer(layer.name, layer.role, layer.pitch, layer.size, layer.slots, *shard, arrays)


def _stored_array(array: Array) -> StoredArray:
    variable, encoding = array.variable, array.encoding
    how = (encoding.unit, encoding.dtype, encoding.fill, encoding.scale)
    return StoredArray(variable.name, str(variable.kind), variable.bands, *how, array.band_chunk, codec=array.codec)

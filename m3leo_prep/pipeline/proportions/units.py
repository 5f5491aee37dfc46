"""The tables of administrative units: what their land holds by the labels, and what the built chips of it hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from m3leo_prep.core.plan import Plan
from m3leo_prep.pipeline.proportions.admin import Admin
from m3leo_prep.pipeline.proportions.columns import chip_counts, is_enough, told, valid_of
from m3leo_prep.pipeline.proportions.groups import Target
from m3leo_prep.pipeline.proportions.measure import covered, held_by_units, read_seams, seam_rows, targets_of
from m3leo_prep.pipeline.rows import LayerRows
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.store.tables import write_chips, write_table

UNITS = "units.parquet"
CHIP_UNITS = "chip_units.parquet"
NOT_READ = "the source could not be read: run the same build again"

Floats = NDArray[np.float64]


def remove_units(folder: DatasetFolder) -> None:
    """Delete the tables of units that a recipe no longer asks for."""
    for name in (UNITS, CHIP_UNITS):
        if folder.blobs.size(name) is not None:
            folder.blobs.delete(name)


def write_units(folder: DatasetFolder, plan: Plan, admin: Admin, ids: Sequence[str], done: Sequence[LayerRows]) -> None:
    """Write ``units.parquet`` and ``chip_units.parquet``.

    Args:
        folder: the dataset.
        plan: its plan.
        admin: its units.
        ids: of the chips.
        done: the finished layers.
    """
    pairs, n = admin.pairs, len(admin.names)
    ground = plan.cells.area_km2()
    names = np.array(admin.names, object)
    overlaps = {
        "chip_id": pa.array([ids[k] for k in pairs.chip.tolist()], pa.string()),
        "row": pa.array(pairs.chip),
        "unit": pa.array(names[pairs.unit].tolist(), pa.string()),
        "area_km2": pa.array(pairs.area),
        "share_of_chip": pa.array(np.minimum(1, pairs.area / ground[pairs.chip])),
        "share_of_unit": pa.array(np.minimum(1, pairs.area / admin.area[pairs.unit])),
    }
    write_table(folder.blobs, CHIP_UNITS, pa.table(overlaps))
    covers = np.bincount(pairs.unit, weights=pairs.area, minlength=n) / admin.area
    columns: dict[str, Any] = {
        "unit": pa.array(admin.names, pa.string()),
        "area_km2": admin.area,
        "n_chips": np.bincount(admin.bag[admin.bag >= 0], minlength=n),
        "coverage": np.minimum(1, covers),
    }
    for rows in done:
        columns |= _layer_columns(folder, plan, admin, rows, ground)
    write_chips(folder.blobs, UNITS, columns, admin.shapes)


def _layer_columns(
    folder: DatasetFolder, plan: Plan, admin: Admin, rows: LayerRows, ground: Floats
) -> dict[str, NDArray[Any] | pa.Array]:
    """Return the columns of one label layer, by target: own values and why there are none, then the chips'."""
    targets = targets_of(plan, rows.plan)
    if not targets:
        return {}
    least = plan.recipe.proportions.min_valid
    own = {target.name for target in covered(rows.plan, targets)}
    held = held_by_units(folder, rows.plan, targets, admin)
    seam = seam_rows(plan, admin)
    seams = read_seams(folder, plan, rows.plan, targets, seam, rows.shards)
    chips = np.flatnonzero(admin.bag >= 0)
    bag, n = admin.bag[chips], len(admin.names)
    ground_owned = _by_unit(bag, (ground * plan.cells.owned_fraction())[chips, None], n)[:, 0]
    columns: dict[str, NDArray[Any] | pa.Array] = {}
    for target in targets:
        if target.name in own:
            columns |= _own(target, held, admin.area, least)
        counts = chip_counts(target, rows)
        counts[seam] = seams[target.name]
        counts = _weighed(target, counts, ground / rows.plan.layer.size**2)
        built = _by_unit(bag, counts[chips], n)
        columns |= told(target, built, ground_owned, least, prefix="built")
    return columns


def _by_unit(bag: NDArray[np.int64], values: Floats, n: int) -> Floats:
    """Return (unit, ...) sums of (chip, ...)."""
    total = np.zeros((n, values.shape[1]))
    np.add.at(total, bag, values)
    return total


def _weighed(target: Target, counts: Floats, pixel_km2: Floats) -> Floats:
    """Return (chip, ...) in km2 what ``counts`` holds in pixels; a sum of amounts stays what it is."""
    weighed = counts * pixel_km2[:, None]
    if target.what == "sum":
        weighed[:, 1] = counts[:, 1]
    return weighed


def _own(
    target: Target, held: Mapping[str, Floats] | None, area: Floats, least: float
) -> dict[str, NDArray[Any] | pa.Array]:
    counts = np.zeros((len(area), len(target.classes) or 2)) if held is None else held[target.name]
    valid = valid_of(target, counts)
    share = np.full(len(area), np.nan) if held is None else np.minimum(1, valid / area)
    if held is None:
        why: list[str | None] = [NOT_READ] * len(area)
    else:
        enough = is_enough(valid, area, least)
        why = [None if ok else _reason(one, least) for ok, one in zip(enough.tolist(), share.tolist(), strict=True)]
    about = {
        f"valid_{target.name}": share.astype(np.float32),
        f"reason_{target.name}": pa.array(why, pa.string()),
    }
    return about | told(target, counts, area, least)


def _reason(share: float, least: float) -> str:
    """Return why a unit has no values of its own."""
    if share == 0:
        return "the label has no data here"
    return f"labels are valid on {share:.1%} of the unit, below min_valid {least:g}"

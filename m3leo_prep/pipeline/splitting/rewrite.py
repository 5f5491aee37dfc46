"""Adding a split policy to a finished dataset: two small files are written anew, no pixel is touched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.recipe import NAME, AdminModel, SplitsModel
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.manifest import rewrite
from m3leo_prep.pipeline.splitting.assign import assign, check_filled
from m3leo_prep.pipeline.splitting.checks import cells_of
from m3leo_prep.pipeline.splitting.columns import (
    CHIPS,
    MAIN,
    Column,
    ranks,
    regions_file,
    strata_of,
)
from m3leo_prep.pipeline.splitting.files import check_known
from m3leo_prep.pipeline.splitting.losses import buffer_loss, warnings
from m3leo_prep.pipeline.splitting.resolve import Resolved, Setting, resolve
from m3leo_prep.pipeline.splitting.tables import regions_table
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.store.lock import BuildLock
from m3leo_prep.store.tables import read_table, write_table


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """What was added, or was there already."""

    column: Column
    chips: pa.Table
    """``chips.parquet`` as it is now."""
    warnings: tuple[str, ...]
    is_new: bool


def add_policy(path: Path, model: SplitsModel, *, name: str = "", admin: AdminModel | None = None, base: Path) -> Added:
    """Add a policy as the columns ``split_<name>`` and ``label_rank_<name>``.

    A name means one policy for good: asked for again with the same settings nothing is done, with others it is refused.

    Args:
        path: folder of a finished dataset, with or without the state of its build.
        model: the policy, not ``none``.
        name: of the columns; the policy's own by default.
        admin: units for the policy ``admin``; those of the recipe by default, where the state of the build is there.
        base: folder that relative paths start from.

    Raises:
        ConfigError: settings that do not fit, a name that is taken, a split without chips.
        StoreError: no finished dataset there, or somebody builds it.
    """
    name = name or model.policy
    if model.policy == "none":
        raise ConfigError("the policy none adds nothing", hint="choose another --policy")
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"the name '{name}' is no column", where="--name", hint="lower-case letters, digits and _")
    folder = DatasetFolder(path)
    with _locked(folder):
        manifest = _manifest(folder)
        chips = read_table(folder.blobs, CHIPS)
        cells = cells_of(manifest, chips)
        units, units_base = (admin, base) if admin or model.policy != "admin" else _own_units(folder)
        setting = Setting(units_base, _label_pixel(manifest), units, str(path))
        resolved = resolve(model, cells, setting)
        column_name = f"{MAIN}_{name}"
        there = manifest.get("splits", {}).get(column_name)
        if there is not None and there["policy"] != resolved.policy.document():
            raise ConfigError(
                f"the dataset has another policy of the name '{name}'",
                where=f"{path}, {column_name}",
                hint="give another --name: results may hang on the old one",
            )
        column, notes = _made(resolved, cells, column_name, manifest)
        if there is not None:
            return Added(column, chips, notes, is_new=False)
        _check_stratify(column, manifest, chips)
        return Added(column, _write(folder, manifest, chips, cells, column), notes, is_new=True)


def _made(resolved: Resolved, cells: Cells, name: str, manifest: Mapping[str, Any]) -> tuple[Column, tuple[str, ...]]:
    area = manifest["area"]["name"]
    if resolved.listed:
        check_known(resolved.listed, cells.ids(), area, resolved.policy.origin)
    made = assign(resolved, cells)
    check_filled(resolved, cells, made, area)
    loss = buffer_loss(made)
    column = Column(name, resolved.policy, made.split, loss, resolved.regions)
    return column, warnings(resolved.policy, loss)


def _write(folder: DatasetFolder, manifest: dict[str, Any], chips: pa.Table, cells: Cells, column: Column) -> pa.Table:
    columns = {name: chips[name].to_numpy(zero_copy_only=False) for name in chips.column_names if name != "geometry"}
    added = {column.name: column.values()}
    added |= {name: pa.array(values) for name, values in ranks([column], cells, manifest["layers"], columns).items()}
    # A run that was stopped between the tables and the manifest left columns that nothing tells of.
    chips = chips.drop_columns([name for name in added if name in chips.column_names])
    place = chips.column_names.index("geometry")
    for key, values in added.items():
        chips = chips.add_column(place, key, values)
        place += 1
    changed = [CHIPS]
    if column.regions is not None:
        write_table(folder.blobs, regions_file(column.name), regions_table(column.regions))
        changed.append(regions_file(column.name))
    write_table(folder.blobs, CHIPS, chips)
    entries = dict(manifest.get("splits", {})) | {column.name: column.entry()}
    rewrite(folder.blobs, manifest, changed, splits=entries)
    return chips


def _manifest(folder: DatasetFolder) -> dict[str, Any]:
    manifest = folder.manifest if folder.path.is_dir() else None
    if manifest is None:
        raise StoreError(f"no finished dataset lies in {folder.path}", hint="build it first, or check the path")
    return manifest


def _locked(folder: DatasetFolder) -> AbstractContextManager[object]:
    return BuildLock(folder.state) if folder.state.is_dir() else nullcontext()


def _own_units(folder: DatasetFolder) -> tuple[AdminModel | None, Path]:
    """Return the administrative units of the dataset's recipe, and where its paths start from."""
    plan = folder.frozen() if folder.state.is_dir() else None
    if plan is None or plan.recipe.admin is None:
        return None, folder.path
    return plan.recipe.admin, Path(plan.layers[0].source.base)


def _label_pixel(manifest: Mapping[str, Any]) -> float:
    labels = [layer for layer in manifest["layers"].values() if layer["role"] == "label"]
    return max((max(layer["pitch"], layer.get("native_pitch") or 0.0) for layer in labels), default=0.0)


def _check_stratify(column: Column, manifest: Mapping[str, Any], chips: pa.Table) -> None:
    layer = column.policy.stratify
    if not layer:
        return
    layers = manifest["layers"]
    names = {name: chips[name].to_numpy(zero_copy_only=False) for name in chips.column_names if name[:5] == "prop_"}
    if layer not in layers or strata_of(layer, layers, names) is None:
        having = [other for other in layers if strata_of(other, layers, names) is not None]
        raise ConfigError(
            f"there are no label proportions of '{layer}' to stratify by",
            where="--stratify",
            hint=near(layer, having) or "this dataset has no proportions",
        )

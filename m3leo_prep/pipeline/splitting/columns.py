"""The split columns of ``chips.parquet``, what the manifest says of them, and how they outlive a later build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from m3leo_prep.core.errors import StoreError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.splits.budgets import label_rank
from m3leo_prep.core.splits.policy import Regions, Split, SplitPolicy, codes_of, names_of
from m3leo_prep.pipeline.splitting.assign import assign
from m3leo_prep.pipeline.splitting.files import codes_by_id
from m3leo_prep.pipeline.splitting.losses import buffer_loss, counts
from m3leo_prep.pipeline.splitting.resolve import Resolved
from m3leo_prep.pipeline.splitting.tables import regions_of, regions_table
from m3leo_prep.ports.blobs import Blobs, Readable
from m3leo_prep.store.tables import read_table, write_table

MAIN = "split"
"""The column of the recipe's own policy; those added later are ``split_<name>``."""
CHIPS = "chips.parquet"
FOLDER = "splits"
"""Holds the regions of policies that have some, one table a column."""
LISTED = frozenset({"file", "geetiles"})
"""Policies whose splits a dataset cannot make again from what it holds: they are kept chip by chip."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One policy of a dataset."""

    name: str
    policy: SplitPolicy
    codes: NDArray[np.uint8]
    """(chip,) ``Split``."""
    loss: Mapping[str, float]
    """Share of chips that the buffer takes, by split."""
    regions: Regions | None = None

    def entry(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {"policy": self.policy.document(), "chips": counts(self.codes), "buffer_loss": dict(self.loss)}

    def values(self) -> pa.Array:
        """Return the column: names of splits, null for none."""
        return pa.array(names_of(self.codes).tolist(), pa.string())

    def rank(self, cells: Cells, strata: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Return (chip,) ``label_rank``: which label budgets each train chip belongs to, NaN for others."""
        return label_rank(cells, self.codes == Split.TRAIN, seed=self.policy.seed, strata=strata)


def rank_name(split_column: str) -> str:
    """Return the name of the label ranks beside a split column.

    >>> rank_name("split_italy")
    'label_rank_italy'
    """
    return "label_rank" + split_column.removeprefix(MAIN)


def regions_file(split_column: str) -> str:
    """Return the name of the table of a policy's regions."""
    return f"{FOLDER}/{split_column}.parquet"


def columns_of(plan: Plan, manifest: Mapping[str, Any] | None, blobs: Blobs) -> list[Column]:
    """Return the columns of a dataset that is being closed: its plan's, then those that were added before.

    Args:
        plan: of the dataset.
        manifest: as the dataset was closed before, if it was.
        blobs: the dataset.

    Raises:
        StoreError: what an added policy needs is not there any more.
    """
    found = []
    if plan.splits is not None:
        assert plan.split is not None, "a plan with a policy has splits"
        found.append(Column(MAIN, plan.splits, plan.split, plan.buffer_loss, plan.regions))
    entries = (manifest or {}).get("splits", {})
    return found + [_carried(name, entry, plan.cells, blobs) for name, entry in entries.items() if name != MAIN]


def strata_of(layer: str, layers: Iterable[str], columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64] | None:
    """Return (chip,) number of the class that has most of each chip, -1 without valid pixels; None without the layer.

    Args:
        layer: a label layer.
        layers: all layers.
        columns: of the chips, the label proportions ``prop_<layer>_<class>`` among them.
    """
    longer = tuple(f"prop_{other}_" for other in layers if other.startswith(f"{layer}_"))
    names = [name for name in columns if name.startswith(f"prop_{layer}_") and not name.startswith(longer)]
    if not names:
        return None
    shares = np.stack([np.asarray(columns[name], float) for name in names], axis=1)
    known = ~np.isnan(shares).all(axis=1)
    return np.where(known, np.argmax(np.nan_to_num(shares, nan=-1.0), axis=1), -1)


def ranks(
    columns: Sequence[Column], cells: Cells, layers: Iterable[str], chips: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float32]]:
    """Return the label ranks of some columns by name; all NaN where the layer that stratifies them is not built yet."""
    made = {}
    for column in columns:
        strata = strata_of(column.policy.stratify, layers, chips) if column.policy.stratify else None
        if column.policy.stratify and strata is None:
            made[rank_name(column.name)] = np.full(len(cells), np.nan, np.float32)
        else:
            made[rank_name(column.name)] = column.rank(cells, strata)
    return made


def write_regions(blobs: Blobs, columns: Sequence[Column]) -> list[str]:
    """Write the regions of policies that have some, delete those of others, and return the names of what changed."""
    wanted = {regions_file(column.name): column.regions for column in columns if column.regions is not None}
    stale = [name for name in blobs.list(FOLDER) if name not in wanted]
    for name in stale:
        blobs.delete(name)
    for name, regions in wanted.items():
        write_table(blobs, name, regions_table(regions))
    return [*stale, *wanted]


def read_regions(blobs: Readable, name: str, policy: SplitPolicy) -> Regions | None:
    """Return the regions of a column's policy, None if it has none.

    Raises:
        StoreError: they are not there.
    """
    if policy.policy not in {"admin", "region"}:
        return None
    try:
        return regions_of(read_table(blobs, regions_file(name)))
    except FileNotFoundError as error:
        raise StoreError(
            f"the regions of {name} are missing", where=regions_file(name), hint="put the file back from a copy"
        ) from error


def _carried(name: str, entry: Mapping[str, Any], cells: Cells, blobs: Blobs) -> Column:
    """Return a policy that was added before, applied to the cells that are there now."""
    policy = SplitPolicy.of(entry["policy"])
    if policy.policy in LISTED:
        try:
            table = read_table(blobs, CHIPS, ["chip_id", name])
        except FileNotFoundError as error:
            raise StoreError(
                f"the splits of {name} stand in {CHIPS}, which is missing", where=CHIPS, hint="put it back from a copy"
            ) from error
        before = codes_of(table[name].to_pylist())
        listed = {chip: Split(int(code)) for chip, code in zip(table["chip_id"].to_pylist(), before, strict=True)}
        return Column(name, policy, codes_by_id(listed, cells.ids()), entry["buffer_loss"])
    regions = read_regions(blobs, name, policy)
    made = assign(Resolved(policy, regions), cells)
    return Column(name, policy, made.split, buffer_loss(made), regions)

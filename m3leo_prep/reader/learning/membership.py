"""Which chips of a dataset are samples: by split and label budget, by a column, by id, by what they hold."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.text import near
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.files import AGAIN, opened
from m3leo_prep.reader.selection import Pick, has_data

CHIPS = "chips.parquet"
Values = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which chips are asked for."""

    split: str | None = None
    split_column: str = "split"
    label_budget: float | None = None
    only: Values = field(default_factory=dict)
    """Kept: chips with one of these values, by column of ``chips.parquet``."""
    without: Values = field(default_factory=dict)
    """Left out, likewise."""


@dataclass(frozen=True, slots=True)
class Members:
    """Some chips of one dataset, in the order of the samples; a few buffers, however many they are."""

    ids: pa.ChunkedArray
    """(sample,) strings."""
    rows: NDArray[np.int64]
    """(sample,)"""

    def take(self, places: NDArray[np.int64]) -> Members:
        """Return the members at these places."""
        return Members(self.ids.take(indices(places)), self.rows[places])

    def with_ids(self, ids: pa.Array) -> Members:
        """Return those of these ids, in their order; ids that are elsewhere are left out."""
        return self.take(np.from_dlpack(pc.index_in(ids, value_set=self.ids).drop_null()).astype(np.int64))

    def with_data(self, dataset: Dataset, picks: Mapping[str, Pick]) -> Members:
        """Return those that have a valid pixel of everything that is read."""
        kept = np.ones(len(self.rows), bool)
        for pick in picks.values():
            kept &= has_data(dataset, pick)[self.rows]
        return self.take(np.flatnonzero(kept))


def strings(values: Sequence[str]) -> pa.Array:
    """Return an arrow array of strings.

    Not ``pa.array``: for anything of Python or NumPy that imports pandas, 0.3 s and 30 MB for nothing.
    """
    encoded = [value.encode() for value in values]
    stops = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [None, pa.py_buffer(stops), pa.py_buffer(b"".join(encoded))]
    )


def indices(places: NDArray[np.int64]) -> pa.Array:
    """Return an arrow array of places, without a copy; not ``pa.array``, as above."""
    return pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(np.ascontiguousarray(places))])


def find_members(datasets: Sequence[Dataset], wanted: Wanted, ids: Sequence[str] | None = None) -> list[Members]:
    """Return the chips that are asked for, by dataset.

    Args:
        datasets: where from.
        wanted: split, budget and columns.
        ids: only these chips, in this order; None = all.

    Raises:
        ConfigError: an unknown split, column, value or id, or a budget that holds nothing.
        StoreError: ``chips.parquet`` cannot be read.
    """
    seen: set[tuple[str, Any]] = set()
    found = [_members(dataset, wanted, seen) for dataset in datasets]
    for argument, values in (("only", wanted.only), ("without", wanted.without)):
        for column in values:
            _check_values(argument, column, values[column], seen, datasets[0])
    if ids is None:
        return found
    asked = strings([str(chip) for chip in ids])
    everywhere = pa.chunked_array([chunk for members in found for chunk in members.ids.chunks], pa.string())
    unknown = pc.filter(asked, pc.invert(pc.is_in(asked, value_set=everywhere)))
    if len(unknown):
        hint = "ids are in the column chip_id of chips.parquet; with `split`, only those of the split count"
        message = f"{pc.count_distinct(unknown)} of the ids are not here, the first is '{unknown[0]}'"
        raise ConfigError(message, hint=hint)
    return [members.with_ids(asked) for members in found]


def _check(dataset: Dataset, wanted: Wanted) -> None:
    """Raise ConfigError if split and budget do not go with what the dataset has."""
    column, budget = wanted.split_column, wanted.label_budget
    policies = dataset.manifest.get("splits", {})
    if column not in {"split", *policies}:
        hint = near(column, {"split", *policies})
        raise ConfigError(f"there is no split column '{column}'", where=dataset.url, hint=hint)
    if budget is not None and (wanted.split != "train" or not 0 < budget <= 1):
        raise ConfigError(
            f"a label budget of {budget} for split={wanted.split!r}",
            hint="a budget is a share above 0 and up to 1 of the train chips: label_budget=0.01, split='train'",
        )
    if budget is not None and column not in policies:
        others = ", ".join(f"split_column='{name}'" for name in policies)
        raise ConfigError(
            f"'{column}' assigns no chip, so it has no label budgets",
            where=dataset.url,
            hint=others or f"add splits: `m3leo-prep split {dataset.url} --policy blocks`",
        )


def check_columns(dataset: Dataset, names: Iterable[str], more: Iterable[str] = ()) -> None:
    """Raise ConfigError if ``chips.parquet`` lacks a column; ``more`` names what else could have been asked for."""
    try:
        with pq.ParquetFile(opened(dataset.root, CHIPS)) as file:
            known = file.schema_arrow.names
    except (OSError, ValueError) as error:
        raise _unreadable(dataset, error) from error
    for name in names:
        if name not in known:
            hint = near(name, [*known, *more])
            raise ConfigError(f"chips.parquet has no column '{name}'", where=dataset.url, hint=hint)


def _members(dataset: Dataset, wanted: Wanted, seen: set[tuple[str, Any]]) -> Members:
    """Return the members of one dataset; ``seen`` grows by (column, value) of ``only`` and ``without`` that occur.

    A group of rows at a time, and only the columns that decide: of a million chips little more than the ids is ever in
    memory, and over a network each column costs.
    """
    _check(dataset, wanted)
    for argument, asked in (("only", wanted.only), ("without", wanted.without)):
        for column, given in asked.items():
            if isinstance(given, str):
                hint = f"{argument}={{'{column}': ['{given}']}}"
                raise ConfigError(f"`{argument}` takes a list of values, not {given!r}", hint=hint)
    split, ranked = wanted.split, _ranked(wanted.split_column)
    named = dict.fromkeys([*wanted.only, *wanted.without])
    if named:
        check_columns(dataset, named)
    columns = dict.fromkeys(["chip_id", *named])
    columns |= {} if split is None else {wanted.split_column: None}
    columns |= {} if wanted.label_budget is None else {ranked: None}
    ids, rows, first = [], [np.empty(0, np.int64)], 0
    n_split = n_ranked = n_budget = 0
    for table in _groups(dataset, list(columns)):
        masks = []
        if split is not None:
            masks.append(_is_in(table[wanted.split_column], [split]))
            n_split += masks[0].true_count
        if wanted.label_budget is not None:
            ranks = table[ranked]
            n_ranked += pc.and_(masks[0], ranks.is_valid()).combine_chunks().true_count
            masks.append(pc.less_equal(ranks, wanted.label_budget).fill_null(False).combine_chunks())
            n_budget += pc.and_(*masks).true_count
        for values, keeps in ((wanted.only, True), (wanted.without, False)):
            for column in values:
                found = _is_in(table[column], values[column])
                seen |= {(column, value) for value in table[column].filter(found).unique().to_pylist()}
                masks.append(found if keeps else pc.invert(found))
        if masks:
            kept = functools.reduce(pc.and_, masks)
            ids += table["chip_id"].filter(kept).chunks
            rows.append(np.from_dlpack(pc.indices_nonzero(kept)).astype(np.int64) + first)
        else:
            ids += table["chip_id"].chunks
            rows.append(np.arange(first, first + len(table)))
        first += len(table)
    if split is not None and not n_split:
        known = sorted(dataset.table(CHIPS, [wanted.split_column])[0].unique().drop_null().to_pylist())
        hint = (
            near(split, known)
            or "this dataset has no splits: leave `split` out (of a ChipDataModule: train_split=None ...)"
        )
        raise ConfigError(f"there is no split '{split}'", where=dataset.url, hint=hint)
    if wanted.label_budget is not None and not n_ranked:
        raise ConfigError(
            f"{ranked} holds nothing yet: the label layer that stratifies it is not built",
            where=dataset.url,
            hint="run `build` again, with that layer",
        )
    if wanted.label_budget is not None and not n_budget:
        raise ConfigError(
            f"a budget of {wanted.label_budget:g} of {n_split:,} train chips holds none",
            where=dataset.url,
            hint=f"one chip is {math.ceil(1e6 / n_split) / 1e6:g} of them",
        )
    return Members(pa.chunked_array(ids, pa.string()), np.concatenate(rows))


def _groups(dataset: Dataset, columns: list[str]) -> Iterator[pa.Table]:
    """Yield columns of ``chips.parquet`` by groups of rows."""
    try:
        with pq.ParquetFile(opened(dataset.root, CHIPS)) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, columns, use_threads=False)
    except (OSError, ValueError) as error:
        raise _unreadable(dataset, error) from error


def _unreadable(dataset: Dataset, error: Exception) -> StoreError:
    return StoreError(f"this table cannot be read: {error}", where=f"{dataset.url}/{CHIPS}", hint=AGAIN)


def _ranked(split_column: str) -> str:
    return split_column.replace("split", "label_rank", 1)


def _is_in(column: pa.ChunkedArray, values: Sequence[Any]) -> pa.BooleanArray:
    """Return (chip,) True where a column has one of these values; a null has none."""
    try:
        wanted = strings(values) if column.type == pa.string() else pa.array(list(values), column.type)
    except (pa.ArrowException, TypeError, AttributeError) as error:
        raise ConfigError(f"{list(values)!r} do not fit a column of {column.type}: {error}") from error
    return pc.is_in(column, value_set=wanted, skip_nulls=True).combine_chunks()


def _check_values(
    argument: str, column: str, values: Sequence[Any], seen: set[tuple[str, Any]], dataset: Dataset
) -> None:
    """Raise ConfigError if a value occurs nowhere: a slip would train on what should be held out."""
    for value in values:
        if (column, value) not in seen:
            known = dataset.table(CHIPS, [column])[0].unique().drop_null().to_pylist()
            hint = near(str(value), known) if len(known) <= 1000 else ""
            raise ConfigError(f"`{argument}`: no chip has {column} {value!r}", hint=hint)

"""Label columns of chips, from the counts and moments that the ledger keeps. Reads no pixels.

Pixels are counted, not weighed: inside one cell of the UTM grid their ground areas differ by less than 1e-4 of
themselves, inside a strip as wide as a zone by up to 0.3 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.pipeline.proportions.groups import Target, array_of

if TYPE_CHECKING:
    from m3leo_prep.pipeline.rows import LayerRows

Floats = NDArray[np.float64]

ROUNDING = 1e-6
"""Of areas, by which all of something may fall short of it."""


def is_enough(valid: Floats, whole: float | Floats, min_valid: float) -> NDArray[np.bool_]:
    """Return True where so much is valid of the whole that there are proportions."""
    return (valid > 0) & (valid >= min_valid * (1 - ROUNDING) * whole)


def chip_columns(
    targets: Sequence[Target], done: Mapping[str, LayerRows], min_valid: float
) -> dict[str, NDArray[np.float32]]:
    """Return the columns of ``chips.parquet`` by name, (chip,) float32: proportions, means and sums of labels.

    Args:
        targets: what is told.
        done: rows of the finished layers, by name.
        min_valid: valid share of a chip below which it has no proportions (NaN).
    """
    columns: dict[str, NDArray[np.float32]] = {}
    for target in targets:
        if target.layer in done:
            rows = done[target.layer]
            columns |= told(target, chip_counts(target, rows), float(rows.plan.layer.size**2), min_valid)
    return columns


def told(
    target: Target, counts: Floats, whole: float | Floats, min_valid: float, prefix: str = ""
) -> dict[str, NDArray[np.float32]]:
    """Return the columns of a target by name, (row,) float32, NaN where less than ``min_valid`` is valid.

    Args:
        target: what is told.
        counts: as ``chip_counts``, for chips or units, in pixels or any unit of area.
        whole: what ``counts`` would be if all were valid, one number or (row,).
        min_valid: least share of it.
        prefix: of the names, after the first word, as in ``prop_built_...``.
    """
    valid = valid_of(target, counts)
    enough = is_enough(valid, whole, min_valid)
    if target.what == "sum":
        values = counts[:, 1:]
    else:
        values = (counts if target.what == "prop" else counts[:, 1:]) / np.where(valid > 0, valid, 1)[:, None]
    values = np.where(enough[:, None], values, np.nan).astype(np.float32)
    names = [name.replace("_", f"_{prefix}_", 1) if prefix else name for name in target.columns]
    return {name: np.ascontiguousarray(values[:, k]) for k, name in enumerate(names)}


def valid_of(target: Target, counts: Floats) -> Floats:
    """Return (row,) how much is valid, in the unit of ``counts``."""
    return np.asarray(counts.sum(axis=1) if target.what == "prop" else counts[:, 0])


def chip_counts(target: Target, rows: LayerRows) -> Floats:
    """Return what each chip holds: (chip, class) pixels, or (chip, 2) valid pixels and the sum of their values."""
    if target.what == "prop":
        return by_class(target, rows.arrays[f"classes.{target.variable}"][:, target.slot, target.band])
    n, total = np.moveaxis(rows.arrays[f"moments.{target.variable}"][:, target.slot, target.band, :2], -1, 0)
    scale = array_of(rows.plan.layer, target).encoding.scale  # sums are of stored codes
    return np.column_stack([np.nan_to_num(n), np.nan_to_num(total) * scale])


def by_class(target: Target, by_code: NDArray[np.int64] | Floats) -> Floats:
    """Return (row, class) what (row, 256) holds by code; codes outside the legend belong to no class."""
    return np.stack([by_code[:, list(codes)].sum(axis=1) for codes in target.classes.values()], axis=1).astype(float)

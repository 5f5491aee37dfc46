"""Can the label columns and the tables of units be true? Told from the tables alone, without a pixel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from m3leo_prep.pipeline.proportions.units import CHIP_UNITS, UNITS
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.store.tables import read_table

SUM_TOLERANCE = 1e-6
AREA_TOLERANCE = 1e-4
"""A chip's area is that of its square by the scale of its centre, its parts are cut in lon/lat: 2e-5 apart."""


def label_problems(blobs: Readable, manifest: Mapping[str, Any], chips: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield (file, what) of what cannot be true in the label columns of chips and in the tables of units.

    Args:
        blobs: the dataset.
        manifest: its own.
        chips: ``chips.parquet``.
    """
    told = (manifest.get("proportions") or {}).get("columns", {})
    columns = {
        name: [f"prop_{name}_{one}" for one in about["classes"]]
        for name, about in told.items()
        if about["what"] == "prop" and about["layer"] in manifest["layers"]
    }
    for own in columns.values():
        yield from (("chips.parquet", text) for text in _sums(chips, own))
    admin = manifest.get("admin")
    if not admin:
        return
    try:
        units, pairs = read_table(blobs, UNITS), read_table(blobs, CHIP_UNITS)
    except FileNotFoundError:
        yield UNITS, f"{UNITS} and {CHIP_UNITS} belong to this dataset, and one is missing"
        return
    lacking = manifest["proportions"].get("not_of_units", {})
    for name, own in columns.items():
        built = [column.replace("prop_", "prop_built_", 1) for column in own]
        for names in [built] if name in lacking else [own, built]:
            yield from ((UNITS, text) for text in _sums(units, names))
    known = units["unit"].to_pylist()
    if len(set(known)) < len(known):
        yield UNITS, "an id stands twice"
    strange = set(chips[f"admin_{admin['name']}"].to_pylist()) - {*known, None}
    if strange:
        yield "chips.parquet", f"'{min(strange)}' is no unit of {UNITS}"
    yield from ((CHIP_UNITS, text) for text in _pairs(chips, units, pairs))


def _sums(table: pa.Table, names: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with proportions that belong together."""
    missing = [name for name in names if name not in table.column_names]
    if missing:
        yield f"there is no column {missing[0]}"
        return
    shares = np.stack([_numbers(table, name) for name in names], axis=1)
    absent = np.isnan(shares)
    some = absent.any(axis=1)
    known = shares[~some]
    wrong = np.ones(len(shares), bool)
    wrong[some] = ~absent[some].all(axis=1)
    wrong[~some] = (np.abs(known.sum(axis=1) - 1) > SUM_TOLERANCE) | (known < 0).any(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        more = f", in row {row} and {int(wrong.sum()) - 1:,} more" if wrong.sum() > 1 else f" in row {row}"
        yield f"{names[0]} and the other classes are no shares that sum to 1{more}"


def _pairs(chips: pa.Table, units: pa.Table, pairs: pa.Table) -> Iterator[str]:
    """Yield what is wrong with the ground that chips share with units."""
    rows, area = pairs["row"].to_numpy(), _numbers(pairs, "area_km2")
    ids = np.array(chips["chip_id"].to_pylist(), object)
    place = {name: k for k, name in enumerate(units["unit"].to_pylist())}
    unit = np.array([place.get(name, -1) for name in pairs["unit"].to_pylist()], np.int64)
    inside = (rows >= 0) & (rows < len(ids))
    if not inside.all() or (ids[rows] != np.array(pairs["chip_id"].to_pylist(), object)).any():
        yield "a chip_id is not that of its row in chips.parquet"
        return
    if (unit < 0).any():
        yield f"'{pairs['unit'][int(np.flatnonzero(unit < 0)[0])]}' is no unit of {UNITS}"
        return
    if not (area > 0).all():
        yield "an area is not above 0"
    for what, held, whole in (
        ("chip", np.bincount(rows, weights=area, minlength=len(ids)), _numbers(chips, "area_km2")),
        ("unit", np.bincount(unit, weights=area, minlength=len(units)), _numbers(units, "area_km2")),
    ):
        over = held > whole * (1 + AREA_TOLERANCE)
        if over.any():
            row = int(np.flatnonzero(over)[0])
            yield f"the {what} in row {row} shares {held[row]:.6g} km2, of {whole[row]:.6g} km2 that it has"


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(table[name].to_numpy(zero_copy_only=False), np.float64)

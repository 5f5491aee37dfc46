"""Numbers beside the pixels: times, orbits, baselines of each slot, and columns of ``chips.parquet``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.text import near
from m3leo_prep.reader.companions import open_companion
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.files import AGAIN
from m3leo_prep.reader.learning.membership import CHIPS, check_columns, indices
from m3leo_prep.reader.selection import Pick
from m3leo_prep.store.shard import ZARR

Beside = dict[str, NDArray[np.float32] | pa.Array]
"""By key of a sample: (sample, ...) float32, NaN where unknown; or (sample,) strings, null where unknown."""
DAY_SECONDS = 86_400


def companions_of(
    dataset: Dataset,
    picks: Mapping[str, Pick],
    names: Sequence[str],
    rows: NDArray[np.int64],
    everywhere: Collection[str] = (),
) -> Beside:
    """Return arrays beside the layers that are read, as ``<layer>_<name>``.

    Times become days since 1970-01-01, which float32 rounds by up to 84 s: nothing to a season, or to the days between
    two passes. A companion's fill value is unknown, unless it is 0: a count of 0 is a count.

    Args:
        dataset: where from.
        picks: what is read of it; their slots and bands are those of the result.
        names: such as ``relative_orbit``, of every layer that has it, or ``s1.relative_orbit``.
        rows: of the chips, in the order of the result.
        everywhere: layers that are read of all datasets; what may be beside one that this dataset lacks is left out.

    Raises:
        ConfigError: no layer has it; variables of one layer are read in different slots.
        StoreError: it cannot be read.
    """
    layers = {pick.layer.name: pick for pick in picks.values()}
    described = {name: documents(dataset, name) for name in layers if names}
    made: Beside = {}
    for asked in names:
        of, _, name = asked.rpartition(".")
        found = [layer for layer in layers if of in {"", layer} and name in described[layer]]
        if not found and any(of in {"", layer} for layer in everywhere if layer not in layers):
            continue
        if not found:
            known = {one for layer in layers if of in {"", layer} for one in described[layer]}
            message = f"there is no '{name}' beside {of or ', '.join(layers)}"
            raise ConfigError(message, where=dataset.url, hint=near(name, known))
        for layer in found:
            made[f"{layer}_{name}"] = values_beside(dataset, layer, name, described[layer][name], picks, rows)
    return made


def columns_of(dataset: Dataset, columns: Mapping[str, Sequence[str]], rows: NDArray[np.int64]) -> Beside:
    """Return columns of ``chips.parquet``: one alone as (sample,), several together as (sample, column).

    Args:
        dataset: where from.
        columns: names of columns by key, as ``resolve_columns`` gives them.
        rows: of the chips, in the order of the result.

    Raises:
        ConfigError: a column of neither numbers nor text.
        StoreError: the table cannot be read.
    """
    if not columns:
        return {}
    table = dataset.table(CHIPS, list(dict.fromkeys(name for names in columns.values() for name in names)))
    made: Beside = {}
    for key, names in columns.items():
        taken = [table[name].combine_chunks().take(indices(rows)) for name in names]
        if len(names) == 1 and pa.types.is_string(taken[0].type):
            made[key] = taken[0]
            continue
        numbers = [_numbers(dataset, name, column) for name, column in zip(names, taken, strict=True)]
        is_vector = key not in names
        made[key] = np.stack(numbers, axis=1) if is_vector else numbers[0]
    return made


def resolve_columns(dataset: Dataset, asked: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the columns of ``chips.parquet`` by key of a sample.

    Args:
        dataset: where from.
        asked: names of columns; ``prop_<layer>`` (or ``prop_<layer>_*``) means all classes of a label layer together,
            in the order of its legend.

    Raises:
        ConfigError: no such column.
    """
    told = (dataset.manifest.get("proportions") or {}).get("columns", {})
    shares = {f"prop_{name}": about["classes"] for name, about in told.items() if about["what"] == "prop"}
    made: dict[str, tuple[str, ...]] = {}
    for name in asked:
        whole = name.removesuffix("_*")
        made[whole] = tuple(f"{whole}_{one}" for one in shares[whole]) if whole in shares else (name,)
    if made:
        check_columns(dataset, [name for names in made.values() for name in names], more=shares)
    return made


def documents(dataset: Dataset, layer: str) -> dict[str, Any]:
    """Return what describes the arrays (chip, ...) beside a layer's pixels, by name."""
    name = f"{ZARR}/{layer}/zarr.json"
    pixels = set(dataset.layers[layer].arrays)
    try:
        every = json.loads(dataset.root.get(name))["consolidated_metadata"]["metadata"]
        return {
            key: about
            for key, about in every.items()
            if about["dimension_names"][0] == "chip" and key not in {*pixels, "epsg", "x0", "y0"}
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        where = f"{dataset.url}/{name}"
        raise StoreError(f"this layer's description cannot be read: {error!r}", where=where, hint=AGAIN) from error


def values_beside(
    dataset: Dataset,
    layer: str,
    name: str,
    about: Mapping[str, Any],
    picks: Mapping[str, Pick],
    rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return (sample, [time, [band]]) of one companion, NaN where unknown."""
    index: list[Any] = []
    of_layer = [pick for pick in picks.values() if pick.layer.name == layer]
    axes = about["dimension_names"][1:]
    if "time" in axes:
        slots = {pick.slots for pick in of_layer}
        if len(slots) > 1:
            hint = "choose slots by the layer's name, not by variable"
            raise ConfigError(f"variables of '{layer}' are read in different slots: '{name}' has one", hint=hint)
        index.append(list(slots.pop()))
    if axes and axes[-1] != "time":
        variable = about["attributes"].get("of_variable") or name.rpartition("_")[0]
        bands = [pick.bands for pick in of_layer if pick.array.name == variable]
        if not bands:
            raise ConfigError(f"'{name}' belongs to a variable of '{layer}' that is not read")
        index.append(list(bands[0]))
    companion = open_companion(dataset.root, layer, name)
    made = np.empty((len(rows), *(len(places) for places in index)), np.float32)
    first = 0
    for part in companion.parts():
        here = np.flatnonzero((rows >= first) & (rows < first + len(part)))
        made[here] = _known(part[np.ix_(rows[here] - first, *index)], about)
        first += len(part)
    return made


def _known(codes: NDArray[Any], about: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return values in float64, times in days, NaN where unknown."""
    values = codes.astype(np.float64)
    if str(about["attributes"].get("units", "")).startswith("seconds since 1970-01-01"):
        values /= DAY_SECONDS
    fill = about["fill_value"]
    if fill not in {0, "NaN"}:
        values[codes == fill] = np.nan
    return values


def _numbers(dataset: Dataset, name: str, column: pa.Array) -> NDArray[np.float32]:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)):
        raise ConfigError(f"column '{name}' holds {column.type}, which makes no tensor", where=dataset.url)
    values: NDArray[np.float32] = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)
    return values

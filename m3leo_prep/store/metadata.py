"""The metadata of a dataset: coordinates and companions beside a layer's pixels, and the hierarchy as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import Slot
from m3leo_prep.core.reasons import Reason
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.store.documents import (
    array_document,
    array_grid,
    band_axis,
    chunk_shape,
    dims,
    group_document,
    has_times,
    shard_shape,
    snake_case,
)
from m3leo_prep.store.shard import ZARR
from m3leo_prep.store.zarr_array import Document, consolidate, to_json, write_array

__all__ = [
    "ChipColumns",
    "Companion",
    "array_document",
    "array_grid",
    "band_axis",
    "chunk_shape",
    "consolidate",
    "dims",
    "group_document",
    "quality",
    "reason_attributes",
    "shard_shape",
    "snake_case",
    "time_attributes",
    "valid_attributes",
    "write_array",
    "write_hierarchy",
    "write_layer",
]

COMPANION_CHIPS = 65_536
"""Chips per chunk of the arrays that hold one value, or a few, per chip."""
EPOCH = "seconds since 1970-01-01 00:00:00"
TIME_FILL = -(2**63)
"""Absent time in the int64 times per chip."""


@dataclass(frozen=True, slots=True)
class ChipColumns:
    """What is known per chip, in row order."""

    epsg: NDArray[np.int32]
    x0: NDArray[np.int32]
    """Easting of the upper-left corner in m."""
    y0: NDArray[np.int32]
    """Northing of the upper-left corner in m."""


@dataclass(frozen=True, slots=True)
class Companion:
    """An array per chip beside the pixels: what it holds and its attributes."""

    values: NDArray[Any]
    """(chip,), (chip, time) or (chip, time, band)."""
    dims: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    fill_value: float = 0


def reason_attributes() -> dict[str, Any]:
    """Return the attributes of ``<variable>_reason``."""
    return {
        "long_name": "why there is no, or not all, data",
        "flag_values": [int(reason) for reason in Reason],
        "flag_meanings": " ".join(reason.name.lower() for reason in Reason),
    }


def valid_attributes() -> dict[str, Any]:
    """Return the attributes of ``<variable>_valid``."""
    return {
        "long_name": "valid pixels; 100 only if all, 0 only if none, no value if not built",
        "units": "percent",
        "_FillValue": int(Reason.NOT_BUILT),
    }


def time_attributes(long_name: str) -> dict[str, Any]:
    """Return the attributes of int64 times per chip (UTC seconds, ``TIME_FILL`` where absent)."""
    return {"long_name": long_name, "units": EPOCH, "calendar": "proleptic_gregorian", "_FillValue": TIME_FILL}


def write_layer(
    blobs: Blobs,
    layer: Layer,
    chips: ChipColumns,
    companions: Mapping[str, Companion],
    *,
    root: str = ZARR,
) -> dict[str, Document]:
    """Write a layer's coordinates, companions and array documents; return its group's document by path.

    The group's document is for ``consolidate`` to write: until then readers of the layer see it as it was.

    Args:
        blobs: the dataset.
        layer: the layer.
        chips: georeference of all chips, in row order.
        companions: arrays per chip by name; see ``quality`` for the two that every variable has.
        root: folder of the root group.
    """
    n_chips = len(chips.epsg)
    base = f"{root}/{layer.name}"
    for name, values, axes, attributes in _coordinates(layer, chips):
        fill = "" if values.dtype.kind in "OUT" else 0
        _put(blobs, f"{base}/{name}", values, axes, attributes, fill)
    for name, made in companions.items():
        _put(blobs, f"{base}/{name}", made.values, made.dims, made.attributes, made.fill_value)
    for array in layer.arrays:
        made_document = array_document(layer, array, n_chips)
        blobs.put(f"{base}/{array.variable.name}/zarr.json", to_json(made_document))
    return {base: group_document(layer, n_chips)}


def quality(layer: Layer, array: Array, reason: NDArray[np.uint8], valid: NDArray[np.uint8]) -> dict[str, Companion]:
    """Return the companions ``<variable>_reason`` and ``<variable>_valid`` of a variable.

    Args:
        layer: the layer.
        array: the variable.
        reason: (chip, time, band), static (chip, band), numbers of ``Reason``.
        valid: same shape, percent, 255 = not built.
    """
    axes = dims(layer, array)[:-2]
    fill = int(Reason.NOT_BUILT)
    name = array.variable.name
    return {
        f"{name}_reason": Companion(reason, axes, reason_attributes(), fill),
        f"{name}_valid": Companion(valid, axes, valid_attributes(), fill),
    }


def write_hierarchy(
    blobs: Blobs,
    layers: Iterable[Layer],
    chips: ChipColumns,
    companions: Mapping[str, Mapping[str, Companion]],
    *,
    attributes: Mapping[str, Any],
    root: str = ZARR,
) -> None:
    """Write the metadata of all layers, then consolidate, the root last.

    Args:
        blobs: the dataset, its shards in place.
        layers: the layers.
        chips: georeference of all chips, in row order.
        companions: arrays per chip by layer and name; a layer is looked up when it is written.
        attributes: attributes of the root group.
        root: folder of the root group.
    """
    groups: dict[str, Document] = {}
    present: set[str] = set()
    for layer in layers:
        made = companions.get(layer.name, {})
        groups |= write_layer(blobs, layer, chips, made, root=root)
        present |= {f"{root}/{layer.name}", *(f"{root}/{layer.name}/{name}" for name in array_names(layer, made))}
    consolidate(blobs, root, attributes, groups, present)


def array_names(layer: Layer, companions: Iterable[str]) -> set[str]:
    """Return the names of all arrays of a layer: variables, coordinates, companions."""
    axes = {band_axis(layer, array) for array in layer.arrays}
    time = {"time", "time_bounds"} if has_times(layer) else set() if layer.is_static else {"time"}
    return {"x", "y", "epsg", "x0", "y0", *axes, *time, *companions, *(a.variable.name for a in layer.arrays)}


def _put(
    blobs: Blobs,
    path: str,
    values: NDArray[Any],
    axes: tuple[str, ...],
    attributes: Mapping[str, Any],
    fill: float | str,
) -> None:
    """Write an array in one chunk, or 65 536 chips a chunk: fixed, so that growth never changes the chunks' shape."""
    rows = COMPANION_CHIPS if axes[0] == "chip" else len(values)
    write_array(
        blobs,
        path,
        values,
        dims=axes,
        attributes=attributes,
        chunks=(rows, *values.shape[1:]),
        fill_value=fill,
    )


def _coordinates(
    layer: Layer, chips: ChipColumns
) -> Iterable[tuple[str, NDArray[Any], tuple[str, ...], dict[str, Any]]]:
    """Yield (name, values, axes, attributes) of a layer's coordinates."""
    if not layer.is_static and not has_times(layer):
        kind = layer.slots[0].kind
        labels = {"long_name": f"number of the {kind}", "labels": [slot.label for slot in layer.slots]}
        yield "time", np.arange(len(layer.slots), dtype=np.int64), ("time",), labels
    if has_times(layer):
        bounds = np.array([[_seconds(s.start), _seconds(s.end)] for s in layer.slots], np.int64)
        time: dict[str, Any] = {
            "long_name": "first instant of the slot (UTC)",
            "standard_name": "time",
            "units": EPOCH,
            "calendar": "proleptic_gregorian",
            "bounds": "time_bounds",
            "labels": [slot.label for slot in layer.slots],
            "months": [_months(slot) for slot in layer.slots],
        }
        half_open = {"long_name": "first instant in, and first instant after, the slot (UTC)"}
        yield "time", bounds[:, 0].copy(), ("time",), time
        yield "time_bounds", bounds, ("time", "bound"), half_open
    for array in layer.arrays:
        axis = band_axis(layer, array)
        yield axis, np.array(array.variable.bands, object), (axis,), {"long_name": "band"}
    offsets = (np.arange(layer.size) + 0.5) * layer.pitch
    for name, values, word in (("x", offsets, "right of"), ("y", -offsets, "below (negative)")):
        text = f"pixel centre, {word} the chip's upper-left corner"
        yield name, values, (name,), {"long_name": text, "units": "m"}
    for name, column, text in (
        ("epsg", chips.epsg, "EPSG code of the chip's UTM zone"),
        ("x0", chips.x0, "easting of the chip's upper-left corner"),
        ("y0", chips.y0, "northing of the chip's upper-left corner"),
    ):
        attributes = {"long_name": text} | ({} if name == "epsg" else {"units": "m"})
        yield name, np.asarray(column, np.int32), ("chip",), attributes


def _months(slot: Slot) -> str:
    """Return the first and last month of a slot: what a season's name means depends on the hemisphere."""
    assert slot.start is not None
    assert slot.end is not None
    return f"{slot.start:%Y-%m} to {slot.end - timedelta(microseconds=1):%Y-%m}"


def _seconds(when: Any) -> int:
    return int(when.timestamp())

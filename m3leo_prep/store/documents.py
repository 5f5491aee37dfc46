"""Zarr v3 metadata of a layer's pixels, as plain dictionaries.

What xarray needs to open a layer without a warning, with physical values and NaN for quantities and integers for
classes: ``_FillValue`` and ``scale_factor`` on scaled integers, neither on classes, and no ``_FillValue`` on floats,
whose fill value is NaN anyway (xarray would expect it in base64).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import Kind, Variable
from m3leo_prep.store.codec import ChunkCodec
from m3leo_prep.store.zarr_array import Document, document, group

BSPLINE_NOISE_GAIN = (0.2117, 0.25)
"""Variance of white noise behind the cubic B-spline at equal pitch, lowest and highest over all sub-pixel shifts."""


def band_axis(layer: Layer, array: Array) -> str:
    """Return the name of a variable's band axis: each its own where a layer has several variables."""
    return "band" if len(layer.arrays) == 1 else f"{array.variable.name}_band"


def dims(layer: Layer, array: Array) -> tuple[str, ...]:
    """Return the axis names of a variable."""
    time = () if layer.is_static else ("time",)
    return ("chip", *time, band_axis(layer, array), "y", "x")


def chunk_shape(layer: Layer, array: Array) -> tuple[int, ...]:
    """Return the shape of a chunk: one chip, its slots, some bands, all pixels."""
    slots = () if layer.is_static else (layer.chunk_slots,)
    return (1, *slots, array.band_chunk, layer.size, layer.size)


def shard_shape(layer: Layer, array: Array) -> tuple[int, ...]:
    """Return the shape of a shard in values."""
    slots = () if layer.is_static else (layer.shard_slots,)
    return (layer.shard_chips, *slots, array.n_bands, layer.size, layer.size)


def array_grid(layer: Layer, array: Array) -> tuple[int, ...]:
    """Return the chunks per shard along each axis, as ``store.shard`` takes it."""
    return tuple(s // c for s, c in zip(shard_shape(layer, array), chunk_shape(layer, array), strict=True))


def array_document(layer: Layer, array: Array, n_chips: int) -> Document:
    """Return the ``zarr.json`` of a variable: a sharded array of ``n_chips`` rows."""
    codec = ChunkCodec(array.encoding.dtype, array.codec)
    slots = () if layer.is_static else (len(layer.slots),)
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(chunk_shape(layer, array)),
            "codecs": codec.document(),
            "index_codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "crc32c"},
            ],
            "index_location": "end",
        },
    }
    return document(
        shape=(n_chips, *slots, array.n_bands, layer.size, layer.size),
        data_type=array.encoding.dtype,
        chunk_shape=shard_shape(layer, array),
        fill_value=array.encoding.fill_value,
        codecs=[sharding],
        attributes=_array_attributes(layer, array),
        dims=dims(layer, array),
    )


def has_times(layer: Layer) -> bool:
    """Return whether the time axis holds times: pairs and orbits are numbered, their times told per chip."""
    return not layer.is_static and layer.slots[0].kind == "period"


def group_document(layer: Layer, n_chips: int) -> Document:
    """Return the ``zarr.json`` of a layer's group, without consolidated metadata."""
    coordinates = ["time_bounds", "epsg", "x0", "y0"] if has_times(layer) else ["epsg", "x0", "y0"]
    attributes = dict(layer.attributes) | {
        "layer": layer.name,
        "role": layer.role,
        "pitch": layer.pitch,
        "n_chips": n_chips,
        # A group's "coordinates" tells xarray which arrays describe the others.
        "coordinates": " ".join(coordinates),
    }
    return group(attributes)


def _array_attributes(layer: Layer, array: Array) -> dict[str, Any]:
    variable, encoding = array.variable, array.encoding
    attributes: dict[str, Any] = dict(variable.attributes)
    attributes |= {
        "long_name": variable.long_name or variable.name.replace("_", " "),
        "kind": str(variable.kind),
        "pitch": layer.pitch,
        "kernel": array.method,
        **({"kernel_noise_gain": list(BSPLINE_NOISE_GAIN)} if array.method == "bspline" else {}),
        "statistic": array.statistic,
    }
    if encoding.unit == "class":
        return attributes | _flags(variable, int(encoding.fill_value))
    attributes |= {"units": encoding.unit, "max_error": encoding.max_error}
    if np.isfinite(encoding.valid_min) and np.isfinite(encoding.valid_max):
        # CF: in stored codes, as _FillValue is.
        limits = encoding.valid_min / encoding.scale, encoding.valid_max / encoding.scale
        attributes["valid_range"] = [v if encoding.fill is None else int(np.rint(v)) for v in limits]
    if encoding.fill is not None:
        attributes |= {"_FillValue": encoding.fill, "scale_factor": encoding.scale}
    return attributes


def _flags(variable: Variable, fill: int) -> dict[str, Any]:
    """Return CF's flag attributes of a legend; the fill code is listed as no data, and masks nothing."""
    legend = sorted(variable.legend, key=lambda c: c.code)
    names = [snake_case(c.name) for c in legend]
    if variable.kind is Kind.BITS:
        flags = {"flag_masks": [c.code for c in legend], "flag_meanings": " ".join(names)} if legend else {}
        return flags | {"no_data": fill}
    flags = {"flag_values": [*(c.code for c in legend), fill], "flag_meanings": " ".join([*names, "no_data"])}
    if any(c.color for c in legend):
        flags["flag_colors"] = " ".join([*(c.color or "#000000" for c in legend), "#00000000"])
    return flags | {"no_data": fill}


def snake_case(name: str) -> str:
    """Return a class name as one word for flags and column names.

    >>> snake_case("Permanent water bodies"), snake_case("Moss/lichen")
    ('permanent_water_bodies', 'moss_lichen')
    """
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_") or "unnamed"

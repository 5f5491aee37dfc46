"""Functions of an image's numbers: arithmetic, comparison, casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from m3leo_prep.testing.earth_engine.evaluation.arithmetic import BINARY, CASTS, COMPARED, UNARY, Array, as_type
from m3leo_prep.testing.earth_engine.evaluation.functions_bands import select
from m3leo_prep.testing.earth_engine.evaluation.image import Image, Node, no_band, union_of
from m3leo_prep.testing.earth_engine.evaluation.making import (
    both,
    cast_band,
    constant_band,
    image_of,
    paired,
    per_pixel,
    plain,
    same_mask,
)
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.sampling import Pixels
from m3leo_prep.testing.earth_engine.evaluation.values import (
    EarthEngineError,
    PixelType,
)


def _binary(name: str) -> None:
    operator, type_of = BINARY[name]
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)

    @function(f"Image.{name} Image.{snake}", "image1 image2")
    def run(image1: Any, image2: Any) -> Image:
        left, right = image_of(image1, f"Image.{name}"), image_of(image2, f"Image.{name}")
        bands = {}
        for band, one, two in paired(left, right, f"Image.{name}"):
            dtype = type_of(one.dtype, two.dtype)
            bands[band] = per_pixel([one, two], dtype, _operate(dtype, union_of(one.dtype, two.dtype)))
        return Image(bands, properties=plain(left), footprint=both(left, right))

    def _operate(dtype: str, union: str) -> Callable[..., Pixels]:
        within = union if name in COMPARED or name.startswith("bitwise") or name.endswith("Shift") else dtype

        def compute(one: Array, one_mask: Array, two: Array, two_mask: Array) -> Pixels:
            values = np.asarray(operator(as_type(one, within), as_type(two, within)))
            mask = same_mask(one_mask, two_mask)
            if values.dtype.kind == "f":
                finite = np.isfinite(values)
                mask = mask if finite.all() else mask * finite
            return values.astype(dtype, copy=False), mask

        return compute


def _unary(name: str) -> None:
    operator, type_of = UNARY[name]

    @function(f"Image.{name}", "value")
    def run(value: Any) -> Image:
        image = image_of(value, f"Image.{name}")
        bands = {band: _each(node, type_of(node.dtype)) for band, node in image.bands.items()}
        return Image(bands, properties=plain(image), footprint=image.footprint)

    def _each(node: Node, dtype: str) -> Node:
        def compute(values: Array, mask: Array) -> Pixels:
            within = values if dtype == "uint8" else values.astype(dtype, copy=False)
            out = np.asarray(operator(within))  # type: ignore[call-arg]  # one array: it is of UNARY
            if out.dtype.kind == "f":
                finite = np.isfinite(out)
                mask = mask if finite.all() else mask * finite
            return out.astype(dtype, copy=False), mask

        return per_pixel([node], dtype, compute)


def _cast(name: str, dtype: str) -> None:
    @function(f"Image.{name} Image.to{name[0].upper()}{name[1:]}", "value")
    def run(value: Any) -> Image:
        image = image_of(value, f"Image.{name}")
        return image.having_bands({band: cast_band(node, dtype) for band, node in image.bands.items()})


for _name in BINARY:
    _binary(_name)
for _name in UNARY:
    _unary(_name)
for _name, _dtype in CASTS.items():
    _cast(_name, _dtype)


@function("Image.cast", "image bandTypes bandOrder?")
def cast_bands(image: Image, types: dict[str, Any], order: list[str] | None) -> Image:
    """Return bands with types of their own."""
    bands = dict(image.bands)
    for name, kind in types.items():
        if name not in bands:
            raise EarthEngineError(no_band(name, bands, "Image.cast"))
        bands[name] = cast_band(bands[name], kind.dtype if isinstance(kind, PixelType) else CASTS[kind])
    return image.having_bands({name: bands[name] for name in order or bands})


@function("Image.clamp", "input low high")
def clamp(source: Any, low: float, high: float) -> Image:
    """Return values brought between two numbers."""
    image = image_of(source, "Image.clamp")
    return image.having_bands(
        {
            name: per_pixel(
                [node], node.dtype, lambda values, own: (np.clip(values, low, high).astype(values.dtype), own)
            )
            for name, node in image.bands.items()
        }
    )


@function("Image.unitScale", "input low high")
def unit_scale(source: Any, low: float, high: float) -> Image:
    """Return (value - low) / (high - low)."""
    image = image_of(source, "Image.unitScale")
    return image.having_bands(
        {
            name: per_pixel([node], "float64", lambda values, own: ((values.astype(float) - low) / (high - low), own))
            for name, node in image.bands.items()
        }
    )


@function("Image.remap", "image from to defaultValue? bandName?")
def remap(image: Image, old: list[float], new: list[float], default: Any, band: str | None) -> Image:
    """Return one band, ``remapped``, with other numbers; those not listed are the default, or masked."""
    if len(old) != len(new):
        raise EarthEngineError(f"Image.remap: 'from' and 'to' have {len(old)} and {len(new)} elements.")
    node = image.bands[band] if band else next(iter(image.bands.values()))
    dtype = union_of(*(constant_band(number).dtype for number in [*new, default or 0]))
    order = np.argsort(old)
    keys, numbers = np.asarray(old)[order], np.asarray(new, dtype)[order]

    def compute(values: Array, own: Array) -> Pixels:
        place = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
        listed = keys[place] == values
        out = np.where(listed, numbers[place], np.asarray(default or 0, dtype))
        return out, own if default is not None else own * listed

    return image.having_bands({"remapped": per_pixel([node], dtype, compute)})


@function("Image.normalizedDifference", "input bandNames?")
def normalized_difference(image: Image, names: list[str] | None) -> Image:
    """Return (a - b) / (a + b) as ``nd``; negative numbers are masked, and properties are lost.

    https://developers.google.com/earth-engine/apidocs/ee-image-normalizeddifference.
    """
    first, second = (select(image, [name], None) for name in (names or list(image.bands)[:2]))
    (one,), (two,) = first.bands.values(), second.bands.values()

    def compute(a: Array, a_mask: Array, b: Array, b_mask: Array) -> Pixels:
        a, b = a.astype(np.float32), b.astype(np.float32)
        total = a + b
        good = (a >= 0) & (b >= 0)
        return np.where(total == 0, 0, (a - b) / np.where(total == 0, 1, total)), same_mask(a_mask, b_mask) * good

    return Image({"nd": per_pixel([one, two], "float32", compute)}, footprint=image.footprint)

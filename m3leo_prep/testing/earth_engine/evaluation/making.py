"""Bands made of bands: numbers as images, pairs of bands, one band pixel by pixel of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from m3leo_prep.testing.earth_engine.evaluation.arithmetic import Array, cast
from m3leo_prep.testing.earth_engine.evaluation.image import Image, Node, Request, is_all
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.sampling import Pixels
from m3leo_prep.testing.earth_engine.evaluation.values import EarthEngineError


def image_of(value: Any, where: str) -> Image:
    """Return an image; a number becomes a constant one."""
    if isinstance(value, Image):
        return value
    if isinstance(value, bool | int | float | list):
        return constant(value)
    raise EarthEngineError(f"{where}: Cannot convert {type(value).__name__} to an image.")


def same_mask(*masks: Array) -> Array:
    """Return where all are valid; of fractions the least (unverified)."""
    out = masks[0]
    for mask in masks[1:]:
        if is_all(mask):
            continue
        if is_all(out):
            out = mask
            continue
        out = out & mask if out.dtype == bool and mask.dtype == bool else np.minimum(out, mask)
    return out


def plain(image: Image) -> dict[str, Any]:
    """Return what a computed image keeps of an image's properties: its index (unverified)."""
    index = image.properties.get("system:index")
    return {} if index is None else {"system:index": index}


def per_pixel(nodes: Sequence[Node], dtype: str, compute: Callable[..., Pixels]) -> Node:
    """Return a band made pixel by pixel of others; ``compute`` gets their values and masks one after the other."""

    def run(request: Request) -> Pixels:
        return compute(*(part for node in nodes for part in request.pull(node)))

    projection = next((node.projection for node in nodes if node.projection), None)
    return Node(dtype, run, tuple(nodes), projection)


def paired(left: Image, right: Image, where: str) -> list[tuple[str, Node, Node]]:
    """Return name and bands of each pair: by name, else in order; a single band goes with all."""
    if not left.bands or not right.bands:
        return []
    one, two = list(left.bands.items()), list(right.bands.items())
    if len(two) == 1:
        return [(name, node, two[0][1]) for name, node in one]
    if len(one) == 1:
        return [(name, one[0][1], node) for name, node in two]
    if set(left.bands) == set(right.bands):
        return [(name, node, right.bands[name]) for name, node in one]
    if len(one) == len(two):
        return [(name, node, other) for (name, node), (_, other) in zip(one, two, strict=True)]
    raise EarthEngineError(
        f"{where}: Images must have as many bands as each other, or one of them one: not {len(one)} and {len(two)}."
    )


def both(left: Image, right: Image) -> Any:
    """Return the footprint of two images together; None is everywhere."""
    if left.footprint is None or right.footprint is None or left.footprint is right.footprint:
        return left.footprint if left.footprint is not None else right.footprint
    return left.footprint.intersection(right.footprint)


def cast_band(node: Node, dtype: str) -> Node:
    """Return a band of another type."""
    return node if node.dtype == dtype else per_pixel([node], dtype, lambda values, mask: (cast(values, dtype), mask))


def named(bands: Any) -> dict[str, Node]:
    """Return bands by name; a second of the same name gets _1, a third _2."""
    out: dict[str, Node] = {}
    for name, node in bands:
        number, free = 0, name
        while free in out:
            number += 1
            free = f"{name}_{number}"
        out[free] = node
    return out


def constant_band(value: float) -> Node:
    """Return the same number everywhere, in the smallest type: integers by value, others double."""
    dtype = "float64" if isinstance(value, float) and not value.is_integer() else str(np.min_scalar_type(int(value)))
    if isinstance(value, bool):
        dtype = "uint8"
    return Node(dtype, lambda request: (request.full(value, dtype), request.full(1, "bool")))


@function("Image.constant", "value")
def constant(value: Any) -> Image:
    """Return a constant image: https://developers.google.com/earth-engine/apidocs/ee-image-constant."""
    if isinstance(value, Image):
        return value
    if isinstance(value, list):
        return Image({f"constant_{number}": constant_band(each) for number, each in enumerate(value)})
    if not isinstance(value, bool | int | float):
        raise EarthEngineError(f"Image.constant: Cannot convert {type(value).__name__} to a number.")
    return Image({"constant": constant_band(value)})

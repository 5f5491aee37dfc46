"""Functions of masks: which pixels are there, and what stands where they are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from m3leo_prep.testing.earth_engine.evaluation.arithmetic import Array
from m3leo_prep.testing.earth_engine.evaluation.geometries import inside, shape_of
from m3leo_prep.testing.earth_engine.evaluation.image import Image, Node, Request, union_of
from m3leo_prep.testing.earth_engine.evaluation.making import (
    image_of,
    paired,
    per_pixel,
)
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.sampling import Pixels
from m3leo_prep.testing.earth_engine.evaluation.values import EarthEngineError


@function("Image.mask", "image mask?")
def mask(source: Any, new: Any) -> Image:
    """Return the masks as bands from 0 to 1, or the image with other masks."""
    image = image_of(source, "Image.mask")
    if new is None:

        def show(_: Array, own: Array) -> Pixels:
            return own.astype(np.float32), np.broadcast_to(np.True_, own.shape)

        return image.having_bands({name: per_pixel([node], "float32", show) for name, node in image.bands.items()})

    def replace(values: Array, own: Array, wanted: Array, there: Array) -> Pixels:
        return np.where(own > 0, values, values.dtype.type(0)), _as_mask(wanted, there)

    return _with_masks(image, image_of(new, "Image.mask"), replace, "Image.mask")


@function("Image.updateMask", "image mask")
def update_mask(source: Any, new: Any) -> Image:
    """Return the image with the new mask "at all positions where the existing mask is not zero".

    https://developers.google.com/earth-engine/apidocs/ee-image-updatemask.
    """

    def replace(values: Array, own: Array, wanted: Array, there: Array) -> Pixels:
        fresh = _as_mask(wanted, there)
        return values, fresh & (own > 0) if fresh.dtype == bool else fresh * (own > 0)

    image = image_of(source, "Image.updateMask")
    return _with_masks(image, image_of(new, "Image.updateMask"), replace, "Image.updateMask")


@function("Image.selfMask", "image")
def self_mask(image: Any) -> Image:
    """Return the image without its zeros."""
    return update_mask(image, image)


def _with_masks(image: Image, new: Image, replace: Callable[..., Pixels], where: str) -> Image:
    if len(new.bands) not in {1, len(image.bands)}:
        raise EarthEngineError(f"{where}: The mask must have 1 band or {len(image.bands)}, not {len(new.bands)}.")
    masks = list(new.bands.values()) * (len(image.bands) if len(new.bands) == 1 else 1)
    bands = {}
    for (name, node), band in zip(image.bands.items(), masks, strict=True):
        made = per_pixel([node, band], node.dtype, replace)
        bands[name] = Node(made.dtype, made.compute, made.inputs, node.projection)
    return image.having_bands(bands)


def _as_mask(wanted: Array, there: Array) -> Array:
    """Return numbers as a mask from 0 to 1, bool where they are nothing else."""
    if wanted.dtype.kind != "f":
        return (wanted > 0) & (there > 0)
    bounded = np.clip(wanted, 0, 1).astype(np.float32) * (there > 0)
    return bounded > 0 if bool(((bounded == 0) | (bounded == 1)).all()) else bounded


@function("Image.unmask", "input value? sameFootprint?")
def unmask(source: Any, value: Any, same_footprint: Any) -> Image:
    """Return the image with "mask and value of another image at all positions where the input mask is zero".

    Only with ``sameFootprint`` false outside the image's outline too:
    https://developers.google.com/earth-engine/apidocs/ee-image-unmask.
    """
    image = image_of(source, "Image.unmask")
    fill = image_of(0 if value is None else value, "Image.unmask")
    outline = image.footprint if same_footprint is None or same_footprint else None
    bands = {}
    for name, node, other in paired(image, fill, "Image.unmask"):
        dtype = union_of(node.dtype, other.dtype)

        def compute(request: Request, node: Node = node, other: Node = other, dtype: str = dtype) -> Pixels:
            (values, own), (instead, there) = request.pull(node), request.pull(other)
            valid = own > 0
            if valid.all():
                return values.astype(dtype, copy=False), own
            out = np.where(valid, values, instead).astype(dtype, copy=False)
            mask = np.where(valid, own, there)
            return out, mask if outline is None else mask * (valid | inside(outline, request.grid))

        bands[name] = Node(dtype, compute, (node, other), node.projection or other.projection)
    footprint = image.footprint if outline is not None else None
    return Image(bands, properties=image.properties, footprint=footprint, id=image.id)


@function("Image.where", "input test value")
def where(image: Any, test: Any, value: Any) -> Image:
    """Return ``value`` where ``test`` is not zero: https://developers.google.com/earth-engine/apidocs/ee-image-where."""
    base, tests, values = (image_of(part, "Image.where") for part in (image, test, value))
    tested = {name: other for name, _, other in paired(base, tests, "Image.where")}
    bands = {}
    for name, node, other in paired(base, values, "Image.where"):
        dtype = union_of(node.dtype, other.dtype)

        def compute(own: Array, mask: Array, test: Array, known: Array, new: Array, there: Array) -> Pixels:
            return np.where((test != 0) & (known > 0) & (there > 0), new, own), mask

        bands[name] = per_pixel([node, tested[name], other], dtype, compute)
    return base.having_bands(bands)


@function("Image.clip Image.clipToCollection", "input geometry? collection?")
def clip(source: Any, geometry: Any, collection: Any) -> Image:
    """Return the image masked outside a shape, by the pixels' centres.

    Earth Engine masks pixels at the edge by fractions
    (https://developers.google.com/earth-engine/guides/reducers_weighting); the stand-in does not.
    """
    image = image_of(source, "Image.clip")
    shape = shape_of(geometry if geometry is not None else collection, "Image.clip")

    def compute(request: Request) -> Pixels:
        return inside(shape, request.grid), request.full(1, "bool")

    clipped = update_mask(image, Image({"inside": Node("bool", compute)}))
    footprint = shape if image.footprint is None else image.footprint.intersection(shape)
    return Image(clipped.bands, properties=image.properties, footprint=footprint, id=image.id)

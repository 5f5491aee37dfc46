"""Functions of an image as a set of bands: which there are, their names, and what is known of it."""

from __future__ import annotations

import re
from typing import Any

from m3leo_prep.testing.earth_engine.evaluation.image import Image, no_band
from m3leo_prep.testing.earth_engine.evaluation.making import (
    constant_band,
    image_of,
    named,
    plain,
)
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.values import (
    Date,
    EarthEngineError,
    Element,
    Geometry,
    PixelType,
    millis_of,
)


@function("Image.metadata", "image property name?")
def metadata(image: Image, name: str, band: str | None) -> Image:
    """Return a property as a constant band."""
    value = image.get(name)
    if not isinstance(value, int | float):
        raise EarthEngineError(f"Image.metadata: Property '{name}' is not a number: {value!r}.")
    return Image({band or name: constant_band(value)}, properties=plain(image), footprint=image.footprint)


@function("Image.select", "input bandSelectors newNames?")
def select(image: Image, selectors: Any, names: Any) -> Image:
    """Return bands by name, number or regular expression, which is matched as a whole."""
    found: list[str] = []
    for selector in selectors if isinstance(selectors, list) else [selectors]:
        matches = _matching(image, selector)
        if not matches:
            raise EarthEngineError(no_band(selector, image.bands, "Image.select"))
        found += [name for name in matches if name not in found] if len(matches) > 1 else matches
    if names is not None and len(names) != len(found):
        raise EarthEngineError(
            f"Image.select: The number of new names ({len(names)}) must match the number of bands ({len(found)})."
        )
    return image.having_bands(named(zip(names or found, (image.bands[name] for name in found), strict=True)))


def _matching(image: Image, selector: Any) -> list[str]:
    if isinstance(selector, str):
        return [selector] if selector in image.bands else [name for name in image.bands if re.fullmatch(selector, name)]
    bands = list(image.bands)
    return [bands[int(selector)]] if -len(bands) <= int(selector) < len(bands) else []


@function("Image.rename", "input names")
def rename(image: Image, names: Any) -> Image:
    """Return the same bands by other names."""
    names = names if isinstance(names, list) else [names]
    if len(names) != len(image.bands):
        raise EarthEngineError(
            f"Image.rename: The number of names ({len(names)}) must match the number of bands ({len(image.bands)})."
        )
    return image.having_bands(named(zip(names, image.bands.values(), strict=True)))


@function("Image.addBands", "dstImg srcImg names? overwrite?")
def add_bands(target: Any, source: Any, names: Any, overwrite: Any) -> Image:
    """Return the first's bands and the second's: https://developers.google.com/earth-engine/apidocs/ee-image-addbands."""
    into, extra = image_of(target, "Image.addBands"), image_of(source, "Image.addBands")
    extra = extra if names is None else select(extra, names, None)
    if overwrite:
        return into.having_bands({**into.bands, **extra.bands})
    return into.having_bands(named([*into.bands.items(), *extra.bands.items()]))


@function("Image.cat", "images")
def cat(images: list[Any]) -> Image:
    """Return all bands with the metadata of the first: https://developers.google.com/earth-engine/apidocs/ee-image-cat."""
    parts = [image_of(image, "Image.cat") for image in images]
    if not parts:
        return Image()
    return parts[0].having_bands(named(item for part in parts for item in part.bands.items()))


@function("Image.bandNames", "image")
def band_names(image: Image) -> list[str]:
    """Return the names of the bands."""
    return list(image.bands)


@function("Image.bandTypes", "image")
def band_types(image: Image) -> dict[str, PixelType]:
    """Return name -> type."""
    return {name: PixelType(node.dtype) for name, node in image.bands.items()}


@function("Image.date", "image")
def date(image: Image) -> Date:
    """Return the time of the first pixel."""
    start = image.get("system:time_start")
    if start is None:
        raise EarthEngineError("Image.date: Image has no 'system:time_start' property.")
    return Date(millis_of(start))


@function("Element.geometry Image.geometry Feature.geometry", "feature")
def geometry(element: Element) -> Geometry | None:
    """Return the outline."""
    return None if element.footprint is None else Geometry(element.footprint)

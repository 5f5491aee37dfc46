"""Functions that make pictures of images: https://developers.google.com/earth-engine/guides/image_visualization."""

from __future__ import annotations

from typing import Any

import numpy as np

from m3leo_prep.testing.earth_engine.evaluation.arithmetic import Array
from m3leo_prep.testing.earth_engine.evaluation.functions_bands import select
from m3leo_prep.testing.earth_engine.evaluation.image import Image, Node
from m3leo_prep.testing.earth_engine.evaluation.making import image_of, per_pixel
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.sampling import Pixels
from m3leo_prep.testing.earth_engine.evaluation.values import EarthEngineError

_COLOURS = ("vis-red", "vis-green", "vis-blue")


@function("Image.visualize", "image bands? min? max? palette?")
def visualize(source: Any, bands: Any, low: Any, high: Any, palette: Any) -> Image:
    """Return a picture of uint8: of three bands, or of one by a palette of hexadecimal colours, or grey.

    https://developers.google.com/earth-engine/apidocs/ee-image-visualize. A palette's colours lie at equal distances
    from ``min`` to ``max``, linear between them (unverified).
    """
    image = image_of(source, "Image.visualize")
    shown = image if bands is None else select(image, bands.split(",") if isinstance(bands, str) else bands, None)
    nodes = list(shown.bands.values())
    if len(nodes) not in {1, 3} or (palette and len(nodes) != 1):
        raise EarthEngineError(f"Image.visualize: Expected 1 or 3 bands, or 1 with a palette; got {len(nodes)}.")
    limits = [(_one(low, k, 0.0), _one(high, k, 255.0)) for k in range(len(nodes))]
    if palette:
        colours = np.array([_rgb(colour) for colour in palette])
        made = [_stretched(nodes[0], *limits[0], colours[:, channel]) for channel in range(3)]
    else:
        made = [_stretched(node, *ends, np.array([0, 255])) for node, ends in zip(nodes, limits, strict=True)]
    names = _COLOURS if len(made) == len(_COLOURS) else ("vis-gray",)
    return image.having_bands(dict(zip(names, made, strict=True)))


def _stretched(node: Node, low: float, high: float, steps: Array) -> Node:
    """Return a band of uint8: the steps from low to high."""
    places = np.linspace(low, high, len(steps))

    def compute(values: Array, mask: Array) -> Pixels:
        return np.rint(np.interp(values, places, steps)).astype(np.uint8), mask

    return per_pixel([node], "uint8", compute)


def _one(given: Any, band: int, default: float) -> float:
    """Return a band's limit: one number is for all."""
    if given is None:
        return default
    return float(given[band] if isinstance(given, list) else given)


def _rgb(colour: str) -> list[int]:
    try:
        red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    except ValueError:
        raise EarthEngineError(f"stand-in: colours are hexadecimal here, not '{colour}'") from None
    return [red, green, blue]

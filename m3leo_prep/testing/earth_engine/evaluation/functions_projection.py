"""Functions of projections: where an image has its pixels, and how it is computed between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from m3leo_prep.core.authalic import plane
from m3leo_prep.testing.earth_engine.evaluation.geometries import to_lon_lat
from m3leo_prep.testing.earth_engine.evaluation.image import Image, Node, Request, resampled
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.sampling import Pixels, places_in, positions, proj_name
from m3leo_prep.testing.earth_engine.evaluation.values import (
    EarthEngineError,
    Projection,
)


@function("Image.resample", "image mode?")
def resample(image: Image, mode: str | None) -> Image:
    """Return the image interpolated between its own pixels: see ``image.resampled``."""
    if mode not in {None, "bilinear", "bicubic"}:
        raise EarthEngineError(f"Image.resample: Unknown resampling mode '{mode}'.")
    kernel = mode or "bilinear"
    return image.having_bands({name: resampled(node, kernel) for name, node in image.bands.items()})  # type: ignore[arg-type]  # checked above


@function("Image.reproject", "image crs crsTransform? scale?")
def reproject(image: Image, crs: Any, transform: Any, scale: float | None) -> Image:
    """Return the image computed on the pixels of a projection, and from there by the nearest neighbour."""
    target = projection_of(crs, transform, scale)
    return image.having_bands({name: resampled(node, "nearest", target) for name, node in image.bands.items()})


@function("Image.setDefaultProjection", "image crs crsTransform? scale?")
def set_default_projection(image: Image, crs: Any, transform: Any, scale: float | None) -> Image:
    """Return the image with another default projection; pixels are computed where they are asked for all the same."""
    target = projection_of(crs, transform, scale)

    def moved(node: Node) -> Node:
        return Node(node.dtype, lambda request: request.pull(node), (node,), target)

    return image.having_bands({name: moved(node) for name, node in image.bands.items()})


@function("Projection Proj", "crs transform?")
def projection(crs: Any, transform: list[float] | None) -> Projection:
    """Return a projection."""
    return projection_of(crs, transform, None)


def projection_of(crs: Any, transform: Any, scale: float | None) -> Projection:
    """Return a projection from what functions take: text or projection, six numbers or metres per pixel."""
    base = crs if isinstance(crs, Projection) else Projection(str(crs))
    if transform is not None:
        a, b, c, d, e, f = (float(number) for number in transform)
        return Projection(base.crs, (a, b, c, d, e, f))
    if scale is not None:
        size = float(scale) / _metres(base.crs)
        return Projection(base.crs, (size, 0.0, 0.0, 0.0, -size, 0.0))
    return base


def _metres(crs: str) -> float:
    """Return the metres of one unit of a projection; a degree is taken at the equator."""
    from pyproj import CRS

    axis = CRS.from_user_input(proj_name(crs)).axis_info[0]
    return 111_319.49079327358 if axis.unit_name == "degree" else float(axis.unit_conversion_factor)


@function("Projection.crs", "projection")
def projection_crs(projection: Projection) -> str:
    """Return the projection's name."""
    return projection.crs


@function("Projection.nominalScale", "proj")
def nominal_scale(projection: Projection) -> float:
    """Return metres per pixel."""
    a, b, _, d, e, _ = projection.transform
    return float(np.sqrt(abs(a * e - b * d))) * _metres(projection.crs)


@function("Projection.atScale", "projection meters")
def at_scale(projection: Projection, metres: float) -> Projection:
    """Return the projection with pixels of another size."""
    return projection_of(projection.crs, None, metres)


@function("Image.projection", "image")
def image_projection(image: Image) -> Projection:
    """Return the default projection, which all bands must share."""
    found = {node.projection or Projection() for node in image.bands.values()}
    if len(found) > 1:
        raise EarthEngineError(
            "Image.projection: The bands of the specified image contains different projections. "
            "Use Image.select to pick a single band."
        )
    return found.pop() if found else Projection()


@function("Image.pixelLonLat")
def pixel_lon_lat() -> Image:
    """Return longitude and latitude of the pixels' centres, degrees."""

    def axis(number: int) -> Callable[[Request], Pixels]:
        def compute(request: Request) -> Pixels:
            grid = request.grid
            places = grid.places() if grid.crs == "EPSG:4326" else places_in(grid, "EPSG:4326")
            return places[number], request.full(1, "bool")

        return compute

    return Image({"longitude": Node("float64", axis(0)), "latitude": Node("float64", axis(1))})


@function("Image.pixelCoordinates", "projection")
def pixel_coordinates(projection: Any) -> Image:
    """Return x and y of the pixels' centres in pixels of a projection (that it is the centres' is unverified).

    https://developers.google.com/earth-engine/apidocs/ee-image-pixelcoordinates.
    """
    target = projection_of(projection, None, None)

    def axis(number: int) -> Callable[[Request], Pixels]:
        def compute(request: Request) -> Pixels:
            grid = request.grid
            at = positions(grid, target.crs, target.transform)[number]
            return np.broadcast_to(at, (grid.height, grid.width)), request.full(1, "bool")

        return compute

    return Image({"x": Node("float64", axis(0)), "y": Node("float64", axis(1))})


@function("Image.pixelArea")
def pixel_area() -> Image:
    """Return each pixel's area on the ellipsoid, m2."""

    def compute(request: Request) -> Pixels:
        x, y = plane(*to_lon_lat(request.grid.crs, *request.grid.places(at=0)))
        across, along = (
            (x[1:, 1:] - x[:-1, :-1], y[1:, 1:] - y[:-1, :-1]),
            (x[1:, :-1] - x[:-1, 1:], y[1:, :-1] - y[:-1, 1:]),
        )
        return np.abs(across[0] * along[1] - across[1] * along[0]) * 5e5, request.full(1, "bool")

    return Image({"area": Node("float64", compute)})

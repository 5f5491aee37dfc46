"""Images: bands that say how to compute their pixels on the grid of a request, and nothing before that.

"Inputs are requested in the output projection": https://developers.google.com/earth-engine/guides/projections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.testing.earth_engine.archive import Scene, SceneBand
from m3leo_prep.testing.earth_engine.evaluation.sampling import (
    REACH,
    Floats,
    Grid,
    Kernel,
    Pixels,
    cells_of,
    nearest_of,
    positions,
    refuse_coarse,
    sample,
)
from m3leo_prep.testing.earth_engine.evaluation.values import EarthEngineError, Element, Projection

_STRIP_PIXELS = 1 << 20
"""A request is computed in strips of about this many pixels, which bounds memory."""
_MOST_TIMES = 16
"""Most source pixels per output pixel that a window may hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One band: its type, the bands it is made of, and how."""

    dtype: str
    """numpy's name: uint8 ... float64."""
    compute: Callable[[Request], Pixels]
    """Pulls each of ``inputs`` through the request, once."""
    inputs: tuple[Node, ...] = ()
    projection: Projection | None = None
    """Its default projection; None for constants and composites, which have none that means anything."""


class Request:
    """The bands asked for on one grid; what several bands need is computed once and freed after its last use."""

    def __init__(self, grid: Grid, roots: Iterable[Node]) -> None:
        self.grid = grid
        self._left = Counter(roots)
        self._kept: dict[Node, Pixels] = {}
        self._places: dict[Projection, tuple[Floats, Floats]] = {}
        self._cells: dict[Projection, tuple[NDArray[np.int32], NDArray[np.int32]]] = {}
        self._windows: dict[tuple[Projection, int], tuple[int, int, int, int]] = {}
        waiting = list(self._left)
        seen = set(waiting)
        while waiting:
            for node in waiting.pop().inputs:
                self._left[node] += 1
                if node not in seen:
                    seen.add(node)
                    waiting.append(node)

    def pull(self, node: Node) -> Pixels:
        """Return values and mask of a band."""
        pixels = self._kept.get(node)
        if pixels is None:
            pixels = node.compute(self)
        self._left[node] -= 1
        if self._left[node] > 0:
            self._kept[node] = pixels
        else:
            self._kept.pop(node, None)
        return pixels

    def positions(self, projection: Projection, what: str) -> tuple[Floats, Floats]:
        """Return where the grid's centres lie in pixels of a projection: see ``sampling.positions``."""
        if projection not in self._places:
            refuse_coarse(self.grid, projection.crs, projection.transform, what)
            self._places[projection] = positions(self.grid, projection.crs, projection.transform)
        return self._places[projection]

    def cells(self, projection: Projection, what: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return in which of a projection's pixels the grid's centres lie, column and row, both (y, x)."""
        if projection not in self._cells:
            column, row = self.positions(projection, what)
            self._cells[projection] = cells_of(column), cells_of(row)
        return self._cells[projection]

    def window(self, projection: Projection, reach: int, what: str) -> tuple[int, int, int, int]:
        """Return (row0, row1, col0, col1) of a projection's pixels that a kernel needs."""
        key = projection, reach
        if key not in self._windows:
            column, row = self.positions(projection, what)
            self._windows[key] = *_span(row, reach, self.grid, what), *_span(column, reach, self.grid, what)
        return self._windows[key]

    def full(self, value: Any, dtype: str) -> NDArray[Any]:
        """Return the same value everywhere; no memory, read-only."""
        return np.broadcast_to(np.dtype(dtype).type(value), (self.grid.height, self.grid.width))

    def nothing(self, dtype: str) -> Pixels:
        """Return pixels that are all masked."""
        return self.full(0, dtype), self.full(0, "bool")


def is_nothing(mask: NDArray[Any]) -> bool:
    """Return whether a mask is one of ``Request.nothing``."""
    return mask.strides == (0, 0) and mask.size > 0 and not mask[0, 0]


def is_all(mask: NDArray[Any]) -> bool:
    """Return whether a mask says of every pixel at once that it is there, as constants' do."""
    return mask.dtype == bool and mask.strides == (0, 0) and mask.size > 0 and bool(mask[0, 0])


@dataclass(frozen=True, slots=True)
class Image(Element):
    """Named bands with properties."""

    bands: Mapping[str, Node] = field(default_factory=dict)

    def having_bands(self, bands: Mapping[str, Node]) -> Image:
        """Return other bands with the same properties and place."""
        return replace(self, bands=dict(bands))

    def pixels(self, grid: Grid, names: Sequence[str] | None = None) -> dict[str, Pixels]:
        """Return values, of the band's type and 0 where masked, and mask of each band, all (y, x).

        Args:
            grid: the pixels asked for.
            names: bands; none = all.

        Raises:
            EarthEngineError: a band is not there, or the request is too coarse for the stand-in.
        """
        names = list(self.bands) if names is None else names
        for name in names:
            if name not in self.bands:
                raise EarthEngineError(no_band(name, self.bands, "Image.select"))
        rows = max(1, _STRIP_PIXELS // max(1, grid.width))
        strips = [grid.part(row, min(grid.height, row + rows)) for row in range(0, grid.height, rows)]
        done: list[list[Pixels]] = []
        for strip in strips:
            request = Request(strip, [self.bands[name] for name in names])
            done.append([_clean(request.pull(self.bands[name]), self.bands[name].dtype) for name in names])
        return {name: _stack([strip[number] for strip in done]) for number, name in enumerate(names)}


def no_band(pattern: Any, bands: Iterable[str], function: str) -> str:
    """Return what Earth Engine says of a band that is not there."""
    return f"{function}: Band pattern '{pattern}' did not match any bands. Available bands: [{', '.join(bands)}]"


def _clean(pixels: Pixels, dtype: str) -> Pixels:
    values, mask = pixels
    there = mask > 0
    if not is_all(mask) and not there.all():
        values = np.where(there, values, 0)
    return values.astype(dtype, copy=False), mask


def _stack(strips: list[Pixels]) -> Pixels:
    if len(strips) == 1:
        return strips[0]
    return np.concatenate([values for values, _ in strips]), np.concatenate([mask for _, mask in strips])


def of_scene(scene: Scene) -> Image:
    """Return a scene as an image, sampled by the nearest neighbour; the same one each time."""
    image = _IMAGES.get(scene)
    if image is None:
        image = _IMAGES[scene] = Image(
            {band.name: _source(band, scene.id) for band in scene.bands},
            properties=dict(scene.properties),
            footprint=scene.footprint,
            id=scene.id,
        )
    return image


_IMAGES: WeakKeyDictionary[Scene, Image] = WeakKeyDictionary()


def _source(band: SceneBand, scene: str) -> Node:
    projection = Projection(band.crs, band.transform)
    what = f"band {band.name} of {scene}"

    def compute(request: Request) -> Pixels:
        row0, row1, col0, col1 = request.window(projection, 0, what)
        col0, col1 = max(col0, 0), min(col1, band.shape[1])
        row0, row1 = max(row0, 0), min(row1, band.shape[0])
        if col0 >= col1 or row0 >= row1:
            return request.nothing(band.dtype)
        values, valid = band.read(row0, row1, col0, col1)
        column, row = request.positions(projection, what)
        if values.shape == (request.grid.height, request.grid.width) and _consecutive(column, row):
            return values, valid
        if column.shape == row.shape:
            return nearest_of(values, valid, *request.cells(projection, what), col0, row0)
        return sample(values, valid, column - col0, row - row0, "nearest")

    return Node(band.dtype, compute, projection=projection)


def resampled(node: Node, kernel: Kernel, projection: Projection | None = None) -> Node:
    """Return a band interpolated from its values on the pixels of a projection, by default its own.

    ``resample()`` "relies on the input image's default projection being meaningful, and so cannot be used on
    composites" (https://developers.google.com/earth-engine/apidocs/ee-image-resample): those come back as they are.
    """
    own = projection or node.projection
    if own is None:
        return node
    dtype = node.dtype if kernel == "nearest" else real_of(node.dtype)

    def compute(request: Request) -> Pixels:
        what = "an image"
        row0, row1, col0, col1 = request.window(own, REACH[kernel], what)
        if col0 >= col1 or row0 >= row1:
            return request.nothing(dtype)
        part = Grid(own.crs, own.transform, col1 - col0, row1 - row0, row0, col0)
        if part.width * part.height > _MOST_TIMES * (request.grid.width + 8) * (request.grid.height + 8):
            raise EarthEngineError(f"stand-in: {what} is torn apart by the request's projection (antimeridian or pole)")
        values, mask = Request(part, [node]).pull(node)
        if is_nothing(mask):
            return request.nothing(dtype)
        column, row = request.positions(own, what)
        return sample(values, mask, column - col0, row - row0, kernel)

    return Node(dtype, compute, projection=own)


def real_of(dtype: str) -> str:
    """Return the floating type that holds a type's numbers: float32 up to 16 bits."""
    return "float32" if dtype == "float32" or np.dtype(dtype).itemsize <= 2 else "float64"


def union_of(*dtypes: str) -> str:
    """Return the type that holds all: "the union of the input types".

    https://developers.google.com/earth-engine/apidocs/ee-image-add; a float beside integers stays a float (unverified).
    """
    if "float64" in dtypes:
        return "float64"
    if "float32" in dtypes:
        return "float32"
    return str(np.result_type(*(np.dtype(dtype) for dtype in dtypes)))


def _span(axis: Floats, reach: int, grid: Grid, what: str) -> tuple[int, int]:
    """Return first and past-the-last whole pixel that a kernel needs along an axis; (0, 0) where none is finite."""
    finite = axis[np.isfinite(axis)] if not np.isfinite(axis).all() else axis
    if not finite.size:
        return 0, 0
    low, high = float(finite.min()), float(finite.max())
    if high - low > _MOST_TIMES * (grid.width + grid.height + 64):
        raise EarthEngineError(f"stand-in: {what} is torn apart by the request's projection (antimeridian or pole)")
    return int(np.floor(low)) - reach, int(np.floor(high)) + 1 + reach


def _consecutive(column: Floats, row: Floats) -> bool:
    """Return whether the positions are all pixels of a window, in order."""
    if column.shape[0] != 1 or row.shape[1] != 1:
        return False
    return all(bool((np.diff(np.floor(axis.ravel())) == 1).all()) for axis in (column, row))

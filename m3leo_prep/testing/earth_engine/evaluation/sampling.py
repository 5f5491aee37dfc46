"""Where the pixels of a request lie in an image's own pixels, and the kernels that sample there.

Earth Engine computes on the grid of the output and pulls each input at its pixel centres, by the nearest neighbour
unless ``resample()`` says otherwise (https://developers.google.com/earth-engine/guides/projections and
https://developers.google.com/earth-engine/guides/resample).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.ops._operation import transform as transform_points
from m3leo_prep.testing.earth_engine.evaluation import kernels
from m3leo_prep.testing.earth_engine.evaluation.values import EarthEngineError

Kernel = Literal["nearest", "bilinear", "bicubic"]
Floats = NDArray[np.float64]
Affine = tuple[float, float, float, float, float, float]
Pixels = tuple[NDArray[Any], NDArray[Any]]
"""Values and mask, both (y, x). The mask is bool, or float32 from 0 to 1 where an interpolation made it fractional."""

REACH = {"nearest": 0, "bilinear": 1, "bicubic": 2}
"""Pixels that a kernel takes on either side."""
_STEPS = 2.0**20
"""Positions are rounded to this part of a pixel, so that a request and its pieces see the same ones."""
_COARSEST = 2.0 - 1e-6
_NAMES = {"SR-ORG:6974": "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs +type=crs"}
"""Earth Engine's names of projections that PROJ does not know, https://spatialreference.org/ref/sr-org/6974/."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The pixels of a request: x = a col + b row + c, y = d col + e row + f of their outer corners."""

    crs: str
    transform: Affine
    width: int
    height: int
    row: int = 0
    """Number of the first row: a part of a grid keeps the positions of the whole, bit for bit."""
    col: int = 0

    def part(self, row0: int, row1: int) -> Grid:
        """Return the rows from ``row0`` to before ``row1``."""
        return Grid(self.crs, self.transform, self.width, row1 - row0, self.row + row0, self.col)

    def places(self, at: float = 0.5) -> tuple[Floats, Floats]:
        """Return x and y, both (y, x), of the pixels' centres; ``at=0`` gives all corners, one more each way."""
        extra = 0 if at else 1
        cols = (self.col + np.arange(self.width + extra) + at)[None, :]
        rows = (self.row + np.arange(self.height + extra) + at)[:, None]
        a, b, c, d, e, f = self.transform
        x, y = np.broadcast_arrays(a * cols + b * rows + c, d * cols + e * rows + f)
        return x, y


def proj_name(crs: str) -> str:
    """Return what PROJ calls a projection of Earth Engine."""
    return _NAMES.get(crs, crs)


@lru_cache(maxsize=16)
def places_in(grid: Grid, crs: str) -> tuple[Floats, Floats]:
    """Return the centres' x and y in another projection, both (y, x), exact; not finite where undefined."""
    x, y = transform_points(proj_name(grid.crs), proj_name(crs), *map(np.ascontiguousarray, grid.places()))
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def positions(grid: Grid, crs: str, transform: Affine) -> tuple[Floats, Floats]:
    """Return column and row, in pixels from the outer corner of ``transform``, of the grid's centres.

    They are (1, x) and (y, 1) where the axes are parallel, else both (y, x).
    """
    a, b, c, d, e, f = transform
    across: Floats = grid.col + np.arange(grid.width, dtype=np.float64) + 0.5
    down: Floats = grid.row + np.arange(grid.height, dtype=np.float64) + 0.5
    if grid.crs == crs and grid.transform == transform:
        return across[None, :], down[:, None]
    if grid.crs == crs and not (b or d or grid.transform[1] or grid.transform[3]):
        x, y = grid.transform[0] * across + grid.transform[2], grid.transform[4] * down + grid.transform[5]
        return _snap((x - c) / a)[None, :], _snap((y - f) / e)[:, None]
    x, y = grid.places() if grid.crs == crs else places_in(grid, crs)
    determinant = a * e - b * d
    column: Floats = (e * (x - c) - b * (y - f)) / determinant
    row: Floats = (a * (y - f) - d * (x - c)) / determinant
    return _snap(column), _snap(row)


def refuse_coarse(grid: Grid, crs: str, transform: Affine, what: str) -> None:
    """Do nothing where pixels of a request are less than twice those of the image, else raise.

    Earth Engine then reads from a pyramid: "the pyramid level with the closest scale less than or equal to the scale
    specified by your analysis" (https://developers.google.com/earth-engine/guides/scale). The stand-in has none, and
    pixels at full resolution would not be what it gives. Pixels are compared by the root of their area (unverified).
    """
    middle = Grid(grid.crs, grid.transform, 1, 1, grid.row + grid.height // 2, grid.col + grid.width // 2)
    x, y = middle.places(at=0)
    if grid.crs != crs:
        x, y = transform_points(proj_name(grid.crs), proj_name(crs), x.copy(), y.copy())
    (dx, dy), (ex, ey) = (x[0, 1] - x[0, 0], y[0, 1] - y[0, 0]), (x[1, 0] - x[0, 0], y[1, 0] - y[0, 0])
    a, b, _, d, e, _ = transform
    ratio = math.sqrt(abs(dx * ey - dy * ex) / abs(a * e - b * d))
    if math.isfinite(ratio) and ratio >= _COARSEST:
        raise EarthEngineError(
            f"stand-in: {what} is asked for in pixels {ratio:.3g} times its own, which Earth Engine reads from a "
            "pyramid; the stand-in has none: ask for its native scale"
        )


def sample(values: NDArray[Any], mask: NDArray[Any], column: Floats, row: Floats, kernel: Kernel) -> Pixels:
    """Return values and mask at positions in pixels from the outer corner of ``values``; masked outside.

    Interpolated values are float32 (float64 of 32-bit integers and float64): Earth Engine's own type after ``resample``
    is unverified. A masked neighbour takes no part, and the result's mask is the bilinear weight of the others
    (unverified: the public pages say only that masks may be fractional). Bicubic is Catmull-Rom, a = -1/2 (the kernel's
    parameter is unverified); where one of its 16 neighbours is masked the value is bilinear.

    Args:
        values: (rows, columns).
        mask: bool or float, (rows, columns).
        column: as ``positions`` gives it, shifted to ``values``.
        row: likewise.
        kernel: nearest, bilinear or bicubic.
    """
    if kernel == "nearest":
        return _nearest(values, mask, column, row)
    real = np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64
    whole = (
        bool(mask.size)
        and mask.min() == 1
        and _interior(column, values.shape[1], kernel)
        and _interior(row, values.shape[0], kernel)
    )
    if whole:
        out = (
            _blend(values.astype(real, copy=False), mask, column, row)[0]
            if kernel == "bilinear"
            else _cubic(values.astype(real), column, row)
        )
        return out, np.broadcast_to(np.True_, out.shape)
    out, share = _blend(values.astype(real, copy=False), mask, column, row, divide=True)
    out_mask: NDArray[Any] = np.minimum(share.astype(np.float32, copy=False), 1)
    if kernel == "bicubic":
        weight: NDArray[Any] = mask.astype(real)
        filled: NDArray[Any] = np.where(mask > 0, values, 0).astype(real) * weight
        # The weight of all 16 is 1 only where none is masked or outside.
        taps = _gather(weight, column, row, 2)
        whole = np.all([tap == 1 for tap in taps], axis=0)
        out = np.where(whole, _cubic(filled, column, row), out).astype(real)
    if bool(((out_mask == 0) | (out_mask == 1)).all()):
        out_mask = out_mask > 0
    return out, out_mask


def _snap(position: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.round(position * _STEPS) / _STEPS


def _interior(position: Floats, size: int, kernel: Kernel) -> bool:
    """Return whether all neighbours of all positions along an axis are there."""
    edge = REACH[kernel] - 0.5
    return bool(((position >= edge) & (position < size - edge)).all())


def _whole(position: Floats, size: int, reach: int) -> NDArray[np.intp]:
    """Return floor(position) as an index, brought to just outside where it is far away or not finite."""
    bounded = np.clip(np.nan_to_num(np.floor(position), nan=-1e9, posinf=1e9, neginf=-1e9), -1 - reach, size + reach)
    return np.asarray(bounded, np.intp)


def _take(array: NDArray[Any], row: NDArray[np.intp], column: NDArray[np.intp]) -> NDArray[Any]:
    """Return ``array`` at indices, 0 outside."""
    rows, cols = array.shape
    if not array.size:
        return np.zeros(np.broadcast_shapes(row.shape, column.shape), array.dtype)
    flat = array.ravel()
    if row.min() >= 0 and row.max() < rows and column.min() >= 0 and column.max() < cols:
        return np.asarray(flat.take(row * cols + column))
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < cols)
    return np.asarray(np.where(inside, flat.take(row * cols + column, mode="clip"), array.dtype.type(0)))


def _nearest(values: NDArray[Any], mask: NDArray[Any], column: Floats, row: Floats) -> Pixels:
    r, c = _whole(row, values.shape[0], 0), _whole(column, values.shape[1], 0)
    return _take(values, r, c), _take(mask, r, c)


def cells_of(position: Floats) -> NDArray[np.int32]:
    """Return the numbers of the cells in which positions lie, (y, x); -1 where they are not finite or negative."""
    out = np.empty(position.shape, np.int32)
    kernels.cells(position.ravel(), out.ravel())
    return out


def nearest_of(
    values: NDArray[Any], mask: NDArray[Any], column: NDArray[np.int32], row: NDArray[np.int32], col0: int, row0: int
) -> Pixels:
    """Return values and mask of numbered cells, 0 outside; ``values`` begins with the cell (row0, col0)."""
    out, out_mask = np.empty(column.shape, values.dtype), np.empty(column.shape, mask.dtype)
    kernels.nearest(values, mask, column.ravel(), row.ravel(), col0, row0, out.ravel(), out_mask.ravel())
    return out, out_mask


def _blend(
    values: NDArray[Any], mask: NDArray[Any], column: Floats, row: Floats, *, divide: bool = False
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the bilinear interpolation and, with ``divide``, by which share of its neighbours it is divided."""
    shape = np.broadcast_shapes(row.shape, column.shape)
    out = np.empty(shape, values.dtype)
    share = np.empty(shape if divide else (0, 0), values.dtype)
    if row.shape[1] == 1 and column.shape[0] == 1:
        kernels.blend_axes(values, mask, row.ravel(), column.ravel(), divide, out, share)
    else:
        kernels.blend_points(values, mask, row.ravel(), column.ravel(), divide, out.ravel(), share.ravel())
    return out, share


def _fraction(position: Floats, real: Any) -> NDArray[Any]:
    """Return how far past the centre before it a position lies, 0 to 1; 0 where it is not finite."""
    with np.errstate(invalid="ignore"):
        past = (position - 0.5) - np.floor(position - 0.5)
    return np.nan_to_num(past).astype(real)


def _gather(array: NDArray[Any], column: Floats, row: Floats, reach: int) -> list[NDArray[Any]]:
    """Return the (2 reach)^2 neighbours of each position, rows first."""
    r, c = _whole(row - 0.5, array.shape[0], reach), _whole(column - 0.5, array.shape[1], reach)
    steps = range(1 - reach, 1 + reach)
    return [_take(array, r + i, c + j) for i in steps for j in steps]


def _cubic(array: NDArray[Any], column: Floats, row: Floats) -> NDArray[Any]:
    """Return the cubic convolution of Keys (1981) with a = -1/2 from 16 neighbours."""
    real = array.dtype.type
    down, across = _keys(_fraction(row, real)), _keys(_fraction(column, real))
    taps = iter(_gather(array, column, row, 2))
    return np.asarray(sum(i * sum(j * next(taps) for j in across) for i in down))


def _keys(t: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    return (
        ((-t + 2) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((-3 * t + 4) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )

"""What a label raster holds inside polygons: exact covered areas on the raster's own grid, in bounded blocks.

The ground of the polygons is cut along cells of a coarse chip grid, which tile the Earth, so that every block is read
once and no ground counts twice. In a block each pixel counts by the part of it that a polygon covers (exactextract)
times its own ground area on the ellipsoid.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log2, radians, tan

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.authalic import SEMI_MAJOR_KM, plane
from m3leo_prep.core.defaults import is_computed
from m3leo_prep.core.errors import TooLarge, TransientError, TriedOut
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.plan import LayerPlan
from m3leo_prep.core.raster import Item, Raster, Slot
from m3leo_prep.core.zones import NORTH_END, SOUTH_END
from m3leo_prep.ops._operation import transform
from m3leo_prep.ops.join import join
from m3leo_prep.ops.warp import Method, warp
from m3leo_prep.pipeline.derive import Derived, in_groups, read_rasters
from m3leo_prep.pipeline.proportions.groups import Target
from m3leo_prep.pipeline.proportions.overlaps import owned_ground
from m3leo_prep.pipeline.unit import ATTEMPTS, PAUSE_SECONDS
from m3leo_prep.ports.source import Source

Floats = NDArray[np.float64]
Shapes = NDArray[np.object_]
Step = Callable[[int, int], None]
"""Is told how many blocks are done, and of how many."""

BLOCK_PX = 2048
"""Side of a block in pixels of the raster: 4 M pixels, some 150 MB of work."""
BLOCK_M = 100_000
LEAST_PX = 64
"""Side of a block that is not cut further where a source finds it too large."""
EDGE_DEG = 0.01
"""Edges are straight in lon/lat; cut this short (1.1 km), they are straight in any projection to 0.1 m."""
NODES = 33
"""Along each side of a raster, where ground areas of pixels are computed; in between they are interpolated."""
LONLAT = "EPSG:4326"


def can_cover(array: Array) -> bool:
    """Return whether each of its values is one pixel of the source: not computed, no composite of acquisitions."""
    return array.statistic in {"first", "last"} and not is_computed(array)


def cover(
    plan: LayerPlan, targets: Sequence[Target], units: Shapes, source: Source, step: Step = lambda _done, _of: None
) -> list[Floats]:
    """Return per target what each unit holds, of the raster itself, whatever chips there are.

    Args:
        plan: the layer.
        targets: what is told, all of this layer.
        units: (unit,) lon/lat polygons; ground beyond 80 S and 84 N is left out.
        source: of the layer.
        step: called before each block.

    Returns:
        (unit, class) valid km2 by class for proportions; for means (unit, 2) valid km2 and km2 times value; for sums
        (unit, 2) valid km2 and the sum of the values, each times the part of its pixel that the unit covers.

    Raises:
        SourceError, CredentialsError: from the source.
    """
    found = [np.zeros((len(units), len(target.classes) or 2)) for target in targets]
    if not len(units):
        return found
    inside = np.asarray(shapely.clip_by_rect(units, -180, SOUTH_END, 180, NORTH_END), object)
    slots = {target.slot: plan.layer.slots[target.slot] for target in targets}
    whole = shapely.union_all(inside)
    items = in_groups(source.find(whole, list(slots.values())))
    if plan.layer.arrays[0].statistic == "last":
        items = items[::-1]
    tree = shapely.STRtree([item.footprint for item in items])
    for geobox, owners, pieces in _blocks(inside, whole, plan.pitch or plan.layer.pitch, step):
        west, south, east, north = shapely.total_bounds(pieces)
        reach = shapely.box(west - EDGE_DEG, south - EDGE_DEG, east + EDGE_DEG, north + EDGE_DEG)
        near = [items[k] for k in np.sort(tree.query(reach, predicate="intersects")).tolist()]
        block = _Block(geobox, owners, pieces)
        for number, slot in slots.items():
            here = [item for item in near if slot.contains(item.datetime)]
            rasters = _read(plan.layer, source, here, geobox, slot)
            for target, total in zip(targets, found, strict=True):
                if target.slot == number:
                    array = next(a for a in plan.layer.arrays if a.variable.name == target.variable)
                    block.add(target, array, [r for r in rasters if r.variable == target.variable], total)
    return found


def _blocks(
    units: Shapes, whole: BaseGeometry, pitch: float, step: Step
) -> Iterator[tuple[GeoBox, NDArray[np.intp], Shapes]]:
    """Yield the pixels of each block, the units that lie in it, and their pieces there."""
    metre = float(round(pitch)) if pitch >= 1 else 2.0 ** floor(log2(pitch))
    metre = min(metre, BLOCK_M)
    n_px = max(1, min(BLOCK_PX, int(BLOCK_M / metre)), ceil(10 / metre))
    grid = Grid(n_px, metre)
    cells = grid.cells(whole)
    grounds = owned_ground(cells)
    tree = shapely.STRtree(units)
    for k, ground in enumerate(grounds):
        step(k, len(grounds))
        owners = np.sort(tree.query(ground, predicate="intersects"))
        pieces = np.asarray(shapely.intersection(units[owners], ground), object)
        kept = shapely.area(pieces) > 0
        if kept.any():
            geobox = grid.geobox(int(cells.epsg[k]), int(cells.col[k]), int(cells.row[k]))
            # A cell's edges are straight in lon/lat here and bend in its projection: L^2 tan(lat) / 8 R.
            lat = min(84.0, max(abs(ground.bounds[1]), abs(ground.bounds[3])))
            bend = grid.cell_m**2 * tan(radians(lat)) / (8 * 6.37e6)
            yield _cropped(geobox.pad(ceil(bend / metre) + 1), pieces[kept]), owners[kept], pieces[kept]


def _cropped(geobox: GeoBox, pieces: Shapes) -> GeoBox:
    """Return the part of a block that its pieces lie in, and a pixel around it: no more is read."""
    rows, cols = geobox.shape
    left, bottom, right, top = shapely.total_bounds([_on_grid(piece, geobox) for piece in pieces])
    down = np.s_[max(0, floor(rows - top) - 1) : min(rows, ceil(rows - bottom) + 1)]
    return geobox[down, max(0, floor(left) - 1) : min(cols, ceil(right) + 1)]


def _read(layer: Layer, source: Source, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> list[Raster]:
    """Return the rasters of a block, read in quarters where the source finds it too large."""
    for attempt in range(ATTEMPTS):
        try:
            # What of an item is damaged is missing here as it is in chips; the valid share tells.
            return read_rasters(source, layer, [[item] for item in items], geobox, slot, Derived({}), skip_damaged=True)
        except TransientError as error:
            if isinstance(error, TriedOut) or attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE_SECONDS * 2**attempt)
        except TooLarge:
            rows, cols = (n // 2 for n in geobox.shape)
            if min(rows, cols) < LEAST_PX:
                raise
            quarters = (geobox[r, c] for r in (np.s_[:rows], np.s_[rows:]) for c in (np.s_[:cols], np.s_[cols:]))
            return [raster for quarter in quarters for raster in _read(layer, source, items, quarter, slot)]
    return []


@dataclass(slots=True)
class _Block:
    """Pieces of units inside one block, and what they cover of rasters."""

    geobox: GeoBox
    owners: NDArray[np.intp]
    pieces: Shapes
    covered: dict[GeoBox, list[tuple[NDArray[np.int64], Floats, Floats]]] = field(default_factory=dict)
    """By grid, per piece: pixels, covered part, covered km2."""

    def add(self, target: Target, array: Array, rasters: Sequence[Raster], total: Floats) -> None:
        """Add what the pieces hold to (unit, ...); where rasters overlap, the first in the build's order counts."""
        joined = [piece.raster for piece in join(rasters)]
        before: list[tuple[NDArray[np.bool_], GeoBox]] = []
        for raster in sorted(joined, key=lambda raster: raster.geobox.crs != self.geobox.crs):
            values, valid = _values(raster, target.band, array)
            for other, grid in before:
                seen, there = warp(
                    other[None].astype(np.uint8), np.ones((1, *other.shape), bool), grid, raster.geobox, Method.nearest
                )
                valid &= ~(there[0] & (seen[0] > 0))
            before.append((valid, raster.geobox))
            for owner, (pixel, part, area) in zip(self.owners, self._covered(raster.geobox), strict=True):
                good = valid.ravel()[pixel]
                held = values.ravel()[pixel[good]]
                total[owner] += _held(target, held, part[good], area[good])

    def _covered(self, grid: GeoBox) -> list[tuple[NDArray[np.int64], Floats, Floats]]:
        if grid not in self.covered:
            self.covered[grid] = list(_coverage(self.pieces, grid))
        return self.covered[grid]


def _values(raster: Raster, band: int, array: Array) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Return (y, x) values of a band, and True where they are valid and possible, as a build would store them."""
    values, encoding = raster.data[band], array.encoding
    with np.errstate(invalid="ignore"):
        possible = np.isfinite(values) & (values >= encoding.valid_min) & (values <= encoding.valid_max)
    return values, raster.valid[band] & possible


def _held(target: Target, values: NDArray[np.generic], part: Floats, area: Floats) -> Floats:
    if target.what == "prop":
        by_code = np.bincount(values.astype(np.int64), weights=area, minlength=256)
        return np.array([by_code[list(codes)].sum() for codes in target.classes.values()])
    weight = part if target.what == "sum" else area
    return np.array([area.sum(), (weight * values.astype(np.float64)).sum()])


def _coverage(pieces: Shapes, grid: GeoBox) -> Iterator[tuple[NDArray[np.int64], Floats, Floats]]:
    """Yield per lon/lat piece the pixels it meets (row-major), the covered part of each, and that in km2."""
    from exactextract import exact_extract
    from exactextract.feature import JSONFeatureSource
    from exactextract.raster import NumPyRasterSource

    rows, cols = grid.shape
    ground = pixel_km2(grid).ravel()
    drawn = [_on_grid(piece, grid) for piece in pieces]
    features = [{"type": "Feature", "geometry": mapping(one), "properties": {}} for one in drawn]
    # Only the shape of the raster counts here; its pixels are looked up by whoever asks.
    pixels = NumPyRasterSource(np.broadcast_to(np.uint8(0), (rows, cols)), 0, 0, cols, rows)
    for found in exact_extract(pixels, JSONFeatureSource(features), ["cell_id", "coverage"]):
        pixel, part = (found["properties"][key] for key in ("cell_id", "coverage"))
        yield pixel, part, part * ground[pixel]


def _on_grid(piece: BaseGeometry, grid: GeoBox) -> BaseGeometry:
    """Return a lon/lat polygon in columns and, from the bottom, rows of a grid."""
    inverse, rows = ~grid.affine, grid.shape[0]

    def place(points: Floats) -> Floats:
        x, y = points[:, 0], points[:, 1]
        if grid.crs is not None and grid.crs.geographic:
            middle = (grid.affine * (grid.shape[1] / 2, rows / 2))[0]
            x = x + 360 * np.round((middle - x.mean()) / 360)
        x, y = transform(LONLAT, str(grid.crs), x, y)  # comparing odc CRS takes 5 ms each time
        col, row = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
        return np.column_stack([col, rows - row])

    return shapely.transform(shapely.segmentize(piece, EDGE_DEG), place)


def pixel_km2(grid: GeoBox) -> Floats:
    """Return (y, x) ground areas of a grid's pixels on the ellipsoid in km2, in any CRS, rotated or not."""
    rows, cols = (np.linspace(0.5, n - 0.5, min(n, NODES)) for n in grid.shape)
    col, row = np.meshgrid(cols, rows)
    sides, a = [], grid.affine
    for right, down in ((0.5, 0.0), (0.0, 0.5)):
        ends = []
        for sign in (-1, 1):
            at, down_to = col + sign * right, row + sign * down
            x, y = a.a * at + a.b * down_to + a.c, a.d * at + a.e * down_to + a.f
            ends.append(transform(str(grid.crs), LONLAT, x, y))
        lon = np.radians((ends[1][0] - ends[0][0] + 180) % 360 - 180) * SEMI_MAJOR_KM
        up = plane(np.zeros_like(lon), ends[1][1])[1] - plane(np.zeros_like(lon), ends[0][1])[1]
        sides.append((lon, up))
    area = np.abs(sides[0][0] * sides[1][1] - sides[0][1] * sides[1][0])
    across, along = _hats(grid.shape[0], rows), _hats(grid.shape[1], cols)
    return np.asarray(across @ area @ along.T)


def _hats(n: int, nodes: Floats) -> Floats:
    """Return (n, node) weights of linear interpolation at pixel centres."""
    return np.stack([np.interp(np.arange(n) + 0.5, nodes, one) for one in np.eye(len(nodes))], axis=1)

"""How far the splits lie from each other on the ground, and where they lie on the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.splits.policy import LEARNED, Split
from m3leo_prep.pipeline.leakage.ground import GEOD, Ground
from m3leo_prep.pipeline.leakage.pairs import Tree, candidates, levels_for

Objects = NDArray[np.object_]
Codes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

TOUCH_M = 0.001
"""Chips nearer than this touch: corners of neighbours are the same up to rounding."""
SLIVER_M2 = 1.0
"""Chips that share less than this share an edge."""
_BATCH = 50_000
"""Pairs of chips drawn at once: about 50 MB."""
_SLICE = 20_000
"""Chips whose neighbours are looked for at once."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The place where two splits come nearest."""

    metres: float
    """Geodesic on the ellipsoid, from ground to ground; 0 where chips touch or overlap."""
    row_a: int
    row_b: int


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """Ground that belongs to chips of more than one split."""

    pairs: Rows
    """(n, 2) rows of chips of different splits on shared ground, the lower first, sorted."""
    area_km2: float
    """What they share, summed over the pairs."""
    chips: int
    """Test chips that lie on a train or val chip."""
    share: float
    """Of all test chips; NaN without any."""
    ground_share: float
    """Mean part of those chips' own ground that a pair shares; NaN without any."""


def nearest(polygons: Objects | Ground, split: Codes, a: Split, b: Split) -> Gap | None:
    """Return the least distance between any chip of split ``a`` and any of ``b``; None if one has no chip.

    Exact to a centimetre for UTM cells (``ground`` tells what edges are). Where many pairs touch, one of them is named.

    Args:
        polygons: (chip,) lon/lat outlines, of any tiling, up to some 100 km wide; or their ground.
        split: (chip,) ``Split`` codes.
        a: one split.
        b: another.
    """
    ground = _ground(polygons)
    rows_a, rows_b = (np.flatnonzero(split == one) for one in (a, b))
    if not len(rows_a) or not len(rows_b):
        return None
    i, j, apart = candidates(_tree(ground, rows_a), _tree(ground, rows_b))
    i, j = rows_a[i], rows_b[j]
    least = apart - ground.radius[i] - ground.radius[j]
    order = np.lexsort((j, i, least))
    best, kept = math.inf, []
    for batch in _batches(len(order), first=256):
        pairs = order[batch]
        pairs = pairs[least[pairs] <= best + _doubt(best)]
        if not len(pairs) or best == 0:
            break
        metres = _metres(ground, i[pairs], j[pairs])
        best = min(best, float(metres.min()))
        kept.append((pairs, metres))
    pairs, metres = (np.concatenate(part) for part in zip(*kept, strict=True))
    final = pairs[metres <= best + _doubt(best)]
    return min((_gap(ground, int(i[k]), int(j[k])) for k in final), key=lambda gap: (gap.metres, gap.row_a, gap.row_b))


def distances(polygons: Objects | Ground, split: Codes, a: Split, b: Split, reach: float) -> Floats:
    """Return (chip of a,) metres from each chip of split ``a`` to the nearest of ``b``; infinity beyond ``reach``.

    Args:
        polygons: (chip,) lon/lat outlines; or their ground.
        split: (chip,) ``Split`` codes.
        a: the split whose chips are measured, in the order of their rows.
        b: the split to which.
        reach: metres, at most 100 km: chords stand for geodesics.
    """
    ground = _ground(polygons)
    rows_a, rows_b = (np.flatnonzero(split == one) for one in (a, b))
    found = np.full(len(rows_a), np.inf)
    for rows, i, j, apart in _near(ground, rows_a, rows_b, reach):
        least = apart - ground.radius[rows_a[i]] - ground.radius[j]
        order = np.argsort(least, kind="stable")
        for batch in _batches(len(order), first=len(rows)):
            pairs = order[batch]
            pairs = pairs[(least[pairs] <= reach) & (least[pairs] < found[i[pairs]])]
            np.minimum.at(found, i[pairs], _metres(ground, rows_a[i[pairs]], j[pairs]))
    return np.where(found <= reach, found, np.inf)


def overlaps(polygons: Objects | Ground, split: Codes) -> Overlap:
    """Return where chips of different splits share ground: train, val and test; chips of the buffer may.

    Args:
        polygons: (chip,) lon/lat outlines; or their ground.
        split: (chip,) ``Split`` codes.
    """
    ground = _ground(polygons)
    found: list[tuple[Rows, Floats, Floats]] = []
    for a, b in itertools.combinations(LEARNED, 2):
        rows_a, rows_b = (np.flatnonzero(split == one) for one in (a, b))
        for _, i, j, _ in _near(ground, rows_a, rows_b, 0.0):
            for batch in _batches(len(i)):
                pairs, areas, parts = _shared(ground, rows_a[i[batch]], j[batch])
                found.append((pairs, areas, parts))
    if not found:
        pairs, areas, parts = np.empty((0, 2), np.int64), np.empty(0), np.empty(0)
    else:
        pairs, areas, parts = (np.concatenate(part) for part in zip(*found, strict=True))
    tested = (split[pairs] == Split.TEST).any(axis=1)
    on = np.unique(pairs[tested][split[pairs[tested]] == Split.TEST])
    n_test = int((split == Split.TEST).sum())
    order = np.lexsort((pairs.max(axis=1), pairs.min(axis=1)))
    return Overlap(
        np.sort(pairs, axis=1)[order],
        float(areas.sum()) / 1e6,
        len(on),
        len(on) / n_test if n_test else math.nan,
        float(parts[tested].mean()) if tested.any() else math.nan,
    )


def _shared(ground: Ground, a: Rows, b: Rows) -> tuple[Rows, Floats, Floats]:
    """Return the pairs that share ground, m2 of it, and which part of b's ground that is."""
    planes = ground.planes(a, b)
    on_a, on_b = ground.drawn(a, planes), ground.drawn(b, planes)
    # Neighbours touch, up to rounding; made smaller by a millimetre they do not, and most pairs are done with.
    shrunk = shapely.buffer(on_b, -TOUCH_M, join_style="mitre") if len(on_b) else on_b
    meet = np.flatnonzero(shapely.intersects(on_a, shrunk))
    areas = shapely.area(shapely.intersection(on_a[meet], on_b[meet]))
    more = areas > SLIVER_M2
    parts = areas / shapely.area(on_b[meet])
    return np.stack([a[meet], b[meet]], axis=1)[more], areas[more], parts[more]


def _metres(ground: Ground, a: Rows, b: Rows) -> Floats:
    """Return the distances between the chips of each pair, 0 where they touch."""
    planes = ground.planes(a, b)
    metres = shapely.distance(ground.drawn(a, planes), ground.drawn(b, planes))
    return np.where(metres < TOUCH_M, 0.0, metres)


def _gap(ground: Ground, a: int, b: int) -> Gap:
    """Return the geodesic between the points where two chips are nearest."""
    rows = np.array([a]), np.array([b])
    planes = ground.planes(*rows)
    line = shapely.shortest_line(*(ground.drawn(row, planes) for row in rows))
    (lon_a, lat_a), (lon_b, lat_b) = (planes.lon_lat(*end[:, None]) for end in shapely.get_coordinates(line))
    metres = float(GEOD.inv(lon_a, lat_a, lon_b, lat_b)[2][0])
    return Gap(0.0 if metres < TOUCH_M else metres, a, b)


def _near(ground: Ground, rows_a: Rows, rows_b: Rows, reach: float) -> Iterator[tuple[Rows, Rows, Rows, Floats]]:
    """Yield, for slices of ``rows_a``: the slice, places in rows_a, rows of b, and how far apart the centres are."""
    if not len(rows_b):
        return
    tree_b = _tree(ground, rows_b)
    for start in range(0, len(rows_a), _SLICE):
        rows = rows_a[start : start + _SLICE]
        i, j, apart = candidates(_tree(ground, rows), tree_b, reach)
        yield rows, i + start, rows_b[j], apart


def _tree(ground: Ground, rows: Rows) -> Tree:
    return Tree.of(ground.centre[rows], float(ground.radius[rows].max()), levels_for(float(ground.radius.max())))


def _ground(polygons: Objects | Ground) -> Ground:
    return polygons if isinstance(polygons, Ground) else Ground.of(polygons)


def _batches(n: int, first: int = _BATCH) -> Iterator[slice]:
    """Yield slices of 0...n, small ones first: what they find makes the later ones short."""
    start, size = 0, min(first, _BATCH)
    while start < n:
        yield slice(start, start + size)
        start, size = start + size, min(4 * size, _BATCH)


def _doubt(metres: float) -> float:
    """Return by how much a chord may rank pairs wrongly: arc - chord is s^3 / 24 R^2, and R differs by 1 %."""
    return 0.01 + 0.01 * metres**3 / (24 * 6.371e6**2) if math.isfinite(metres) else 0.0

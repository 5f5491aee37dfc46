"""Tiles of one raster, cut by a provider, put together again before anything is interpolated.

A kernel that sees one tile at a time finds no neighbours beyond its edge, and the seam shows (metres in terrain,
decibels in backscatter, amounts lost). Tiles on the same pixels are therefore pasted into one raster first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.raster import Raster
from m3leo_prep.ops._mesh import offset_if_aligned

MAX_APART = 2**16
"""Pixels between two tiles that are pasted; tiles on both sides of the antimeridian are further apart."""
VERSION = 1
"""Bumped when the same input gives other output; part of every unit's digest."""


@dataclass(frozen=True, slots=True)
class Joined:
    """One raster and the tiles it was made of."""

    raster: Raster
    tiles: tuple[Raster, ...]


def join(rasters: Sequence[Raster]) -> list[Joined]:
    """Return the rasters with those on the same pixels pasted together, the first valid value winning.

    The result is in an order that follows from the grids alone, so that it does not depend on which tiles reach a
    window. Rasters of different dtype, and unwrapped phase, whose component labels mean something in one tile only, are
    left as they are.
    """
    groups: list[list[Raster]] = []
    for raster in rasters:
        for group in groups:
            if _fit(group[0], raster):
                group.append(raster)
                break
        else:
            groups.append([raster])
    made = [Joined(_paste(group) if len(group) > 1 else group[0], tuple(group)) for group in groups]
    return sorted(made, key=lambda joined: (_grid_key(joined.raster.geobox), joined.raster.data.dtype.str))


def _fit(one: Raster, other: Raster) -> bool:
    if one.variable != other.variable or one.data.dtype != other.data.dtype:
        return False
    if one.components is not None or other.components is not None:
        return False
    found = offset_if_aligned(one.geobox, other.geobox)
    return found is not None and not found[2] and max(abs(found[0]), abs(found[1])) < MAX_APART


def _grid_key(geobox: GeoBox) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Return CRS, pitch and phase of a grid; the same for every window of it."""
    a = geobox.affine
    phase = (a.c / a.a % 1 if a.a else a.c, a.f / a.e % 1 if a.e else a.f)
    return str(geobox.crs), (a.a, a.b, a.d, a.e), tuple(round(p, 6) % 1 for p in phase)


def _paste(tiles: Sequence[Raster]) -> Raster:
    first = tiles[0]
    places = []
    for tile in tiles:
        found = offset_if_aligned(first.geobox, tile.geobox)
        assert found is not None
        places.append((found[0], found[1], *tile.data.shape[1:]))
    top, left = min(p[0] for p in places), min(p[1] for p in places)
    height = max(p[0] + p[2] for p in places) - top
    width = max(p[1] + p[3] for p in places) - left
    data = np.zeros((first.data.shape[0], height, width), first.data.dtype)
    valid = np.zeros(data.shape, bool)
    masked: NDArray[Any] | None = None
    if any(tile.masked is not None for tile in tiles):
        masked = np.zeros(data.shape, bool)
    for tile, (row, col, rows, cols) in zip(tiles, places, strict=True):
        at = np.s_[row - top : row - top + rows, col - left : col - left + cols]
        new = tile.valid & ~valid[:, *at]
        np.copyto(data[:, *at], tile.data, where=new)
        valid[:, *at] |= new
        if masked is not None and tile.masked is not None:
            masked[:, *at] |= tile.masked
    affine = first.geobox.affine @ first.geobox.affine.translation(left, top)
    geobox = GeoBox((height, width), affine, first.geobox.crs)
    return replace(first, data=data, valid=valid, masked=masked, geobox=geobox)

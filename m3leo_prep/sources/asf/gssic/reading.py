"""Pixels of a tile around a target: its files stacked into variables, with what it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError, TransientError
from m3leo_prep.core.raster import Absent, Item, Raster
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.asf.gssic import pixels
from m3leo_prep.sources.asf.gssic.bucket import Refused, address
from m3leo_prep.sources.asf.gssic.catalogue import FOLDER, Listed, is_listed
from m3leo_prep.sources.asf.gssic.metrics import Stack
from m3leo_prep.sources.asf.gssic.tiles import GRID, Tile

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

FILES_AT_ONCE = 12
"""Of one item, fetched side by side: each is a request or two of some ten milliseconds."""
Stored = NDArray[Any] | Reason | CorruptError
"""Pixels of a band, why there are none, or what is wrong with its file."""


def read(
    stacks: Sequence[Stack], items: Sequence[Item], geobox: GeoBox, prefix: str, tiles: str
) -> Iterator[Raster | Absent]:
    """Yield the variables of some items around a target; see ``Source.read``.

    Args:
        stacks: the variables and their files.
        items: tiles in a season or an orbit.
        geobox: the target.
        prefix: property of an item that says what comes between tile and metric in the names of its files.
        tiles: path of a list of files; empty = the bucket lists them.

    Raises:
        CorruptError: a file of an item is damaged, after all else of this item has been yielded.
    """
    wanted = GRID.window(geobox)
    for item in items:
        tile = Tile.named(str(item.properties["tile"]))
        assert tile is not None
        place = tile.window(wanted)
        window = wanted.within(place)
        if window.is_empty:
            continue
        inside = Window(
            window.row0 - place.row0, window.row1 - place.row0, window.col0 - place.col0, window.col1 - place.col0
        )
        yield from _variables(stacks, item, tile, inside, GRID.geobox(window), f"{item.properties[prefix]}_", tiles)


def _variables(
    stacks: Sequence[Stack], item: Item, tile: Tile, window: Window, place: GeoBox, prefix: str, tiles: str
) -> Iterator[Raster | Absent]:
    def stored(name: str) -> Stored:
        return _stored(item, tile, f"{prefix}{name}", window, tiles)

    names = [name for stack in stacks for name in stack.files]
    with ThreadPoolExecutor(min(FILES_AT_ONCE, len(names))) as pool:
        found = dict(zip(names, pool.map(stored, names), strict=True))
    for stack in stacks:
        bands = dict(zip(stack.variable.bands, (found[name] for name in stack.files), strict=True))
        yield from _stacked(stack, bands, item, place)
    for one in found.values():
        if isinstance(one, CorruptError):
            raise one


def _stacked(stack: Stack, bands: dict[str, Stored], item: Item, place: GeoBox) -> Iterator[Raster | Absent]:
    """Yield one variable, with those of its bands that are there, and what is said of the others."""
    reasons: dict[Reason, list[str]] = {}
    data: NDArray[Any] | None = None
    valid = masked = np.zeros((len(bands), *place.shape), bool)
    for k, (band, given) in enumerate(bands.items()):
        if isinstance(given, Reason):
            reasons.setdefault(given, []).append(band)
        elif not isinstance(given, CorruptError):
            values, usable, seen = stack.values(given)
            if data is None:
                data, valid, masked = np.zeros(valid.shape, values.dtype), valid.copy(), masked.copy()
            data[k], valid[k], masked[k] = values, usable, seen & ~usable
    if data is not None:
        yield Raster(data, valid, place, item, stack.variable.name, masked if masked.any() else None)
    for reason, missing in reasons.items():
        yield Absent(item, stack.variable.name, tuple(missing), reason)


def _stored(item: Item, tile: Tile, name: str, window: Window, tiles: str) -> Stored:
    """Return the stored pixels of one file of a tile in ``window``, counted from its own corner."""
    metric = name.partition("_")[2]
    if metric not in item.properties:
        return Reason.BAND_NOT_IN_PRODUCT
    folder = item.properties["tile"]
    key = f"{FOLDER}/{folder}/{folder}_{name}.tif"
    file = Listed(key, int(item.properties[metric]), item.version)
    try:
        return pixels.rows(file, tile, window.row0, window.row1)[:, window.col0 : window.col1]
    except CorruptError as error:
        return error
    except Refused:
        if is_listed(key, tiles):
            raise TransientError(
                "the bucket lists this file, and refuses it",
                where=address(key),
                hint="run the same command again later" + (f"; or leave it out of {tiles}" if tiles else ""),
            ) from None
        # Gone since the plan was made: what the archive does not hold is no failure.
        return Reason.NOT_IN_DATASET

"""Which files a tile has: told by the bucket, or by a list that the recipe names."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.sources.asf.gssic.bucket import BUCKET, Refused, listing
from m3leo_prep.sources.asf.gssic.tiles import Tile, tiles_of

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

FOLDER = "data/tiles"
LISTINGS_AT_ONCE = 16
_FILE = re.compile(r"([NS]\d{2}[EW]\d{3})_(\w+)\.tif")


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of the bucket."""

    key: str
    size: int = 0
    """In bytes; 0 = a list of names does not say."""
    etag: str = ""


Files = Mapping[str, Listed]
"""By what a file is called after its tile: ``winter_vv_COH12``, ``124D_inc``."""


def available(area: BaseGeometry, tiles: str) -> Iterator[tuple[Tile, Files]]:
    """Yield the tiles that meet an area and are in the archive, with their files, from north to south.

    Args:
        area: lon/lat.
        tiles: path of a list of files; empty = the bucket is asked, once for each tile.

    Raises:
        SourceError: the bucket does not let itself be listed, or does not answer.
        ConfigError: the list cannot be read.
    """
    wanted = tiles_of(area)
    if tiles:
        known = _told(tiles, Path(tiles).stat().st_mtime_ns if Path(tiles).is_file() else 0)
        yield from ((tile, known[tile]) for tile in wanted if tile in known)
        return
    with ThreadPoolExecutor(LISTINGS_AT_ONCE) as pool:
        try:
            for tile, files in zip(wanted, _ahead(pool, _asked, wanted), strict=True):
                if files:
                    yield tile, files
        except Refused:
            raise SourceError(
                f"the bucket {BUCKET} does not let itself be listed",
                hint="name a list of its files: `tile_list: files.csv`, with a column FILENAME or LINK",
            ) from None


def is_listed(key: str, tiles: str) -> bool:
    """Return whether the archive still says that it has an object; looks anew."""
    tile = Tile.named(PurePosixPath(key).parent.name)
    assert tile is not None
    if tiles:
        return any(file.key == key for file in _told(tiles, Path(tiles).stat().st_mtime_ns).get(tile, {}).values())
    try:
        return any(file.key == key for file in _asked(tile).values())
    except Refused:
        return False


def _ahead(
    pool: ThreadPoolExecutor, call: Callable[[Tile], Files], tiles: Iterable[Tile], ahead: int = 4 * LISTINGS_AT_ONCE
) -> Iterator[Files]:
    """Yield answers in order, asking only so far ahead: a plan of half the Earth keeps its memory."""
    waiting = []
    for tile in tiles:
        waiting.append(pool.submit(call, tile))
        if len(waiting) == ahead:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _asked(tile: Tile) -> Files:
    """Return what the bucket lists of a tile; nothing if it has none."""
    for name in tile.names:
        found: dict[str, Listed] = {}
        for key, size, etag in listing(f"{FOLDER}/{name}"):
            match = _FILE.fullmatch(key.removeprefix(f"{FOLDER}/{name}/"))
            if match and match[1] == name:
                found[match[2]] = Listed(key, size, etag)
        if found:
            return found
    return {}


@lru_cache(maxsize=2)
def _told(path: str, _stamp: int) -> Mapping[Tile, Files]:
    """Return the files that a list names, by tile: a CSV with a column FILENAME, or LINK, which ends in it."""
    found: dict[Tile, dict[str, Listed]] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as opened:
            rows = csv.DictReader(opened)
            names = {name.strip().upper(): name for name in rows.fieldnames or ()}
            column = names.get("FILENAME") or names.get("LINK")
            if column is None:
                raise ConfigError("has no column FILENAME or LINK", where=path, hint="it is the list of GSSIC's files")
            for name in map(partial(_name, column), rows):
                match = _FILE.fullmatch(name)
                tile = Tile.named(match[1]) if match else None
                if match and tile:
                    found.setdefault(tile, {})[match[2]] = Listed(f"{FOLDER}/{match[1]}/{name}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot be read: {error}", where=path, hint="`tile_list:` names a CSV file") from None
    if not found:
        raise ConfigError("names no file of GSSIC", where=path, hint="such as N48W090_winter_vv_COH12.tif")
    return found


def _name(column: str, row: Mapping[str, str | None]) -> str:
    return PurePosixPath((row[column] or "").strip().partition("?")[0]).name

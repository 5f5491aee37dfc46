"""Catalogue files of rasters on this machine: STAC JSON, or GeoParquet of items."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources.local.dates import parse
from m3leo_prep.sources.local.options import WHOLE, Band
from m3leo_prep.sources.local.scenes import Scene

_PATH_COLUMNS = ("path", "location", "href")
"""Of a GeoParquet without STAC assets, such as a GDAL tile index."""
_NO_RASTER = frozenset({"thumbnail", "overview", "metadata"})
_KEPT = {
    "sat:orbit_state": "orbit_direction",
    "sat:relative_orbit": "relative_orbit",
    "platform": "platform",
    "s1:processing_level": "processing_level",
    "s2:processing_baseline": "processing_baseline",
}
_PASS = ("s2:datatake_id", "sat:absolute_orbit")
"""What tiles and slices of one pass share, first found."""


def read_catalogue(path: Path, bands: Sequence[Band] | None, mask: Band | None) -> list[Scene]:
    """Return the items of a STAC item, collection, catalog or FeatureCollection, or of a GeoParquet file.

    Paths of the scenes are relative to the catalogue's folder.

    Raises:
        ConfigError: not a catalogue, an item without geometry, an unknown asset, or an asset elsewhere.
    """
    rows = parquet_items(path) if path.suffix.endswith("parquet") else _json(path, set())
    wanted = [*(bands or ()), *([mask] if mask else [])]
    scenes = [_scene(row, folder, path.parent, wanted, str(path)) for row, folder in rows]
    if not scenes:
        raise ConfigError("the catalogue has no item", where=str(path))
    ids = [scene.id for scene in scenes]
    twice = next((one for one in sorted(ids) if ids.count(one) > 1), None) if len(set(ids)) < len(ids) else None
    if twice is not None:
        raise ConfigError(f"the item '{twice}' stands twice", where=str(path))
    return sorted(scenes, key=lambda scene: scene.id)


def _json(path: Path, seen: set[Path]) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """Yield items and the folder that their links are relative to; follows ``item`` and ``child`` links once."""
    seen.add(path.resolve())
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"is no readable JSON: {error}", where=str(path)) from error
    kind = data.get("type") if isinstance(data, dict) else None
    if kind == "Feature":
        yield data, path.parent
    elif kind == "FeatureCollection":
        for feature in data.get("features", ()):
            yield feature, path.parent
    elif kind in {"Collection", "Catalog"}:
        for link in data.get("links", ()):
            if link.get("rel") in {"item", "child"}:
                child = _local(str(link.get("href", "")), path.parent, str(path))
                if child.resolve() not in seen:
                    yield from _json(child, seen)
    else:
        hint = "a STAC Item, FeatureCollection, Collection or Catalog has one of these in `type`"
        raise ConfigError(f"is no catalogue (type {kind!r})", where=str(path), hint=hint)


def parquet_items(path: Path) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """Yield the items of a GeoParquet file and the folder that their links are relative to; geometries are shapely's.

    Raises:
        ConfigError: it cannot be read, or has no geometry.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    import shapely

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"is no readable Parquet: {error}", where=str(path)) from error
    if "geometry" not in table.column_names:
        raise ConfigError("has no column 'geometry' (WKB)", where=str(path))
    known = {"id", "geometry", "assets", "bbox", "links", "type", "stac_version", "stac_extensions", "collection"}
    for row in table.to_pylist():
        properties = {key: value for key, value in row.items() if key not in known}
        assets = {key: value for key, value in (row.get("assets") or {}).items() if value}
        where = next((row[key] for key in _PATH_COLUMNS if row.get(key)), None)
        if not assets and where:
            assets = {"data": {"href": where}}
        geometry = shapely.from_wkb(row["geometry"])
        item = {"id": row.get("id") or where, "geometry": geometry, "properties": properties, "assets": assets}
        if row.get("collection"):
            item["collection"] = row["collection"]
        yield item, path.parent


def _scene(row: Mapping[str, Any], folder: Path, root: Path, wanted: Sequence[Band], where: str) -> Scene:
    import shapely.geometry

    identity = str(row.get("id") or "")
    at = f"{where}, item '{identity}'"
    geometry = row.get("geometry")
    if not identity or geometry is None:
        raise ConfigError("an item needs `id` and `geometry`", where=at)
    if isinstance(geometry, Mapping):
        geometry = shapely.geometry.shape(dict(geometry))
    properties = row.get("properties") or {}
    assets = row.get("assets") or {}
    files: dict[str, str] = {}
    for band in wanted:
        if band.asset:
            if band.asset in assets:
                files[band.name] = _relative(assets[band.asset], folder, root, at)
            elif band.name == "mask" or band.asset not in _known_assets(assets, wanted):
                raise ConfigError(f"no asset '{band.asset}'", where=at, hint=near(band.asset, assets))
    if not any(band.asset for band in wanted if band.name != "mask"):
        files[WHOLE] = _relative(assets[_only(assets, at)], folder, root, at)
    return Scene(
        id=identity,
        files=files,
        datetime=_when(properties),
        footprint=geometry,
        acquisition=next((str(properties[key]) for key in _PASS if properties.get(key)), ""),
        properties={
            name: properties[key] for key, name in _KEPT.items() if isinstance(properties.get(key), (str, int))
        },
    )


def _known_assets(assets: Mapping[str, Any], wanted: Sequence[Band]) -> set[str]:
    """Return the asked assets if the item has at least one of them: then the others are its missing bands."""
    names = {band.asset for band in wanted if band.name != "mask"}
    return names if names & assets.keys() else set()


def _only(assets: Mapping[str, Any], where: str) -> str:
    rasters = [
        key
        for key, asset in assets.items()
        if not _NO_RASTER & set(asset.get("roles") or ())
        and not str(asset.get("href", "")).lower().endswith((".json", ".xml", ".png", ".jpg", ".jpeg", ".html", ".txt"))
    ]
    if len(rasters) == 1:
        return rasters[0]
    data = [key for key in rasters if "data" in (assets[key].get("roles") or ())]
    if len(data) == 1:
        return data[0]
    hint = "say which: bands: {red: {asset: ...}}"
    raise ConfigError(f"has the assets {', '.join(assets) or 'none'}", where=where, hint=hint)


def _relative(asset: Mapping[str, Any], folder: Path, root: Path, where: str) -> str:
    return Path(os.path.relpath(_local(str(asset.get("href", "")), folder, where), root)).as_posix()


def _local(href: str, folder: Path, where: str) -> Path:
    """Return the path behind a link."""
    link = urlparse(href)
    if link.scheme == "file":
        return Path(unquote(link.path))
    if link.scheme:
        hint = "fetch the files first and link them by relative paths"
        raise ConfigError(f"{href} is not on this machine, source 'local' reads only files", where=where, hint=hint)
    return folder / href


def _when(properties: Mapping[str, Any]) -> datetime | None:
    for key in ("datetime", "start_datetime"):
        value = properties.get(key)
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        if isinstance(value, str) and (found := parse(value)) is not None:
            return found
    return None

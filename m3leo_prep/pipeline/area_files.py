"""Outlines out of files: GeoJSON and WKT by themselves, the other formats through geopandas."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import shapely
from shapely.geometry import GeometryCollection, shape
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.errors import ConfigError, MissingDependency

_JSON = {".geojson", ".json"}
_TEXT = {".wkt", ".txt"}
_PARQUET = {".parquet", ".geoparquet"}
_OGR = {".gpkg", ".shp"}
SUFFIXES = _JSON | _TEXT | _PARQUET | _OGR


Feature = tuple[BaseGeometry, dict[str, Any]]
"""A geometry and its columns."""


def read_area_file(path: Path) -> tuple[BaseGeometry, str]:
    """Return all geometries of a file as one, and their CRS.

    Raises:
        ConfigError: no such file, unreadable, no CRS, several layers.
        MissingDependency: the format needs geopandas.
    """
    features, crs = read_features(path)
    return _join([geometry for geometry, _ in features]), crs


def read_features(path: Path) -> tuple[list[Feature], str]:
    """Return the features of a file that have a geometry, in its order, and their CRS.

    Raises:
        ConfigError: no such file, unreadable, no CRS, several layers.
        MissingDependency: the format needs geopandas.
    """
    where = str(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(
            f"no area can be read from a '{path.suffix}' file",
            hint="formats: " + " ".join(sorted(SUFFIXES)),
            where=where,
        )
    if not path.is_file():
        raise ConfigError("no such file", hint="check the path; names of areas: m3leo-prep aoi list", where=where)
    if suffix in _JSON:
        return _read_geojson(path)
    if suffix in _TEXT:
        geometry, crs = parse_wkt(_read_text(path), where)
        return [(geometry, {})], crs
    return _read_frame(path)


def parse_wkt(text: str, where: str) -> tuple[BaseGeometry, str]:
    """Return the geometry and CRS of WKT (lon/lat unless it begins with ``SRID=code;``).

    Raises:
        ConfigError: no WKT.
    """
    match = re.match(r"\s*SRID=(\d+);", text, re.IGNORECASE)
    body = text[match.end() :] if match else text
    try:
        return shapely.from_wkt(body.strip()), f"EPSG:{match[1]}" if match else "EPSG:4326"
    except shapely.errors.ShapelyError as error:
        raise ConfigError(
            f"this is no valid WKT: {error}",
            hint="as in POLYGON ((6 50, 7 50, 7 51, 6 50)), longitude first, first point repeated at the end",
            where=where,
        ) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file cannot be read as text: {error}", where=str(path)) from error


def _read_geojson(path: Path) -> tuple[list[Feature], str]:
    try:
        document = json.loads(_read_text(path))
        features = [(shape(drawn), columns) for drawn, columns in _features(document)]
        # RFC 7946 knows lon/lat only; the older GeoJSON could name another CRS.
        named = str((document.get("crs") or {}).get("properties", {}).get("name", "EPSG:4326"))
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"this is no valid GeoJSON: {error}",
            hint="a Polygon, MultiPolygon, Feature or FeatureCollection is needed",
            where=str(path),
        ) from error
    return features, named


def _features(document: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    if document["type"] == "FeatureCollection":
        return [one for feature in document["features"] for one in _features(feature)]
    if document["type"] == "Feature":
        return [(document["geometry"], document.get("properties") or {})] if document["geometry"] else []
    return [(document, {})]


def _read_frame(path: Path) -> tuple[list[Feature], str]:
    geopandas = _geopandas(path)
    try:
        if path.suffix.lower() in _PARQUET:
            frame = geopandas.read_parquet(path)
        else:
            layers = geopandas.list_layers(path)["name"].tolist()
            if len(layers) != 1:
                raise ConfigError(
                    f"the file has {len(layers)} layers: {', '.join(layers)}",
                    hint="save the one that you mean to a file of its own",
                    where=str(path),
                )
            frame = geopandas.read_file(path)
    except (ValueError, OSError, RuntimeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the file cannot be read: {error}", where=str(path)) from error
    if frame.crs is None:
        missing = "its .prj file is missing" if path.suffix.lower() == ".shp" else "it names none"
        raise ConfigError(
            f"the file has no coordinate reference system: {missing}",
            hint="add it, or set it with: ogr2ogr -a_srs EPSG:4326 fixed.gpkg " + path.name,
            where=str(path),
        )
    columns = frame.drop(columns=frame.geometry.name).to_dict("records")
    drawn = zip(frame.geometry, columns, strict=True)
    return [(geometry, values) for geometry, values in drawn if geometry is not None], frame.crs.to_wkt()


def _geopandas(path: Path) -> ModuleType:
    try:
        import geopandas
    except ImportError as error:
        raise MissingDependency(
            f"reading {path.suffix} files needs geopandas",
            hint="pip install 'm3leo-prep[build]' (GeoJSON and WKT need nothing)",
            where=str(path),
        ) from error
    module: ModuleType = geopandas
    return module


def _join(geometries: list[BaseGeometry]) -> BaseGeometry:
    return geometries[0] if len(geometries) == 1 else GeometryCollection(geometries)

"""Administrative units: the polygons of a file that the recipe names, and which unit a place lies in."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import GeometryCollection
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.polygons import clean, to_lon_lat
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.area_files import read_features

NO_UNIT = -1


def read_units(path: Path, column: str) -> dict[str, BaseGeometry]:
    """Return the polygons of a file in lon/lat, by id, sorted; features of one id are parts of one unit.

    Args:
        path: of a format that areas are read from.
        column: holds the ids.

    Raises:
        ConfigError: the file cannot be read, lacks the column, or a feature has no id or no polygon.
        MissingDependency: the format needs geopandas.
    """
    where = f"admin {path}"
    features, crs = read_features(path)
    parts: dict[str, list[BaseGeometry]] = defaultdict(list)
    for number, (geometry, columns) in enumerate(features, 1):
        if geometry.is_empty:  # no ground, like a feature without geometry
            continue
        if column not in columns:
            hint = near(column, columns) or "GeoJSON, GeoPackage, GeoParquet and shapefiles have columns"
            raise ConfigError(f"feature {number} has no column '{column}'", where=where, hint=hint)
        value = columns[column]
        if not isinstance(value, str | int) or value == "":
            raise ConfigError(
                f"feature {number} has {value!r} in the column '{column}', which is no id",
                where=where,
                hint="ids are text or whole numbers, one for every feature",
            )
        parts[str(value)].append(geometry)
    if not parts:
        raise ConfigError("the file has no feature with a geometry", where=where)
    return {
        name: clean(to_lon_lat(GeometryCollection(parts[name]), crs), f"{where}, unit '{name}'")[0]
        for name in sorted(parts)
    }


def locate(units: dict[str, BaseGeometry], lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (point,) which unit holds each point, counted in their order; ``NO_UNIT`` where none does."""
    point, unit = shapely.STRtree(list(units.values())).query(shapely.points(lon, lat), predicate="intersects")
    # A point on a border belongs to the first of its units.
    found = np.full(len(lon), len(units), np.int64)
    np.minimum.at(found, point, unit)
    return np.where(found == len(units), NO_UNIT, found)

"""Polygons out of a file: geometry, the value of one column, and which of them lie on top of each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, CorruptError, MissingDependency
from m3leo_prep.core.text import near

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

Stamps = tuple[tuple[str, int, int], ...]
"""Name, size and modification time of each file that belongs together."""

LONLAT = "EPSG:4326"
SLIVER_M = 1.0
"""Overlaps narrower than this are two drawings of one border."""
_PAIRS = 10_000
"""Pairs of polygons that are cut with each other at once."""
_PARQUET = {".parquet", ".geoparquet"}


@dataclass(frozen=True, eq=False, slots=True)
class Shapes:
    """The polygons of a file, in its order."""

    path: str
    geometry: NDArray[np.object_]
    """Valid polygons and multipolygons in the file's CRS."""
    values: tuple[str, ...]
    """Of the column, as text; empty where the file has none."""
    crs: str
    is_lonlat: bool
    tree: shapely.STRtree
    repaired: int
    """Polygons that had to be made valid."""


def stamps(path: str) -> Stamps:
    """Return what changes when the file does; a shapefile's parts all count.

    Raises:
        ConfigError: no such file.
    """
    here = Path(path)
    if not here.is_file():
        siblings = [p.name for p in here.parent.iterdir()] if here.parent.is_dir() else []
        hint = near(here.name, siblings) or "relative paths start from the recipe's folder"
        raise ConfigError("does not exist", where=path, hint=hint)
    parts = sorted(here.parent.glob(f"{here.stem}.*")) if here.suffix.lower() == ".shp" else [here]
    return tuple((part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts)


@lru_cache(maxsize=16)
def read_shapes(path: str, stamped: Stamps, column: str, crs: str) -> Shapes:  # noqa: ARG001  a new stamp, a new reading
    """Return the polygons of a file; cached until it changes.

    Args:
        path: GeoPackage, GeoJSON, shapefile, GeoParquet ...
        stamped: of the file.
        column: whose values tell the class.
        crs: in place of the file's own, if not empty.

    Raises:
        ConfigError: no CRS, no such column, several layers, or anything but polygons.
        CorruptError: it cannot be read.
        MissingDependency: geopandas is not installed.
    """
    frame = _frame(path)
    if frame.crs is None and not crs:
        raise ConfigError(
            "has no coordinate reference system", where=path, hint="name it with `crs:`, such as EPSG:25832"
        )
    columns = [str(name) for name in frame.columns if name != frame.geometry.name]
    if column not in columns:
        raise ConfigError(f"has no column '{column}'", where=path, hint=near(column, columns))
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    others = sorted(set(frame.geom_type) - {"Polygon", "MultiPolygon"})
    if others or not len(frame):
        seen = ", ".join(others) or "no geometry"
        raise ConfigError(f"holds {seen}, and only polygons cover pixels", where=path, hint="buffer lines and points")
    drawn = np.asarray(frame.geometry.array, object)
    valid = shapely.is_valid(drawn)
    geometry = np.where(valid, drawn, shapely.make_valid(drawn))
    named = _crs(crs or frame.crs.to_wkt(), path)
    return Shapes(
        path,
        geometry,
        tuple(_text(value) for value in frame[column]),
        named[0],
        named[1],
        shapely.STRtree(geometry),
        int((~valid).sum()),
    )


def overlaps(shapes: Shapes, codes: NDArray[np.int64]) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of polygons of different classes that lie on top of each other, with the area in m2, in order.

    Slivers along a border that two polygons share do not count.
    """
    first, second = shapes.tree.query(shapes.geometry, predicate="intersects")
    keep = (first < second) & (codes[first] != codes[second])
    order = np.lexsort((second[keep], first[keep]))
    first, second = first[keep][order], second[keep][order]
    for start in range(0, len(first), _PAIRS):
        i, j = first[start : start + _PAIRS], second[start : start + _PAIRS]
        shared = shapely.intersection(shapes.geometry[i], shapes.geometry[j])
        for k in np.flatnonzero(shapely.area(shared)).tolist():
            size, around = _metres(shapes, shared[k])
            if around > 0 and 2 * size / around > SLIVER_M:
                yield int(i[k]), int(j[k]), size


def _metres(shapes: Shapes, shared: Any) -> tuple[float, float]:
    """Return area in m2 and outline in m of the polygons in an intersection, good to some percent."""
    parts = [part for part in shapely.get_parts(shared) if part.area > 0]
    area, around = sum(part.area for part in parts), sum(part.length for part in parts)
    if not shapes.is_lonlat:
        return area, around
    degree = 111_195.0
    narrow = float(np.cos(np.radians(shared.centroid.y)))
    return area * degree**2 * narrow, around * degree * (1 + narrow) / 2


def _frame(path: str) -> GeoDataFrame:
    try:
        import geopandas
    except ImportError as error:
        hint = "pip install 'm3leo-prep[build]'"
        raise MissingDependency("reading polygons needs geopandas", where=path, hint=hint) from error
    try:
        if Path(path).suffix.lower() in _PARQUET:
            return geopandas.read_parquet(path)
        layers = geopandas.list_layers(path)["name"].tolist()
        if len(layers) != 1:
            hint = "save the one that you mean to a file of its own"
            raise ConfigError(f"has {len(layers)} layers: {', '.join(layers)}", where=path, hint=hint)
        return geopandas.read_file(path)
    except (ValueError, OSError, RuntimeError) as error:
        if isinstance(error, ConfigError):
            raise
        hint = "GeoPackage, GeoJSON, shapefile and GeoParquet are read"
        raise CorruptError(f"cannot be read as polygons: {error}", where=path, hint=hint) from error


def _crs(text: str, where: str) -> tuple[str, bool]:
    """Return a CRS (a code if it has one, else WKT), and if it is in degrees."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        hint = "name it with `crs:`, such as EPSG:25832"
        raise ConfigError(f"unknown CRS '{text[:60]}'", where=where, hint=hint) from error
    if crs.is_compound:
        crs = crs.sub_crs_list[0]
    authority = crs.to_2d().to_authority()
    return ":".join(authority) if authority else crs.to_2d().to_wkt(), bool(crs.is_geographic)


def _text(value: Any) -> str:
    """Return a value of a column as a recipe writes it: 3 for 3.0, nothing for what is missing."""
    if value is None or value != value:  # noqa: PLR0124  NaN and NaT differ from themselves
        return ""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)

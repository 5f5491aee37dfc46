"""Polygons of any file as a layer of classes: administrative units, fields, habitats, a map drawn by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.raster import Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.core.text import near
from m3leo_prep.ports.source import READ_MARGIN
from m3leo_prep.sources._native import transformer
from m3leo_prep.sources.vector.shapes import LONLAT, Shapes, Stamps, overlaps, read_shapes, stamps
from m3leo_prep.sources.vector.table import Table, make_table
from m3leo_prep.sources.vector.tiles import window

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.source import Source

_WHERE = "source 'vector'"


@dataclass(frozen=True, slots=True)
class Vector:
    """Polygons as classes: a pixel has the class of the polygon under its centre, exactly, at any pixel size.

    One item, without a date. Constructing checks the options and touches no disk.
    """

    path: str
    """GeoPackage, GeoJSON, shapefile or GeoParquet with one layer of polygons, in any CRS."""
    _: KW_ONLY
    column: str
    """Its column whose values tell the class."""
    classes: Any = None
    """Value -> code, or value -> ``{code, name, color}``; left out = the values in order, numbered from 0."""
    background: Any = None
    """Name or code of the class wherever no polygon lies, or ``{code, name, color}``; left out = missing there."""
    unknown: str = "error"
    """Values that ``classes`` lacks: ``error``, or ``ignore`` = masked, and counted as out of range."""
    overlap: str = "error"
    """Polygons of different classes on top of each other: ``error``, or ``first`` in the file wins."""
    crs: str = ""
    """In place of the file's own."""
    variable: str = "classes"
    long_name: str = ""
    licence: str = "unknown"
    citation: str = ""

    def __post_init__(self) -> None:
        for key, given, choices in (
            ("unknown", self.unknown, ("error", "ignore")),
            ("overlap", self.overlap, ("error", "first")),
        ):
            if given not in choices:
                raise ConfigError(f"{key}: {given!r} is not known", where=_WHERE, hint=near(str(given), choices))
        for key, given in (("path", self.path), ("column", self.column)):
            if not given or not isinstance(given, str):
                raise ConfigError(f"{key}: {given!r} is no name", where=_WHERE)
        if self.classes is not None:
            self._table(())

    def describe(self) -> SourceInfo:
        """Return the one variable with its classes.

        Raises:
            ConfigError: the file cannot be used, as ``find`` says.
        """
        shapes = self._shapes()
        table = self._table(shapes.values)
        self._codes(shapes, table)
        variable = Variable(
            name=self.variable,
            kind=Kind.CLASSES,
            bands=(self.column,),
            long_name=self.long_name,
            legend=table.legend,
            attributes={
                "source_crs": shapes.crs,
                "class_of_value": dict(sorted(table.codes.items())),
                "pixel_rule": "class of the polygon under the pixel's centre",
                **({"overlap": "first polygon of the file wins"} if self.overlap == "first" else {}),
                **({"repaired_polygons": shapes.repaired} if shapes.repaired else {}),
                **({"unknown_codes": "masked and counted"} if self.unknown == "ignore" else {}),
            },
        )
        return SourceInfo((variable,), version="1", is_static=True, licence=self.licence, citation=self.citation)

    def probe(self) -> str:
        """Return how many polygons there are.

        Raises:
            ConfigError: the file cannot be used.
        """
        self.describe()
        return f"{len(self._shapes().values):,} polygons in {self.path}"

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the file as one item, if a polygon may meet ``area``; with a background, it covers the Earth.

        Raises:
            ConfigError: no CRS, no such column, values that are no class, or polygons on top of each other.
        """
        shapes = self._shapes()
        table = self._table(shapes.values)
        self._codes(shapes, table)
        outline = shapely.box(-180, -90, 180, 90) if table.background is not None else _outline(shapes)
        if outline.intersects(area) and any(slot.is_static for slot in slots):
            version = _version(stamps(self.path))
            yield Item(Path(self.path).name, outline, version, properties={"path": Path(self.path).name})

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:  # noqa: ARG002  no dates
        """Yield the classes around ``geobox``, on its own lattice: polygons have no pixels of theirs."""
        for item in items:
            stamped = stamps(self.path)
            if item.version != _version(stamped):
                hint = "plan again with --refresh"
                raise SourceError(f"'{item.id}' has changed since the plan", where=self.path, hint=hint)
            shapes = self._shapes()
            table = self._table(shapes.values)
            place = geobox.pad(READ_MARGIN)
            drawn = window(shapes, self._codes(shapes, table), place)
            if table.background is not None:
                drawn = np.where(drawn < 0, np.int16(table.background), drawn)
            valid = drawn >= 0
            if valid.any():
                data = np.where(valid, drawn, 0).astype(np.uint8)
                yield Raster(data[None], valid[None], place, item, self.variable)

    def _shapes(self) -> Shapes:
        return read_shapes(self.path, stamps(self.path), self.column, self.crs)

    def _table(self, values: Sequence[str]) -> Table:
        try:
            return make_table(self.classes, self.background, values)
        except ConfigError as error:
            raise ConfigError(error.message, where=_WHERE, hint=error.hint) from None

    def _codes(self, shapes: Shapes, table: Table) -> tuple[int, ...]:
        """Return the code of each polygon, after a check that they do not contradict each other."""
        codes = table.of(shapes.values, shapes.path, ignore_unknown=self.unknown == "ignore")
        if self.overlap == "error":
            _check_overlaps(shapes, codes.tobytes())
        return tuple(codes.tolist())


@lru_cache(maxsize=16)
def _check_overlaps(shapes: Shapes, packed: bytes) -> None:
    """Raise ConfigError if polygons of different classes overlap; looked at once per file and codes (int64)."""
    codes = np.frombuffer(packed, np.int64)
    for i, j, area in overlaps(shapes, codes):
        raise ConfigError(
            f"polygons {i + 1} ('{shapes.values[i]}') and {j + 1} ('{shapes.values[j]}') of different classes overlap "
            f"on {area / 1e4:,.2f} ha",
            where=shapes.path,
            hint="mend the file, or say `overlap: first`: the polygon that comes first in it wins",
        )


def _outline(shapes: Shapes) -> BaseGeometry:
    """Return the lon/lat rectangles around all polygons."""
    boxes = shapely.bounds(shapes.geometry)
    if shapes.crs != LONLAT:
        to = transformer(shapes.crs, LONLAT)
        boxes = np.array([to.transform_bounds(w, s, e, n, densify_pts=21) for w, s, e, n in boxes.tolist()])
    west, south, east, north = (np.clip(boxes[:, k], -limit, limit) for k, limit in enumerate((180, 90, 180, 90)))
    return shapely.union_all(shapely.box(west, south, east, north))


def _version(stamped: Stamps) -> str:
    return hashlib.sha256(repr(stamped).encode()).hexdigest()[:16]


if TYPE_CHECKING:
    _source: type[Source] = Vector

"""What is wrong with an item or a raster that a source gave, in words: used by builds and by ``check-source``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry import MultiPolygon, Polygon

from m3leo_prep.core.raster import Item, Kind, Raster, Variable

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

FRACTIONAL = frozenset({Kind.POWER, Kind.COHERENCE, Kind.REFLECTANCE, Kind.WRAPPED_PHASE, Kind.UNWRAPPED_PHASE})
"""Kinds whose values lie between whole numbers, so that integers must be something else: codes, dB x 100."""
CODES = frozenset({Kind.CLASSES, Kind.BITS})
NEAR_PX = 64
"""A raster this many of its own pixels, and the target's size, away from the target was not asked for."""
EARTH = (-180.0, -90.0, 180.0, 90.0)


class Fault(NamedTuple):
    """One thing that is wrong."""

    seen: str
    change: str
    """What the source's author should change."""


def item_fault(item: Item, known: Iterable[str]) -> Fault | None:
    """Return what is wrong with an item that was found; ``known`` are the ids of those before it."""
    if not isinstance(item.id, str) or not item.id:
        return Fault(f"an item's id is {item.id!r}", "give each item a name of its own, as text")
    if item.id in known:
        return Fault(f"the item '{item.id}' came twice", "yield each item once; ids must differ")
    fault = _types_fault(item)
    if fault is not None:
        return fault
    if not item.footprint.is_valid or item.footprint.is_empty:
        return Fault(
            f"the footprint of '{item.id}' is empty or not valid", "repair it with shapely.make_valid, or draw a box"
        )
    low, high = np.array(EARTH[:2]) - 1e-6, np.array(EARTH[2:]) + 1e-6
    west, south, east, north = item.footprint.bounds
    if (np.array([west, south]) < low).any() or (np.array([east, north]) > high).any():
        return Fault(
            f"the footprint of '{item.id}' spans {west:g} {south:g} ... {east:g} {north:g}",
            "footprints are lon/lat in degrees (EPSG:4326), x first, split at 180 degrees",
        )
    return _time_fault(item.id, item.datetime)


def _types_fault(item: Item) -> Fault | None:
    """Return what in an item is of a type that could not be written down."""
    if not isinstance(item.footprint, Polygon | MultiPolygon):
        kind = type(item.footprint).__name__
        return Fault(f"the footprint of '{item.id}' is a {kind}", "give a shapely Polygon or MultiPolygon")
    for name in ("version", "acquisition"):
        value = getattr(item, name)
        if not isinstance(value, str):
            return Fault(f"the {name} of '{item.id}' is {value!r}", f"give it as text: {name}=str(...)")
    given: Any = item.properties
    if not isinstance(given, Mapping):
        return Fault(f"the properties of '{item.id}' are {given!r}", "give a dictionary")
    for key, value in given.items():
        if not isinstance(key, str) or type(value) not in {str, int, float}:
            return Fault(
                f"the property {key!r} of '{item.id}' is {value!r}, a {type(value).__name__}",
                "properties are text, int or float of Python",
            )
    orbit = item.properties.get("relative_orbit", 0)
    if not isinstance(orbit, int):
        return Fault(f"the relative_orbit of '{item.id}' is {orbit!r}", "give a whole number")
    return None


def _time_fault(name: str, when: Any) -> Fault | None:
    if when is None:
        return None
    if not isinstance(when, datetime):
        return Fault(f"the datetime of '{name}' is a {type(when).__name__}", "give a datetime with tzinfo=UTC, or None")
    if when.utcoffset() is None:
        return Fault(f"the datetime of '{name}' has no time zone", "give datetime(..., tzinfo=UTC)")
    if when.utcoffset():
        return Fault(f"the datetime of '{name}' is {when.isoformat()}, not UTC", "convert it: when.astimezone(UTC)")
    return None


def content_fault(raster: Raster, variables: Iterable[Variable], asked: Iterable[str]) -> Fault | None:
    """Return what is wrong with a raster's name, bands, item or types; ``asked`` are the ids of the items asked for."""
    known = {variable.name: variable for variable in variables}
    variable = known.get(raster.variable)
    if variable is None:
        return Fault(
            f"a variable '{raster.variable}' that describe() does not list", f"it lists: {', '.join(sorted(known))}"
        )
    if raster.data.shape[0] != len(variable.bands):
        return Fault(
            f"{raster.data.shape[0]} bands of '{raster.variable}', described {len(variable.bands)}",
            f"data is (band, y, x) with all bands in order: {', '.join(variable.bands)}",
        )
    if raster.item.id not in asked:
        return Fault(f"a raster of the item '{raster.item.id}', which was not asked for", "read only the given items")
    return type_fault(raster, variable.kind)


def type_fault(raster: Raster, kind: Kind) -> Fault | None:
    """Return what is wrong with the dtypes of a raster."""
    dtype = raster.data.dtype
    if kind in CODES and dtype.kind not in "iu":
        return Fault(
            f"'{raster.variable}' as {dtype}", f"{kind} are integer codes: data.astype('uint8'), holes said by `valid`"
        )
    if kind in FRACTIONAL and dtype.kind in "iu":
        return Fault(
            f"'{raster.variable}' as {dtype}", f"{kind} is a float in its own unit: undo scale and offset, as float32"
        )
    if dtype.kind not in "iuf":
        return Fault(f"'{raster.variable}' as {dtype}", "give plain numbers: data.astype('float32')")
    for name, mask in (("valid", raster.valid), ("masked", raster.masked)):
        if mask is not None and mask.dtype != np.bool_:
            return Fault(f"`{name}` of '{raster.variable}' as {mask.dtype}", f"{name} is boolean: {name}.astype(bool)")
    return None


def number_fault(raster: Raster) -> Fault | None:
    """Return what is wrong if a valid pixel is no number; a glance for whole rasters of numbers."""
    if raster.data.dtype.kind != "f" or np.isfinite(raster.data).all():
        return None
    wrong = raster.valid & ~np.isfinite(raster.data)
    if not wrong.any():
        return None
    band, row, col = (int(v[0]) for v in np.nonzero(wrong))
    value = raster.data[band, row, col]
    change = "valid is False where there is no number: valid = np.isfinite(data)"
    unused: NDArray[Any] = raster.data[~raster.valid]
    if len(unused) and np.isfinite(unused).all():
        change += "; here it looks inverted: True means usable"
    return Fault(
        f"{value} under valid in '{raster.variable}' at band {band}, row {row}, column {col} "
        f"({int(wrong.sum()):,} such pixels)",
        change,
    )


def place_fault(raster: Raster, target: GeoBox) -> Fault | None:
    """Return what is wrong if a raster lies nowhere near the target that it was read for, most likely its CRS."""
    if raster.geobox.crs is None:
        return Fault(
            f"'{raster.variable}' on a GeoBox without CRS",
            "give the CRS of the item's grid: GeoBox(shape, affine, crs)",
        )
    there = str(raster.geobox.crs)
    height, width = target.shape
    a = target.transform
    cols = np.array([0.0, width, width, 0.0, width / 2])
    rows = np.array([0.0, 0.0, height, height, height / 2])
    x, y = _transformer(str(target.crs), there).transform(a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f)
    gaps = []
    for turn in (-360.0, 0.0, 360.0) if CRS.from_user_input(there).is_geographic else (0.0,):
        b = ~raster.geobox.transform
        u, v = b.a * (x + turn) + b.b * y + b.c, b.d * (x + turn) + b.e * y + b.f
        if np.isfinite(u).all() and np.isfinite(v).all():
            gaps.append(max(_gap(u, raster.geobox.shape[1]), _gap(v, raster.geobox.shape[0])))
    if gaps and min(gaps) <= 0:
        return None
    box = raster.geobox.boundingbox
    return Fault(
        f"'{raster.variable}' at x {box.left:g} ... {box.right:g}, y {box.bottom:g} ... {box.top:g} "
        f"of {_short(there)}, which is not where it was asked for",
        "check the CRS of its GeoBox, and whether x and y, or degrees and metres, are mixed up",
    )


def _gap(positions: NDArray[np.float64], size: int) -> float:
    """Return how far beyond the slack an extent, in pixels, lies from ``0 ... size``; at most 0 if near."""
    low, high = float(positions.min()), float(positions.max())
    return max(-high, low - size) - NEAR_PX - (high - low)


def _short(crs: str) -> str:
    found = CRS.from_user_input(crs)
    code = found.to_epsg()
    return f"EPSG:{code}" if code else str(found.name)


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)

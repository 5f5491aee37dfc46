"""What the products have in common: one run of SNAP for each item and zone, kept, and read in windows."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, CorruptError, PrepError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.ports.cost import Cost
from m3leo_prep.sources.copernicus.source import Copernicus

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.snap.chains import Grid
    from m3leo_prep.sources.snap.shelf import Task

LICENCE = "Copernicus Sentinel data terms (free, full and open)"
CITATION = "Contains modified Copernicus Sentinel data, processed by ESA SNAP"
ANCHORS = (500_000, 10_000_000)
"""Easting and northing, in metres, that the chips' grid counts from; northing 0 north of the equator."""
HOURS = 0.25, 1.5
"""That a scene takes, roughly: nobody has measured it here."""
BESIDE = 1.7
"""What SNAP writes over what is kept of it: its image is upright, that of the scene lies slanted in it."""
ANY_ZONE = 32601
"""Stands for the zone where only the number of bands is asked for."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a result."""

    planes: Mapping[str, NDArray[np.float32]]
    """(y, x) by our name of the band."""
    geobox: GeoBox
    item: Item
    """Of which it is known now with which orbits it was made: property ``orbit_files``."""


class MadeBySnap(Copernicus):
    """A product that SNAP makes of each item, on the grid of the chips' zone."""

    __slots__ = ()

    @abstractmethod
    def task(self, item: Item, grid: Grid) -> Task:
        """Return what makes an item's result."""

    @property
    @abstractmethod
    def scenes(self) -> tuple[str, ...]:
        """Names of an item's properties that name the products it is made of."""

    def around(self, item: Item, geobox: GeoBox, pitch: float) -> Cut | None:
        """Return what an item's result holds around ``geobox``; None if it does not reach there.

        The item's result is made where it is not here yet, which takes SNAP tens of minutes.

        Raises:
            MissingDependency: there is no SNAP here.
            NoData, CorruptError, TriedOut, CredentialsError, StoreError: from fetching, or from SNAP.
        """
        from m3leo_prep.sources.copernicus.service.products import product
        from m3leo_prep.sources.snap import installed, shelf
        from m3leo_prep.sources.snap.chains import Grid

        task = self.task(item, Grid(zone(geobox), pitch))
        path = shelf.result(task, installed.find(), product)
        return _cut(str(path), tuple(task.bands), geobox, item)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
        """Return what fetching the scenes takes, whole and each once; what SNAP and its results take, in notes."""
        from m3leo_prep.core.polygons import geodesic_km2
        from m3leo_prep.sources.copernicus.service.volume import estimated
        from m3leo_prep.sources.snap.chains import Grid
        from m3leo_prep.sources.snap.shelf import folder

        del windows, slots
        sizes = {
            str(item.properties[key]): int(item.properties.get(f"{key}_size", 0))
            for item in items
            for key in self.scenes
            if key in item.properties
        }
        low, high = (len(items) * hours for hours in HOURS)
        notes = [f"SNAP then takes about {low:,.0f} to {high:,.0f} hours for {len(items):,} results, one at a time"]
        pitch = self.describe().pitch or 1.0
        made = [
            geodesic_km2(item.footprint) * 1e6 / pitch**2 * len(self.task(item, Grid(ANY_ZONE, pitch)).bands) * 4
            for item in items
        ]
        if made:
            notes.append(
                f"the results are kept in {folder()}: up to {sum(made) / 1e9:,.1f} GB, and "
                f"{max(made) * BESIDE / 1e9:,.1f} GB more while one is made"
            )
        unknown = sum(size == 0 for size in sizes.values())
        if unknown:
            notes.append(f"the catalogue tells no size of {unknown:,} of {len(sizes):,} scenes")
        return estimated(len(sizes), sum(sizes.values()), notes=tuple(notes))

    def probe(self) -> str:
        """Return which SNAP is here, and which login was found.

        Raises:
            MissingDependency: there is no SNAP here; the hint says how to get it.
            CredentialsError, SourceError: from the login.
        """
        from m3leo_prep.sources.copernicus.service.login import probe
        from m3leo_prep.sources.snap.installed import find

        return f"{find()}; {probe()}"


def release() -> str:
    """Return which SNAP would make the results, for the version of a source: another release may give other pixels."""
    from m3leo_prep.sources.snap.installed import look

    try:
        snap = look()
    except PrepError:
        return "none"
    return "none" if snap is None else snap.release


def facts(**more: Any) -> Mapping[str, Any]:
    """Return the attributes that all variables have."""
    return {
        "processor": f"ESA SNAP {release()}",
        "dem": "Copernicus GLO-30",
        "resampling": "bilinear, by SNAP: of speckle it keeps a quarter to all of the variance, by place in the pixel",
        **more,
    }


def checked_pitch(given: Any, where: str) -> float:
    """Return a pixel size in metres whose pixels meet the edges of the chips.

    Raises:
        ConfigError: they would not.
    """
    ok = isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given) and given >= 5
    if not ok or any(anchor % given for anchor in ANCHORS):
        raise ConfigError(
            f"pitch: {given!r} m does not divide the chips' grid", where=where, hint="pitch: 10, 20 or 40"
        )
    return float(given)


def zone(geobox: GeoBox) -> int:
    """Return the EPSG code of the UTM zone that a target is in, or lies in."""
    from m3leo_prep.core.zones import zone_number, zone_of

    epsg = geobox.crs.epsg if geobox.crs is not None else None
    if epsg is not None:
        try:
            zone_number(epsg)
        except ConfigError:
            pass
        else:
            return int(epsg)
    middle = geobox.geographic_extent.centroid.coords[0]
    found = int(zone_of(*middle))
    if not found:
        raise ConfigError("SNAP's results are in UTM, which ends at 80 S and 84 N", where="source 'copernicus'")
    return found


def _cut(path: str, names: Sequence[str], geobox: GeoBox, item: Item) -> Cut | None:
    """Return the bands of a result around ``geobox``, with the port's margin.

    Raises:
        CorruptError: it cannot be read.
    """
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.windows import Window as Block

    from m3leo_prep.sources._native import NativeGrid, Window
    from m3leo_prep.sources.snap.making import TAG

    try:
        with rasterio.open(path, sharing=False) as raster:
            orbits = str(json.loads(raster.tags()[TAG])["orbits"])
            at = raster.transform
            grid = NativeGrid(str(raster.crs), at.a, at.c, at.f)
            whole = Window(0, raster.height, 0, raster.width)
            window = grid.window(geobox).within(whole)
            if window.is_empty:
                return None
            numbers = [raster.descriptions.index(name) + 1 for name in names]
            rows, columns = window.row1 - window.row0, window.col1 - window.col0
            data = raster.read(numbers, window=Block(window.col0, window.row0, columns, rows))
    except (RasterioError, KeyError, ValueError) as error:
        hint = f"remove {path} and build again: SNAP makes it anew"
        raise CorruptError(f"the result of SNAP cannot be read: {error}", where=item.id, hint=hint) from error
    told = replace(item, properties={**item.properties, "orbit_files": orbits})
    return Cut(dict(zip(names, data, strict=True)), grid.geobox(window), told)

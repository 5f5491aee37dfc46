"""Small interferograms and orbits as source objects: pairs with components, and angles of relative orbits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

import m3leo_prep as mp
from m3leo_prep.core.area import Area
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.raster import Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.pipeline.build import build
from m3leo_prep.runners.threads import Threads
from m3leo_prep.sources._native import NativeGrid

RECIPE = """
name: interferograms
grid: {chip_px: 32, resolution: 40}
layers:
  insar: {source: pairs, resolution: 40,
          slots: {pairs: {year: 2020, windows: {short: [0, 60], long: [61, 216], none: [300, 400]}}}}
  geometry: {source: orbits, resolution: 80, resampling: nearest, slots: {orbits: 2}}
"""
AREA = Area.from_geometry(box(9.300, 57.100, 9.340, 57.120), name="here")
GRID = NativeGrid("EPSG:4326", 0.0006, 0.0, 90.0)
SEAM = 9.317
"""Longitude east of which only the shorter of the short pairs has data."""
WHOLE, WEST = box(9.2, 57.0, 9.5, 57.2), box(9.2, 57.0, SEAM, 57.2)
SENTINEL_1 = {"wavelength_m": 0.05546576, "sign": "positive towards the sensor"}
TURN = 2 * np.pi


def pair(days: int, where: BaseGeometry, name: str) -> Item:
    """Return an interferogram of so many days that ends on 1 September 2020."""
    later = datetime(2020, 9, 1, 5, 30, tzinfo=UTC)
    properties = {
        "reference_time": later.isoformat(),
        "secondary_time": (later - timedelta(days=days)).isoformat(),
        "relative_orbit": 44,
        "orbit_direction": "ascending",
        "frame": days,
        "perp_baseline": -1.5 * days,
        "product_version": "3.0.1" if days > 20 else "2.0.6",
        "days": days,
    }
    return Item(name, where, "1", later, f"44-{days}", properties)


ITEMS = (pair(48, WEST, "far-west"), pair(12, WHOLE, "near"), pair(96, WHOLE, "long"))


@dataclass(frozen=True)
class Pairs:
    """Phase = 2.5 rad a day + a bowl of 12 rad; component 2, the southern fifth, a turn higher; 0 in one corner."""

    attributes: tuple[tuple[str, Any], ...] = tuple(SENTINEL_1.items())
    by: float = 0.0
    version: str = "1"

    def describe(self) -> SourceInfo:
        """Return phase, its components, coherence and the line of sight."""
        about = {"components": "parts", **dict(self.attributes)}
        return SourceInfo(
            (
                Variable("phase", Kind.UNWRAPPED_PHASE, ("phase",), "rad", attributes=about),
                Variable("parts", Kind.CLASSES, ("parts",), attributes={"components_of": "phase"}),
                Variable("coherence", Kind.COHERENCE, ("coherence",)),
                Variable("los", Kind.CONTINUOUS, ("east", "north", "up"), attributes={"direction": "vector"}),
            ),
            version=self.version,
            pitch=66.0,
            slot_kinds=("pair",),
            licence="CC0-1.0",
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the pairs that reach the area."""
        yield from (item for item in ITEMS if item.footprint.intersects(area))

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterator[Raster]:
        """Yield the variables of each item."""
        window = GRID.window(geobox)
        lon, lat = np.meshgrid(*GRID.centres(window))
        grid, days = GRID.geobox(window), [int(item.properties["days"]) for item in items]
        for item, n in zip(items, days, strict=True):
            bowl = 12 * np.exp(-(((lon - 9.32) / 0.01) ** 2 + ((lat - 57.11) / 0.005) ** 2)) * n / 96
            parts = np.where(lat < 57.106, 2, 1) * ~((lon < 9.31) & (lat > 57.115))
            phase = self.by + 2.5 * n + bowl + np.where(parts == 2, TURN, 0) + np.where(parts == 0, 3.0, 0)
            valid = ((np.abs(lon - 9.325) > 0.001) & (lon < item.footprint.bounds[2]))[None]
            yield Raster(phase[None].astype(np.float32), valid, grid, item, "phase", components=parts.astype(np.int32))
            yield Raster(parts[None].astype(np.uint8), valid, grid, item, "parts")
            coherence = np.clip(0.9 - n / 200 - 100 * (lon - 9.3) ** 2, 0, 1)[None].astype(np.float32)
            yield Raster(coherence, valid, grid, item, "coherence")
            los = np.stack([np.full(lon.shape, part, np.float32) for part in (0.62, -0.11, 0.7762)])
            yield Raster(los + 0.02 * (lon[None] - 9.3).astype(np.float32), np.repeat(valid, 3, 0), grid, item, "los")


@dataclass(frozen=True)
class Orbits:
    """Incidence of two relative orbits: 33 degrees ascending, 41 descending, rising to the east."""

    def describe(self) -> SourceInfo:
        """Return the incidence."""
        incidence = Variable("incidence", Kind.ANGLE, ("incidence",), "degree")
        return SourceInfo((incidence,), version="1", pitch=66.0, slot_kinds=("orbit",), licence="CC0-1.0")

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield a tile of each orbit."""
        for orbit, way in ((44, "ascending"), (139, "descending")):
            about = {"relative_orbit": orbit, "orbit_direction": way}
            yield Item(f"{way}-{orbit}", WHOLE if orbit == 44 else WEST, "1", None, "", about)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterator[Raster]:
        """Yield the angle of each tile."""
        window = GRID.window(geobox)
        lon, _ = np.meshgrid(*GRID.centres(window))
        for item in items:
            angle = (33 if item.properties["relative_orbit"] == 44 else 41) + 100 * (lon - 9.3)
            valid = lon < item.footprint.bounds[2]
            yield Raster(angle[None].astype(np.float32), valid[None], GRID.geobox(window), item, "incidence")


def planned(recipe: str = RECIPE, *, where: Area = AREA, source: Pairs | None = None, out: Path | None = None) -> Plan:
    """Return the plan of these layers."""
    return mp.plan(where, recipe, sources={"pairs": source or Pairs(), "orbits": Orbits()}, out=out)


def made(path: Path, recipe: str = RECIPE, **how: Any) -> Path:
    """Return ``path`` after the build of these layers there."""
    build(planned(recipe, **how), path, runner=Threads(1))
    return path

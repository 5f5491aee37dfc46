"""The catalogue of the synthetic Earth: which items exist, and where the pixels of one are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources._native import NativeGrid, Window
from m3leo_prep.sources.synthetic.facts import LONLAT
from m3leo_prep.sources.synthetic.passes import (
    ARCHIVE,
    Frame,
    Mission,
    chance,
    degree_name,
    degree_tiles,
    frame_latitudes,
    frames,
    number,
    tile_extent,
    tiles,
)

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.sources.synthetic.places import Place

BOTH = ("ascending", "descending")
RADAR = Mission("s1", tracks=140, repeat_days=12, overlap=0.24, directions=BOTH)
CAMERA = Mission("s2", tracks=143, repeat_days=5, overlap=0.10, directions=("descending",))
ARCSEC = 1.0 / 3600.0
VERSION = "1"

_SEASONS = {1: "winter", 4: "spring", 7: "summer", 10: "fall"}
"""By the month in whose middle their middle lies, as GSSIC names them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a configured source looks for."""

    product: str
    seed: int
    missing: float
    orbits: tuple[str, ...]


def find(wanted: Wanted, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
    """Yield the items of a product that meet ``area`` in any of ``slots``: by place, then by time."""
    if area.is_empty or not slots:
        return
    match wanted.product:
        case "relief":
            yield from _static(area, size=1)
        case "landcover":
            yield from _static(area, size=3)
        case "s1":
            yield from _scenes(wanted, area, slots)
        case "s2":
            yield from _images(wanted, area, slots)
        case "coherence":
            yield from _seasons(wanted, area, slots)
        case _:
            yield from _pairs(wanted, area, slots)


def _static(area: BaseGeometry, size: int) -> Iterator[Item]:
    for west, south, outline in degree_tiles(area, size):
        place: dict[str, str | int | float] = {"west": west, "south": south, "size": size}
        yield Item(degree_name(west, south), outline, VERSION, properties=place)


def _seasons(wanted: Wanted, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
    times = [
        datetime(year, month, 15, tzinfo=UTC) for year in range(ARCHIVE[0].year, ARCHIVE[1].year) for month in _SEASONS
    ]
    chosen = [when for when in times if any(slot.contains(when) for slot in slots)]
    for west, south, outline in degree_tiles(area, 1):
        for when in chosen:
            if chance("season", west, south, when.year, when.month, wanted.seed) >= wanted.missing:
                name = f"{degree_name(west, south)}_{_SEASONS[when.month]}_{when.year}"
                place: dict[str, str | int | float] = {"west": west, "south": south, "size": 1}
                yield Item(name, outline, VERSION, when, properties=place)


def _scenes(wanted: Wanted, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
    for scene in _frames(wanted, area):
        for when in RADAR.dates(scene.swath, slots, wanted.missing, wanted.seed):
            name = f"S1_{_track(scene)}_{when:%Y%m%dT%H%M%S}"
            at = _orbit(scene) | {"epsg": scene.epsg, "frame": scene.number}
            yield Item(f"{name}_F{scene.number:+03d}", scene.footprint, VERSION, when, name, at)


def _pairs(wanted: Wanted, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
    every = [Slot("archive", *ARCHIVE)]
    for scene in _frames(wanted, area):
        dates = RADAR.dates(scene.swath, every, wanted.missing, wanted.seed)
        for before, after in pairwise(dates):
            days = (after - before).days
            if days == RADAR.repeat_days and any(slot.contains(after) for slot in slots):
                name = f"IFG_{_track(scene)}_{before:%Y%m%d}_{after:%Y%m%d}"
                key = (scene.swath.direction, scene.swath.relative_orbit, before.toordinal(), wanted.seed)
                at = _orbit(scene) | {
                    "frame": scene.number,
                    "reference": f"{after:%Y-%m-%d}",
                    "secondary": f"{before:%Y-%m-%d}",
                    "days": days,
                    "perp_baseline": round(240.0 * chance("baseline", *key) - 120.0, 1),
                }
                yield Item(f"{name}_F{scene.number:+03d}", scene.footprint, VERSION, after, name, at)


def _images(wanted: Wanted, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
    passes = {s: CAMERA.dates(s, slots, wanted.missing, wanted.seed) for s in CAMERA.swaths()}
    for tile in tiles(area):
        _, south, _, north = tile.footprint.bounds
        for swath, dates in passes.items():
            if not dates:
                continue
            # Beyond the tile, so that only the tile's own edges cut the swath's ends.
            footprint = tile.footprint.intersection(swath.outline(south - 0.1, north + 0.1))
            if footprint.is_empty or not footprint.intersects(area):
                continue
            for when in dates:
                name = f"S2_R{swath.relative_orbit:03d}_{when:%Y%m%dT%H%M%S}"
                at: dict[str, str | int | float] = {
                    "epsg": tile.epsg,
                    "tile_x": tile.x,
                    "tile_y": tile.y,
                    "orbit_direction": swath.direction,
                    "relative_orbit": swath.relative_orbit,
                }
                yield Item(f"{name}_{tile.name}", footprint, VERSION, when, name, at)


def _frames(wanted: Wanted, area: BaseGeometry) -> Iterator[Frame]:
    return (scene for scene in frames(RADAR, area) if scene.swath.direction in wanted.orbits)


def _track(scene: Frame) -> str:
    return f"{scene.swath.direction[0].upper()}{scene.swath.relative_orbit:03d}"


def _orbit(scene: Frame) -> dict[str, str | int | float]:
    return {"orbit_direction": scene.swath.direction, "relative_orbit": scene.swath.relative_orbit}


def _grid(product: str, item: Item) -> tuple[NativeGrid, Window | None]:
    """Return the item's grid and, for tiles, the pixels of it that it has."""
    at = item.properties
    match product:
        case "s1":
            # As a real scene's, the grid of an orbit begins anywhere, not on a multiple of 10 m.
            key = ("origin", at["orbit_direction"], at["relative_orbit"])
            x0, y0 = number("x", *key) % 1000 / 100.0, number("y", *key) % 1000 / 100.0
            return NativeGrid(f"EPSG:{at['epsg']}", 10.0, x0, y0), None
        case "s2":
            west, south, east, north = tile_extent(int(at["tile_x"]), int(at["tile_y"]))
            limit = Window(-north // 10, -south // 10, west // 10, east // 10)
            return NativeGrid(f"EPSG:{at['epsg']}", 10.0), limit
        case "phase" | "unwrapped":
            return NativeGrid(LONLAT, 3 * ARCSEC), None
    per_degree = {"relief": 3600, "landcover": 12_000, "coherence": 1200}[product]
    west, south, size = (int(at[key]) for key in ("west", "south", "size"))
    limit = Window(-(south + size) * per_degree, -south * per_degree, west * per_degree, (west + size) * per_degree)
    return NativeGrid(LONLAT, 1.0 / per_degree), limit


@dataclass(frozen=True, slots=True)
class View:
    """The part of an item that a target needs: its pixels, where they are, and which of them it has."""

    grid: NativeGrid
    window: Window
    place: Place
    inside: NDArray[np.bool_]
    """(y, x): the item covers it."""
    across: NDArray[np.float64] | None = None
    """(y, x): place in the swath, -1 ... 1."""

    @classmethod
    def of(cls, product: str, item: Item, geobox: GeoBox, seed: int) -> View | None:
        """Return the view of ``item`` around ``geobox``, or None if there is nothing of it."""
        from m3leo_prep.sources.synthetic.places import place

        grid, limit = _grid(product, item)
        middle = float(item.footprint.representative_point().x)
        window = grid.window(geobox, about=middle if grid.is_lonlat else None)
        window = window if limit is None else window.within(limit)
        if window.is_empty:
            return None
        here = place(seed, grid, window)
        inside, across = np.ones(here.lon.shape, bool), None
        if "relative_orbit" in item.properties:
            mission = CAMERA if product == "s2" else RADAR
            at = item.properties
            swath = mission.swath(int(at["relative_orbit"]), str(at["orbit_direction"]))
            across = swath.across(here.lon, here.lat)
            inside = np.abs(across) <= 1.0
            if "frame" in at:
                south, north = frame_latitudes(int(at["frame"]))
                inside &= (here.lat >= south) & (here.lat <= north)
        return cls(grid, window, here, inside, across) if inside.any() else None

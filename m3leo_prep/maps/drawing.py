"""What a map draws: chips, or squares of several where there are many, with what is known of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from m3leo_prep.blobs.location import local_path, scheme
from m3leo_prep.core.area import Area
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.zones import FALSE_EASTING, FALSE_NORTHING_SOUTH, is_south, unproject, zone_number
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.state import PLAN, DatasetFolder
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import MANIFEST

SIDES = (2, 4, 8, 16, 32, 64)
"""Chips along the side of a square that stands for many."""
ROUND_THE_EARTH = 20.0
"""Degrees of longitude; an area without a wider gap goes all the way round and is cut at 180 degrees."""


@dataclass(frozen=True, slots=True)
class Column:
    """One thing that is known of every shape."""

    name: str
    values: NDArray[Any]
    """(shape,) words, or numbers with NaN where unknown."""
    unit: str = ""
    limits: tuple[float, float] | None = None
    """Ends of the colour scale; None = shown on hover only."""

    @property
    def is_category(self) -> bool:
        """True where the values are words."""
        return self.values.dtype.kind not in "biuf"


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything a map shows, in lon/lat that is continuous: across the antimeridian it goes on beyond 180."""

    name: str
    facts: str
    """How many chips, how large."""
    outline: BaseGeometry | None
    """Of the area, where it is known."""
    lon: NDArray[np.float64]
    """(shape, 4) corners SW, SE, NE, NW in degrees."""
    lat: NDArray[np.float64]
    side: int
    """Chips along the side of one shape; 1 = the shapes are the chips."""
    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.lon)

    @property
    def note(self) -> str:
        """What a reader must know about the shapes."""
        if self.side == 1:
            return ""
        return f"one square = up to {self.side} x {self.side} chips, with their number and their means"

    @property
    def colours(self) -> tuple[Column, ...]:
        """What the shapes can be coloured by."""
        return tuple(known for known in self.columns if known.limits is not None)

    @property
    def first_colour(self) -> Column:
        """What they are coloured by at first: of a dataset's chips the split, or else what is valid."""
        telling = [known for known in self.colours if known.name.startswith(("split", "valid"))]
        return telling[0] if telling and self.side == 1 else self.colours[0]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of all shapes."""
        return float(self.lon.min()), float(self.lat.min()), float(self.lon.max()), float(self.lat.max())


@dataclass(frozen=True, slots=True)
class _Chips:
    """All chips of an area, plan or dataset, one array element each."""

    name: str
    cell_m: float
    epsg: NDArray[np.integer]
    x0: NDArray[np.floating]
    y0: NDArray[np.floating]
    km2: float
    columns: tuple[Column, ...]
    area: Area | None


def draw(what: str | Path | Area | Plan | Dataset, most: int, more: Sequence[Column] = ()) -> Drawing:
    """Return what to draw of an area, plan or dataset, in at most ``most`` shapes as far as 64 x 64 chips allow.

    Args:
        what: as in ``maps.show``.
        most: shapes.
        more: what else is known of each chip, in order.

    Raises:
        ConfigError: no such area.
        StoreError: no dataset in the folder.
    """
    chips = _chips(_opened(what))
    chips = replace(chips, columns=(*chips.columns, *more))
    facts = f"{len(chips.epsg):,} chips of {chips.cell_m / 1000:g} km, {chips.km2:,.0f} km²"
    if chips.area is not None:
        facts += f"; the area has {chips.area.area_km2:,.0f} km²"
    side, order, starts = _squares(chips, most)
    west, east = (f.reduceat(chips.x0[order], starts) for f in (np.minimum, np.maximum))
    south, north = (f.reduceat(chips.y0[order], starts) for f in (np.minimum, np.maximum))
    epsg, cell = chips.epsg[order][starts], chips.cell_m
    lon, lat = _corners(epsg, west, south - cell, east + cell, north)
    columns = chips.columns if side == 1 else tuple(_means(chips, side, order, starts))
    parts: list[Polygon] = [] if chips.area is None else shapely.get_parts(chips.area.geometry).tolist()
    spans = [(part.bounds[0], part.bounds[2]) for part in parts] or list(zip(lon[:, 0], lon[:, 0], strict=True))
    cut = _cut(np.array(spans))
    lon += (_after(lon.mean(axis=1), cut) - lon.mean(axis=1))[:, None]
    return Drawing(chips.name, facts, _outline(parts, cut), lon, lat, side, columns)


def _opened(what: str | Path | Area | Plan | Dataset) -> Area | Plan | Dataset:
    """Return the thing that a name or path stands for; of a half-built dataset, its plan."""
    if not isinstance(what, (str, Path)):
        return what
    if scheme(what) != "file":
        return Dataset(what)
    folder = local_path(what)
    if (folder / MANIFEST).exists():
        return Dataset(folder)
    if folder.is_dir() and (plan := DatasetFolder(folder).frozen()) is not None:
        return plan
    # A folder that is called like an area and holds no dataset does not hide the area.
    is_meant = isinstance(what, Path) or folder.name != what
    return Dataset(folder) if folder.is_dir() and is_meant else load_area(str(what), yes=True)


def _chips(what: Area | Plan | Dataset) -> _Chips:
    if isinstance(what, Dataset):
        return _of_dataset(what)
    if isinstance(what, Plan):
        return _of_cells(what.cells, what.area)
    return _of_cells(Grid().cells(what.geometry), what)


def _of_cells(cells: Cells, area: Area) -> _Chips:
    lon, lat = cells.lon_lat()
    known = _place(np.array(cells.ids()), cells.epsg, lon, lat, cells.owned_fraction())
    return _Chips(
        area.name, cells.grid.cell_m, cells.epsg, *cells.upper_left(), float(cells.area_km2().sum()), known, area
    )


def _of_dataset(dataset: Dataset) -> _Chips:
    table = dataset.table("chips.parquet").drop_columns("geometry")
    of = {name: table[name].to_numpy() for name in table.column_names}
    policies = [name for name in of if name == "split" or name.startswith("split_")]
    shares = [f"valid_{layer}" for layer in dataset.layers if f"valid_{layer}" in of]
    columns = [*_place(of["chip_id"].astype(str), of["epsg"], of["lon"], of["lat"], of["owned_fraction"])]
    columns += [
        Column(name, np.array([value or "none" for value in of[name]]), limits=(0, 1))
        for name in policies
        if table[name].null_count < len(table)
    ]
    columns += [Column(name.replace("_", " ", 1), of[name], "%", (0, 100)) for name in shares]
    cell = dataset.manifest["grid"]["chip_px"] * dataset.manifest["grid"]["resolution"]
    is_built_here = not dataset.root.is_remote and (dataset.path / PLAN).exists()
    frozen = DatasetFolder(dataset.path).frozen() if is_built_here else None
    name = f"{dataset.manifest['area']['name']}, recipe {dataset.manifest['name']}"
    x0, y0 = of["x0"].astype(float), of["y0"].astype(float)
    return _Chips(
        name, cell, of["epsg"], x0, y0, float(of["area_km2"].sum()), tuple(columns), frozen.area if frozen else None
    )


def _place(
    ids: NDArray[np.str_],
    epsg: NDArray[np.integer],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    owned: NDArray[np.floating],
) -> tuple[Column, ...]:
    """Return the columns that every chip has."""
    zones, which = np.unique(epsg, return_inverse=True)
    words = np.array([f"{zone_number(int(z)):02d}{'S' if is_south(int(z)) else 'N'}" for z in zones])
    return (
        Column("chip", ids),
        Column("row", np.arange(len(ids))),
        Column("zone", words[which], limits=(0, 1)),
        Column("lon", lon, "°"),
        Column("lat", lat, "°"),
        Column("owned by zone", 100 * owned.astype(float), "%", (0, 100)),
    )


def _squares(chips: _Chips, most: int) -> tuple[int, NDArray[np.intp], NDArray[np.intp]]:
    """Return (side, order, starts): chips in this order, cut at the starts, are the shapes to draw."""
    n = len(chips.epsg)
    if n <= most:
        return 1, np.arange(n), np.arange(n)
    # Squares are anchored as the grid is: at the central meridian and the equator.
    cols = np.rint((chips.x0 - FALSE_EASTING) / chips.cell_m).astype(np.int64)
    height = np.where(chips.epsg >= 32700, FALSE_NORTHING_SOUTH - chips.y0, chips.y0 - chips.cell_m)
    rows = np.rint(height / chips.cell_m).astype(np.int64)
    for side in SIDES:
        key = (chips.epsg.astype(np.int64) * 10**6 + cols // side) * 10**6 + rows // side
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        if len(starts) <= most:
            break
    return side, order, starts


def _means(chips: _Chips, side: int, order: NDArray[np.intp], starts: NDArray[np.intp]) -> Iterator[Column]:
    """Yield what is known of squares: how many chips, means of numbers, shares of words."""
    count = np.diff(starts, append=len(order))
    yield Column("chips", count, limits=(0, side**2))
    for column in chips.columns:
        values = column.values[order]
        if column.name in {"chip", "row"}:
            continue
        if column.name == "zone":
            yield Column("zone", values[starts], limits=(0, 1))
        elif column.name == "lon":
            # Around the first chip's: a mean over the antimeridian would lie on the other side of the Earth.
            first = np.repeat(values[starts], count)
            mean = values[starts] + np.add.reduceat((values - first + 180) % 360 - 180, starts) / count
            yield Column("lon", (mean + 180) % 360 - 180, "°")
        elif column.is_category:
            for word in np.unique(values):
                yield Column(
                    f"{column.name} {word}", 100 * np.add.reduceat(values == word, starts) / count, "%", (0, 100)
                )
        else:
            known = np.isfinite(values)
            total = np.add.reduceat(np.where(known, values, 0.0), starts)
            number = np.add.reduceat(known.astype(np.int64), starts)
            mean = np.divide(total, number, out=np.full(len(starts), np.nan), where=number > 0)
            yield Column(column.name, mean, column.unit, column.limits)


def _corners(
    epsg: NDArray[np.integer],
    west: NDArray[np.floating],
    south: NDArray[np.floating],
    east: NDArray[np.floating],
    north: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lon and lat (shape, 4) of the corners SW, SE, NE, NW of rectangles in UTM."""
    x = np.stack([west, east, east, west], axis=1)
    y = np.stack([south, south, north, north], axis=1)
    lon, lat = np.empty(x.shape), np.empty(x.shape)
    for zone in np.unique(epsg):
        here = epsg == zone
        lon[here], lat[here] = unproject(int(zone), x[here], y[here])
    return lon, lat


def _cut(spans: NDArray[np.float64]) -> float:
    """Return the longitude to cut the Earth at: the middle of the widest gap between (west, east) spans."""
    spans = spans[np.argsort(spans[:, 0])]
    west, reached = spans[:, 0], np.maximum.accumulate(spans[:, 1])
    # The gap before the first span reaches round the Earth, from the end of the last.
    gaps = west - np.concatenate([[reached[-1] - 360], reached[:-1]])
    widest = int(np.argmax(gaps))
    return -180.0 if gaps[widest] < ROUND_THE_EARTH else float(west[widest] - gaps[widest] / 2)


def _after(lon: NDArray[np.float64], cut: float) -> NDArray[np.float64]:
    """Return the same longitudes, at most 360 degrees east of the cut."""
    return cut + np.mod(lon - cut, 360)


def _outline(parts: list[Polygon], cut: float) -> BaseGeometry | None:
    """Return the area in one piece again where it was split at the antimeridian."""
    if not parts:
        return None
    middles = np.array([(part.bounds[0] + part.bounds[2]) / 2 for part in parts])
    shifts = np.round(_after(middles, cut) - middles)
    moved = [translate(part, shift) for part, shift in zip(parts, shifts.tolist(), strict=True)]
    return unary_union(moved) if shifts.any() else MultiPolygon(moved)

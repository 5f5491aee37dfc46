"""From what a person writes after ``--aoi`` to an area: a name, a file, WKT or a box."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import GeometryCollection, shape
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.polygons import geodesic_km2, remote_groups
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.area_files import SUFFIXES, parse_wkt, read_area_file
from m3leo_prep.pipeline.shipped import AreaInfo, list_areas, shipped

MANY_CHIPS = 500_000
"""A name that means more chips than this asks for ``--yes``."""

# geetiles' search order, then what it lacked: single countries by their own names and codes.
_KEYS = (
    ("sovereign",),
    ("sov_a3",),
    ("continent",),
    ("region_un",),
    ("subregion",),
    ("region_wb",),
    ("name", "long_name", "iso_a2", "iso_a3"),
)
_NUMBER = r"\s*([-+]?\d+(?:\.\d*)?)\s*"
_BOX = re.compile(",".join([_NUMBER] * 4))
_WKT = re.compile(r"\s*(SRID=\d+;)?\s*((MULTI)?(POLYGON|POINT|LINESTRING)|GEOMETRYCOLLECTION)\b", re.IGNORECASE)


def load_area(text: str, *, yes: bool = False) -> Area:
    """Return the area that ``text`` names.

    Args:
        text: a packaged name (``aoi list``), a country, continent or region by name or code, a file (GeoJSON,
            WKT, GeoPackage, GeoParquet, shapefile), WKT itself, or a box ``west,south,east,north`` in degrees
            (west > east crosses the antimeridian).
        yes: take names of more than 500 000 chips or with far-flung parts without asking.

    Raises:
        ConfigError: unknown, unusable (see ``Area.from_geometry``), or in need of ``yes``.
        MissingDependency: the file's format needs the ``build`` extra.
    """
    text = text.strip()
    packaged = {info.name: info for info in list_areas()}
    name = re.sub(r"[\s_]+", "-", text.casefold())
    if name in packaged:
        return _packaged(packaged[name], yes=yes)
    if box := _BOX.fullmatch(text):
        return _box(text, *(float(number) for number in box.groups()))
    if _WKT.match(text):
        geometry, crs = parse_wkt(text, "area")
        return Area.from_geometry(geometry, name="wkt", crs=crs, source="WKT on the command line")
    if Path(text).suffix.lower() in SUFFIXES or "/" in text or "\\" in text:
        geometry, crs = read_area_file(Path(text))
        return Area.from_geometry(geometry, name=Path(text).stem, crs=crs, source=Path(text).name)
    return _by_country(text, packaged, yes=yes)


def _folder() -> Path:
    return shipped("aoi")


def _packaged(info: AreaInfo, *, yes: bool) -> Area:
    drawn = json.loads((_folder() / f"{info.name}.geojson").read_text(encoding="utf-8"))
    if info.chips > MANY_CHIPS and not yes:
        raise ConfigError(
            f"'{info.name}' has {info.chips:,} chips ({info.area_km2:,.0f} km2)",
            hint="say --yes to take it all, or give a box, a country or a file",
        )
    return Area.from_geometry(
        shape(drawn["geometry"]), name=info.name, source=info.source, licence=info.licence, note=info.note
    )


def _box(text: str, west: float, south: float, east: float, north: float) -> Area:
    if south >= north or west == east:
        raise ConfigError(
            f"the box {text} has no extent: south {south:g}, north {north:g}",
            hint="the order is west,south,east,north, as in 5.7,49.4,6.6,50.2",
        )
    east = east + 360 if west > east else east
    # Cut into edges below 180 degrees, which would be read as crossing the antimeridian.
    box = shapely.segmentize(shapely.box(west, south, east, north), 90)
    return Area.from_geometry(box, name=f"box {text.replace(' ', '')}", source="box on the command line")


@cache
def _countries() -> tuple[dict[str, Any], ...]:
    raw = gzip.decompress((_folder() / "countries.geojson.gz").read_bytes())
    return tuple(json.loads(raw)["features"])


def _by_country(text: str, packaged: dict[str, AreaInfo], *, yes: bool) -> Area:
    wanted = text.casefold()
    # Natural Earth marks a state with territories by a 1: FR means FR1, as in geetiles. But CH and IS are
    # Switzerland and Iceland, not CH1 (China) and IS1 (Israel): ISO codes win.
    state = wanted + "1"
    clash = any(
        country["properties"]["iso_a2"].casefold() == wanted and country["properties"]["sov_a3"].casefold() != state
        for country in _countries()
    )
    for keys in _KEYS:
        names = {wanted, state} if keys == ("sov_a3",) and len(wanted) == 2 and not clash else {wanted}
        found = [
            country
            for country in _countries()
            if wanted and any(country["properties"][key].casefold() in names for key in keys)
        ]
        if found:
            break
    else:
        known = {country["properties"][key] for country in _countries() for keys in _KEYS for key in keys}
        close = near(text, {*packaged, *(word for word in known if len(word) > 3 and word.casefold() not in packaged)})
        raise ConfigError(
            f"unknown area '{text}'",
            hint=(close if close.startswith("did you mean") else "packaged: " + ", ".join(packaged))
            + " (or a country, a continent, a file, WKT, or a box west,south,east,north)",
        )
    members = ", ".join(country["properties"]["name"] for country in found)
    outlines = [shape(country["geometry"]) for country in found]
    area = Area.from_geometry(
        GeometryCollection(outlines),
        name=wanted.replace(" ", "-"),
        source="Natural Earth 1:50m admin 0 countries (world-atlas 2.0.2)",
        licence="public domain (Natural Earth)",
        note=members,
    )
    if not yes:
        _ask(text, area)
    return area


def _ask(text: str, area: Area) -> None:
    """Raise where a name means more than one would think."""
    groups = remote_groups(area.geometry)
    chips = area.area_km2 / (Grid().cell_m / 1000) ** 2
    if len(groups) == 1 and chips <= MANY_CHIPS:
        return
    parts = "; ".join(_describe(group) for group in groups[:12])
    more = f"; and {len(groups) - 12} more" if len(groups) > 12 else ""
    raise ConfigError(
        f"'{text}' means {area.area_km2:,.0f} km2, about {chips:,.0f} chips"
        + (f", in {len(groups)} parts far from each other: {parts}{more}" if len(groups) > 1 else ""),
        hint="say --yes to take it all, or give a box, a file or one of: "
        + ", ".join(info.name for info in list_areas()),
        where=f"area '{area.name}'",
    )


def _describe(group: BaseGeometry) -> str:
    middle = group.representative_point()
    lat = f"{abs(middle.y):.1f} {'N' if middle.y >= 0 else 'S'}"
    lon = f"{abs(middle.x):.1f} {'E' if middle.x >= 0 else 'W'}"
    return f"{geodesic_km2(group):,.0f} km2 around {lat}, {lon}"

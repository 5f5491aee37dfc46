"""Write ``aoi/``: the packaged areas and the outlines of all countries, from Natural Earth 1:50m.

Natural Earth is in the public domain; its countries come as TopoJSON in the npm package ``world-atlas``:

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python scripts/make_areas.py package/countries-50m.json aoi

Each area below is a choice that a person made and can read here, not the answer to a query. Names, codes and
continents of the countries are in ``countries.csv`` beside this file.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, mapping
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.polygons import clean

SOURCE = "Natural Earth 1:50m admin 0 countries, by way of npm world-atlas 2.0.2 (countries-50m.json)"
LICENCE = "public domain (Natural Earth)"
DECIMALS = 4  # the source is quantised to 0.0036 x 0.0017 degrees

Countries = dict[str, BaseGeometry]


def decode(topology: dict[str, Any]) -> Countries:
    """Return the countries of a TopoJSON as they are drawn: name -> lon/lat polygons."""
    scale, shift = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = [np.cumsum(arc, axis=0) * scale + shift for arc in topology["arcs"]]

    def ring(indices: list[int]) -> np.ndarray:
        lines = [arcs[k] if k >= 0 else arcs[~k][::-1] for k in indices]
        return np.concatenate([lines[0], *(line[1:] for line in lines[1:])]).round(DECIMALS)

    def polygon(rings: list[list[int]]) -> Polygon:
        return Polygon(ring(rings[0]), [ring(hole) for hole in rings[1:]])

    drawn: Countries = {}
    for country in topology["objects"]["countries"]["geometries"]:
        parts = [country["arcs"]] if country["type"] == "Polygon" else country["arcs"]
        drawn[country["properties"]["name"]] = MultiPolygon([polygon(rings) for rings in parts])
    return drawn


def split_rings(drawn: Countries) -> Countries:
    """Return the countries valid and split at the antimeridian; Antarctica as drawn, since it has no grid."""
    tidy = {}
    for name, geometry in drawn.items():
        try:
            tidy[name], notes = clean(geometry, name)
        except ConfigError:
            tidy[name], notes = geometry, ("left as drawn: it goes around a pole",)
        for note in notes:
            print(f"  {name}: {note}")
    return tidy


def within(geometry: BaseGeometry, west: float, south: float, east: float, north: float) -> BaseGeometry:
    """Return the ground inside a box."""
    return shapely.intersection(geometry, shapely.box(west, south, east, north))


def parts_at(geometry: BaseGeometry, west: float, south: float, east: float, north: float) -> BaseGeometry:
    """Return the whole polygons whose middle lies in a box."""
    box = shapely.box(west, south, east, north)
    return MultiPolygon([p for p in shapely.get_parts(geometry) if box.contains(p.representative_point())])


def areas(land: Countries, continent: dict[str, str]) -> dict[str, tuple[str, str, BaseGeometry]]:
    """Return name -> (title, note, geometry) of the packaged areas."""

    def join(*names: str) -> BaseGeometry:
        return shapely.union_all([land[name] for name in names])

    def of(which: str) -> list[str]:
        return [name for name in land if continent[name] == which]

    thrace = parts_at(land["Turkey"], 25, 40, 29.2, 42.2)
    europe = within(shapely.union_all([join(*of("Europe")), thrace]), -25, 34, 45, 72)
    # Jan Mayen, and Spain's places on the coast of Africa.
    far = [parts_at(europe, -10, 70, -7, 72), parts_at(europe, -6, 34, -1, 35.95)]
    europe = europe.difference(shapely.union_all(far))
    south = shapely.union_all(
        [join(*of("South America"), "Trinidad and Tobago", "Aruba", "Curaçao"), land["France"], land["Netherlands"]]
    )
    south = parts_at(south, -81.5, -56.6, -34.2, 13.0).difference(parts_at(south, -82, -35, -78, -32))
    low = "mainland and near islands"
    m3leo = "M3LEO's own polygon was never published, so chips differ from its release."
    return {
        "europe": (
            "Europe",
            (
                f"Lon -25...45, lat 34...72, {low}. Russia west of 45 E, Turkey's part in Europe, Iceland and "
                "the Faroes are in. Not in: Azores, Madeira, Canaries, Svalbard, Jan Mayen, overseas land, "
                f"Ceuta and Melilla, Cyprus, Georgia, Armenia, Azerbaijan, Kazakhstan, Anatolia. {m3leo}"
            ),
            europe,
        ),
        "conus": (
            "Contiguous United States",
            f"The 48 states and their near islands, without Alaska, Hawaii and territories. {m3leo}",
            parts_at(land["United States of America"], -125, 24, -66.5, 49.6),
        ),
        "china": (
            "China",
            (
                f"China with Hainan, Hong Kong and Macao as Natural Earth draws them (Taiwan is a separate outline "
                f"there). M3LEO covers only a part of China. {m3leo}"
            ),
            join("China", "Hong Kong", "Macao"),
        ),
        "middleeast": (
            "Middle East",
            (
                "Turkey's part in Asia, Cyprus, Syria, Lebanon, Israel, Palestine, Jordan, Iraq, Iran, Kuwait, Saudi "
                f"Arabia, Bahrain, Qatar, Emirates, Oman, Yemen. Without Egypt and Socotra. {m3leo}"
            ),
            shapely.union_all(
                [
                    land["Turkey"].difference(thrace),
                    join("Cyprus", "N. Cyprus", "Syria", "Lebanon", "Israel", "Palestine", "Jordan", "Iraq"),
                    join("Iran", "Kuwait", "Saudi Arabia", "Bahrain", "Qatar", "United Arab Emirates", "Oman"),
                    parts_at(land["Yemen"], 41, 12.5, 53.2, 19),
                ]
            ),
        ),
        "pakin": (
            "Pakistan and India",
            (
                "Pakistan and mainland India with the disputed north-west (de facto lines, Siachen glacier included). "
                f"Without Andaman, Nicobar and Lakshadweep islands. {m3leo}"
            ),
            parts_at(join("Pakistan", "India", "Siachen Glacier"), 60, 7, 97.5, 37.2).difference(
                shapely.union_all([parts_at(land["India"], 71, 8, 74, 13), parts_at(land["India"], 91, 6, 95, 15)])
            ),
        ),
        "southamerica": (
            "South America",
            (
                f"All of South America, {low} (French Guiana, Trinidad and Tobago, Aruba, Curaçao, Falkland "
                "Islands are in). Without Galápagos, Easter Island, Juan Fernández, San Andrés and "
                f"Fernando de Noronha. {m3leo}"
            ),
            south,
        ),
        "luxembourg": ("Luxembourg", "The country at 1:50m.", land["Luxembourg"]),
        "benelux": (
            "Benelux (label-proportions paper)",
            (
                "Belgium, Luxembourg and the Netherlands in Europe. The paper's polygon is unpublished and has 72 213 "
                "km2; ours is the Natural Earth outline, 2.5 % smaller, not the same line."
            ),
            shapely.union_all([join("Belgium", "Luxembourg"), parts_at(land["Netherlands"], 3, 50, 8, 54)]),
        ),
        "colombia-ne": (
            "North-east Colombia (label-proportions paper)",
            (
                "Colombia inside lon -73.18...-69.9, lat 5.75...9.4. The paper's polygon is unpublished and has "
                "69 193 km2; ours is drawn to about that size, not the same line."
            ),
            within(land["Colombia"], -73.18, 5.75, -69.9, 9.4),
        ),
        "demo": (
            "Demo: coast of Jammerbugt, Denmark",
            "A rectangle of land and sea, 4 x 4 chips of the 4480 m grid in the middle of zone 32 N.",
            shapely.box(9.31, 57.12, 9.58, 57.265),
        ),
    }


def write_area(folder: Path, name: str, title: str, note: str, geometry: BaseGeometry) -> Area:
    """Write one area as a GeoJSON feature with its golden size and chip count."""
    rounded = shapely.transform(geometry, lambda points: points.round(DECIMALS))
    area = Area.from_geometry(rounded, name=name)
    drawn = name == "demo"
    properties = {
        "name": name,
        "title": title,
        "source": "drawn for this project" if drawn else SOURCE,
        "licence": "CC0-1.0" if drawn else LICENCE,
        "note": note,
        "chips": len(Grid().cells(area.geometry)),
        "area_km2": round(area.area_km2, 1),
    }
    print(f"{name:14s} {properties['chips']:8d} chips {properties['area_km2']:12.1f} km2", *area.warnings)
    text = json.dumps(feature(area.geometry, properties), ensure_ascii=False, separators=(",", ":"))
    (folder / f"{name}.geojson").write_text(text + "\n", encoding="utf-8")
    return area


def feature(geometry: BaseGeometry, properties: dict[str, Any]) -> dict[str, Any]:
    """Return a GeoJSON feature."""
    return {"type": "Feature", "properties": properties, "geometry": mapping(geometry)}


def main(topojson: Path, folder: Path) -> None:
    with (Path(__file__).parent / "countries.csv").open(encoding="utf-8", newline="") as lines:
        table = {row["name"]: row for row in csv.DictReader(lines)}
    land = split_rings(decode(json.loads(topojson.read_text(encoding="utf-8"))))
    if land.keys() != table.keys():
        raise SystemExit(f"countries.csv and {topojson} differ: {sorted(land.keys() ^ table.keys())}")
    folder.mkdir(exist_ok=True)
    features = [feature(geometry, table[name]) for name, geometry in sorted(land.items())]
    text = json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":"))
    # No time stamp, so that the same outlines make the same bytes.
    (folder / "countries.geojson.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    continent = {name: row["continent"] for name, row in table.items()}
    for name, (title, note, geometry) in areas(land, continent).items():
        write_area(folder, name, title, note, geometry)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

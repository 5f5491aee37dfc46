"""``sources``, ``recipes``, ``aoi``: what there is."""

from __future__ import annotations

import inspect
from typing import Any

from m3leo_prep.cli.render import OUT, print_json, print_table
from m3leo_prep.core.grid import Grid
from m3leo_prep.pipeline.areas import list_areas, load_area
from m3leo_prep.pipeline.recipes import load_recipe, recipe_names
from m3leo_prep.ports.registry import option_names, source_class, source_names


def list_sources(*, as_json: bool) -> None:
    """Print the sources, what each is and its options."""
    rows = []
    for name in source_names():
        cls = source_class(name)
        about = (inspect.getdoc(cls) or "").splitlines()[0]
        rows.append({"source": name, "about": about, "options": option_names(cls)})
    if as_json:
        print_json(rows)
        return
    print_table("", ("source", "about", "options"), [(r["source"], r["about"], ", ".join(r["options"])) for r in rows])


def list_recipes(*, as_json: bool) -> None:
    """Print the shipped recipes."""
    found: list[dict[str, Any]] = []
    for name in recipe_names():
        recipe, _ = load_recipe(name)
        found.append({"recipe": name, "layers": list(recipe.layers), "description": recipe.description})
    if as_json:
        print_json(found)
        return
    rows = [(row["recipe"], ", ".join(row["layers"]), row["description"]) for row in found]
    print_table("", ("recipe", "layers", "description"), rows)


def list_aois(*, as_json: bool) -> None:
    """Print the shipped areas."""
    rows = [
        {"aoi": a.name, "title": a.title, "area_km2": round(a.area_km2), "chips": a.chips, "licence": a.licence}
        for a in list_areas()
    ]
    if as_json:
        print_json(rows)
        return
    print_table("", tuple(rows[0]), [tuple(row.values()) for row in rows])


def show_aoi(text: str, *, yes: bool, as_json: bool) -> None:
    """Print what is known of one area."""
    area = load_area(text, yes=yes)
    cells = Grid().cells(area.geometry)
    west, south, east, north = area.geometry.bounds
    facts: dict[str, Any] = {
        "name": area.name,
        "area_km2": round(area.area_km2, 1),
        "chips": len(cells),
        "zones": sorted({int(epsg) for epsg in cells.epsg}),
        "bounds": [round(v, 4) for v in (west, south, east, north)],
        "parts": len(getattr(area.geometry, "geoms", [area.geometry])),
        "source": area.source,
        "licence": area.licence,
        "note": area.note,
        "warnings": list(area.warnings),
    }
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if value not in ("", []):
            OUT.print(
                f"[bold]{key:>9}[/bold]  {f'{value:,}' if isinstance(value, (int, float)) else value}", soft_wrap=True
            )

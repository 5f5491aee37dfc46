"""``sources``, ``recipes``, ``aoi``: what there is."""

from __future__ import annotations

from typing import Any

from m3leo_prep.cli.render import OUT, print_json, print_table


def list_sources(*, as_json: bool) -> None:
    """Print the sources, what each is and its options."""
    from m3leo_prep.ports.listing import list_installed

    found = list_installed()
    if as_json:
        print_json(
            [{"source": s.name, "about": s.about, "options": s.options, "problem": s.problem or None} for s in found]
        )
        return
    rows = [(s.name, f"not usable: {s.problem}" if s.problem else s.about, ", ".join(s.options)) for s in found]
    print_table("", ("source", "about", "options"), rows)


def list_recipes(*, as_json: bool) -> None:
    """Print the shipped recipes."""
    from m3leo_prep.pipeline.recipes import load_recipe, recipe_names

    found: list[dict[str, Any]] = []
    for name in recipe_names():
        recipe, _ = load_recipe(name)
        listed = {layer: list(model.alternatives) or [model.source] for layer, model in recipe.layers.items()}
        found.append(
            {"recipe": name, "layers": list(recipe.layers), "sources": listed, "description": recipe.description}
        )
    if as_json:
        print_json(found)
        return
    rows = [(row["recipe"], ", ".join(row["layers"]), row["description"]) for row in found]
    print_table("", ("recipe", "layers", "description"), rows)


def list_aois(*, as_json: bool) -> None:
    """Print the shipped areas."""
    from m3leo_prep.pipeline.shipped import list_areas

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
    from m3leo_prep.core.grid import Grid
    from m3leo_prep.pipeline.areas import load_area

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
            OUT.print(f"{key:>9}  {f'{value:,}' if isinstance(value, (int, float)) else value}", soft_wrap=True)

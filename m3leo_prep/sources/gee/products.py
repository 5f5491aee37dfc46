"""The products of Earth Engine that a recipe may name: data, in ``products.yaml`` beside this module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.products import Product, ProductVariable, product
from m3leo_prep.core.raster import Kind, LegendClass, Variable
from m3leo_prep.core.text import near
from m3leo_prep.sources.gee.choice import Quantity, Row

TABLE = Path(__file__).with_suffix(".yaml")
CATALOGUE = "https://developers.google.com/earth-engine/datasets/catalog/"
FLAGS = "_flags"
"""Behind the name of a variable: the variable that says which flag a pixel has."""
_PLAIN = ("title", "asset", "family", "mode", "pitch", "kernel", "first", "last", "licence", "citation", "url")
_LISTS = ("years", "domain", "clouds")


def row(name: str) -> Row:
    """Return a product by name.

    Raises:
        ConfigError: there is no such product; names those that are alike.
    """
    found = _rows().get(name)
    if found is None:
        raise ConfigError(f"there is no product '{name}' of Earth Engine", hint=near(name, [*_rows(), *_aliases()]))
    return found


def row_names() -> list[str]:
    """Return the names of all products, sorted."""
    return sorted(_rows())


def resolve_row(name: str, year: Any) -> Row:
    """Return a product by its name, or by one that stands for several releases: then the one that has the year.

    Raises:
        ConfigError: there is no such product, or none of the releases has the year.
    """
    releases = _aliases().get(name)
    if releases is None:
        return row(name)
    rows = [row(release) for release in releases]
    found = rows if len(rows) == 1 else [one for one in rows if year is not None and with_year(one, year)]
    if len(found) != 1:
        has = "; ".join(f"{one.name} has {years_in_words(one)}" for one in rows)
        said = "say which release" if year is None else f"no release has {year}"
        raise ConfigError(f"product: '{name}': {said}", hint=has)
    return found[0]


def other_releases(one: Row, year: int) -> list[str]:
    """Return the releases of the same product that have data of a year."""
    found = [name for names in _aliases().values() if one.name in names for name in names]
    return [name for name in found if name != one.name and with_year(row(name), year)]


def with_year(one: Row, year: int) -> bool:
    """Return whether the product has data of a year."""
    if one.years:
        return year in one.years
    return one.first is not None and one.first.year <= year and (one.last is None or year <= one.last.year)


def years_in_words(one: Row) -> str:
    """Return the years with data as text, runs of them shortened."""
    years: Sequence[int] = one.years
    if not years:
        if one.first is None:
            return "no years"
        if one.last is None:
            return f"{one.first.year} and later"
        years = range(one.first.year, one.last.year + 1)
    runs: list[list[int]] = []
    for year in years:
        if runs and year == runs[-1][-1] + 1:
            runs[-1].append(year)
        else:
            runs.append([year])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def also_in(name: str, band: str) -> list[str]:
    """Return the other products of the same family that have a band, by our name or by Earth Engine's."""
    family = row(name).family
    return [
        one.name
        for one in _rows().values()
        if one.name != name
        and one.family == family != "plain"
        and any(band in (*quantity.variable.bands, *quantity.names) for quantity in one.quantities)
    ]


def tables() -> Mapping[str, Mapping[str, Any]]:
    """Return the entries of ``products.yaml`` as they stand there."""
    entries: Mapping[str, Mapping[str, Any]] = _document()["products"]
    return entries


def _aliases() -> Mapping[str, list[str]]:
    found: Mapping[str, list[str]] = _document()["aliases"]
    return found


@cache
def _document() -> dict[str, Any]:
    import yaml

    document: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return document


@cache
def _rows() -> dict[str, Row]:
    return {name: _row(name, table) for name, table in tables().items()}


def _row(name: str, table: Mapping[str, Any]) -> Row:
    known = product(table["of"]) if "of" in table else None
    quantities = tuple(one for key, said in table["quantities"].items() for one in _quantities(key, said, known))
    main = table.get("main") or {quantities[0].variable.name: quantities[0].variable.bands}
    said = {key: table[key] for key in _PLAIN if key in table} | {
        key: tuple(table[key]) for key in _LISTS if key in table
    }
    defaults: dict[str, Any] = {
        "family": "plain",
        "mode": "native",
        "kernel": "nearest",
        "licence": known.licence if known else "",
        "citation": known.reference if known else "",
        "url": CATALOGUE + table["asset"].replace("/", "_"),
    }
    return Row(
        name=name,
        **defaults | said,
        is_collection=not table.get("is_image", False),
        quantities=quantities,
        main={key: tuple(bands) for key, bands in main.items()},
        filters=dict(table.get("filters", {})),
        reach_m=float(table.get("reach_m", 2 * table["pitch"])),
        gaps=tuple((first, last, what) for first, last, what in table.get("gaps", ())),
        attributes=dict(table.get("attributes", {})),
    )


def _quantity(name: str, table: Mapping[str, Any], known: Product | None) -> Quantity:
    """Return one quantity; ``of`` in its table is a variable of the known product, which fills what is not said."""
    base = known.variable(table["of"]) if known and "of" in table else None
    kind = base.kind if base else Kind(table["kind"])
    bands: Mapping[str, str] = table.get("bands", base.bands if base else {})
    variable = Variable(
        name=name,
        kind=kind,
        bands=tuple(bands),
        unit=table.get("unit") or (base.unit if base else "") or "1",
        long_name=table.get("long_name") or (base.long_name if base else ""),
        legend=_classes(table["legend"]) if "legend" in table else (base.legend if base else ()),
        attributes=_attributes(table, base, known),
    )
    ends = table.get("valid_range")
    nodata = table.get("nodata", (base.nodata if base else None) or ())
    return Quantity(
        variable,
        names=tuple(bands.values()),
        dtype=table.get("dtype", "float32"),
        transform=table.get("transform", "none"),
        scale=float(table.get("scale", 1)),
        offset=float(table.get("offset", 0)),
        nodata=tuple(map(float, nodata)),
        flags=tuple(table["flags"]) if "flags" in table else tuple(flag.code for flag in base.flags) if base else (),
        valid_range=(float(ends[0]), float(ends[1])) if ends else None,
    )


def _quantities(name: str, table: Mapping[str, Any], known: Product | None) -> Iterator[Quantity]:
    """Yield a quantity and, where some numbers are flags, the classes that say which flag a pixel has."""
    quantity = _quantity(name, table, known)
    yield quantity
    base = known.variable(table["of"]) if known and "of" in table else None
    flags = _classes(table["flags"]) if "flags" in table else (base.flags if base else ())
    if not flags:
        return
    variable = quantity.variable
    legend = (LegendClass(0, "none"), *(LegendClass(n, flag.name, flag.color) for n, flag in enumerate(flags, 1)))
    codes = {str(flag.code): flag.name for flag in flags}
    yield replace(
        quantity,
        variable=Variable(
            variable.name + FLAGS,
            Kind.CLASSES,
            variable.bands,
            long_name=f"Why {variable.name} has no value",
            legend=legend,
            attributes={"flag_codes": codes, **(known.attributes if known else {})},
        ),
        transform="none",
        scale=1.0,
        offset=0.0,
        valid_range=None,
        flags_of=variable.name,
    )


def _attributes(table: Mapping[str, Any], base: ProductVariable | None, known: Product | None) -> dict[str, Any]:
    own = table.get("attributes", base.attributes if base else {})
    return {**own, **(known.attributes if known else {})}


def _classes(table: Mapping[int, Mapping[str, str]]) -> tuple[LegendClass, ...]:
    return tuple(LegendClass(code, one["name"], one.get("color", "")) for code, one in sorted(table.items()))

"""Products that a recipe may name: what their numbers mean, their classes, nodata codes, licence and citation.

The tables are data, in ``products.yaml`` beside this module, and the only place where a product's codes stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind, LegendClass
from m3leo_prep.core.text import near

TABLES = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True, slots=True)
class ProductVariable:
    """One quantity of a product."""

    name: str
    kind: Kind
    bands: Mapping[str, str]
    """Name -> its name in the product's own files; empty if it has none there."""
    unit: str = ""
    long_name: str = ""
    nodata: tuple[float, ...] | None = None
    """Stored numbers that mean no data; None = as the file declares."""
    legend: tuple[LegendClass, ...] = ()
    flags: tuple[LegendClass, ...] = ()
    """Stored codes that are no values of the quantity, such as water in a cover in percent."""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Marks:
    """How a file says which product it is: regular expressions, searched without regard to case."""

    name: str
    """Of the file's name."""
    tags: Mapping[str, str]
    """Of its tags, all of which must match."""


@dataclass(frozen=True, slots=True)
class Product:
    """A published data set with a fixed meaning."""

    name: str
    title: str
    version: str
    licence: str
    citation: str
    url: str
    """Where its codes are documented."""
    pitch: float
    """Native pixel size in metres."""
    variables: tuple[ProductVariable, ...]
    """The main one first."""
    year: int | None = None
    doi: str = ""
    marks: Marks | None = None
    groups: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    """Level -> name of a group -> codes of the first variable; each class is in one group of a level."""

    @property
    def reference(self) -> str:
        """Citation and DOI in one line."""
        return f"{self.citation}. https://doi.org/{self.doi}" if self.doi else self.citation

    @property
    def attributes(self) -> dict[str, str]:
        """What tells its pixels from those of another product or release, for the attributes of a variable."""
        return {"product": self.name, "product_version": self.version}

    def variable(self, name: str = "") -> ProductVariable:
        """Return a variable by name, or the main one.

        Raises:
            ConfigError: it has none of that name.
        """
        found = {variable.name: variable for variable in self.variables}
        if name and name not in found:
            raise ConfigError(f"product '{self.name}' has no variable '{name}'", hint=near(name, found))
        return found[name] if name else self.variables[0]


def product(name: str) -> Product:
    """Return a product by name.

    Raises:
        ConfigError: there is no such product; names those that are alike.
    """
    found = _products().get(name)
    if found is None:
        raise ConfigError(f"there is no product '{name}'", hint=near(name, _products()))
    return found


def product_names() -> list[str]:
    """Return the names of all products, sorted."""
    return sorted(_products())


@cache
def _products() -> dict[str, Product]:
    import yaml

    tables = yaml.safe_load(TABLES.read_text(encoding="utf-8"))
    return {name: _product(name, table) for name, table in tables.items()}


def _product(name: str, table: Mapping[str, Any]) -> Product:
    plain = {key: value for key, value in table.items() if key not in {"variables", "marks", "groups"}}
    levels = {level: {k: tuple(v) for k, v in groups.items()} for level, groups in table.get("groups", {}).items()}
    return Product(
        name,
        **plain,
        variables=tuple(_variable(key, value) for key, value in table["variables"].items()),
        marks=Marks(**table["marks"]) if "marks" in table else None,
        groups=levels,
    )


def _variable(name: str, table: Mapping[str, Any]) -> ProductVariable:
    changed = {
        "kind": Kind(table["kind"]),
        "nodata": tuple(map(float, table["nodata"])) if "nodata" in table else None,
        "legend": _classes(table.get("legend", {})),
        "flags": _classes(table.get("flags", {})),
    }
    return ProductVariable(name, **{**table, **changed})


def _classes(table: Mapping[int, Mapping[str, str]]) -> tuple[LegendClass, ...]:
    return tuple(LegendClass(code, one["name"], one.get("color", "")) for code, one in sorted(table.items()))
